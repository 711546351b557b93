//! Converts values to and from the store's columns: times as microseconds, attributes as typed JSON, details of changes
//! as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use lakegate_core::value::{Value, ValueType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::StoreError;

/// Truncates a time to the microsecond, as it will be read back.
pub(super) fn to_micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

pub(super) fn from_micros(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| StoreError::Corrupt(format!("the time {micros}")))
}

pub(super) fn from_optional_micros(micros: Option<i64>) -> Result<Option<DateTime<Utc>>, StoreError> {
    micros.map(from_micros).transpose()
}

/// A time for the detail of a change.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Attributes as JSON, such as `{"client_id": {"type": "integer", "value": 4562}}`.
pub(super) fn attributes_to_json(attributes: &BTreeMap<String, Value>) -> String {
    let members = attributes
        .iter()
        .map(|(name, value)| (name.clone(), json!({ "type": value.value_type().name(), "value": value.to_json() })));
    serde_json::Value::Object(members.collect()).to_string()
}

/// Parses attributes. An unreadable attribute is an error, never a missing attribute.
pub(super) fn attributes_from_json(text: &str) -> Result<BTreeMap<String, Value>, StoreError> {
    let corrupt = || StoreError::Corrupt("the attributes of a principal".to_owned());
    let json: serde_json::Value = serde_json::from_str(text).map_err(|_| corrupt())?;
    let members = json.as_object().ok_or_else(corrupt)?;
    let mut attributes = BTreeMap::new();
    for (name, typed) in members {
        let value_type = typed.get("type").and_then(|name| ValueType::from_name(name.as_str()?)).ok_or_else(corrupt)?;
        let value = typed.get("value").and_then(|json| Value::from_json(value_type, json)).ok_or_else(corrupt)?;
        attributes.insert(name.clone(), value);
    }
    Ok(attributes)
}

/// Serialises a value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(error.to_string()))
}

/// Parses JSON; the error names it as `what`.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt(what.to_owned()))
}
