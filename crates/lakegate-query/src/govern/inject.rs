//! Puts the policies into a logical plan, at every scan, before the optimiser runs.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, TableScan};

use super::barrier::Barrier;
use super::masking::InForce;
use super::policy::{self, Policies, TablePolicy};
use crate::lake::lake_table;

/// The policies of a project for one shape of caller.
#[derive(Clone, Copy)]
pub(crate) struct Injection<'a> {
    pub(crate) policies: &'a Policies,
    /// Tables whose every row this caller sees.
    pub(crate) unfiltered: &'a BTreeSet<String>,
    /// The masks in force for this caller.
    pub(crate) masks: &'a InForce,
}

/// No masks, for the filters of policies, because they are evaluated on raw values.
static UNMASKED: LazyLock<InForce> = LazyLock::new(InForce::default);

/// The row policy of a scan.
pub(crate) enum Rule {
    /// Every row is visible.
    AllRows,
    /// Only rows that satisfy this predicate are visible. Its subqueries are governed themselves.
    Rows(Box<Expr>),
}

impl Injection<'_> {
    /// The plan with every scan of a governed table under its filter, the barrier and its masks.
    ///
    /// # Errors
    /// A scan of anything but a table of the project.
    pub(crate) fn govern(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        // Walks into subqueries, because the plain walk misses tables in `IN (SELECT …)`, `EXISTS` and scalar
        // subqueries. Walks bottom-up, so that it does not visit the nodes it adds.
        let governed = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            // A mask can return NULL for a column that has none, so the nodes above need new schemas.
            other if self.masks.is_any() => Ok(Transformed::yes(other.recompute_schema()?)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(governed.data)
    }

    fn scan(&self, scan: TableScan) -> Result<Transformed<LogicalPlan>> {
        let table = table_of(&scan)?;
        let masked = self.masks.columns(&table);
        let governed = match self.rule(&table)? {
            Rule::AllRows if masked.is_empty() => return Ok(Transformed::no(LogicalPlan::TableScan(scan))),
            // Masked columns must not be used for pruning and statistics, so these rows are behind a barrier, too.
            Rule::AllRows => LogicalPlan::TableScan(scan),
            Rule::Rows(predicate) => {
                LogicalPlan::Filter(Filter::try_new(*predicate, Arc::new(LogicalPlan::TableScan(scan)))?)
            }
        };
        let behind = Barrier::over(&table, masked, governed);
        Ok(Transformed::yes(self.masks.over(&table, behind)?))
    }

    /// The policies that apply inside a row filter's own subqueries: the same filters, but no masks.
    pub(crate) fn of_filters(&self) -> Injection<'_> {
        Injection { masks: &UNMASKED, ..*self }
    }

    /// The row policy for scans of a table.
    pub(crate) fn rule(&self, table: &str) -> Result<Rule> {
        let Some(predicate) = self.predicate(table)? else { return Ok(Rule::AllRows) };
        let raw = self.of_filters();
        let predicate = policy::map_subqueries(predicate, &mut |plan| raw.govern(plan))?;
        Ok(Rule::Rows(Box::new(predicate)))
    }

    /// The predicate for rows of a table: the one that its catalog demands for every caller, and the policy's filter
    /// unless this caller sees every row. Its subqueries are not governed yet.
    pub(crate) fn predicate(&self, table: &str) -> Result<Option<Expr>> {
        let own = match self.policies.get(table) {
            None => return plan_err!("table `{table}` has no policy"),
            Some(TablePolicy::Filtered(filter)) if !self.unfiltered.contains(table) => Some(filter.predicate.clone()),
            Some(_) => None,
        };
        let ceiling = self.policies.ceiling(table).cloned();
        Ok(match (ceiling, own) {
            (Some(ceiling), Some(own)) => Some(ceiling.and(own)),
            (one, other) => one.or(other),
        })
    }
}

/// The schemas of the lake tables that a plan scans, including those in subqueries.
pub(crate) fn schemas_of(plan: &LogicalPlan) -> Result<BTreeMap<String, SchemaRef>> {
    let mut schemas = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            schemas.insert(table_of(scan)?, scan.source.schema());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(schemas)
}

/// The lake tables that a plan scans, including those in subqueries.
pub(crate) fn tables_of(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut tables = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(table_of(scan)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// The tables that a plan scans, with their versions, including those in subqueries. A table that is scanned in two
/// versions is listed twice.
pub(crate) fn versions_of(plan: &LogicalPlan) -> Result<BTreeSet<(String, [u8; 32])>> {
    let mut versions = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            let any: &dyn Any = provider.as_ref();
            versions.extend(lake_table(any).map(|table| (table.name().to_owned(), table.version())));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(versions)
}

/// The name of the lake table behind a scan, and not its alias in the query.
pub(crate) fn table_of(scan: &TableScan) -> Result<String> {
    let provider = source_as_provider(&scan.source)?;
    let any: &dyn Any = provider.as_ref();
    match lake_table(any) {
        Some(table) => Ok(table.name().to_owned()),
        None => plan_err!("`{}` is not a table of the lake", scan.table_name),
    }
}
