//! The file of the log: appended to under a lock, put aside when it is large, and found again when somebody else did that.
//!
//! Several processes may write to one log. Who writes holds the file's lock, looks first whether the file is still the
//! one at the path, and begins on a fresh line if whoever was there before died in the middle of one. So no line is lost
//! and none is mixed with another.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::record::{ChangeRecord, Record};
use crate::clock;

/// The name of the file that is written to.
pub const CURRENT: &str = "audit.ndjson";
/// How long another process may hold the lock. It is held for a write, not for work.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a file may be found to be another one in the course of one write.
const TRIES: usize = 100;

/// The log of a folder, open for appending.
#[derive(Debug)]
pub struct LogFile {
    folder: PathBuf,
    max_bytes: Option<u64>,
    keep: usize,
    file: Option<File>,
}

impl LogFile {
    /// The log in `folder`. A file larger than `max_bytes` is put aside, and `keep` of those are kept; 0 is all.
    pub fn new(folder: &Path, max_bytes: Option<u64>, keep: usize) -> Self {
        Self { folder: folder.to_owned(), max_bytes, keep, file: None }
    }

    /// Makes the folder, and opens the file for a first look.
    ///
    /// # Errors
    /// When the folder can not be made, or the file can not be written to.
    pub fn prepare(&mut self) -> io::Result<()> {
        if let Some(parent) = self.folder.parent() {
            fs::create_dir_all(parent)?;
        }
        self.append(&[], false)
    }

    /// Appends whole lines with one write: all of them or, where the system allows it, none. With `durable`, they are on
    /// the disk afterwards.
    ///
    /// # Errors
    /// When the disk refuses. The file is opened anew for the next write.
    pub fn append(&mut self, lines: &[u8], durable: bool) -> io::Result<()> {
        for _ in 0..TRIES {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.open(durable)?,
            };
            lock(&file)?;
            // Closing the file gives the lock back, on every way out that does not keep it.
            if !self.is_current(&file) {
                continue;
            }
            let size = file.metadata()?.len();
            if size > 0 && self.max_bytes.is_some_and(|most| size + lines.len() as u64 > most) {
                self.put_aside(&file)?;
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
        self.folder.join(CURRENT)
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
        number(&open) == number(&at_path)
    }

    /// Gives the file, whose lock is held, another name.
    fn put_aside(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        let mut moment = clock::now();
        let aside = loop {
            let path = self.folder.join(format!("audit-{}.ndjson", moment.format("%Y%m%dT%H%M%S%.6fZ")));
            if !path.try_exists()? {
                break path;
            }
            moment += TimeDelta::microseconds(1);
        };
        fs::rename(self.path(), aside)?;
        sync_folder(&self.folder)?;
        if self.keep > 0 {
            let put_aside = put_aside(&self.folder)?;
            let many = put_aside.len().saturating_sub(self.keep);
            for old in put_aside.iter().take(many) {
                if let Err(error) = fs::remove_file(old) {
                    tracing::warn!(path = %old.display(), %error, "an old file of the audit log can not be removed");
                }
            }
        }
        Ok(())
    }
}

/// The files of a log that were put aside, in the order of time.
///
/// # Errors
/// When the folder can not be read.
pub fn put_aside(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

/// Appends changes to the log of a folder, durably; for a process that is no server.
///
/// # Errors
/// When the disk refuses; then nothing was appended, or a part that will be there again when it is tried again.
pub fn append_changes(folder: &Path, changes: &[ChangeRecord]) -> io::Result<()> {
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
        // A record that its request did not wait for in vain must not be found later. Where even this fails, what is
        // left is a broken line, which readers skip.
        let _ = file.set_len(size);
    }
    done
}

/// A new or renamed file is durable when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(unix)]
fn number(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn number(_file: &fs::Metadata) -> (u64, u64) {
    // An open file can not be replaced on such a system.
    (0, 0)
}
