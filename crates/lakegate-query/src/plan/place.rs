//! Maps positions in a SQL text to positions in a project file, and DataFusion's errors to findings.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::project::{Endpoint, Finding, Position};

use super::sql;
use super::subqueries::Refused;
use super::wording::describe;

/// The source of a SQL text.
pub(crate) enum Place<'a> {
    /// An endpoint's file. Lines of the SQL are lines of the file.
    File(&'a Endpoint),
    /// A string in a file. Positions in it are positions in one line of the file.
    String(&'a Position),
}

impl Place<'_> {
    pub(crate) fn finding(&self, span: Span, message: impl Into<String>) -> Finding {
        Finding::new(self.position(span.start.line, span.start.column), message)
    }

    /// A finding for an error of the parser or the planner.
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
                Position::at_byte(&endpoint.path, &endpoint.sql, start)
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
