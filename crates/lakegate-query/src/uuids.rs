//! Columns of UUIDs: sixteen bytes that are marked as such, as Arrow's canonical extension type `arrow.uuid` is.
//!
//! Parquet marks them by a logical type, Iceberg by its type `uuid`. The mark is on the field: in plans it goes where the
//! column goes, and is gone where an expression makes another value. Without it sixteen bytes are bytes.

use datafusion::arrow::array::FixedSizeBinaryArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::Encoder;
use datafusion::parquet::basic::LogicalType;
use datafusion::parquet::file::metadata::ParquetMetaData;
use uuid::Uuid;

/// The key of a field's metadata under which the name of its extension type stands.
const EXTENSION: &str = "ARROW:extension:name";
const NAME: &str = "arrow.uuid";

/// The bytes of a UUID.
pub(crate) const BYTES: i32 = 16;

/// Whether the values of a column are UUIDs.
pub(crate) fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(BYTES)
        && field.metadata().get(EXTENSION).is_some_and(|name| name == NAME)
}

/// The field with the mark of UUIDs, and nothing else beside its type.
pub(crate) fn marked(field: Field) -> Field {
    field.with_metadata([(EXTENSION.to_owned(), NAME.to_owned())].into())
}

/// The field with the mark of UUIDs where another has it, and nothing else beside its type.
pub(crate) fn marked_as(other: &Field, field: Field) -> Field {
    let is_marked = is_uuid(other) && *field.data_type() == DataType::FixedSizeBinary(BYTES);
    if is_marked { marked(field) } else { field.with_metadata(Default::default()) }
}

/// The columns of a Parquet file, with those marked that its footer calls UUIDs.
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

/// UUIDs in JSON: with hyphens, in quotes.
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
