//! Reads TOML with positions: typed keys, unknown keys with a suggestion, and all faults at once.
//!
//! Knows nothing of the meaning of keys.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Position, suggest_or_list};
use super::variables::{OverridePrefix, ValueOrigin, Variables};

/// The TOML of a file, or of a part of it, and the findings so far.
pub(crate) struct TomlSource<'a> {
    path: &'a str,
    text: &'a str,
    /// The byte offset of the TOML in `text`.
    offset: usize,
    findings: RefCell<Vec<Finding>>,
    /// Environment variables that override the file.
    variables: Variables,
}

/// A TOML table that is being read. Each read takes a key; the keys that remain at the end are unknown.
pub(crate) struct Section<'a, 's> {
    source: &'s TomlSource<'a>,
    /// The section's name in messages: `[tables.order]`.
    name: String,
    span: Range<usize>,
    entries: Vec<(String, Range<usize>, &'s Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
    has_any: bool,
    /// The variables that may override its keys; `None` if they must not be overridden.
    overrides: Option<OverridePrefix>,
    /// Whether the section, or a key of it, is set in the file or in a variable that was read.
    is_given: bool,
}

/// A value with its span.
#[derive(Clone, Debug)]
pub(crate) struct SpannedValue<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<'a> TomlSource<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str, toml: Range<usize>) -> (Self, Spanned<DeTable<'a>>) {
        let (table, errors) = DeTable::parse_recoverable(&text[toml.clone()]);
        let findings = RefCell::new(Vec::new());
        let source = Self { path, text, offset: toml.start, findings, variables: Variables::default() };
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().trim().replace('\n', ", ");
            source.report(&span, format!("not valid TOML: {message}"), None);
        }
        (source, table)
    }

    /// Sets the environment variables that override the file.
    pub(crate) fn with_variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    pub(crate) fn position(&self, span: &Range<usize>) -> Position {
        if let Some(name) = self.variables.name_at(span) {
            return Position::without_line(name);
        }
        Position::at_byte(self.path, self.text, self.offset + span.start)
    }

    pub(crate) fn report(&self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        let finding = Finding { position: self.position(span), message: message.into(), help };
        self.findings.borrow_mut().push(finding);
    }

    /// Reports a finding at a known position.
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
        source: &'s TomlSource<'a>,
        name: impl Into<String>,
        span: Range<usize>,
        table: &'s DeTable<'a>,
    ) -> Self {
        let mut entries =
            table.iter().map(|(key, value)| (key.get_ref().to_string(), key.span(), value)).collect::<Vec<_>>();
        // Keep the order of the file for parameters and findings.
        entries.sort_by_key(|(_, span, _)| span.start);
        let has_any = !entries.is_empty();
        Self { source, name: name.into(), span, entries, known: Vec::new(), has_any, overrides: None, is_given: true }
    }

    /// The whole file, whose sections can be overridden by environment variables.
    pub(crate) fn root(source: &'s TomlSource<'a>, table: &'s DeTable<'a>) -> Self {
        Self { overrides: Some(OverridePrefix::root()), ..Self::new(source, "the file", 0..0, table) }
    }

    pub(crate) fn source(&self) -> &'s TomlSource<'a> {
        self.source
    }

    pub(crate) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The section's name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it had any key, known or not.
    pub(crate) fn has_any(&self) -> bool {
        self.has_any
    }

    /// Whether the key is set, even to an invalid value: an invalid value is not a missing one.
    pub(crate) fn has(&self, key: &str) -> bool {
        let overrides = || self.source.variables.find(&self.overrides.as_ref()?.variable(key));
        self.entries.iter().any(|(name, _, _)| name == key) || overrides().is_some()
    }

    /// Whether the section, or a key of it that was read, is set.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// The text of the variable that overrides the key, if there is one.
    fn variable(&mut self, key: &'static str) -> Option<SpannedValue<String>> {
        let overrides = self.overrides.as_ref()?;
        let variables = &self.source.variables;
        let name = overrides.variable(key);
        let Some((value, span)) = variables.find(&name) else {
            let origin = if self.has(key) { ValueOrigin::File } else { ValueOrigin::Default };
            variables.record_read(overrides.path(), key, origin);
            return None;
        };
        variables.record_read(overrides.path(), key, ValueOrigin::Variable(name));
        // Take the key from the file unread, so that it is not reported as unknown.
        self.take(key);
        self.is_given = true;
        Some(SpannedValue { value: value.to_owned(), span })
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'s Spanned<DeValue<'a>>> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _, _)| name == key)?;
        Some(self.entries.remove(at).2)
    }

    pub(crate) fn string(&mut self, key: &'static str) -> Option<SpannedValue<String>> {
        if let Some(variable) = self.variable(key) {
            return Some(variable);
        }
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(SpannedValue { value: text.to_string(), span: value.span() }),
            other => self.mistyped(key, "a string", other, value.span()),
        }
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<SpannedValue<bool>> {
        if let Some(SpannedValue { value, span }) = self.variable(key) {
            return match value.parse() {
                Ok(value) => Some(SpannedValue { value, span }),
                Err(_) => self.misread(key, "`true` or `false`", &value, span),
            };
        }
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(SpannedValue { value: *boolean, span: value.span() }),
            other => self.mistyped(key, "`true` or `false`", other, value.span()),
        }
    }

    /// Reads a whole number within `range`.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<SpannedValue<u64>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        if let Some(SpannedValue { value, span }) = self.variable(key) {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            return match value.parse().ok().filter(|integer| is_number && range.contains(integer)) {
                Some(value) => Some(SpannedValue { value, span }),
                None => self.misread(key, &expected, &value, span),
            };
        }
        let value = self.take(key)?;
        let integer = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match integer.filter(|integer| range.contains(integer)) {
            Some(integer) => Some(SpannedValue { value: integer, span: value.span() }),
            None => self.mistyped(key, &expected, value.get_ref(), value.span()),
        }
    }

    /// Reads a number within `range`, with or without a fraction.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<SpannedValue<f64>> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let fitting = |text: &str| text.parse::<f64>().ok().filter(|number| range.contains(number));
        if let Some(SpannedValue { value, span }) = self.variable(key) {
            return match fitting(&value) {
                Some(value) => Some(SpannedValue { value, span }),
                None => self.misread(key, &expected, &value, span),
            };
        }
        let value = self.take(key)?;
        let number = match value.get_ref() {
            DeValue::Float(number) => fitting(number.as_str()),
            DeValue::Integer(number) => fitting(number.as_str()),
            _ => None,
        };
        match number {
            Some(number) => Some(SpannedValue { value: number, span: value.span() }),
            None => self.mistyped(key, &expected, value.get_ref(), value.span()),
        }
    }

    /// Reads a list of strings; a variable separates them with commas.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<SpannedValue<Vec<SpannedValue<String>>>> {
        if let Some(SpannedValue { value, span }) = self.variable(key) {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            let value = items.map(|item| SpannedValue { value: item.to_owned(), span: span.clone() }).collect();
            return Some(SpannedValue { value, span });
        }
        let value = self.take(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.mistyped(key, "a list of strings", value.get_ref(), value.span());
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push(SpannedValue { value: text.to_string(), span: item.span() }),
                other => return self.mistyped(key, "a list of strings", other, item.span()),
            }
        }
        Some(SpannedValue { value: strings, span: value.span() })
    }

    /// Reads a list of strings that is policy, so only the file can set it.
    pub(crate) fn policy_strings(&mut self, key: &'static str) -> Option<SpannedValue<Vec<SpannedValue<String>>>> {
        let overrides = self.overrides.take();
        let strings = self.strings(key);
        self.overrides = overrides;
        strings
    }

    /// Reads a nested table. If variables can override this one, they can override the nested one too, and a single
    /// such variable is enough for it to exist.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Section<'a, 's>> {
        let overrides = self.overrides.as_ref().map(|overrides| overrides.below(key));
        let Some(value) = self.take(key) else {
            let overrides = overrides?;
            self.source.variables.record_absent(overrides.path());
            let span = self.source.variables.first_of(&overrides)?;
            let (name, source) = (self.child_name(key), self.source);
            let (entries, known, overrides) = (Vec::new(), Vec::new(), Some(overrides));
            return Some(Section { source, name, span, entries, known, has_any: true, overrides, is_given: false });
        };
        match value.get_ref() {
            DeValue::Table(table) => {
                let section = Section::new(self.source, self.child_name(key), value.span(), table);
                Some(Section { overrides, ..section })
            }
            other => self.mistyped(key, "a table", other, value.span()),
        }
    }

    /// Reads a nested table that is policy, so only the file can set it.
    pub(crate) fn policy_section(&mut self, key: &'static str) -> Option<Section<'a, 's>> {
        let overrides = self.overrides.take();
        let section = self.section(key);
        self.overrides = overrides;
        section
    }

    /// Reads an array of tables.
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

    /// Takes all remaining entries as tables with arbitrary names.
    pub(crate) fn named_sections(mut self) -> Vec<(SpannedValue<String>, Section<'a, 's>)> {
        let mut sections = Vec::new();
        for (key, span, value) in std::mem::take(&mut self.entries) {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let section = Section::new(self.source, self.child_name(&key), value.span(), table);
                    sections.push((SpannedValue { value: key, span }, section));
                }
                other => {
                    self.mistyped::<()>(&key, "a table", other, value.span());
                }
            }
        }
        sections
    }

    /// Takes all remaining entries as strings with arbitrary names.
    pub(crate) fn named_strings(mut self) -> Vec<(SpannedValue<String>, SpannedValue<String>)> {
        let mut strings = Vec::new();
        for (key, span, value) in std::mem::take(&mut self.entries) {
            match value.get_ref() {
                DeValue::String(text) => {
                    let text = SpannedValue { value: text.to_string(), span: value.span() };
                    strings.push((SpannedValue { value: key, span }, text));
                }
                other => {
                    self.mistyped::<()>(&key, "a string", other, value.span());
                }
            }
        }
        strings
    }

    /// Takes all remaining entries as values with arbitrary names.
    pub(crate) fn named_values(mut self) -> Vec<(SpannedValue<String>, &'s Spanned<DeValue<'a>>)> {
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().map(|(key, span, value)| (SpannedValue { value: key, span }, value)).collect()
    }

    /// Reports the keys that were not read.
    pub(crate) fn finish(self) {
        for (key, span, _) in &self.entries {
            let help = suggest_or_list(key, self.known.iter().copied());
            self.source.report(span, format!("unknown key `{key}` in {}", self.name), Some(help));
        }
    }

    fn child_name(&self, key: &str) -> String {
        // A table below an array of tables is written like any other nested table.
        match self.name.starts_with('[') {
            true => format!("[{}.{key}]", self.name.trim_matches(['[', ']'])),
            false => format!("[{key}]"),
        }
    }

    fn misread<T>(&self, key: &str, expected: &str, got: &str, span: Range<usize>) -> Option<T> {
        let message = format!("`{key}` in {} must be {expected}, not `{got}`", self.name);
        self.source.report(&span, message, None);
        None
    }

    fn mistyped<T>(&self, key: &str, expected: &str, got: &DeValue<'_>, span: Range<usize>) -> Option<T> {
        let message = format!("`{key}` in {} must be {expected}, not {}", self.name, describe(got));
        self.source.report(&span, message, None);
        None
    }
}

/// Describes a value for a message.
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
