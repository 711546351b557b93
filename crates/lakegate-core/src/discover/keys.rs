//! Finds columns that look like tenant keys, by their names, the tables that they refer to, and their values.

use std::collections::{BTreeMap, BTreeSet};

use super::{ColumnClass, FoundColumn, FoundTable, Suggestions, words};

/// A suggested row filter of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The column that looks like a tenant key.
    pub column: String,
    /// The row filter.
    pub row_filter: String,
    /// The evidence, strongest first.
    pub reasons: Vec<String>,
}

/// Words for tenants, with the attribute name that each suggests; the more certain first.
const TENANTS: &[(&str, &str)] = &[
    ("tenant", "tenant"),
    ("client", "client"),
    ("customer", "customer"),
    ("cust", "customer"),
    ("cliente", "cliente"),
    ("account", "account"),
    ("acct", "account"),
    ("org", "org"),
    ("organization", "organization"),
    ("organisation", "organisation"),
    ("company", "company"),
    ("empresa", "empresa"),
    ("enterprise", "enterprise"),
    ("merchant", "merchant"),
    ("subscriber", "subscriber"),
    ("partner", "partner"),
    ("owner", "owner"),
    ("cuenta", "cuenta"),
    ("usuario", "usuario"),
    ("member", "member"),
    ("user", "user"),
];

/// A column that identifies a tenant by itself.
struct TenantColumn<'a> {
    column: &'a FoundColumn,
    rank: usize,
    attribute: String,
    reasons: Vec<String>,
}

/// A column that refers to another table.
struct Reference {
    column: String,
    parent: String,
    parent_column: String,
}

/// Suggests row filters for each table: its own tenant keys first, then those reached through another table.
pub fn suggest(tables: &[FoundTable]) -> Suggestions {
    let references = tables.iter().map(|table| (table.name.as_str(), references(table, tables)));
    let references = references.collect::<BTreeMap<_, _>>();
    let mut suggestions = Suggestions::new();
    for table in tables {
        let mut tenant_columns = tenant_columns(table);
        tenant_columns.sort_by_key(|found| found.rank);
        let own = tenant_columns.into_iter().map(|found| {
            let column = &found.column.name;
            let mut reasons = found.reasons;
            for reference in references[table.name.as_str()].iter().filter(|reference| reference.column == *column) {
                reasons.push(format!("it refers to `{}` of `{}`", reference.parent_column, reference.parent));
            }
            let others = others_with(column, table, tables);
            if !others.is_empty() {
                reasons.push(format!("{} has it too", listed(&others)));
            }
            reasons.extend(
                found
                    .column
                    .sample
                    .map(|sample| format!("{} different values in a sample of {} rows", sample.distinct, sample.rows)),
            );
            let row_filter = format!("{} IN (principal('{}'))", column_name(table, column), found.attribute);
            Suggestion { column: column.clone(), row_filter, reasons }
        });
        suggestions.insert(table.name.clone(), own.collect());
    }
    filter_through_parents(&references, tables, &mut suggestions);
    suggestions
}

/// Filters a table without a tenant key by the visible rows of a table that it refers to. Each iteration goes one step
/// further, so that the shortest path wins and none is circular.
fn filter_through_parents(
    references: &BTreeMap<&str, Vec<Reference>>,
    tables: &[FoundTable],
    suggestions: &mut Suggestions,
) {
    let name = |table: &str, column: &str| match tables.iter().find(|found| found.name == table) {
        Some(found) => column_name(found, column),
        None => sql_name(column),
    };
    loop {
        let governed = suggestions
            .iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(table, _)| table.clone())
            .collect::<BTreeSet<_>>();
        let mut reached = Vec::new();
        for (table, found) in suggestions.iter().filter(|(_, found)| found.is_empty()) {
            let through = references[table.as_str()].iter().filter(|reference| governed.contains(&reference.parent));
            let through = through.map(|reference| {
                let Reference { column, parent, parent_column } = reference;
                let (own, key) = (name(table, column), name(parent, parent_column));
                let row_filter = format!("{own} IN (SELECT {key} FROM {})", sql_name(parent));
                let reasons = vec![format!("it refers to `{parent_column}` of `{parent}`, which has such a key")];
                Suggestion { column: column.clone(), row_filter, reasons }
            });
            reached.push((table.clone(), found.iter().cloned().chain(through).collect::<Vec<_>>()));
        }
        reached.retain(|(_, found)| !found.is_empty());
        if reached.is_empty() {
            return;
        }
        suggestions.extend(reached);
    }
}

