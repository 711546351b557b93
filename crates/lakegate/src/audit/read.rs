//! Reads the audit log: its files from oldest to newest, line by line, in bounded memory. Counts and skips lines that
//! are not records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::{CURRENT_FILE, rotated_files};

/// The maximum length of a line in bytes. A longer line is not a record, because the longest records are far shorter.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// The maximum number of times that files may be rotated while they are listed.
const MAX_SNAPSHOT_TRIES: usize = 100;
/// The maximum number of files that count as new between two reads.
const MAX_NEW_FILES: usize = 200;

/// The lines of one file.
struct FileLines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Bytes read so far.
    read: u64,
}

impl FileLines {
    fn new(mut file: File, from: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(from))?;
        Ok(Self { reader: BufReader::new(file), line: Vec::new(), read: 0 })
    }

    /// The next line, and whether its line break is present.
    fn next(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        self.line.clear();
        let read = (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.read += read as u64;
        let mut is_whole = self.line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && self.line.len() as u64 == MAX_LINE_BYTES {
            // The rest of an overlong line is skipped.
            self.line.clear();
            self.line.push(0);
            let skipped;
            (is_whole, skipped) = skip_line(&mut self.reader)?;
            self.read += skipped;
        }
        Ok(Some((&self.line, is_whole)))
    }
}

/// Skips the rest of a line. Returns whether it had a line break, and its length in bytes.
fn skip_line(reader: &mut impl BufRead) -> io::Result<(bool, u64)> {
    let mut skipped = 0;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok((false, skipped));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(available.len(), |end| end + 1);
        reader.consume(length);
        skipped += length as u64;
        if end.is_some() {
            return Ok((true, skipped));
        }
    }
}

/// Parses a line; `None` if it is not a record.
fn record(line: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(line).ok().filter(Value::is_object)
}

/// The files of a log at one moment, oldest first.
struct LogFiles {
    /// The rotated files, whose names do not change.
    rotated: Vec<PathBuf>,
    /// The current file, held open because it may be rotated at any time.
    current: Option<File>,
}

impl LogFiles {
    fn take(folder: &Path) -> io::Result<Self> {
        for _ in 0..MAX_SNAPSHOT_TRIES {
            let rotated = rotated_files(folder)?;
            let current = open(&folder.join(CURRENT_FILE))?;
            // If the list is unchanged, the file opened in between is newer than all of them.
            if rotated == rotated_files(folder)? {
                return Ok(Self { rotated, current });
            }
        }
        Err(io::Error::other("its files change too fast to be read"))
    }

    /// The files from the oldest to the newest. Skips files that were removed since.
    fn files(self) -> impl DoubleEndedIterator<Item = io::Result<File>> {
        let rotated = self.rotated.into_iter().filter_map(|path| open(&path).transpose());
        rotated.chain(self.current.map(Ok))
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Visits all records, oldest first. Returns the number of lines that are not records.
///
/// # Errors
/// If a file is unreadable, or `each` fails.
pub fn all(folder: &Path, mut each: impl FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<usize> {
    let mut broken = 0;
    for file in LogFiles::take(folder)?.files() {
        let mut lines = FileLines::new(file?, 0)?;
        while let Some((line, _)) = lines.next()? {
            match record(line) {
                Some(record) => each(record)?,
                None if line.is_empty() => {}
                None => broken += 1,
            }
        }
    }
    Ok(broken)
}

/// The last `count` records, oldest first, the number of broken lines among them, and the position after them.
///
/// # Errors
/// If a file is unreadable.
pub fn last(folder: &Path, count: usize) -> io::Result<(Vec<Value>, usize, ReadPosition)> {
    let (mut records, mut broken) = (Vec::new(), 0);
    let mut position = ReadPosition::default();
    for file in LogFiles::take(folder)?.files().rev() {
        let file = file?;
        let end = end_of_lines(&file)?;
        if position.file.is_none() {
            position = ReadPosition { file: Some(file.try_clone()?), offset: end };
        }
        let (mut of_file, broken_of_file) = last_records_of(&file, end, count - records.len())?;
        broken += broken_of_file;
        of_file.append(&mut records);
        records = of_file;
        if records.len() >= count {
            break;
        }
    }
    Ok((records, broken, position))
}

/// The last records before `end`, reading no more of the file than needed.
fn last_records_of(file: &File, end: u64, wanted: usize) -> io::Result<(Vec<Value>, usize)> {
    let mut window = 256 << 10;
    loop {
        let from = end.saturating_sub(window);
        let mut lines = FileLines::new(file.try_clone()?, from)?;
        if from > 0 {
            // The first line is partial, or not needed.
            lines.next()?;
        }
        let (mut records, mut broken) = (VecDeque::new(), 0);
        while from + lines.read < end
            && let Some((line, _)) = lines.next()?
        {
            match record(line) {
                Some(record) => records.push_back(record),
                None if line.is_empty() => {}
                None => broken += 1,
            }
            if records.len() > wanted {
                records.pop_front();
            }
        }
        if records.len() >= wanted || from == 0 {
            return Ok((records.into(), broken));
        }
        window *= 4;
    }
}

/// The offset after the last complete line.
fn end_of_lines(mut file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

/// A read position in a log, for following it.
#[derive(Debug, Default)]
pub struct ReadPosition {
    /// Held open, so that no other file can get its inode number.
    file: Option<File>,
    offset: u64,
}

impl ReadPosition {
    /// Visits the records written since, and advances. A line that is incomplete stays for the next call. Returns the
    /// number of lines that are not records.
    ///
    /// # Errors
    /// If a file is unreadable, or `each` fails.
    pub fn advance(
        &mut self,
        folder: &Path,
        mut each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        // The known file may have been rotated; all files after it are new.
        let (mut new, mut is_known) = (Vec::new(), false);
        for file in LogFiles::take(folder)?.files().rev() {
            let file = file?;
            is_known = match &self.file {
                Some(known) => file_id(known)? == file_id(&file)?,
                None => false,
            };
            new.push(file);
            // If the known file was deleted, because only some are kept, only the current file is read.
            if is_known || new.len() > MAX_NEW_FILES {
                break;
            }
        }
        if !is_known && self.file.is_some() {
            new.truncate(1);
        }
        let mut broken = 0;
        let count = new.len();
        for (at, file) in new.into_iter().rev().enumerate() {
            if at > 0 || !is_known {
                *self = Self { file: Some(file.try_clone()?), offset: 0 };
            }
            let start = self.offset;
            let mut lines = FileLines::new(file, start)?;
            while let Some((line, is_whole)) = lines.next()? {
                if !is_whole && at + 1 == count {
                    break;
                }
                match record(line) {
                    Some(record) => each(record)?,
                    None if line.is_empty() => {}
                    None => broken += 1,
                }
                self.offset = start + lines.read;
            }
        }
        Ok(broken)
    }
}

#[cfg(unix)]
fn file_id(file: &File) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn file_id(file: &File) -> io::Result<(u64, u64)> {
    // Without inode numbers, the creation time identifies a file.
    let made = file.metadata()?.created()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok((made.as_secs(), u64::from(made.subsec_nanos())))
}
