//! UUID columns: 16 bytes with Arrow's canonical extension type `arrow.uuid`.
//!
//! Parquet marks them by a logical type, Iceberg by its type `uuid`. The extension type is metadata of the field: plans
//! keep it for a column and lose it if an expression computes another value. Without it, the values are plain bytes.

use datafusion::arrow::array::FixedSizeBinaryArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::Encoder;
use datafusion::parquet::basic::LogicalType;
use datafusion::parquet::file::metadata::ParquetMetaData;
use uuid::Uuid;

/// The metadata key that holds the name of an extension type.
const EXTENSION: &str = "ARROW:extension:name";
const NAME: &str = "arrow.uuid";

/// Bytes per UUID.
pub(crate) const BYTES: i32 = 16;

/// Whether a column holds UUIDs.
pub(crate) fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(BYTES)
        && field.metadata().get(EXTENSION).is_some_and(|name| name == NAME)
}

/// Marks a field as UUID and removes all other metadata.
pub(crate) fn marked(field: Field) -> Field {
    field.with_metadata([(EXTENSION.to_owned(), NAME.to_owned())].into())
}

/// Marks a field as UUID if `other` is marked, and removes all other metadata.
pub(crate) fn marked_as(other: &Field, field: Field) -> Field {
    let is_marked = is_uuid(other) && *field.data_type() == DataType::FixedSizeBinary(BYTES);
    if is_marked { marked(field) } else { field.with_metadata(Default::default()) }
}

/// Marks the columns of a Parquet file that are UUIDs according to its footer.
pub(crate) fn marked_by(footer: &ParquetMetaData, schema: &Schema) -> Schema {
    let root = footer.file_metadata().schema_descr().root_schema();
    let says_uuid = |name: &str| {
        let mut of_name = root.get_fields().iter().filter(|column| column.name() == name);
        of_name.next().is_some_and(|column| column.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid))
    };
    let fields = schema.fields().iter().map(|field| {
        let is_marked = *field.data_type() == DataType::FixedSizeBinary(BYTES) && says_uuid(field.name());
        if is_marked { marked(field.as_ref().clone()) } else { field.as_ref().clone() }
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// Encodes UUIDs in JSON: hyphenated, in quotes.
pub(crate) struct Hyphenated<'a>(pub(crate) &'a FixedSizeBinaryArray);

impl Encoder for Hyphenated<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match Uuid::from_slice(self.0.value(row)) {
            Ok(uuid) => {
                let mut text = Uuid::encode_buffer();
                out.push(b'"');
                out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
                out.push(b'"');
            }
            Err(_) => out.extend_from_slice(b"null"),
        }
    }
}
