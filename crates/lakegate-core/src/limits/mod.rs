//! Limits: those of one source ([`Limits`]), those of a call ([`EffectiveLimits`]), and the two that count over many calls:
//! [`FairQueue`] and [`rate`].
//!
//! Pure: no clock and no lock. `lakegate_query::engine` and the server measure, wait and count.

mod effective;
mod fair_queue;
pub mod rate;

pub use effective::{EffectiveLimits, LimitBound, LimitSource};
pub use fair_queue::{FairQueue, QueueFull, QueueLoad, QueueRequest, Ticket};

use serde::{Deserialize, Serialize};

/// The largest bound that a TOML integer can hold.
const MANY: u64 = i64::MAX as u64;

macro_rules! limits {
    ($($(#[$doc:meta])* $variant:ident, $field:ident, $most:expr;)*) => {
        /// The limits that can be set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Limit { $($(#[$doc])* $variant,)* }

        impl Limit {
            /// All limits, in the order in which they are reported.
            pub const ALL: &[Limit] = &[$(Limit::$variant,)*];

            /// The name in files, terms of grants and explanations; includes its unit.
            pub fn name(self) -> &'static str {
                match self { $(Limit::$variant => stringify!($field),)* }
            }

            /// The largest bound; the smallest is 1.
            pub const fn most(self) -> u64 {
                match self { $(Limit::$variant => $most,)* }
            }
        }

        /// The limits of one source: server, endpoint or grant. An unset limit is unlimited.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Limits {
            $($(#[$doc])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<u64>,)*
        }

        impl Limits {
            /// The bound of a limit.
            pub fn get(&self, limit: Limit) -> Option<u64> {
                match limit { $(Limit::$variant => self.$field,)* }
            }

            /// Sets the bound of a limit.
            pub fn set(&mut self, limit: Limit, bound: Option<u64>) {
                match limit { $(Limit::$variant => self.$field = bound,)* }
            }
        }
    };
}

limits! {
    /// Maximum time from the arrival of a request until the last row is read, including queueing.
    TimeoutSeconds, timeout_seconds, 86_400;
    /// The memory of one query.
    MemoryMb, memory_mb, 1 << 24;
    /// Maximum number of rows of a result.
    MaxRows, max_rows, MANY;
    /// Maximum size of a result, before compression.
    MaxResultMb, max_result_mb, 1 << 24;
    /// Maximum size that a query may read, estimated from the files' metadata before it runs.
    MaxScanMb, max_scan_mb, 1 << 40;
    /// Maximum number of rows that a query may read, estimated too.
    MaxScanRows, max_scan_rows, MANY;
    /// Maximum number of running queries of one principal.
    MaxConcurrent, max_concurrent, 10_000;
    /// The sustained number of requests a second that a principal may make.
    RequestsPerSecond, requests_per_second, 1_000_000;
    /// Number of requests that a principal may make at once after a pause; by default one second's worth.
    RequestBurst, request_burst, 1_000_000;
    /// Number of requests that a principal may make in a UTC day.
    RequestsPerDay, requests_per_day, 1_000_000_000;
}

impl Limits {
    /// Whether no limit is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits that are set, in the order of [`Limit::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        Limit::ALL.iter().filter_map(|limit| Some((*limit, self.get(*limit)?)))
    }

    /// Combines two sources: the wider of each limit, and none if one of them has none.
    #[must_use]
    pub fn wider(&self, other: &Self) -> Self {
        let mut wider = Self::default();
        for limit in Limit::ALL {
            wider.set(*limit, self.get(*limit).zip(other.get(*limit)).map(|(one, other)| one.max(other)));
        }
        // A burst belongs to its rate: if a source has a rate and no burst, the burst is one second's worth.
        if wider.requests_per_second.is_some() {
            wider.request_burst =
                self.burst().max(other.burst()).filter(|burst| wider.requests_per_second != Some(*burst));
        }
        wider
    }

    /// Whether `other` allows everything that these limits allow.
    pub fn is_within(&self, other: &Self) -> bool {
        let within = |limit: &Limit| match (self.get(*limit), other.get(*limit)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => own <= other,
        };
        let burst = self.requests_per_second.is_none() || self.burst() <= other.burst() || other.burst().is_none();
        Limit::ALL.iter().filter(|limit| **limit != Limit::RequestBurst).all(within) && burst
    }

    /// The burst that belongs to the rate; `None` without a rate.
    pub fn burst(&self) -> Option<u64> {
        self.requests_per_second.map(|rate| self.request_burst.unwrap_or(rate))
    }

    /// Describes the first bound that is out of range or has no meaning without another; `None` if all are valid.
    pub fn fault(&self) -> Option<String> {
        for (limit, bound) in self.iter() {
            if bound == 0 || bound > limit.most() {
                return Some(match limit.most() {
                    MANY => format!("`{}` is 1 or more", limit.name()),
                    most => format!("`{}` is from 1 to {most}", limit.name()),
                });
            }
        }
        (self.request_burst.is_some() && self.requests_per_second.is_none())
            .then(|| "`request_burst` stands without `requests_per_second`".to_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_limits() -> impl Strategy<Value = Limits> {
        proptest::collection::vec(proptest::option::of(1_u64..6), Limit::ALL.len()).prop_map(|bounds| {
            let mut limits = Limits::default();
            for (limit, bound) in Limit::ALL.iter().zip(bounds) {
                limits.set(*limit, bound);
            }
            if limits.requests_per_second.is_none() {
                limits.request_burst = None;
            }
            limits
        })
    }

    #[test]
    fn they_are_told_by_name() {
        let limits = Limits { max_rows: Some(10), timeout_seconds: Some(5), ..Limits::default() };
        let told = limits.iter().map(|(limit, bound)| (limit.name(), bound)).collect::<Vec<_>>();
        assert_eq!(told, [("timeout_seconds", 5), ("max_rows", 10)]);
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"timeout_seconds":5,"max_rows":10}"#);
    }

    #[test]
    fn what_makes_no_sense_is_a_fault() {
        let fault = |limits: Limits| limits.fault().unwrap_or_default();
        assert_eq!(fault(Limits { max_rows: Some(0), ..Limits::default() }), "`max_rows` is 1 or more");
        let long = Limits { timeout_seconds: Some(90_000), ..Limits::default() };
        assert_eq!(fault(long), "`timeout_seconds` is from 1 to 86400");
        let burst = Limits { request_burst: Some(3), ..Limits::default() };
        assert_eq!(fault(burst), "`request_burst` stands without `requests_per_second`");
        assert_eq!(Limits::default().fault(), None);
    }

    proptest! {
        #[test]
        fn two_sources_that_both_give_are_never_narrower_than_one(one in any_limits(), other in any_limits()) {
            let wider = one.wider(&other);
            prop_assert!(one.is_within(&wider) && other.is_within(&wider), "{wider:?}");
            prop_assert_eq!(&wider, &other.wider(&one));
            for (limit, bound) in wider.iter() {
                if limit != Limit::RequestBurst {
                    // The bound is one of the two, and never wider than both.
                    prop_assert!(one.get(limit) == Some(bound) || other.get(limit) == Some(bound));
                }
            }
        }
    }
}
