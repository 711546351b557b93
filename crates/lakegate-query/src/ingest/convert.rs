//! Converts the rows of all source files into one new file next to the table, and reports rejected rows.

use std::fs::File;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use lakegate_core::project::ingest::{Recipe, SourceFormat};

use super::build::Column;
use super::files::SourceFile;
use super::keys::Keys;
use super::plan::{self, Plan};
use super::rejects::{Reject, Report, shortened};
use super::text::{Cell, Row, Rows};
use super::typed::{self, Fault};
use super::values::Value;
use super::{IngestError, Progress, StagedFile};
use crate::publish::StagedWriter;

/// Rows per batch.
const BATCH: usize = 4_096;

/// The result of the conversion.
pub(super) struct Converted {
    pub(super) file: StagedFile,
    pub(super) keys: Option<Keys>,
    pub(super) read: u64,
    pub(super) superseded: u64,
}

/// The destination of the rows, with the counts so far.
struct Sink<'a> {
    plan: &'a Plan,
    files: &'a [SourceFile],
    writer: StagedWriter,
    keys: Option<Keys>,
    report: &'a mut Report,
    read: u64,
    superseded: u64,
}

pub(super) fn run(
    recipe: &Recipe,
    files: &[SourceFile],
    plan: &Plan,
    writer: StagedWriter,
    keys: Option<Keys>,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<Converted, IngestError> {
    let mut sink = Sink { plan, files, writer, keys, report, read: 0, superseded: 0 };
    for (at, file) in files.iter().enumerate() {
        progress.begin("ingesting", file.bytes);
        match file.format {
            SourceFormat::Parquet => sink.parquet(at, progress)?,
            SourceFormat::Csv | SourceFormat::Ndjson => sink.text(recipe, at, progress)?,
        }
    }
    let file = sink.writer.finish()?;
    Ok(Converted { file, keys: sink.keys, read: sink.read, superseded: sink.superseded })
}

/// Reads a file back that was just written.
pub(super) fn read_back(
    file: &StagedFile,
) -> Result<impl Iterator<Item = Result<RecordBatch, IngestError>>, IngestError> {
    let failed = || IngestError::unfit("what was written cannot be read again", "look at the disk, and run this again");
    let opened = File::open(file.path()).map_err(|_| failed())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|_| failed())?;
    let batches = reader.with_batch_size(BATCH).build().map_err(|_| failed())?;
    Ok(batches.map(move |batch| batch.map_err(|_| failed())))
}

