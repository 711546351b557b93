//! A Parquet file that is not part of a table yet: written under a hidden name, and removed unless it is published.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaData};

use super::error::PublishError;
use crate::lake::layout::WriteOptions;

/// A file under writing.
pub(crate) struct StagedWriter {
    hidden: Hidden,
    schema: SchemaRef,
    writer: ArrowWriter<BufWriter<File>>,
    rows: u64,
}

/// A whole file that is synced to the disk.
#[derive(Debug)]
pub(crate) struct StagedFile {
    hidden: Hidden,
    pub(super) schema: SchemaRef,
    pub(super) metadata: ParquetMetaData,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

/// The hidden file; it is removed on drop, unless it has got another name by then.
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

    /// The columns that batches must have.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows written so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// About the bytes that the file has so far.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Notes something in the file's footer.
    pub(crate) fn note(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), PublishError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(encode)
    }

    /// Writes the footer and syncs.
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

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell, and the next run removes what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a full disk says comes out of the encoder as one of its own errors.
fn encode(error: datafusion::parquet::errors::ParquetError) -> PublishError {
    PublishError::Encode(error.into())
}
