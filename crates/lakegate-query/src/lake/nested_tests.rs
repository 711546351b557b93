//! Structs, lists and maps of Delta and Iceberg tables whose files name, order or type their fields otherwise.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int8Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampNanosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::Field;
use serde_json::{Value, json};

use super::testing::iceberg::{IcebergTable, field};
use super::testing::{DeltaTable, column, open, own, shared};
use super::version::At;

const DELTA: &str = "location = \"t\"\nformat = \"delta\"";
const ICEBERG: &str = "location = \"t\"\nformat = \"iceberg\"";

/// A struct array whose fields have ids; 0 means no id.
fn structs(fields: Vec<(&str, i32, ArrayRef)>, nulls: Option<NullBuffer>) -> StructArray {
    let (of, arrays): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .map(|(name, id, array)| {
            let (field, _) = column(name, id, array.slice(0, array.len()));
            (Arc::new(field), array)
        })
        .unzip();
    StructArray::try_new(of.into(), arrays, nulls).unwrap()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn list(item: ArrayRef, lengths: &[usize], id: i32) -> ListArray {
    let (item_field, _) = column("element", id, item.slice(0, item.len()));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths.iter().copied());
    ListArray::try_new(Arc::new(item_field), offsets, item, None).unwrap()
}

fn map(values: ArrayRef, lengths: &[usize], ids: (i32, i32)) -> MapArray {
    let keys: ArrayRef = Arc::new(StringArray::from((0..values.len()).map(|at| format!("k{at}")).collect::<Vec<_>>()));
    let (key, _) = column("key", ids.0, keys.slice(0, keys.len()));
    let (value, _) = column("value", ids.1, values.slice(0, values.len()));
    let fields = vec![Arc::new(key.with_nullable(false)), Arc::new(value)];
    let entries = StructArray::try_new(fields.into(), vec![keys, values], None).unwrap();
    let of = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths.iter().copied());
    MapArray::try_new(of, offsets, entries, None, false).unwrap()
}

/// A field of a Delta table with column mapping.
fn mapped(id: i32, physical: &str, name: &str, data_type: Value) -> Value {
    let metadata = json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical});
    json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
}

fn of(fields: &[Value]) -> Value {
    json!({"type": "struct", "fields": fields})
}

/// A Delta table of these fields with this column mapping mode.
fn delta(mode: &str, fields: &[Value], features: &[&str]) -> DeltaTable {
    let mut table = DeltaTable::new(&[], &[], features);
    let configuration = json!({"delta.columnMapping.mode": mode});
    let metadata = json!({"metaData": {
        "id": "0", "format": {"provider": "parquet", "options": {}}, "schemaString": of(fields).to_string(),
        "partitionColumns": [], "configuration": configuration, "createdTime": 0,
    }});
    table.commit(&[metadata]);
    table
}

/// Struct fields have physical names, also within lists and maps.
#[tokio::test]
async fn fields_of_a_mapped_delta_table_are_found_by_their_physical_names() {
    for mode in ["name", "id"] {
        let inner = |by: i32| {
            of(&[
                mapped(by + 1, &format!("c{}", by + 1), "x", json!("long")),
                mapped(by + 2, &format!("c{}", by + 2), "y", json!("string")),
            ])
        };
        let of_list = json!({"type": "array", "elementType": inner(20), "containsNull": true});
        let of_map = json!({"type": "map", "keyType": "string", "valueType": inner(30), "valueContainsNull": true});
        let fields = [
            mapped(1, "c1", "id", json!("long")),
            mapped(2, "c2", "tenant", json!("long")),
            mapped(3, "c3", "st", inner(10)),
            mapped(4, "c4", "l", of_list),
            mapped(5, "c5", "m", of_map),
        ];
        let mut table = delta(mode, &fields, &["columnMapping"]);
        let text = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        // In the file, another field has the table's name of one of them.
        let pair = |by: i32| {
            let (x, y) = (format!("c{}", by + 1), format!("c{}", by + 2));
            structs(vec![("x", 90, ints(&[70, 80])), (&y, by + 2, text()), (&x, by + 1, ints(&[7, 8]))], None)
        };
        let columns = vec![
            column("c1", 1, Int64Array::from(vec![1, 2])),
            column("c2", 2, Int64Array::from(vec![1, 2])),
            column("c3", 3, pair(10)),
            column("c4", 4, list(Arc::new(pair(20)), &[2, 0], 0)),
            column("c5", 5, map(Arc::new(pair(30)), &[1, 1], (0, 0))),
        ];
        let add = table.add("a.parquet", json!({}), columns, &[]);
        table.commit(&[add]);
        let lake = table.lake.path();
        assert_eq!(own(lake, DELTA, "SELECT id, st['x'], st['y'] FROM t").await, ["1|7|a"], "{mode}");
        assert_eq!(
            shared(lake, DELTA, "SELECT st, l, m FROM t ORDER BY id").await,
            ["{x: 7, y: a}|[{x: 7, y: a}, {x: 8, y: b}]|{k0: {x: 7, y: a}}", "{x: 8, y: b}|[]|{k1: {x: 8, y: b}}"],
            "{mode}"
        );
        assert_eq!(shared(lake, DELTA, "SELECT id FROM t WHERE st['x'] = 8").await, ["2"], "{mode}");
    }
}

