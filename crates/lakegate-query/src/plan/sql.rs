//! Parses an endpoint's SQL and checks that it is a single query with supported clauses only.
//!
//! Works on the syntax alone; the planner resolves column names and types.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, JoinConstraint, JoinOperator, LimitClause, ObjectName, Query, SetExpr, Spanned,
    TableFactor, TableWithJoins, UnaryOperator, Value, Visit, VisitMut, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer};
use lakegate_core::project::Finding;

use super::depth;
use super::place::Place;
use super::rows::ByParts;
use crate::functions::check_numbers;

/// The names that a query uses, with their positions.
#[derive(Debug, Default)]
pub(crate) struct Syntax {
    /// `$placeholders`, without the dollar sign.
    pub(crate) placeholders: Vec<(String, Span)>,
    /// Tables that are not common table expressions.
    pub(crate) tables: Vec<(String, Span)>,
    /// Columns, with or without a table name before them.
    pub(crate) columns: Vec<(String, Span)>,
    /// Function calls.
    pub(crate) functions: Vec<(String, Span)>,
}

/// Parses a query, or returns everything in it that is not allowed.
pub(crate) fn parse_query(sql: &str, place: &Place<'_>) -> Result<(Statement, Syntax), Vec<Finding>> {
    depth::check(sql, place).map_err(|finding| vec![finding])?;
    let parsed = DFParserBuilder::new(sql).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| vec![place.error(&error)])?;
    if statements.len() > 1 {
        let finding = place.finding(start_of_statement(sql, 1), "there is more than one statement");
        return Err(vec![finding.help("an endpoint is one query; put the other into a file of its own")]);
    }
    let Some(mut statement) = statements.pop_front() else {
        return Err(vec![
            place
                .finding(start_of_statement(sql, 0), "there is no query")
                .help("write one `SELECT` after the front matter"),
        ]);
    };
    let query = match &statement {
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(query) => query.as_ref(),
            _ => return Err(vec![not_a_query(place, sql)]),
        },
        _ => return Err(vec![not_a_query(place, sql)]),
    };
    depth::check_tables(query, place).map_err(|finding| vec![finding])?;
    let mut walk = Walk::new(place);
    walk.findings = inexact_numbers(sql, place);
    let _ = query.visit(&mut walk);
    walk.refuse_names_of_two_meanings();
    if !walk.findings.is_empty() {
        return Err(walk.findings);
    }
    let syntax = walk.syntax;
    if let Statement::Statement(inner) = &mut statement {
        let _ = VisitMut::visit(inner.as_mut(), &mut ByParts);
    }
    Ok((statement, syntax))
}

/// Parses a predicate, or returns everything in it that is not allowed.
pub(crate) fn parse_predicate(sql: &str, place: &Place<'_>) -> Result<(Expr, Syntax), Vec<Finding>> {
    depth::check(sql, place).map_err(|finding| vec![finding])?;
    let parsed = DFParserBuilder::new(sql).build().and_then(|mut parser| parser.parse_into_expr());
    let mut expr = parsed.map_err(|error| vec![place.error(&error)])?.expr;
    let mut walk = Walk::new(place);
    walk.findings = inexact_numbers(sql, place);
    let _ = expr.visit(&mut walk);
    walk.refuse_names_of_two_meanings();
    if !walk.findings.is_empty() {
        return Err(walk.findings);
    }
    let syntax = walk.syntax;
    let _ = VisitMut::visit(&mut expr, &mut ByParts);
    Ok((expr, syntax))
}

/// The position of the first word of a statement, counted from 0. The parser does not record it for every statement.
fn start_of_statement(sql: &str, number: usize) -> Span {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap_or_default();
    let mut ended = 0;
    for token in tokens {
        match token.token {
            Token::Whitespace(_) => {}
            Token::SemiColon => ended += 1,
            _ if ended >= number => return token.span,
            _ => {}
        }
    }
    Span::empty()
}

/// Findings for numbers that the parser would round before they are compared or computed with.
fn inexact_numbers(sql: &str, place: &Place<'_>) -> Vec<Finding> {
    let numbers = check_numbers(sql).into_iter();
    let finding = |(text, span): (String, Span)| {
        place
            .finding(span, format!("the number {text} has more digits than a number with a fraction holds"))
            .help(format!("write `CAST('{text}' AS DECIMAL(38, …))` with as many digits after the point, or leave out the fraction"))
    };
    numbers.map(finding).collect()
}

fn not_a_query(place: &Place<'_>, sql: &str) -> Finding {
    place
        .finding(start_of_statement(sql, 0), "this is not a query")
        .help("an endpoint is one `SELECT`, which may begin with `WITH`")
}

