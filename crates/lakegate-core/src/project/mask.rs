//! Masks: their kinds and options, and which of two is stricter.
//!
//! `lakegate_query` applies masks to values; [`super::column`] parses them from the file.

use std::cmp::{Ordering, Reverse};
use std::fmt;

/// A transformation of the values of a column. It is total: every value has a masked value, so a mask cannot fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MaskSpec {
    /// NULL in every row. Works for every type; the only mask for structs and maps.
    Null,
    /// `[redacted]` in every row, including NULLs.
    Redact,
    /// Moves a point to the centre of its grid cell.
    Grid {
        /// The side of a cell, in degrees.
        step: Step,
    },
    /// A pseudonym computed with the project's secret key: equal values stay equal.
    Hash {
        /// Separates pseudonyms: equal values get different ones in different domains.
        domain: String,
    },
    /// Keeps the domain of an e-mail address.
    Email,
    /// Keeps the first and last characters.
    Partial {
        /// Number of characters kept at the start.
        prefix: u8,
        /// Number of characters kept at the end.
        suffix: u8,
    },
    /// Truncates to the hour, day, month or year, in UTC.
    Truncate {
        /// The unit.
        to: Granularity,
    },
    /// Rounds to the nearest multiple of a step.
    Round {
        /// The step.
        step: Step,
    },
}

/// The unit that a mask truncates a time to; the later, the coarser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Granularity {
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// The month.
    Month,
    /// The year.
    Year,
}

/// A positive decimal number, exactly as written: `digits` divided by ten to the power of `scale`.
///
/// The representation is canonical, so `==` compares numbers, and so does the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    digits: u64,
    scale: u8,
}

/// Maximum number of digits of a [`Step`], before the point and after it.
const STEP_DIGITS: usize = 18;

impl Step {
    /// Parses a decimal number, optionally with a point or an exponent; `None` if it is not positive, or has more than
    /// 18 digits before or after the point.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::new();
        for digit in whole.chars().chain(fraction.chars()).filter(|each| *each != '_') {
            digits.push(Some(digit).filter(char::is_ascii_digit)?);
        }
        let mut scale = i32::try_from(fraction.chars().filter(|each| *each != '_').count()).ok()?;
        scale = scale.checked_sub(exponent)?;
        let significant = digits.trim_end_matches('0');
        scale = scale.checked_sub(i32::try_from(digits.len() - significant.len()).ok()?)?;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() || significant.len() > STEP_DIGITS {
            return None;
        }
        let value = significant.parse::<u64>().ok()?;
        if scale >= 0 {
            let scale = u8::try_from(scale).ok().filter(|scale| usize::from(*scale) <= STEP_DIGITS)?;
            return Some(Self { digits: value, scale });
        }
        let zeros = usize::try_from(scale.unsigned_abs()).ok()?;
        if significant.len() + zeros > STEP_DIGITS {
            return None;
        }
        Some(Self { digits: value.checked_mul(10_u64.checked_pow(scale.unsigned_abs())?)?, scale: 0 })
    }

    /// The digits, without the point; at most 18.
    pub fn digits(self) -> u64 {
        self.digits
    }

    /// Number of digits after the point; 0 for a whole number, at most 18.
    pub fn scale(self) -> u8 {
        self.scale
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        // At most 18 digits times at most ten to the power of 18, which fits into `u128`.
        let scaled = |step: &Step, by: u8| u128::from(step.digits) * 10_u128.pow(u32::from(by));
        scaled(self, other.scale).cmp(&scaled(other, self.scale))
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.digits);
        }
        let unit = 10_u64.pow(u32::from(self.scale));
        write!(f, "{}.{:0width$}", self.digits / unit, self.digits % unit, width = usize::from(self.scale))
    }
}

impl Granularity {
    /// All units, with their names in a project file.
    pub const NAMES: [(&'static str, Granularity); 4] = [
        ("hour", Granularity::Hour),
        ("day", Granularity::Day),
        ("month", Granularity::Month),
        ("year", Granularity::Year),
    ];
}

impl MaskSpec {
    /// The names of all kinds, strictest first.
    pub const KINDS: [&'static str; 8] = ["null", "redact", "grid", "hash", "email", "partial", "truncate", "round"];

    /// The kind, as a project file names it.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.rank()]
    }

    /// Whether a grid may have cells of this size, in degrees: from 0.0001 to 90, with at most 9 digits after the
    /// point.
    pub fn is_grid_step(step: Step) -> bool {
        let (least, greatest) = (Step { digits: 1, scale: 4 }, Step { digits: 90, scale: 0 });
        (least..=greatest).contains(&step) && step.scale() <= 9
    }

