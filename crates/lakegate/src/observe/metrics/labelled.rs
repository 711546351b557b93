//! Families of labelled metrics, as `prometheus_client::metrics::family::Family` has them, but in the order of their
//! labels.
//!
//! The library's own `Family` is not used for two reasons. It keeps its series in a `HashMap`, so that each process would
//! write them in another order. And the registry omits the HELP and TYPE lines of a `Family` without series, which would
//! hide a metric until its first event.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The value of a label. Series are ordered by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// A word of a closed set, and its position there.
    Word(usize, &'static str),
    /// An HTTP status.
    Status(usize),
    /// An endpoint of the project, or the empty text.
    Endpoint(Arc<str>),
}

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Label::Word(_, word) => encoder.write_str(word),
            Label::Status(status) => write!(encoder, "{status}"),
            Label::Endpoint(name) => encoder.write_str(name),
        }
    }
}

/// The names and values of the labels of a series.
pub(super) type Labels<const N: usize> = [(&'static str, Label); N];

/// The series of a metric by their labels. Clones share them. Counting uses a clone of a series and not the family, which
/// takes a lock.
#[derive(Clone, Debug)]
pub(super) struct Labelled<const N: usize, M>(Arc<RwLock<BTreeMap<Labels<N>, M>>>);

impl<const N: usize, M> Default for Labelled<N, M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<const N: usize, M: Clone + Default> Labelled<N, M> {
    /// The series with these labels; created if missing.
    pub(super) fn get_or_create(&self, labels: Labels<N>) -> M {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default().clone()
    }
}

impl<M: Clone + Default> Labelled<1, M> {
    /// A family with one label, and its series for all words of a closed set.
    pub(super) fn of_words<const W: usize>(label: &'static str, words: [&'static str; W]) -> (Self, [M; W]) {
        let family = Self::default();
        let series = std::array::from_fn(|at| family.get_or_create([(label, Label::Word(at, words[at]))]));
        (family, series)
    }
}

impl<const N: usize, M: EncodeMetric + TypedMetric> EncodeMetric for Labelled<N, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let series = self.0.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// Series of a family that are created when they are first counted, because most of them never are: an endpoint returns
/// few of all HTTP statuses.
#[derive(Debug)]
pub(super) struct OnDemand<const N: usize, M> {
    family: Labelled<N, M>,
    series: Box<[OnceLock<M>]>,
}

impl<const N: usize, M: Clone + Default> OnDemand<N, M> {
    /// Room for `count` series of a family.
    pub(super) fn new(family: &Labelled<N, M>, count: usize) -> Self {
        Self { family: family.clone(), series: std::iter::repeat_with(OnceLock::new).take(count).collect() }
    }

    /// The series at a position, which has these labels; `None` if the position is out of range.
    pub(super) fn get(&self, at: usize, labels: impl FnOnce() -> Labels<N>) -> Option<&M> {
        Some(self.series.get(at)?.get_or_init(|| self.family.get_or_create(labels())))
    }
}
