//! Final check of a prepared plan: compares the operators that will run with the governed plan behind them.
//!
//! It requires that each operator that reads a governed table carries the table's whole policy in its own filter, below
//! everything else of the query. Rows that are visible through a parent must be looked up by keys of visible parents,
//! and a masked column must leave the operators that read it only through its mask. The check shares no code with the
//! rewriting that it checks: it reads the policies from the governed plan ([`guards`]) and inspects the operators as
//! they are ([`origin`], [`masks`]). If a plan fails, its query runs in the ordinary way.

mod guards;
mod masks;
mod origin;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;

use super::lookup::LookupExec;
use super::scan::HotScanExec;
use super::template::Slots;
use crate::hot::HotTable;
use guards::{Guard, conditions_of};
use origin::origin;

/// The number of prepared plans that failed the check since the process started.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The number of prepared plans that were rejected since the process started because an operator lacked its table's
/// policy. Any value but 0 is a bug in lakegate.
pub fn refused_prepared_plans() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// Whether the operators enforce the governed plan. Counts and logs a failure.
pub(super) fn holds(
    operators: &Arc<dyn ExecutionPlan>,
    governed: &LogicalPlan,
    slots: &Slots,
    session: &SessionState,
) -> bool {
    match check(operators, governed, slots, session) {
        Ok(()) => true,
        Err(error) => {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %error.strip_backtrace(), "a prepared plan does not carry its policies and is not used");
            false
        }
    }
}

/// Compares the operators with the policies of the governed plan.
///
/// # Errors
/// If an operator lacks a part of its policy; the message names the table.
fn check(
    operators: &Arc<dyn ExecutionPlan>,
    governed: &LogicalPlan,
    slots: &Slots,
    session: &SessionState,
) -> Result<()> {
    let guards = guards::of(governed, slots, session)?;
    operators.apply(|node| {
        if let Some(reader) = Reader::of(node) {
            guarded(&reader, &guards)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    masks::check(operators, &guards)
}

/// An operator that reads a table.
pub(super) struct Reader<'a> {
    pub(super) table: &'a Arc<HotTable>,
    /// The predicate that rows must satisfy, over columns of the table.
    pub(super) filter: Option<&'a Arc<dyn PhysicalExpr>>,
    /// The indices in the table of the columns that it reads for its output.
    pub(super) columns: &'a [usize],
    pub(super) lookup: Option<&'a LookupExec>,
}

impl<'a> Reader<'a> {
    fn of(node: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        match (node.downcast_ref::<HotScanExec>(), node.downcast_ref::<LookupExec>()) {
            (Some(scan), _) => Some(scan.reader()),
            (_, Some(lookup)) => Some(lookup.reader()),
            _ => None,
        }
    }

    /// The conjuncts of its filter, as text.
    fn conditions(&self) -> Result<Vec<String>> {
        self.filter.map_or_else(|| Ok(Vec::new()), conditions_of)
    }

    fn fulfils(&self, guard: &Guard) -> Result<bool> {
        let conditions = self.conditions()?;
        let has_all = guard.conditions.iter().all(|condition| conditions.contains(condition));
        Ok(Arc::ptr_eq(self.table, &guard.table) && has_all && self.comes_from_parents(guard)?)
    }

    /// Whether its rows have visible parents: its keys must come from a scan that fulfils the parent's guard.
    fn comes_from_parents(&self, guard: &Guard) -> Result<bool> {
        let Some(lookup) = self.lookup else { return Ok(guard.parents.is_empty()) };
        let (input, key, by) = lookup.asks_by();
        for parent in &guard.parents {
            let Some((driver, column)) = origin(input, key) else { return Ok(false) };
            if by != parent.column || column != parent.key || !driver.fulfils(&parent.guard)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn guarded(reader: &Reader<'_>, guards: &[Guard]) -> Result<()> {
    let mut own = guards.iter().filter(|guard| Arc::ptr_eq(&guard.table, reader.table)).peekable();
    if own.peek().is_none() {
        // The governed plan was verified and reads the table without a barrier, so every caller may see all rows.
        return Ok(());
    }
    for guard in own {
        if reader.fulfils(guard)? {
            return Ok(());
        }
    }
    plan_err!("an operator reads `{}` without the table's policy", reader.table.name())
}
