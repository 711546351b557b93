//! Writes the metrics as text for Prometheus, in the OpenMetrics format of `prometheus-client`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lakegate_core::error::CODES;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::family::{self, Family, Kind};
use super::histogram::{Histogram, seconds};
use super::{Metrics, Now, Series};
use crate::audit::Outcome;
use crate::observe::event::{CacheAnswer, Reload};
use crate::observe::stage::STAGES;

/// The text of one scrape.
pub(in crate::observe) fn exposition(metrics: Arc<Metrics>, now: Now) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Look { metrics, now }));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Look {
    metrics: Arc<Metrics>,
    now: Now,
}

/// Selects one of the counters of an endpoint.
type CounterOf = fn(&Series) -> &AtomicU64;

type Result = std::result::Result<(), fmt::Error>;

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let Self { metrics, now } = self;
        let endpoints = metrics.series();
        let series = std::iter::once(&metrics.elsewhere).chain(endpoints.iter().map(AsRef::as_ref)).collect::<Vec<_>>();
        let mut page = Page { encoder: &mut encoder };

        page.family(family::BUILD, |metric| {
            Info::new([("version", env!("CARGO_PKG_VERSION"))]).encode(metric.reborrow()?)
        })?;
        page.gauge(family::UPTIME, now.uptime.as_secs_f64())?;
        page.family(family::REQUESTS, |metric| {
            series.iter().try_for_each(|series| {
                series.by_status.iter().enumerate().try_for_each(|(at, count)| {
                    let status = (at + 100).to_string();
                    let labels = [("endpoint", series.name()), ("status", status.as_str())];
                    metric.counter(&labels, count, false)
                })
            })
        })?;
        page.family(family::DURATION, |metric| {
            series.iter().try_for_each(|series| metric.histogram(&[("endpoint", series.name())], &series.duration))
        })?;
        page.family(family::STAGE, |metric| {
            let mut stages = STAGES.iter().zip(&metrics.stages);
            stages.try_for_each(|(stage, histogram)| metric.histogram(&[("stage", stage.name())], histogram))
        })?;
        page.family(family::ENDPOINT_STAGE, |metric| {
            series.iter().try_for_each(|series| {
                let mut stages = STAGES.iter().zip(&series.stage_nanos);
                stages.try_for_each(|(stage, nanos)| {
                    let labels = [("endpoint", series.name()), ("stage", stage.name())];
                    match nanos.load(Ordering::Relaxed) {
                        0 => Ok(()),
                        nanos => metric.counter_of(&labels, seconds(nanos)),
                    }
                })
            })
        })?;
        let words = Outcome::NAMES;
        page.by_word(family::OUTCOMES, "outcome", words.iter().copied().zip(&metrics.outcomes))?;
        page.family(family::REFUSALS, |metric| {
            let mut refusals = CODES.iter().zip(&metrics.refusals.0);
            refusals.try_for_each(|(code, count)| metric.counter(&[("code", code.name())], count, false))
        })?;
        let by_endpoint: [(Family, CounterOf); 6] = [
            (family::ROWS, |series| &series.rows),
            (family::BYTES, |series| &series.bytes),
            (family::SCANNED_ROWS, |series| &series.scanned_rows),
            (family::SCANNED_BYTES, |series| &series.scanned_bytes),
            (family::SPILLED_BYTES, |series| &series.spilled_bytes),
            (family::SLOW, |series| &series.slow),
        ];
        for (family, counter) in by_endpoint {
            page.family(family, |metric| {
                let mut series = series.iter();
                series.try_for_each(|series| metric.counter(&[("endpoint", series.name())], counter(series), true))
            })?;
        }
        page.gauge(family::WAITING, metrics.waiting.load(Ordering::Relaxed))?;
        page.gauge(family::RUNNING, metrics.running.load(Ordering::Relaxed))?;
        page.gauge(family::RESERVED, now.reserved_bytes)?;
        page.gauge(family::HOT, now.hot_bytes)?;
        page.counter(family::PREPARED_REFUSED, now.refused_plans)?;
        let words = CacheAnswer::ALL.map(CacheAnswer::name);
        page.by_word(family::CACHE, "answer", words.iter().copied().zip(&metrics.cache))?;
        let words = Reload::ALL.map(Reload::name);
        page.by_word(family::RELOADS, "outcome", words.iter().copied().zip(&metrics.reloads))?;
        page.gauge(family::AUDIT_WAITING, now.audit_waiting)?;
        page.counter(family::AUDIT_LOST, now.audit_lost)?;
        let exports = [("good", &metrics.exports_good), ("failed", &metrics.exports_failed)];
        page.by_word(family::TRACE_EXPORTS, "outcome", exports.into_iter())?;
        if let Some(process) = &now.process {
            page.gauge(family::MEMORY, process.resident_bytes)?;
            page.gauge(family::OPEN_FILES, process.open_files)?;
            page.counter(family::CPU, process.cpu_seconds)?;
        }
        Ok(())
    }
}

/// A writer of metric families.
struct Page<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
}

/// A writer of the values of one family.
struct Values<'a>(MetricEncoder<'a>);

impl Page<'_, '_> {
    fn family(&mut self, family: Family, write: impl FnOnce(&mut Values<'_>) -> Result) -> Result {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        let encoder = self.encoder.encode_descriptor(family.name, &format!("{}.", family.help), None, kind)?;
        write(&mut Values(encoder))
    }

    fn gauge<T: prometheus_client::encoding::EncodeGaugeValue>(&mut self, family: Family, value: T) -> Result
    where
        ConstGauge<T>: EncodeMetric,
    {
        self.family(family, |values| ConstGauge::new(value).encode(values.reborrow()?))
    }

    fn counter<T>(&mut self, family: Family, value: T) -> Result
    where
        ConstCounter<T>: EncodeMetric,
    {
        self.family(family, |values| ConstCounter::new(value).encode(values.reborrow()?))
    }

    fn by_word<'a>(
        &mut self,
        family: Family,
        label: &'static str,
        mut counts: impl Iterator<Item = (&'static str, &'a AtomicU64)>,
    ) -> Result {
        self.family(family, |values| counts.try_for_each(|(word, count)| values.counter(&[(label, word)], count, true)))
    }
}

impl Values<'_> {
    /// An encoder for a value without labels.
    fn reborrow(&mut self) -> std::result::Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_family(&[] as &[(&str, &str); 0])
    }

    /// Writes a counter; omits a zero unless `zero_too` is set.
    fn counter<const N: usize>(&mut self, labels: &[(&str, &str); N], count: &AtomicU64, zero_too: bool) -> Result {
        match count.load(Ordering::Relaxed) {
            0 if !zero_too => Ok(()),
            count => ConstCounter::new(count).encode(self.0.encode_family(labels)?),
        }
    }

    fn counter_of<const N: usize>(&mut self, labels: &[(&str, &str); N], value: f64) -> Result {
        ConstCounter::new(value).encode(self.0.encode_family(labels)?)
    }

    fn histogram<const N: usize>(&mut self, labels: &[(&str, &str); N], histogram: &Histogram) -> Result {
        let counted = histogram.counted();
        let mut encoder = self.0.encode_family(labels)?;
        encoder.encode_histogram::<NoLabelSet>(counted.sum, counted.count, &counted.buckets, None)
    }
}
