//! Publishes new data files as a table atomically: readers see the old rows or the new ones, and a run that dies leaves
//! the table unchanged.
//!
//! `begin` locks the table and reads its state; files are then written next to the table under hidden names; `commit`
//! puts them in place. Callers choose the rows: `ingest`, and `layout`, which rewrites a table's files. `lake`
//! reads tables.

mod adapt;
mod bounds;
mod delta;
mod error;
mod iceberg;
mod iceberg_schema;
mod parquet;
mod place;
mod rows;
mod staged;
mod staging;
#[cfg(test)]
mod tests;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectStore};
use futures::StreamExt;
use uuid::Uuid;

pub(crate) use adapt::{adapted, writable};
pub use error::PublishError;
pub use place::Place;
pub(crate) use rows::RowStream;
pub(crate) use staged::{StagedFile, StagedWriter};

use crate::lake::layout::WriteOptions;
use delta::DeltaDestination;
use iceberg::IcebergTable;
use parquet::ParquetTable;
use staging::Staging;

/// The format of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Plain Parquet files.
    Parquet,
    /// A Delta log.
    Delta,
    /// Iceberg metadata.
    Iceberg,
}

impl TableFormat {
    /// The formats by name.
    pub const NAMES: [(&str, Self); 3] =
        [("parquet", Self::Parquet), ("delta", Self::Delta), ("iceberg", Self::Iceberg)];

    /// The name in configurations and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Delta => "delta",
            Self::Iceberg => "iceberg",
        }
    }
}

/// The effect of new files on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds rows.
    Append,
    /// Replaces all rows with other rows.
    Replace,
    /// Replaces all files, with the same rows in another layout.
    Rewrite,
}

/// A data file of the table at the time it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentFile {
    /// Path in the store of the `Place`.
    pub(crate) path: Path,
    pub(crate) bytes: u64,
}

/// The result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Rows in the new files.
    pub rows: u64,
    /// Number of new files.
    pub files: usize,
    /// The new Delta version or Iceberg snapshot id; `None` for plain Parquet.
    pub version: Option<String>,
}

/// An open write to a table: its lock, and its state at that time. Dropping it leaves the table unchanged.
#[derive(Debug)]
pub struct Publication {
    place: Place,
    location: String,
    staging: Staging,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Parquet(ParquetTable),
    Delta(DeltaDestination),
    Iceberg(Box<IcebergTable>),
}

impl Publication {
    /// Locks the table at a location below the lake, and reads its state. Without a `format`, the format is detected at
    /// the location; it defaults to Parquet when the location is empty.
    ///
    /// # Errors
    /// When another process writes the table, or it has another format or unsupported features.
    pub async fn begin(place: &Place, location: &str, format: Option<TableFormat>) -> Result<Self, PublishError> {
        let location = location.trim_end_matches('/').trim_start_matches("./").to_owned();
        if location.split('/').any(|part| part == "..") {
            let what = format!("`{location}` leads out of the lake");
            return Err(PublishError::refused(what, "a table's files lie below the lake's location"));
        }
        let staging = Staging::begin(place, &location)?;
        let found = found_format(place, &location).await?;
        let format = match (format, found) {
            (Some(format), Some(found)) if format != found => {
                return Err(PublishError::refused(
                    format!("there is a table of the format `{}` at `{location}`", found.name()),
                    format!("write `format = \"{}\"`, or give another location", found.name()),
                ));
            }
            (format, found) => format.or(found).unwrap_or(TableFormat::Parquet),
        };
        let table = match format {
            TableFormat::Parquet => Table::Parquet(ParquetTable::open(place, &location).await?),
            TableFormat::Delta => Table::Delta(DeltaDestination::open(place, &location).await?),
            TableFormat::Iceberg => Table::Iceberg(Box::new(IcebergTable::open(place, &location).await?)),
        };
        let publication = Self { place: place.clone(), location, staging, table };
        if format != TableFormat::Parquet {
            publication.refuse_stray_files(found).await?;
        }
        Ok(publication)
    }

    /// Refuses plain Parquet files when the format is Delta or Iceberg, because a new log would ignore them.
    async fn refuse_stray_files(&self, found: Option<TableFormat>) -> Result<(), PublishError> {
        if found.is_some() {
            return Ok(());
        }
        let path = self.place.path(&self.location)?;
        let mut listed = self.place.store().list(Some(&path));
        while let Some(object) = listed.next().await {
            let name = object.as_ref().ok().and_then(|object| object.location.filename()).unwrap_or_default();
            if !name.is_empty() && !name.starts_with(['_', '.']) {
                return Err(PublishError::refused(
                    format!("there are files at `{}` that are not a {} table", self.location, self.format().name()),
                    "give the table a new folder, or remove them",
                ));
            }
        }
        Ok(())
    }

