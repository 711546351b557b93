//! Resolves the name of a column or nested field in a policy to exactly one path in a table's schema.
//!
//! `lakegate_core::column_name` defines the syntax of such names. An unquoted name has a meaning for each way to read
//! its dots, in any letter case. If the table has two of these meanings, the name is refused, so that a column that is
//! added later never takes over another column's policy.

use datafusion::arrow::datatypes::{DataType, Fields, Schema};
use lakegate_core::column_name::{in_quotes, quoted_path, written};
use lakegate_core::project::suggest_or_list;

/// The reason why a name does not resolve to one column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// The table has no column of this name. Holds a suggestion for the author.
    Unknown(String),
    /// The name may mean any of these. Each is written unambiguously.
    Ambiguous(Vec<String>),
}

/// The path of a name in a table with this schema: the column, followed by the names of nested fields.
///
/// # Errors
/// The name is unknown or ambiguous.
pub(crate) fn resolve(name: &str, schema: &Schema) -> Result<Vec<String>, Unclear> {
    let meanings = meanings(name, schema);
    match meanings.as_slice() {
        [(path, true)] => Ok(path.clone()),
        [] => Err(Unclear::Unknown(known(name, schema))),
        // A name in another letter case is only suggested.
        [(path, false)] => Err(Unclear::Unknown(format!("did you mean `{}`?", unmistakable(path, schema)))),
        several => Err(Unclear::Ambiguous(several.iter().map(|(path, _)| unmistakable(path, schema)).collect())),
    }
}

/// All meanings of a name, and whether its letter case is that of the table.
fn meanings(name: &str, schema: &Schema) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    if let Some(path) = quoted_path(name).filter(|path| is_there(path, schema.fields())) {
        found.push((path, true));
    }
    let folded = name.to_lowercase();
    collect(schema.fields(), (name, &folded), &mut Vec::new(), true, &mut found);
    // Two columns of one name are one meaning here; the mask decides how to treat them.
    found.sort();
    found.dedup();
    found
}

/// Adds the meanings that the rest of a name has below these fields. `rest` is as written, and in lower case.
fn collect(
    fields: &Fields,
    rest: (&str, &str),
    path: &mut Vec<String>,
    is_exact: bool,
    found: &mut Vec<(Vec<String>, bool)>,
) {
    for field in fields {
        let folded = field.name().to_lowercase();
        let Some(behind) = rest.1.strip_prefix(&folded) else { continue };
        let exact = rest.0.strip_prefix(field.name().as_str());
        path.push(field.name().clone());
        if behind.is_empty() {
            found.push((path.clone(), is_exact && exact == Some("")));
        } else if let (Some(behind), Some(fields)) = (behind.strip_prefix('.'), fields_of(field.data_type())) {
            // After a difference in letter case, the whole path differs, and the rest is only compared in lower case.
            let exact = exact.and_then(|exact| exact.strip_prefix('.')).filter(|_| is_exact);
            collect(fields, (exact.unwrap_or(behind), behind), path, exact.is_some(), found);
        }
        path.pop();
    }
}

fn is_there(path: &[String], fields: &Fields) -> bool {
    let Some((name, below)) = path.split_first() else { return true };
    fields
        .iter()
        .filter(|field| field.name() == name)
        .any(|field| below.is_empty() || fields_of(field.data_type()).is_some_and(|fields| is_there(below, fields)))
}

/// The fields of a struct, or of the structs in a list.
pub(crate) fn fields_of(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => fields_of(item.data_type()),
        _ => None,
    }
}

/// A spelling of the path that is unambiguous in this table.
fn unmistakable(path: &[String], schema: &Schema) -> String {
    let all_quoted = path.iter().map(|name| in_quotes(name)).collect::<Vec<_>>().join(".");
    let ways = [written(path), all_quoted, path.join(".")];
    let is_clear = |way: &&String| matches!(meanings(way, schema).as_slice(), [(only, true)] if only == path);
    ways.iter().find(is_clear).unwrap_or(&ways[0]).clone()
}

