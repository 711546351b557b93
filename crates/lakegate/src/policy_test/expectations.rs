//! Compares the result of a call with a test's expectation.

use lakegate_core::error::Error;
use lakegate_core::project::{Expectation, Positioned};
use lakegate_query::answer::Answer;
use lakegate_query::govern::explain::ColumnView;
use lakegate_query::plan::PlannedProject;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::error_chain::sources;
use crate::http::status_of;

/// The maximum number of response rows to show.
const SHOWN_ROWS: usize = 3;
/// The maximum number of characters of a value to show.
const SHOWN_CHARACTERS: usize = 200;

/// A failed expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedExpectation {
    /// The key of `[tests.expect]`.
    pub expectation: &'static str,
    /// The expected value.
    pub expected: String,
    /// The actual value.
    pub came: String,
}

/// The result of a call.
pub(super) enum CallResult {
    /// Rows, and the sources of their columns.
    Answered(Answer, Vec<ColumnView>),
    /// A refusal.
    Refused(Error),
}

type Row = Map<String, Json>;

/// All failed expectations.
pub(super) fn check_expectations(
    expect: &Expectation,
    came: &CallResult,
    project: &PlannedProject,
) -> Vec<FailedExpectation> {
    let mut failures = FailedExpectations::default();
    match came {
        CallResult::Refused(error) if expect.is_answer() => failures.add("status", 200, described(error)),
        CallResult::Refused(error) => refusal(expect, error, &mut failures),
        CallResult::Answered(answer, columns) if expect.is_answer() => {
            check_rows(expect, answer, columns, project, &mut failures);
        }
        CallResult::Answered(answer, _) => {
            let came = format!("status 200 with {}", counted(answer.rows()));
            match (expect.status, expect.code) {
                (Some(status), _) => failures.add("status", status, came),
                (None, Some(code)) => failures.add("code", code.name(), came),
                (None, None) => failures.add("detail_contains", "a refusal", came),
            }
        }
    }
    failures.0
}

#[derive(Default)]
struct FailedExpectations(Vec<FailedExpectation>);

impl FailedExpectations {
    fn add(&mut self, expectation: &'static str, expected: impl ToString, came: impl Into<String>) {
        self.0.push(FailedExpectation { expectation, expected: expected.to_string(), came: came.into() });
    }
}

/// A refusal as its caller would see it. A server failure (5xx) includes the error chain, which otherwise only the log
/// has.
fn described(error: &Error) -> String {
    let said = |error: &Error| match &error.hint {
        Some(hint) => format!("{}; {hint}", error.detail),
        None => error.detail.clone(),
    };
    let errors = error.errors.iter().map(|error| format!(" ({})", said(error))).collect::<String>();
    let status = status_of(error.code);
    let first = std::error::Error::source(error).filter(|_| status >= 500);
    let causes = sources(first).map(|cause| format!("; because: {cause}")).collect::<String>();
    format!("status {status}, {}: {}{errors}{causes}", error.code.name(), said(error))
}

fn refusal(expect: &Expectation, error: &Error, failures: &mut FailedExpectations) {
    if let Some(status) = expect.status.filter(|status| *status != status_of(error.code)) {
        failures.add("status", status, described(error));
    }
    if let Some(code) = expect.code.filter(|code| *code != error.code) {
        failures.add("code", code.name(), described(error));
    }
    if let Some(text) = &expect.detail_contains
        && !std::iter::once(error).chain(&error.errors).any(|error| error.detail.contains(text))
    {
        failures.add("detail_contains", text, described(error));
    }
}

fn check_rows(
    expect: &Expectation,
    answer: &Answer,
    lineage: &[ColumnView],
    project: &PlannedProject,
    failures: &mut FailedExpectations,
) {
    let rows = answer.rows() as u64;
    let columns = answer.columns();
    if let Some(wanted) = expect.rows.filter(|wanted| *wanted != rows) {
        failures.add("rows", wanted, rows.to_string());
    }
    if let Some(least) = expect.min_rows.filter(|least| *least > rows) {
        failures.add("min_rows", format!("at least {least}"), rows.to_string());
    }
    if let Some(most) = expect.max_rows.filter(|most| *most < rows) {
        failures.add("max_rows", format!("at most {most}"), rows.to_string());
    }
    if let Some(wanted) = expect.columns.as_ref().filter(|wanted| **wanted != columns) {
        failures.add("columns", listed(wanted), listed(&columns));
    }
    let there = expect.absent.iter().filter(|name| columns.contains(name)).cloned().collect::<Vec<_>>();
    if !there.is_empty() {
        failures.add("absent", format!("none of {}", listed(&expect.absent)), listed(&there));
    }
    for (key, names, wanted) in [("masked", &expect.masked, true), ("unmasked", &expect.unmasked, false)] {
        for name in names {
            let view = lineage.iter().find(|view| view.column.name == *name).filter(|_| columns.contains(name));
            match view {
                None => {
                    failures.add(key, format!("column `{name}`"), format!("no such column, but {}", listed(&columns)))
                }
                Some(view) if view.masked.is_empty() == wanted => {
                    let sources = view.masked.iter().cloned().collect::<Vec<_>>();
                    let came = match wanted {
                        true => "made of nothing that is masked for this principal".to_owned(),
                        false => format!("made of masked {}", listed(&sources)),
                    };
                    failures.add(key, format!("column `{name}`"), came);
                }
                Some(_) => {}
            }
        }
    }
    if let Some(predicate) = &expect.only_rows_where {
        // A response without rows would satisfy every predicate, and hide a filter that removes all rows.
        let may_be_empty = expect.min_rows == Some(0) || expect.rows == Some(0);
        if rows == 0 && !may_be_empty {
            let came = "no row at all, which proves nothing; where that is right, say `min_rows = 0`";
            failures.add("only_rows_where", &predicate.text, came);
        }
        only_rows_where(predicate, answer, project, failures);
    }
    if expect.values.is_some() || !expect.contains.is_empty() {
        match records(answer, 0, usize::MAX) {
            Ok(records) => {
                if let Some(wanted) = &expect.values {
                    values(wanted, &records, failures);
                }
                contains(&expect.contains, &records, failures);
            }
            Err(unreadable) => failures.add("values", "rows", unreadable),
        }
    }
}

