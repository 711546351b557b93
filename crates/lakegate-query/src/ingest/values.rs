//! Parses a cell as a value of its column's type, or returns why it is invalid. It never guesses.

use std::num::IntErrorKind;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use lakegate_core::project::ingest::{PlainKind, TextOptions};
use serde_json::Value as Json;

use super::numbers::kept;
use super::text::Cell;

/// A parsed value. Timestamps are microseconds in UTC; dates are days since 1970-01-01.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Date(i32),
    Timestamp(i64),
    List(Vec<Option<Value>>),
}

/// Parsing rules for the cells of a column.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(super) kind: PlainKind,
    pub(super) is_list: bool,
    pub(super) formats: Vec<String>,
    pub(super) nulls: Vec<String>,
    pub(super) options: TextOptions,
    /// Minimum and maximum integer of the column's type.
    pub(super) range: (i64, i64),
    /// Whether the column's numbers are 32-bit floats.
    pub(super) is_single: bool,
}

impl Reading {
    /// Parsing for a type that a project declares for a column, without a recipe.
    pub(crate) fn declared(kind: PlainKind) -> Self {
        let range = (i64::MIN, i64::MAX);
        let (formats, nulls, options) = (Vec::new(), Vec::new(), TextOptions::default());
        Self { kind, is_list: false, formats, nulls, options, range, is_single: false }
    }

    /// Parses a text; the empty text is NULL.
    pub(crate) fn text(&self, text: &str) -> Result<Option<Value>, String> {
        self.read(Cell::Text(text))
    }

    pub(super) fn read(&self, cell: Cell<'_>) -> Result<Option<Value>, String> {
        match cell {
            Cell::Missing => Ok(None),
            Cell::Text(text) if self.is_null(text) => Ok(None),
            Cell::Text(text) if self.is_list => self.list_of_text(text).map(Some),
            Cell::Text(text) => self.plain(text).map(Some),
            Cell::Json(json) if self.is_list => match json {
                Json::Array(items) => self.list_of_json(items).map(Some),
                Json::String(text) => self.read(Cell::Text(text)),
                _ => Err("it is not a list".to_owned()),
            },
            Cell::Json(json) => self.json(json),
        }
    }

    fn is_null(&self, text: &str) -> bool {
        text.is_empty() || self.nulls.iter().chain(&self.options.nulls).any(|word| word == text)
    }

    fn json(&self, json: &Json) -> Result<Option<Value>, String> {
        match json {
            Json::Null => Ok(None),
            Json::String(text) if self.kind == PlainKind::String => {
                Ok((!self.nulls.iter().chain(&self.options.nulls).any(|word| word == text))
                    .then(|| Value::Text(text.clone())))
            }
            Json::String(text) => self.read(Cell::Text(text)),
            Json::Bool(value) if self.kind == PlainKind::Boolean => Ok(Some(Value::Boolean(*value))),
            Json::Number(number) if self.kind == PlainKind::Number => {
                let read = number.as_f64().ok_or_else(|| "it is out of range".to_owned())?;
                // Use the text, because the JSON parser keeps its digits.
                kept(&number.to_string(), read, self.is_single).map(|number| Some(Value::Number(number)))
            }
            Json::Number(_) | Json::Bool(_) if matches!(self.kind, PlainKind::Integer | PlainKind::String) => {
                self.plain(&json.to_string()).map(Some)
            }
            Json::Array(_) | Json::Object(_) if self.kind == PlainKind::String => {
                Ok(Some(Value::Text(json.to_string())))
            }
            _ => Err(self.unfit()),
        }
    }

    fn unfit(&self) -> String {
        let what = match self.kind {
            PlainKind::String => "text",
            PlainKind::Integer => "a whole number",
            PlainKind::Number => "a number",
            PlainKind::Boolean => "true or false",
            PlainKind::Date => "a date",
            PlainKind::Timestamp => "a time",
        };
        format!("it is not {what}")
    }

