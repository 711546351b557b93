//! Parses `[reload]`: how often a running server checks whether the project or the lake has changed.

use std::time::Duration;

use super::reader::{Section, SpannedValue};

/// `[reload]`. `None` checks only on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The interval for checking `lakegate.toml` and the endpoint files.
    pub project: Option<Duration>,
    /// The interval for listing the files of the tables.
    pub tables: Option<Duration>,
}

impl Default for Reload {
    fn default() -> Self {
        Self { project: Some(Duration::from_secs(1)), tables: Some(Duration::from_secs(10)) }
    }
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Reload {
    let default = Reload::default();
    let project = section.integer("project_seconds", 0..=86_400);
    let tables = section.integer("tables_seconds", 0..=86_400);
    let every = |seconds: Option<SpannedValue<u64>>, default| match seconds {
        None => default,
        Some(seconds) => (seconds.value > 0).then(|| Duration::from_secs(seconds.value)),
    };
    section.finish();
    Reload { project: every(project, default.project), tables: every(tables, default.tables) }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (Reload, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.reload, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nought_is_never_and_nothing_is_the_usual() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(read(""), (Reload { project: seconds(1), tables: seconds(10) }, vec![]));
        let text = "[reload]\nproject_seconds = 0\ntables_seconds = 300";
        assert_eq!(read(text), (Reload { project: None, tables: seconds(300) }, vec![]));
    }

    #[test]
    fn faults_are_found_at_their_place() {
        let (_, findings) = read("[reload]\nproject_seconds = -1\ntable_seconds = 3");
        assert!(findings[0].starts_with("lakegate.toml:4:19: "), "{findings:?}");
        assert!(findings[1].contains("unknown key `table_seconds`") && findings[1].contains("`tables_seconds`"));
    }
}