    /// Returns the mask that reveals less.
    ///
    /// The order is total. Kinds are ordered as in [`Self::KINDS`], strictest first. Within a kind, the coarser unit,
    /// the larger step, or the fewer kept characters are stricter. Two hashes reveal the same, so the domain that sorts
    /// first wins.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if other.compare_strictness(&self) == Ordering::Less { other } else { self }
    }

    /// `Less` means that `self` is stricter.
    fn compare_strictness(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Grid { step: ours }, Self::Grid { step: theirs })
            | (Self::Round { step: ours }, Self::Round { step: theirs }) => theirs.cmp(ours),
            (Self::Hash { domain: ours }, Self::Hash { domain: theirs }) => ours.cmp(theirs),
            (Self::Truncate { to: ours }, Self::Truncate { to: theirs }) => Reverse(ours).cmp(&Reverse(theirs)),
            (Self::Partial { prefix, suffix }, Self::Partial { prefix: other_prefix, suffix: other_suffix }) => {
                let kept = |prefix: u8, suffix: u8| (u16::from(prefix) + u16::from(suffix), prefix);
                kept(*prefix, *suffix).cmp(&kept(*other_prefix, *other_suffix))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// The index in [`Self::KINDS`].
    fn rank(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Redact => 1,
            Self::Grid { .. } => 2,
            Self::Hash { .. } => 3,
            Self::Email => 4,
            Self::Partial { .. } => 5,
            Self::Truncate { .. } => 6,
            Self::Round { .. } => 7,
        }
    }
}

impl fmt::Display for MaskSpec {
    /// The kind and its options: `partial(prefix 2, suffix 2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Null | Self::Redact | Self::Email => Ok(()),
            Self::Hash { domain } if domain.is_empty() => Ok(()),
            Self::Hash { domain } => write!(f, "(domain {domain})"),
            Self::Grid { step } | Self::Round { step } => write!(f, "(step {step})"),
            Self::Partial { prefix, suffix } => write!(f, "(prefix {prefix}, suffix {suffix})"),
            Self::Truncate { to } => {
                let name = Granularity::NAMES.iter().find(|(_, unit)| unit == to).map_or("", |(name, _)| name);
                write!(f, "(to {name})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: &str) -> Step {
        Step::parse(text).unwrap()
    }

    #[test]
    fn a_step_is_the_number_that_was_written() {
        for (text, shown) in [
            ("1", "1"),
            ("+1", "1"),
            ("10", "10"),
            ("1_000", "1000"),
            ("0.25", "0.25"),
            ("2.50", "2.5"),
            ("1e3", "1000"),
            ("1.5e1", "15"),
            ("5E-2", "0.05"),
            ("100.0", "100"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("1e17", "100000000000000000"),
        ] {
            assert_eq!(step(text).to_string(), shown, "{text}");
        }
        assert_eq!(step("0.50"), step("5e-1"));
        for text in [
            "",
            "0",
            "0.0",
            "-1",
            "1e18",
            "1e-19",
            "nan",
            "inf",
            "1e99999999999",
            "1e-2147483648",
            "100e2147483647",
            "1x",
            "é",
        ] {
            assert_eq!(Step::parse(text), None, "{text}");
        }
        assert!(step("0.1") < step("0.25") && step("0.25") < step("1") && step("9") < step("10"));
        assert!(step("999999999999999999") > step("0.999999999999999999"));
    }

    #[test]
    fn the_stricter_of_two_does_not_depend_on_their_order() {
        let strictest_first = [
            MaskSpec::Null,
            MaskSpec::Redact,
            MaskSpec::Grid { step: step("1") },
            MaskSpec::Grid { step: step("0.5") },
            MaskSpec::Hash { domain: String::new() },
            MaskSpec::Hash { domain: "a".to_owned() },
            MaskSpec::Email,
            MaskSpec::Partial { prefix: 0, suffix: 2 },
            MaskSpec::Partial { prefix: 1, suffix: 1 },
            MaskSpec::Partial { prefix: 64, suffix: 64 },
            MaskSpec::Truncate { to: Granularity::Year },
            MaskSpec::Truncate { to: Granularity::Hour },
            MaskSpec::Round { step: step("100") },
            MaskSpec::Round { step: step("0.01") },
        ];
        for (at, strict) in strictest_first.iter().enumerate() {
            for lax in &strictest_first[at..] {
                assert_eq!(&strict.clone().stricter(lax.clone()), strict);
                assert_eq!(&lax.clone().stricter(strict.clone()), strict);
            }
        }
    }
}
