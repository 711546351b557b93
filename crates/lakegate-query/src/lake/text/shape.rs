//! Infers the types of NDJSON object members from the kinds of all their values; the type keeps values as they are
//! written.
//!
//! Values of several scalar kinds become text. A list or an object mixed with another kind is a fault.

use std::collections::HashMap;
use std::fmt;

use datafusion::arrow::datatypes::{DataType, Field};

use super::MOST_COLUMNS;
use super::fault::TextFault;
use super::forms::has_its_digits;
use super::json::{self, MOST_DEPTH, Members, Value};
use serde_json::value::RawValue;

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 4;
const TEXT: u8 = 8;

/// 2^53: from here on a double cannot hold every integer.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// The path of a value: member names from the row down, `[]` for list items.
#[derive(Clone, Copy)]
struct Path<'a> {
    above: Option<&'a Path<'a>>,
    name: &'a str,
    depth: usize,
}

impl<'a> Path<'a> {
    fn below(above: Option<&'a Path<'a>>, name: &'a str) -> Self {
        Self { above, name, depth: above.map_or(1, |above| above.depth + 1) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}{}", if self.name == ITEM { "" } else { "." })?;
        }
        f.write_str(self.name)
    }
}

const ITEM: &str = "[]";

/// The members of objects, in order of appearance.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
    /// Number of members of all objects in it, at every depth. Counted only for rows, not for nested objects.
    members: usize,
}

/// Maximum number of members of all objects of a table, at every depth. A struct with more is more likely a map, whose
/// names are values.
const MOST_MEMBERS: usize = 4 * MOST_COLUMNS;

/// The kinds of one member's values.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    plain: u8,
    /// Whether a double cannot hold some number exactly; `is_large`: whether a number is out of range.
    is_inexact: bool,
    is_large: bool,
    nested: Option<Nested>,
    /// The line of the first value.
    line: u64,
}

#[derive(Clone, Debug)]
enum Nested {
    List(Box<Shape>),
    Object(Shapes),
}

impl Shapes {
    /// Adds a row. Ignores the values of declared columns.
    pub(super) fn see(
        &mut self,
        row: &Members<'_>,
        line: u64,
        is_declared: impl Fn(&str) -> bool,
    ) -> Result<(), TextFault> {
        self.members += self.see_members(row, line, None, is_declared)?;
        match self.members > MOST_MEMBERS {
            true => Err(TextFault::at(line, too_many_members())),
            false => Ok(()),
        }
    }

    /// Returns how many members are new.
    fn see_members(
        &mut self,
        members: &Members<'_>,
        line: u64,
        above: Option<&Path<'_>>,
        is_declared: impl Fn(&str) -> bool,
    ) -> Result<usize, TextFault> {
        let before = self.shapes.len();
        let mut below = 0;
        for (at, (name, raw)) in members.0.iter().enumerate() {
            let shape = self.place(name, at, line)?;
            if !is_declared(name) {
                below += shape.see(raw, line, &Path::below(above, name))?;
            }
        }
        Ok(self.shapes.len() - before + below)
    }

    fn count(&self) -> usize {
        self.shapes.iter().map(|(_, shape)| 1 + shape.count()).sum()
    }

    fn place(&mut self, name: &str, at: usize, line: u64) -> Result<&mut Shape, TextFault> {
        let place = match self.shapes.get(at) {
            Some((known, _)) if known == name => at,
            _ => match self.places.get(name) {
                Some(place) => *place,
                None => {
                    if self.shapes.len() >= MOST_COLUMNS {
                        return Err(TextFault::at(line, format!("there are more than {MOST_COLUMNS} columns")));
                    }
                    self.places.insert(name.to_owned(), self.shapes.len());
                    self.shapes.push((name.to_owned(), Shape { line, ..Shape::default() }));
                    self.shapes.len() - 1
                }
            },
        };
        Ok(&mut self.shapes[place].1)
    }

    /// Combines this with the members of another file.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), TextFault> {
        self.merge_members(other, None)?;
        self.members = self.count();
        match self.members > MOST_MEMBERS {
            true => Err(TextFault::new(too_many_members())),
            false => Ok(()),
        }
    }

    fn merge_members(&mut self, other: &Self, above: Option<&Path<'_>>) -> Result<(), TextFault> {
        for (at, (name, shape)) in other.shapes.iter().enumerate() {
            self.place(name, at, shape.line)?.merge(shape, &Path::below(above, name))?;
        }
        Ok(())
    }

    /// The columns, with their types.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.shapes.iter().map(|(name, shape)| Field::new(name, shape.data_type(), true)).collect()
    }
}

impl Shape {
    /// Number of members of all objects in it.
    fn count(&self) -> usize {
        match &self.nested {
            None => 0,
            Some(Nested::List(item)) => item.count(),
            Some(Nested::Object(shapes)) => shapes.count(),
        }
    }

