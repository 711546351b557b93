//! Detects number columns in which two texts could be the same number, such as `1.1` and `1.10`, or `100000` and
//! `1e+05`. Such a column becomes text, because otherwise a row filter on it would show the rows of the other key.
//!
//! Stores no values, only which forms occur.

use std::collections::BTreeSet;

/// 2^53, which has 16 digits: from here on a double cannot hold every integer.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;
/// Maximum number of fraction digits that are distinguished.
const MOST_SCALE: usize = 60;
/// The bit of numbers that end with the point (`5.`) in [`Scales`].
const BARE_POINT: u32 = 62;

/// The forms of a column's numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms {
    plain: Scales,
    with_exponent: Scales,
    /// The powers of ten of numbers without an exponent; `exponent_powers` has those with one.
    plain_powers: BTreeSet<i32>,
    exponent_powers: BTreeSet<i32>,
    last_power: Option<i32>,
    styles: u8,
    /// Whether zeros occur without (1) and with (2) a minus sign, as bits.
    zeros: u8,
    is_ambiguous: bool,
}

/// Stands for the power of ten of zero.
const OF_ZERO: i32 = i32::MIN;
/// Different numbers with at most this many significant digits are different doubles.
const EXACT_DIGITS: usize = 15;

/// Numbers of fraction digits, as bits: those that occur, and others with which a number could also have been written.
#[derive(Clone, Debug, Default)]
struct Scales {
    found: u64,
    covered: u64,
}

/// Bits for number styles, in pairs; two styles of a pair must not occur together.
const LEADING_POINT: u8 = 1;
const LEADING_ZERO: u8 = 2;
const LOWER: u8 = 4;
const UPPER: u8 = 8;
const PADDED: u8 = 16;
const SINGLE: u8 = 32;
const SIGNED: u8 = 64;
const UNSIGNED: u8 = 128;

impl Forms {
    /// Records a text that parses to `number`. Returns false if the text is more likely a code, which makes the column
    /// text.
    pub(super) fn see(&mut self, text: &str, number: f64) -> bool {
        if !number.is_finite() {
            return true;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if number == 0.0 {
            self.zeros |= if digits.len() == text.len() { 1 } else { 2 };
        }
        self.is_ambiguous |= !has_its_digits(text, number);
        match digits.find(['e', 'E']) {
            Some(at) => self.see_exponent(&digits[..at], &digits[at..]),
            None => self.see_plain(digits, number),
        }
    }

    fn see_plain(&mut self, digits: &str, number: f64) -> bool {
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        if whole.len() > 1 && whole.starts_with('0') {
            return false;
        }
        self.is_ambiguous |= number.abs() >= FIRST_INEXACT;
        if fraction.is_some() && number.abs() < 1.0 {
            self.styles |= if whole.is_empty() { LEADING_POINT } else { LEADING_ZERO };
        }
        let power = power(whole, fraction.unwrap_or_default()).unwrap_or(OF_ZERO);
        if self.last_power != Some(power) {
            self.plain_powers.insert(power);
            self.last_power = Some(power);
        }
        self.is_ambiguous |= !self.plain.see(fraction);
        true
    }

    fn see_exponent(&mut self, mantissa: &str, exponent: &str) -> bool {
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        self.styles |= if exponent.starts_with('e') { LOWER } else { UPPER };
        let power_text = &exponent[1..];
        let is_signed = power_text.starts_with(['+', '-']);
        // `1E2` is more likely a code; programs write doubles with a point or a sign, and one digit before the point.
        if whole.len() != 1 || (fraction.is_none() && !is_signed) {
            return false;
        }
        let is_zero = power(whole, fraction.unwrap_or_default()).is_none();
        if whole == "0" && !is_zero {
            return false;
        }
        if !power_text.starts_with('-') {
            self.styles |= if is_signed { SIGNED } else { UNSIGNED };
        }
        let power_digits = power_text.trim_start_matches(['+', '-']);
        let is_padded = power_digits.len() > 1 && power_digits.starts_with('0');
        match power_text.trim_start_matches('+').parse::<i32>() {
            Ok(power) if (power != 0 || !power_text.starts_with('-')) && (power_digits.len() < 3 || !is_padded) => {
                // A zero with an exponent other than 0 is more likely a code.
                if is_zero && power != 0 {
                    return false;
                }
                self.exponent_powers.insert(if is_zero { OF_ZERO } else { power });
            }
            _ => return false,
        }
        match power_digits.len() {
            1 => self.styles |= SINGLE,
            _ if is_padded => self.styles |= PADDED,
            _ => {}
        }
        self.is_ambiguous |= !self.with_exponent.see(fraction);
        true
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.plain.merge(&other.plain);
        self.with_exponent.merge(&other.with_exponent);
        self.plain_powers.extend(&other.plain_powers);
        self.exponent_powers.extend(&other.exponent_powers);
        self.styles |= other.styles;
        self.zeros |= other.zeros;
        self.is_ambiguous |= other.is_ambiguous;
    }

    /// Whether two different texts of these forms never are the same double.
    pub(super) fn are_told_apart(&self) -> bool {
        let has_both = |one: u8, other: u8| self.styles & one != 0 && self.styles & other != 0;
        !self.is_ambiguous
            && self.zeros != 3
            && !self.plain.overlap()
            && !self.with_exponent.overlap()
            && self.plain_powers.is_disjoint(&self.exponent_powers)
            && !has_both(LEADING_POINT, LEADING_ZERO)
            && !has_both(LOWER, UPPER)
            && !has_both(PADDED, SINGLE)
            && !has_both(SIGNED, UNSIGNED)
    }
}

impl Scales {
    /// Records the digits after the point; false if they are too many to be distinguished.
    fn see(&mut self, fraction: Option<&str>) -> bool {
        let Some(fraction) = fraction else {
            self.found |= 1;
            return true;
        };
        if fraction.len() > MOST_SCALE {
            return false;
        }
        if fraction.is_empty() {
            self.found |= 1 << BARE_POINT;
            self.covered |= 1;
            return true;
        }
        let kept = fraction.trim_end_matches('0').len();
        self.found |= 1 << fraction.len();
        self.covered |= (kept..fraction.len()).map(|scale| 1_u64 << scale).sum::<u64>();
        if kept == 0 {
            self.covered |= 1 << BARE_POINT;
        }
        true
    }

