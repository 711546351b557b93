//! Computes the column lineage of a response, for documents, `explain` and tests of policies.
//!
//! A column counts as a source if a value is computed from it, not if the query only filters, joins or sorts by it. For
//! an unknown node, everything below it counts. Lineage enforces nothing: masks and column access are checked
//! elsewhere.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::govern::policy::subquery_of;
use crate::govern::table_of;

/// A table and one of its columns.
pub(crate) type Source = (String, String);

type Sources = Vec<BTreeSet<Source>>;

/// The sources of each column of a plan without policies.
pub(crate) fn sources(plan: &LogicalPlan) -> Result<Sources> {
    if let LogicalPlan::TableScan(scan) = plan {
        let table = table_of(scan)?;
        let own = |name: &String| BTreeSet::from([(table.clone(), name.clone())]);
        return Ok(plan.schema().fields().iter().map(|field| own(field.name())).collect());
    }
    let inputs = plan.inputs();
    let mut below = inputs.iter().map(|input| sources(input)).collect::<Result<Vec<_>>>()?;
    let of = |expr: &Expr, below: &[Sources]| expression(expr, &inputs, below);
    let first = |below: &mut Vec<Sources>| if below.is_empty() { Sources::new() } else { below.remove(0) };
    Ok(match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Distinct(_) => first(&mut below),
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().map(|expr| of(expr, &below)).collect::<Result<_>>()?
        }
        LogicalPlan::Aggregate(aggregate)
            if aggregate.schema.fields().len() == aggregate.group_expr.len() + aggregate.aggr_expr.len() =>
        {
            aggregate
                .group_expr
                .iter()
                .chain(&aggregate.aggr_expr)
                .map(|expr| of(expr, &below))
                .collect::<Result<_>>()?
        }
        LogicalPlan::Window(window) => {
            let own = window.window_expr.iter().map(|expr| of(expr, &below)).collect::<Result<Vec<_>>>()?;
            first(&mut below).into_iter().chain(own).collect()
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => first(&mut below),
            JoinType::RightSemi | JoinType::RightAnti => below.pop().unwrap_or_default(),
            _ => padded(below.concat(), plan.schema()),
        },
        LogicalPlan::Union(_) => {
            let columns = plan.schema().fields().len();
            (0..columns).map(|at| below.iter().filter_map(|input| input.get(at)).flatten().cloned().collect()).collect()
        }
        _ => {
            let all = below.concat().into_iter().flatten().collect::<BTreeSet<_>>();
            vec![all; plan.schema().fields().len()]
        }
    })
}

/// Adds the mark column of a join, which is computed from no value.
fn padded(mut sources: Sources, schema: &DFSchema) -> Sources {
    sources.resize(schema.fields().len(), BTreeSet::new());
    sources
}

fn expression(expr: &Expr, inputs: &[&LogicalPlan], below: &[Sources]) -> Result<BTreeSet<Source>> {
    let mut found = BTreeSet::new();
    expr.apply(|inner| {
        if let Expr::Column(column) = inner {
            for (input, sources) in inputs.iter().zip(below) {
                if let Some(at) = input.schema().maybe_index_of_column(column) {
                    found.extend(sources.get(at).into_iter().flatten().cloned());
                }
            }
        }
        if let Some(plan) = subquery_of(inner) {
            found.extend(sources(plan)?.into_iter().flatten());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
