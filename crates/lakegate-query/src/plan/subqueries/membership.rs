//! Rewrites `IN`, `NOT IN`, `ANY` and `ALL` over a subquery as conditions of `EXISTS`, which is never NULL.
//!
//! `x IN (S)` is true if a value of `S` equals `x`. Else it is NULL if `S` has a NULL, or if `x` is NULL and `S` has a
//! row. Else it is false. If only truth matters, as in a conjunct under `OR`, the condition need not distinguish NULL
//! from false and is simpler.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Spans, TableReference, plan_err};
use datafusion::logical_expr::expr::{Case, Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit, not, when,
};

use super::refused;
use super::shape::is_correlated;
use crate::govern::policy::has_subquery;

/// The outcomes of a condition that its context must distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// True from NULL and false.
    Truth,
    /// False from NULL and true.
    Falsity,
    /// True, false and NULL.
    Value,
}

impl Need {
    fn flipped(self) -> Self {
        match self {
            Self::Truth => Self::Falsity,
            Self::Falsity => Self::Truth,
            Self::Value => Self::Value,
        }
    }
}

/// Rewrites conditions. Numbers the names that it makes, so that they are unique in a plan.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    names: usize,
}

/// Whether DataFusion's joins overlook NULLs among the compared values. They look at validity bitmaps, but a column
/// that is NULL in every row has none.
fn hides_nulls(membership: &InSubquery, scope: &DFSchema) -> bool {
    fn is_plain(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(_, value) => is_plain(value),
            DataType::Null | DataType::RunEndEncoded(..) | DataType::Union(..) => false,
            data_type => !data_type.is_nested(),
        }
    }
    let of_subquery = membership.subquery.subquery.schema();
    let of_value = membership.expr.get_type(scope);
    !(of_value.is_ok_and(|of| is_plain(&of)) && of_subquery.fields().iter().all(|field| is_plain(field.data_type())))
}

impl Rewriter {
    /// A name that occurs in no SQL, and that no other call returns.
    pub(super) fn name(&mut self) -> String {
        self.names += 1;
        format!("__subquery_{}", self.names)
    }