    /// Returns how many members in it are new.
    fn see(&mut self, raw: &RawValue, line: u64, path: &Path<'_>) -> Result<usize, TextFault> {
        let told = |what: String| TextFault::at(line, what).in_column(path.to_string());
        let value = json::value(raw).map_err(told)?;
        if self.is_empty() {
            self.line = line;
        }
        let plain = match value {
            Value::Null => return Ok(0),
            Value::Boolean(_) => BOOLEAN,
            Value::Text(_) => TEXT,
            Value::Number(text) => self.see_number(text),
            Value::List(text) => {
                let items = json::list(text).map_err(told)?;
                if path.depth > MOST_DEPTH {
                    return Err(too_deep(line, path));
                }
                let Nested::List(item) = self.nest(line, path, || Nested::List(Box::default()))? else {
                    return Err(self.clash("a list", line, path));
                };
                let path = Path::below(Some(path), ITEM);
                return items.into_iter().try_fold(0, |new, each| Ok(new + item.see(each, line, &path)?));
            }
            Value::Object(text) => {
                let members = json::object(text).map_err(told)?;
                if path.depth > MOST_DEPTH {
                    return Err(too_deep(line, path));
                }
                let Nested::Object(shapes) = self.nest(line, path, || Nested::Object(Shapes::default()))? else {
                    return Err(self.clash("an object", line, path));
                };
                return shapes.see_members(&members, line, Some(path), |_| false);
            }
        };
        if self.nested.is_some() {
            return Err(self.clash(named(plain), line, path));
        }
        self.plain |= plain;
        Ok(0)
    }

    fn see_number(&mut self, text: &str) -> u8 {
        if text != "-0" && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            match text.parse::<i64>() {
                Ok(whole) => self.is_inexact |= whole.unsigned_abs() >= FIRST_INEXACT as u64,
                Err(_) => self.is_large = true,
            }
            return INTEGER;
        }
        // A number with an exponent is a double, as long as it has the digits of one.
        match text.parse::<f64>() {
            Ok(number) if !number.is_finite() => self.is_large = true,
            Ok(number) => {
                let is_large = !text.contains(['e', 'E']) && number.abs() >= FIRST_INEXACT;
                self.is_inexact |= is_large || !has_its_digits(text, number);
            }
            Err(_) => self.is_large = true,
        }
        NUMBER
    }

    /// The shape of the items or members; fails if a scalar value occurred before.
    fn nest(&mut self, line: u64, path: &Path<'_>, new: impl FnOnce() -> Nested) -> Result<&mut Nested, TextFault> {
        if self.plain != 0 {
            let kind = match new() {
                Nested::List(_) => "a list",
                Nested::Object(_) => "an object",
            };
            return Err(self.clash(kind, line, path));
        }
        Ok(self.nested.get_or_insert_with(new))
    }

    fn merge(&mut self, other: &Self, path: &Path<'_>) -> Result<(), TextFault> {
        if other.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            *self = other.clone();
            return Ok(());
        }
        match (&mut self.nested, &other.nested) {
            (None, None) => {}
            (Some(Nested::List(item)), Some(Nested::List(other))) => {
                item.merge(other, &Path::below(Some(path), ITEM))?
            }
            (Some(Nested::Object(shapes)), Some(Nested::Object(other))) => shapes.merge_members(other, Some(path))?,
            _ => return Err(self.clash(other.kind(), other.line, path)),
        }
        self.plain |= other.plain;
        self.is_inexact |= other.is_inexact;
        self.is_large |= other.is_large;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.plain == 0 && self.nested.is_none()
    }

    fn kind(&self) -> &'static str {
        match &self.nested {
            Some(Nested::List(_)) => "a list",
            Some(Nested::Object(_)) => "an object",
            None => named(self.plain),
        }
    }

    fn clash(&self, kind: &str, line: u64, path: &Path<'_>) -> TextFault {
        let what = format!(
            "it holds {kind}, and {} in rows before (first in line {}); `types` can make it `string`",
            self.kind(),
            self.line
        );
        TextFault::at(line, what).in_column(path.to_string())
    }

    fn data_type(&self) -> DataType {
        match (&self.nested, self.plain) {
            (Some(Nested::List(item)), _) => DataType::new_list(item.data_type(), true),
            // Objects that never have a member stay text, as written.
            (Some(Nested::Object(shapes)), _) if shapes.shapes.is_empty() => DataType::Utf8,
            (Some(Nested::Object(shapes)), _) => DataType::Struct(shapes.fields().into()),
            (None, 0) => DataType::Null,
            (None, BOOLEAN) => DataType::Boolean,
            (None, INTEGER) if !self.is_large => DataType::Int64,
            (None, NUMBER) if !self.is_large && !self.is_inexact => DataType::Float64,
            (None, plain) if plain == INTEGER | NUMBER && !self.is_large && !self.is_inexact => DataType::Float64,
            (None, _) => DataType::Utf8,
        }
    }
}

