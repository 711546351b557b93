//! The last check of a prepared plan: walks the operators that will run and holds them to the governed plan that they were made of.
//!
//! Every operator that reads a governed table has the table's policy in its own filter, complete, and below everything else of the
//! query; rows that are visible through a parent are looked up by keys of visible parents; and a masked column leaves the operators
//! that read it through its mask alone. The check shares nothing with the rewriting that it checks: it reads the policies from the
//! governed plan ([`guards`]) and the operators as they are ([`origin`], [`masks`]). A plan that fails runs the ordinary way.

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

/// How many prepared plans failed the check since the process started.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The number of prepared plans that were not used because an operator did not carry its table's policy, since the process
/// started. Anything but 0 is a fault of lakegate.
pub fn refused_prepared_plans() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// Whether the operators hold what the governed plan says; a plan that does not is counted and logged.
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

/// # Errors
/// What an operator lacks.
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
    /// What rows must fulfil, over columns of the table.
    pub(super) filter: Option<&'a Arc<dyn PhysicalExpr>>,
    /// The columns that are read for the answer, by their places in the table.
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

    /// The conditions of its filter, as text.
    fn conditions(&self) -> Result<Vec<String>> {
        self.filter.map_or_else(|| Ok(Vec::new()), conditions_of)
    }

    fn fulfils(&self, guard: &Guard) -> Result<bool> {
        let conditions = self.conditions()?;
        let has_all = guard.conditions.iter().all(|condition| conditions.contains(condition));
        Ok(Arc::ptr_eq(self.table, &guard.table) && has_all && self.comes_from_parents(guard)?)
    }

    /// Whether it gives only rows whose parents are visible: those whose key was read from a parent that is.
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
        // The governed plan, which was verified, reads the table without a barrier: every caller may see all of it.
        return Ok(());
    }
    for guard in own {
        if reader.fulfils(guard)? {
            return Ok(());
        }
    }
    plan_err!("an operator reads `{}` without the table's policy", reader.table.name())
}
