//! Checks that the open file is still the file at its path.
//!
//! A deleted or replaced file stays readable through an open handle. An answer from it would come from a store that the
//! operator has removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The identity (device and inode) of the file at a path.
#[derive(Debug)]
pub(super) struct FileIdentity {
    path: PathBuf,
    state: Mutex<KnownFile>,
}

#[derive(Debug)]
struct KnownFile {
    known: Option<FileNumber>,
    replaced_at: Option<Instant>,
}

type FileNumber = (u64, u64);

impl FileIdentity {
    pub(super) fn new(path: &Path) -> Self {
        let known = file_number(path).ok();
        Self { path: path.to_owned(), state: Mutex::new(KnownFile { known, replaced_at: None }) }
    }

    /// Checks the path again. Returns `true` if another file is there than before; fails if there is none.
    pub(super) fn check(&self) -> io::Result<bool> {
        let found = file_number(&self.path);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = found.as_ref().ok().copied();
        let replaced = state.known != number;
        if replaced {
            state.known = number;
            state.replaced_at = Some(Instant::now());
        }
        found.map(|_| replaced)
    }

    /// Whether the file at the path was replaced in the last `age`.
    pub(super) fn replaced_within(&self, age: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.replaced_at.is_some_and(|replaced_at| replaced_at.elapsed() <= age)
    }
}

#[cfg(unix)]
fn file_number(path: &Path) -> io::Result<FileNumber> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn file_number(path: &Path) -> io::Result<FileNumber> {
    // On such a system an open file cannot be replaced.
    std::fs::metadata(path).map(|_| (0, 0))
}