    fn plain(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        let fits = |value: Option<Value>| value.ok_or_else(|| self.unfit());
        match self.kind {
            PlainKind::String => Ok(Value::Text(text.to_owned())),
            PlainKind::Integer => {
                let out_of_range = || "it is out of the column's range".to_owned();
                let integer = trimmed.parse::<i64>().map_err(|error| match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => out_of_range(),
                    _ => self.unfit(),
                })?;
                let (least, greatest) = self.range;
                (least..=greatest).contains(&integer).then_some(Value::Integer(integer)).ok_or_else(out_of_range)
            }
            PlainKind::Number => {
                let number = number(trimmed, self.options.decimal_comma, self.is_single).ok_or_else(|| self.unfit())?;
                number.map(Value::Number)
            }
            PlainKind::Boolean => {
                let is_one = |words: &[String]| words.iter().any(|word| word.eq_ignore_ascii_case(trimmed));
                match (is_one(&self.options.true_words), is_one(&self.options.false_words)) {
                    (true, _) => Ok(Value::Boolean(true)),
                    (_, true) => Ok(Value::Boolean(false)),
                    _ => fits(match trimmed {
                        "1" => Some(Value::Boolean(true)),
                        "0" => Some(Value::Boolean(false)),
                        _ => None,
                    }),
                }
            }
            PlainKind::Date => fits(self.date(trimmed).map(Value::Date)),
            PlainKind::Timestamp => self.timestamp(trimmed).map(Value::Timestamp),
        }
    }

    fn date(&self, text: &str) -> Option<i32> {
        let date = match self.formats.as_slice() {
            [] => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
            formats => formats.iter().find_map(|format| NaiveDate::parse_from_str(text, format).ok()),
        };
        days(date?)
    }

    fn timestamp(&self, text: &str) -> Result<i64, String> {
        if self.formats.is_empty() {
            return timestamp(text, self.options.offset_minutes).ok_or_else(|| match is_too_fine(text) {
                true => "it is finer than microseconds".to_owned(),
                false => self.unfit(),
            });
        }
        let moment = self.formats.iter().find_map(|format| {
            if let Ok(moment) = DateTime::parse_from_str(text, format) {
                return Some(moment.naive_utc());
            }
            let local = NaiveDateTime::parse_from_str(text, format)
                .or_else(|_| NaiveDate::parse_from_str(text, format).map(|date| date.and_time(chrono::NaiveTime::MIN)));
            local.ok()?.checked_sub_signed(TimeDelta::try_minutes(self.options.offset_minutes.into())?)
        });
        Ok(moment.ok_or_else(|| self.unfit())?.and_utc().timestamp_micros())
    }

    fn list_of_json(&self, items: &[Json]) -> Result<Value, String> {
        let inner = Self { is_list: false, ..self.clone() };
        let items = items.iter().map(|item| inner.json(item)).collect::<Result<_, _>>()?;
        Ok(Value::List(items))
    }

    fn list_of_text(&self, text: &str) -> Result<Value, String> {
        let items = items(text).ok_or_else(|| "it is not a list such as `{1,2}` or `[1,2]`".to_owned())?;
        let read = |item: Item| match item {
            Item { text, is_quoted: false } if text.is_empty() || text.eq_ignore_ascii_case("null") => Ok(None),
            Item { text, .. } => self.plain(&text).map(Some),
        };
        let items = items.into_iter().map(read).collect::<Result<_, String>>();
        Ok(Value::List(items.map_err(|why| format!("in the list: {why}"))?))
    }
}

struct Item {
    text: String,
    is_quoted: bool,
}

