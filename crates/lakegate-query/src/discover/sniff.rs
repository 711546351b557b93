//! Detects the format of a file from its first bytes. The file name counts only when the bytes match no known format.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::object_store::{ObjectMeta, ObjectStoreExt};
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::statistics::Statistics;
use futures::FutureExt;

use super::text::{self, Text};
use crate::lake::Lake;
use crate::lake::object_reader::ObjectReader;

/// Bytes that are read from the start of a file to detect its format.
const HEAD: u64 = 64 << 10;

/// A file with its detected format.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) object: ObjectMeta,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Parquet(Footer),
    Text(Text),
    /// Another format or a broken file: why it is left out, and what to do about it.
    Other(String, Option<String>),
}

/// Facts from the footer of a Parquet file.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) schema: SchemaRef,
    pub(super) rows: u64,
    /// Minimum and maximum of each integer column.
    pub(super) ranges: BTreeMap<String, (i128, i128)>,
}

pub(super) async fn look(lake: &Lake, object: ObjectMeta) -> Seen {
    let what = match lake.store().get_range(&object.location, 0..HEAD.min(object.size)).await {
        // A file that makes a reader panic is reported as broken; the search goes on.
        Ok(head) => match AssertUnwindSafe(told(lake, &object, &head)).catch_unwind().await {
            Ok(told) => told,
            Err(_) => What::Other("it is broken".to_owned(), Some("replace it, or take it out of the lake".to_owned())),
        },
        Err(_) => What::Other("it cannot be read".to_owned(), None),
    };
    Seen { object, what }
}

async fn told(lake: &Lake, object: &ObjectMeta, head: &[u8]) -> What {
    let name = object.location.as_ref().to_ascii_lowercase();
    let other = |what: &str, help: &str| What::Other(what.to_owned(), Some(help.to_owned()));
    let export = "export it as Parquet or CSV";
    match head {
        [b'P', b'A', b'R', b'1', ..] => parquet(lake, object).await,
        [b'P', b'A', b'R', b'E', ..] => other("it is an encrypted Parquet file", "write it without encryption"),
        [b'O', b'R', b'C', ..] => other("it is an ORC file", export),
        [b'O', b'b', b'j', 1, ..] => other("it is an Avro file", export),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => other("it is an Arrow file", export),
        [b'P', b'K', 3, 4, ..] if name.ends_with(".xlsx") => other("it is an Excel workbook", export),
        [b'P', b'K', 3, 4, ..] => other("it is a ZIP archive", "unpack it"),
        [b'S', b'Q', b'L', b'i', b't', b'e', ..] => other("it is an SQLite database", export),
        _ if name.ends_with(".parquet") => {
            other("it is called Parquet and is none", "replace it, or take it out of the lake")
        }
        _ => match text::look(&name, head, object.size <= HEAD) {
            Ok(text) => What::Text(text),
            Err(reason) => What::Other(reason, None),
        },
    }
}

async fn parquet(lake: &Lake, object: &ObjectMeta) -> What {
    let broken = |reason: String| {
        What::Other(
            format!("it is a broken Parquet file: {reason}"),
            Some("replace it, or take it out of the lake".to_owned()),
        )
    };
    let mut reader = ObjectReader::new(lake.store(), object);
    let footer = match reader.footer().await {
        Ok(footer) => footer,
        Err(error) => return broken(first_line(&error.to_string())),
    };
    let file = footer.file_metadata();
    let schema = match parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()) {
        Ok(schema) => schema,
        Err(error) => return broken(first_line(&error.to_string())),
    };
    let ranges = ranges(&footer, &schema);
    What::Parquet(Footer { schema: schema.into(), rows: u64::try_from(file.num_rows()).unwrap_or(0), ranges })
}

/// Minimum and maximum of each integer column, if every row group that has values stores both statistics.
fn ranges(footer: &ParquetMetaData, schema: &datafusion::arrow::datatypes::Schema) -> BTreeMap<String, (i128, i128)> {
    let descriptor = footer.file_metadata().schema_descr();
    let mut ranges = BTreeMap::new();
    for leaf in 0..descriptor.num_columns() {
        let path = descriptor.column(leaf).path().parts().to_vec();
        let [name] = path.as_slice() else { continue };
        if !schema.field_with_name(name).is_ok_and(|field| field.data_type().is_integer()) {
            continue;
        }
        let unsigned = schema.field_with_name(name).is_ok_and(|field| field.data_type().is_unsigned_integer());
        let each = footer.row_groups().iter().map(|group| match group.column(leaf).statistics() {
            Some(Statistics::Int32(found)) if !unsigned => {
                Some((i128::from(*found.min_opt()?), i128::from(*found.max_opt()?)))
            }
            Some(Statistics::Int64(found)) if !unsigned => {
                Some((i128::from(*found.min_opt()?), i128::from(*found.max_opt()?)))
            }
            _ => None,
        });
        let whole = each.reduce(|one, other| Some((one?.0.min(other?.0), one?.1.max(other?.1))));
        if let Some(Some(range)) = whole {
            ranges.insert(name.clone(), range);
        }
    }
    ranges
}

/// Whether two columns with the same name can be one column, because one type can be widened to the other.
pub(super) fn fit(one: &DataType, other: &DataType) -> bool {
    let numbers = |kind: &DataType| kind.is_integer() || kind.is_floating();
    let texts = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let times = |kind: &DataType| matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    one == other
        || *one == DataType::Null
        || *other == DataType::Null
        || (numbers(one) && numbers(other))
        || (texts(one) && texts(other))
        || (times(one) && times(other))
        || (one.is_nested() && std::mem::discriminant(one) == std::mem::discriminant(other))
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("Parquet error: ").trim_start_matches("EOF: ").trim_end_matches('.').to_owned()
}
