//! Who may what: for each subject and endpoint the columns, masks, rows and rules, and how that differs from what was
//! saved.
//!
//! Told from grants and policies alone: no query is run, and what a query computes is not looked at.

mod compare;
mod compute;
mod denial;
mod rules;
mod saved;

use std::collections::{BTreeMap, BTreeSet};

use lakegate_core::access::Terms;
use serde::{Deserialize, Serialize};

pub use compare::{Change, Comparison, compare};
pub use compute::{compute, subjects};
pub use denial::Denial;
pub use saved::{FILE, SavedError, load, save};

/// What the subjects of a matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Every role that a grant, a principal or `unfiltered_for` names; as a principal with just that role.
    Role,
    /// Every principal.
    Principal,
}

/// A table of who may what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// What the subjects are.
    pub by: By,
    /// By the subject's name, and then by the endpoint's; an endpoint that it may not call is left out.
    pub subjects: BTreeMap<String, BTreeMap<String, Cell>>,
    /// What is taken away, where the subjects are roles: what one role takes away from whoever has another one as well
    /// shows in no cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Denial>,
}

/// What a subject gets of an endpoint at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The columns.
    pub columns: BTreeSet<String>,
    /// Of the columns that are made of masked ones: these, with their masks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<String, BTreeSet<String>>,
    /// By table: `shared`, `unfiltered`, or `filtered: ` and the filter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, String>,
    /// The most rows of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// How many subjects a group of the answer has at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group_size: Option<u64>,
    /// The terms of each grant, where one of them has rules for arguments: what one gives counts only for arguments that
    /// it admits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Terms>,
    /// The attributes that a row filter needs and the principal has not: its calls are refused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<String>,
}

/// A table whose rows are all seen, as by every caller.
const SHARED: &str = "shared";
/// A table whose rows are all seen, because of a role.
const UNFILTERED: &str = "unfiltered";
/// Before the text of a filter.
const FILTERED: &str = "filtered: ";

impl Matrix {
    /// What a subject gets of an endpoint; `None` is nothing.
    pub fn cell(&self, subject: &str, endpoint: &str) -> Option<&Cell> {
        self.subjects.get(subject)?.get(endpoint)
    }
}

impl Cell {
    /// In a few words, given how many columns the endpoint has.
    pub fn summary(&self, all_columns: usize) -> String {
        let tables_that = |is: fn(&str) -> bool| {
            let names = self.rows.iter().filter(move |(_, rows)| is(rows)).map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let is_filtered = self.rows.values().any(|rows| rows.starts_with(FILTERED));
        let unfiltered = tables_that(|rows| rows == UNFILTERED);
        let mut parts = vec![match (is_filtered, unfiltered.is_empty()) {
            (true, true) => "own rows".to_owned(),
            (true, false) => format!("own rows, all of {unfiltered}"),
            (false, false) => "all rows".to_owned(),
            (false, true) => "shared rows".to_owned(),
        }];
        if self.columns.len() < all_columns {
            parts.push(format!("{} of {all_columns} columns", self.columns.len()));
        }
        if !self.masked.is_empty() {
            parts.push(format!("{} masked", self.masked.len()));
        }
        parts.extend(self.max_rows.map(|rows| format!("rows<={rows}")));
        parts.extend(self.min_group_size.map(|least| format!("groups>={least}")));
        if !self.rules.is_empty() {
            parts.push("rules".to_owned());
        }
        if !self.lacks.is_empty() {
            let names = self.lacks.iter().map(String::as_str).collect::<Vec<_>>();
            parts.push(format!("refused: no {}", names.join(", ")));
        }
        parts.join(", ")
    }
}
