//! Parses times and durations in the notation of operators: `2027-01-01`, RFC 3339, `90d`.

use anyhow::{Context, bail};
use chrono::{DateTime, Duration, Utc};
use lakegate_core::value::{Scalar, ScalarType};

/// Parses a time: a date (midnight UTC) or RFC 3339.
///
/// # Errors
/// If it is neither.
pub fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    match ScalarType::Timestamp.parse(text) {
        Some(Scalar::Timestamp(time)) => Ok(time),
        _ => Err(format!("not {}", ScalarType::Timestamp.expectation())),
    }
}

/// Parses a duration: a whole number and a unit.
///
/// # Errors
/// If it is malformed or too long.
pub fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let what = "write a whole number and a unit: `45s`, `30m`, `24h`, `90d` or `2w`";
    if text == "0" {
        return Ok(Duration::zero());
    }
    let unit = text.chars().next_back().context(what)?;
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!(what);
    }
    let number: i64 = number.parse().context(what)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => bail!(what),
    };
    number.checked_mul(seconds).and_then(Duration::try_seconds).context("that is too long")
}
