//! Typed values: arguments and attributes after parsing.
//!
//! Parsing is exact: no trimming, no case folding, no guessing. `lakegate_query` compares values with columns.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use uuid::Uuid;

/// The type of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarType {
    /// UTF-8 text.
    String,
    /// A 64-bit signed integer.
    Integer,
    /// A finite 64-bit float.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A calendar date.
    Date,
    /// A point in time in UTC, with microsecond precision.
    Timestamp,
    /// A UUID.
    Uuid,
}

/// One value.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Scalar {
    /// UTF-8 text.
    String(String),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A finite 64-bit float.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A calendar date.
    Date(NaiveDate),
    /// A point in time, with microsecond precision.
    Timestamp(DateTime<Utc>),
    /// A UUID.
    Uuid(Uuid),
}

/// The type of a value or of a list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// The type of the value, or of each item.
    pub scalar: ScalarType,
    /// Whether it is a list.
    pub list: bool,
}

/// A value or a list of values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One value.
    Scalar(Scalar),
    /// A list. The type is stored because the list may be empty.
    List(ScalarType, Vec<Scalar>),
}

impl ScalarType {
    /// All types, in the order of the docs.
    pub const ALL: [ScalarType; 7] = [
        ScalarType::String,
        ScalarType::Integer,
        ScalarType::Number,
        ScalarType::Boolean,
        ScalarType::Date,
        ScalarType::Timestamp,
        ScalarType::Uuid,
    ];

    /// The name in project files, the CLI and the docs.
    pub fn name(self) -> &'static str {
        match self {
            ScalarType::String => "string",
            ScalarType::Integer => "integer",
            ScalarType::Number => "number",
            ScalarType::Boolean => "boolean",
            ScalarType::Date => "date",
            ScalarType::Timestamp => "timestamp",
            ScalarType::Uuid => "uuid",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    /// Describes a value of this type, for error messages.
    pub fn expectation(self) -> &'static str {
        match self {
            ScalarType::String => "a string",
            ScalarType::Integer => "a whole number between -9223372036854775808 and 9223372036854775807",
            ScalarType::Number => "a finite number",
            ScalarType::Boolean => "`true` or `false`",
            ScalarType::Date => "a date as `YYYY-MM-DD`",
            ScalarType::Timestamp => "a timestamp as `YYYY-MM-DD` or RFC 3339 (`2022-10-01T08:30:00Z`)",
            ScalarType::Uuid => "a UUID as `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`",
        }
    }

    /// Parses the text form; `None` if the text is not a value of this type.
    pub fn parse(self, text: &str) -> Option<Scalar> {
        match self {
            ScalarType::String => Some(Scalar::String(text.to_owned())),
            ScalarType::Integer => parse_integer(text).map(Scalar::Integer),
            ScalarType::Number => parse_number(text).map(Scalar::Number),
            ScalarType::Boolean => match text {
                "true" => Some(Scalar::Boolean(true)),
                "false" => Some(Scalar::Boolean(false)),
                _ => None,
            },
            ScalarType::Date => parse_date(text).map(Scalar::Date),
            ScalarType::Timestamp => parse_timestamp(text).map(Scalar::Timestamp),
            ScalarType::Uuid => parse_uuid(text).map(Scalar::Uuid),
        }
    }

    /// Parses the JSON form: a JSON number or boolean for those types, a JSON string for the rest. `None` if it does
    /// not match.
    pub fn from_json(self, json: &serde_json::Value) -> Option<Scalar> {
        use serde_json::Value as Json;
        match (self, json) {
            (ScalarType::Integer, Json::Number(number)) => number.as_i64().map(Scalar::Integer),
            (ScalarType::Number, Json::Number(number)) => {
                number.as_f64().filter(|number| number.is_finite()).map(Scalar::Number)
            }
            (ScalarType::Boolean, Json::Bool(boolean)) => Some(Scalar::Boolean(*boolean)),
            (ScalarType::Integer | ScalarType::Number | ScalarType::Boolean, _) => None,
            (_, Json::String(text)) => self.parse(text),
            _ => None,
        }
    }
}