/// Splits `{1,2}`, `[1,2]` or `{"a,b",c}` into items; a backslash or a second quote escapes a quote.
fn items(text: &str) -> Option<Vec<Item>> {
    let text = text.trim();
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .or_else(|| text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')))?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut characters = inner.chars().peekable();
    loop {
        while characters.next_if(|character| *character == ' ').is_some() {}
        let mut item = Item { text: String::new(), is_quoted: false };
        if characters.next_if_eq(&'"').is_some() {
            item.is_quoted = true;
            loop {
                match characters.next()? {
                    '\\' => item.text.push(characters.next()?),
                    '"' if characters.next_if_eq(&'"').is_some() => item.text.push('"'),
                    '"' => break,
                    other => item.text.push(other),
                }
            }
            while characters.next_if(|character| *character == ' ').is_some() {}
            if !matches!(characters.peek(), None | Some(',')) {
                return None;
            }
        } else {
            while let Some(character) = characters.next_if(|character| *character != ',') {
                if matches!(character, '"' | '{' | '}' | '[' | ']') {
                    return None;
                }
                item.text.push(character);
            }
            item.text.truncate(item.text.trim_end().len());
        }
        items.push(item);
        if characters.next().is_none() {
            return Some(items);
        }
    }
}

/// Parses a number with a decimal point, or with a decimal comma and points between thousands; or returns why the
/// column cannot hold it. `NaN` and `inf` are words, not numbers.
fn number(text: &str, decimal_comma: bool, is_single: bool) -> Option<Result<f64, String>> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number = if decimal_comma {
        let (whole, fraction) = text.split_once(',').unwrap_or((text, ""));
        if fraction.contains(['.', ',']) {
            return None;
        }
        let groups = whole.split('.').collect::<Vec<_>>();
        if groups.len() > 1 && groups[1..].iter().any(|group| group.len() != 3) {
            return None;
        }
        format!("{}.{fraction}", groups.concat())
    } else {
        text.to_owned()
    };
    let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
    let read =
        (has_digit && is_plain(&number)).then(|| number.parse::<f64>().ok().filter(|read| read.is_finite()))??;
    Some(kept(&number, read, is_single))
}

pub(super) fn days(date: NaiveDate) -> Option<i32> {
    i32::try_from(date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?).num_days()).ok()
}

/// Parses `2022-12-02 15:54:51.686 -0500` and variants: `T` or a space, optional seconds, an offset, `Z` or neither.
fn timestamp(text: &str, offset_minutes: i32) -> Option<i64> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 10 {
        return None;
    }
    let date = NaiveDate::parse_from_str(&text[..10], "%Y-%m-%d").ok()?;
    let midnight = i64::from(days(date)?).checked_mul(86_400_000_000)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return midnight.checked_sub(i64::from(offset_minutes) * 60_000_000);
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let end = rest.find(['Z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, zone) = (&rest[..end], rest[end..].trim_start());
    let offset = match zone {
        "" => offset_minutes,
        "Z" | "UTC" => 0,
        zone => lakegate_core::project::ingest::parse_offset(&full_offset(zone))?,
    };
    let mut parts = time.split(':');
    let two = |part: &str, most: i64| {
        let is_two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_two.then(|| part.parse::<i64>().ok())?.filter(|number| *number <= most)
    };
    let hours = two(parts.next()?, 23)?;
    let minutes = two(parts.next()?, 59)?;
    let (seconds, micros) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            (two(whole, 59)?, fraction_micros(fraction)?)
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let of_day = ((hours * 60 + minutes - i64::from(offset)) * 60 + seconds) * 1_000_000 + micros;
    midnight.checked_add(of_day)
}

/// Completes `-05` to `-0500`.
fn full_offset(zone: &str) -> String {
    if zone.len() == 3 { format!("{zone}00") } else { zone.to_owned() }
}

fn fraction_micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (micros, finer) = fraction.split_at(fraction.len().min(6));
    if finer.bytes().any(|digit| digit != b'0') {
        return None;
    }
    format!("{micros:0<6}").parse().ok()
}

fn is_too_fine(text: &str) -> bool {
    let fraction = text.rsplit_once('.').map(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    fraction.is_some_and(|digits| digits > 6)
}
