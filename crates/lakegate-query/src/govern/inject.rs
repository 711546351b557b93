//! Puts the policies into a logical plan: at every scan, before the optimiser sees it.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, TableScan};

use super::barrier::Barrier;
use super::policy::{self, Policies, TablePolicy};
use crate::lake::lake_table;

/// The policies of a project as they are for one shape of caller.
pub(crate) struct Injection<'a> {
    pub(crate) policies: &'a Policies,
    /// Tables of which this caller sees every row.
    pub(crate) unfiltered: &'a BTreeSet<String>,
}

/// What a scan is under.
pub(crate) enum Rule {
    /// Every row may be seen.
    AllRows,
    /// Only rows that fulfil this predicate, whose subqueries are governed themselves.
    Rows(Box<Expr>),
}

impl Injection<'_> {
    /// The plan with every scan of a governed table under its filter and the barrier.
    ///
    /// # Errors
    /// A scan of anything but a table of the project.
    pub(crate) fn govern(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        // The subquery-aware walk: the plain one misses tables in `IN (SELECT …)`, `EXISTS` and scalar subqueries.
        // It goes up, so that what is put in is not visited again.
        let governed = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(governed.data)
    }

    fn scan(&self, scan: TableScan) -> Result<Transformed<LogicalPlan>> {
        let table = table_of(&scan)?;
        match self.rule(&table)? {
            Rule::AllRows => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
            Rule::Rows(predicate) => {
                let filter = Filter::try_new(*predicate, Arc::new(LogicalPlan::TableScan(scan)))?;
                Ok(Transformed::yes(Barrier::over(&table, LogicalPlan::Filter(filter))))
            }
        }
    }

    /// What scans of a table are under.
    pub(crate) fn rule(&self, table: &str) -> Result<Rule> {
        match self.policies.get(table) {
            None => plan_err!("table `{table}` has no policy"),
            Some(TablePolicy::Shared) => Ok(Rule::AllRows),
            Some(TablePolicy::Filtered(_)) if self.unfiltered.contains(table) => Ok(Rule::AllRows),
            Some(TablePolicy::Filtered(filter)) => {
                let predicate = policy::map_subqueries(filter.predicate.clone(), &mut |plan| self.govern(plan))?;
                Ok(Rule::Rows(Box::new(predicate)))
            }
        }
    }
}

/// The lake table behind a scan: what it is, not what the query calls it.
pub(crate) fn table_of(scan: &TableScan) -> Result<String> {
    let provider = source_as_provider(&scan.source)?;
    let any: &dyn Any = provider.as_ref();
    match lake_table(any) {
        Some(table) => Ok(table.name().to_owned()),
        None => plan_err!("`{}` is not a table of the lake", scan.table_name),
    }
}
