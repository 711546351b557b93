//! Ingests CSV, NDJSON and Parquet files into Parquet, Delta or Iceberg tables. A run adds all rows except those that
//! its report lists, or no rows.
//!
//! `publish` writes the table, and lakegate-core defines recipes. Only the keys of an upsert are held in memory as a
//! whole.

mod build;
mod convert;
mod decode;
#[cfg(test)]
mod exact_tests;
mod files;
mod infer;
mod keys;
mod live;
mod numbers;
mod plan;
mod quotes;
mod rejects;
#[cfg(test)]
mod tests;
mod text;
mod typed;
mod values;

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use lakegate_core::project::Table;
use lakegate_core::project::ingest::{IngestMode, Recipe};

pub use rejects::{Reject, Report};
pub(crate) use values::{Reading, Value};

use crate::lake::Lake;
use crate::lake::layout::WriteOptions;
use crate::publish::{Change, Place, Publication, PublishError, StagedFile, TableFormat, adapted, writable};
use convert::Converted;
use keys::Keys;
use plan::Plan;

/// Receives the progress of a run.
pub trait Progress: Send + Sync {
    /// A step of `bytes` bytes begins.
    fn begin(&self, what: &str, bytes: u64);
    /// Another `bytes` bytes of the step are done.
    fn advance(&self, bytes: u64);
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Format of the table.
    pub format: TableFormat,
    /// Number of source files.
    pub files: usize,
    /// Rows in the source files.
    pub read: u64,
    /// Rows that were added to the table.
    pub ingested: u64,
    /// Rows that were rejected.
    pub rejected: u64,
    /// Source rows that a later source row with the same key superseded.
    pub superseded: u64,
    /// Table rows that new rows with the same key replaced.
    pub updated: u64,
    /// Names and types of the columns.
    pub columns: Vec<(String, String)>,
    /// Whether the table changed; `false` in a dry run.
    pub published: bool,
    /// The new Delta version or Iceberg snapshot id; `None` for plain Parquet.
    pub version: Option<String>,
}

/// Why nothing was ingested. The table is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The recipe does not fit its files or its table.
    #[error("{what}; {help}")]
    Unfit {
        /// The mismatch.
        what: String,
        /// Advice for the user.
        help: String,
    },
    /// A source file cannot be read.
    #[error("cannot read `{file}`")]
    Unread {
        /// The file, as the recipe names it.
        file: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The number of rejected rows exceeds the limit.
    #[error(
        "{rejected} of {read} rows were rejected, more than may be; correct the files or the recipe, or allow them \
         with `max_rejects`"
    )]
    TooManyRejects {
        /// Rows that were rejected.
        rejected: u64,
        /// Rows that were read.
        read: u64,
    },
    /// The report cannot be written.
    #[error("the report of rejected rows cannot be written")]
    Report(#[source] std::io::Error),
    /// The table cannot be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The run ended early because of a bug in this program.
    #[error("the work was cut off")]
    CutOff,
}

impl IngestError {
    fn unfit(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unfit { what: what.into(), help: help.into() }
    }

    fn unread(file: &str) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Unread { file, source }
    }
}

/// The destination table.
#[derive(Clone, Debug)]
pub struct Target {
    /// The lake.
    pub place: Place,
    /// Location of the table, below the lake.
    pub location: String,
    /// Format of the table, if it is declared.
    pub format: Option<TableFormat>,
    /// The table as readers see it, for tables whose files have deleted rows.
    pub reader: Option<(Arc<Lake>, Box<Table>)>,
}

