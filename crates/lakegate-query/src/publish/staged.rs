//! Parquet files that are not part of a table yet. They have hidden names; drop removes an unpublished one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaData};

use super::error::PublishError;
use crate::lake::layout::WriteOptions;

/// A file that is being written.
pub(crate) struct StagedWriter {
    hidden: Hidden,
    schema: SchemaRef,
    writer: ArrowWriter<BufWriter<File>>,
    rows: u64,
}

/// A complete file that is synced to disk.
#[derive(Debug)]
pub(crate) struct StagedFile {
    hidden: Hidden,
    pub(super) schema: SchemaRef,
    pub(super) metadata: ParquetMetaData,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

/// A hidden file. Drop removes it, unless it was renamed before.
#[derive(Debug)]
pub(super) struct Hidden {
    path: PathBuf,
}

impl StagedWriter {
    pub(super) fn create(path: PathBuf, schema: SchemaRef, options: &WriteOptions) -> Result<Self, PublishError> {
        let properties = options.properties(&schema).map_err(|reason| PublishError::Encode(reason.into()))?;
        let file = File::create_new(&path).map_err(PublishError::file("write a file beside the table"))?;
        let hidden = Hidden { path };
        let writer =
            ArrowWriter::try_new(BufWriter::new(file), SchemaRef::clone(&schema), Some(properties)).map_err(encode)?;
        Ok(Self { hidden, schema, writer, rows: 0 })
    }

    /// Columns that each batch must have.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Approximate size of the file so far, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Adds a key and value to the file's footer.
    pub(crate) fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), PublishError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(encode)
    }

    /// Writes the footer and syncs the file.
    pub(crate) fn finish(mut self) -> Result<StagedFile, PublishError> {
        let metadata = self.writer.finish().map_err(encode)?;
        let failed = || PublishError::file("write a file beside the table");
        let buffered = self.writer.inner_mut();
        buffered.flush().map_err(failed())?;
        buffered.get_ref().sync_all().map_err(failed())?;
        let bytes = buffered.get_ref().metadata().map_err(failed())?.len();
        Ok(StagedFile { hidden: self.hidden, schema: self.schema, metadata, bytes, rows: self.rows })
    }
}

impl StagedFile {
    pub(crate) fn path(&self) -> &Path {
        &self.hidden.path
    }

    /// Rows in the file.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Drop cannot report an error; the next run removes the file.
        let _ = fs::remove_file(&self.path);
    }
}

/// The encoder returns I/O failures, such as a full disk, as errors of its own type.
fn encode(error: datafusion::parquet::errors::ParquetError) -> PublishError {
    PublishError::Encode(error.into())
}
