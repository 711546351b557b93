//! Rewrites a table in a new layout: the same rows, in files of which a request reads little. Reads the new files back
//! and compares their rows before it replaces the old files in one step; if the rows differ, the table does not change.

use std::fs::File;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use futures::StreamExt;
use lakegate_core::project::{Table, TableFormat as LakeFormat};

use super::checksum::Checksum;
use super::cluster::ClusterColumn;
use super::files::Present;
use super::query::quoted;
use super::wants;
use super::{PAGE_ROWS, order};
use crate::lake::LakeTable;
use crate::lake::layout::{Codec, WriteOptions};
use crate::plan::PlannedProject;
use crate::publish::{
    Change, Publication, PublishError, Published, StagedFile, StagedWriter, TableFormat, adapted, writable,
};

/// The key in a footer under which a file records its clustering columns.
const NOTE: &str = "lakegate.laid_out_by";

/// The value of that key.
fn note(by: &[ClusterColumn]) -> String {
    by.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether all files record that they are clustered by these columns.
pub(super) fn is_noted(present: &Present, by: &[ClusterColumn]) -> bool {
    present.all_note(NOTE, &note(by))
}

/// The size in bytes at which a new file begins, if the table may have several.
const FILE_BYTES: u64 = 256 << 20;

/// The new layout of a table.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The name of the table.
    pub table: String,
    /// The columns to sort by; if empty, files are only merged.
    pub by: Vec<ClusterColumn>,
    /// Rows per row group.
    pub row_group_rows: u64,
    /// Columns that get Bloom filters.
    pub bloom_filters: Vec<String>,
}

/// The reason why a table was not rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The table cannot be rewritten.
    #[error("{what}; {help}")]
    Refused {
        /// The obstacle.
        what: String,
        /// The next step.
        help: String,
    },
    /// The rows cannot be read or sorted.
    #[error("the rows of the table cannot be read and sorted; the table is as it was")]
    Read(#[source] DataFusionError),
    /// The rows of the new files differ from those of the old files.
    #[error(
        "the new files do not have the same rows as the table ({before} before, {after} after); they are thrown away, and the table is as it was"
    )]
    Differs {
        /// The number of rows of the table.
        before: u64,
        /// The number of rows of the new files.
        after: u64,
    },
    /// The new files cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl RewriteError {
    fn refused(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), help: help.into() }
    }
}