    fn merge(&mut self, other: &Self) {
        self.found |= other.found;
        self.covered |= other.covered;
    }

    fn overlap(&self) -> bool {
        self.found & self.covered != 0
    }
}

/// Whether no other text with at most as many digits is the same double: it has few digits, or those of the double's
/// shortest form.
pub(super) fn has_its_digits(text: &str, number: f64) -> bool {
    // Nearly every number in files is that short.
    if text.len() <= EXACT_DIGITS {
        return true;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let of = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
    let digits = of(mantissa);
    let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let last = digits.iter().rposition(|digit| *digit != b'0').map_or(first, |at| at + 1);
    let digits = &digits[first..last];
    digits.len() <= EXACT_DIGITS || {
        let shortest = format!("{number:e}");
        let shortest = of(shortest.split('e').next().unwrap_or_default());
        digits == shortest
    }
}

/// Power of ten of the first digit that is not zero; `None` for zero.
fn power(whole: &str, fraction: &str) -> Option<i32> {
    let place = |digits: &str| digits.bytes().position(|digit| digit != b'0');
    match place(whole) {
        Some(at) => i32::try_from(whole.len() - at - 1).ok(),
        None => place(fraction).and_then(|at| i32::try_from(at).ok()).map(|at| -at - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_numbers(texts: &[&str]) -> bool {
        let mut forms = Forms::default();
        texts.iter().all(|text| forms.see(text, text.parse().unwrap())) && forms.are_told_apart()
    }

    #[test]
    fn numbers_of_one_form_are_numbers() {
        for texts in [
            &["0", "7", "-7", "100"][..],
            &["0.5", "-0.25", "10", "12.5"],
            // Prices: all with the same number of fraction digits, or mixed with whole ones.
            &["1.50", "2.00", "10.10"],
            &["10", "12.50", "9.99"],
            &["1.1", "1.25", "3"],
            // As Python, JavaScript and Java write doubles.
            &["1e-05", "0.001", "2.5"],
            &["6.02e23", "1.5"],
            &["2.0E10", "1.5E-5", "0.5"],
            &["1e+16", "1e-07", "3.25"],
            &["0.000000e+00", "1.500000e+05"],
            &["0.30000000000000004", "12345678901.123457"],
        ] {
            assert!(are_numbers(texts), "{texts:?}");
        }
    }

    #[test]
    fn numbers_of_which_two_could_be_one_are_text() {
        for texts in [
            &["1.1", "1.10"][..],
            &["1.10", "1.1"],
            &["1", "1.0"],
            &["5.", "5"],
            &["5.", "5.0"],
            &[".5", "0.5"],
            &["100000", "1e+05"],
            &["0.00001", "1e-05"],
            &["1.5e10", "1.50e10"],
            &["1.5e10", "1.5E10"],
            &["1.5e5", "1.5e05"],
            &["1.5e+5", "1.5e5"],
            &["9007199254740993", "1.5"],
            // More digits than a double has.
            &["12345678901.1234567"],
            &["0.30000000000000005"],
            &["1.2345678901234568e+5", "1.23456789012345679e+5"],
            // Zeros.
            &["0.0", "0e+0"],
            &["-0", "0"],
            &["0.0", "-0.0"],
            &["0.0e0", "0e0"],
        ] {
            assert!(!are_numbers(texts), "{texts:?}");
        }
    }

    #[test]
    fn codes_are_no_numbers_whatever_is_beside_them() {
        for code in ["007", "-01", "00", "1E2", "1e2", "00.5", "12.5e3"] {
            assert!(!are_numbers(&[code]), "{code}");
        }
    }

    mod two_texts {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(5_000))]
            /// Checks the rule that `Forms` implements on short texts, many of which are the same number.
            #[test]
            fn are_two_numbers(texts in prop::collection::vec("-?[0-9]{0,2}(\\.[05]{0,3}|\\.30000000000000(0[345]|))?([eE][+-]?[0-3]{1,2})?", 2..6)) {
                let texts = texts.into_iter().filter(|text| super::super::super::cell::number(text).is_some());
                let texts = texts.collect::<std::collections::BTreeSet<_>>();
                let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
                if are_numbers(&texts) {
                    let numbers = texts.iter().map(|text| (text.parse::<f64>().unwrap() + 0.0).to_bits());
                    prop_assert_eq!(numbers.collect::<std::collections::BTreeSet<_>>().len(), texts.len(), "{:?}", texts);
                }
            }
        }
    }
}