/// Collects names and refuses syntax that is not on the list of supported clauses.
struct Walk<'a> {
    place: &'a Place<'a>,
    syntax: Syntax,
    findings: Vec<Finding>,
    common_tables: Vec<BTreeSet<String>>,
    /// Names of tables, of table aliases and of common table expressions.
    relations: BTreeSet<String>,
    /// Column names with two names before the column, or one before it and a field after it.
    long_names: Vec<(Vec<String>, Span)>,
}

impl<'a> Walk<'a> {
    fn new(place: &'a Place<'a>) -> Self {
        Self {
            place,
            syntax: Syntax::default(),
            findings: Vec::new(),
            common_tables: Vec::new(),
            relations: BTreeSet::new(),
            long_names: Vec::new(),
        }
    }

    /// Refuses `a.b.c` if `b` is a table: DataFusion takes `a` for a schema, and a struct field for another table's
    /// column.
    fn refuse_names_of_two_meanings(&mut self) {
        for (parts, span) in std::mem::take(&mut self.long_names) {
            let [first, second, third, ..] = parts.as_slice() else { continue };
            if self.relations.contains(second) {
                let message = format!(
                    "`{first}.{second}.{third}` may be a column of table `{second}`, and a field of `{first}.{second}`"
                );
                let help =
                    format!("write `{second}.{third}` for the column, `{first}.{second}['{third}']` for the field");
                self.refuse(span, &message, &help);
            }
        }
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) {
        self.findings.push(self.place.finding(span, message).help(help));
    }

    /// Refuses clauses that only other SQL dialects have.
    fn left_out(&mut self, span: Span, clauses: &[(&str, bool)]) {
        for (clause, _) in clauses.iter().filter(|(_, is_there)| *is_there) {
            let message = match clause.starts_with(|first: char| first.is_lowercase()) {
                true => format!("a table cannot be read with {clause}"),
                false => format!("`{clause}` is not supported"),
            };
            self.refuse(span, &message, "write it in standard SQL, such as `WHERE`, `ORDER BY` and `LIMIT`");
        }
    }