impl Sink<'_> {
    fn text(&mut self, recipe: &Recipe, at: usize, progress: &dyn Progress) -> Result<(), IngestError> {
        let file = &self.files[at];
        let failed = || IngestError::unread(&file.shown);
        let mut rows = Rows::open(file, &recipe.text, Some(progress))?;
        let places = plan::places(&rows, self.plan.columns.iter().map(|column| column.source.as_deref()));
        let columns = self.plan.columns.iter().map(|column| Column::new(column.reading.kind, column.reading.is_list));
        let mut columns = columns.collect::<Vec<_>>();
        let mut lines = Vec::with_capacity(BATCH);
        while let Some((line, row)) = rows.next().map_err(failed())? {
            self.read += 1;
            let reject = match row {
                Err(why) => Some(Reject { file: file.shown.clone(), line, column: None, why, value: None }),
                Ok(row) if row.has_undecoded() => {
                    let why = "it has bytes that are no text in the file's encoding; is that another one?".to_owned();
                    Some(Reject { file: file.shown.clone(), line, column: None, why, value: None })
                }
                Ok(row) => match values(self.plan, &row, &places, self.keys.as_ref()) {
                    Ok(values) => {
                        for (column, value) in columns.iter_mut().zip(values) {
                            column.push(value);
                        }
                        lines.push((at as u32, line));
                        None
                    }
                    Err((column, (why, value))) => {
                        Some(Reject { file: file.shown.clone(), line, column: Some(column), why, value })
                    }
                },
            };
            if let Some(reject) = reject {
                self.report.reject(reject).map_err(IngestError::Report)?;
            }
            if lines.len() == BATCH {
                self.flush(&mut columns, &mut lines)?;
            }
        }
        self.flush(&mut columns, &mut lines)
    }

    fn flush(&mut self, columns: &mut [Column], lines: &mut Vec<(u32, u64)>) -> Result<(), IngestError> {
        let schema = SchemaRef::clone(&self.plan.schema);
        let arrays = columns
            .iter_mut()
            .zip(schema.fields())
            .map(|(column, field)| typed::fitted(&column.finish(), field.data_type()));
        let arrays = arrays.collect::<Result<Vec<_>, _>>();
        let arrays = arrays.map_err(|fault| IngestError::unfit(fault, "give the column another `type`"))?;
        let lines = std::mem::take(lines);
        self.write(arrays, &lines)
    }

    fn parquet(&mut self, at: usize, progress: &dyn Progress) -> Result<(), IngestError> {
        let file = &self.files[at];
        let broken = || plan::broken(&file.shown);
        let opened = File::open(&file.path).map_err(IngestError::unread(&file.shown))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|_| broken())?;
        let rows = reader.metadata().file_metadata().num_rows().max(1) as u64;
        let mut batches = reader.with_batch_size(BATCH).build().map_err(|_| broken())?;
        let mut number = 0_u64;
        // The Parquet decoder panics on some corrupt files.
        while let Some(batch) =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next())).map_err(|_| broken())?
        {
            let batch = batch.map_err(|_| broken())?;
            self.batch(at, number, &batch)?;
            number += batch.num_rows() as u64;
            progress.advance(file.bytes * batch.num_rows() as u64 / rows);
        }
        Ok(())
    }

    fn batch(&mut self, at: usize, before: u64, batch: &RecordBatch) -> Result<(), IngestError> {
        let file = &self.files[at];
        self.read += batch.num_rows() as u64;
        let mut faults = vec![None::<(String, Fault)>; batch.num_rows()];
        let mut arrays = Vec::<ArrayRef>::new();
        for (planned, field) in self.plan.columns.iter().zip(self.plan.schema.fields()) {
            let source = match &planned.source {
                Some(source) => batch.column_by_name(source).cloned(),
                None => None,
            };
            let source = source.unwrap_or_else(|| constant(planned.constant.as_deref(), batch.num_rows()));
            let (array, bad) = typed::column(&source, planned, field.data_type()).map_err(|fault| {
                let what = format!("column `{}` of `{}`: {fault}", field.name(), file.shown);
                IngestError::unfit(what, "give it another `type`")
            })?;
            for (row, fault) in bad {
                faults[row].get_or_insert((field.name().clone(), fault));
            }
            let is_key = self.keys.as_ref().is_some_and(|keys| keys.columns().contains(field.name()));
            if planned.is_required || is_key {
                for row in (0..array.len()).filter(|row| array.is_null(*row)) {
                    faults[row].get_or_insert((field.name().clone(), (no_null(is_key), None)));
                }
            }
            arrays.push(array);
        }
        let mut lines = Vec::new();
        let mut kept = Vec::new();
        for (row, fault) in faults.into_iter().enumerate() {
            let line = before + row as u64 + 1;
            kept.push(fault.is_none());
            let Some((column, (why, value))) = fault else {
                lines.push((at as u32, line));
                continue;
            };
            let reject = Reject { file: file.shown.clone(), line, column: Some(column), why, value };
            self.report.reject(reject).map_err(IngestError::Report)?;
        }
        if lines.len() < kept.len() {
            let whole = record_batch(&self.plan.schema, arrays, kept.len())?;
            let filtered = filter_record_batch(&whole, &BooleanArray::from(kept));
            arrays = filtered
                .map_err(|error| IngestError::unfit(error.to_string(), "report this as a fault"))?
                .columns()
                .to_vec();
        }
        self.write(arrays, &lines)
    }

    /// Writes accepted rows. `lines` has the file and the line of each row.
    fn write(&mut self, arrays: Vec<ArrayRef>, lines: &[(u32, u64)]) -> Result<(), IngestError> {
        if lines.is_empty() {
            return Ok(());
        }
        let batch = record_batch(&self.plan.schema, arrays, lines.len())?;
        if let Some(keys) = &mut self.keys {
            for row in keys.take(&batch, self.writer.rows(), lines)? {
                self.superseded += 1;
                let file = &self.files[row.file as usize].shown;
                self.report.superseded(file, row.line, row.by).map_err(IngestError::Report)?;
            }
        }
        let schema = SchemaRef::clone(self.writer.schema());
        self.writer.write(&super::fitted(&batch, &schema)?)?;
        Ok(())
    }
}

fn record_batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, IngestError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), arrays, &options)
        .map_err(|error| IngestError::unfit(error.to_string(), "report this as a fault"))
}

fn constant(value: Option<&str>, rows: usize) -> ArrayRef {
    std::sync::Arc::new(std::iter::repeat_n(value, rows).collect::<datafusion::arrow::array::StringArray>())
}

fn no_null(is_key: bool) -> String {
    if is_key { "the key is NULL".to_owned() } else { "the table has no NULL there".to_owned() }
}

/// The values of a row, in the plan's order; or the first column whose value is invalid, with the fault.
fn values(
    plan: &Plan,
    row: &Row<'_>,
    places: &[usize],
    keys: Option<&Keys>,
) -> Result<Vec<Option<Value>>, (String, Fault)> {
    let mut values = Vec::with_capacity(places.len());
    for ((planned, place), field) in plan.columns.iter().zip(places).zip(plan.schema.fields()) {
        let cell = match &planned.source {
            Some(source) => row.cell(*place, source),
            None => planned.constant.as_deref().map_or(Cell::Missing, Cell::Text),
        };
        let value = planned.reading.read(cell).map_err(|why| (field.name().clone(), (why, shown(cell))))?;
        let is_key = keys.is_some_and(|keys| keys.columns().contains(field.name()));
        if value.is_none() && (planned.is_required || is_key) {
            return Err((field.name().clone(), (no_null(is_key), None)));
        }
        values.push(value);
    }
    Ok(values)
}

fn shown(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Missing => None,
        Cell::Text(text) => Some(shortened(text)),
        Cell::Json(json) => Some(shortened(&json.to_string())),
    }
}