/// The columns whose names are those of tenant keys, and the `id` of a table of tenants.
fn tenant_columns(table: &FoundTable) -> Vec<TenantColumn<'_>> {
    let fits = |column: &&FoundColumn| matches!(column.kind, ColumnClass::Integer | ColumnClass::Text);
    let mut found = Vec::new();
    for column in table.columns.iter().filter(fits) {
        let key = words::key_of(&column.name);
        let words = key.clone().unwrap_or_else(|| words::split(&column.name));
        let Some(last) = words.last().filter(|_| key.is_some() || words.len() == 1) else { continue };
        let Some(rank) = TENANTS.iter().position(|(word, _)| *word == words::singular(last)) else { continue };
        // A single word such as `owner` may also be text about a person, so a key ranks before it.
        let rank = if key.is_some() { rank } else { rank + TENANTS.len() };
        let reasons = vec![format!("its name says `{}`", TENANTS[rank % TENANTS.len()].0)];
        let attribute = format!("{}_id", TENANTS[rank % TENANTS.len()].1);
        found.push(TenantColumn { column, rank, attribute, reasons });
    }
    let table_words = words::split(&table.name);
    let tenant = table_words.iter().rev().find_map(|word| {
        let rank = TENANTS.iter().position(|(tenant, _)| *tenant == words::singular(word))?;
        (table_words.len() <= 2).then_some(rank)
    });
    if let (Some(rank), Some(id)) = (tenant, table.column("id").filter(fits)) {
        // In a table of tenants, the `id` is the best key.
        let attribute = format!("{}_id", TENANTS[rank].1);
        let reasons = vec![format!("each row of `{}` looks like a {}", table.name, TENANTS[rank].1)];
        found.insert(0, TenantColumn { column: id, rank: 0, attribute, reasons });
    }
    found
}

/// The references from a table's columns to other tables.
fn references(table: &FoundTable, tables: &[FoundTable]) -> Vec<Reference> {
    let mut found = Vec::new();
    for column in &table.columns {
        let Some(words) = words::key_of(&column.name).filter(|words| !words.is_empty()) else { continue };
        let stem = words.join("_");
        let target = tables.iter().filter(|parent| parent.name != table.name).filter_map(|parent| {
            let parent_column = referred(column, &stem, table, parent)?;
            Some((!is_named(&parent.name, &stem), parent.rows.unwrap_or(u64::MAX), parent, parent_column))
        });
        let best = target.min_by_key(|(other_name, rows, parent, _)| (*other_name, *rows, parent.name.clone()));
        if let Some((_, _, parent, parent_column)) = best {
            let (parent, parent_column) = (parent.name.clone(), parent_column.name.clone());
            found.push(Reference { column: column.name.clone(), parent, parent_column });
        }
    }
    found
}

/// The column of `parent` that `column` refers to: its `id` if the table is named like the key, else a key of the same
/// name that is unique there and not here.
fn referred<'a>(
    column: &FoundColumn,
    stem: &str,
    table: &FoundTable,
    parent: &'a FoundTable,
) -> Option<&'a FoundColumn> {
    let unique = |column: &FoundColumn| column.sample.is_none_or(super::ColumnSample::is_unique);
    let fits = |other: &&FoundColumn| other.kind == column.kind && unique(other) && is_within(column, other);
    if is_named(&parent.name, stem)
        && let Some(id) = parent.column("id").filter(fits)
    {
        return Some(id);
    }
    let same_key = |other: &&FoundColumn| words::key_of(&other.name).is_some_and(|words| words.join("_") == stem);
    let is_own_key = column.sample.is_some_and(|sample| sample.is_unique()) && !is_named(&parent.name, stem);
    let known = |other: &&FoundColumn| other.sample.is_some();
    let is_of_itself = is_named(&table.name, stem);
    (!is_own_key && !is_of_itself).then(|| parent.columns.iter().filter(same_key).filter(fits).find(known)).flatten()
}

/// Whether a table is named like a key: `orders`, `order_table` and `dim_order` like `order`; `customer` like `cust`.
fn is_named(table: &str, stem: &str) -> bool {
    let strip = ["tbl", "table", "dim", "fact", "dimension", "raw", "stg"];
    let words = words::split(table).into_iter().filter(|word| !strip.contains(&word.as_str()));
    let words = words.map(|word| words::singular(&word)).collect::<Vec<_>>().join("_");
    let long_enough = stem.len() >= 4 && stem.len() < words.len();
    words == words::singular(stem) || words == stem || (long_enough && words.starts_with(stem))
}