/// Reports progress: the current step, the rows done, and the total number of rows if it is known.
pub type RowProgress<'a> = &'a (dyn Fn(&'static str, u64, Option<u64>) + Sync);

/// Checks that a table can be rewritten, before any work on it.
///
/// # Errors
/// If it cannot be; describes the obstacle.
pub fn can_rewrite(project: &PlannedProject, table: &str) -> Result<(), RewriteError> {
    let (found, declared) = table_of(project, table)?;
    let location = declared.location.trim_end_matches('/');
    if !found.is_parquet() {
        return Err(RewriteError::refused(
            format!("`{table}` is a table of text files"),
            "make Parquet of them with `lakegate ingest`",
        ));
    }
    if let Some(LakeFormat::Iceberg { entry: Some(_) }) = &declared.table_format {
        return Err(RewriteError::refused(
            format!("`{table}` is an Iceberg table of a catalog, which alone can change it"),
            "compact it with the tool that writes it",
        ));
    }
    if location.contains(['*', '?', '[']) && found.file_count() > 1 {
        return Err(RewriteError::refused(
            format!("the files of `{table}` are found by a glob, and several files cannot be replaced in one step"),
            "give the table a folder of its own, and write that as its location",
        ));
    }
    if declared.table_format.is_none() && found.objects().any(|object| object.location.as_ref().contains('=')) {
        return Err(RewriteError::refused(
            format!("`{table}` lies in partition folders, which are not written yet"),
            "lay it out with the tool that writes it, or make it a Delta or Iceberg table",
        ));
    }
    if found.file_count() == 0 {
        return Err(RewriteError::refused(format!("`{table}` has no files"), "there is nothing to do"));
    }
    Ok(())
}

/// Writes the rows of a table in their new order and replaces the old files.
///
/// # Errors
/// If any step fails, or if the table changes meanwhile. The table then stays as it was.
pub async fn rewrite(
    project: &PlannedProject,
    asked: &Rewrite,
    progress: RowProgress<'_>,
) -> Result<Published, RewriteError> {
    can_rewrite(project, &asked.table)?;
    let (table, declared) = table_of(project, &asked.table)?;
    let wants = wants::of(project).map_err(RewriteError::Read)?;
    let session = sorting_session(project.session());
    let place = project.lake().place()?;
    let publication = Publication::begin(&place, &declared.location, None).await?;
    // This program lets no other writer in from here on. The opened version must be current; `commit` detects later
    // changes.
    still_current(project, table, declared).await?;
    let format = publication.format();
    let schema = writable(&table.schema(), format)
        .map_err(|fault| RewriteError::refused(fault, "the table cannot be written with its types"))?;

    let plain = format!("SELECT * FROM {}", quoted(&asked.table));
    let before = summed(&session, &plain, &schema, &|rows| progress("rows read", rows, None)).await?;
    let sql = order::query(project, &wants, &asked.table, &asked.by, None)
        .map_err(|what| RewriteError::refused(what, "see `lakegate advise`"))?;
    let options = options(asked, &schema);
    // A table of one file stays one file, because only a single file can replace it.
    let is_one_file = format == TableFormat::Parquet && publication.files().len() == 1;
    let mut writer = Files {
        publication: &publication,
        schema: &schema,
        options: &options,
        is_one_file,
        note: note(&asked.by),
        staged: Vec::new(),
        open: None,
    };
    let mut rows = stream(&session, &sql).await?;
    let mut done = 0;
    while let Some(batch) = rows.next().await {
        let batch = adapted(&batch.map_err(RewriteError::Read)?, &schema)
            .map_err(|fault| RewriteError::refused(fault, "the table is as it was"))?;
        done += batch.num_rows() as u64;
        writer.write(&batch)?;
        progress("rows written", done, Some(before.rows));
    }
    drop(rows);
    let staged = writer.finish()?;
    let mut after = Checksum::default();
    for file in &staged {
        read_back(file, &schema, &mut after)?;
        progress("rows read back", after.rows, Some(before.rows));
    }
    if before != after {
        return Err(RewriteError::Differs { before: before.rows, after: after.rows });
    }
    still_current(project, table, declared).await?;
    Ok(publication.commit(staged, Change::Rewrite).await?)
}

fn table_of<'a>(project: &'a PlannedProject, name: &str) -> Result<(&'a LakeTable, &'a Table), RewriteError> {
    let missing = || RewriteError::refused(format!("there is no table `{name}`"), "see `lakegate check`");
    let table = project.tables().iter().find(|table| table.name() == name).ok_or_else(missing)?;
    let declared = project.project().config.tables.get(name).ok_or_else(missing)?;
    Ok((table, declared))
}

async fn still_current(project: &PlannedProject, table: &LakeTable, declared: &Table) -> Result<(), RewriteError> {
    match table.is_current(project.lake(), declared).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(PublishError::Conflict.into()),
        Err(fault) => Err(RewriteError::refused(fault.message, "the table is as it was")),
    }
}

/// A session that sorts and joins more than fits into memory, by sort-merge joins, because hash joins cannot spill.
fn sorting_session(session: &SessionState) -> SessionState {
    let mut config = session.config().clone().with_target_partitions(2);
    let options = config.options_mut();
    options.optimizer.prefer_hash_join = false;
    options.optimizer.repartition_file_scans = false;
    SessionStateBuilder::new_from_existing(session.clone()).with_config(config).build()
}