#[tokio::test]
async fn a_struct_that_is_null_stays_so_when_its_fields_are_renamed() {
    let fields =
        [mapped(1, "c1", "st", of(&[mapped(2, "c2", "x", json!("long")), mapped(3, "c3", "new", json!("long"))]))];
    let mut table = delta("name", &fields, &["columnMapping"]);
    let nulls = NullBuffer::from(vec![true, false]);
    let columns = vec![column("c1", 0, structs(vec![("c2", 0, ints(&[1, 2]))], Some(nulls)))];
    let add = table.add("a.parquet", json!({}), columns, &[]);
    table.commit(&[add]);
    assert_eq!(
        shared(table.lake.path(), DELTA, "SELECT st, st IS NULL FROM t").await,
        ["{x: 1, new: NULL}|false", "NULL|true"]
    );
}

/// INT96 timestamps at any depth, and integers that became decimals.
#[tokio::test]
async fn types_that_delta_widens_are_read_in_lists_and_structs_too() {
    let plain =
        |name: &str, data_type: Value| json!({"name": name, "type": data_type, "nullable": true, "metadata": {}});
    let fields = [
        plain("b", json!("decimal(4,1)")),
        plain("i", json!("decimal(12,2)")),
        plain("st", of(&[plain("d", json!("decimal(4,1)")), plain("n", json!("double"))])),
        plain("l", json!({"type": "array", "elementType": "long", "containsNull": true})),
    ];
    let mut table = delta("none", &fields, &["typeWidening"]);
    let bytes = || Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)])) as ArrayRef;
    let numbers = || Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])) as ArrayRef;
    let columns = vec![
        column("b", 0, Int8Array::from(vec![Some(-128), None, Some(127)])),
        column("i", 0, Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
        column("st", 0, structs(vec![("d", 0, bytes()), ("n", 0, numbers())], None)),
        column("l", 0, list(numbers(), &[1, 1, 1], 0)),
    ];
    let add = table.add("a.parquet", json!({}), columns, &[]);
    table.commit(&[add]);
    assert_eq!(
        shared(table.lake.path(), DELTA, "SELECT b, i, st, l FROM t").await,
        [
            "-128.0|-2147483648.00|{d: -128.0, n: -2147483648.0}|[-2147483648]",
            "NULL|NULL|{d: NULL, n: NULL}|[NULL]",
            "127.0|2147483647.00|{d: 127.0, n: 2147483647.0}|[2147483647]",
        ]
    );
    // A type that cannot hold every value of the file's type is not the result of widening.
    let narrow = [plain("i", json!("decimal(9,0)"))];
    let mut table = delta("none", &narrow, &["typeWidening"]);
    let add = table.add("a.parquet", json!({}), vec![column("i", 0, Int32Array::from(vec![1]))], &[]);
    table.commit(&[add]);
    let fault = open(table.lake.path(), DELTA, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("column `i` is of the type Int32"), "{}", fault.message);
}

