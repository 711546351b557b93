//! Nested structs, lists and maps with required and optional parts: reads return what was written, and a NULL parent
//! makes every child NULL, for every query, filter and row filter, from files and from memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use serde_json::{Value as Json, json};

use crate::engine::{Embedded, Engine, Limits};
use crate::govern::testing;
use crate::plan::PlannedProject;

/// A part of a type, and whether it may be NULL.
#[derive(Clone, Debug)]
struct Part {
    kind: Kind,
    is_optional: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Number,
    Text,
    Struct(Vec<Part>),
    List(Box<Part>),
    Map(Box<Part>),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Number(i64),
    Text(String),
    Struct(Vec<Value>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// A random number generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn part(&mut self, depth: u64) -> Part {
        let kind = match self.roll(if depth == 0 { 2 } else { 8 }) {
            0 => Kind::Number,
            1 => Kind::Text,
            2 => Kind::List(Box::new(self.part(depth - 1))),
            3 => Kind::Map(Box::new(self.part(depth - 1))),
            _ => Kind::Struct((0..=self.roll(3)).map(|_| self.part(depth - 1)).collect()),
        };
        Part { kind, is_optional: self.roll(2) == 0 }
    }

    fn value(&mut self, part: &Part) -> Value {
        if part.is_optional && self.roll(3) == 0 {
            return Value::Null;
        }
        match &part.kind {
            Kind::Number => Value::Number(self.roll(5) as i64),
            Kind::Text => Value::Text(format!("t{}", self.roll(5))),
            Kind::Struct(parts) => Value::Struct(parts.iter().map(|part| self.value(part)).collect()),
            Kind::List(item) => Value::List((0..self.roll(3)).map(|_| self.value(item)).collect()),
            Kind::Map(item) => Value::Map((0..self.roll(3)).map(|at| (format!("k{at}"), self.value(item))).collect()),
        }
    }
}

impl Part {
    fn field(&self, name: &str) -> FieldRef {
        Arc::new(Field::new(name, self.data_type(), self.is_optional))
    }

    fn data_type(&self) -> DataType {
        match &self.kind {
            Kind::Number => DataType::Int64,
            Kind::Text => DataType::Utf8,
            Kind::Struct(parts) => DataType::Struct(fields(parts)),
            Kind::List(item) => DataType::List(item.field("element")),
            Kind::Map(item) => DataType::Map(Arc::new(Field::new("key_value", entries(item), false)), false),
        }
    }

    /// An array of these values; `None` is a value below a NULL.
    fn array(&self, values: &[Option<&Value>]) -> ArrayRef {
        let values = values.iter().map(|value| value.filter(|value| **value != Value::Null)).collect::<Vec<_>>();
        let nulls = || Some(NullBuffer::from_iter(values.iter().map(Option::is_some)));
        match &self.kind {
            Kind::Number => Arc::new(values.iter().map(|value| value.map(number)).collect::<Int64Array>()),
            Kind::Text => Arc::new(values.iter().map(|value| value.map(text)).collect::<StringArray>()),
            Kind::Struct(parts) => {
                let columns = parts.iter().enumerate().map(|(at, part)| {
                    let of_part = values.iter().map(|value| match value {
                        Some(Value::Struct(of)) => Some(&of[at]),
                        _ => None,
                    });
                    part.array(&of_part.collect::<Vec<_>>())
                });
                Arc::new(StructArray::new(fields(parts), columns.collect(), nulls()))
            }
            Kind::List(item) => {
                let items = values.iter().map(|value| match value {
                    Some(Value::List(of)) => of.as_slice(),
                    _ => &[],
                });
                let items = items.collect::<Vec<_>>();
                let offsets = OffsetBuffer::from_lengths(items.iter().map(|of| of.len()));
                let items = item.array(&items.into_iter().flatten().map(Some).collect::<Vec<_>>());
                Arc::new(ListArray::new(item.field("element"), offsets, items, nulls()))
            }
            Kind::Map(item) => {
                let pairs = values.iter().map(|value| match value {
                    Some(Value::Map(of)) => of.as_slice(),
                    _ => &[],
                });
                let pairs = pairs.collect::<Vec<_>>();
                let offsets = OffsetBuffer::from_lengths(pairs.iter().map(|of| of.len()));
                let pairs = pairs.into_iter().flatten().collect::<Vec<_>>();
                let keys: ArrayRef = Arc::new(pairs.iter().map(|(key, _)| Some(key.as_str())).collect::<StringArray>());
                let of = item.array(&pairs.iter().map(|(_, value)| Some(value)).collect::<Vec<_>>());
                let DataType::Struct(parts) = entries(item) else { unreachable!() };
                let of = StructArray::new(parts, vec![keys, of], None);
                let field = Arc::new(Field::new("key_value", entries(item), false));
                Arc::new(MapArray::new(field, offsets, of, nulls(), false))
            }
        }
    }

