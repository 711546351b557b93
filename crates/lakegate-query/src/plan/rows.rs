//! Rewrites comparisons of row values, such as `(a, b) IN ((1, 2), (3, 4))`, as comparisons of their parts.
//!
//! DataFusion compares such rows as structs and takes two structs with a NULL for different. In SQL their equality is
//! unknown.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, VisitorMut};

/// Replaces comparisons of rows with comparisons of parts.
pub(super) struct ByParts;

impl VisitorMut for ByParts {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let written_out = match expr {
            Expr::BinaryOp { left, op, right } => match (op, row(left), row(right)) {
                (BinaryOperator::Eq, Some(left), Some(right)) => equal(left, right),
                (BinaryOperator::NotEq, Some(left), Some(right)) => equal(left, right).map(negated),
                _ => None,
            },
            Expr::InList { expr, list, negated: is_negated } => row(expr).and_then(|value| {
                let items = list.iter().map(|item| row(item).and_then(|item| equal(value, item)));
                let any = balanced(items.collect::<Option<_>>()?, &BinaryOperator::Or)?;
                Some(if *is_negated { negated(any) } else { any })
            }),
            _ => None,
        };
        if let Some(written_out) = written_out {
            *expr = written_out;
        }
        ControlFlow::Continue(())
    }
}

fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(parts) => Some(parts),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

/// The condition that all parts are equal in pairs; `None` if the rows differ in length.
fn equal(left: &[Expr], right: &[Expr]) -> Option<Expr> {
    let part = |(left, right): (&Expr, &Expr)| Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left.clone()))),
        op: BinaryOperator::Eq,
        right: Box::new(Expr::Nested(Box::new(right.clone()))),
    };
    let parts = left.iter().zip(right).map(part).collect();
    (left.len() == right.len()).then(|| balanced(parts, &BinaryOperator::And))?
}

fn negated(expr: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }))
}

/// Joins the conditions with `op` as a balanced tree, to keep it shallow; `None` if there are none.
fn balanced(mut conditions: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    if conditions.len() < 2 {
        return conditions.pop().map(|only| Expr::Nested(Box::new(only)));
    }
    let others = conditions.split_off(conditions.len() / 2);
    let (left, right) = (balanced(conditions, op)?, balanced(others, op)?);
    let both = Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    Some(Expr::Nested(Box::new(both)))
}
