//! Columns of a table in files that name them otherwise: found by field id or physical name, never by the name that they
//! have in the table. A file may have a column of that name that is another one.
//!
//! What is not in a file is NULL, or the file's partition value. What can not be found safely is a fault at opening.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::nested_struct::validate_data_type_compatibility;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::physical_plan::parquet::Int96Coercer;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::schema::types::{Type, TypePtr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::meant;
use crate::govern::fingerprint::Fingerprint;

/// The key of a file's schema under which the number of its layout stands, among those of one version of the table.
const LAYOUT: &str = "lakegate.layout";
/// The key under which stands what the layout is: two versions may mean two things by one number, and what was read of a file by
/// one is not to be taken for what is read by the other.
const ORIGINS: &str = "lakegate.origins";

/// A column of a table, and by what it is found in files.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) field: FieldRef,
    pub(super) key: Key,
    /// The fields of a struct, the element of a list, key and value of a map.
    pub(super) inner: Vec<Column>,
}

/// By what a column is found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The name that it has in files.
    Name(String),
    /// The field id.
    Id(i32),
}

/// Ids of columns by their names, from the outermost: for files that were written without ids.
pub(super) type NamedIds = HashMap<Vec<String>, i32>;

/// Where a column of the table comes from in one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The file's column at this place.
    Column(usize),
    /// The same value in every row.
    Constant(ScalarValue),
    /// Nowhere: NULL.
    Missing,
}

/// The columns of a file as it lies. Many files have the same.
#[derive(Debug)]
pub(super) struct Shape {
    root: TypePtr,
    /// The types that are read, without what writers have noted beside them.
    pub(super) schema: SchemaRef,
}

/// Where the columns of a table come from, by the layout that a file has.
#[derive(Debug)]
pub(super) struct Mapping {
    schema: SchemaRef,
    layouts: Vec<Arc<[Origin]>>,
}

impl Mapping {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, layouts: Vec::new() }
    }

    /// The schema by which a file of this layout is read. It says which layout that is.
    pub(super) fn file_schema(&mut self, shape: &Shape, layout: Vec<Origin>) -> SchemaRef {
        let at = self.layouts.iter().position(|known| known[..] == layout[..]).unwrap_or_else(|| {
            self.layouts.push(layout.into());
            self.layouts.len() - 1
        });
        let mut origins = Fingerprint::new("lakegate layout v1");
        origins.text(format_args!("{:?}", self.layouts[at]));
        let note = HashMap::from([(LAYOUT.to_owned(), at.to_string()), (ORIGINS.to_owned(), origins.hex())]);
        Arc::new(Schema::new_with_metadata(shape.schema.fields().clone(), note))
    }
}

impl PhysicalExprAdapterFactory for Mapping {
    fn create(&self, _table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let layout = file.metadata().get(LAYOUT).and_then(|at| self.layouts.get(at.parse::<usize>().ok()?));
        // By name it could be another column.
        let layout = layout.ok_or_else(|| internal_datafusion_err!("a file without a layout"))?;
        Ok(Arc::new(FileColumns { table: Arc::clone(&self.schema), file, layout: Arc::clone(layout) }))
    }
}

/// Puts a file's columns into expressions over the table.
#[derive(Debug)]
struct FileColumns {
    table: SchemaRef,
    file: SchemaRef,
    layout: Arc<[Origin]>,
}

impl FileColumns {
    /// A column of the table; `is_answer` where it is not part of another expression.
    fn column(&self, name: &str, is_answer: bool) -> Result<Arc<dyn PhysicalExpr>> {
        let at = self.table.index_of(name)?;
        let field = &self.table.fields()[at];
        let origin = self.layout.get(at).ok_or_else(|| internal_datafusion_err!("a column without an origin"))?;
        match origin {
            Origin::Column(place) => {
                let found = self.file.fields().get(*place);
                let found = found.ok_or_else(|| internal_datafusion_err!("a file without a column of its layout"))?;
                let column = Arc::new(ColumnExpr::new(found.name(), *place));
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
            // What took its place is of the file: it is not looked at again.
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

/// What a scan reads of one file, for an estimate.
pub(crate) struct FileView {
    pub(crate) schema: SchemaRef,
    adapter: Option<Arc<dyn PhysicalExprAdapter>>,
}

/// A file as a scan reads it.
pub(crate) fn file_view(scan: &FileScanConfig, file: &PartitionedFile) -> Result<FileView> {
    let table = scan.file_source().table_schema().file_schema();
    let (Some(factory), Some(schema)) = (&scan.expr_adapter_factory, &file.arrow_schema) else {
        return Ok(FileView { schema: Arc::clone(table), adapter: None });
    };
    let adapter = factory.create(Arc::clone(table), Arc::clone(schema))?;
    Ok(FileView { schema: Arc::clone(schema), adapter: Some(adapter) })
}

impl FileView {
    /// An expression over the table, over the file.
    pub(crate) fn rewrite(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.adapter.as_ref().map_or_else(|| Ok(Arc::clone(expr)), |adapter| adapter.rewrite(Arc::clone(expr)))
    }

    /// The names that columns of the table have in the file.
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
    /// The columns of a file, or why they can not be told apart.
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
        let coerced = Int96Coercer::new(descriptor, &schema, &TimeUnit::Microsecond).coerce();
        let schema = coerced.unwrap_or(schema);
        let fields = schema.fields().iter().map(|field| read_as(field));
        Ok(Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), root })
    }

    /// Whether a file has these columns.
    pub(super) fn is_of(&self, footer: &ParquetMetaData) -> bool {
        self.root.as_ref() == footer.file_metadata().schema_descr().root_schema()
    }

    /// Where the columns of a table come from.
    pub(super) fn layout(
        &self,
        columns: &[Column],
        constants: &HashMap<usize, ScalarValue>,
        named_ids: &NamedIds,
    ) -> Result<Vec<Origin>, String> {
        let fields = self.root.get_fields();
        // Names stand for ids only where the file has none.
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
                // A file may have its partition column too; the table's word counts.
                (Some(value), _) => Origin::Constant(value.clone()),
                (None, None) => Origin::Missing,
                (None, Some(place)) => {
                    let path = vec![fields[place].name().to_owned()];
                    fits(column, &fields[place], self.schema.field(place).data_type(), &path, named_ids)?;
                    Origin::Column(place)
                }
            });
        }
        Ok(layout)
    }
}

