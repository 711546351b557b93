//! Analyses how tables are laid out on disk and recommends clustering for the project's queries.
//!
//! `advise` only analyses; `rewrite` rewrites a table in a new layout. Both report numbers of rows, never their values.

mod checksum;
mod cluster;
mod files;
mod order;
mod query;
mod rewrite;
#[cfg(test)]
mod tests;
mod wants;

use std::collections::BTreeMap;

use datafusion::common::{DataFusionError, Result};
use lakegate_core::error::Error;
use serde::Serialize;

pub use cluster::ClusterColumn;
pub use rewrite::{Rewrite, RewriteError, RowProgress, can_rewrite, rewrite};

use crate::engine::failure;
use crate::lake::LakeTable;
use crate::plan::PlannedProject;
use cluster::Cluster;
use files::Present;
use query::{numbers, quoted};
use wants::{Key, Wants};

/// Rows per page, the unit that a reader can skip inside a row group.
pub const PAGE_ROWS: usize = 2_000;
/// The minimum and maximum of rows in a row group, and the maximum of row groups in a table.
const GROUP_ROWS: (u64, u64) = (20_000, 1_000_000);
const MOST_GROUPS: u64 = 2_000;
/// Below this many rows, a full scan is faster than a lookup.
const SMALL_ROWS: u64 = 40_000;
/// Smaller files should be merged; in bytes.
const SMALL_FILE: u64 = 16 << 20;
/// The share of a column's range that a typical request reads.
const TYPICAL_RANGE: f64 = 0.1;

/// The advice for one table.
#[derive(Clone, Debug, Serialize)]
pub struct TableAdvice {
    /// The name of the table.
    pub table: String,
    /// The format of its files: `parquet` or `text`.
    pub format: String,
    /// The number of files.
    pub files: usize,
    /// The total size of the files, in bytes.
    pub bytes: u64,
    /// The number of rows, if the files record it.
    pub rows: Option<u64>,
    /// The number of row groups; 0 for text.
    pub row_groups: usize,
    /// Whether readers can skip pages inside a row group.
    pub page_index: bool,
    /// The recommended clustering columns, in this order.
    #[serde(serialize_with = "as_texts")]
    pub cluster_by: Vec<ClusterColumn>,
    /// The reasons for these columns.
    pub reasons: Vec<String>,
    /// How well the table is sorted by the first of these columns, from 0 to 1; `None` if its statistics are unknown.
    pub sorted: Option<f64>,
    /// The recommended number of rows in a row group.
    pub row_group_rows: u64,
    /// The columns for which queries would use a Bloom filter.
    pub bloom_filters: Vec<String>,
    /// The row groups that a typical request reads.
    pub reads: Option<Reads>,
    /// The recommended actions, most useful first; empty if the layout is good.
    pub to_do: Vec<String>,
}

impl TableAdvice {
    /// Whether `lakegate optimize` can do any of the actions. The author of the project must do the others.
    pub fn is_for_optimize(&self) -> bool {
        self.to_do.iter().any(|to_do| to_do.contains("`lakegate optimize"))
    }
}

/// The number of row groups that a typical request reads.
#[derive(Clone, Debug, Serialize)]
pub struct Reads {
    /// The typical request, in words.
    pub request: String,
    /// The mean number of row groups that it reads now.
    pub now: f64,
    /// The number of row groups now.
    pub now_of: u64,
    /// The number of row groups that hold its rows after a rewrite.
    pub after: f64,
    /// The number of row groups after a rewrite.
    pub after_of: u64,
    /// Whether statistics skip the other row groups. They do not, if rows are found through another table.
    pub skips: bool,
}

fn as_texts<S: serde::Serializer>(columns: &[ClusterColumn], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(columns.iter().map(ToString::to_string))
}

/// The number of rows of a table, and of distinct values of a key column.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    rows: u64,
    distinct: u64,
}

/// The counts of each key, by table and column.
type Counts = BTreeMap<(String, String), Counted>;

/// Analyses all tables, or only the one named, in the order of their names.
///
/// # Errors
/// If files cannot be read.
pub async fn advise(
    project: &PlannedProject,
    only: Option<&str>,
    progress: &(dyn Fn(&str, u64, u64) + Sync),
) -> std::result::Result<Vec<TableAdvice>, Error> {
    let wants = wants::of(project).map_err(failure)?;
    let counts = counts(project, &wants).await.map_err(failure)?;
    let is_one = |table: &str, column: &str| {
        counts.get(&(table.to_owned(), column.to_owned())).is_none_or(|count| count.distinct * 10 >= count.rows * 9)
    };
    let mut advice = Vec::new();
    let all = project.tables().len() as u64;
    for (table, at) in project.tables().iter().zip(1..) {
        progress(table.name(), at, all);
        if only.is_some_and(|only| only != table.name()) {
            continue;
        }
        let cluster = cluster::choose(table.name(), &wants, &is_one);
        let present = present(project, table).await.map_err(failure)?;
        advice.push(of_table(table, &wants, cluster, present, &counts));
    }
    Ok(advice)
}