/// Whether the integers of one column are within the range of the other. True if a range is unknown.
fn is_within(child: &FoundColumn, parent: &FoundColumn) -> bool {
    match (child.range, parent.range) {
        (Some((least, most)), Some((from, to))) => from <= least && most <= to,
        _ => true,
    }
}

fn others_with(column: &str, table: &FoundTable, tables: &[FoundTable]) -> Vec<String> {
    if column == "id" {
        return Vec::new();
    }
    let others = tables.iter().filter(|other| other.name != table.name && other.column(column).is_some());
    others.map(|other| format!("`{}`", other.name)).collect()
}

/// The first few names, and the number of the others.
fn listed(names: &[String]) -> String {
    match names {
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        names => names.join(", "),
    }
}

/// The SQL keywords that are common as names of tables and columns.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "as",
    "between",
    "by",
    "case",
    "cross",
    "end",
    "exists",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "right",
    "select",
    "set",
    "table",
    "then",
    "union",
    "unnest",
    "user",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// A column's name in a row filter; also quoted if another column differs only by case.
fn column_name(table: &FoundTable, name: &str) -> String {
    let is_twin = |other: &str| other != name && other.to_lowercase() == name.to_lowercase();
    match table.columns.iter().any(|other| is_twin(&other.name)) {
        true => crate::column_name::in_quotes(name),
        false => sql_name(name),
    }
}

/// A name in SQL, quoted if necessary.
fn sql_name(name: &str) -> String {
    let plain = crate::project::name::sql_name_fault(name).is_none() && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::super::ColumnSample;
    use super::*;

    fn table(name: &str, columns: &[(&str, usize)]) -> FoundTable {
        let column = |(name, distinct): &(&str, usize)| FoundColumn {
            name: (*name).to_owned(),
            type_name: "integer".to_owned(),
            kind: ColumnClass::Integer,
            sample: Some(ColumnSample { rows: 100, nulls: 0, distinct: *distinct }),
            range: None,
        };
        let columns = columns.iter().map(column).collect();
        FoundTable { name: name.to_owned(), columns, ..FoundTable::default() }
    }

    fn filters(tables: &[FoundTable]) -> Vec<String> {
        let first = |found: &Vec<Suggestion>| found.first().map_or("none".to_owned(), |found| found.row_filter.clone());
        suggest(tables).iter().map(|(table, found)| format!("{table}: {}", first(found))).collect()
    }

    #[test]
    fn keys_are_found_by_name_and_children_through_their_parents() {
        let tables = [
            table("client", &[("id", 100), ("city_id", 7)]),
            table("parcel", &[("id", 100), ("client_id", 30)]),
            table("order", &[("id", 100), ("parcel_id", 90), ("route_id", 9)]),
            table("stop", &[("id", 100), ("order_id", 20)]),
            table("city", &[("id", 100)]),
        ];
        assert_eq!(
            filters(&tables),
            [
                "city: none",
                "client: id IN (principal('client_id'))",
                "order: parcel_id IN (SELECT id FROM parcel)",
                "parcel: client_id IN (principal('client_id'))",
                "stop: order_id IN (SELECT id FROM \"order\")",
            ]
        );
        let reasons = &suggest(&tables)["parcel"][0].reasons;
        assert_eq!(
            reasons,
            &["its name says `client`", "it refers to `id` of `client`", "30 different values in a sample of 100 rows"]
        );
    }

    #[test]
    fn models_that_put_a_letter_before_each_column_are_understood() {
        let tables = [
            table("customer", &[("c_custkey", 100), ("c_nationkey", 25)]),
            table("orders", &[("o_orderkey", 100), ("o_custkey", 60)]),
            table("lineitem", &[("l_orderkey", 25), ("l_partkey", 90)]),
            table("nation", &[("n_nationkey", 25)]),
        ];
        assert_eq!(
            filters(&tables),
            [
                "customer: c_custkey IN (principal('customer_id'))",
                "lineitem: l_orderkey IN (SELECT o_orderkey FROM orders)",
                "nation: none",
                "orders: o_custkey IN (principal('customer_id'))",
            ]
        );
    }

    #[test]
    fn a_key_whose_values_are_not_those_of_the_other_table_refers_to_something_else() {
        let mut tables = [table("client", &[("id", 100)]), table("parcel", &[("client_ref", 9), ("parcel_id", 9)])];
        tables[0].columns[0].range = Some((1, 100));
        tables[1].columns[0].range = Some((900, 990));
        assert!(suggest(&tables)["parcel"][0].reasons.iter().all(|reason| !reason.contains("refers")));
    }
}
