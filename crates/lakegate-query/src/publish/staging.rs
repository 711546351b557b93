//! Where files wait before they are published, and who may publish: one writer at a time for each table.
//!
//! The lock is one of the operating system's. It ends with the process that holds it, however that ends, so what lies
//! there when a lock is taken is of a run that is dead, and is removed. In an object store there is no such lock: there,
//! commits are conditional, and files wait on a disk of this machine.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::PublishError;
use super::place::Place;

/// What hidden files and folders that wait end with.
const PARTIAL: &str = ".partial";
/// What the lock of a table ends with.
const LOCK: &str = ".lock";

/// The right to write a table, and the place for what is not part of it yet.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    /// What the names of hidden files of this table begin with.
    prefix: String,
    /// Held as long as this lives.
    _lock: Option<File>,
    /// The folder on this machine for a table in an object store.
    _temporary: Option<tempfile::TempDir>,
}

impl Staging {
    /// Takes the lock, and removes what dead runs have left.
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

    /// A hidden name that nothing has.
    pub(super) fn hidden(&self) -> PathBuf {
        self.folder.join(format!("{}.{}{PARTIAL}", self.prefix, Uuid::now_v7().simple()))
    }

    /// Removes what runs have left that did not end well. What can not be removed is hidden all the same.
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

    /// `.NAME.ID.partial`, with the very name of this table: `order` is not `order.old`.
    fn is_hidden_name(&self, name: &str) -> bool {
        let id = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(PARTIAL));
        id.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// A link must not lead out of the lake, for what is written even less than for what is read.
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

/// Makes names in a folder outlive a crash of the machine.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
