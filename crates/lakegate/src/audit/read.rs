//! Reads a log: its files in the order of time, line by line, in bounded memory. What is no record is counted and skipped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::{CURRENT, put_aside};

/// A longer line is no record: the longest records are far shorter.
const LONGEST: u64 = 8 << 20;
/// How often files may be put aside while they are listed.
const TRIES: usize = 100;
/// The most files that are taken for new between two looks.
const MOST_NEW: usize = 200;

/// Lines of one file.
struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// How many bytes were read.
    read: u64,
}

impl Lines {
    fn of(mut file: File, from: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(from))?;
        Ok(Self { reader: BufReader::new(file), line: Vec::new(), read: 0 })
    }

    /// The next line, and whether its end is there.
    fn next(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        self.line.clear();
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.read += read as u64;
        let mut is_whole = self.line.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && self.line.len() as u64 == LONGEST {
            // The rest of it is no record either.
            self.line.clear();
            self.line.push(0);
            let skipped;
            (is_whole, skipped) = skip_line(&mut self.reader)?;
            self.read += skipped;
        }
        Ok(Some((&self.line, is_whole)))
    }
}

/// Whether the line has an end, and how many bytes it had still.
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

/// What a line says; `None` where it is no record.
fn record(line: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(line).ok().filter(Value::is_object)
}

/// The files of a log at one moment, in the order of time.
struct Snapshot {
    /// Those that were put aside. Their names stay.
    put_aside: Vec<PathBuf>,
    /// The one that is written to, opened, because it may be put aside at any time.
    current: Option<File>,
}

impl Snapshot {
    fn take(folder: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let put_aside = put_aside(folder)?;
            let current = open(&folder.join(CURRENT))?;
            // With the same files before and after, what was opened in between comes after all of them.
            if put_aside == self::put_aside(folder)? {
                return Ok(Self { put_aside, current });
            }
        }
        Err(io::Error::other("its files change too fast to be read"))
    }

    /// The files from the newest to the oldest, or the other way round. One that was removed since is left out.
    fn files(self) -> impl DoubleEndedIterator<Item = io::Result<File>> {
        let put_aside = self.put_aside.into_iter().filter_map(|path| open(&path).transpose());
        put_aside.chain(self.current.map(Ok))
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Goes through all records in the order of time. Gives the number of lines that are none.
///
/// # Errors
/// When a file can not be read, or `each` fails.
pub fn all(folder: &Path, mut each: impl FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<usize> {
    let mut broken = 0;
    for file in Snapshot::take(folder)?.files() {
        let mut lines = Lines::of(file?, 0)?;
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

/// The last `count` records in the order of time, the number of broken lines among them, and the place behind them.
///
/// # Errors
/// When a file can not be read.
pub fn last(folder: &Path, count: usize) -> io::Result<(Vec<Value>, usize, Place)> {
    let (mut records, mut broken) = (Vec::new(), 0);
    let mut place = Place::default();
    for file in Snapshot::take(folder)?.files().rev() {
        let file = file?;
        let end = end_of_lines(&file)?;
        if place.file.is_none() {
            place = Place { file: Some(file.try_clone()?), offset: end };
        }
        let (mut of_file, broken_of_file) = last_of(&file, end, count - records.len())?;
        broken += broken_of_file;
        of_file.append(&mut records);
        records = of_file;
        if records.len() >= count {
            break;
        }
    }
    Ok((records, broken, place))
}

/// The last records before `end`, from as much of the file as is needed.
fn last_of(file: &File, end: u64, wanted: usize) -> io::Result<(Vec<Value>, usize)> {
    let mut window = 256 << 10;
    loop {
        let from = end.saturating_sub(window);
        let mut lines = Lines::of(file.try_clone()?, from)?;
        if from > 0 {
            // The first is a part of one, or a whole one that is not needed.
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

/// Where the last whole line of a file ends.
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

/// How far a log was read, for those who follow it.
#[derive(Debug, Default)]
pub struct Place {
    /// Held open, so that no other file gets its number.
    file: Option<File>,
    offset: u64,
}

impl Place {
    /// Gives what was written since, and moves behind it. A line that is not whole yet waits for its end.
    ///
    /// # Errors
    /// When a file can not be read, or `each` fails.
    pub fn advance(
        &mut self,
        folder: &Path,
        mut each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        // The file that was read may have another name by now; all that come after it are new.
        let (mut new, mut is_known) = (Vec::new(), false);
        for file in Snapshot::take(folder)?.files().rev() {
            let file = file?;
            is_known = match &self.file {
                Some(known) => number(known)? == number(&file)?,
                None => false,
            };
            new.push(file);
            // Where it is gone, because only some are kept, the current one is all that is looked at.
            if is_known || new.len() > MOST_NEW {
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
            let mut lines = Lines::of(file, start)?;
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
fn number(file: &File) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn number(file: &File) -> io::Result<(u64, u64)> {
    // Without numbers of files, one is told from another by when it was made.
    let made = file.metadata()?.created()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok((made.as_secs(), u64::from(made.subsec_nanos())))
}
