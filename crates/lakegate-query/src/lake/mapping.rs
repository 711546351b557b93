//! Maps the columns of a table to files that name them otherwise, by field id or physical name. Never by the column's
//! name in the table, because a file may have a different column of that name.
//!
//! A column that a file lacks is NULL, or the file's partition value. A column that cannot be found safely is a fault
//! when the table is opened.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::Type as PhysicalType;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::schema::types::{Type, TypePtr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::conversion::{Conversion, Converted};
use super::meant;
use crate::floats::canonical_scalar;
use crate::govern::fingerprint::Fingerprint;

/// Schema metadata key for the number of a file's layout, among the layouts of one table version.
const LAYOUT: &str = "lakegate.layout";
/// Schema metadata key for the fingerprint of the layout. Two table versions may use one number for different layouts,
/// so the fingerprint keeps data that was decoded for one version from being used for the other.
const ORIGINS: &str = "lakegate.origins";

/// A column of a table, with the key that finds it in files.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) field: FieldRef,
    pub(super) key: Key,
    /// The fields of a struct, the element of a list, or the key and value of a map.
    pub(super) inner: Vec<Column>,
}

/// The key that finds a column in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Its name in files.
    Name(String),
    /// Its name ignoring case, used when no name in the file matches exactly.
    AnyCase(String),
    /// Its field id.
    Id(i32),
}

/// Field ids by column path, outermost name first, for files that were written without ids.
pub(super) type NamedIds = HashMap<Vec<String>, i32>;

/// The source of a table's column in one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The file's column at this position, with a cast if needed.
    Column(usize),
    /// The file's column at this position, converted.
    Converted(usize, Arc<Conversion>),
    /// One value for every row.
    Constant(ScalarValue),
    /// The file lacks it: NULL.
    Missing,
}

/// The columns of a file as stored. Many files share one shape.
#[derive(Debug)]
pub(super) struct Shape {
    root: TypePtr,
    /// The types that the decoder returns, without the writer's field metadata.
    pub(super) schema: SchemaRef,
}

/// The layouts of a table version's files: for each, the source of every column.
#[derive(Debug)]
pub(super) struct Mapping {
    schema: SchemaRef,
    layouts: Vec<Arc<[Origin]>>,
}

impl Mapping {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, layouts: Vec::new() }
    }

    /// The schema to read a file of this layout with. Its metadata identifies the layout.
    pub(super) fn file_schema(&mut self, shape: &Shape, layout: Vec<Origin>) -> SchemaRef {
        let at = self.layouts.iter().position(|known| known[..] == layout[..]).unwrap_or_else(|| {
            self.layouts.push(layout.into());
            self.layouts.len() - 1
        });
        let mut origins = Fingerprint::new("lakegate layout v1");
        origins.text(format_args!("{:?}", self.layouts[at]));
        let note = HashMap::from([(LAYOUT.to_owned(), at.to_string()), (ORIGINS.to_owned(), origins.hex())]);
        let is_text = |place: usize| {
            let columns = self.layouts[at].iter().zip(self.schema.fields());
            columns.into_iter().any(|(origin, field)| match origin {
                Origin::Converted(of, _) => *of == place && field.data_type().is_string(),
                _ => false,
            })
        };
        // Bytes that are text in the table decode as text, so that the decoder validates them.
        let fields = shape.schema.fields().iter().enumerate().map(|(place, field)| match field.data_type() {
            DataType::Binary | DataType::BinaryView if is_text(place) => {
                Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
            }
            _ => Arc::clone(field),
        });
        Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), note))
    }
}

impl PhysicalExprAdapterFactory for Mapping {
    fn create(&self, _table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let layout = file.metadata().get(LAYOUT).and_then(|at| self.layouts.get(at.parse::<usize>().ok()?));
        // A lookup by name could find a different column.
        let layout = layout.ok_or_else(|| internal_datafusion_err!("a file without a layout"))?;
        Ok(Arc::new(FileColumns { table: Arc::clone(&self.schema), file, layout: Arc::clone(layout) }))
    }
}

/// Rewrites expressions over the table to expressions over one file.
#[derive(Debug)]
struct FileColumns {
    table: SchemaRef,
    file: SchemaRef,
    layout: Arc<[Origin]>,
}

impl FileColumns {
    /// The file's column at this position.
    fn own(&self, place: usize) -> Result<(ColumnExpr, &FieldRef)> {
        let found = self.file.fields().get(place);
        let found = found.ok_or_else(|| internal_datafusion_err!("a file without a column of its layout"))?;
        Ok((ColumnExpr::new(found.name(), place), found))
    }

