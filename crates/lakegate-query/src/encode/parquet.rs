//! A Parquet file of sealed batches, compressed with zstd, in row groups of bounded size.
//!
//! Its statistics are made of the answer's rows. What the files of the lake say of themselves is not in it.

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::seal::Seal;
use super::{Encoder, unwritable, unwritable_as};

/// A row group is written when it takes so many bytes; until then it is held in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// The same in rows.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// The file. Without its last bytes nobody can read it.
pub(super) struct ParquetFile {
    writer: ArrowWriter<Vec<u8>>,
    seal: Seal,
}

impl ParquetFile {
    pub(super) fn new(schema: &Schema) -> Result<Self, Error> {
        let seal = Seal::new(schema, mapped);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_created_by("lakegate".to_owned())
            .build();
        let schema = std::sync::Arc::clone(seal.schema());
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(failed)?;
        Ok(Self { writer, seal })
    }
}

/// What Parquet does not have, or only readers of Arrow understand.
fn mapped(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Interval(_) => Some(DataType::Utf8),
        DataType::Timestamp(TimeUnit::Second, zone) => Some(DataType::Timestamp(TimeUnit::Millisecond, zone.clone())),
        DataType::Date64 => Some(DataType::Date32),
        _ => None,
    }
}

fn failed(error: ParquetError) -> Error {
    unwritable(Format::Parquet, error)
}

impl Encoder for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let sealed = self.seal.batch(batch).map_err(unwritable_as(Format::Parquet))?;
        self.writer.write(&sealed).map_err(failed)?;
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.writer.finish().map_err(failed)?;
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }
}
