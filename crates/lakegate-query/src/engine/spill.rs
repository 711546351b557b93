//! The spill folder. Each process has its own and removes it on exit; the next process removes that of a killed one.
//!
//! A folder belongs to a process while its lock file is locked. The operating system releases the lock when the process
//! ends, so the folder of a live process is never removed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use datafusion::execution::disk_manager::DiskManager;

const LOCK: &str = "lakegate.lock";
/// The prefix of DataFusion's folder names.
const PREFIX: &str = "datafusion-";

/// The lock of the spill folder, held until drop.
#[derive(Debug)]
pub(crate) struct SpillLock(#[expect(dead_code, reason = "being open is its use")] File);

/// Locks the folder of a disk manager for this process; `None` if it has no folder.
pub(crate) fn lock(manager: &DiskManager) -> io::Result<Option<SpillLock>> {
    let Some(folder) = manager.temp_dir_paths().into_iter().next() else { return Ok(None) };
    let (unlocked, locked) = (folder.join("lakegate.unlocked"), folder.join(LOCK));
    let file = File::create_new(&unlocked)?;
    file.lock()?;
    // The file gets its final name after it is locked, so no process ever sees it unlocked.
    fs::rename(unlocked, locked)?;
    Ok(Some(SpillLock(file)))
}

/// Removes the folders of ended processes inside `folder`. Returns the number of removed folders.
pub(crate) fn clean(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let ours = entries.filter_map(Result::ok).filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(PREFIX)) && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    ours.filter(|entry| remove_if_left(&entry.path())).count()
}

fn remove_if_left(folder: &Path) -> bool {
    // A folder without a lock file was not created by lakegate.
    let Ok(file) = File::open(folder.join(LOCK)) else { return false };
    file.try_lock().is_ok() && fs::remove_dir_all(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};

    use super::*;

    fn manager(folder: &Path) -> DiskManager {
        DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![folder.to_owned()])).build().unwrap()
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (living, dead) = (manager(folder.path()), folder.path().join("datafusion-dead"));
        let _lock = lock(&living).unwrap().unwrap();
        for path in [&dead, &folder.path().join("datafusion-of-others"), &folder.path().join("mine")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("rows"), "rows").unwrap();
        }
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(folder.path().join("mine").join(LOCK), "").unwrap();
        assert_eq!(clean(folder.path()), 1);
        assert!(!dead.exists() && folder.path().join("mine").exists());
        assert!(folder.path().join("datafusion-of-others").exists() && living.temp_dir_paths()[0].exists());
    }

    #[test]
    fn a_process_that_ends_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let living = manager(folder.path());
        let lock = lock(&living).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop((living, lock));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
