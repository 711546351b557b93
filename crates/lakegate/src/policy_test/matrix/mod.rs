//! The access matrix: the columns, masks, rows and rules for each subject and endpoint, and its difference from the
//! saved matrix.
//!
//! It is derived from grants and policies only. No query runs, and the matrix ignores what a query computes.

mod compare;
mod compute;
mod denial;
mod rules;
mod saved;

use std::collections::{BTreeMap, BTreeSet};

use lakegate_core::access::Terms;
use serde::{Deserialize, Serialize};

pub use compare::{Comparison, MatrixChange, compare};
pub use compute::{compute, subjects};
pub use denial::MatrixDenial;
pub use saved::{MATRIX_FILE, SavedError, load, save};

/// The kind of subjects in a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// Every role that a grant, a principal or `unfiltered_for` names, as a principal with only that role.
    Role,
    /// Every principal.
    Principal,
}

/// An access matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The kind of subjects.
    pub by: SubjectKind,
    /// Keyed by subject and then by endpoint. Endpoints that a subject may not call are left out.
    pub subjects: BTreeMap<String, BTreeMap<String, Cell>>,
    /// The denials, if the subjects are roles. No cell shows what a denial for one role takes from principals that have
    /// another role as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<MatrixDenial>,
}

/// The most that a subject can get of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The columns.
    pub columns: BTreeSet<String>,
    /// The columns that derive from masked ones, with their masks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<String, BTreeSet<String>>,
    /// The rows of each table: `shared`, `unfiltered`, or `filtered: ` and the filter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, String>,
    /// The maximum number of rows in a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// The minimum number of subjects in a group of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group_size: Option<u64>,
    /// The terms of each grant, if one of them has rules for arguments, because a grant applies only to arguments that
    /// it admits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Terms>,
    /// The attributes that a row filter needs and the principal lacks. Its calls are refused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<String>,
}

/// All rows are visible to every caller.
const SHARED: &str = "shared";
/// All rows are visible because of a role.
const UNFILTERED: &str = "unfiltered";
/// The prefix of a filter's text.
const FILTERED: &str = "filtered: ";

impl Matrix {
    /// The access of a subject to an endpoint; `None` if it has none.
    pub fn cell(&self, subject: &str, endpoint: &str) -> Option<&Cell> {
        self.subjects.get(subject)?.get(endpoint)
    }
}

impl Cell {
    /// A short description; `all_columns` is the number of columns of the endpoint.
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