impl ValueType {
    /// The name in project files and docs: `integer`, or `integer[]` for a list.
    pub fn name(self) -> String {
        format!("{}{}", self.scalar.name(), if self.list { "[]" } else { "" })
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let (scalar, list) = match name.strip_suffix("[]") {
            Some(item) => (item, true),
            None => (name, false),
        };
        Some(Self { scalar: ScalarType::from_name(scalar)?, list })
    }
}

impl Scalar {
    /// The type of this value.
    pub fn scalar_type(&self) -> ScalarType {
        match self {
            Scalar::String(_) => ScalarType::String,
            Scalar::Integer(_) => ScalarType::Integer,
            Scalar::Number(_) => ScalarType::Number,
            Scalar::Boolean(_) => ScalarType::Boolean,
            Scalar::Date(_) => ScalarType::Date,
            Scalar::Timestamp(_) => ScalarType::Timestamp,
            Scalar::Uuid(_) => ScalarType::Uuid,
        }
    }

    /// The JSON form; [`ScalarType::from_json`] parses it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Scalar::String(text) => text.clone().into(),
            Scalar::Integer(integer) => (*integer).into(),
            Scalar::Number(number) => (*number).into(),
            Scalar::Boolean(boolean) => (*boolean).into(),
            Scalar::Date(date) => date.to_string().into(),
            Scalar::Timestamp(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
            Scalar::Uuid(uuid) => uuid.to_string().into(),
        }
    }
}

impl std::fmt::Display for Scalar {
    /// The text form; [`ScalarType::parse`] parses it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to_json() {
            serde_json::Value::String(text) => f.write_str(&text),
            other => write!(f, "{other}"),
        }
    }
}

impl Value {
    /// The type of this value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Scalar(scalar) => ValueType { scalar: scalar.scalar_type(), list: false },
            Value::List(scalar, _) => ValueType { scalar: *scalar, list: true },
        }
    }

    /// The value, or the items of the list.
    pub fn scalars(&self) -> &[Scalar] {
        match self {
            Value::Scalar(scalar) => std::slice::from_ref(scalar),
            Value::List(_, scalars) => scalars,
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Scalar(scalar) => scalar.to_json(),
            Value::List(_, scalars) => scalars.iter().map(Scalar::to_json).collect(),
        }
    }

    /// Parses the JSON form; `None` if it is not a value of this type.
    pub fn from_json(value_type: ValueType, json: &serde_json::Value) -> Option<Self> {
        if !value_type.list {
            return value_type.scalar.from_json(json).map(Value::Scalar);
        }
        let items = json.as_array()?;
        let scalars = items.iter().map(|item| value_type.scalar.from_json(item)).collect::<Option<Vec<_>>>()?;
        Some(Value::List(value_type.scalar, scalars))
    }
}

/// Parses an optional `-` and ASCII digits. Rejects what `str::parse` would also accept, such as `+1`.
fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Parses a JSON number with nothing around it: no `inf`, `nan`, hex, `+` or spaces.
fn parse_number(text: &str) -> Option<f64> {
    let json =
        serde_json::from_str::<serde_json::Number>(text).is_ok() && text.bytes().all(|byte| byte.is_ascii_graphic());
    // Checks the grammar with JSON's parser, and parses the value with std, which is exact to the last bit.
    json.then(|| text.parse::<f64>().ok()).flatten().filter(|number| number.is_finite())
}

/// Parses exactly `YYYY-MM-DD` in ASCII digits.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    shaped.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// Parses `YYYY-MM-DD` (midnight UTC), RFC 3339, or RFC 3339 without an offset (UTC), to the microsecond.
///
/// Clients that were written against database drivers send the form without an offset.
fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    if let Some(date) = parse_date(text) {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    if !is_date_and_time(text.as_bytes()) {
        return None;
    }
    let normal = format!("{}T{}", text.get(..10)?, text.get(11..)?);
    let time = DateTime::parse_from_rfc3339(&normal)
        .map(|time| time.with_timezone(&Utc))
        .ok()
        .or_else(|| NaiveDateTime::parse_from_str(&normal, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc()))?;
    // Rejects finer fractions: truncating a bound silently would change the range that the caller asked for.
    (time.timestamp_subsec_nanos() % 1_000 == 0).then_some(time)
}