/// Strings and bytes as views: as the table has them, so that nothing is cast.
fn read_as(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => without_notes(other),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// The type without ids and other notes on its fields: two types are not equal that differ in them.
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

/// The place of a column among a file's fields.
fn find(column: &Column, fields: &[TypePtr], above: &[String], named_ids: &NamedIds) -> Result<Option<usize>, String> {
    let is_it = |field: &TypePtr| match &column.key {
        Key::Name(name) => field.name() == name,
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

/// Whether what a file has can be read as the column: the same type or a narrower one, and within it the same fields under
/// the same names.
fn fits(
    column: &Column,
    parquet: &Type,
    found: &DataType,
    path: &[String],
    named_ids: &NamedIds,
) -> Result<(), String> {
    let wanted = column.field.data_type();
    let name = path.join(".");
    let wrong = || Err(format!("column `{name}` is of a type that can not be read as the table's"));
    let below = |name: &str| path.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
    match (wanted, found) {
        (DataType::Struct(_), DataType::Struct(found)) => {
            for field in &column.inner {
                let name = field.field.name();
                let place = find(field, parquet.get_fields(), path, named_ids)?;
                let of_name = parquet.get_fields().iter().position(|other| other.name() == name);
                if place != of_name {
                    return Err(format!("field `{}` of `{}` has another name there", name, path.join(".")));
                }
                if let Some(place) = place {
                    let inner = &parquet.get_fields()[place];
                    fits(field, inner, found[place].data_type(), &below(name), named_ids)?;
                }
            }
            let bare = wanted.clone();
            validate_data_type_compatibility(&name, &DataType::Struct(found.clone()), &bare)
                .map_err(|_| format!("the fields of `{name}` are not those of the table"))
        }
        (DataType::List(_), DataType::List(found)) => {
            let Some(repeated) = parquet.get_fields().first() else { return wrong() };
            let is_three_levels = repeated.is_group() && repeated.get_fields().len() == 1;
            let element = if is_three_levels { &repeated.get_fields()[0] } else { repeated };
            let Some(inner) = column.inner.first() else { return wrong() };
            fits(inner, element, found.data_type(), &below("element"), named_ids)
        }
        (DataType::Map(..), DataType::Map(entries, _)) => {
            let (Some(entry), DataType::Struct(found)) = (parquet.get_fields().first(), entries.data_type()) else {
                return wrong();
            };
            if entry.is_primitive() || entry.get_fields().len() != 2 || found.len() != 2 || column.inner.len() != 2 {
                return wrong();
            }
            for (at, name) in ["key", "value"].into_iter().enumerate() {
                fits(&column.inner[at], &entry.get_fields()[at], found[at].data_type(), &below(name), named_ids)?;
            }
            Ok(())
        }
        _ if is_read_as(found, wanted) => Ok(()),
        _ if wanted.is_nested() || found.is_nested() => wrong(),
        _ => Err(format!("column `{name}` is of the type {found}, which can not be read as {wanted}")),
    }
}

/// Types whose every value is one of the other type: what schemas may be widened to, and other forms of the same.
fn is_read_as(found: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, FixedSizeBinary, Float32, Float64, Int8, Int16, Int32, Int64,
        LargeBinary, LargeUtf8, Timestamp, Utf8, Utf8View,
    };
    match (found, wanted) {
        _ if found == wanted => true,
        (Int8, Int16 | Int32 | Int64 | Float64) | (Int16, Int32 | Int64 | Float64) | (Int32, Int64 | Float64) => true,
        (Float32, Float64) => true,
        (Decimal128(few, scale), Decimal128(more, wider)) => {
            wider >= scale && i16::from(*more) - i16::from(*wider as u8) >= i16::from(*few) - i16::from(*scale as u8)
        }
        (Int8 | Int16 | Int32, Decimal128(precision, scale)) => i16::from(*precision) - i16::from(*scale) >= 10,
        (Int64, Decimal128(precision, scale)) => i16::from(*precision) - i16::from(*scale) >= 20,
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => true,
        (Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _), Timestamp(TimeUnit::Microsecond, _)) => true,
        (Timestamp(..), Timestamp(TimeUnit::Nanosecond, _)) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (FixedSizeBinary(_), Binary | BinaryView) => true,
        // Bytes that nobody has marked as text are text where the table says so; what is not fails to be read.
        (Binary | BinaryView, Utf8 | Utf8View) => true,
        _ => false,
    }
}
