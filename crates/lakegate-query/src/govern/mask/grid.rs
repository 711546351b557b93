//! Masks points: `POINT (lon lat)` becomes the centre of its grid cell.
//!
//! A cell starts at a multiple of the step. The arithmetic is decimal, so that a point on the border of two cells is
//! always in the upper one, however its digits round in binary.

use std::fmt::Write;

use lakegate_core::project::Step;

/// Fraction digits that are used. A coordinate of this size has no more in binary.
const DECIMALS: u32 = 15;
const UNIT: i128 = 10_i128.pow(DECIMALS);
/// Maximum longitude and latitude.
const LIMITS: (i128, i128) = (180, 90);

/// Appends the centre of the point's cell to `out`. Returns `false` and appends nothing if the text is not a point on
/// the globe.
pub(super) fn write_cell(text: &str, step: Step, out: &mut String) -> bool {
    let cell = || {
        let (longitude, latitude) = coordinates(text)?;
        Some((centre(longitude, LIMITS.0, step)?, centre(latitude, LIMITS.1, step)?))
    };
    let Some((longitude, latitude)) = cell() else { return false };
    let decimals = u32::from(step.scale()) + 1;
    out.push_str("POINT (");
    write_decimal(longitude, decimals, out);
    out.push(' ');
    write_decimal(latitude, decimals, out);
    out.push(')');
    true
}

/// The two numbers of a point, as text.
fn coordinates(text: &str) -> Option<(&str, &str)> {
    let mut text = text.trim();
    if let Some(srid) = strip_word(text, "SRID=") {
        let (number, rest) = srid.split_once(';')?;
        let number = number.trim();
        if number.is_empty() || !number.bytes().all(|each| each.is_ascii_digit()) {
            return None;
        }
        text = rest.trim_start();
    }
    let inner = strip_word(text, "POINT")?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let mut numbers = inner.split_whitespace();
    let point = (numbers.next()?, numbers.next()?);
    numbers.next().is_none().then_some(point)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// The centre of a coordinate's cell, in units of its last decimal. It has one decimal more than the step.
fn centre(coordinate: &str, limit: i128, step: Step) -> Option<i128> {
    let coordinate = floor_units(coordinate, limit)?;
    let (digits, scale) = (i128::from(step.digits()), 10_i128.checked_pow(u32::from(step.scale()))?);
    let cell = coordinate.checked_mul(scale)?.div_euclid(digits.checked_mul(UNIT)?);
    // The end of the range belongs to the last cell before it.
    let last = (limit * scale - 1).div_euclid(digits);
    let centre = cell.min(last).checked_mul(2)?.checked_add(1)?.checked_mul(digits)?.checked_mul(5)?;
    let end = limit * scale * 10;
    Some(centre.clamp(-end, end))
}

/// A coordinate in units of the fifteenth decimal, rounded down.
fn floor_units(text: &str, limit: i128) -> Option<i128> {
    let value = text.parse::<f64>().ok().filter(|value| value.abs() <= limit as f64)?;
    // The shortest decimal that reads as this number. It equals the text if that has at most 15 digits.
    let decimal = format!("{}", value.abs());
    let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
    let (kept, rest) = fraction.split_at(fraction.len().min(DECIMALS as usize));
    let mut units = whole.parse::<i128>().ok()?.checked_mul(UNIT)?;
    if !kept.is_empty() {
        units += kept.parse::<i128>().ok()? * 10_i128.pow(DECIMALS - u32::try_from(kept.len()).ok()?);
    }
    if value >= 0.0 {
        return Some(units);
    }
    let is_below = rest.bytes().any(|digit| digit != b'0');
    Some(-units - i128::from(is_below))
}

fn write_decimal(value: i128, decimals: u32, out: &mut String) {
    let unit = 10_u128.pow(decimals);
    let magnitude = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(out, "{sign}{}", magnitude / unit);
    if !magnitude.is_multiple_of(unit) {
        let _ = write!(out, ".{:0width$}", magnitude % unit, width = decimals as usize);
        out.truncate(out.trim_end_matches('0').len());
    }
}