/// Counts the distinct values of policy keys, and of the columns that other tables refer to.
async fn counts(project: &PlannedProject, wants: &BTreeMap<String, Wants>) -> Result<Counts> {
    let mut counts = Counts::new();
    for (table, wants) in wants {
        let (named, column) = match &wants.key {
            Some(Key::Own { column, .. }) => (table, column),
            Some(Key::Through { parent, parent_column, .. }) => (parent, parent_column),
            None => continue,
        };
        let key = (named.clone(), column.clone());
        if counts.contains_key(&key) {
            continue;
        }
        let (name, column) = (quoted(named), quoted(column));
        let sql = format!("SELECT count({column}), approx_distinct({column}) FROM {name}");
        let found = numbers(project.session(), &sql).await?;
        let number = |at: usize| found.get(at).and_then(|count| u64::try_from(*count).ok()).unwrap_or(0);
        counts.insert(key, Counted { rows: number(0), distinct: number(1).max(1) });
    }
    Ok(counts)
}

async fn present(project: &PlannedProject, table: &LakeTable) -> Result<Present> {
    let objects = table.objects().cloned().collect::<Vec<_>>();
    let is_parquet = table.is_parquet();
    if !is_parquet {
        let bytes = objects.iter().map(|object| object.size).sum();
        return Ok(Present::of_text(objects.len(), bytes));
    }
    Present::read(project.lake(), objects).await.map_err(|error| DataFusionError::ParquetError(Box::new(error)))
}

fn of_table(
    table: &LakeTable,
    wants: &BTreeMap<String, Wants>,
    cluster: Cluster,
    present: Present,
    counts: &Counts,
) -> TableAdvice {
    let name = table.name();
    let own = wants.get(name);
    let Cluster { by, reasons } = cluster;
    let is_parquet = table.is_parquet();
    // The counts in footers include deleted rows, so a count of the table itself goes first.
    let told = table.rows().map(|rows| rows as u64);
    let rows = told.or_else(|| is_parquet.then(|| present.rows()));
    let counted = rows.unwrap_or(0);
    let of_caller = rows_of_caller(name, counted, wants, counts);
    let row_group_rows = group_rows(counted, of_caller);
    let is_large = counted >= SMALL_ROWS;
    let reads =
        if is_large && is_parquet { reads(own, &by, &present, counted, of_caller, row_group_rows) } else { None };
    let bloom_filters = own.map(|own| bloom_filters(own, &by, &present)).unwrap_or_default();
    let bloom_filters = if is_large { bloom_filters } else { Vec::new() };
    let first = by.first().filter(|first| first.through.is_empty());
    let sorted = first.map(|first| present.bounds(&first.column)).filter(files::Bounds::are_known);
    let mut advice = TableAdvice {
        table: name.to_owned(),
        format: if is_parquet { "parquet" } else { "text" }.to_owned(),
        files: present.files,
        bytes: present.bytes,
        rows,
        row_groups: present.groups.len(),
        page_index: is_parquet && present.has_page_index,
        cluster_by: by,
        reasons,
        sorted: sorted.map(|bounds| (bounds.order() * 100.0).round() / 100.0),
        row_group_rows,
        bloom_filters,
        reads,
        to_do: Vec::new(),
    };
    advice.to_do = to_do(&advice, own, &present, wants);
    advice
}

/// The mean number of rows of a caller; `None` if the policy has no key.
fn rows_of_caller(table: &str, rows: u64, wants: &BTreeMap<String, Wants>, counts: &Counts) -> Option<u64> {
    let mut at = table;
    for _ in 0..wants.len() {
        match wants.get(at)?.key.as_ref()? {
            Key::Own { column, .. } => {
                let count = counts.get(&(at.to_owned(), column.clone()))?;
                return Some((rows / count.distinct).max(1));
            }
            Key::Through { parent, .. } => at = parent,
        }
    }
    None
}

/// The recommended rows of a row group: about those of two callers, within the limits.
fn group_rows(rows: u64, of_caller: Option<u64>) -> u64 {
    let (least, most) = GROUP_ROWS;
    let wanted = of_caller.map_or(100_000, |rows| rows.saturating_mul(2));
    let rounded = wanted.max(rows / MOST_GROUPS).div_ceil(10_000) * 10_000;
    rounded.clamp(least, most)
}

