//! Writes a sample as a lake of Parquet files, atomically.
//!
//! The files are clustered by client and creation, so that a client's date range is cheap to read. `trackcode` and
//! `order` are folders of several files; the other tables are one file each.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use lakegate_query::lake::write::{Codec, Column, ColumnData, TableWriter, WriteOptions};

use super::model::Rows;
use super::{Sample, SampleError, columns};

/// Describes the sample in a lake, and marks a folder as one that may be replaced.
const MARKER: &str = "sample.json";
/// Bump when the rows or files of a seed and scale change.
const LAYOUT: u32 = 2;
/// Locked by the process that writes the lake.
const LOCK: &str = ".lock";
/// The minimum number of rows in a `trackcode` file, and the approximate maximum number of files in a table.
const PART_ROWS: u64 = 25_000;
const MAX_PARTS: u64 = 8;

/// Writes all tables into `dir`. Calls `progress` with the number of trackcodes done and their total.
///
/// The lake is written beside `dir` and renamed when it is complete. An older sample is replaced. A folder with any
/// other content is an error and stays unchanged.
pub fn write_lake(sample: &Sample, dir: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), SampleError> {
    if !may_replace(dir).map_err(|source| SampleError::File { path: dir.to_owned(), source })? {
        return Err(SampleError::Exists { path: dir.to_owned() });
    }
    let staging = Staging::beside(dir)?;
    progress(0, sample.trackcode_count());
    dimensions(sample, &staging.path)?;
    shipments(sample, &staging.path, &mut progress)?;
    let marker = staging.path.join(MARKER);
    fs::write(&marker, marker_of(sample)).map_err(|source| SampleError::File { path: marker.clone(), source })?;
    staging.move_to(dir)
}

/// Whether `dir` holds exactly this sample, complete.
pub fn is_written(sample: &Sample, dir: &Path) -> bool {
    fs::read_to_string(dir.join(MARKER)).is_ok_and(|found| found == marker_of(sample))
}

fn marker_of(sample: &Sample) -> String {
    format!(
        "{{\"sample\": \"logistics\", \"layout\": {LAYOUT}, \"seed\": {}, \"scale\": {}, \"trackcodes\": {}}}\n",
        sample.seed(),
        sample.scale(),
        sample.trackcode_count()
    )
}

