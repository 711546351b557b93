//! Terms of a grant: the columns that it shows, the columns that it unmasks, its rules for arguments, and its limits.
//!
//! Values are stored as text, because the endpoint declares the type of a parameter. They are parsed when a call is
//! admitted, see [`crate::catalog`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::name::{NameError, NameKind};
use crate::limits::Limits;

/// Maximum length of one value, in bytes.
const LONGEST: usize = 10_000;
/// Maximum number of entries of one kind.
const MOST: usize = 1_000;

/// The parts of an endpoint that a grant allows, or denies with [`super::Effect::Deny`]. Empty terms allow all columns,
/// with their masks, and any arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// The output columns by exact name; `None` is all of them, including columns that are added later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<BTreeSet<String>>,
    /// The columns and tags to show unmasked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unmask: BTreeSet<Unmask>,
    /// The rules for arguments, by parameter name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, ParameterTerm>,
    /// Maximum distances between two arguments.
    #[serde(rename = "spans", skip_serializing_if = "Vec::is_empty")]
    pub distance_limits: Vec<DistanceTerm>,
    /// The limits of calls. Serialised as members beside the others; an unknown one is refused like any unknown member.
    #[serde(flatten)]
    pub limits: Limits,
}

/// The rule for one argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParameterTerm {
    /// The only allowed value, and the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// The attribute of the caller whose value, or one of whose values, the argument must be. Also supplies the
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The allowed values; empty allows any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// The minimum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// Maximum distance from the argument `from` to the argument `to`: `31d`, or a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistanceTerm {
    /// The parameter with the lower value.
    pub from: String,
    /// The parameter with the higher value.
    pub to: String,
    /// Maximum distance.
    pub at_most: Distance,
}

/// A distance between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Distance {
    /// Between timestamps or dates, in seconds.
    Time(i64),
    /// Between numbers.
    Number(i64),
}

/// A column or tag that a grant unmasks: the column `table.column`, or with `tag:pii` every column with a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Unmask {
    /// One column of a table, or a nested field, written as in `lakegate.toml`; see [`crate::column_name`].
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Every column with the tag.
    Tag(String),
}

/// The reason why terms are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Any other fault.
    #[error("{0}")]
    Other(String),
}

fn other(message: impl Into<String>) -> TermsError {
    TermsError::Other(message.into())
}

impl Terms {
    /// Whether the terms are empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the terms of an allowing grant.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), TermsError> {
        if self.columns.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(other("a grant of no columns allows nothing; name a column, or leave `columns` out"));
        }
        for column in self.columns.iter().flatten() {
            if column.is_empty() || column.len() > 128 || column.chars().any(char::is_control) {
                return Err(other("a column name has 1 to 128 characters, none of them a control character"));
            }
        }
        for (parameter, term) in &self.parameters {
            NameKind::Attribute.check(parameter)?;
            term.check(parameter)?;
        }
        for term in &self.distance_limits {
            NameKind::Attribute.check(&term.from)?;
            NameKind::Attribute.check(&term.to)?;
            if term.from == term.to {
                return Err(other(format!(
                    "a span goes from one parameter to another, not from `{}` to itself",
                    term.to
                )));
            }
        }
        if let Some(fault) = self.limits.fault() {
            return Err(other(fault));
        }
        let most = [self.columns.as_ref().map_or(0, BTreeSet::len), self.unmask.len(), self.parameters.len()];
        if most.iter().any(|count| *count > MOST) || self.distance_limits.len() > MOST {
            return Err(other(format!("a grant has at most {MOST} entries of each kind")));
        }
        Ok(())
    }

    /// Checks the terms of a denial, which may only name columns and unmasking; the rest has no meaning there.
    ///
    /// # Errors
    /// The first fault.
    pub fn check_denial(&self) -> Result<(), TermsError> {
        self.check()?;
        if !self.parameters.is_empty() || !self.distance_limits.is_empty() || !self.limits.is_empty() {
            return Err(other(
                "a denial takes away columns or unmasking, or the whole endpoint; it has no rules for arguments and no limits",
            ));
        }
        Ok(())
    }
}

impl ParameterTerm {
    fn check(&self, parameter: &str) -> Result<(), TermsError> {
        if *self == Self::default() {
            return Err(other(format!("the rule for parameter `{parameter}` says nothing")));
        }
        if self.fixed.is_some() && self.attribute.is_some() {
            return Err(other(format!("parameter `{parameter}` is fixed to a value and to an attribute; keep one")));
        }
        if let Some(attribute) = &self.attribute {
            NameKind::Attribute.check(attribute)?;
        }
        let texts = self.one_of.iter().chain(&self.fixed).chain(&self.min).chain(&self.max);
        if self.one_of.len() > MOST || texts.into_iter().any(|text| text.len() > LONGEST) {
            return Err(other(format!("the rule for parameter `{parameter}` is too long")));
        }
        Ok(())
    }
}

