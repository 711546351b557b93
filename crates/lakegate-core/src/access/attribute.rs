//! Parses attributes from text (`client_id=4562`, `client_id:integer=4562`, `client_ids:integer[]=1,2,3`) and from
//! JSON.
//!
//! If no type is given, it is inferred only if nothing is lost: a value that would print differently from the input
//! (`007`, `+1`, `1.50`, `True`) stays a string.

use serde_json::Value as Json;

use super::name::{NameError, NameKind};
use crate::value::{Scalar, ScalarType, Value, ValueType};

/// Maximum length of an attribute's text, in bytes.
const LONGEST_VALUE: usize = 65_536;
/// Maximum number of items of a list attribute.
const MOST_ITEMS: usize = 10_000;

/// An attribute that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The text has no `=`.
    #[error("attribute `{0}` has no value; write `{0}=VALUE` or `{0}:TYPE=VALUE`")]
    NoValue(String),
    /// The name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The type does not exist.
    #[error(
        "attribute `{name}` has the unknown type `{found}`; use one of {}, or a list of it such as `integer[]`",
        types()
    )]
    UnknownType {
        /// The attribute.
        name: String,
        /// The text in place of the type.
        found: String,
    },
    /// The value is not of the type.
    #[error("attribute `{name}` is not {expectation}")]
    Mismatch {
        /// The attribute.
        name: String,
        /// The expected form of the value.
        expectation: String,
    },
    /// An untyped list that is empty or mixes types, so its type cannot be inferred.
    #[error("attribute `{name}` needs a type, such as `string` or `integer[]`, because its value does not show one")]
    NoType {
        /// The attribute.
        name: String,
    },
    /// The value is too long, or the list has too many items.
    #[error(
        "attribute `{name}` is too long; a value has at most {LONGEST_VALUE} bytes and a list at most {MOST_ITEMS} items"
    )]
    TooLong {
        /// The attribute.
        name: String,
    },
}

/// Parses `NAME=VALUE` or `NAME:TYPE=VALUE`.
pub fn parse(text: &str) -> Result<(String, Value), AttributeError> {
    let Some((left, value)) = text.split_once('=') else {
        return Err(AttributeError::NoValue(text.split(':').next().unwrap_or(text).to_owned()));
    };
    let (name, type_name) = match left.split_once(':') {
        Some((name, type_name)) => (name, Some(type_name)),
        None => (left, None),
    };
    NameKind::Attribute.check(name)?;
    let name = name.to_owned();
    if value.len() > LONGEST_VALUE {
        return Err(AttributeError::TooLong { name });
    }
    let value = match type_name {
        None => Value::Scalar(inferred(value)),
        Some(type_name) => match ValueType::from_name(type_name) {
            None => return Err(AttributeError::UnknownType { name, found: type_name.to_owned() }),
            Some(ValueType { scalar, list: false }) => match scalar.parse(value) {
                Some(value) => Value::Scalar(value),
                None => return Err(AttributeError::Mismatch { name, expectation: scalar.expectation().to_owned() }),
            },
            Some(ValueType { scalar, list: true }) => match list(scalar, value) {
                Some(items) if items.len() > MOST_ITEMS => return Err(AttributeError::TooLong { name }),
                Some(items) => Value::List(scalar, items),
                None => {
                    let expectation =
                        format!("a list of which each item is {}, as `A,B,C` or a JSON array", scalar.expectation());
                    return Err(AttributeError::Mismatch { name, expectation });
                }
            },
        },
    };
    Ok((name, value))
}

/// Converts a JSON value. Without `type_name` the JSON type decides, and a string stays a string.
///
/// # Errors
/// The name, type or value is invalid.
pub fn from_json(name: &str, type_name: Option<&str>, json: &Json) -> Result<Value, AttributeError> {
    NameKind::Attribute.check(name)?;
    let name = || name.to_owned();
    let too_long = match json {
        Json::String(text) => text.len() > LONGEST_VALUE,
        Json::Array(items) => {
            let long = |item: &Json| item.as_str().is_some_and(|text| text.len() > LONGEST_VALUE);
            items.len() > MOST_ITEMS || items.iter().any(long)
        }
        _ => false,
    };
    if too_long {
        return Err(AttributeError::TooLong { name: name() });
    }
    let value_type = match type_name {
        Some(found) => ValueType::from_name(found)
            .ok_or_else(|| AttributeError::UnknownType { name: name(), found: found.to_owned() })?,
        None => shown_type(json).ok_or_else(|| AttributeError::NoType { name: name() })?,
    };
    Value::from_json(value_type, json).ok_or_else(|| {
        let expectation = match value_type {
            ValueType { scalar, list: false } => scalar.expectation().to_owned(),
            ValueType { scalar, list: true } => format!("a JSON array of which each item is {}", scalar.expectation()),
        };
        AttributeError::Mismatch { name: name(), expectation }
    })
}

/// Infers the type of a JSON value; `None` if the value does not show one.
fn shown_type(json: &Json) -> Option<ValueType> {
    let scalar = |json: &Json| match json {
        Json::Bool(_) => Some(ScalarType::Boolean),
        Json::Number(number) if number.is_f64() => Some(ScalarType::Number),
        Json::Number(_) => Some(ScalarType::Integer),
        Json::String(_) => Some(ScalarType::String),
        _ => None,
    };
    let Json::Array(items) = json else { return Some(ValueType { scalar: scalar(json)?, list: false }) };
    let mut types = items.iter().map(scalar);
    let first = types.next()??;
    types.all(|other| other == Some(first)).then_some(ValueType { scalar: first, list: true })
}

