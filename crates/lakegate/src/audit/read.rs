//! Reads a log: its files in the order of time, line by line, in bounded memory. What is no record is counted and skipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::file::files;

/// A longer line is no record: the longest records are far shorter.
const LONGEST: u64 = 8 << 20;

/// Lines of one file.
struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// How many bytes were read of the file.
    read: u64,
}

impl Lines {
    fn open(path: &Path, from: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Self::of(file))
    }

    fn of(file: File) -> Self {
        Self { reader: BufReader::new(file), line: Vec::new(), read: 0 }
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

/// Goes through all records in the order of time. Gives the number of lines that are none.
///
/// # Errors
/// When a file can not be read, or `each` fails.
pub fn all(folder: &Path, mut each: impl FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<usize> {
    let mut broken = 0;
    for path in files(folder)? {
        let mut lines = match Lines::open(&path, 0) {
            Ok(lines) => lines,
            // It was removed in the meantime, because only some are kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
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
    let files = files(folder)?;
    let (mut records, mut broken) = (Vec::new(), 0);
    let mut place = Place::default();
    for path in files.iter().rev() {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if place.file.is_none() {
            place = Place { file: Some(number(&file)?), offset: whole_lines(path, length)? };
        }
        let wanted = count - records.len();
        let (mut of_file, broken_of_file) = last_of(path, length, wanted)?;
        broken += broken_of_file;
        of_file.append(&mut records);
        records = of_file;
        if records.len() >= count {
            break;
        }
    }
    Ok((records, broken, place))
}

/// The last records of a file, from as much of its end as is needed.
fn last_of(path: &Path, length: u64, wanted: usize) -> io::Result<(Vec<Value>, usize)> {
    let mut window = 256 << 10;
    loop {
        let from = length.saturating_sub(window);
        let mut lines = Lines::open(path, from)?;
        if from > 0 {
            // The first is a part of one, or a whole one that is not needed.
            lines.next()?;
        }
        let (mut records, mut broken) = (std::collections::VecDeque::new(), 0);
        while let Some((line, _)) = lines.next()? {
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
fn whole_lines(path: &Path, length: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut end = length;
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

/// How far a log was read, for those who follow it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    file: Option<(u64, u64)>,
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
        let mut broken = 0;
        let files = files(folder)?;
        let mut opened = Vec::new();
        for path in files {
            let Ok(file) = File::open(&path) else { continue };
            let number = number(&file)?;
            opened.push((number, file));
        }
        // The file that was read may have another name by now; all that come after it are new.
        let known = self.file.and_then(|number| opened.iter().position(|(other, _)| *other == number));
        let first = match (known, self.file) {
            (Some(at), _) => at,
            // It is gone, because only some are kept.
            (None, Some(_)) => opened.len().saturating_sub(1),
            (None, None) => 0,
        };
        let count = opened.len();
        for (at, (number, mut file)) in opened.into_iter().enumerate().skip(first) {
            if self.file != Some(number) {
                *self = Self { file: Some(number), offset: 0 };
            }
            file.seek(SeekFrom::Start(self.offset))?;
            let mut lines = Lines::of(file);
            let start = self.offset;
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
