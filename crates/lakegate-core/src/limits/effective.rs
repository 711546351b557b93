//! Computes the limits of a call: for each limit the tightest of server, endpoint and grants, and its source.

use std::fmt;

use super::{Limit, Limits};
use crate::project::OnMaxRows;

/// The source of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitSource {
    /// `[server]` and `[limits]` of `lakegate.toml`, and the defaults.
    Server,
    /// `[limits]` of the endpoint's file.
    Endpoint,
    /// The terms of the grants.
    Grants,
}

/// A limit in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitBound {
    /// The bound, in the unit of the limit's name.
    pub value: u64,
    /// The source of the bound.
    pub from: LimitSource,
}

/// The limits of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveLimits {
    sources: [(LimitSource, Limits); 3],
    on_max_rows: OnMaxRows,
}

impl EffectiveLimits {
    /// Combines the limits of the three sources.
    pub fn new(server: Limits, endpoint: Limits, grants: Limits, on_max_rows: OnMaxRows) -> Self {
        let sources = [(LimitSource::Server, server), (LimitSource::Endpoint, endpoint), (LimitSource::Grants, grants)];
        Self { sources, on_max_rows }
    }

    /// The tightest bound; the first source wins ties. `None` if no source sets the limit.
    pub fn bound(&self, limit: Limit) -> Option<LimitBound> {
        self.all(limit).min_by_key(|bound| bound.value)
    }

    /// The value of the tightest bound.
    pub fn value(&self, limit: Limit) -> Option<u64> {
        self.bound(limit).map(|bound| bound.value)
    }

    /// The bounds of one limit, one for each source that sets it. Limits over many calls are counted for each source
    /// separately.
    pub fn all(&self, limit: Limit) -> impl Iterator<Item = LimitBound> + '_ {
        self.sources
            .iter()
            .filter_map(move |(from, limits)| Some(LimitBound { value: limits.get(limit)?, from: *from }))
    }

    /// The limits that a source sets.
    pub fn source_limits(&self, source: LimitSource) -> &Limits {
        let [server, endpoint, grants] = &self.sources;
        match source {
            LimitSource::Server => &server.1,
            LimitSource::Endpoint => &endpoint.1,
            LimitSource::Grants => &grants.1,
        }
    }

    /// Converts a limit in megabytes to bytes.
    pub fn bytes(&self, limit: Limit) -> Option<u64> {
        self.value(limit).map(|megabytes| megabytes.saturating_mul(1 << 20))
    }

    /// The tighter bound of the endpoint and the grants, without the server.
    pub fn value_without_server(&self, limit: Limit) -> Option<u64> {
        self.all(limit).filter(|bound| bound.from != LimitSource::Server).map(|bound| bound.value).min()
    }

    /// The handling of a result with more rows than `max_rows`.
    pub fn on_max_rows(&self) -> OnMaxRows {
        self.on_max_rows
    }
}

impl LimitSource {
    /// The name, as one word.
    pub fn name(self) -> &'static str {
        match self {
            LimitSource::Server => "server",
            LimitSource::Endpoint => "endpoint",
            LimitSource::Grants => "grants",
        }
    }
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::any_limits;
    use super::*;

    #[test]
    fn the_tightest_counts_and_says_where_it_comes_from() {
        let server = Limits { timeout_seconds: Some(60), memory_mb: Some(512), ..Limits::default() };
        let endpoint = Limits { timeout_seconds: Some(5), max_rows: Some(100), ..Limits::default() };
        let grants = Limits { timeout_seconds: Some(30), max_rows: Some(100), ..Limits::default() };
        let limits = EffectiveLimits::new(server, endpoint, grants, OnMaxRows::Refuse);
        assert_eq!(limits.bound(Limit::TimeoutSeconds), Some(LimitBound { value: 5, from: LimitSource::Endpoint }));
        assert_eq!(limits.bound(Limit::MaxRows), Some(LimitBound { value: 100, from: LimitSource::Endpoint }));
        assert_eq!(limits.bytes(Limit::MemoryMb), Some(512 << 20));
        assert_eq!(limits.bound(Limit::MaxScanMb), None);
        assert_eq!(limits.all(Limit::TimeoutSeconds).count(), 3);
    }

    proptest! {
        #[test]
        fn nothing_that_one_source_says_widens_another(
            server in any_limits(), endpoint in any_limits(), grants in any_limits(),
        ) {
            let limits = EffectiveLimits::new(server.clone(), endpoint.clone(), grants.clone(), OnMaxRows::Refuse);
            for limit in Limit::ALL {
                for source in [&server, &endpoint, &grants] {
                    if let Some(said) = source.get(*limit) {
                        prop_assert!(limits.value(*limit).is_some_and(|bound| bound <= said));
                    }
                }
            }
        }
    }
}
