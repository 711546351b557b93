//! Turns DataFusion's planning errors into messages for the author of a query, with a suggested fix.
//!
//! [`super::place`] finds the position of an error in its file.

use std::collections::BTreeSet;

use datafusion::common::{DataFusionError, SchemaError};
use lakegate_core::project::suggest_or_list;

/// The message for an error, and the suggested fix.
pub(super) fn describe(error: &DataFusionError) -> (String, Option<String>) {
    match error {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let tables = valid_fields.iter().filter_map(|column| column.relation.as_ref());
                let tables = tables.map(|table| table.table()).collect::<BTreeSet<_>>();
                if let Some(table) = field.relation.as_ref().filter(|table| !tables.contains(table.table())) {
                    let help = suggest_or_list(table.table(), tables);
                    return (format!("`{table}` is not a table of this query, nor another name of one"), Some(help));
                }
                let names = valid_fields.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
                (format!("there is no column `{}`", field.flat_name()), Some(suggest_or_list(&field.name, names)))
            }
            SchemaError::AmbiguousReference { field } => (
                format!("column `{}` could be of several tables", field.name),
                Some("write the table's name before it".to_owned()),
            ),
            SchemaError::DuplicateUnqualifiedField { name } => two_columns(name),
            SchemaError::DuplicateQualifiedField { name, .. } => two_columns(name),
        },
        DataFusionError::Internal(text) | DataFusionError::Plan(text) | DataFusionError::Execution(text)
            if let Some(fault) = signature_fault(text) =>
        {
            fault
        }
        DataFusionError::Internal(text) => engine_fault(text),
        // The check of the physical plan puts the plan first.
        DataFusionError::Plan(text) if text.starts_with("Plan: [") => {
            engine_fault(text.rsplit_once("] ").map_or(text, |(_, fault)| fault))
        }
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => plan_fault(text),
        DataFusionError::Execution(text) => execution_fault(text),
        other => (clean(&other.strip_backtrace()), None),
    }
}

/// A call whose arguments match no signature of the function.
fn signature_fault(text: &str) -> Option<(String, Option<String>)> {
    let help = |name: &str| {
        format!(
            "`{name}` takes others: see the page `sql.md` of the documentation, or cast the argument, as in `CAST(x AS VARCHAR)`"
        )
    };
    if let Some((_, call)) = text.split_once("No function matches the given name and argument types '") {
        let call = call.split("'. ").next().unwrap_or_default();
        let (name, types) = call.split_once('(').unwrap_or((call, ""));
        let types = types.trim_end_matches(')');
        let given = match types.is_empty() {
            true => "is called without arguments".to_owned(),
            false => format!("does not take arguments of the types {}", in_words(types)),
        };
        return Some((format!("`{name}` {given}"), Some(help(name))));
    }
    let (before, _) = text.split_once("' failed to match any signature")?;
    let name = before.rsplit('\'').next().unwrap_or_default();
    Some((format!("`{name}` does not take arguments of these types, or so many"), Some(help(name))))
}

/// DataFusion's type names, replaced by those of SQL.
fn in_words(types: &str) -> String {
    let words = [
        ("Utf8View", "string"),
        ("LargeUtf8", "string"),
        ("Utf8", "string"),
        ("UInt64", "unsigned bigint"),
        ("Int64", "bigint"),
        ("UInt32", "unsigned integer"),
        ("Int32", "integer"),
        ("Int16", "smallint"),
        ("Float64", "double"),
        ("Float32", "real"),
        ("Boolean", "boolean"),
        ("Date32", "date"),
        ("Timestamp(s)", "timestamp(0)"),
        ("Timestamp(ms)", "timestamp(3)"),
        ("Timestamp(µs)", "timestamp"),
        ("Timestamp(ns)", "timestamp(9)"),
        ("Time64(ns)", "time(9)"),
        ("Time64(µs)", "time"),
        ("Time32(ms)", "time(3)"),
        ("Time32(s)", "time(0)"),
        ("Interval(MonthDayNano)", "interval"),
        ("Null", "null"),
    ];
    words.iter().fold(types.to_owned(), |types, (engine, word)| types.replace(engine, word))
}

