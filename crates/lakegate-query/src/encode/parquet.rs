//! Encodes compacted batches as a Parquet file, compressed with zstd, in row groups of bounded size.
//!
//! Its statistics cover only the rows of the response. It contains no metadata of the lake's files.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use datafusion::parquet::basic::{Compression, LogicalType, Type as PhysicalType, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::{SchemaDescriptor, Type};
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::seal::Seal;
use super::{Encoder, unwritable, unwritable_as};
use crate::uuids;

/// Size at which a row group is written, in bytes. Until then it is held in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// Maximum number of rows in a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// The file. A reader needs its last bytes, so a truncated file cannot be read.
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
        let schema = Arc::clone(seal.schema());
        let mut options = ArrowWriterOptions::new().with_properties(properties);
        if schema.fields().iter().any(|field| uuids::is_uuid(field)) {
            options = options.with_parquet_schema(with_uuids(&schema).map_err(failed)?);
        }
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(failed)?;
        Ok(Self { writer, seal })
    }
}

/// The file's columns, with the UUID logical type where it applies, for readers that ignore the Arrow schema.
fn with_uuids(schema: &Schema) -> Result<SchemaDescriptor, ParquetError> {
    let usual = ArrowSchemaConverter::new().convert(schema)?;
    let columns = schema.fields().iter().zip(usual.root_schema().get_fields()).map(|(field, column)| {
        if !uuids::is_uuid(field) {
            return Ok(Arc::clone(column));
        }
        let column = Type::primitive_type_builder(field.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
            .with_length(uuids::BYTES)
            .with_logical_type(Some(LogicalType::Uuid))
            .with_repetition(column.get_basic_info().repetition())
            .build()?;
        Ok(Arc::new(column))
    });
    let columns = columns.collect::<Result<Vec<_>, ParquetError>>()?;
    let root = Type::group_type_builder(usual.name()).with_fields(columns).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// The replacement for a type that Parquet lacks, or that only Arrow readers understand.
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