/// Whether `dir` is missing, empty, or an older sample.
fn may_replace(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none() || dir.join(MARKER).is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

fn dimensions(sample: &Sample, dir: &Path) -> Result<(), SampleError> {
    let file = |name, columns: &[Column], data| one_file(dir, name, columns, &["id"], data);
    file("country", &columns::COUNTRY, columns::countries(&sample.countries()))?;
    file("city", &columns::CITY, columns::cities(&sample.cities()))?;
    file("service", &columns::SERVICE, columns::services(&sample.services()))?;
    file("product_size", &columns::PRODUCT_SIZE, columns::product_sizes(&sample.product_sizes()))?;
    file("client", &columns::CLIENT, columns::clients(sample.clients()))?;
    file("route", &columns::ROUTE, columns::routes(&sample.routes().collect::<Vec<_>>()))
}

/// Writes a table as one file.
fn one_file(
    dir: &Path,
    name: &'static str,
    columns: &[Column],
    sorted_by: &[&'static str],
    data: Vec<ColumnData>,
) -> Result<(), SampleError> {
    let mut table = Table::new(dir, name, columns, sorted_by);
    table.open(None)?;
    table.write(data)?;
    table.close()
}

/// Writes arbitrary rows as a lake with one file for each table, for lakes that deliberately differ from a sample.
pub fn write_rows(rows: &Rows, dir: &Path) -> Result<(), SampleError> {
    fs::create_dir_all(dir).map_err(|source| SampleError::File { path: dir.to_owned(), source })?;
    let file = |name, columns: &[Column], data| one_file(dir, name, columns, &[], data);
    file("country", &columns::COUNTRY, columns::countries(&rows.countries))?;
    file("city", &columns::CITY, columns::cities(&rows.cities))?;
    file("service", &columns::SERVICE, columns::services(&rows.services))?;
    file("product_size", &columns::PRODUCT_SIZE, columns::product_sizes(&rows.product_sizes))?;
    file("client", &columns::CLIENT, columns::clients(&rows.clients))?;
    file("route", &columns::ROUTE, columns::routes(&rows.routes))?;
    file("trackcode", &columns::TRACKCODE, columns::trackcodes(&rows.trackcodes))?;
    file("order", &columns::ORDER, columns::orders(&rows.orders))
}

/// Writes `trackcode` and `order` in parallel, so that files with the same number hold the same clients.
fn shipments(sample: &Sample, dir: &Path, progress: &mut impl FnMut(u64, u64)) -> Result<(), SampleError> {
    let all = sample.trackcode_count();
    let part_rows = PART_ROWS.max(all.div_ceil(MAX_PARTS));
    let mut trackcode = Table::new(dir, "trackcode", &columns::TRACKCODE, &["client_id", "creation", "id"]);
    let mut order = Table::new(dir, "order", &columns::ORDER, &[]);
    let (mut done, mut in_part, mut part) = (0, part_rows, 0);
    for shipments in sample.shipments() {
        if in_part >= part_rows {
            trackcode.open(Some(part))?;
            order.open(Some(part))?;
            (in_part, part) = (0, part + 1);
        }
        trackcode.write(columns::trackcodes(&shipments.trackcodes))?;
        order.write(columns::orders(&shipments.orders))?;
        in_part += shipments.trackcodes.len() as u64;
        done += shipments.trackcodes.len() as u64;
        progress(done, all);
    }
    trackcode.close()?;
    order.close()
}

/// A table, and its file that is being written.
struct Table<'a> {
    dir: &'a Path,
    name: &'static str,
    columns: &'a [Column],
    options: WriteOptions,
    writer: Option<TableWriter>,
}

impl<'a> Table<'a> {
    fn new(dir: &'a Path, name: &'static str, columns: &'a [Column], sorted_by: &[&'static str]) -> Self {
        let options = WriteOptions {
            sorted_by: sorted_by.iter().map(ToString::to_string).collect(),
            codec: Codec::Snappy,
            ..WriteOptions::default()
        };
        Self { dir, name, columns, options, writer: None }
    }

    /// Closes the current file and opens the next: a numbered file in a folder, if the table has several.
    fn open(&mut self, part: Option<u64>) -> Result<(), SampleError> {
        self.close()?;
        let file = match part {
            Some(part) => {
                let folder = self.dir.join(self.name);
                fs::create_dir_all(&folder).map_err(|source| SampleError::File { path: folder.clone(), source })?;
                folder.join(format!("{part:04}.parquet"))
            }
            None => self.dir.join(format!("{}.parquet", self.name)),
        };
        let writer = TableWriter::create(&file, self.columns, &self.options);
        self.writer = Some(writer.map_err(|source| SampleError::Table { table: self.name, source })?);
        Ok(())
    }

    fn write(&mut self, data: Vec<ColumnData>) -> Result<(), SampleError> {
        let writer = self.writer.as_mut().expect("a file is opened before rows are written");
        writer.write(data).map_err(|source| SampleError::Table { table: self.name, source })
    }

    fn close(&mut self) -> Result<(), SampleError> {
        match self.writer.take() {
            Some(writer) => writer.finish().map_err(|source| SampleError::Table { table: self.name, source }),
            None => Ok(()),
        }
    }
}

/// The hidden folder beside the lake in which it is written. Only one process at a time holds it. The next process
/// deletes the remains of a killed one.
struct Staging {
    path: PathBuf,
    lock: Option<File>,
}

impl Staging {
    fn beside(dir: &Path) -> Result<Self, SampleError> {
        let file_error = |source| SampleError::File { path: dir.to_owned(), source };
        let name = dir.file_name().ok_or_else(|| file_error(io::ErrorKind::InvalidInput.into()))?;
        let path = dir.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        fs::create_dir_all(&path).map_err(file_error)?;
        let lock = File::create(path.join(LOCK)).map_err(file_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SampleError::Busy { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(file_error(source)),
        }
        let staging = Self { path, lock: Some(lock) };
        staging.clear().map_err(file_error)?;
        Ok(staging)
    }

    /// Deletes everything but the lock.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false if entry.file_name() != LOCK => fs::remove_file(entry.path())?,
                false => {}
            }
        }
        Ok(())
    }

    /// Renames the folder to `dir`, and replaces an older lake.
    fn move_to(mut self, dir: &Path) -> Result<(), SampleError> {
        let file_error = |source| SampleError::File { path: dir.to_owned(), source };
        drop(self.lock.take());
        fs::remove_file(self.path.join(LOCK)).map_err(file_error)?;
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(file_error)?;
        }
        fs::rename(&self.path, dir).map_err(file_error)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After the rename nothing is left to delete; after a failure, the first error matters more than a second one.
        if self.lock.take().is_some() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