async fn stream(session: &SessionState, sql: &str) -> Result<SendableRecordBatchStream, RewriteError> {
    let planned = async {
        let plan = session.create_logical_plan(sql).await?;
        let plan = session.create_physical_plan(&plan).await?;
        execute_stream(plan, session.task_ctx())
    };
    planned.await.map_err(RewriteError::Read)
}

/// The checksum of the rows that a query returns.
async fn summed(
    session: &SessionState,
    sql: &str,
    schema: &SchemaRef,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Checksum, RewriteError> {
    let mut rows = stream(session, sql).await?;
    let mut sum = Checksum::default();
    while let Some(batch) = rows.next().await {
        let batch = adapted(&batch.map_err(RewriteError::Read)?, schema)
            .map_err(|fault| RewriteError::refused(fault, "the table is as it was"))?;
        sum.add(&batch).map_err(|error| RewriteError::Read(error.into()))?;
        progress(sum.rows);
    }
    Ok(sum)
}

/// Reads a new file back from disk and adds its rows to a checksum.
fn read_back(file: &StagedFile, schema: &SchemaRef, sum: &mut Checksum) -> Result<(), RewriteError> {
    let opened = File::open(file.path()).map_err(PublishError::file("read what was written"))?;
    let failed = |error| RewriteError::Read(DataFusionError::ParquetError(Box::new(error)));
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(opened).and_then(|builder| builder.build()).map_err(failed)?;
    for batch in reader {
        let batch = batch.map_err(|error| RewriteError::Read(error.into()))?;
        let batch = adapted(&batch, schema).map_err(|fault| RewriteError::refused(fault, "the table is as it was"))?;
        sum.add(&batch).map_err(|error| RewriteError::Read(error.into()))?;
    }
    Ok(())
}

fn options(asked: &Rewrite, schema: &Schema) -> WriteOptions {
    // Records the sort order up to the first column of another table or of floats. Readers disagree about NaN.
    let is_noted = |column: &&ClusterColumn| {
        let field = schema.field_with_name(&column.column);
        column.through.is_empty() && field.is_ok_and(|field| !field.data_type().is_floating())
    };
    WriteOptions {
        row_group_rows: usize::try_from(asked.row_group_rows).unwrap_or(usize::MAX),
        page_rows: PAGE_ROWS,
        codec: Codec::Zstd,
        sorted_by: asked.by.iter().take_while(is_noted).map(|column| column.column.clone()).collect(),
        bloom_filters: asked.bloom_filters.clone(),
        without_dictionary: Vec::new(),
    }
}

/// Writes the new files one after the other.
struct Files<'a> {
    publication: &'a Publication,
    schema: &'a SchemaRef,
    options: &'a WriteOptions,
    is_one_file: bool,
    note: String,
    staged: Vec<StagedFile>,
    open: Option<StagedWriter>,
}

impl Files<'_> {
    fn write(&mut self, batch: &datafusion::arrow::array::RecordBatch) -> Result<(), RewriteError> {
        if self.open.as_ref().is_some_and(|open| !self.is_one_file && open.bytes() as u64 >= FILE_BYTES) {
            self.close()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let open = self.open.insert(open);
        // The fields of an Iceberg table carry their field ids.
        let batch = batch.clone().with_schema(SchemaRef::clone(open.schema()));
        let batch = batch.map_err(|error| RewriteError::Read(error.into()))?;
        Ok(open.write(&batch)?)
    }

    /// Begins a file and notes its clustering columns, because statistics do not show an order by another table.
    fn create(&self) -> Result<StagedWriter, RewriteError> {
        let mut new = self.publication.create(self.schema, self.options)?;
        new.note(NOTE, self.note.clone());
        Ok(new)
    }

    fn close(&mut self) -> Result<(), RewriteError> {
        if let Some(open) = self.open.take() {
            self.staged.push(open.finish()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<StagedFile>, RewriteError> {
        if self.staged.is_empty() && self.open.is_none() {
            // A table without rows keeps one empty file, which stores its columns.
            self.open = Some(self.create()?);
        }
        self.close()?;
        Ok(self.staged)
    }
}
