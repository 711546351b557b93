//! Builds the query that sorts a table's rows. It joins tables that the policy refers to, only for their sort columns.

use std::collections::BTreeMap;

use lakegate_core::project::suggest_or_list;

use super::cluster::ClusterColumn;
use super::query::quoted;
use super::wants::{Key, Wants};
use crate::plan::PlannedProject;

/// A joined table; it is stored by the tables on the path to it.
struct Joined<'a> {
    name: String,
    /// The join columns: that of the previous table, and its own.
    link: (&'a str, &'a str),
    columns: Vec<String>,
}

/// A `SELECT` of all columns ordered by `by`, NULLs last; or an error that describes what is wrong with `by`.
pub(super) fn query(
    project: &PlannedProject,
    wants: &BTreeMap<String, Wants>,
    table: &str,
    by: &[ClusterColumn],
    filter: Option<&str>,
) -> Result<String, String> {
    let mut joined = BTreeMap::<Vec<String>, Joined<'_>>::new();
    let mut order = Vec::new();
    for column in by {
        for length in 1..=column.through.len() {
            let path = column.through[..length].to_vec();
            let before = path.iter().rev().nth(1).map_or(table, String::as_str);
            let Some(link) = link(wants, before, &path[length - 1]) else {
                return Err(format!(
                    "the row filter of `{before}` does not lead to `{}`; name columns of the table itself",
                    path[length - 1]
                ));
            };
            let number = joined.len();
            let new = Joined { name: format!("j{number}"), link, columns: Vec::new() };
            joined.entry(path).or_insert(new);
        }
        let owner = column.through.last().map_or(table, String::as_str);
        check_column(project, owner, &column.column)?;
        match joined.get_mut(&column.through) {
            None => order.push(format!("t.{}", quoted(&column.column))),
            Some(join) => {
                join.columns.push(column.column.clone());
                order.push(format!("{}.c{}", join.name, join.columns.len() - 1));
            }
        }
    }
    let mut sql = format!("SELECT t.* FROM {} AS t", quoted(table));
    for (path, join) in &joined {
        // Grouped to one row for each key, so that the join duplicates no row of the table.
        let columns = join.columns.iter().enumerate().map(|(at, column)| format!(", min({}) AS c{at}", quoted(column)));
        let next = joined.iter().filter(|(longer, _)| longer.len() == path.len() + 1 && longer.starts_with(path));
        let next = next.map(|(_, next)| format!(", min({}) AS to_{}", quoted(next.link.0), next.name));
        let before = match path.len() {
            1 => format!("t.{}", quoted(join.link.0)),
            length => {
                let before = joined.get(&path[..length - 1]).map_or("t", |before| before.name.as_str());
                format!("{before}.to_{}", join.name)
            }
        };
        let parent = path.last().map(String::as_str).unwrap_or_default();
        sql += &format!(
            " LEFT JOIN (SELECT {key} AS k{} {} FROM {} WHERE {key} IS NOT NULL GROUP BY {key}) AS {name} ON {name}.k = {before}",
            columns.collect::<String>(),
            next.collect::<String>(),
            quoted(parent),
            key = quoted(join.link.1),
            name = join.name,
        );
    }
    if let Some(filter) = filter {
        sql += &format!(" WHERE {filter}");
    }
    if !order.is_empty() {
        let order = order.iter().map(|column| format!("{column} ASC NULLS LAST")).collect::<Vec<_>>();
        sql += &format!(" ORDER BY {}", order.join(", "));
    }
    Ok(sql)
}

fn link<'a>(wants: &'a BTreeMap<String, Wants>, child: &str, parent: &str) -> Option<(&'a str, &'a str)> {
    match wants.get(child)?.key.as_ref()? {
        Key::Through { column, parent: found, parent_column } if found == parent => {
            Some((column.as_str(), parent_column.as_str()))
        }
        _ => None,
    }
}

fn check_column(project: &PlannedProject, table: &str, column: &str) -> Result<(), String> {
    use datafusion::catalog::TableProvider;
    let Some(found) = project.tables().iter().find(|found| found.name() == table) else {
        return Err(format!("there is no table `{table}`"));
    };
    let schema = found.schema();
    match schema.field_with_name(column) {
        Ok(field) if field.data_type().is_nested() => {
            Err(format!("`{column}` of `{table}` holds lists or structs, which have no order"))
        }
        Ok(_) => Ok(()),
        Err(_) => {
            let names = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
            let help = suggest_or_list(column, names.iter().map(String::as_str));
            Err(format!("`{table}` has no column `{column}`; {help}"))
        }
    }
}