    /// Refuses `USING` and `NATURAL` in right and full joins: DataFusion takes their shared column from the left side
    /// only.
    fn joins(&mut self, from: &TableWithJoins) {
        use JoinOperator::{FullOuter, Right, RightOuter};
        for join in &from.joins {
            let (FullOuter(constraint) | Right(constraint) | RightOuter(constraint)) = &join.join_operator else {
                continue;
            };
            if matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural) {
                self.refuse(
                    join.relation.span(),
                    "the shared column of a RIGHT or FULL join would be NULL in the rows of its right side alone",
                    "write `ON a.k = b.k` in place of `USING` or `NATURAL`, and `coalesce(a.k, b.k) AS k` for the column",
                );
            }
        }
    }

    fn set_expression(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => {
                if select.into.is_some() {
                    self.refuse(select.span(), "`SELECT … INTO` writes", "remove `INTO`");
                }
                // DataFusion would ignore these silently.
                let left_out = [
                    ("TOP", select.top.is_some()),
                    ("PREWHERE", select.prewhere.is_some()),
                    ("CONNECT BY", !select.connect_by.is_empty()),
                    ("LATERAL VIEW", !select.lateral_views.is_empty()),
                    ("SORT BY", !select.sort_by.is_empty()),
                    ("CLUSTER BY", !select.cluster_by.is_empty()),
                    ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
                ];
                self.left_out(select.span(), &left_out);
                select.from.iter().for_each(|from| self.joins(from));
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expression(left);
                self.set_expression(right);
            }
            SetExpr::Query(_) | SetExpr::Values(_) => {}
            other => self.refuse(other.span(), "this is not a query", "an endpoint only reads"),
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut names = BTreeSet::new();
        if let Some(with) = &query.with {
            if with.recursive {
                self.refuse(query.span(), "`WITH RECURSIVE` can run without end", "write it without recursion");
            }
            names.extend(with.cte_tables.iter().map(|cte| folded(&cte.alias.name)));
            self.relations.extend(names.iter().cloned());
        }
        self.common_tables.push(names);
        if !query.locks.is_empty() {
            self.refuse(query.span(), "a query does not lock", "remove `FOR UPDATE` or `FOR SHARE`");
        }
        let left_out = [
            ("FETCH", query.fetch.is_some()),
            (
                "LIMIT … BY",
                matches!(&query.limit_clause, Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty()),
            ),
            ("FOR XML or FOR JSON", query.for_clause.is_some()),
            ("SETTINGS", query.settings.is_some()),
            ("FORMAT", query.format_clause.is_some()),
            ("|>", !query.pipe_operators.is_empty()),
        ];
        self.left_out(query.span(), &left_out);
        self.set_expression(&query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.common_tables.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor
        {
            self.relations.insert(folded(&alias.name));
        }
        match factor {
            TableFactor::Table {
                sample,
                version,
                with_hints,
                with_ordinality,
                partitions,
                json_path,
                index_hints,
                ..
            } if factor_has_no_arguments(factor) => {
                let left_out = [
                    ("TABLESAMPLE", sample.is_some()),
                    ("a version", version.is_some()),
                    ("hints", !with_hints.is_empty() || !index_hints.is_empty()),
                    ("WITH ORDINALITY", *with_ordinality),
                    ("PARTITION", !partitions.is_empty()),
                    ("a path", json_path.is_some()),
                ];
                self.left_out(factor.span(), &left_out);
            }
            TableFactor::Derived { sample: Some(_), .. } => self.left_out(factor.span(), &[("TABLESAMPLE", true)]),
            TableFactor::NestedJoin { table_with_joins, .. } => self.joins(table_with_joins),
            TableFactor::Derived { .. } | TableFactor::UNNEST { .. } => {}
            other => self.refuse(
                other.span(),
                "table functions are not part of a query here",
                "read a table of `lakegate.toml`",
            ),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = relation.0.iter().filter_map(|part| part.as_ident()).map(folded).collect::<Vec<_>>();
        let name = parts.join(".");
        self.relations.insert(name.clone());
        if !self.common_tables.iter().any(|names| names.contains(&name)) {
            self.syntax.tables.push((name, relation.span()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            let name = name.trim_start_matches('$').to_owned();
            self.syntax.placeholders.push((name, value.span));
        }
        match expr {
            Expr::Identifier(name) => self.syntax.columns.push((folded(name), name.span)),
            Expr::CompoundIdentifier(parts) => {
                let parts = parts.iter().map(folded).collect::<Vec<_>>();
                self.syntax.columns.push((parts.join("."), expr.span()));
                if parts.len() > 2 {
                    self.long_names.push((parts, expr.span()));
                }
            }
            _ => {}
        }
        if let Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) = expr
            && binds_more_loosely(right)
        {
            // The parser reads `a IS DISTINCT FROM b AND c` as `a IS DISTINCT FROM (b AND c)`, which is another row
            // filter.
            self.refuse(
                expr.span(),
                "`IS DISTINCT FROM` would take all that follows for its right side",
                "put it in parentheses: `(a IS DISTINCT FROM b) AND c`",
            );
        }
        match expr {
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } if !matches!(right.as_ref(), Expr::Subquery(_)) => {
                self.refuse(
                    expr.span(),
                    "`ANY` and `ALL` take a subquery: of a list with NULL in it they would be false where SQL does not know",
                    "write `array_has(list, x)`, for which a NULL in the list is no value",
                );
            }
            Expr::SimilarTo { .. } => self.refuse(
                expr.span(),
                "`SIMILAR TO` is taken for a regular expression by the engine",
                "write `LIKE`, or `regexp_like(x, '^(a|b)$')`",
            ),
            _ => {}
        }
        if let Expr::Function(function) = expr {
            self.syntax.functions.push((function.name.to_string().to_lowercase(), function.span()));
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression without parentheses is a condition. In SQL the right side of a comparison cannot be one.
fn binds_more_loosely(expr: &Expr) -> bool {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or, Xor};
    match expr {
        Expr::BinaryOp { op, .. } => matches!(op, And | Or | Xor | Eq | NotEq | Lt | LtEq | Gt | GtEq),
        Expr::UnaryOp { op, .. } => matches!(op, UnaryOperator::Not),
        Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::InUnnest { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::SimilarTo { .. }
        | Expr::RLike { .. } => true,
        _ => false,
    }
}

fn factor_has_no_arguments(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { args: None, .. })
}

/// A name as SQL compares it: as written if it is quoted, else in lower case.
fn folded(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The line and column at the end of a parser's message: `… at Line: 1, Column: 5`.
pub(crate) fn parser_error_place(error: &ParserError) -> Option<(u64, u64)> {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        ParserError::RecursionLimitExceeded => return None,
    };
    let (_, after) = text.rsplit_once("Line: ")?;
    let (line, column) = after.split_once(", Column: ")?;
    let digits = column.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((line.parse().ok()?, digits.parse().ok()?))
}
