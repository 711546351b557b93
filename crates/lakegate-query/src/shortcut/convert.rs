//! Converts a governed plan into one over resident tables: scans of the block cache and index joins.
//!
//! Every node that reads a table must be converted. If one cannot be, there is no prepared plan.

use std::sync::Arc;

use datafusion::common::{Column, NullEquality};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, Projection};

use super::access::{Access, Parent, is_selective, schema_of};
use super::cut::Cut;
use super::implied::is_implied;
use super::lookup::Kind;
use super::node;
use crate::govern::policy::has_subquery;
use crate::hot::{KeyIndex, is_indexable};

/// Converts a plan to read resident tables; `None` if a part of it cannot be converted.
pub(super) fn converted(plan: &LogicalPlan) -> Option<LogicalPlan> {
    if let Some(access) = Access::of(plan) {
        return read(&access);
    }
    match plan {
        LogicalPlan::TableScan(_) => None,
        LogicalPlan::Filter(filter) => {
            let split = Access::of(&filter.input).and_then(|access| access.filter(filter));
            let Some((access, rest)) = split else { return rebuilt(plan) };
            let input = read(&access)?;
            match conjunction(rest) {
                Some(rest) => Some(LogicalPlan::Filter(Filter::try_new(rest, Arc::new(input)).ok()?)),
                None => Some(input),
            }
        }
        LogicalPlan::Limit(limit) => {
            let input = converted(&limit.input)?;
            Cut::of(limit, input).or_else(|| rebuilt(plan))
        }
        LogicalPlan::Join(join) => lookup(join).or_else(|| rebuilt(plan)),
        // A barrier over anything but a table scan spec cannot be converted.
        LogicalPlan::Extension(_) | LogicalPlan::RecursiveQuery(_) => None,
        _ => rebuilt(plan),
    }
}

/// A copy of the node over its converted inputs.
fn rebuilt(plan: &LogicalPlan) -> Option<LogicalPlan> {
    if plan.inputs().is_empty() && !matches!(plan, LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_)) {
        return None;
    }
    let exprs = plan.expressions();
    if exprs.iter().any(has_subquery) {
        return None;
    }
    let inputs = plan.inputs().into_iter().map(converted).collect::<Option<Vec<_>>>()?;
    plan.with_new_exprs(exprs, inputs).ok()
}

/// The plan that reads one table without a join of the query.
fn read(access: &Access) -> Option<LogicalPlan> {
    if let Some(made) = &access.made {
        let schema = Arc::new(schema_of(&access.table, &access.columns).ok()?);
        let plain = Access { made: None, schema, ..access.clone() };
        let names = access.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.name()));
        let exprs =
            made.iter().zip(names).map(|(expr, (qualifier, name))| expr.clone().alias_qualified(qualifier, name));
        let input = Arc::new(read(&plain)?);
        let projection = Projection::try_new_with_schema(exprs.collect(), input, Arc::clone(&access.schema));
        return projection.ok().map(LogicalPlan::Projection);
    }
    let Some(parent) = &access.parent else { return Some(node::scan(access)) };
    let keys = key_of(parent)?;
    let driver = read(&keys)?;
    may_ask(access, parent.column, is_selective_access(&keys))
        .then(|| node::lookup(driver, 0, Kind::Of, access, parent.column, Arc::clone(&access.schema)))
}

/// The scan spec of the parent, reduced to the key column.
fn key_of(parent: &Parent) -> Option<Access> {
    let of = parent.of.as_ref().clone();
    let at = (0..of.columns.len()).find(|at| of.place(*at) == Some(parent.key))?;
    let (qualifier, field) = of.schema.qualified_field(at);
    let schema = datafusion::common::DFSchema::new_with_metadata(
        vec![(qualifier.cloned(), Arc::clone(field))],
        Default::default(),
    );
    Some(Access { columns: vec![parent.key], schema: Arc::new(schema.ok()?), ..of })
}

fn is_selective_access(access: &Access) -> bool {
    access.parent.is_some() || !access.filters.is_empty()
}

