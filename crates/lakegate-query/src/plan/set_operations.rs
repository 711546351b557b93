//! Implements `INTERSECT ALL` and `EXCEPT ALL` as the SQL standard counts them: a row that occurs `m` times on the left
//! and `n` times on the right occurs `min(m, n)` or `max(m - n, 0)` times in the result.
//!
//! DataFusion keeps or drops all copies of a row. So this numbers the copies on each side and compares the numbers,
//! too.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, NullEquality, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder,
};

/// The column with the number of a row's copy. No SQL names it.
const COPY: &str = "__copy";

/// The plan with these operations counting copies. Takes the plan as the planner made it, because other plans have such
/// joins for other reasons.
pub(crate) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if counts_copies(&join) => {
            let columns = join.left.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
            let (left, right) = (numbered(&join.left)?, numbered(&join.right)?);
            let mut on = join.on.clone();
            on.push((number_of(&left), number_of(&right)));
            let compared = Join::try_new(
                Arc::new(left),
                Arc::new(right),
                on,
                join.filter.clone(),
                join.join_type,
                JoinConstraint::On,
                NullEquality::NullEqualsNull,
                false,
            )?;
            LogicalPlanBuilder::from(LogicalPlan::Join(compared)).project(columns)?.build().map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(counted.data)
}

/// Whether a join is an operation with `ALL`. Without it, the left side is made distinct first.
fn counts_copies(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
}

fn numbered(side: &LogicalPlan) -> Result<LogicalPlan> {
    let columns = side.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    let number = row_number().partition_by(columns).build()?.alias(COPY);
    let mut all = side.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    let numbered = LogicalPlanBuilder::from(side.clone()).window(vec![number.clone()])?;
    all.push(Expr::Column(Column::new_unqualified(number.schema_name().to_string())));
    numbered.project(all)?.build()
}

fn number_of(side: &LogicalPlan) -> Expr {
    let last = side.schema().fields().len() - 1;
    Expr::Column(Column::from(side.schema().qualified_field(last)))
}