impl Distance {
    /// Parses `45s`, `30m`, `24h`, `31d`, `2w` or a whole number.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = text.get(..digits)?.parse().ok()?;
        let seconds = match &text[digits..] {
            "" => return Some(Distance::Number(number)),
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        let seconds = number.checked_mul(seconds)?;
        TimeDelta::try_seconds(seconds).map(|_| Distance::Time(seconds))
    }
}

impl fmt::Display for Distance {
    /// The text form; [`Distance::parse`] parses it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distance::Number(number) => write!(f, "{number}"),
            Distance::Time(seconds) => {
                let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
                match units.iter().find(|(unit, _)| *seconds != 0 && seconds % unit == 0) {
                    Some((unit, name)) => write!(f, "{}{name}", seconds / unit),
                    None => write!(f, "{seconds}s"),
                }
            }
        }
    }
}

impl TryFrom<String> for Distance {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| "a distance is a whole number, or a time such as `24h`, `31d` or `2w`".to_owned())
    }
}

impl From<Distance> for String {
    fn from(distance: Distance) -> Self {
        distance.to_string()
    }
}

impl Unmask {
    /// Parses `table.column`, `table.column.field`, `table."co.lumn"`, `table.column["field"]` or `tag:name`.
    ///
    /// # Errors
    /// The text is neither a column nor a tag.
    pub fn parse(text: &str) -> Result<Self, TermsError> {
        if let Some(tag) = text.strip_prefix("tag:") {
            NameKind::Tag.check(tag)?;
            return Ok(Unmask::Tag(tag.to_owned()));
        }
        match text.split_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() && text.len() <= 256 => {
                Ok(Unmask::Column { table: table.to_owned(), column: column.to_owned() })
            }
            _ => Err(other("write `table.column`, or `tag:NAME` for all columns with a tag")),
        }
    }
}

impl fmt::Display for Unmask {
    /// The text form; [`Unmask::parse`] parses it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmask::Column { table, column } => write!(f, "{table}.{column}"),
            Unmask::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

impl TryFrom<String> for Unmask {
    type Error = TermsError;

    fn try_from(text: String) -> Result<Self, TermsError> {
        Self::parse(&text)
    }
}

impl From<Unmask> for String {
    fn from(unmask: Unmask) -> Self {
        unmask.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_read_back_as_they_were_written() {
        let text = r#"{"columns":["a","b"],"unmask":["order.buyer.cid","tag:pii"],"parameters":{"city":{"attribute":"city"},"day":{"one_of":["2022-10-01"],"max":"2023-01-01"}},"spans":[{"from":"start","to":"end","at_most":"31d"}],"timeout_seconds":5,"max_rows":10}"#;
        let terms: Terms = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&terms).unwrap(), text);
        assert_eq!(terms.check(), Ok(()));
        assert_eq!(serde_json::to_string(&Terms::default()).unwrap(), "{}");
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_left_out() {
        for text in [
            r#"{"colums":["a"]}"#,
            r#"{"parameters":{"a":{"minimum":"1"}}}"#,
            r#"{"unmask":["pii"]}"#,
            r#"{"unmask":["tag:"]}"#,
            r#"{"spans":[{"from":"a","to":"b","at_most":"31 days"}]}"#,
            r#"{"max_rows":-1}"#,
            r#"{"max_rows":"1"}"#,
            r#"{"max_rows":1,"max_rows":2}"#,
            r#"{"max_row":1}"#,
            r#"{"limits":{"max_rows":1}}"#,
        ] {
            assert!(serde_json::from_str::<Terms>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        for text in [
            r#"{"columns":[]}"#,
            r#"{"columns":[""]}"#,
            r#"{"parameters":{"a":{}}}"#,
            r#"{"parameters":{"a":{"fixed":"1","attribute":"b"}}}"#,
            r#"{"parameters":{"a b":{"fixed":"1"}}}"#,
            r#"{"spans":[{"from":"a","to":"a","at_most":"1"}]}"#,
            r#"{"max_rows":0}"#,
            r#"{"timeout_seconds":100000}"#,
            r#"{"request_burst":1}"#,
        ] {
            assert!(serde_json::from_str::<Terms>(text).unwrap().check().is_err(), "{text}");
        }
        let limits = Limits { max_rows: Some(1), ..Limits::default() };
        let capped = Terms { limits, ..Terms::default() };
        assert!(capped.check().is_ok() && capped.check_denial().is_err());
    }

    proptest! {
        #[test]
        fn a_distance_reads_back(number in 0_i64..1_000_000_000, unit in "[smhdw]?") {
            let distance = Distance::parse(&format!("{number}{unit}")).unwrap();
            prop_assert_eq!(Distance::parse(&distance.to_string()), Some(distance));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = (Distance::parse(&text), Unmask::parse(&text));
        }
    }
}