/// Ingests files by a recipe. Its paths are relative to `base`. Also returns the report of a failed run, with the
/// reasons.
pub async fn ingest(
    recipe: &Recipe,
    base: &Path,
    target: &Target,
    dry_run: bool,
    report: Report,
    progress: Arc<dyn Progress>,
) -> (Result<Summary, IngestError>, Report) {
    let report = Arc::new(std::sync::Mutex::new(report));
    let done = Box::pin(run(recipe, base, target, dry_run, Arc::clone(&report), progress)).await;
    let report = std::mem::take(&mut *report.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    (done, report)
}

type SharedReport = Arc<std::sync::Mutex<Report>>;

async fn run(
    recipe: &Recipe,
    base: &Path,
    target: &Target,
    dry_run: bool,
    report: SharedReport,
    progress: Arc<dyn Progress>,
) -> Result<Summary, IngestError> {
    let publication = Publication::begin(&target.place, &target.location, target.format).await?;
    let table = publication.schema().await?;
    let format = publication.format();
    let sources = Arc::new(files::find(&recipe.from, base, recipe.source)?);
    let recipe = Arc::new(recipe.clone());
    let plan = {
        let (recipe, sources, progress) = (Arc::clone(&recipe), Arc::clone(&sources), Arc::clone(&progress));
        blocking(move || plan::make(&recipe, &sources, table.as_ref(), format, &*progress)).await?
    };
    let plan = Arc::new(plan);
    let writer = publication.create(&plan.schema, &WriteOptions::default())?;
    let keys = match recipe.mode {
        IngestMode::Upsert => Some(Keys::of(&plan.schema, &recipe.key)?),
        _ => None,
    };
    let Converted { file, keys, read, superseded } = {
        let (recipe, sources, plan) = (Arc::clone(&recipe), Arc::clone(&sources), Arc::clone(&plan));
        let (report, progress) = (Arc::clone(&report), Arc::clone(&progress));
        blocking(move || {
            let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            convert::run(&recipe, &sources, &plan, writer, keys, &mut report, &*progress)
        })
        .await?
    };
    let rejected = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).rejected();
    if !recipe.max_rejects.allows(rejected, read) {
        return Err(IngestError::TooManyRejects { rejected, read });
    }
    let columns = plan.schema.fields().iter();
    let columns = columns.map(|field| (field.name().clone(), crate::plan::column_type_name(field.data_type())));
    let mut summary = Summary {
        format,
        files: sources.len(),
        read,
        ingested: file.rows() - superseded,
        rejected,
        superseded,
        updated: 0,
        columns: columns.collect(),
        published: false,
        version: None,
    };
    if dry_run {
        return Ok(summary);
    }
    let (files, change) = match (recipe.mode, keys) {
        (IngestMode::Replace, _) => (vec![file], Change::Replace),
        (IngestMode::Upsert, Some(keys)) => {
            let (merged, updated) = merge(target, &publication, &plan, &file, &keys).await?;
            summary.updated = updated;
            (vec![merged], Change::Replace)
        }
        _ if publication.can_append() => {
            // Without new rows, leave the table unchanged.
            if file.rows() == 0 && !publication.files().is_empty() {
                return Ok(summary);
            }
            (vec![file], Change::Append)
        }
        _ => (vec![added(&publication, &plan, &file).await?], Change::Replace),
    };
    let published = publication.commit(files, change).await?;
    summary.published = true;
    summary.version = published.version;
    Ok(summary)
}

/// Combines the table's rows and the new rows in one file, for a table that consists of one file.
async fn added(publication: &Publication, plan: &Plan, file: &StagedFile) -> Result<StagedFile, IngestError> {
    let mut writer = publication.create(&plan.schema, &WriteOptions::default())?;
    let schema = SchemaRef::clone(writer.schema());
    let mut rows = publication.rows(&schema)?;
    while let Some(batch) = rows.try_next().await? {
        writer.write(&batch)?;
    }
    for batch in convert::read_back(file)? {
        writer.write(&fitted(&batch?, &schema)?)?;
    }
    Ok(writer.finish()?)
}

/// Combines table rows without new keys and the last new row of each key. Also returns how many rows it replaced.
async fn merge(
    target: &Target,
    publication: &Publication,
    plan: &Plan,
    file: &StagedFile,
    keys: &Keys,
) -> Result<(StagedFile, u64), IngestError> {
    let mut writer = publication.create(&plan.schema, &WriteOptions::default())?;
    let schema = SchemaRef::clone(writer.schema());
    // Read after `begin`: if the table changes in between, the commit refuses to replace it.
    let mut rows = match &target.reader {
        Some((lake, table)) if publication.has_deletes() => live::rows(lake, table, &schema).await?,
        _ => publication.rows(&schema)?,
    };
    let mut updated = 0;
    while let Some(batch) = rows.try_next().await? {
        let kept = keys.without(&batch)?;
        updated += (batch.num_rows() - kept.num_rows()) as u64;
        writer.write(&kept)?;
    }
    let mut index = 0;
    for batch in convert::read_back(file)? {
        let batch = batch?;
        let last = keys.last_of(&batch, index)?;
        index += batch.num_rows() as u64;
        writer.write(&fitted(&last, &schema)?)?;
    }
    Ok((writer.finish()?, updated))
}

fn fitted(
    batch: &datafusion::arrow::array::RecordBatch,
    schema: &SchemaRef,
) -> Result<datafusion::arrow::array::RecordBatch, IngestError> {
    adapted(batch, schema).map_err(|fault| IngestError::unfit(fault, "give the column another type"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IngestError> + Send + 'static,
) -> Result<T, IngestError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| IngestError::CutOff)?
}
