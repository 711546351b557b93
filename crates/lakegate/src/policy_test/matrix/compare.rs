//! Compares an access matrix with the saved one, and classifies which differences widen access.
//!
//! A difference counts as wider unless it is provably narrower.

use std::collections::BTreeSet;
use std::fmt;

use lakegate_query::plan::PlannedProject;
use serde::Serialize;

use super::rules::{TypeOf, is_within};
use super::{Cell, FILTERED, Matrix, denial};

/// The differences between a matrix and the saved one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Changes that widen access, or may.
    pub widened: Vec<MatrixChange>,
    /// Changes that narrow access, or only reword it.
    pub narrowed: Vec<MatrixChange>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatrixChange {
    /// The role or principal.
    pub subject: String,
    /// The endpoint; `None` if the change concerns the subject as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The change.
    pub change: String,
}

impl fmt::Display for MatrixChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{} at {endpoint}: {}", self.subject, self.change),
            None => write!(f, "{}: {}", self.subject, self.change),
        }
    }
}

/// Compares the current matrix with the saved one. Both must have the same kind of subjects.
pub fn compare(project: &PlannedProject, saved: &Matrix, current: &Matrix) -> Comparison {
    let mut comparison = Comparison::default();
    for (subject, cells) in &current.subjects {
        let change = |endpoint: Option<&str>, change: &str| MatrixChange {
            subject: subject.clone(),
            endpoint: endpoint.map(str::to_owned),
            change: change.to_owned(),
        };
        let Some(before) = saved.subjects.get(subject) else {
            let names = cells.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            match cells.is_empty() {
                true => comparison.narrowed.push(change(None, "is new, and may call nothing")),
                false => comparison.widened.push(change(None, &format!("is new, and may call {names}"))),
            }
            continue;
        };
        for (endpoint, new) in cells {
            let Some(old) = before.get(endpoint) else {
                comparison.widened.push(change(Some(endpoint), "may call it now"));
                continue;
            };
            let planned = project.find(endpoint);
            let type_of = |name: &str| Some(planned?.endpoint().param(name)?.value_type.scalar);
            let mut differences = Differences::default();
            differences.add(old, new, &type_of);
            comparison.widened.extend(differences.wider.iter().map(|text| change(Some(endpoint), text)));
            comparison.narrowed.extend(differences.narrower.iter().map(|text| change(Some(endpoint), text)));
        }
        for endpoint in before.keys().filter(|endpoint| !cells.contains_key(*endpoint)) {
            comparison.narrowed.push(change(Some(endpoint), "may not call it any more"));
        }
    }
    for subject in saved.subjects.keys().filter(|subject| !current.subjects.contains_key(*subject)) {
        let change = "is not there any more".to_owned();
        comparison.narrowed.push(MatrixChange { subject: subject.clone(), endpoint: None, change });
    }
    denial::compare(&saved.denials, &current.denials, &mut comparison);
    comparison
}

#[derive(Default)]
struct Differences {
    wider: Vec<String>,
    narrower: Vec<String>,
}

impl Differences {
    fn wider(&mut self, text: impl Into<String>) {
        self.wider.push(text.into());
    }

    fn narrower(&mut self, text: impl Into<String>) {
        self.narrower.push(text.into());
    }

    fn add(&mut self, old: &Cell, new: &Cell, type_of: TypeOf<'_>) {
        for column in new.columns.difference(&old.columns) {
            self.wider(format!("new column `{column}`{}", masked_by(new.masked.get(column))));
        }
        for column in old.columns.difference(&new.columns) {
            self.narrower(format!("column `{column}` is not given any more"));
        }
        for column in new.columns.intersection(&old.columns) {
            self.masks(column, old, new);
        }
        self.rows(old, new);
        match (old.max_rows, new.max_rows) {
            (Some(old), None) => self.wider(format!("the cap of {old} rows is gone")),
            (Some(old), Some(new)) if new > old => self.wider(format!("the cap is {new} rows, and was {old}")),
            (old, Some(new)) if old != Some(new) => self.narrower(format!("the cap is {new} rows now")),
            _ => {}
        }
        match (old.min_group_size, new.min_group_size) {
            (Some(old), None) => self.wider(format!("groups of fewer than {old} subjects are shown")),
            (Some(old), Some(new)) if new < old => {
                self.wider(format!("groups of {new} subjects are shown, and had to have {old}"));
            }
            (old, Some(new)) if old != Some(new) => self.narrower(format!("groups have {new} subjects at least now")),
            _ => {}
        }
        self.rules(old, new, type_of);
        for attribute in old.lacks.difference(&new.lacks) {
            self.wider(format!("calls are no longer refused for lack of attribute `{attribute}`"));
        }
        for attribute in new.lacks.difference(&old.lacks) {
            self.narrower(format!("calls are refused now for lack of attribute `{attribute}`"));
        }
    }

    fn masks(&mut self, column: &str, old: &Cell, new: &Cell) {
        let none = BTreeSet::new();
        let before = old.masked.get(column).unwrap_or(&none);
        let now = new.masked.get(column).unwrap_or(&none);
        if before == now {
            return;
        }
        match (before.is_empty(), now.is_empty()) {
            (false, true) => {
                self.wider(format!("column `{column}` is not masked any more; it was{}", masked_by(Some(before))));
            }
            _ if before.is_subset(now) => self.narrower(format!("column `{column}` is{} now", masked_by(Some(now)))),
            _ => self.wider(format!(
                "column `{column}` is{} now; it was{}",
                masked_by(Some(now)),
                masked_by(Some(before))
            )),
        }
    }

    fn rows(&mut self, old: &Cell, new: &Cell) {
        for (table, now) in &new.rows {
            let is_filtered = now.starts_with(FILTERED);
            match old.rows.get(table) {
                Some(before) if before == now => {}
                Some(before) if before.starts_with(FILTERED) && is_filtered => {
                    self.wider(format!("the filter of `{table}` is another one; {now}; it was {before}"));
                }
                Some(before) if before.starts_with(FILTERED) => {
                    self.wider(format!("every row of `{table}` is seen ({now}); it was {before}"));
                }
                Some(before) if is_filtered => self.narrower(format!("`{table}` is {now}; it was {before}")),
                Some(before) => self.narrower(format!("`{table}` is {now} now, and was {before}: the same rows")),
                None if is_filtered => self.narrower(format!("`{table}` is read now, {now}")),
                None => self.wider(format!("`{table}` is read now, {now}")),
            }
        }
        for table in old.rows.keys().filter(|table| !new.rows.contains_key(*table)) {
            self.narrower(format!("`{table}` is not read any more"));
        }
    }

    fn rules(&mut self, old: &Cell, new: &Cell, type_of: TypeOf<'_>) {
        if old.rules == new.rules {
            return;
        }
        if old.rules.is_empty() {
            self.narrower("there are rules for arguments now");
            return;
        }
        if new.rules.is_empty() {
            self.wider("the rules for arguments are gone");
            return;
        }
        let mut is_narrower = true;
        for terms in &new.rules {
            if !old.rules.iter().any(|old| is_within(terms, old, type_of)) {
                is_narrower = false;
                let described = serde_json::to_string(terms).unwrap_or_default();
                self.wider(format!("a grant with {described} gives more than was saved, or cannot be shown not to"));
            }
        }
        if is_narrower {
            self.narrower("the rules for arguments are narrower");
        }
    }
}

fn masked_by(masks: Option<&BTreeSet<String>>) -> String {
    match masks {
        Some(masks) if !masks.is_empty() => {
            format!(" masked by {}", masks.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}
