//! Parses `[cache]`: results that are kept in memory and reused for callers that may see exactly the same.

use std::time::Duration;

use super::reader::Section;

/// Default time for which a result is reused.
pub(super) const CACHE_FOR: Duration = Duration::from_secs(300);

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Memory for results, in bytes; 0 keeps none.
    pub results_bytes: u64,
    /// The largest result that is kept, in bytes.
    pub largest_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { results_bytes: 64 << 20, largest_bytes: 256 << 10 }
    }
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Cache {
    let default = Cache::default();
    let results_mb = section.integer("results_mb", 0..=(1 << 20));
    let largest_kb = section.integer("largest_kb", 1..=16_384);
    section.finish();
    Cache {
        results_bytes: results_mb.map_or(default.results_bytes, |mb| mb.value << 20),
        largest_bytes: largest_kb.map_or(default.largest_bytes, |kb| kb.value << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (Cache, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.cache, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sizes_are_in_the_units_of_their_names() {
        assert_eq!(read(""), (Cache { results_bytes: 67_108_864, largest_bytes: 262_144 }, vec![]));
        let text = "[cache]\nresults_mb = 0\nlargest_kb = 8";
        assert_eq!(read(text), (Cache { results_bytes: 0, largest_bytes: 8_192 }, vec![]));
        let (_, findings) = read("[cache]\nlargest_kb = 16385\nresults_gb = 1");
        assert!(findings[0].contains("from 1 to 16384") && findings[1].contains("`results_gb`"), "{findings:?}");
    }
}
