//! Annotates the string columns in a Parquet footer, so that the decoder validates their bytes as UTF-8.
//!
//! The decoder validates only columns that are annotated as strings. It does not validate other bytes, even if the
//! table or the writer's Arrow schema (`ARROW:schema`) declares a string, and code that computes with an invalid string
//! reads out of bounds. So every column that becomes a string is annotated before the decoder gets the footer. An Arrow
//! schema that no longer fits the columns is dropped, and so are dictionaries whose keys are too few for several files
//! together.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use datafusion::parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use datafusion::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type, TypePtr};

/// Annotates what the writer meant as strings: JSON, enums, and strings in the Arrow schema.
pub(crate) fn as_meant(footer: ParquetMetaData) -> Result<ParquetMetaData> {
    let file = footer.file_metadata();
    let columns = file.schema_descr().columns();
    let mut is_text = columns.iter().map(|column| is_named(column)).collect::<Vec<_>>();
    let mut notes = file.key_value_metadata().cloned();
    let is_note = |note: &KeyValue| note.key == ARROW_SCHEMA_META_KEY;
    let mut is_changed = false;
    if let Some(notes) = notes.as_mut().filter(|notes| notes.iter().any(is_note)) {
        let noted = parquet_to_arrow_schema(file.schema_descr(), Some(notes));
        let noted = noted.ok().filter(|noted| leaves(noted).len() == columns.len());
        let kept = noted.as_ref().map(without_small_keys);
        match (&noted, kept) {
            (Some(noted), Some(kept)) if *noted == kept => {}
            (_, kept) => {
                notes.retain(|note| !is_note(note));
                notes.extend(
                    kept.map(|kept| KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&kept))),
                );
                is_changed = true;
            }
        }
        for (is_text, leaf) in is_text.iter_mut().zip(noted.iter().flat_map(leaves)) {
            *is_text |= leaf.is_string();
        }
    }
    annotated(footer, &is_text, is_changed.then_some(notes))
}

/// Annotates these columns, which are strings in the table.
pub(crate) fn of_table(footer: Arc<ParquetMetaData>, texts: &HashSet<String>) -> Result<Arc<ParquetMetaData>> {
    let columns = footer.file_metadata().schema_descr().columns();
    let is_one = |column: &ColumnDescriptor| matches!(column.path().parts(), [name] if texts.contains(name));
    let is_text = columns.iter().map(|column| is_one(column)).collect::<Vec<_>>();
    if !columns.iter().zip(&is_text).any(|(column, is_text)| *is_text && !is_annotated(column)) {
        return Ok(footer);
    }
    annotated(Arc::unwrap_or_clone(footer), &is_text, None).map(Arc::new)
}

/// Whether the decoder validates a column's bytes, or they are never decoded as a string.
fn is_annotated(column: &ColumnDescriptor) -> bool {
    column.physical_type() != PhysicalType::BYTE_ARRAY || column.converted_type() == ConvertedType::UTF8
}

/// Whether a column's type is a string by another name.
fn is_named(column: &ColumnDescriptor) -> bool {
    matches!(column.converted_type(), ConvertedType::JSON | ConvertedType::ENUM)
        || matches!(column.logical_type_ref(), Some(LogicalType::Json | LogicalType::Enum | LogicalType::String))
}

/// Annotates columns as strings, and replaces the key-value metadata if `notes` is set.
fn annotated(
    footer: ParquetMetaData,
    is_text: &[bool],
    notes: Option<Option<Vec<KeyValue>>>,
) -> Result<ParquetMetaData> {
    let file = footer.file_metadata();
    let columns = file.schema_descr().columns();
    let wanted = columns.iter().zip(is_text).map(|(column, is_text)| *is_text && !is_annotated(column));
    let wanted = wanted.collect::<Vec<_>>();
    if notes.is_none() && !wanted.contains(&true) {
        return Ok(footer);
    }
    let root = file.schema_descr().root_schema();
    let mut leaf = wanted.into_iter();
    let fields = root.get_fields().iter().map(|field| with_texts(field, &mut leaf)).collect::<Result<Vec<_>>>()?;
    let notes = notes.unwrap_or_else(|| file.key_value_metadata().cloned());
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    Ok(with_schema(footer, root, notes))
}

/// Replaces the schema by another one with the same columns, and the key-value metadata.
pub(crate) fn with_schema(footer: ParquetMetaData, root: Type, notes: Option<Vec<KeyValue>>) -> ParquetMetaData {
    let file = footer.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        notes,
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        file.column_orders().cloned(),
    );
    let mut of = footer.into_builder();
    let (columns, offsets) = (of.take_column_index(), of.take_offset_index());
    let groups = of.take_row_groups();
    let of = ParquetMetaDataBuilder::new(file).set_row_groups(groups);
    of.set_column_index(columns).set_offset_index(offsets).build()
}

/// Rebuilds a field with those leaves annotated as strings for which `leaves` is true.
fn with_texts(field: &TypePtr, leaves: &mut impl Iterator<Item = bool>) -> Result<TypePtr> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if field.is_primitive() {
        if leaves.next() != Some(true) {
            return Ok(Arc::clone(field));
        }
        let text = Type::primitive_type_builder(field.name(), PhysicalType::BYTE_ARRAY)
            .with_converted_type(ConvertedType::UTF8)
            .with_logical_type(Some(LogicalType::String))
            .with_repetition(info.repetition())
            .with_id(id);
        return Ok(Arc::new(text.build()?));
    }
    let fields = field.get_fields().iter().map(|inner| with_texts(inner, leaves)).collect::<Result<Vec<_>>>()?;
    let group = Type::group_type_builder(field.name())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_repetition(info.repetition())
        .with_id(id)
        .with_fields(fields);
    Ok(Arc::new(group.build()?))
}

/// The types of the leaf columns.
fn leaves(schema: &Schema) -> Vec<DataType> {
    fn walk(data_type: &DataType, leaves: &mut Vec<DataType>) {
        match data_type {
            DataType::Struct(fields) => fields.iter().for_each(|field| walk(field.data_type(), leaves)),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _)
            | DataType::Map(item, _) => walk(item.data_type(), leaves),
            DataType::Dictionary(_, value) => walk(value, leaves),
            other => leaves.push(other.clone()),
        }
    }
    let mut found = Vec::new();
    schema.fields().iter().for_each(|field| walk(field.data_type(), &mut found));
    found
}

/// Removes dictionaries with keys of less than 32 bits, because several files or row groups together may have more
/// values than keys. Also removes those whose values are neither strings nor binary, because the decoder does not read
/// all of them.
fn without_small_keys(schema: &Schema) -> Schema {
    fn field(of: &FieldRef) -> FieldRef {
        Arc::new(Field::clone(of).with_data_type(data_type(of.data_type())))
    }
    fn data_type(of: &DataType) -> DataType {
        match of {
            DataType::Dictionary(key, value)
                if key.primitive_width().is_some_and(|width| width < 4)
                    || !(value.is_string() || matches!(value.as_ref(), DataType::Binary | DataType::LargeBinary)) =>
            {
                data_type(value)
            }
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Fields>()),
            DataType::List(item) => DataType::List(field(item)),
            DataType::LargeList(item) => DataType::LargeList(field(item)),
            DataType::FixedSizeList(item, length) => DataType::FixedSizeList(field(item), *length),
            DataType::Map(entries, is_sorted) => DataType::Map(field(entries), *is_sorted),
            other => other.clone(),
        }
    }
    Schema::new_with_metadata(schema.fields().iter().map(field).collect::<Fields>(), schema.metadata().clone())
}