fn reads(
    own: Option<&Wants>,
    by: &[ClusterColumn],
    present: &Present,
    rows: u64,
    of_caller: Option<u64>,
    row_group_rows: u64,
) -> Option<Reads> {
    let first = by.first()?;
    let (now_of, after_of) = (present.groups.len() as u64, rows.div_ceil(row_group_rows).max(1));
    let key = own.and_then(|own| own.key.as_ref());
    let spread = |rows: f64| (1.0 + (rows - 1.0).max(0.0) / row_group_rows as f64).min(after_of as f64);
    let (request, now, after, skips) = match (key, of_caller) {
        (Some(Key::Own { column, .. }), Some(of_caller)) => {
            let now = present.bounds(column).touched_by_a_value();
            (format!("the rows of one `{column}`"), now, spread(of_caller as f64), true)
        }
        (Some(Key::Through { parent, .. }), Some(of_caller)) => {
            // If the filter has no literals for the table's own columns, the reader skips nothing.
            let skips = first.through.is_empty();
            let now = if skips { present.bounds(&first.column).touched_by_a_value() } else { now_of as f64 };
            (format!("the rows of one caller, through `{parent}`"), now, spread(of_caller as f64), skips)
        }
        _ => {
            let bounds = present.bounds(&first.column);
            let is_range = own.is_some_and(|own| own.ranges.contains_key(&first.column));
            let (request, now, after) = match is_range {
                true => (
                    format!("a tenth of the range of `{}`", first.column),
                    bounds.share_of_a_range(TYPICAL_RANGE) * now_of as f64,
                    spread(rows as f64 * TYPICAL_RANGE),
                ),
                false => (format!("one value of `{}`", first.column), bounds.touched_by_a_value(), 1.0),
            };
            (request, now, after, true)
        }
    };
    let round = |number: f64| (number * 10.0).round() / 10.0;
    Some(Reads { request, now: round(now), now_of, after: round(after), after_of, skips })
}

/// Columns that endpoints compare with a value, and that the table is not clustered by.
fn bloom_filters(own: &Wants, by: &[ClusterColumn], present: &Present) -> Vec<String> {
    let is_first = |column: &str| by.first().is_some_and(|first| first.through.is_empty() && first.column == column);
    let columns = own.equals.keys().filter(|column| !is_first(column) && !present.has_bloom_filter(column));
    columns.cloned().collect()
}

fn to_do(advice: &TableAdvice, own: Option<&Wants>, present: &Present, wants: &BTreeMap<String, Wants>) -> Vec<String> {
    let mut to_do = Vec::new();
    let rows = advice.rows.unwrap_or(0);
    let lies_well = advice.reads.as_ref().is_none_or(|reads| match reads.skips {
        true => reads.now <= reads.after * 1.5 + 1.0,
        // Statistics cannot show this order, so rely on the note that `optimize` left in the footers.
        false => rewrite::is_noted(present, &advice.cluster_by),
    });
    let is_large = rows >= SMALL_ROWS;
    let text = advice.format == "text";
    if text && advice.bytes > SMALL_FILE {
        to_do.push("make Parquet of it with `lakegate ingest`: text is read whole for every request".to_owned());
    }
    let by = advice.cluster_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let through = advice.cluster_by.first().is_some_and(|first| !first.through.is_empty());
    if !text && is_large && !lies_well && !by.is_empty() {
        to_do.push(format!("lay it out by {by}: `lakegate optimize {}`", advice.table));
    }
    let small_files = present.files >= 8 && present.bytes / present.files as u64 <= SMALL_FILE;
    if !text && small_files {
        to_do.push(format!("put its {} small files together: `lakegate optimize {}`", present.files, advice.table));
    }
    if !text && is_large && !present.has_page_index {
        to_do
            .push("write a page index, so that readers skip inside of row groups; `lakegate optimize` does".to_owned());
    }
    let largest = present.groups.iter().map(|group| group.rows).max().unwrap_or(0);
    if is_large && largest > advice.row_group_rows * 4 {
        to_do.push(format!(
            "make its row groups smaller: the largest has {largest} rows, and {} suit it; `lakegate optimize` does",
            advice.row_group_rows
        ));
    }
    if !advice.bloom_filters.is_empty() {
        let columns = advice.bloom_filters.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
        to_do.push(format!("write bloom filters for {columns}; `lakegate optimize` does"));
    }
    if let Some(Key::Through { parent, .. }) = own.and_then(|own| own.key.as_ref()).filter(|_| is_large && through)
        && let Some(first) = advice.cluster_by.first()
    {
        to_do.push(format!(
            "carry `{}` of `{parent}` as a column, and filter by it: rows that are found through another table are not \
             skipped by bounds",
            first.column
        ));
    }
    for (endpoint, others) in own.into_iter().flat_map(|own| &own.first) {
        let filters = |table: &String| {
            let wants = wants.get(table)?;
            let mut columns = wants.ranges.iter().chain(&wants.equals);
            columns.find(|(_, endpoints)| endpoints.contains(endpoint)).map(|(column, _)| column)
        };
        let other = others.iter().find_map(|other| filters(other).map(|column| (other, column)));
        if let Some((other, column)) = other.filter(|_| is_large && filters(&advice.table).is_none()) {
            to_do.push(format!(
                "in `{endpoint}`, write `{other}` before `{}`: it is the one that is filtered, by `{column}`",
                advice.table
            ));
        }
    }
    to_do
}