    /// The expression for a column of the table. `is_answer` says that the column is the whole expression, and not part
    /// of another one.
    fn column(&self, name: &str, is_answer: bool) -> Result<Arc<dyn PhysicalExpr>> {
        let at = self.table.index_of(name)?;
        let field = &self.table.fields()[at];
        let origin = self.layout.get(at).ok_or_else(|| internal_datafusion_err!("a column without an origin"))?;
        match origin {
            Origin::Converted(place, conversion) => {
                let (column, found) = self.own(*place)?;
                let column = meant::meant(Arc::new(column), found.data_type());
                Ok(Arc::new(Converted::new(column, Arc::clone(conversion), Arc::clone(field))))
            }
            Origin::Column(place) => {
                let (column, found) = self.own(*place)?;
                let column = Arc::new(column);
                let column = match is_answer {
                    true => meant::meant_as_answer(column, found.data_type()),
                    false => meant::meant(column, found.data_type()),
                };
                if meant::optional(found.data_type()) == *field.data_type() {
                    return Ok(column);
                }
                Ok(Arc::new(CastExpr::new_with_target_field(column, Arc::clone(field), None)))
            }
            Origin::Constant(value) => Ok(Arc::new(Literal::new(value.clone()))),
            Origin::Missing => Ok(Arc::new(Literal::new(ScalarValue::try_new_null(field.data_type())?))),
        }
    }
}

impl PhysicalExprAdapter for FileColumns {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let is_answer = expr.is::<ColumnExpr>();
        expr.transform_down(|node| match node.downcast_ref::<ColumnExpr>() {
            // The replacement refers to the file, so the rewrite does not descend into it.
            Some(column) => {
                let name = column.name().to_owned();
                Ok(Transformed::new(
                    self.column(&name, is_answer)?,
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                ))
            }
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
}

/// The columns that a scan reads from one file, for estimates.
pub(crate) struct FileView {
    pub(crate) schema: SchemaRef,
    adapter: Option<Arc<dyn PhysicalExprAdapter>>,
}

/// The view of a file in this scan.
pub(crate) fn file_view(scan: &FileScanConfig, file: &PartitionedFile) -> Result<FileView> {
    let table = scan.file_source().table_schema().file_schema();
    let (Some(factory), Some(schema)) = (&scan.expr_adapter_factory, &file.arrow_schema) else {
        return Ok(FileView { schema: Arc::clone(table), adapter: None });
    };
    let adapter = factory.create(Arc::clone(table), Arc::clone(schema))?;
    Ok(FileView { schema: Arc::clone(schema), adapter: Some(adapter) })
}

impl FileView {
    /// Rewrites an expression over the table to one over the file.
    pub(crate) fn rewrite(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.adapter.as_ref().map_or_else(|| Ok(Arc::clone(expr)), |adapter| adapter.rewrite(Arc::clone(expr)))
    }

    /// The names in the file of these columns of the table.
    pub(crate) fn names(&self, table: &Schema, columns: &[usize]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (at, field) in columns.iter().filter_map(|at| Some((*at, table.fields().get(*at)?))) {
            let column = self.rewrite(&(Arc::new(ColumnExpr::new(field.name(), at)) as _))?;
            names.extend(collect_columns(&column).into_iter().map(|column| column.name().to_owned()));
        }
        Ok(names)
    }
}

impl Shape {
    /// The columns of a file. Fails when two have the same name.
    pub(super) fn of(footer: &ParquetMetaData) -> Result<Self, String> {
        let descriptor = footer.file_metadata().schema_descr();
        let root = descriptor.root_schema_ptr();
        let names = root.get_fields().iter().map(|field| field.name()).collect::<Vec<_>>();
        if let Some(name) =
            names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name)
        {
            return Err(format!("it has two columns `{name}`"));
        }
        let schema = parquet_to_arrow_schema(descriptor, None).map_err(|error| error.to_string())?;
        let fields = schema.fields().iter().zip(root.get_fields()).map(|(field, parquet)| read_as(field, parquet));
        Ok(Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), root })
    }

    /// Whether a file has exactly these columns.
    pub(super) fn is_of(&self, footer: &ParquetMetaData) -> bool {
        self.root.as_ref() == footer.file_metadata().schema_descr().root_schema()
    }

    /// The source of each column of the table in a file of this shape.
    pub(super) fn layout(
        &self,
        columns: &[Column],
        constants: &HashMap<usize, ScalarValue>,
        named_ids: &NamedIds,
    ) -> Result<Vec<Origin>, String> {
        let fields = self.root.get_fields();
        // Names replace ids only when the file has no ids.
        let nobody = NamedIds::new();
        let has_ids = fields.iter().any(|field| has_ids(field));
        let named_ids = if has_ids { &nobody } else { named_ids };
        if !has_ids && named_ids.is_empty() && columns.iter().any(|column| matches!(column.key, Key::Id(_))) {
            return Err("it has no field ids, and the table does not say which columns its names are".to_owned());
        }
        let mut layout = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let found = find(column, fields, &[], named_ids)?;
            layout.push(match (constants.get(&at), found) {
                // A file may store its partition column too; the table's metadata wins.
                (Some(value), _) => {
                    Origin::Constant(canonical_scalar(value.clone()).map_err(|error| error.to_string())?)
                }
                (None, None) => Origin::Missing,
                (None, Some(place)) => {
                    let path = vec![fields[place].name().to_owned()];
                    let (wanted, found) = (column.field.data_type(), self.schema.field(place).data_type());
                    match fits(column, &fields[place], found, &path, named_ids)? {
                        // An equal type is not enough, because two fields may have swapped their names.
                        conversion if found == wanted && conversion.changes_nothing() => Origin::Column(place),
                        conversion if wanted.is_nested() || may_fail(found, wanted) => {
                            Origin::Converted(place, Arc::new(conversion))
                        }
                        _ => Origin::Column(place),
                    }
                }
            });
        }
        Ok(layout)
    }
}