    /// Rewrites a conjunct of a `WHERE` or `HAVING`. Keeps an `IN` that stands alone, and a `NOT IN` over a value of
    /// the row with an uncorrelated subquery, because DataFusion's own joins are right for these.
    pub(super) fn conjunct(&mut self, conjunct: Expr, scope: &DFSchema) -> Result<Expr> {
        let conjunct = match conjunct {
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(membership) => {
                    Expr::InSubquery(InSubquery { negated: !membership.negated, ..membership })
                }
                Expr::Exists(exists) => Expr::Exists(Exists { negated: !exists.negated, ..exists }),
                inner => Expr::Not(Box::new(inner)),
            },
            other => other,
        };
        match conjunct {
            Expr::InSubquery(membership)
                if !has_subquery(&membership.expr)
                    && !membership.expr.column_refs().is_empty()
                    && (!membership.negated
                        || !is_correlated(&membership.subquery.subquery) && !hides_nulls(&membership, scope)) =>
            {
                Ok(Expr::InSubquery(membership))
            }
            other => self.exact(other, Need::Truth, scope),
        }
    }

    /// Rewrites an expression over `scope` so that every subquery has SQL's outcome, as far as `need` asks.
    pub(super) fn exact(&mut self, expr: Expr, need: Need, scope: &DFSchema) -> Result<Expr> {
        if !has_subquery(&expr) {
            return Ok(expr);
        }
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let (left, right) = (self.exact(*left, need, scope)?, self.exact(*right, need, scope)?);
                Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
            }
            Expr::Not(inner) => Ok(not(self.exact(*inner, need.flipped(), scope)?)),
            Expr::IsTrue(inner) => Ok(Expr::IsTrue(Box::new(self.exact(*inner, Need::Truth, scope)?))),
            Expr::IsNotTrue(inner) => Ok(Expr::IsNotTrue(Box::new(self.exact(*inner, Need::Truth, scope)?))),
            Expr::IsFalse(inner) => Ok(Expr::IsFalse(Box::new(self.exact(*inner, Need::Falsity, scope)?))),
            Expr::IsNotFalse(inner) => Ok(Expr::IsNotFalse(Box::new(self.exact(*inner, Need::Falsity, scope)?))),
            Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
                let mut branches = Vec::with_capacity(when_then_expr.len());
                for (condition, value) in when_then_expr {
                    let condition = self.exact(*condition, Need::Truth, scope)?;
                    branches.push((Box::new(condition), Box::new(self.exact(*value, need, scope)?)));
                }
                let otherwise = else_expr.map(|value| self.exact(*value, need, scope)).transpose()?;
                Ok(Expr::Case(Case { expr: None, when_then_expr: branches, else_expr: otherwise.map(Box::new) }))
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let x = self.exact(*expr, Need::Value, scope)?;
                self.membership(&x, &subquery, negated, need, scope)
            }
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                let x = self.exact(*expr, Need::Value, scope)?;
                match (op, quantifier) {
                    (Operator::Eq, SetQuantifier::Any) => self.membership(&x, &subquery, false, need, scope),
                    (Operator::NotEq, SetQuantifier::All) => self.membership(&x, &subquery, true, need, scope),
                    (op, quantifier) => self.comparison(x, &subquery, op, &quantifier, need, scope),
                }
            }
            other => {
                let inner = other.map_children(|inner| self.exact(inner, Need::Value, scope).map(Transformed::yes))?;
                Ok(inner.data)
            }
        }
    }

    fn membership(
        &mut self,
        x: &Expr,
        subquery: &Subquery,
        negated: bool,
        need: Need,
        scope: &DFSchema,
    ) -> Result<Expr> {
        let (values, column) = self.values(x, subquery)?;
        let is_in = exists_where(&values, Some(outer(x, scope)?.eq(column.clone())), &subquery.spans)?;
        match (need, negated) {
            (Need::Truth, false) => return Ok(is_in),
            (Need::Falsity, true) => return Ok(not(is_in)),
            _ => {}
        }
        let is_unknown = self
            .has_null(&values, &column, subquery)?
            .or(x.clone().is_null().and(self.has_row(&values, &column, subquery)?));
        match (need, negated) {
            (Need::Truth, _) => Ok(not(is_in).and(not(is_unknown))),
            (Need::Falsity, _) => Ok(is_in.or(is_unknown)),
            (Need::Value, _) => when(is_in, lit(!negated)).when(is_unknown, null()).otherwise(lit(negated)),
        }
    }

    /// `x < ANY (S)`: true if a comparison is true, else NULL if one is NULL, else false. For `ALL`, true and false are
    /// swapped.
    fn comparison(
        &mut self,
        x: Expr,
        subquery: &Subquery,
        op: Operator,
        quantifier: &SetQuantifier,
        need: Need,
        scope: &DFSchema,
    ) -> Result<Expr> {
        let (values, column) = self.values(&x, subquery)?;
        let compared = Expr::BinaryExpr(BinaryExpr::new(Box::new(outer(&x, scope)?), op, Box::new(column)));
        let exists = |condition: Expr| exists_where(&values, Some(condition), &subquery.spans);
        let (decides, outcome, enough) = match quantifier {
            SetQuantifier::Any => (exists(compared.clone().is_true())?, true, Need::Truth),
            SetQuantifier::All => (exists(compared.clone().is_false())?, false, Need::Falsity),
        };
        if need == enough {
            return Ok(if outcome { decides } else { not(decides) });
        }
        when(decides, lit(outcome)).when(exists(compared.is_null())?, null()).otherwise(lit(!outcome))
    }

    /// The subquery's rows, with its only column under a new name that no column of the outer query has.
    fn values(&mut self, x: &Expr, subquery: &Subquery) -> Result<(LogicalPlan, Expr)> {
        let plan = subquery.subquery.as_ref();
        if plan.schema().fields().len() != 1 {
            return plan_err!("a subquery that values are compared with has one column");
        }
        if has_subquery(x) {
            return refused(
                &subquery.spans,
                "a subquery is compared with the rows of another one",
                "compute the first one as a column in a CTE, and compare that column",
            );
        }
        // DataFusion distinguishes the columns of a correlated subquery from those of the outer query by name.
        if is_correlated(plan) && x.column_refs().iter().any(|column| names_of(plan).contains(&column.relation)) {
            return refused(
                &subquery.spans,
                "a correlated subquery reads a table under the name that the query around it uses",
                "give the table in the subquery another name with `AS`",
            );
        }
        let source = Expr::Column(Column::from(plan.schema().qualified_field(0)));
        let value = format!("{}_value", self.name());
        let values = LogicalPlanBuilder::from(plan.clone()).project(vec![source.alias(value.clone())])?.build()?;
        Ok((values, Expr::Column(Column::new_unqualified(value))))
    }

    fn has_null(&mut self, values: &LogicalPlan, column: &Expr, subquery: &Subquery) -> Result<Expr> {
        if is_correlated(values) {
            return exists_where(values, Some(column.clone().is_null()), &subquery.spans);
        }
        let (nulls, is_null) = self.nulls(values, column)?;
        exists_where(&nulls, Some(is_null), &subquery.spans)
    }

    fn has_row(&mut self, values: &LogicalPlan, column: &Expr, subquery: &Subquery) -> Result<Expr> {
        if is_correlated(values) {
            return exists_where(values, None, &subquery.spans);
        }
        let (nulls, _) = self.nulls(values, column)?;
        exists_where(&nulls, None, &subquery.spans)
    }

    /// The distinct outcomes of `IS NULL` over the values. These are at most two rows, so a join with them costs
    /// nothing.
    fn nulls(&mut self, values: &LogicalPlan, column: &Expr) -> Result<(LogicalPlan, Expr)> {
        let is_null = format!("{}_null", self.name());
        let nulls = LogicalPlanBuilder::from(values.clone())
            .project(vec![column.clone().is_null().alias(is_null.clone())])?
            .distinct()?
            .build()?;
        Ok((nulls, Expr::Column(Column::new_unqualified(is_null))))
    }
}

fn null() -> Expr {
    lit(ScalarValue::Boolean(None))
}

fn exists_where(plan: &LogicalPlan, condition: Option<Expr>, spans: &Spans) -> Result<Expr> {
    let plan = match condition {
        Some(condition) => LogicalPlanBuilder::from(plan.clone()).filter(condition)?.build()?,
        None => plan.clone(),
    };
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: spans.clone() };
    Ok(Expr::Exists(Exists { subquery, negated: false }))
}

/// An expression of the outer query, written as the subquery refers to it.
fn outer(expr: &Expr, scope: &DFSchema) -> Result<Expr> {
    let outer = expr.clone().transform_up(|inner| match inner {
        Expr::Column(column) => {
            let (qualifier, field) = scope.qualified_field_from_column(&column)?;
            let column = Column::new(qualifier.cloned(), field.name());
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(outer.data)
}

/// The names of the tables that a subquery's conditions can refer to. Tables below an alias are not visible.
fn names_of(plan: &LogicalPlan) -> Vec<Option<TableReference>> {
    let mut names = plan.schema().iter().map(|(qualifier, _)| qualifier.cloned()).collect::<Vec<_>>();
    if !matches!(plan, LogicalPlan::SubqueryAlias(_)) {
        names.extend(plan.inputs().into_iter().flat_map(names_of));
    }
    names
}