    /// The value in a row of an array, read without its parents.
    fn read(&self, array: &ArrayRef, row: usize) -> Value {
        if array.is_null(row) {
            self.is_null_below(array, row);
            return Value::Null;
        }
        match &self.kind {
            Kind::Number => Value::Number(array.as_primitive::<Int64Type>().value(row)),
            Kind::Text => Value::Text(match array.data_type() {
                DataType::Utf8View => array.as_string_view().value(row).to_owned(),
                _ => array.as_string::<i32>().value(row).to_owned(),
            }),
            Kind::Struct(parts) => {
                let columns = array.as_struct().columns().iter().zip(parts);
                Value::Struct(columns.map(|(column, part)| part.read(column, row)).collect())
            }
            Kind::List(item) => {
                let of = array.as_list::<i32>().value(row);
                Value::List((0..of.len()).map(|at| item.read(&of, at)).collect())
            }
            Kind::Map(item) => {
                let of = array.as_map().value(row);
                let key = |at| text(&Part { kind: Kind::Text, is_optional: false }.read(of.column(0), at)).to_owned();
                Value::Map((0..of.len()).map(|at| (key(at), item.read(of.column(1), at))).collect())
            }
        }
    }

    fn is_null_below(&self, array: &ArrayRef, row: usize) {
        assert!(array.is_null(row), "NULL of a parent is not NULL of {self:?}");
        if let Kind::Struct(parts) = &self.kind {
            parts.iter().zip(array.as_struct().columns()).for_each(|(part, column)| part.is_null_below(column, row));
        }
    }

    /// Collects the numbers that are reachable through structs alone: their SQL expression and the path to their value.
    fn numbers(&self, path: &str, way: &[usize], found: &mut Vec<(String, Vec<usize>)>) {
        match &self.kind {
            Kind::Number => found.push((path.to_owned(), way.to_vec())),
            Kind::Struct(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    part.numbers(&format!("{path}['f{at}']"), &[way, &[at]].concat(), found);
                }
            }
            _ => {}
        }
    }

    /// The type in Delta's JSON. There every part is nullable, whatever the files declare.
    fn in_delta(&self) -> Json {
        match &self.kind {
            Kind::Number => json!("long"),
            Kind::Text => json!("string"),
            Kind::Struct(parts) => {
                let fields =
                    parts.iter().enumerate().map(|(at, part)| delta_field(&format!("f{at}"), &part.in_delta()));
                json!({"type": "struct", "fields": fields.collect::<Vec<_>>()})
            }
            Kind::List(item) => json!({"type": "array", "elementType": item.in_delta(), "containsNull": true}),
            Kind::Map(item) => {
                json!({"type": "map", "keyType": "string", "valueType": item.in_delta(), "valueContainsNull": true})
            }
        }
    }
}

fn delta_field(name: &str, data_type: &Json) -> Json {
    json!({"name": name, "type": data_type, "nullable": true, "metadata": {}})
}

fn fields(parts: &[Part]) -> Fields {
    parts.iter().enumerate().map(|(at, part)| part.field(&format!("f{at}"))).collect()
}

fn entries(item: &Part) -> DataType {
    DataType::Struct(vec![Arc::new(Field::new("key", DataType::Utf8, false)), item.field("value")].into())
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Number(number) => *number,
        other => panic!("{other:?}"),
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The value at a path below a value, or NULL when a parent is NULL.
fn below<'v>(value: &'v Value, way: &[usize]) -> &'v Value {
    match (value, way) {
        (value, []) | (value @ Value::Null, _) => value,
        (Value::Struct(of), [at, way @ ..]) => below(&of[*at], way),
        (other, _) => panic!("{other:?}"),
    }
}

fn write(path: &Path, part: &Part, values: &[Value], rows_a_group: usize) {
    let ids: ArrayRef = Arc::new((0..values.len() as i64).map(Some).collect::<Int64Array>());
    let id = Field::new("id", DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![Arc::new(id), part.field("c")]));
    let array = part.array(&values.iter().map(Some).collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, array]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_a_group)).build();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes the log of a Delta table with this one file.
fn write_log(folder: &Path, part: &Part) {
    let fields = [delta_field("id", &json!("long")), delta_field("c", &part.in_delta())];
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let size = fs::metadata(folder.join("a.parquet")).unwrap().len();
    let actions = [
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {
            "id": "0", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": [], "configuration": {}, "createdTime": 0,
        }}),
        json!({"add": {
            "path": "a.parquet", "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": true,
        }}),
    ];
    fs::create_dir_all(folder.join("_delta_log")).unwrap();
    let lines = actions.iter().map(|action| format!("{action}\n")).collect::<String>();
    fs::write(folder.join("_delta_log/00000000000000000000.json"), lines).unwrap();
}

