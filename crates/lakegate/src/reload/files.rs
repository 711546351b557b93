//! Detects edits of the project's files by modification time and size, without reading them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lakegate_core::project::CONFIG_FILE;

/// The modification time and size of the project's files.
pub(crate) type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The state of the project's files when they were last served, and when they were last checked.
pub(crate) struct Files {
    pub(super) served: Seen,
    pub(super) seen: Seen,
}

impl Files {
    pub(super) fn all(seen: Seen) -> Self {
        Self { served: seen.clone(), seen }
    }

    pub(crate) fn look(folder: &Path) -> Seen {
        let mut seen = Seen::new();
        let mut note = |path: PathBuf| {
            if let Ok(file) = std::fs::metadata(&path) {
                seen.insert(path, (file.modified().ok(), file.len()));
            }
        };
        note(folder.join(CONFIG_FILE));
        for entry in std::fs::read_dir(folder.join("endpoints")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "sql") {
                note(entry.path());
            }
        }
        seen
    }
}
