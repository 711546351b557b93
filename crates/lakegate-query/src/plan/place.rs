//! Turns places in a SQL text into places in a project file, and the engine's errors into findings.

use std::collections::BTreeSet;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::project::{Endpoint, Finding, Position, suggest_or_list};

use super::sql;
use super::subqueries::Refused;

/// Where a SQL text stands.
pub(crate) enum Place<'a> {
    /// The file of an endpoint, line by line.
    File(&'a Endpoint),
    /// A string in a file: places within it are places in a line of the file.
    String(&'a Position),
}

impl Place<'_> {
    pub(crate) fn finding(&self, span: Span, message: impl Into<String>) -> Finding {
        Finding::new(self.position(span.start.line, span.start.column), message)
    }

    /// A finding for what the parser or the planner says.
    pub(crate) fn error(&self, error: &DataFusionError) -> Finding {
        let root = error.find_root();
        match root {
            DataFusionError::SQL(parser, _) if **parser == ParserError::RecursionLimitExceeded => {
                let help = "write it flatter: with fewer parentheses, calls and queries within each other";
                Finding::new(self.position(0, 0), "the SQL nests too deeply").help(help)
            }
            DataFusionError::SQL(parser, _) => {
                let (line, column) = sql::parser_error_place(parser).unwrap_or((0, 0));
                let text = parser.to_string();
                let text = text.trim_start_matches("sql parser error: ");
                let text = text.split(" at Line: ").next().unwrap_or(text);
                Finding::new(self.position(line, column), format!("not valid SQL: {text}"))
            }
            DataFusionError::External(external) if external.is::<Refused>() => {
                let Some(Refused { message, help, span }) = external.downcast_ref() else {
                    return Finding::new(self.position(0, 0), root.to_string());
                };
                self.finding(span.unwrap_or(Span::empty()), *message).help(*help)
            }
            root => {
                let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
                let (line, column) = span.map_or((0, 0), |span| (span.start.line, span.start.column));
                let (message, help) = describe(root);
                Finding { position: self.position(line, column), message, help }
            }
        }
    }

    fn position(&self, line: u64, column: u64) -> Position {
        match self {
            Place::File(endpoint) if line == 0 => {
                let start = endpoint.sql.len() - endpoint.sql.trim_start().len();
                Position::of_byte(&endpoint.path, &endpoint.sql, start)
            }
            Place::File(endpoint) => endpoint.position(line as usize, column as usize),
            // The text starts after the opening quote.
            Place::String(position) if line == 1 => {
                Position { column: position.column + column as usize, ..Position::clone(position) }
            }
            Place::String(position) => Position::clone(position),
        }
    }
}

fn describe(error: &DataFusionError) -> (String, Option<String>) {
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
        DataFusionError::Internal(text) => engine_fault(text),
        // What its last look at the operators found.
        DataFusionError::Plan(text) if text.starts_with("Plan: [") => {
            engine_fault(text.rsplit_once("] ").map_or(text, |(_, fault)| fault))
        }
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => plan_fault(text),
        other => (clean(&other.strip_backtrace()), None),
    }
}

fn engine_fault(text: &str) -> (String, Option<String>) {
    let help = "it is a fault of the engine and not of the query: write it another way, such as a `WITH` for each step with a name \
                of its own for each column";
    (format!("the engine cannot plan this query: {}", clean(text)), Some(help.to_owned()))
}

fn two_columns(name: &str) -> (String, Option<String>) {
    (format!("two columns would have the name `{name}`"), Some("give one of them another name with `AS`".to_owned()))
}

/// What the planner says, in words for the one who writes the query.
fn plan_fault(text: &str) -> (String, Option<String>) {
    let quoted = |text: &str, mark: char| text.split(mark).nth(1).unwrap_or_default().to_owned();
    if let Some((_, what)) = text.split_once("does not support logical expression ") {
        if what.starts_with("AggregateFunction") || what.starts_with("WindowFunction") {
            return ("an aggregate can not stand there".to_owned(), None);
        }
        let help = "put `IN (SELECT …)` or `EXISTS (SELECT …)` into `WHERE`, or join the table";
        return ("a subquery can not stand there".to_owned(), Some(help.to_owned()));
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
    if text.contains("must appear in the GROUP BY clause") {
        let help = "add it to `GROUP BY`, or put it into an aggregate such as `max(…)`";
        return (format!("column `{}` is neither grouped nor aggregated", quoted(text, '"')), Some(help.to_owned()));
    }
    (clean(text), None)
}

/// The first paragraph, without the engine's way of saying where an error came from.
fn clean(text: &str) -> String {
    let text =
        text.trim_start_matches("Error during planning: ").trim_start_matches("This feature is not implemented: ");
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
