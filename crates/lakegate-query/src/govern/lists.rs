//! Refuses row filters in which an empty list of the caller's would show rows and not hide them.
//!
//! A caller with an empty list sees no row by `k IN (principal('x'))`, nor by `k NOT IN (principal('x'))`: both are
//! NULL. Under `AND`, `OR` and `NOT`, NULL hides the row. Under anything else, such as `IS NOT FALSE`, `CASE` and
//! `coalesce`, NULL may become true, and what hides rows in a subquery may show rows outside of it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Select, SetExpr, Spanned, UnaryOperator, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::project::Finding;

use super::policy::attribute_of;
use crate::plan::place::Place;

/// Findings about list memberships in a row filter whose calls of `principal` have become placeholders.
pub(crate) fn misplaced(filter: &Expr, place: &Place<'_>) -> Vec<Finding> {
    let mut memberships = Memberships { place, findings: Vec::new() };
    memberships.condition(filter, false, false);
    memberships.findings
}

struct Memberships<'a> {
    place: &'a Place<'a>,
    findings: Vec<Finding>,
}

impl Memberships<'_> {
    /// Checks a condition under `AND`, `OR` and `NOT` only, so that only its truth matters.
    fn condition(&mut self, expr: &Expr, is_negated: bool, is_below: bool) {
        match expr {
            Expr::Nested(inner) => self.condition(inner, is_negated, is_below),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.condition(expr, !is_negated, is_below),
            Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
                self.condition(left, is_negated, is_below);
                self.condition(right, is_negated, is_below);
            }
            Expr::InList { expr, list, negated } => {
                self.value(expr);
                if list.iter().any(is_attribute) && is_below && *negated != is_negated {
                    self.refuse(
                        expr.span(),
                        "`NOT IN` over a list of the caller's stands in a subquery, where an empty list would show rows",
                        "put it beside the subquery, or compare with `IN` there",
                    );
                }
            }
            Expr::Exists { subquery, .. } => self.query(subquery),
            Expr::InSubquery { expr, subquery, .. } => {
                self.value(expr);
                self.query(subquery);
            }
            other => self.value(other),
        }
    }

    /// Checks any other expression, which must contain no membership in a list of the caller's.
    fn value(&mut self, expr: &Expr) {
        if let Some(span) = membership_in(expr) {
            self.refuse(
                span,
                "a list of the caller's is asked below something else than `AND`, `OR` and `NOT`: an empty list would show rows",
                "write it as a condition of its own, as in `k IN (principal('x')) OR k IS NULL`",
            );
        }
    }

    fn query(&mut self, query: &Query) {
        let (SetExpr::Select(select), None) = (query.body.as_ref(), &query.with) else { return self.whole(query) };
        let Select { selection, .. } = select.as_ref();
        let rest = Select { selection: None, ..select.as_ref().clone() };
        self.whole(&rest);
        self.whole(&query.order_by);
        if let Some(condition) = selection {
            self.condition(condition, false, true);
        }
    }

    fn whole(&mut self, part: &impl Visit) {
        let mut found = Found(None);
        let _ = part.visit(&mut found);
        if let Some(span) = found.0 {
            self.refuse(
                span,
                "a list of the caller's is asked in a subquery outside of its `WHERE`",
                "put it beside the subquery, or into its `WHERE`",
            );
        }
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) {
        self.findings.push(self.place.finding(span, message).help(help));
    }
}

fn membership_in(expr: &Expr) -> Option<Span> {
    let mut found = Found(None);
    let _ = expr.visit(&mut found);
    found.0
}

/// The position of a membership in a list of the caller's.
struct Found(Option<Span>);

impl Visitor for Found {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::InList { expr, list, .. } if list.iter().any(is_attribute) => {
                self.0 = Some(expr.span());
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_attribute(item: &Expr) -> bool {
    match item {
        Expr::Nested(inner) => is_attribute(inner),
        Expr::Value(value) => matches!(&value.value, Value::Placeholder(id) if attribute_of(id).is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::govern::testing;

    async fn findings(filter: &str) -> Result<(), String> {
        let lake = tempfile::tempdir().unwrap();
        for table in ["t", "u"] {
            std::fs::write(lake.path().join(format!("{table}.csv")), "id,k,b\n0,1,true\n1,2,false\n2,,\n").unwrap();
        }
        let config = format!(
            "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.csv\"\nrow_filter = \"{filter}\"\n\
             [tables.u]\nlocation = \"u.csv\"\nshared = true\n"
        );
        let loaded = testing::try_project(lake.path(), &config, &[("e", "SELECT id FROM t")]).await;
        loaded.map(drop).map_err(|findings| findings.join("\n"))
    }

    /// In these places, the NULL of an empty list becomes true for every row.
    #[tokio::test]
    async fn a_list_of_the_callers_stands_where_an_empty_one_hides_rows() {
        for filter in [
            "(k IN (principal('x'))) IS NOT FALSE",
            "(k IN (principal('x'))) IS NULL",
            "(k NOT IN (principal('x'))) IS NOT TRUE",
            "coalesce(k NOT IN (principal('x')), true)",
            "(k IN (principal('x'))) IS DISTINCT FROM false",
            "CASE WHEN k NOT IN (principal('x')) THEN false ELSE true END",
            "b = (k IN (principal('x')))",
            "NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.k NOT IN (principal('x')))",
            "k NOT IN (SELECT k FROM u WHERE NOT (k IN (principal('x'))))",
            "id IN (SELECT CASE WHEN k IN (principal('x')) THEN id END FROM u)",
        ] {
            let refused = findings(filter).await.expect_err(filter);
            assert!(
                refused.contains("a list of the caller's") || refused.contains("over a list of the caller's"),
                "{refused}"
            );
        }
        for filter in [
            "k IN (principal('x'))",
            "k IN (principal('x')) OR k IS NULL",
            "NOT (k IN (principal('x')) AND b) OR k NOT IN (principal('y'))",
            "EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND (u.k IN (principal('x')) OR u.b))",
            "k IN (SELECT k FROM u WHERE k IN (principal('x')))",
        ] {
            findings(filter).await.unwrap_or_else(|refused| panic!("{filter}: {refused}"));
        }
    }
}