/// A field that was added to a struct in a list or map is NULL in older files, and a renamed field keeps its values.
#[tokio::test]
async fn fields_of_an_iceberg_table_are_found_by_their_ids_at_any_depth() {
    let inner = |fields: Vec<Value>| json!({"type": "struct", "fields": fields});
    let schema = |fields: Vec<Value>| {
        let of = |id: i32, name: &str, data_type: Value| json!({"id": id, "name": name, "required": false, "type": data_type});
        [
            field(1, "id", "long"),
            field(2, "tenant", "long"),
            of(3, "st", inner(fields.clone())),
            of(
                4,
                "l",
                json!({"type": "list", "element-id": 5, "element-required": false, "element": inner(fields.iter().map(|field| shifted(field, 10)).collect())}),
            ),
            of(
                6,
                "m",
                json!({"type": "map", "key-id": 7, "key": "string", "value-id": 8, "value-required": false, "value": inner(fields.iter().map(|field| shifted(field, 20)).collect())}),
            ),
        ]
    };
    let mut table = IcebergTable::new(2, &schema(vec![field(31, "a", "int"), field(32, "b", "int")]), json!([]));
    let numbers = |values: &[i32]| Arc::new(Int32Array::from(values.to_vec())) as ArrayRef;
    let pair = |by: i32| structs(vec![("a", 31 + by, numbers(&[1, 2])), ("b", 32 + by, numbers(&[3, 4]))], None);
    let columns = vec![
        column("id", 1, Int64Array::from(vec![1, 2])),
        column("tenant", 2, Int64Array::from(vec![1, 2])),
        column("st", 3, pair(0)),
        column("l", 4, list(Arc::new(pair(10)), &[2, 0], 5)),
        column("m", 6, map(Arc::new(pair(20)), &[1, 1], (7, 8))),
    ];
    let file = table.data("a.parquet", columns);
    table.commit(vec![file]).await;
    // `a` and `b` have swapped their names, `a` has a wider type now, and `c` is new.
    table.change_columns(&schema(vec![field(33, "c", "string"), field(31, "b", "long"), field(32, "a", "int")]));
    let lake = table.lake.path();
    assert_eq!(
        shared(lake, ICEBERG, "SELECT st, l, m FROM t ORDER BY id").await,
        [
            "{c: NULL, b: 1, a: 3}|[{c: NULL, b: 1, a: 3}, {c: NULL, b: 2, a: 4}]|{k0: {c: NULL, b: 1, a: 3}}",
            "{c: NULL, b: 2, a: 4}|[]|{k1: {c: NULL, b: 2, a: 4}}",
        ]
    );
    assert_eq!(own(lake, ICEBERG, "SELECT id, st['a'], st['b'], st['c'] FROM t").await, ["1|3|1|NULL"]);
}

/// A copy of the field with another id.
fn shifted(field: &Value, by: i64) -> Value {
    let mut field = field.clone();
    field["id"] = json!(field["id"].as_i64().unwrap() + by);
    field
}

#[tokio::test]
async fn timestamps_of_nanoseconds_in_a_struct_are_not_read_as_microseconds() {
    let plain =
        |name: &str, data_type: Value| json!({"name": name, "type": data_type, "nullable": true, "metadata": {}});
    let mut table = delta("none", &[plain("st", of(&[plain("t", json!("timestamp"))]))], &[]);
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
    let add = table.add("a.parquet", json!({}), vec![column("st", 0, structs(vec![("t", 0, nanos)], None))], &[]);
    table.commit(&[add]);
    let fault = open(table.lake.path(), DELTA, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("column `st.t` is of the type Timestamp"), "{}", fault.message);
}

/// The type of the struct stays equal although its two fields have swapped their names.
#[tokio::test]
async fn fields_that_have_changed_their_names_with_each_other_are_told_apart() {
    let schema = |fields: Vec<Value>| {
        let inner = json!({"type": "struct", "fields": fields});
        [json!({"id": 3, "name": "st", "required": false, "type": inner})]
    };
    let mut table = IcebergTable::new(2, &schema(vec![field(31, "a", "int"), field(32, "b", "int")]), json!([]));
    let number = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let pair = structs(vec![("a", 31, number(1)), ("b", 32, number(2))], None);
    let file = table.data("a.parquet", vec![column("st", 3, pair)]);
    table.commit(vec![file]).await;
    assert_eq!(shared(table.lake.path(), ICEBERG, "SELECT st FROM t").await, ["{a: 1, b: 2}"]);
    table.change_columns(&schema(vec![field(32, "a", "int"), field(31, "b", "int")]));
    assert_eq!(shared(table.lake.path(), ICEBERG, "SELECT st FROM t").await, ["{a: 2, b: 1}"]);
}
