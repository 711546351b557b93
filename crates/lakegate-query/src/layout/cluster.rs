//! Chooses the clustering columns of a table: first the key by which its policy finds rows, then the range that
//! endpoints filter by. A table that is governed through a parent is clustered like the parent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::wants::{Endpoints, Key, Wants};

/// A clustering column: a column of the table, or one of a parent that its policy refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterColumn {
    /// The parents on the path to the column; empty for a column of the table itself.
    pub through: Vec<String>,
    /// The name of the column.
    pub column: String,
}

impl ClusterColumn {
    /// A column of the table itself.
    pub fn own(column: impl Into<String>) -> Self {
        Self { through: Vec::new(), column: column.into() }
    }

    /// Parses `column` or `parent.column`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let column = parts.pop().unwrap_or_default();
        Self { through: parts, column }
    }
}

impl fmt::Display for ClusterColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.through.iter().try_for_each(|table| write!(f, "{table}."))?;
        f.write_str(&self.column)
    }
}

/// The clustering columns of a table, and the reasons for them.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) by: Vec<ClusterColumn>,
    pub(super) reasons: Vec<String>,
}

/// Chooses the columns of a table. `is_one(table, column)` is whether each value occurs in one row only.
pub(super) fn choose(table: &str, wants: &BTreeMap<String, Wants>, is_one: &dyn Fn(&str, &str) -> bool) -> Cluster {
    let mut cluster = Cluster::default();
    let Some(own) = wants.get(table) else { return cluster };
    match &own.key {
        Some(Key::Own { column, attribute }) => {
            cluster.by.push(ClusterColumn::own(column));
            cluster.reasons.push(format!("its row filter finds rows by `{column}` = principal('{attribute}')"));
        }
        Some(Key::Through { column, parent, parent_column }) => {
            if let Some(reason) = like_parent(column, parent, parent_column, wants, is_one, &mut cluster) {
                cluster.reasons.push(reason);
            }
        }
        None => {}
    }
    if let Some((column, endpoints)) = most_asked(&own.ranges) {
        let added = ClusterColumn::own(column);
        if !cluster.by.contains(&added) {
            cluster.by.push(added);
            cluster.reasons.push(format!("{} for a range of `{column}`", asked(endpoints)));
        }
    }
    if cluster.by.is_empty()
        && let Some((column, endpoints)) = most_asked(&own.equals).or_else(|| most_asked(&own.joins))
    {
        cluster.by.push(ClusterColumn::own(column));
        cluster.reasons.push(format!("{} for values of `{column}`", asked(endpoints)));
    }
    cluster
}

/// Adds the clustering columns of the parent. Returns the reason to report, if any.
fn like_parent(
    column: &str,
    parent: &str,
    parent_column: &str,
    wants: &BTreeMap<String, Wants>,
    is_one: &dyn Fn(&str, &str) -> bool,
    cluster: &mut Cluster,
) -> Option<String> {
    if !is_one(parent, parent_column) {
        return Some(format!(
            "several rows of `{parent}` lead to one row, which so is of several callers: no order keeps theirs together"
        ));
    }
    let above = choose(parent, wants, is_one);
    let first = above.by.first()?;
    if first.through.is_empty() && first.column == parent_column {
        // The parent is clustered by the column that the child refers to.
        cluster.by.push(ClusterColumn::own(column));
        return Some(format!("its row filter finds rows by `{column}`, which is the key of `{parent}`"));
    }
    for step in above.by {
        let through = std::iter::once(parent.to_owned()).chain(step.through).collect();
        cluster.by.push(ClusterColumn { through, column: step.column });
    }
    cluster.by.push(ClusterColumn::own(column));
    Some(format!(
        "its row filter leads by `{column}` to `{parent}`: rows of one caller lie together when both are in one order"
    ))
}

/// The column that the most endpoints filter by.
fn most_asked(columns: &BTreeMap<String, Endpoints>) -> Option<(&String, &Endpoints)> {
    columns.iter().max_by_key(|(name, endpoints)| (endpoints.len(), std::cmp::Reverse(*name)))
}

/// "2 endpoints ask", or the name of the only one.
fn asked(endpoints: &BTreeSet<String>) -> String {
    match endpoints.iter().next().filter(|_| endpoints.len() == 1) {
        Some(only) => format!("`{only}` asks"),
        None => format!("{} endpoints ask", endpoints.len()),
    }
}
