//! Environment variables that override keys of a project file: `LAKEGATE_SERVER_TIMEOUT_SECONDS` overrides
//! `timeout_seconds` of `[server]`.
//!
//! Reads no environment: the variables are an argument. The readers of the sections decide which keys can be
//! overridden. Policy is code, so tables, tags, masks and issuers cannot.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::finding::{Finding, Position, suggestion};

/// The prefix of all variables.
pub const VARIABLE_PREFIX: &str = "LAKEGATE_";

/// Variables that do not stand for a key: those for command options and the log.
pub const OWN_VARIABLES: &[&str] = &[
    "LAKEGATE_ADMIN_LISTEN",
    "LAKEGATE_LAKE",
    "LAKEGATE_LISTEN",
    "LAKEGATE_LOG",
    "LAKEGATE_MASK_KEY",
    "LAKEGATE_PROJECT",
    "LAKEGATE_STORE",
    "LAKEGATE_URL",
];

/// Sections that only the file can set.
const POLICY: [&str; 4] = ["TABLES", "TAGS", "MASKING", "ISSUERS"];

/// The origin of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The key is not set.
    Default,
    /// `lakegate.toml`.
    File,
    /// The environment variable of this name.
    Variable(String),
}

/// The variables, and which of them were used.
#[derive(Default)]
pub(super) struct Variables {
    /// Name and value, ordered by name.
    all: Vec<(String, String)>,
    /// The start of the variables' spans, behind the end of the file.
    base: usize,
    /// The overridable keys that were read, with the path of their section and the origin of their value.
    keys: RefCell<BTreeMap<(String, &'static str), ValueOrigin>>,
    /// The paths of sections that were read but are set nowhere.
    absent: RefCell<BTreeSet<String>>,
}

/// The variables of a section's keys.
#[derive(Clone)]
pub(super) struct OverridePrefix {
    prefix: String,
    path: String,
}

impl OverridePrefix {
    pub(super) fn root() -> Self {
        Self { prefix: VARIABLE_PREFIX.to_owned(), path: String::new() }
    }

    /// The variables of a nested section.
    pub(super) fn below(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { prefix: format!("{}_", self.variable(key)), path: format!("{}{dot}{key}", self.path) }
    }

    /// The path of the section, as in `http.tls`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The name of the variable for a key.
    pub(super) fn variable(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.to_ascii_uppercase())
    }
}

impl Variables {
    /// Selects the variables that may stand for a key. `file_length` is the length of the file in bytes.
    pub(super) fn new(variables: &BTreeMap<String, String>, file_length: usize) -> Self {
        let is_for_keys = |name: &str| name.starts_with(VARIABLE_PREFIX) && !OWN_VARIABLES.contains(&name);
        let all = variables.iter().filter(|(name, _)| is_for_keys(name));
        let all = all.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { all, base: file_length + 1, ..Self::default() }
    }

    pub(super) fn find(&self, name: &str) -> Option<(&str, Range<usize>)> {
        let at = self.all.iter().position(|(known, _)| known == name)?;
        Some((&self.all[at].1, self.span(at)))
    }

    /// The span of the first variable of a section or of a nested one.
    pub(super) fn first_of(&self, section: &OverridePrefix) -> Option<Range<usize>> {
        let at = self.all.iter().position(|(name, _)| name.starts_with(&section.prefix))?;
        Some(self.span(at))
    }

    fn span(&self, at: usize) -> Range<usize> {
        self.base + at..self.base + at + 1
    }

    /// The name of the variable at a span; `None` if the span is in the file.
    pub(super) fn name_at(&self, span: &Range<usize>) -> Option<&str> {
        let at = span.start.checked_sub(self.base)?;
        self.all.get(at).map(|(name, _)| name.as_str())
    }

    /// Records that a key was read, and the origin of its value.
    pub(super) fn record_read(&self, section: &str, key: &'static str, origin: ValueOrigin) {
        self.keys.borrow_mut().insert((section.to_owned(), key), origin);
    }

    /// Records that a section was read but is set nowhere.
    pub(super) fn record_absent(&self, section: &str) {
        self.absent.borrow_mut().insert(section.to_owned());
    }

    /// The keys and sections that were read.
    pub(super) fn read_keys(&self) -> ReadKeys {
        ReadKeys { keys: self.keys.borrow().clone(), absent: self.absent.borrow().clone() }
    }

    /// The findings for unused variables. `also` holds the names that have a meaning in this project, and `keys` the
    /// variables of all keys.
    pub(super) fn unknown(&self, also: &[&str], keys: &BTreeSet<String>) -> Vec<Finding> {
        let taken = self.keys.borrow();
        let is_taken =
            |name: &str| taken.values().any(|origin| matches!(origin, ValueOrigin::Variable(taken) if taken == name));
        let names = self.all.iter().map(|(name, _)| name.as_str());
        let unknown = names.filter(|name| !is_taken(name) && !also.contains(name) && !is_of_kubernetes(name));
        unknown.map(|name| unknown_variable(name, keys)).collect()
    }
}

/// The keys and sections that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadKeys {
    pub(super) keys: BTreeMap<(String, &'static str), ValueOrigin>,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test asks whether the list of settings is complete"))]
    pub(super) absent: BTreeSet<String>,
}

fn unknown_variable(name: &str, keys: &BTreeSet<String>) -> Finding {
    let section = name[VARIABLE_PREFIX.len()..].split('_').next().unwrap_or_default();
    if POLICY.contains(&section) {
        let message = format!("`[{}]` is not overridden by variables, because policy is code", section.to_lowercase());
        return Finding::new(Position::without_line(name), message).help("write it into `lakegate.toml`");
    }
    let finding = Finding::new(Position::without_line(name), "no key or option has this variable, so it has no effect");
    let known = keys.iter().map(String::as_str).chain(OWN_VARIABLES.iter().copied()).collect::<Vec<_>>();
    // All names share a prefix, so an unrelated short name may be nearer by edit distance than the longer name that was
    // meant.
    let longer = known.iter().copied().find(|known| known.starts_with(name));
    match longer.or_else(|| suggestion(name, known)) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help("`lakegate config` lists the keys; `[server] listen` is `LAKEGATE_SERVER_LISTEN`"),
    }
}

/// Kubernetes sets such variables for a service named `lakegate`.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = &name[VARIABLE_PREFIX.len()..];
    rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest == "PORT" || rest.starts_with("PORT_")
}
