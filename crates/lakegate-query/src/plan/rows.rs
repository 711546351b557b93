//! Comparisons of rows of values, as in `(a, b) IN ((1, 2), (3, 4))`, written out part by part.
//!
//! The engine makes structs of the rows, and two structs with a NULL in them are different. SQL does not know whether they are.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, VisitorMut};

/// Puts comparisons of parts in the place of comparisons of rows.
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

/// Whether each part equals its other; `None` where there are not as many.
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

/// The conditions as one, which is no deeper than their number needs; `None` where there are none.
fn balanced(mut conditions: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    if conditions.len() < 2 {
        return conditions.pop().map(|only| Expr::Nested(Box::new(only)));
    }
    let others = conditions.split_off(conditions.len() / 2);
    let (left, right) = (balanced(conditions, op)?, balanced(others, op)?);
    let both = Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    Some(Expr::Nested(Box::new(both)))
}