/// Errors of functions about literal arguments.
fn execution_fault(text: &str) -> (String, Option<String>) {
    let help = "a parameter cannot stand where the query must have a fixed value; write the value, or an endpoint for each of them";
    if text.contains("NTILE requires a positive integer") {
        return ("`ntile` takes a fixed number of groups".to_owned(), Some(help.to_owned()));
    }
    if text.contains("requires non-empty constant string") {
        let name = text.split_whitespace().next().unwrap_or_default();
        return (format!("`{name}` takes a fixed unit, such as `'month'`"), Some(help.to_owned()));
    }
    (clean(text), None)
}

fn engine_fault(text: &str) -> (String, Option<String>) {
    let help = "it is a fault of the engine and not of the query: write it another way, such as a `WITH` for each step with a name \
                of its own for each column";
    (format!("the engine cannot plan this query: {}", clean(text)), Some(help.to_owned()))
}

fn two_columns(name: &str) -> (String, Option<String>) {
    (format!("two columns would have the name `{name}`"), Some("give one of them another name with `AS`".to_owned()))
}

/// Errors of the planner.
fn plan_fault(text: &str) -> (String, Option<String>) {
    let quoted = |text: &str, mark: char| text.split(mark).nth(1).unwrap_or_default().to_owned();
    if let Some((_, what)) = text.split_once("does not support logical expression ") {
        if what.starts_with("AggregateFunction") || what.starts_with("WindowFunction") {
            return ("an aggregate cannot stand there".to_owned(), None);
        }
        let help = "put `IN (SELECT …)` or `EXISTS (SELECT …)` into `WHERE`, or join the table";
        return ("a subquery cannot stand there".to_owned(), Some(help.to_owned()));
    }
    if text.contains("non-boolean predicate") {
        let help =
            "write a comparison, such as `client_id = principal('client_id')` in a row filter or `id = $id` in a query";
        return ("a condition must be true or false for a row".to_owned(), Some(help.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        let near = rest.split_once("Did you mean '").map(|(_, near)| near.split('\'').next().unwrap_or_default());
        let help = match (name, near) {
            ("principal", _) => Some(
                "attributes of the caller stand in row filters; the tables of a query are filtered already".to_owned(),
            ),
            (_, Some(near)) => Some(format!("did you mean `{near}`?")),
            _ => None,
        };
        return (format!("there is no function `{name}`"), help);
    }
    if let Some(fault) = unsupported(text).or_else(|| types_fault(text)) {
        return fault;
    }
    if text.contains("must appear in the GROUP BY clause") {
        let help = "add it to `GROUP BY`, or put it into an aggregate such as `max(…)`";
        return (format!("column `{}` is neither grouped nor aggregated", quoted(text, '"')), Some(help.to_owned()));
    }
    (clean(text), None)
}

/// Features that DataFusion does not support, which it reports with its own syntax tree.
fn unsupported(text: &str) -> Option<(String, Option<String>)> {
    let fixed = "write it as a fixed value, or choose between fixed values with `CASE WHEN $a = … THEN …`";
    if text.contains("Unsupported LIMIT expression") || text.contains("Unsupported OFFSET expression") {
        let help = "write a number or `$name` alone; leave what is to be computed to the caller, or use `row_number()`";
        return Some((
            "`LIMIT` and `OFFSET` take a number or a parameter, and compute nothing".to_owned(),
            Some(help.to_owned()),
        ));
    }
    if text.contains("Placeholder(") && text.contains("nterval") {
        let help = "write `CAST(concat($n, ' days') AS INTERVAL)` for a number of days, or choose between fixed intervals with `CASE`";
        return Some(("a parameter cannot be the text of an interval".to_owned(), Some(help.to_owned())));
    }
    if text.starts_with("Unsupported ast node") {
        let what = if text.contains("Placeholder(") {
            "a parameter cannot stand there"
        } else {
            "the engine has no plan for this part of the query"
        };
        return Some((what.to_owned(), Some(fixed.to_owned())));
    }
    if text.starts_with("Too many columns! The subquery should only return one column") {
        let help = "name one column in it; compare several with `EXISTS (SELECT 1 FROM … WHERE a = t.a AND b = t.b)`";
        return Some((
            "a subquery that is compared or stands for a value has one column".to_owned(),
            Some(help.to_owned()),
        ));
    }
    if text.starts_with("Projections require unique expression names") {
        return Some((
            "two columns of the answer have one name".to_owned(),
            Some("give one of them another name with `AS`".to_owned()),
        ));
    }
    None
}

/// Operands whose types do not match.
fn types_fault(text: &str) -> Option<(String, Option<String>)> {
    let cast = match text.contains("Time64") || text.contains("Time32") {
        true => "cast the column to the time of day that SQL writes, as in `CAST(t AS TIME) < TIME '12:00:00'`",
        false => {
            "cast one side, such as `CAST(x AS BIGINT)`; a moment is written as `TIMESTAMP '2024-01-31 00:00:00'`, a day as `DATE '2024-01-31'`"
        }
    };
    let between = |start: &str| {
        let what = text.split_once(start)?.1;
        Some((
            format!("values of these types do not go together: {}", in_words(what.trim_end_matches(" to valid types"))),
            Some(cast.to_owned()),
        ))
    };
    between("Cannot infer common argument type for comparison operation ")
        .or_else(|| between("Cannot infer common argument type for logical boolean operation "))
        .or_else(|| between("Cannot infer common string type for string concat operation "))
        .or_else(|| between("Cannot coerce arithmetic expression "))
        .or_else(|| {
            between("Cannot get result type for temporal operation ").map(|(message, help)| {
                (message.split(": Invalid argument error").next().unwrap_or_default().to_owned(), help)
            })
        })
}

/// The first paragraph, without DataFusion's prefixes for the origin of an error.
fn clean(text: &str) -> String {
    const ORIGINS: [&str; 7] = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Internal error: ",
        "Execution error: ",
        "Arrow error: ",
        "Parser error: ",
        "Invalid argument error: ",
    ];
    let mut text = text;
    while let Some(rest) = ORIGINS.iter().find_map(|origin| text.strip_prefix(origin)) {
        text = rest;
    }
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::testing;

    /// DataFusion's messages contain its own types, signatures and syntax trees.
    #[tokio::test]
    async fn what_does_not_fit_is_said_in_words_of_sql() {
        let lake = tempfile::tempdir().unwrap();
        std::fs::write(lake.path().join("t.csv"), "id,name,day\n1,a,2024-01-31\n").unwrap();
        let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.csv\"\nshared = true\n";
        for (sql, wanted) in [
            ("SELECT sum(name) AS x FROM t", "`sum` does not take arguments"),
            ("SELECT abs(name) AS x FROM t", "`abs` does not take arguments of the types string"),
            ("SELECT coalesce() AS x FROM t", "`coalesce` is called without arguments"),
            ("SELECT name + 'x' AS x FROM t", "values of these types do not go together: string + string"),
            ("SELECT id FROM t WHERE day > true", "values of these types do not go together: date > boolean"),
            ("SELECT id AS a, name AS a FROM t", "two columns of the answer have one name"),
            ("SELECT id FROM t WHERE id IN (SELECT id, name FROM t)", "has one column"),
        ] {
            let findings = testing::try_project(lake.path(), config, &[("e", sql)]).await.expect_err(sql).join("\n");
            assert!(findings.contains(wanted), "{sql}: {findings}");
            for word in ["Utf8", "Int64", "ScalarFunction", "Internal error", "cannot be governed"] {
                assert!(!findings.contains(word), "{sql}: {findings}");
            }
        }
    }

    #[test]
    fn what_the_engine_says_of_itself_comes_with_a_way_out() {
        let said = |error: DataFusionError| {
            let (message, help) = describe(&error);
            format!("{message}; {}", help.unwrap_or_default())
        };
        let twice = SchemaError::DuplicateUnqualifiedField { name: "id".to_owned() };
        let twice = said(DataFusionError::SchemaError(Box::new(twice), Box::new(None)));
        assert_eq!(twice, "two columns would have the name `id`; give one of them another name with `AS`");
        let internal =
            "Aggregate schema has wrong number of fields. Expected 2 got 3\nThis issue was likely caused by a bug";
        let internal = said(DataFusionError::Internal(internal.to_owned()));
        assert!(internal.starts_with("the engine cannot plan this query: Aggregate schema has wrong"), "{internal}");
        let plan =
            "Plan: [\"SortExec: [a@0]\", \"  Scan\"] does not satisfy order requirements: [a@0]. Child-0 order: []";
        let plan = said(DataFusionError::Plan(plan.to_owned()));
        assert!(!plan.contains("SortExec") && plan.contains("write it another way"), "{plan}");
        assert!(internal.contains("write it another way") && !internal.contains("bug"), "{internal}");
    }
}