/// The arrays of column `c` for all rows.
async fn column(project: &PlannedProject) -> Vec<ArrayRef> {
    let plan = testing::governed(project, &testing::principal(""), "all", "{}").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut stream = Embedded.run(plan, Limits::until(deadline)).await.unwrap();
    let mut columns = Vec::new();
    while let Some(batch) = stream.next().await.unwrap() {
        columns.push(Arc::clone(batch.column(1)));
    }
    columns
}

async fn lines(project: &PlannedProject, endpoint: &str) -> Vec<String> {
    let plan = testing::governed(project, &testing::principal("k=2"), endpoint, "{}").unwrap();
    testing::rows(plan).await.unwrap_or_else(|error| panic!("{endpoint}: {error:?}"))
}

async fn holds_for(part: &Part, values: &[Value], keys: &str, lake: &Path) {
    let mut config = format!("[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\n{keys}\n");
    let mut endpoints = vec![("all".to_owned(), "SELECT id, c FROM t ORDER BY id".to_owned())];
    let mut wanted = Vec::new();
    let mut numbers = Vec::new();
    part.numbers("c", &[], &mut numbers);
    for (at, (path, way)) in numbers.iter().enumerate() {
        config += &format!("[tables.p{at}]\nlocation = \"t\"\nrow_filter = \"{path} = principal('k')\"\n{keys}\n");
        let of_rows = values.iter().enumerate().map(|(id, value)| (id, below(value, way)));
        let ids = |holds: &dyn Fn(&Value) -> bool| {
            of_rows.clone().filter(|(_, value)| holds(value)).map(|(id, _)| id.to_string()).collect::<Vec<_>>()
        };
        let is_number = |value: &Value| *value != Value::Null;
        let mut ask = |name: &str, sql: String, lines: Vec<String>| {
            endpoints.push((format!("{name}{at}"), sql));
            wanted.push((format!("{name}{at}"), lines));
        };
        let shown = of_rows.clone().map(|(id, value)| match value {
            Value::Number(number) => format!("{id}|{number}"),
            _ => format!("{id}|NULL"),
        });
        ask("shown", format!("SELECT id, {path} AS v FROM t ORDER BY id"), shown.collect());
        ask("count", format!("SELECT count({path}) AS n FROM t"), vec![ids(&is_number).len().to_string()]);
        ask("null", format!("SELECT id FROM t WHERE {path} IS NULL ORDER BY id"), ids(&|value| !is_number(value)));
        ask("some", format!("SELECT id FROM t WHERE {path} IS NOT NULL ORDER BY id"), ids(&is_number));
        ask("two", format!("SELECT id FROM t WHERE {path} = 2 ORDER BY id"), ids(&|value| *value == Value::Number(2)));
        ask(
            "join",
            format!(
                "SELECT a.id AS id FROM t a JOIN (SELECT 2 AS k) b ON {} = b.k ORDER BY id",
                path.replacen('c', "a.c", 1)
            ),
            ids(&|value| *value == Value::Number(2)),
        );
        ask("own", format!("SELECT id FROM p{at} ORDER BY id"), ids(&|value| *value == Value::Number(2)));
    }
    let endpoints = endpoints.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect::<Vec<_>>();
    let project = testing::project(lake, &config, &endpoints).await;
    for is_hot in [false, true] {
        if is_hot {
            project.keep_hot(16 << 20).await.unwrap();
        }
        let read = column(&project).await;
        let read = read.iter().flat_map(|array| (0..array.len()).map(|row| part.read(array, row))).collect::<Vec<_>>();
        assert_eq!(read, values, "hot {is_hot}, of {part:?}");
        for (name, lines) in &wanted {
            assert_eq!(self::lines(&project, name).await, *lines, "hot {is_hot}: {name} of {part:?}");
        }
    }
}

#[tokio::test]
async fn null_of_a_parent_is_null_of_every_child() {
    for seed in 0..16 {
        let mut dice = Dice(seed);
        let part = Part { kind: Kind::Struct((0..=dice.roll(2)).map(|_| dice.part(2)).collect()), is_optional: true };
        let values = (0..24).map(|_| dice.value(&part)).collect::<Vec<_>>();
        let lake = tempfile::tempdir().unwrap();
        write(&lake.path().join("t/a.parquet"), &part, &values, 7);
        holds_for(&part, &values, "", lake.path()).await;
        write_log(&lake.path().join("t"), &part);
        holds_for(&part, &values, "format = \"delta\"", lake.path()).await;
    }
}

#[tokio::test]
async fn a_required_field_of_a_null_struct_has_no_value_of_another_row() {
    let number = Part { kind: Kind::Number, is_optional: false };
    let part = Part { kind: Kind::Struct(vec![number]), is_optional: true };
    let values =
        [Value::Null, Value::Struct(vec![Value::Number(2)]), Value::Null, Value::Struct(vec![Value::Number(3)])];
    let lake = tempfile::tempdir().unwrap();
    write(&lake.path().join("t/a.parquet"), &part, &values, 100);
    holds_for(&part, &values, "", lake.path()).await;
}
