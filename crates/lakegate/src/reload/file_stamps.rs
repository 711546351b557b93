//! Detects edits of the project's files by modification time and size, without reading them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lakegate_core::project::CONFIG_FILE;

/// The modification time and size of the project's files.
pub(crate) type FileStamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The state of the project's files when they were last served, and when they were last checked.
pub(crate) struct TrackedFiles {
    pub(super) served: FileStamps,
    pub(super) checked: FileStamps,
}

impl TrackedFiles {
    pub(super) fn new(stamps: FileStamps) -> Self {
        Self { served: stamps.clone(), checked: stamps }
    }

    pub(crate) fn scan(folder: &Path) -> FileStamps {
        let mut stamps = FileStamps::new();
        let mut add = |path: PathBuf| {
            if let Ok(file) = std::fs::metadata(&path) {
                stamps.insert(path, (file.modified().ok(), file.len()));
            }
        };
        add(folder.join(CONFIG_FILE));
        for entry in std::fs::read_dir(folder.join("endpoints")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "sql") {
                add(entry.path());
            }
        }
        stamps
    }
}