/// Infers an integer or a boolean from its canonical spelling; other text stays a string.
fn inferred(text: &str) -> Scalar {
    let guess = [ScalarType::Boolean, ScalarType::Integer].into_iter().find_map(|scalar| scalar.parse(text));
    guess.filter(|scalar| scalar.to_string() == text).unwrap_or_else(|| Scalar::String(text.to_owned()))
}

/// Parses items separated by commas, or a JSON array (for text with commas). Empty text is the empty list.
fn list(scalar: ScalarType, text: &str) -> Option<Vec<Scalar>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    if text.starts_with('[') {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        return json.as_array()?.iter().map(|item| scalar.from_json(item)).collect();
    }
    text.split(',').map(|item| scalar.parse(item)).collect()
}

fn types() -> String {
    ScalarType::ALL.map(|scalar| format!("`{}`", scalar.name())).join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value {
        parse(text).unwrap().1
    }

    #[test]
    fn a_guess_loses_nothing() {
        assert_eq!(value("a=4562"), Value::Scalar(Scalar::Integer(4562)));
        assert_eq!(value("a=-1"), Value::Scalar(Scalar::Integer(-1)));
        assert_eq!(value("a=0"), Value::Scalar(Scalar::Integer(0)));
        assert_eq!(value("a=true"), Value::Scalar(Scalar::Boolean(true)));
        for text in [
            "",
            "007",
            "-0",
            "+1",
            "1.5",
            "True",
            " 1",
            "1 ",
            "2022-10-01",
            "99999999999999999999",
            "NULL",
            "a=b",
            "1,2",
        ] {
            assert_eq!(value(&format!("a={text}")), Value::Scalar(Scalar::String(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_given_type_is_kept_to() {
        assert_eq!(value("a:string=007"), Value::Scalar(Scalar::String("007".to_owned())));
        assert_eq!(value("a:integer=007"), Value::Scalar(Scalar::Integer(7)));
        assert_eq!(value("a:number=1.5"), Value::Scalar(Scalar::Number(1.5)));
        let error = parse("a:integer=abc").unwrap_err().to_string();
        assert!(error.starts_with("attribute `a` is not a whole number"), "{error}");
        assert!(!error.contains("abc"), "an attribute may be personal: {error}");
    }

    #[test]
    fn lists_are_typed_and_may_be_empty() {
        let integers =
            |items: &[i64]| Value::List(ScalarType::Integer, items.iter().copied().map(Scalar::Integer).collect());
        assert_eq!(value("a:integer[]=1,2,3"), integers(&[1, 2, 3]));
        assert_eq!(value("a:integer[]=1"), integers(&[1]));
        assert_eq!(value("a:integer[]="), integers(&[]));
        assert_eq!(value("a:integer[]=[1, 2]"), integers(&[1, 2]));
        let strings = ["x,y", "z"].map(|text| Scalar::String(text.to_owned())).to_vec();
        assert_eq!(value(r#"a:string[]=["x,y","z"]"#), Value::List(ScalarType::String, strings));
        for text in ["1,", ",1", "1, 2", "a", "[1,", "[\"1\"]", "[1.5]", "{}"] {
            assert!(parse(&format!("a:integer[]={text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_a_next_step() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            error("client_id"),
            "attribute `client_id` has no value; write `client_id=VALUE` or `client_id:TYPE=VALUE`"
        );
        assert!(error("client-id=1").contains("use letters, digits and `_`"));
        assert!(error("=1").contains("is empty"));
        assert!(error("a:int=1").contains("`integer`"));
        assert!(error(&format!("a={}", "x".repeat(LONGEST_VALUE + 1))).contains("too long"));
        assert!(error(&format!("a:integer[]={}1", "1,".repeat(MOST_ITEMS))).contains("too long"));
    }

    #[test]
    fn json_has_the_type_that_it_shows_or_the_given_one() {
        use serde_json::json;
        let value = |type_name, json| from_json("a", type_name, &json);
        assert_eq!(value(None, json!(4562)), Ok(Value::Scalar(Scalar::Integer(4562))));
        assert_eq!(value(None, json!("007")), Ok(Value::Scalar(Scalar::String("007".to_owned()))));
        assert_eq!(value(None, json!(1.5)), Ok(Value::Scalar(Scalar::Number(1.5))));
        assert_eq!(value(None, json!(["x"])).unwrap().value_type().name(), "string[]");
        assert_eq!(value(Some("date"), json!("2022-10-01")).unwrap().value_type().name(), "date");
        assert_eq!(value(Some("integer[]"), json!([])), Ok(Value::List(ScalarType::Integer, Vec::new())));
        for json in [json!(null), json!({}), json!([]), json!([1, "a"]), json!([[1]])] {
            assert!(matches!(value(None, json), Err(AttributeError::NoType { .. })));
        }
        for (type_name, json) in [("integer", json!("1")), ("integer[]", json!(1)), ("string", json!(null))] {
            assert!(matches!(value(Some(type_name), json), Err(AttributeError::Mismatch { .. })));
        }
        assert!(matches!(value(Some("int"), json!(1)), Err(AttributeError::UnknownType { .. })));
        assert!(matches!(value(None, json!("x".repeat(LONGEST_VALUE + 1))), Err(AttributeError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn what_was_guessed_reads_back_as_given(text in "[-+0-9a-z. ]{0,20}") {
            prop_assert_eq!(inferred(&text).to_string(), text);
        }
    }
}
