//! Reads TOML with places: typed keys, unknown keys with a suggestion, and every fault at once instead of the first.
//!
//! Knows nothing of what the keys mean.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Position, suggest_or_list};

/// The TOML of one file (or of one part of it) and the faults found in it so far.
pub(crate) struct Source<'a> {
    path: &'a str,
    text: &'a str,
    /// Where the TOML starts in `text`.
    offset: usize,
    findings: RefCell<Vec<Finding>>,
}

/// A TOML table under reading: keys are taken, what is left at the end is unknown.
pub(crate) struct Section<'a, 's> {
    source: &'s Source<'a>,
    /// What the section is called in messages: `[tables.order]`.
    name: String,
    span: Range<usize>,
    entries: Vec<(String, Range<usize>, &'s Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
    has_any: bool,
}

/// A value with the place where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str, toml: Range<usize>) -> (Self, Spanned<DeTable<'a>>) {
        let (table, errors) = DeTable::parse_recoverable(&text[toml.clone()]);
        let source = Self { path, text, offset: toml.start, findings: RefCell::new(Vec::new()) };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().trim().replace('\n', ", ");
            source.report(&span, format!("not valid TOML: {message}"), None);
        }
        (source, table)
    }

    pub(crate) fn position(&self, span: &Range<usize>) -> Position {
        Position::of_byte(self.path, self.text, self.offset + span.start)
    }

    pub(crate) fn report(&self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        let finding = Finding { position: self.position(span), message: message.into(), help };
        self.findings.borrow_mut().push(finding);
    }

    /// The same at a place that is known already.
    pub(crate) fn report_at(&self, position: &Position, message: impl Into<String>, help: &str) {
        let finding = Finding { position: position.clone(), message: message.into(), help: Some(help.to_owned()) };
        self.findings.borrow_mut().push(finding);
    }

    pub(crate) fn has_findings(&self) -> bool {
        !self.findings.borrow().is_empty()
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }
}

impl<'a, 's> Section<'a, 's> {
    pub(crate) fn new(
        source: &'s Source<'a>,
        name: impl Into<String>,
        span: Range<usize>,
        table: &'s DeTable<'a>,
    ) -> Self {
        let mut entries =
            table.iter().map(|(key, value)| (key.get_ref().to_string(), key.span(), value)).collect::<Vec<_>>();
        // The order of the file, so that parameters and findings come as they were written.
        entries.sort_by_key(|(_, span, _)| span.start);
        let has_any = !entries.is_empty();
        Self { source, name: name.into(), span, entries, known: Vec::new(), has_any }
    }

    pub(crate) fn source(&self) -> &'s Source<'a> {
        self.source
    }

    pub(crate) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether any key stood there, known or not.
    pub(crate) fn has_any(&self) -> bool {
        self.has_any
    }

    /// Whether the key stands there, whatever its value is: a value that can not be taken is not a missing one.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _, _)| name == key)
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'a>>> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _, _)| name == key)?;
        Some(self.entries.remove(at).2)
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<Placed<String>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Placed { value: text.to_string(), span: value.span() }),
            other => self.mistyped(key, "a string", other, value.span()),
        }
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<Placed<bool>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(Placed { value: *boolean, span: value.span() }),
            other => self.mistyped(key, "`true` or `false`", other, value.span()),
        }
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<Placed<u64>> {
        let value = self.take(key)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let integer = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match integer.filter(|integer| range.contains(integer)) {
            Some(integer) => Some(Placed { value: integer, span: value.span() }),
            None => self.mistyped(key, &expected, value.get_ref(), value.span()),
        }
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Placed<Vec<Placed<String>>>> {
        let value = self.take(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.mistyped(key, "a list of strings", value.get_ref(), value.span());
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push(Placed { value: text.to_string(), span: item.span() }),
                other => return self.mistyped(key, "a list of strings", other, item.span()),
            }
        }
        Some(Placed { value: strings, span: value.span() })
    }

    /// A table below this one.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'a, 's>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.source, self.child_name(key), value.span(), table)),
            other => self.mistyped(key, "a table", other, value.span()),
        }
    }

    /// The tables of an array of tables.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Section<'a, 's>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.mistyped::<()>(key, "an array of tables", value.get_ref(), value.span());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(self.source, format!("[[{key}]]"), item.span(), table))
                }
                other => {
                    self.mistyped::<()>(key, "an array of tables", other, item.span());
                }
            }
        }
        sections
    }

    /// All entries that are left, as tables with free names.
    pub(crate) fn named_sections(mut self) -> Vec<(Placed<String>, Section<'a, 's>)> {
        let mut sections = Vec::new();
        for (key, span, value) in std::mem::take(&mut self.entries) {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let section = Section::new(self.source, self.child_name(&key), value.span(), table);
                    sections.push((Placed { value: key, span }, section));
                }
                other => {
                    self.mistyped::<()>(&key, "a table", other, value.span());
                }
            }
        }
        sections
    }

    /// All entries that are left, as strings with free names.
    pub(crate) fn named_strings(mut self) -> Vec<(Placed<String>, Placed<String>)> {
        let mut strings = Vec::new();
        for (key, span, value) in std::mem::take(&mut self.entries) {
            match value.get_ref() {
                DeValue::String(text) => {
                    let text = Placed { value: text.to_string(), span: value.span() };
                    strings.push((Placed { value: key, span }, text));
                }
                other => {
                    self.mistyped::<()>(&key, "a string", other, value.span());
                }
            }
        }
        strings
    }

    /// All entries that are left, as values with free names.
    pub(crate) fn named_values(mut self) -> Vec<(Placed<String>, &'s Spanned<DeValue<'a>>)> {
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().map(|(key, span, value)| (Placed { value: key, span }, value)).collect()
    }

    /// Reports what was not taken.
    pub(crate) fn finish(self) {
        for (key, span, _) in &self.entries {
            let help = suggest_or_list(key, self.known.iter().copied());
            self.source.report(span, format!("unknown key `{key}` in {}", self.name), Some(help));
        }
    }

    fn child_name(&self, key: &str) -> String {
        // What is below a table of an array is written like what is below any other.
        match self.name.starts_with('[') {
            true => format!("[{}.{key}]", self.name.trim_matches(['[', ']'])),
            false => format!("[{key}]"),
        }
    }

    fn mistyped<T>(&self, key: &str, expected: &str, got: &DeValue<'_>, span: Range<usize>) -> Option<T> {
        let message = format!("`{key}` in {} must be {expected}, not {}", self.name, describe(got));
        self.source.report(&span, message, None);
        None
    }
}

/// What stands there, in a message.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(integer) => format!("`{integer}`"),
        DeValue::Float(float) => format!("`{float}`"),
        DeValue::Boolean(boolean) => format!("`{boolean}`"),
        DeValue::Datetime(datetime) => format!("`{datetime}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
