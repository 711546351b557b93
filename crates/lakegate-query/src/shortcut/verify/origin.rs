//! Traces a column of an operator down to the operator that reads it from a table.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;

use super::Reader;
use crate::shortcut::distinct::DistinctExec;
use crate::shortcut::lookup::Kind;
use crate::shortcut::scan::HotScanExec;

/// The origin of an output column of an operator.
pub(super) enum From {
    /// A column of an input: the index of the input, and that of the column in it.
    Input(usize, usize),
    /// A computed or unknown value.
    Elsewhere,
}

/// The reader that a column comes from unchanged, apart from added NULLs, and the column's index in the table.
pub(super) fn origin(node: &Arc<dyn ExecutionPlan>, at: usize) -> Option<(Reader<'_>, usize)> {
    if node.is::<HotScanExec>() {
        let reader = Reader::of(node)?;
        let column = *reader.columns.get(at)?;
        return Some((reader, column));
    }
    if let Some(reader) = Reader::of(node) {
        let lookup = reader.lookup?;
        let (input, _, _) = lookup.asks_by();
        let own = match lookup.kind() {
            Kind::Of => Some(at),
            Kind::Semi => None,
            Kind::Inner | Kind::Left => at.checked_sub(input.schema().fields().len()),
        };
        return match own {
            None => origin(input, at),
            Some(_) if lookup.makes().is_some() => None,
            Some(own) => {
                let column = *reader.columns.get(own)?;
                Some((reader, column))
            }
        };
    }
    match from(node, at) {
        From::Input(input, place) => origin(node.children().get(input).copied()?, place),
        From::Elsewhere => None,
    }
}

/// The origin of a column of an operator that reads no table.
pub(super) fn from(node: &Arc<dyn ExecutionPlan>, at: usize) -> From {
    let plain = |expr: Option<&Arc<dyn PhysicalExpr>>| match expr.and_then(|expr| expr.downcast_ref::<Column>()) {
        Some(column) => From::Input(0, column.index()),
        None => From::Elsewhere,
    };
    let projected = |projection: Option<&[usize]>| match projection {
        Some(projection) => projection.get(at).copied(),
        None => Some(at),
    };
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        return plain(projection.expr().get(at).map(|of| &of.expr));
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let place = projected(filter.projection().as_deref());
        return place.map_or(From::Elsewhere, |place| From::Input(0, place));
    }
    if let Some(distinct) = node.downcast_ref::<DistinctExec>() {
        return plain(distinct.groups().get(at));
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let groups = aggregate.group_expr();
        return if groups.is_single() { plain(groups.input_exprs().get(at)) } else { From::Elsewhere };
    }
    let join = match (node.downcast_ref::<HashJoinExec>(), node.downcast_ref::<NestedLoopJoinExec>()) {
        (Some(join), _) => Some((*join.join_type(), join.projection.as_deref())),
        (_, Some(join)) => Some((*join.join_type(), join.projection().as_deref())),
        _ => None,
    };
    if let Some((join_type, projection)) = join {
        let children = node.children();
        let Some((place, left)) = projected(projection).zip(children.first()) else { return From::Elsewhere };
        let left = left.schema().fields().len();
        return match join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => match place.checked_sub(left) {
                None => From::Input(0, place),
                Some(place) => From::Input(1, place),
            },
            JoinType::LeftSemi | JoinType::LeftAnti => From::Input(0, place),
            JoinType::RightSemi | JoinType::RightAnti => From::Input(1, place),
            JoinType::LeftMark if place < left => From::Input(0, place),
            JoinType::LeftMark | JoinType::RightMark => From::Elsewhere,
        };
    }
    // Operators that pass rows on unchanged.
    const PASS: [&str; 9] = [
        "CoalesceBatchesExec",
        "CoalescePartitionsExec",
        "CooperativeExec",
        "CutExec",
        "GlobalLimitExec",
        "LocalLimitExec",
        "RepartitionExec",
        "SortExec",
        "SortPreservingMergeExec",
    ];
    match node.children().as_slice() {
        [child] if PASS.contains(&node.name()) && child.schema().fields().len() == node.schema().fields().len() => {
            From::Input(0, at)
        }
        _ => From::Elsewhere,
    }
}