/// Whether to use an index: it must fit the memory and, if most rows may be looked up, so must the columns.
fn may_ask(access: &Access, column: usize, is_selective: bool) -> bool {
    let budget = access.table.memory_budget();
    let has_room = KeyIndex::bytes_for(&access.table, column).is_some_and(|bytes| bytes <= budget / 2);
    let columns = access.columns.iter().copied().chain(access.filter_columns().unwrap_or_default());
    let is_small = || access.table.bytes_of(&columns.collect::<Vec<_>>()).is_some_and(|bytes| bytes <= budget / 2);
    is_indexable(access.table.schema().field(column).data_type()) && has_room && (is_selective || is_small())
}

/// Converts a join to an index join that looks up rows of one of its sides.
fn lookup(join: &Join) -> Option<LogicalPlan> {
    let is_plain = join.filter.is_none() && join.null_equality == NullEquality::NullEqualsNothing && !join.null_aware;
    let [(Expr::Column(left), Expr::Column(right))] = join.on.as_slice() else { return None };
    if !is_plain {
        return None;
    }
    let forth = Way { driver: &join.left, key: left, side: &join.right, by: right };
    match join.join_type {
        JoinType::Left => forth.taken(Kind::Left, join),
        JoinType::LeftSemi => forth.taken(Kind::Semi, join),
        JoinType::Inner => {
            let back = Way { driver: &join.right, key: right, side: &join.left, by: left };
            // A parent probes its children; otherwise the more selective side probes.
            let is_forth = match (forth.makes_sure_of_parent(), back.makes_sure_of_parent()) {
                (true, false) => true,
                (false, true) => false,
                _ => is_selective(&join.left) || !is_selective(&join.right),
            };
            match is_forth {
                true => forth.taken(Kind::Inner, join).or_else(|| back.turned(join)),
                false => back.turned(join).or_else(|| forth.taken(Kind::Inner, join)),
            }
        }
        _ => None,
    }
}

/// A direction of an index join: `driver` is the probe side, `side` the indexed table.
struct Way<'a> {
    driver: &'a LogicalPlan,
    key: &'a Column,
    side: &'a LogicalPlan,
    by: &'a Column,
}

impl Way<'_> {
    /// The index join that replaces a join in this direction.
    fn taken(&self, kind: Kind, join: &Join) -> Option<LogicalPlan> {
        let schema = Arc::clone(&join.schema);
        self.over(kind, schema)
    }

    /// The index join that probes from right to left, with its columns put back into the join's order.
    fn turned(&self, join: &Join) -> Option<LogicalPlan> {
        let schema = Arc::new(self.driver.schema().join(self.side.schema()).ok()?);
        let asked = self.over(Kind::Inner, schema)?;
        let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
        let projection = Projection::try_new_with_schema(columns, Arc::new(asked), Arc::clone(&join.schema));
        projection.ok().map(LogicalPlan::Projection)
    }

    /// Whether `side` has a policy through a parent and the probe side is rows of that parent.
    fn makes_sure_of_parent(&self) -> bool {
        Access::of(self.side).is_some_and(|access| {
            let parent = access.parent.as_ref().zip(access.place_of(self.by));
            parent.is_some_and(|(parent, column)| is_implied(parent, column, self.driver, self.key))
        })
    }

    fn over(&self, kind: Kind, schema: datafusion::common::DFSchemaRef) -> Option<LogicalPlan> {
        let access = Access::of(self.side)?;
        let column = access.place_of(self.by)?;
        let key = self.driver.schema().maybe_index_of_column(self.key)?;
        let types = (self.driver.schema().field(key).data_type(), access.table.schema().field(column).data_type());
        let is_governed_by_join =
            access.parent.as_ref().is_none_or(|parent| is_implied(parent, column, self.driver, self.key));
        if types.0 != types.1 || !is_governed_by_join || !may_ask(&access, column, is_selective(self.driver)) {
            return None;
        }
        let driver = converted(self.driver)?;
        Some(node::lookup(driver, key, kind, &access, column, schema))
    }
}
