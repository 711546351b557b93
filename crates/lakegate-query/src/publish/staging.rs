//! Stages files before they are published, and allows one writer per table at a time.
//!
//! The lock is an operating system file lock, which ends with its process. Staged files that exist when a lock is taken
//! are therefore from a dead run, and are removed. An object store has no such lock: commits there are conditional, and
//! files are staged on a local disk.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::PublishError;
use super::place::Place;

/// Suffix of staged files and folders.
const PARTIAL: &str = ".partial";
/// Suffix of a table's lock file.
const LOCK: &str = ".lock";

/// The lock of a table, and the folder for its staged files.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    /// Prefix of the names of this table's staged files.
    prefix: String,
    /// Held for the lifetime of this value; `None` for an object store.
    _lock: Option<File>,
    /// The local folder for a table in an object store.
    _temporary: Option<tempfile::TempDir>,
}

impl Staging {
    /// Takes the lock, and removes staged files of dead runs.
    pub(super) fn begin(place: &Place, location: &str) -> Result<Self, PublishError> {
        let Some(root) = place.folder() else {
            let temporary = tempfile::tempdir().map_err(PublishError::file("make a temporary folder"))?;
            let folder = temporary.path().to_owned();
            return Ok(Self { folder, prefix: ".new".to_owned(), _lock: None, _temporary: Some(temporary) });
        };
        let (above, name) = location.rsplit_once('/').unwrap_or(("", location));
        let folder = root.join(above);
        inside(root, &folder, location)?;
        fs::create_dir_all(&folder).map_err(PublishError::file(format!("make the folder `{above}`")))?;
        let prefix = format!(".{}", name.replace(['*', '?', '['], "_"));
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(format!("{prefix}{LOCK}")))
            .map_err(PublishError::file(format!("write beside `{location}`")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PublishError::Busy),
            Err(TryLockError::Error(error)) => return Err(PublishError::file(format!("lock `{location}`"))(error)),
        }
        let staging = Self { folder, prefix, _lock: Some(lock), _temporary: None };
        staging.sweep();
        Ok(staging)
    }

    /// A unique hidden path.
    pub(super) fn hidden(&self) -> PathBuf {
        self.folder.join(format!("{}.{}{PARTIAL}", self.prefix, Uuid::now_v7().simple()))
    }

    /// Removes staged files of dead runs. A file that cannot be removed stays hidden.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_ours = name.to_str().is_some_and(|name| self.is_hidden_name(name));
            if !is_ours {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        }
    }

    /// Whether a name is `.NAME.ID.partial` with exactly this table's name: `order` does not match `order.old`.
    fn is_hidden_name(&self, name: &str) -> bool {
        let id = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(PARTIAL));
        id.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// Refuses links that lead out of the lake. For writes this matters even more than for reads.
pub(super) fn inside(root: &Path, path: &Path, shown: &str) -> Result<(), PublishError> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(root);
    let real = there.canonicalize().map_err(PublishError::file(format!("open `{shown}`")))?;
    if real.starts_with(root) {
        return Ok(());
    }
    Err(PublishError::refused(
        format!("`{shown}` leads out of the lake"),
        "a table's files lie below the lake's location",
    ))
}

/// Syncs a folder, so that its names survive a crash of the machine.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
