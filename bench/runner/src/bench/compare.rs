//! Checks before any timing that all contenders return equal rows for equal requests.
//!
//! Rows are compared as multisets, because two of the endpoints define no order. Numbers are compared by value, and
//! timestamps independently of their notation.

use anyhow::{Context, Result, bail};
use chrono::NaiveDateTime;
use serde_json::{Map, Value};

use super::contender::{Contender, Name};
use super::http::Connection;

/// The result of a comparison without a difference.
#[derive(Default)]
pub(crate) struct Compared {
    /// Number of equal rows, each counted once for all contenders.
    pub(crate) rows: usize,
    /// The first failure of each contender, as a message.
    pub(crate) failures: Vec<String>,
}

/// Sends each request to all contenders. A difference is an error; a contender that fails is recorded and left out.
pub(crate) async fn compare(contenders: &[Contender], requests: &[Vec<u8>]) -> Result<Compared> {
    let mut connections = Vec::new();
    for contender in contenders.iter().filter(|contender| contender.name != Name::Fixed) {
        connections.push((contender.name, Connection::open(&contender.address).await?));
    }
    let mut compared = Compared::default();
    for request in requests {
        let mut first: Option<(Name, Vec<String>)> = None;
        let mut answering = Vec::new();
        for (name, mut connection) in connections {
            let answer = match connection.expect(request, 200).await {
                Ok(answer) => answer,
                Err(error) => {
                    compared.failures.push(format!("{name:?}: {error:#}"));
                    continue;
                }
            };
            let rows = rows(&answer.body()?).with_context(|| format!("{name:?} gave no rows"))?;
            match &first {
                None => first = Some((name, rows)),
                Some((other, expected)) if *expected != rows => {
                    let line = String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned();
                    bail!("{name:?} and {other:?} differ on `{line}`: {}", difference(&rows, expected));
                }
                Some(_) => {}
            }
            answering.push((name, connection));
        }
        connections = answering;
        compared.rows += first.map_or(0, |(_, rows)| rows.len());
    }
    Ok(compared)
}

/// The rows of a response in a comparable form, sorted.
fn rows(body: &[u8]) -> Result<Vec<String>> {
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(body)?;
    let mut rows: Vec<_> = rows.into_iter().map(|row| plain(Value::Object(row))).collect();
    rows.sort();
    Ok(rows)
}

fn plain(value: Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.into_iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() => format!("{float:?}"),
            // Format as floats, so that 10 and 10.0 are equal.
            Some(float) if float.abs() < 9e15 => format!("{float:?}"),
            _ => number.to_string(),
        },
        Value::String(text) => {
            match NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f") {
                Ok(time) => format!("{time:?}"),
                Err(_) => format!("{text:?}"),
            }
        }
        other => other.to_string(),
    }
}

fn difference(rows: &[String], expected: &[String]) -> String {
    let only = |of: &[String], other: &[String]| of.iter().find(|row| other.binary_search(row).is_err()).cloned();
    format!(
        "{} rows and {}; only the one has {}, only the other {}",
        rows.len(),
        expected.len(),
        only(rows, expected).unwrap_or_else(|| "nothing".to_owned()),
        only(expected, rows).unwrap_or_else(|| "nothing".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        rows(a.as_bytes()).unwrap() == rows(b.as_bytes()).unwrap()
    }

    #[test]
    fn ways_to_write_a_value_do_not_count() {
        assert!(same(r#"[{"a":10,"b":null}]"#, r#"[ {"b":null, "a":10.0} ]"#));
        assert!(same(r#"[{"t":"2022-10-01T08:30:00.5"}]"#, r#"[{"t":"2022-10-01T08:30:00.500000Z"}]"#));
        assert!(same(r#"[{"a":1},{"a":2}]"#, r#"[{"a":2},{"a":1}]"#));
    }

    #[test]
    fn values_count_and_how_often_rows_come() {
        assert!(!same(r#"[{"a":1}]"#, r#"[{"a":1},{"a":1}]"#));
        assert!(!same(r#"[{"a":1.5}]"#, r#"[{"a":1.25}]"#));
        assert!(!same(r#"[{"a":9007199254740993}]"#, r#"[{"a":9007199254740992}]"#));
        assert!(!same(r#"[{"a":"1"}]"#, r#"[{"a":1}]"#));
        assert!(!same(r#"[{"a":null}]"#, r#"[{"b":null}]"#));
        assert!(!same(r#"[{"t":"2022-10-01T08:30:00"}]"#, r#"[{"t":"2022-10-01T08:30:01"}]"#));
    }
}
