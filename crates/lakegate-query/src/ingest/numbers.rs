//! Detects numbers that a double would change, and reads them from JSON unchanged.
//!
//! Whole numbers are never rounded silently, because two keys could become one. Fractions are rounded, as usual.

use serde_json::Value as Json;

/// Doubles represent every whole number up to this one.
pub(super) const MOST_WHOLE: f64 = 9_007_199_254_740_992.0;
/// 32-bit floats represent every whole number up to this one.
const MOST_WHOLE_SINGLE: f64 = 16_777_216.0;

/// The number for a column, or why the column cannot hold it. `text` uses a decimal point, never a comma.
pub(super) fn kept(text: &str, number: f64, is_single: bool) -> Result<f64, String> {
    let (held, most) = match is_single {
        false => (number, MOST_WHOLE),
        true => (f64::from(number as f32), MOST_WHOLE_SINGLE),
    };
    if !held.is_finite() {
        return Err("it is out of the column's range".to_owned());
    }
    // A number with an exponent is meant as a float.
    if held.abs() < most || text.contains(['e', 'E']) || is_written(text, held) {
        return Ok(number);
    }
    Err(format!("the column cannot hold it exactly: it has numbers, and this one is over {most}"))
}

/// Whether a large number has exactly the digits of the text. Doubles this large have no fraction.
fn is_written(text: &str, number: f64) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    fraction.bytes().all(|digit| digit == b'0') && whole.trim_start_matches('0') == format!("{:.0}", number.abs())
}

/// Parses a line of JSON. Numbers that the parser would change become strings.
pub(super) fn json(line: &str) -> serde_json::Result<Json> {
    let read = serde_json::from_str(line)?;
    match with_long_numbers_quoted(line) {
        None => Ok(read),
        Some(quoted) => serde_json::from_str(&quoted),
    }
}

/// Minimum number of digits of a number that the parser may change.
const LONG: usize = 16;

/// Quotes the numbers that the parser would change, in valid JSON. `None` if there are none.
fn with_long_numbers_quoted(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    if !bytes.chunk_by(|one, next| one.is_ascii_digit() && next.is_ascii_digit()).any(|run| run.len() >= LONG) {
        return None;
    }
    let mut quoted = String::with_capacity(line.len() + 16);
    let (mut written, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let number = &line[at..end];
                if is_changed(number) {
                    quoted.push_str(&line[written..at]);
                    quoted.extend(["\"", number, "\""]);
                    written = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    quoted.push_str(&line[written..]);
    (written > 0).then_some(quoted)
}

/// Whether the JSON parser changes the number.
fn is_changed(number: &str) -> bool {
    if number.contains(['e', 'E']) || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return false;
    }
    // A whole number that was parsed as a double does not print as a whole number again.
    !number.contains('.') || number.parse::<f64>().is_ok_and(|read| kept(number, read, false).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_that_no_double_is_are_not_kept() {
        for text in ["9007199254740992", "-9007199254740994.00", "1.5", "0.1", "1e300", "18446744073709551616", "-0"] {
            assert!(kept(text, text.parse().unwrap(), false).is_ok(), "{text}");
        }
        for text in ["9007199254740993", "-9007199254740993.0", "9007199254740993.5", "18446744073709551615"] {
            assert!(kept(text, text.parse().unwrap(), false).is_err(), "{text}");
        }
        assert!(kept("16777216", 16_777_216.0, true).is_ok());
        assert!(kept("16777217", 16_777_217.0, true).is_err());
        assert!(kept("1e39", 1e39, true).is_err());
    }

    #[test]
    fn long_numbers_of_json_come_as_they_are_written() {
        let line = r#"{"a\"1": 123456789012345678901, "b": [-9223372036854775809, 18446744073709551615], "12345678901234567890123": "99999999999999999999", "c": 9007199254740993.0, "d": 0.12345678901234567, "e": 1e22}"#;
        let expected = r#"{"a\"1": "123456789012345678901", "b": ["-9223372036854775809", 18446744073709551615], "12345678901234567890123": "99999999999999999999", "c": "9007199254740993.0", "d": 0.12345678901234567, "e": 1e22}"#;
        assert_eq!(with_long_numbers_quoted(line).as_deref(), Some(expected));
        assert_eq!(json(line).unwrap()["a\"1"], "123456789012345678901");
        assert_eq!(with_long_numbers_quoted(r#"{"a": 1, "b": 9223372036854775807}"#), None);
        // Invalid JSON stays invalid.
        assert!(json("{12345678901234567890123: 1}").is_err() && json("{\"a\": 012345678901234567890123}").is_err());
    }
}
