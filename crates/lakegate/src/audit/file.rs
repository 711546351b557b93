//! The file of the audit log: appends under a lock, rotates by size, and notices when another process has rotated it.
//!
//! Several processes may write to one log. A writer holds the file's lock, checks that the file is still the one at the
//! path, and starts a new line if the previous writer died in the middle of one. So no line is lost or mixed with
//! another.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::record::{AuditChange, Record};
use crate::clock;

/// The name of the current file.
pub const CURRENT_FILE: &str = "audit.ndjson";
/// The time to wait for the lock. A process holds it only for a write.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of times that another process may rotate the file during one append.
const MAX_APPEND_TRIES: usize = 100;

/// The log of a folder, open for appending.
#[derive(Debug)]
pub struct LogFile {
    folder: PathBuf,
    max_bytes: Option<u64>,
    keep: usize,
    file: Option<File>,
}

impl LogFile {
    /// The log in `folder`. A file that would exceed `max_bytes` is rotated. `keep` rotated files are kept; 0 keeps
    /// all.
    pub fn new(folder: &Path, max_bytes: Option<u64>, keep: usize) -> Self {
        Self { folder: folder.to_owned(), max_bytes, keep, file: None }
    }

    /// Creates the folder, and checks that the file can be written.
    ///
    /// # Errors
    /// If the folder cannot be created, or the file cannot be written.
    pub fn prepare(&mut self) -> io::Result<()> {
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent)?;
        }
        self.append(&[], false)
    }

    /// Appends whole lines in one write. On failure it removes them again, where the system allows that. With
    /// `durable`, they are on disk afterwards.
    ///
    /// # Errors
    /// If the write fails. The next append opens the file again.
    pub fn append(&mut self, lines: &[u8], durable: bool) -> io::Result<()> {
        for _ in 0..MAX_APPEND_TRIES {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.open(durable)?,
            };
            lock(&file)?;
            // Closing the file releases the lock on every path that does not keep the file.
            if !self.is_current(&file) {
                continue;
            }
            let size = file.metadata()?.len();
            if size > 0 && self.max_bytes.is_some_and(|most| size + lines.len() as u64 > most) {
                self.rotate(&file)?;
                continue;
            }
            write(&file, size, lines, durable)?;
            file.unlock()?;
            self.file = Some(file);
            return Ok(());
        }
        Err(io::Error::other("the file is put aside again and again by somebody else"))
    }

    fn path(&self) -> PathBuf {
        self.folder.join(CURRENT_FILE)
    }

    fn open(&self, durable: bool) -> io::Result<File> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.path())?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        if durable {
            sync_folder(&self.folder)?;
        }
        Ok(file)
    }

    fn is_current(&self, file: &File) -> bool {
        let (Ok(open), Ok(at_path)) = (file.metadata(), fs::metadata(self.path())) else { return false };
        file_id(&open) == file_id(&at_path)
    }

    /// Rotates the file, whose lock is held.
    fn rotate(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        let mut moment = clock::now();
        let rotated_path = loop {
            let path = self.folder.join(format!("audit-{}.ndjson", moment.format("%Y%m%dT%H%M%S%.6fZ")));
            if !path.try_exists()? {
                break path;
            }
            moment += TimeDelta::microseconds(1);
        };
        fs::rename(self.path(), rotated_path)?;
        sync_folder(&self.folder)?;
        if self.keep > 0 {
            let rotated = rotated_files(&self.folder)?;
            let many = rotated.len().saturating_sub(self.keep);
            for old in rotated.iter().take(many) {
                if let Err(error) = fs::remove_file(old) {
                    tracing::warn!(path = %old.display(), %error, "an old file of the audit log cannot be removed");
                }
            }
        }
        Ok(())
    }
}

/// The rotated files of a log, oldest first.
///
/// # Errors
/// If the folder is unreadable.
pub fn rotated_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("audit-") && name.ends_with(".ndjson") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Appends changes to the log of a folder durably, from a process that is not a server.
///
/// # Errors
/// If the write fails. Then nothing was appended, or a part that a retry will repeat.
pub fn append_changes(folder: &Path, changes: &[AuditChange]) -> io::Result<()> {
    let mut lines = Vec::new();
    for change in changes {
        Record::Change(change.clone()).write_to(&mut lines);
    }
    let mut log = LogFile::new(folder, None, 0);
    log.prepare()?;
    log.append(&lines, true)
}

fn lock(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock of the file"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn write(mut file: &File, size: u64, lines: &[u8], durable: bool) -> io::Result<()> {
    if lines.is_empty() {
        return if durable { file.sync_data() } else { Ok(()) };
    }
    let fresh = size == 0 || {
        let mut last = [0];
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
        last == *b"\n"
    };
    let written = if fresh { file.write_all(lines) } else { file.write_all(&[b"\n", lines].concat()) };
    let done = written.and_then(|()| if durable { file.sync_data() } else { Ok(()) });
    if done.is_err() {
        // The request of a failed record is refused, so the record must not be found later. If even this fails, a
        // broken line remains, which readers skip.
        let _ = file.set_len(size);
    }
    done
}

/// Syncs the folder, which makes a new or renamed file durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(unix)]
fn file_id(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn file_id(_file: &fs::Metadata) -> (u64, u64) {
    // On such a system an open file cannot be replaced.
    (0, 0)
}