/// A suggestion from the table's columns for an unknown name.
fn known(name: &str, schema: &Schema) -> String {
    let path = quoted_path(name).unwrap_or_else(|| name.split('.').map(str::to_owned).collect());
    let mut fields = schema.fields();
    for (at, part) in path.iter().enumerate() {
        match fields.iter().find(|field| field.name() == part).map(|field| fields_of(field.data_type())) {
            Some(Some(below)) if at + 1 < path.len() => fields = below,
            Some(_) => return format!("`{part}` has no fields that can be named"),
            None => return suggest_or_list(part, fields.iter().map(|field| field.name().as_str())),
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn text(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }

    fn object(name: &str, fields: Vec<Field>) -> Field {
        Field::new(name, DataType::Struct(fields.into()), true)
    }

    fn means(name: &str, fields: &[Field]) -> Result<String, Unclear> {
        resolve(name, &Schema::new(fields.to_vec())).map(|path| path.join("/"))
    }

    fn ambiguous(ways: &[&str]) -> Result<String, Unclear> {
        Err(Unclear::Ambiguous(ways.iter().map(|way| (*way).to_owned()).collect()))
    }

    #[test]
    fn a_name_with_a_dot_means_the_column_or_the_field_that_is_there() {
        let (flat, nested) = (text("buyer.email"), object("buyer", vec![text("email")]));
        for name in ["buyer.email", "\"buyer.email\""] {
            assert_eq!(means(name, &[text("id"), flat.clone()]), Ok("buyer.email".to_owned()), "{name}");
        }
        for name in ["buyer.email", "buyer[\"email\"]", "buyer['email']", "\"buyer\".\"email\"", "\"buyer\".email"] {
            assert_eq!(means(name, &[text("id"), nested.clone()]), Ok("buyer/email".to_owned()), "{name}");
        }
        let both = [flat, nested];
        assert_eq!(means("buyer.email", &both), ambiguous(&["buyer[\"email\"]", "\"buyer.email\""]));
        assert_eq!(means("\"buyer.email\"", &both), Ok("buyer.email".to_owned()));
        assert_eq!(means("buyer[\"email\"]", &both), Ok("buyer/email".to_owned()));
        assert_eq!(means("buyer", &both), Ok("buyer".to_owned()));
    }

    #[test]
    fn every_place_of_a_dot_is_a_meaning() {
        let fields = [
            object("a", vec![object("b", vec![text("c")]), text("b.c")]),
            object("a.b", vec![text("c")]),
            text("a.b.c"),
        ];
        let ways = ["a[\"b\"][\"c\"]", "a[\"b.c\"]", "\"a.b\"[\"c\"]", "\"a.b.c\""];
        assert_eq!(means("a.b.c", &fields), ambiguous(&ways));
        for (way, path) in ways.iter().zip(["a/b/c", "a/b.c", "a.b/c", "a.b.c"]) {
            assert_eq!(means(way, &fields), Ok(path.to_owned()), "{way}");
        }
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(vec![text("x")].into()), true)));
        assert_eq!(means("l.x", &[Field::new("l", list, true)]), Ok("l/x".to_owned()));
    }

    #[test]
    fn letters_and_quotes_do_not_hide_a_second_column() {
        let twins = [text("email"), text("Email")];
        assert_eq!(means("email", &twins), ambiguous(&["\"Email\"", "\"email\""]));
        assert_eq!(means("\"Email\"", &twins), Ok("Email".to_owned()));
        let other = [text("Email")];
        assert_eq!(means("email", &other), Err(Unclear::Unknown("did you mean `Email`?".to_owned())));
        let odd = [text("x"), text("\"x\""), text("a[\"b\"]"), object("a", vec![text("b")]), text("a b"), text("..")];
        assert_eq!(means("\"x\"", &odd), ambiguous(&["\"\"\"x\"\"\"", "x"]));
        assert_eq!(means("x", &odd), Ok("x".to_owned()));
        assert_eq!(means("a[\"b\"]", &odd), ambiguous(&["\"a\".\"b\"", "\"a[\"\"b\"\"]\""]));
        assert_eq!(means("a b", &odd), Ok("a b".to_owned()));
        assert_eq!(means("..", &odd), Ok("..".to_owned()));
        assert!(matches!(means("y", &odd), Err(Unclear::Unknown(_))));
        assert!(matches!(means("x.y", &odd), Err(Unclear::Unknown(_))));
    }
}
