//! Limits: what one source of them says ([`Limits`]), what applies to a call ([`InForce`]), and the two things that count
//! over many calls: [`FairQueue`] and [`rate`].
//!
//! Pure: no clock and no lock. Who measures, waits and counts is `lakegate_query::engine`'s and the server's business.

mod fair_queue;
mod in_force;
pub mod rate;

pub use fair_queue::{Ask, FairQueue, Full, Load, Ticket};
pub use in_force::{Bound, InForce, Origin};

use serde::{Deserialize, Serialize};

/// As many as a file can say.
const MANY: u64 = i64::MAX as u64;

macro_rules! limits {
    ($($(#[$doc:meta])* $variant:ident, $field:ident, $most:expr;)*) => {
        /// What can be bounded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Limit { $($(#[$doc])* $variant,)* }

        impl Limit {
            /// All of them, in the order in which they are told.
            pub const ALL: &[Limit] = &[$(Limit::$variant,)*];

            /// The name in files, terms of grants and explanations; its unit is in it.
            pub fn name(self) -> &'static str {
                match self { $(Limit::$variant => stringify!($field),)* }
            }

            /// The largest bound; the least is 1.
            pub const fn most(self) -> u64 {
                match self { $(Limit::$variant => $most,)* }
            }
        }

        /// What one source says: the server's defaults, an endpoint or a grant. What it does not say, it does not bound.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Limits {
            $($(#[$doc])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<u64>,)*
        }

        impl Limits {
            /// One of them.
            pub fn get(&self, limit: Limit) -> Option<u64> {
                match limit { $(Limit::$variant => self.$field,)* }
            }

            /// Says one of them.
            pub fn set(&mut self, limit: Limit, bound: Option<u64>) {
                match limit { $(Limit::$variant => self.$field = bound,)* }
            }
        }
    };
}

limits! {
    /// The longest time from when a request comes in until the last row is read, waiting included.
    TimeoutSeconds, timeout_seconds, 86_400;
    /// The memory of one query.
    MemoryMb, memory_mb, 1 << 24;
    /// The most rows of an answer.
    MaxRows, max_rows, MANY;
    /// The largest answer, as it is before compression.
    MaxResultMb, max_result_mb, 1 << 24;
    /// The most that a query may read, by what is known of the files before it runs.
    MaxScanMb, max_scan_mb, 1 << 40;
    /// The most rows that a query may read, by the same.
    MaxScanRows, max_scan_rows, MANY;
    /// How many queries of one principal run at once.
    MaxConcurrent, max_concurrent, 10_000;
    /// How many requests a second a principal may make in the long run.
    RequestsPerSecond, requests_per_second, 1_000_000;
    /// How many requests it may make at once after a pause; as many as in a second where nothing is said.
    RequestBurst, request_burst, 1_000_000;
    /// How many requests it may make in a day of UTC.
    RequestsPerDay, requests_per_day, 1_000_000_000;
}

impl Limits {
    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said, in the order of [`Limit::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        Limit::ALL.iter().filter_map(|limit| Some((*limit, self.get(*limit)?)))
    }

    /// Both give: of each limit the wider one, and none where one of them has none.
    #[must_use]
    pub fn wider(&self, other: &Self) -> Self {
        let mut wider = Self::default();
        for limit in Limit::ALL {
            wider.set(*limit, self.get(*limit).zip(other.get(*limit)).map(|(one, other)| one.max(other)));
        }
        // The burst of one does not go with the rate of another: without its own, it is a second's worth.
        if wider.requests_per_second.is_some() {
            wider.request_burst =
                self.burst().max(other.burst()).filter(|burst| wider.requests_per_second != Some(*burst));
        }
        wider
    }

    /// Whether everything that these let through the others do too.
    pub fn is_within(&self, other: &Self) -> bool {
        let within = |limit: &Limit| match (self.get(*limit), other.get(*limit)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => own <= other,
        };
        let burst = self.requests_per_second.is_none() || self.burst() <= other.burst() || other.burst().is_none();
        Limit::ALL.iter().filter(|limit| **limit != Limit::RequestBurst).all(within) && burst
    }

    /// The burst that goes with the rate; `None` without a rate.
    pub fn burst(&self) -> Option<u64> {
        self.requests_per_second.map(|rate| self.request_burst.unwrap_or(rate))
    }

    /// The first bound that is none, or has no meaning without another.
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
                    // It is one of the two, and never wider than both.
                    prop_assert!(one.get(limit) == Some(bound) || other.get(limit) == Some(bound));
                }
            }
        }
    }
}
