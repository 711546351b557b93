//! Unpacks the engine's types (views, dictionaries, runs), and finds types that no format can represent.

use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;

use super::seal;

/// The plain form of a type, without the lake's field metadata. All fields that can be nullable become so.
pub(super) fn data_type(packed: &DataType) -> DataType {
    match packed {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => data_type(values),
        DataType::RunEndEncoded(_, values) => data_type(values.data_type()),
        DataType::List(item) | DataType::ListView(item) => DataType::List(part("item", item, true)),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(part("item", item, true)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(part("item", item, true), *size),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| part(field.name(), field, true)).collect())
        }
        DataType::Map(entries, is_ordered) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let fields = Fields::from(vec![part("key", &fields[0], false), part("value", &fields[1], true)]);
                let entries = Field::new("entries", DataType::Struct(fields), false);
                DataType::Map(Arc::new(entries), *is_ordered)
            }
            _ => packed.clone(),
        },
        other => other.clone(),
    }
}

fn part(name: &str, field: &FieldRef, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data_type(field.data_type()), nullable))
}

/// Unpacks dictionaries and runs, for text formats. Views stay.
pub(super) fn batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| is_packed(field.data_type())) {
        return Ok(batch.clone());
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if is_packed(field.data_type()) {
            let data_type = data_type(field.data_type());
            columns.push(seal::array(column, None, &data_type)?);
            fields.push(Arc::new(Field::new(field.name(), data_type, true)));
        } else {
            columns.push(Arc::clone(column));
            fields.push(Arc::clone(field));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn is_packed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => true,
        other => parts(other).iter().any(|part| is_packed(part.data_type())),
    }
}

/// The child fields of a type.
fn parts(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => vec![item],
        DataType::Struct(fields) => fields.iter().collect(),
        _ => Vec::new(),
    }
}

/// Why no response format can represent values of this type; `None` if the formats can.
pub(crate) fn fault(packed: &DataType) -> Option<String> {
    match packed {
        DataType::Union(..) => Some("values of several types have no form in an answer".to_owned()),
        DataType::Struct(fields) if fields.is_empty() => {
            Some("an object without fields has no form in an answer".to_owned())
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                if data_type(fields[0].data_type()).is_nested() {
                    return Some("a map whose keys are lists or objects has no form in an answer".to_owned());
                }
                fields.iter().find_map(|field| fault(field.data_type()))
            }
            _ => Some("a map without keys and values has no form in an answer".to_owned()),
        },
        DataType::Timestamp(_, Some(zone)) if Tz::from_str(zone).is_err() => {
            Some(format!("the time zone `{zone}` is not known"))
        }
        DataType::Dictionary(_, values) => fault(values),
        other => parts(other).into_iter().find_map(|part| fault(part.data_type())),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{TimeUnit, UnionFields, UnionMode};

    use super::*;

    fn field(name: &str, data_type: DataType) -> FieldRef {
        let metadata = [("comment".to_owned(), "of the lake".to_owned())].into();
        Arc::new(Field::new(name, data_type, false).with_metadata(metadata))
    }

    fn list(item: DataType) -> DataType {
        DataType::List(field("element", item))
    }

    #[test]
    fn plain_types_have_no_packing_and_no_metadata() {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View));
        let packed = DataType::Struct(Fields::from(vec![field("a", DataType::ListView(field("element", text)))]));
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let wanted = Arc::new(Field::new("a", DataType::List(item), true));
        assert_eq!(data_type(&packed), DataType::Struct(Fields::from(vec![wanted])));
    }

    #[test]
    fn what_has_no_form_is_told() {
        let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
        let map = |key| {
            let entries = Fields::from(vec![field("key", key), field("value", DataType::Int8)]);
            DataType::Map(field("entries", DataType::Struct(entries)), false)
        };
        let zone = DataType::Timestamp(TimeUnit::Second, Some("Mars/Olympus".into()));
        for bad in [list(union), list(DataType::Struct(Fields::empty())), map(list(DataType::Int8)), zone] {
            assert!(fault(&bad).is_some(), "{bad}");
        }
        let zone = DataType::Timestamp(TimeUnit::Second, Some("America/Bogota".into()));
        for good in [map(DataType::Int8), list(DataType::Float16), zone, DataType::Null] {
            assert_eq!(fault(&good), None, "{good}");
        }
    }
}
