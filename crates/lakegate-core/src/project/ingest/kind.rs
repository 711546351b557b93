//! The column types of a recipe.

use std::fmt;

/// The type of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlainKind {
    /// Text.
    String,
    /// 64-bit integers.
    Integer,
    /// 64-bit floats.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Days.
    Date,
    /// Microseconds, in UTC.
    Timestamp,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// A single value.
    Plain(PlainKind),
    /// A list of values.
    List(PlainKind),
}

impl PlainKind {
    /// The types by name.
    pub const NAMES: [(&str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("date", Self::Date),
        ("timestamp", Self::Timestamp),
    ];

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl ColumnType {
    /// Parses `integer` or `list<integer>`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = PlainKind::from_name;
        match text.strip_prefix("list<").and_then(|inner| inner.strip_suffix('>')) {
            Some(inner) => plain(inner.trim()).map(Self::List),
            None => plain(text).map(Self::Plain),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(kind) => f.write_str(kind.name()),
            Self::List(kind) => write!(f, "list<{}>", kind.name()),
        }
    }
}
