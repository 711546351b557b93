//! Lays a table out anew: the same rows in files that a request reads little of. They become the table in one step, after
//! they were read back and are the same rows; else the table stays as it is.

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

/// Where a file's footer says by what columns it is laid out.
const NOTE: &str = "lakegate.laid_out_by";

/// What it says.
fn note(by: &[ClusterColumn]) -> String {
    by.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Whether all files say that they are laid out by these columns.
pub(super) fn is_noted(present: &Present, by: &[ClusterColumn]) -> bool {
    present.all_note(NOTE, &note(by))
}

/// How large a file becomes before a new one is begun, where a table may have several.
const FILE_BYTES: u64 = 256 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The table.
    pub table: String,
    /// The columns of the order; without any, files are only put together.
    pub by: Vec<ClusterColumn>,
    /// Rows of a row group.
    pub row_group_rows: u64,
    /// Columns with bloom filters.
    pub bloom_filters: Vec<String>,
}

/// Why a table stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It can not be done.
    #[error("{what}; {help}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        help: String,
    },
    /// The rows can not be read or sorted.
    #[error("the rows of the table can not be read and sorted; the table is as it was")]
    Read(#[source] DataFusionError),
    /// The new files do not have the rows of the old ones.
    #[error(
        "the new files do not have the same rows as the table ({before} before, {after} after); they are thrown away, and the table is as it was"
    )]
    Differs {
        /// Rows of the table.
        before: u64,
        /// Rows of the new files.
        after: u64,
    },
    /// They can not be put in place.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl RewriteError {
    fn refused(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), help: help.into() }
    }
}

/// How far it is: what is done, and rows of rows.
pub type RowProgress<'a> = &'a (dyn Fn(&'static str, u64, Option<u64>) + Sync);

/// Whether a table can be laid out anew at all, before anything is done for it.
///
/// # Errors
/// What is in the way.
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
            format!("the files of `{table}` are found by a glob, and several files can not be replaced in one step"),
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

/// Writes the rows of a table in their new order and puts them in the place of the old ones.
///
/// # Errors
/// When anything fails, or somebody else changes the table meanwhile. The table then is as it was.
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
    // From here on nobody else writes it here. What was opened must be what there is now: what comes later, `commit` sees.
    still_current(project, table, declared).await?;
    let format = publication.format();
    let schema = writable(&table.schema(), format)
        .map_err(|fault| RewriteError::refused(fault, "the table can not be written with its types"))?;

    let plain = format!("SELECT * FROM {}", quoted(&asked.table));
    let before = summed(&session, &plain, &schema, &|rows| progress("rows read", rows, None)).await?;
    let sql = order::query(project, &wants, &asked.table, &asked.by, None)
        .map_err(|what| RewriteError::refused(what, "see `lakegate advise`"))?;
    let options = options(asked, &schema);
    // A table of one file stays one: only that can be put in place of it.
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

/// A session that sorts and joins what does not fit into memory: joins by sorting, as those by hashing can not spill.
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

/// The checksum of the rows that a query gives.
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

/// Reads a file that was written from the disk.
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
    // The order is noted as far as it is by own columns. Readers do not agree where NaN stands.
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

/// Files that are written one after the other.
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
        // The columns of an Iceberg table carry their numbers.
        let batch = batch.clone().with_schema(SchemaRef::clone(open.schema()));
        let batch = batch.map_err(|error| RewriteError::Read(error.into()))?;
        Ok(open.write(&batch)?)
    }

    /// A file that says by what it is laid out: of columns of other tables, its own bounds tell nothing.
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
            // A table without rows stays one with its columns.
            self.open = Some(self.create()?);
        }
        self.close()?;
        Ok(self.staged)
    }
}
