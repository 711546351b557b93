//! Parses `[tests.expect]`: the expected outcome of a call.

use serde_json::{Map, Value as Json};

use super::{Positioned, toml_json};
use crate::error::{CODES, Code};
use crate::project::finding::{Position, suggest_or_list};
use crate::project::reader::{Section, SpannedValue};

/// The largest integer in TOML.
const MOST: u64 = i64::MAX as u64;

/// The expected outcome of a call; every expectation must hold.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Position of the section.
    pub position: Position,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The code of the refusal.
    pub code: Option<Code>,
    /// A text that the detail of the refusal, or of one of its errors, contains.
    pub detail_contains: Option<String>,
    /// Number of rows.
    pub rows: Option<u64>,
    /// Minimum number of rows.
    pub min_rows: Option<u64>,
    /// Maximum number of rows.
    pub max_rows: Option<u64>,
    /// The columns of the result, in this order.
    pub columns: Option<Vec<String>>,
    /// Columns that are not in the result.
    pub absent: Vec<String>,
    /// Columns that are in the result and computed from masked values.
    pub masked: Vec<String>,
    /// Columns that are in the result and computed from unmasked values only.
    pub unmasked: Vec<String>,
    /// A SQL predicate over the result's columns that is true for each row.
    pub only_rows_where: Option<Positioned>,
    /// All rows in order, each with the columns to compare.
    pub values: Option<Vec<Map<String, Json>>>,
    /// Rows that the result contains, each with the columns to compare.
    pub contains: Vec<Map<String, Json>>,
}

impl Expectation {
    /// Whether an expectation concerns rows, so that the call must succeed.
    pub fn is_about_rows(&self) -> bool {
        let counts = [self.rows, self.min_rows, self.max_rows];
        let lists = [&self.absent, &self.masked, &self.unmasked];
        counts.iter().any(Option::is_some)
            || lists.iter().any(|list| !list.is_empty())
            || self.columns.is_some()
            || self.only_rows_where.is_some()
            || self.values.is_some()
            || !self.contains.is_empty()
    }

    /// Whether the call must return rows.
    pub fn is_answer(&self) -> bool {
        self.status == Some(200) || self.is_about_rows()
    }

    fn is_about_refusal(&self) -> bool {
        self.code.is_some() || self.detail_contains.is_some() || self.status.is_some_and(|status| status != 200)
    }
}

/// Reads the section, and reports expectations that can never hold.
pub(super) fn read(mut section: Section<'_, '_>) -> Expectation {
    let source = section.source();
    let span = section.span().clone();
    let status = section.integer("status", 200..=599).map(|status| status.value as u16);
    let code = section.string("code").and_then(|code| {
        let known = CODES.iter().copied().find(|known| known.name() == code.value);
        if known.is_none() {
            let help = match suggest_or_list(&code.value, CODES.iter().map(|code| code.name())) {
                near if near.starts_with("did you mean") => near,
                _ => "docs/errors.md has all codes".to_owned(),
            };
            source.report(&code.span, format!("there is no error code `{}`", code.value), Some(help));
        }
        known
    });
    let detail_contains = section.string("detail_contains").map(|text| text.value);
    let rows = section.integer("rows", 0..=MOST).map(|rows| rows.value);
    let min_rows = section.integer("min_rows", 0..=MOST).map(|rows| rows.value);
    let max_rows = section.integer("max_rows", 0..=MOST).map(|rows| rows.value);
    let columns = section.strings("columns");
    let columns = names(&section, "columns", columns);
    let absent = section.strings("absent");
    let absent = names(&section, "absent", absent).unwrap_or_default();
    let masked = section.strings("masked");
    let masked = names(&section, "masked", masked).unwrap_or_default();
    let unmasked = section.strings("unmasked");
    let unmasked = names(&section, "unmasked", unmasked).unwrap_or_default();
    let only_rows_where = section.string("only_rows_where").map(|text| Positioned::from_spanned(source, text));
    let has_values = section.has("values");
    let values = section.sections("values");
    let values = values.into_iter().map(|row| toml_json::members(source, row)).collect::<Vec<_>>();
    let has_contains = section.has("contains");
    let contains = section.sections("contains");
    let contains = contains.into_iter().map(|row| toml_json::members(source, row)).collect::<Vec<_>>();
    let said_anything = section.has_any();
    section.finish();

    let expectation = Expectation {
        position: source.position(&span),
        status,
        code,
        detail_contains,
        rows,
        min_rows,
        max_rows,
        columns,
        absent,
        masked,
        unmasked,
        only_rows_where,
        values: has_values.then_some(values),
        contains,
    };
    let report = |message: &str, help: &str| source.report(&span, message, Some(help.to_owned()));
    if !said_anything {
        report(
            "`[tests.expect]` is empty, and a test that expects nothing proves nothing",
            "say for example `status = 200`",
        );
    }
    let empty_row = |rows: &[Map<String, Json>]| rows.iter().any(Map::is_empty);
    if (has_contains && expectation.contains.is_empty())
        || empty_row(&expectation.contains)
        || expectation.values.as_deref().is_some_and(empty_row)
    {
        report("a row of `values` or `contains` names no column", "name at least one column of each row");
    }
    if expectation.is_about_rows() && expectation.is_about_refusal() {
        report("a refusal has no rows, and both are expected", "keep what is about rows, or what is about the refusal");
    }
    if expectation.status == Some(200) && (expectation.code.is_some() || expectation.detail_contains.is_some()) {
        report(
            "an answer with status 200 has no `code` and no `detail_contains`",
            "remove them, or expect another status",
        );
    }
    if rows.is_some() && (min_rows.is_some() || max_rows.is_some()) {
        report("`rows` is the exact number, so `min_rows` and `max_rows` say nothing more", "keep one of them");
    }
    if min_rows.zip(max_rows).is_some_and(|(least, most)| least > most) {
        report("`min_rows` is more than `max_rows`", "write the smaller number as `min_rows`");
    }
    let both = |one: &[String], other: &[String]| one.iter().find(|name| other.contains(name)).cloned();
    let shown = [&expectation.masked[..], &expectation.unmasked, expectation.columns.as_deref().unwrap_or_default()];
    let contradiction = both(&expectation.masked, &expectation.unmasked)
        .or_else(|| shown.iter().find_map(|names| both(names, &expectation.absent)));
    if let Some(name) = contradiction {
        report(&format!("contrary things are expected of column `{name}`"), "keep one of them");
    }
    expectation
}

fn names(
    section: &Section<'_, '_>,
    key: &str,
    list: Option<SpannedValue<Vec<SpannedValue<String>>>>,
) -> Option<Vec<String>> {
    let list = list?;
    if list.value.is_empty() {
        let help = "name a column, or leave it out";
        section.source().report(&list.span, format!("`{key}` names no column"), Some(help.to_owned()));
    }
    Some(list.value.into_iter().map(|name| name.value).collect())
}