fn named(plain: u8) -> &'static str {
    match plain {
        BOOLEAN => "true or false",
        INTEGER => "a whole number",
        NUMBER => "a number",
        TEXT => "text",
        _ => "plain values",
    }
}

fn too_many_members() -> String {
    format!(
        "the objects in it have more than {MOST_MEMBERS} different members; where names of members are values, `types` can make \
         the column `string`"
    )
}

fn too_deep(line: u64, path: &Path<'_>) -> TextFault {
    let what =
        format!("lists and objects lie deeper in each other than {MOST_DEPTH} times; `types` can make it `string`");
    let mut top = path;
    while let Some(above) = top.above {
        top = above;
    }
    TextFault::at(line, what).in_column(top.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(lines: &[&str]) -> Result<Shapes, TextFault> {
        let mut shapes = Shapes::default();
        for (at, line) in lines.iter().enumerate() {
            shapes.see(&json::object(line).unwrap(), at as u64 + 1, |name| name == "declared")?;
        }
        Ok(shapes)
    }

    fn type_of(lines: &[&str]) -> DataType {
        shapes(lines).unwrap().fields()[0].data_type().clone()
    }

    /// Member names that are values, such as ids, make one struct of them all.
    #[test]
    fn members_of_all_objects_are_bounded_together() {
        let row = |row: usize| {
            let of = |at: usize| format!("\"k{row}x{at}\":{{\"a\":1}}");
            format!("{{\"c{}\":[{{{}}}]}}", row % 10, (0..100).map(of).collect::<Vec<_>>().join(","))
        };
        let rows = (0..MOST_MEMBERS / 100).map(row).collect::<Vec<_>>();
        let (few, many) = rows.split_at(rows.len() / 3);
        let lines = |rows: &[String]| shapes(&rows.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(lines(&rows).unwrap_err().to_string().contains("different members"));
        assert!(lines(few).is_ok());
        let mut merged = lines(few).unwrap();
        let other = lines(&many[..many.len() / 2]).unwrap();
        assert!(merged.merge(&other).unwrap_err().to_string().contains("different members"));
    }

    #[test]
    fn members_are_of_the_type_that_holds_all_their_values_as_they_are_written() {
        use DataType::{Boolean, Float64, Int64, Null, Utf8};
        for (lines, expected) in [
            (&[r#"{"v":null}"#][..], Null),
            (&[r#"{"v":true}"#, r#"{"v":null}"#, "{}"], Boolean),
            (&[r#"{"v":1}"#, r#"{"v":9223372036854775807}"#], Int64),
            (&[r#"{"v":1}"#, r#"{"v":2.5}"#], Float64),
            (&[r#"{"v":6.02e23}"#, r#"{"v":1}"#], Float64),
            (&[r#"{"v":9007199254740993}"#, r#"{"v":1.5}"#], Utf8),
            (&[r#"{"v":9007199254740993.0}"#], Utf8),
            (&[r#"{"v":18446744073709551616}"#], Utf8),
            (&[r#"{"v":1e999}"#], Utf8),
            (&[r#"{"v":"a"}"#, r#"{"v":1}"#], Utf8),
            (&[r#"{"v":{}}"#], Utf8),
            (&[r#"{"v":[1]}"#, r#"{"v":[2.5,null]}"#], DataType::new_list(Float64, true)),
            (&[r#"{"v":{"a":1}}"#, r#"{"v":{}}"#], DataType::Struct(vec![Field::new("a", Int64, true)].into())),
        ] {
            assert_eq!(type_of(lines), expected, "{lines:?}");
            let mut merged = shapes(&lines[1..]).unwrap();
            merged.merge(&shapes(&lines[..1]).unwrap()).unwrap();
            assert_eq!(merged.fields()[0].data_type(), &expected, "{lines:?} in two files");
        }
    }

    #[test]
    fn lists_and_objects_beside_others_are_a_fault_with_line_column_and_kinds() {
        for (lines, told) in [
            ([r#"{"v":1}"#, r#"{"v":[1]}"#], "line 2, column `v`: it holds a list, and a whole number in rows before"),
            ([r#"{"v":{"a":1}}"#, r#"{"v":"x"}"#], "line 2, column `v`: it holds text, and an object"),
            ([r#"{"v":[{"a":1}]}"#, r#"{"v":[[1]]}"#], "line 2, column `v[]`: it holds a list, and an object"),
            ([r#"{"v":{"a":1}}"#, r#"{"v":{"a":{}}}"#], "line 2, column `v.a`: it holds an object, and a whole number"),
        ] {
            let fault = shapes(&lines).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{fault}");
            assert!(shapes(&lines[..1]).unwrap().merge(&shapes(&lines[1..]).unwrap()).is_err());
        }
        let declared = [r#"{"declared":1}"#, r#"{"declared":[1]}"#];
        assert!(shapes(&declared).is_ok());
        let deep = format!("{{\"v\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        assert!(shapes(&[&deep]).unwrap_err().to_string().contains("deeper in each other than 64"));
    }
}