fn only_rows_where(
    predicate: &Positioned,
    answer: &Answer,
    project: &PlannedProject,
    failures: &mut FailedExpectations,
) {
    match answer.first_row_outside(project, &predicate.text, &predicate.position) {
        Ok(None) => {}
        Ok(Some(at)) => {
            let row = records(answer, at, 1).map(|rows| rows.first().map(shown).unwrap_or_default());
            let came = format!("row {} of {}: {}", at + 1, answer.rows(), row.unwrap_or_else(|unreadable| unreadable));
            failures.add("only_rows_where", &predicate.text, came);
        }
        Err(finding) => failures.add("only_rows_where", &predicate.text, finding.to_string()),
    }
}

fn records(answer: &Answer, from: usize, most: usize) -> Result<Vec<Row>, String> {
    let json = answer.json(from, most).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| format!("the rows cannot be read: {error}"))
}

fn values(wanted: &[Row], came: &[Row], failures: &mut FailedExpectations) {
    if let Some(at) = wanted.iter().zip(came).position(|(wanted, row)| !matches(wanted, row)) {
        let (wanted, row) = (&wanted[at], &came[at]);
        failures.add("values", format!("row {}: {}", at + 1, shown(wanted)), shown(&only(row, wanted)));
        return;
    }
    if wanted.len() != came.len() {
        let first = wanted.first();
        let rest =
            came.iter().skip(wanted.len()).map(|row| first.map_or_else(|| row.clone(), |first| only(row, first)));
        let rest = some_of(&rest.collect::<Vec<_>>());
        let rest = if rest.is_empty() { String::new() } else { format!(", beyond them {rest}") };
        failures.add("values", counted(wanted.len()), format!("{}{rest}", counted(came.len())));
    }
}

fn contains(wanted: &[Row], came: &[Row], failures: &mut FailedExpectations) {
    for wanted in wanted.iter().filter(|wanted| !came.iter().any(|row| matches(wanted, row))) {
        let near = some_of(&came.iter().take(SHOWN_ROWS + 1).map(|row| only(row, wanted)).collect::<Vec<_>>());
        let came = match came.len() {
            0 => "no rows".to_owned(),
            rows => format!("none such among {}: {near}", counted(rows)),
        };
        failures.add("contains", shown(wanted), came);
    }
}

/// Whether the row has these values.
fn matches(wanted: &Row, row: &Row) -> bool {
    wanted.iter().all(|(name, wanted)| row.get(name).is_some_and(|came| same(wanted, came)))
}

/// Whether two values are equal; numbers compare as numbers.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one == other,
            _ => one.as_f64() == other.as_f64(),
        },
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

/// The members of `row` that `wanted` has; members that the row lacks are left out.
fn only(row: &Row, wanted: &Row) -> Row {
    wanted.keys().filter_map(|name| Some((name.clone(), row.get(name)?.clone()))).collect()
}

fn shown(row: &Row) -> String {
    let cut = |value: &Json| match value {
        Json::String(text) if text.chars().count() > SHOWN_CHARACTERS => {
            format!("{}…", text.chars().take(SHOWN_CHARACTERS).collect::<String>()).into()
        }
        Json::Array(_) | Json::Object(_) if value.to_string().chars().count() > SHOWN_CHARACTERS => {
            format!("{}…", value.to_string().chars().take(SHOWN_CHARACTERS).collect::<String>()).into()
        }
        value => value.clone(),
    };
    Json::Object(row.iter().map(|(name, value)| (name.clone(), cut(value))).collect()).to_string()
}

fn some_of(rows: &[Row]) -> String {
    let more = if rows.len() > SHOWN_ROWS { ", …" } else { "" };
    let rows = rows.iter().take(SHOWN_ROWS).map(shown).collect::<Vec<_>>();
    format!("{}{more}", rows.join(", "))
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}