/// Whether the text has the shape of RFC 3339, with or without an offset. chrono alone accepts more: `8:5:0`, spaces in
/// the time, a typographic minus, digits that it then truncates, and leap seconds, which a timestamp does not have.
fn is_date_and_time(text: &[u8]) -> bool {
    let Some((head, tail)) = text.split_at_checked(19) else { return false };
    let shaped = head.iter().zip(b"dddd-dd-dd dd:dd:dd").all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b'T' | b't' | b' '),
        _ => byte == shape,
    });
    let digits =
        tail.strip_prefix(b".").map_or(0, |fraction| fraction.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let offset = if digits > 0 { &tail[1 + digits..] } else { tail };
    let offset_shaped = match offset {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    shaped && digits <= 9 && offset_shaped && &head[17..] != b"60"
}

/// Parses the hyphenated form, in either case.
fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_and_nothing_near_it() {
        let parsed = |text: &str| match ScalarType::Timestamp.parse(text) {
            Some(Scalar::Timestamp(time)) => Some(time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            _ => None,
        };
        for (text, wanted) in [
            ("2022-10-01", "2022-10-01T00:00:00.000000Z"),
            ("2022-10-01T08:30:00Z", "2022-10-01T08:30:00.000000Z"),
            ("2022-10-01t08:30:00z", "2022-10-01T08:30:00.000000Z"),
            ("2022-10-01 08:30:00", "2022-10-01T08:30:00.000000Z"),
            ("2022-10-01T08:30:00.5", "2022-10-01T08:30:00.500000Z"),
            ("2022-10-01T08:30:00.123456000+05:30", "2022-10-01T03:00:00.123456Z"),
            ("2022-10-01T08:30:00-00:00", "2022-10-01T08:30:00.000000Z"),
            ("2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999Z"),
            ("0000-01-01", "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "",
            " 2022-10-01",
            "2022-10-01 ",
            "2022-10-1",
            "22-10-01",
            "12022-10-01",
            "+2022-10-01",
            "2022-02-30",
            "2023-02-29",
            "2022-13-01",
            "2022-10-00",
            "20221001",
            "2022/10/01",
            "2022-10-01T",
            "2022-10-01T08",
            "2022-10-01T08:30",
            "2022-10-01T8:5:0",
            "2022-10-01T08: 5:00",
            "2022-10-01T24:00:00Z",
            "2022-10-01T08:60:00Z",
            "2022-10-01T08:30:60Z",
            "2016-12-31T23:59:60Z",
            "2022-10-01T08:30:61Z",
            "2022-10-01T08:30:00.",
            "2022-10-01T08:30:00.Z",
            "2022-10-01T08:30:00.1234567",
            "2022-10-01T08:30:00.1234560001",
            "2022-10-01T08:30:00 Z",
            "2022-10-01T08:30:00+05",
            "2022-10-01T08:30:00+0530",
            "2022-10-01T08:30:00+24:00",
            "2022-10-01T08:30:00+05:60",
            "2022-10-01T08:30:00\u{2212}05:00",
            "２０２２-10-01",
            "2022-10-01T08:30:00Zx",
            "2022-10-01\u{a0}08:30:00",
            "now",
            "1664582400",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_json_numbers_to_the_last_bit_and_nothing_around_them() {
        for text in ["0", "-0.5", "1e3", "0.30000000000000004", "31.245270191439438", "1.7976931348623157e308"] {
            assert_eq!(ScalarType::Number.parse(text), Some(Scalar::Number(text.parse().unwrap())), "{text}");
        }
        for text in
            ["", " 1", "1 ", "1\n", "+1", ".5", "5.", "01", "1e999", "NaN", "inf", "0x1", "1_000", "1,5", "１", "1;"]
        {
            assert_eq!(ScalarType::Number.parse(text), None, "{text:?}");
        }
    }
}
