//! Parses an NDJSON line into the members of an object, and each member into a value (RFC 8259). Numbers keep their
//! text.
//!
//! A lone surrogate or a duplicate member name is a fault, because JSON parsers disagree on what they mean.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Maximum nesting depth of lists and objects.
pub(super) const MOST_DEPTH: usize = 64;

/// The members of an object, in order.
#[derive(Debug)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A value. The contents of lists and objects are parsed when needed.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    /// The text as written.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(&'a str),
    Object(&'a str),
}

/// Parses an object. The error contains none of its values.
pub(super) fn object(text: &str) -> Result<Members<'_>, String> {
    let is_object = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
    match serde_json::from_str(text) {
        Ok(members) => Ok(members),
        Err(_) if !is_object && serde_json::from_str::<&RawValue>(text).is_ok() => {
            Err("it is JSON, and not an object".to_owned())
        }
        Err(error) => Err(unread(&error)),
    }
}

/// Parses a list.
pub(super) fn list(text: &str) -> Result<Vec<&RawValue>, String> {
    serde_json::from_str(text).map_err(|error| unread(&error))
}

/// Parses a value.
pub(super) fn value(raw: &RawValue) -> Result<Value<'_>, String> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Boolean(true),
        Some(b'f') => Value::Boolean(false),
        Some(b'[') => Value::List(text),
        Some(b'{') => Value::Object(text),
        Some(b'"') => match text.contains('\\') {
            false => Value::Text(Cow::Borrowed(&text[1..text.len() - 1])),
            true => {
                #[derive(Deserialize)]
                struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
                Value::Text(serde_json::from_str::<Text<'_>>(text).map_err(|error| unread(&error))?.0)
            }
        },
        _ => Value::Number(text),
    })
}

impl<'a> Members<'a> {
    /// The member called `name`; tries index `at` first, where it was in earlier objects.
    pub(super) fn get(&self, name: &str, at: usize) -> Option<&'a RawValue> {
        match self.0.get(at) {
            Some((found, value)) if found == name => Some(value),
            _ => self.0.iter().find(|(found, _)| found == name).map(|(_, value)| *value),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                match repeated(&members) {
                    Some(name) => {
                        Err(serde::de::Error::custom(format_args!("two members of an object are called `{name}`")))
                    }
                    None => Ok(Members(members)),
                }
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name that occurs twice.
fn repeated<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> Option<&'m str> {
    let mut names = members.iter().map(|(name, _)| name.as_ref()).enumerate();
    let found = match members.len() {
        0..=16 => names.find(|(at, name)| members[..*at].iter().any(|(before, _)| before == name)),
        count => {
            let mut before = HashSet::with_capacity(count);
            names.find(|(_, name)| !before.insert(*name))
        }
    };
    found.map(|(_, name)| name)
}

/// serde_json's message without the position, because its line number counts within the text.
fn unread(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match error.classify() {
        serde_json::error::Category::Data => text.to_owned(),
        _ => format!("it is not JSON: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(member: &str) -> Result<String, String> {
        let line = format!("{{\"v\":{member}}}");
        let members = object(&line)?;
        match value(members.get("v", 0).unwrap())? {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn escapes_are_characters_of_all_planes() {
        assert_eq!(text(r#""\ud842\udfb7""#).unwrap(), "\u{20BB7}");
        assert_eq!(text(r#""\uDBFF\uDFFF""#).unwrap(), "\u{10FFFF}");
        assert_eq!(text(r#""\uD800\uDC00\u00e9\n\"\/""#).unwrap(), "\u{10000}é\n\"/");
        for plane in 1..=16_u32 {
            for character in [plane << 16, (plane << 16) | 0xABCD, (plane << 16) | 0xFFFF] {
                let character = char::from_u32(character).unwrap();
                let mut units = [0; 2];
                character.encode_utf16(&mut units);
                let escaped = format!("\"\\u{:04x}\\u{:04X}\"", units[0], units[1]);
                assert_eq!(text(&escaped).unwrap(), character.to_string(), "{escaped}");
            }
        }
        for lone in [r#""\ud842""#, r#""\udfb7""#, r#""\ud842x""#, r#""\ud842\ud842""#, r#""\ud842\u0041""#] {
            assert!(text(lone).unwrap_err().contains("hex escape"), "{lone}");
        }
    }

    #[test]
    fn what_is_no_object_or_has_a_name_twice_is_told_without_a_value() {
        assert_eq!(object("[1,2]").unwrap_err(), "it is JSON, and not an object");
        assert!(object("{\"a\":1} {\"a\":2}").unwrap_err().starts_with("it is not JSON: trailing characters"));
        assert!(object("{\"a\":").unwrap_err().starts_with("it is not JSON"));
        assert_eq!(object("{\"a\":1,\"b\":2,\"\\u0061\":3}").unwrap_err(), "two members of an object are called `a`");
        for wrong in
            ["{\"a\":01}", "{\"a\":1.}", "{\"a\":+1}", "{\"a\":NaN}", "{\"a\":\"\t\"}", "{'a':1}", "{\"a\":1,}"]
        {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_as_they_are_written() {
        for number in ["6.02e23", "-0", "1.10", "123456789012345678901234567890", "1E-7"] {
            let line = format!("{{ \"v\" :  {number} }}");
            assert_eq!(value(object(&line).unwrap().0[0].1), Ok(Value::Number(number)));
        }
    }
}
