//! Finds numbers in SQL text that change when they are read as floats.
//!
//! The parser reads a number with a fraction or an exponent as a 64-bit float. From 2^53 on, floats do not represent
//! every integer, so a query would compare with another number than the one in its text.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer};

/// The numbers of a text that a float would change, with their positions.
pub(crate) fn check_numbers(sql: &str) -> Vec<(String, Span)> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else { return Vec::new() };
    let inexact = tokens.into_iter().filter_map(|token| match token.token {
        Token::Number(text, _) if is_inexact(&text) => Some((text, token.span)),
        _ => None,
    });
    inexact.collect()
}

fn is_inexact(text: &str) -> bool {
    const MOST: f64 = 9_007_199_254_740_992.0;
    // The parser reads integers of up to 64 bits exactly, and larger ones as floats.
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return false;
    }
    let Ok(number) = text.parse::<f64>() else { return false };
    if !number.is_finite() {
        return true;
    }
    number.abs() >= MOST && digits(&format!("{number:e}")) != digits(text)
}

/// The significant digits and the exponent of a number, normalised.
fn digits(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.parse::<i64>().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let without_end = all.trim_end_matches('0');
    let exponent = exponent - fraction.len() as i64 + (all.len() - without_end.len()) as i64;
    Some((without_end.trim_start_matches('0').to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_a_float_changes_is_found() {
        for text in
            ["9007199254740993.0", "9007199254740993.5", "1e400", "12345678901234567890123", "36028797018963969.0"]
        {
            assert!(is_inexact(text), "{text}");
        }
        let exact = [
            "9007199254740993",
            "18446744073709551615",
            "0.1",
            "3.14159265358979323846",
            "1e20",
            "1.5e300",
            "9007199254740994.0",
            "1234.50",
        ];
        for text in exact {
            assert!(!is_inexact(text), "{text}");
        }
        assert_eq!(check_numbers("SELECT 1 WHERE a = 9007199254740993.0").len(), 1);
    }
}