    /// The table's format.
    pub fn format(&self) -> TableFormat {
        match &self.table {
            Table::Parquet(_) => TableFormat::Parquet,
            Table::Delta(_) => TableFormat::Delta,
            Table::Iceberg(_) => TableFormat::Iceberg,
        }
    }

    /// Whether rows can be added without rewriting the others. A table of one file cannot grow atomically: its rows go
    /// into the new file too, and the change is a `Replace`.
    pub(crate) fn can_append(&self) -> bool {
        match &self.table {
            Table::Parquet(table) => table.can_append(),
            Table::Delta(_) | Table::Iceberg(_) => true,
        }
    }

    /// Data files of the table.
    pub(crate) fn files(&self) -> Vec<CurrentFile> {
        match &self.table {
            Table::Parquet(table) => table.files(),
            Table::Delta(table) => table.files(),
            Table::Iceberg(table) => table.files(),
        }
    }

    /// Whether some rows in the files are deleted, so that the files hold more rows than the table.
    pub(crate) fn has_deletes(&self) -> bool {
        match &self.table {
            Table::Parquet(_) => false,
            Table::Delta(table) => table.has_deletes(),
            Table::Iceberg(table) => table.has_deletes(),
        }
    }

    /// Columns of the table; `None` when it does not exist yet.
    pub(crate) async fn schema(&self) -> Result<Option<SchemaRef>, PublishError> {
        match &self.table {
            Table::Parquet(table) => rows::schema_of(&self.place, &table.files()).await,
            Table::Delta(table) => Ok(table.schema()),
            Table::Iceberg(table) => table.schema(),
        }
    }

    /// Rows of the table, with these columns. Fails if files have deleted rows; `ingest::live` reads those.
    pub(crate) fn rows(&self, schema: &SchemaRef) -> Result<RowStream, PublishError> {
        if self.has_deletes() {
            return Err(PublishError::refused(
                format!("the table at `{}` has deleted rows in its files", self.location),
                "compact it with the tool that wrote it, or use `replace`",
            ));
        }
        Ok(rows::stream(self.place.clone(), self.files(), SchemaRef::clone(schema)))
    }

    /// Creates a new file with these columns next to the table.
    pub(crate) fn create(&self, schema: &SchemaRef, options: &WriteOptions) -> Result<StagedWriter, PublishError> {
        let schema = match &self.table {
            Table::Iceberg(table) => table.numbered(schema)?,
            _ => SchemaRef::clone(schema),
        };
        StagedWriter::create(self.staging.hidden(), schema, options)
    }

    /// Adds the files to the table, or replaces its files with them. On every failure, the table is unchanged.
    ///
    /// # Errors
    /// When another writer changed the table in the meantime, or the change cannot be made atomically.
    pub(crate) async fn commit(self, files: Vec<StagedFile>, change: Change) -> Result<Published, PublishError> {
        let rows = files.iter().map(StagedFile::rows).sum();
        let count = files.len();
        let version = match &self.table {
            Table::Parquet(table) => {
                table.commit(&self.place, &self.staging, &files, change).await?;
                None
            }
            Table::Delta(table) => Some(table.commit(&self.place, &self.location, &files, change).await?),
            Table::Iceberg(table) => Some(table.commit(&self.place, &self.location, &files, change).await?),
        };
        Ok(Published { rows, files: count, version })
    }
}

/// The format at a location, if it is a Delta or Iceberg table.
async fn found_format(place: &Place, location: &str) -> Result<Option<TableFormat>, PublishError> {
    let is_file = |folder: &std::path::Path| folder.join(location).is_file();
    if location.contains(['*', '?', '[']) || place.folder().is_some_and(is_file) {
        return Ok(None);
    }
    let base = place.path(location)?;
    for (folder, ending, format) in
        [("_delta_log", ".json", TableFormat::Delta), ("metadata", ".metadata.json", TableFormat::Iceberg)]
    {
        let mut listed = place.store().list(Some(&base.clone().join(folder)));
        while let Some(object) = listed.next().await {
            match object {
                Ok(object) if object.location.as_ref().ends_with(ending) => return Ok(Some(format)),
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => break,
                Err(error) => return Err(PublishError::store(format!("list `{location}`"))(error)),
            }
        }
    }
    Ok(None)
}

/// A unique name for a data file.
fn new_name() -> String {
    format!("part-{}.parquet", Uuid::now_v7().simple())
}