/// Reads strings and bytes as views and INT96 timestamps as microseconds, like the table, so that no cast is needed.
fn read_as(field: &Field, parquet: &Type) -> Field {
    let data_type = match with_micros(field.data_type(), parquet) {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => without_notes(&other),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// The type with INT96 timestamps as microseconds, also within lists and structs.
fn with_micros(data_type: &DataType, parquet: &Type) -> DataType {
    let of = |field: &FieldRef, parquet: &Type| {
        Arc::new(field.as_ref().clone().with_data_type(with_micros(field.data_type(), parquet)))
    };
    match data_type {
        _ if parquet.is_primitive() && parquet.get_physical_type() == PhysicalType::INT96 => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::Struct(fields) if parquet.is_group() && fields.len() == parquet.get_fields().len() => {
            DataType::Struct(fields.iter().zip(parquet.get_fields()).map(|(field, inner)| of(field, inner)).collect())
        }
        DataType::List(item) => match element(parquet) {
            Some(inner) => DataType::List(of(item, inner)),
            None => data_type.clone(),
        },
        DataType::Map(entries, is_sorted) => match (entries.data_type(), pair(parquet)) {
            (DataType::Struct(fields), Some([key, value])) if fields.len() == 2 => {
                let pair = DataType::Struct(Fields::from(vec![of(&fields[0], key), of(&fields[1], value)]));
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), *is_sorted)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

/// The item type of a list. In the old list encoding it is the repeated field itself, as the reader takes it.
fn element(list: &Type) -> Option<&Type> {
    if list.is_primitive() {
        return None;
    }
    let repeated = list.get_fields().first()?;
    let is_item = repeated.is_primitive()
        || repeated.get_fields().len() != 1
        || repeated.name() == "array"
        || repeated.name() == format!("{}_tuple", list.name());
    Some(if is_item { repeated } else { &repeated.get_fields()[0] })
}

/// The key and the value type of a map.
fn pair(map: &Type) -> Option<[&Type; 2]> {
    if map.is_primitive() {
        return None;
    }
    let entry = map.get_fields().first().filter(|entry| entry.is_group())?;
    match entry.get_fields() {
        [key, value] => Some([key, value]),
        _ => None,
    }
}

/// The type without field metadata such as ids, because types that differ in it are not equal.
fn without_notes(data_type: &DataType) -> DataType {
    let bare =
        |field: &FieldRef| Arc::new(Field::new(field.name(), without_notes(field.data_type()), field.is_nullable()));
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(bare).collect::<Fields>()),
        DataType::List(field) => DataType::List(bare(field)),
        DataType::LargeList(field) => DataType::LargeList(bare(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(bare(field), *size),
        DataType::Map(field, sorted) => DataType::Map(bare(field), *sorted),
        other => other.clone(),
    }
}

fn has_ids(field: &Type) -> bool {
    field.get_basic_info().has_id() || field.is_group() && field.get_fields().iter().any(|inner| has_ids(inner))
}

/// The position of a column among a file's fields; `None` when the file lacks it. Fails when two fields match.
fn find(column: &Column, fields: &[TypePtr], above: &[String], named_ids: &NamedIds) -> Result<Option<usize>, String> {
    let has_name = |name: &str| fields.iter().any(|field| field.name() == name);
    let is_it = |field: &TypePtr| match &column.key {
        Key::Name(name) => field.name() == name,
        Key::AnyCase(name) if has_name(name) => field.name() == name,
        Key::AnyCase(name) => field.name().to_lowercase() == name.to_lowercase(),
        Key::Id(id) if field.get_basic_info().has_id() => field.get_basic_info().id() == *id,
        Key::Id(id) => {
            let path = above.iter().cloned().chain([field.name().to_owned()]).collect::<Vec<_>>();
            named_ids.get(&path) == Some(id)
        }
    };
    let mut found = fields.iter().enumerate().filter(|(_, field)| is_it(field)).map(|(at, _)| at);
    let first = found.next();
    if found.next().is_some() {
        return Err(format!("two of its columns are `{}`", column.field.name()));
    }
    Ok(first)
}

/// The conversion from a file's type to the column's: an equal or narrower type, with nested fields found by id or
/// physical name. Fails when no conversion is exact.
fn fits(
    column: &Column,
    parquet: &Type,
    found: &DataType,
    path: &[String],
    named_ids: &NamedIds,
) -> Result<Conversion, String> {
    let wanted = column.field.data_type();
    let name = path.join(".");
    let wrong = || format!("column `{name}` is of a type that cannot be read as the table's");
    let below = |name: &str| path.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
    match (wanted, found) {
        (DataType::Struct(_), DataType::Struct(found)) if parquet.is_group() => {
            let places = column.inner.iter().map(|field| {
                let Some(place) = find(field, parquet.get_fields(), path, named_ids)? else { return Ok(None) };
                let inner = &parquet.get_fields()[place];
                let found = found.get(place).ok_or_else(wrong)?;
                let conversion = fits(field, inner, found.data_type(), &below(inner.name()), named_ids)?;
                Ok(Some((place, conversion)))
            });
            Ok(Conversion::Struct(places.collect::<Result<_, String>>()?))
        }
        (DataType::List(_), DataType::List(found)) => {
            let inner = column.inner.first().ok_or_else(wrong)?;
            let element = element(parquet).ok_or_else(wrong)?;
            let of_items = fits(inner, element, found.data_type(), &below("element"), named_ids)?;
            Ok(Conversion::List(Box::new(of_items)))
        }
        (DataType::Map(..), DataType::Map(entries, _)) => {
            let (DataType::Struct(found), Some([key, value])) = (entries.data_type(), pair(parquet)) else {
                return Err(wrong());
            };
            let ([of_key, of_value], [found_key, found_value]) = (column.inner.as_slice(), found.as_ref()) else {
                return Err(wrong());
            };
            let keys = fits(of_key, key, found_key.data_type(), &below("key"), named_ids)?;
            let values = fits(of_value, value, found_value.data_type(), &below("value"), named_ids)?;
            Ok(Conversion::Map(Box::new(keys), Box::new(values)))
        }
        _ if is_read_as(found, wanted) => Ok(Conversion::Cast),
        _ if wanted.is_nested() || found.is_nested() => Err(wrong()),
        _ => Err(format!("column `{name}` is of the type {found}, which cannot be read as {wanted}")),
    }
}

/// Whether a value of the first type may not fit the second.
fn may_fail(found: &DataType, wanted: &DataType) -> bool {
    match found {
        DataType::Binary | DataType::BinaryView => wanted.is_string(),
        DataType::Int32 | DataType::Int16 => matches!(wanted, DataType::Int8 | DataType::Int16) && found != wanted,
        _ => false,
    }
}

/// Whether a file's type can be read as the table's: an equal type, one that a schema may widen from, or another
/// encoding of the same values. When [`may_fail`] is true, a value that does not fit is a fault of the file.
fn is_read_as(found: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, FixedSizeBinary, Float32, Float64, Int8, Int16, Int32, Int64,
        LargeBinary, LargeUtf8, Timestamp, Utf8, Utf8View,
    };
    match (found, wanted) {
        _ if found == wanted => true,
        (Int8, Int16 | Int32 | Int64 | Float64) | (Int16, Int32 | Int64 | Float64) | (Int32, Int64 | Float64) => true,
        // Small integers without the writer's annotation; a value that is too large is a read error.
        (Int32, Int8 | Int16) | (Int16, Int8) => true,
        (Float32, Float64) => true,
        (Decimal128(few, scale), Decimal128(more, wider)) => {
            wider >= scale && i16::from(*more) - i16::from(*wider as u8) >= i16::from(*few) - i16::from(*scale as u8)
        }
        (Int8 | Int16 | Int32 | Int64, Decimal128(precision, scale)) => {
            let digits = match found {
                Int8 => 3,
                Int16 => 5,
                Int32 => 10,
                _ => 19,
            };
            i16::from(*precision) - i16::from(*scale) >= digits
        }
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => true,
        (Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _), Timestamp(TimeUnit::Microsecond, _)) => true,
        (Timestamp(..), Timestamp(TimeUnit::Nanosecond, _)) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (FixedSizeBinary(_), Binary | BinaryView) => true,
        // Bytes without a text annotation are text when the table declares text; invalid text is a read error.
        (Binary | BinaryView, Utf8 | Utf8View) => true,
        _ => false,
    }
}
