//! Reports a panic of DataFusion during planning as a finding of the project.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use lakegate_core::project::{CONFIG_FILE, Finding, Position};

/// The result of `planning`, or a finding if DataFusion panics over a query, because the watch for project changes must
/// go on.
///
/// # Errors
/// The findings of `planning`, or the panic.
pub async fn without_panic<T>(planning: impl Future<Output = Result<T, Vec<Finding>>>) -> Result<T, Vec<Finding>> {
    match AssertUnwindSafe(Box::pin(planning)).catch_unwind().await {
        Ok(planned) => planned,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says nothing");
            let message = format!("the engine panicked while a query of the project was planned: {text}");
            let finding = Finding::new(Position::start(CONFIG_FILE), message);
            Err(vec![finding.help("take the query out that was added last, and report it")])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the watch for changes would stop, and no new row filter would take effect.
    #[tokio::test]
    async fn a_panic_while_a_project_is_planned_is_a_fault_of_the_project() {
        let planning = async { panic!("no such column in the optimiser") };
        let findings = without_panic::<()>(planning).await.unwrap_err();
        assert!(findings[0].message.contains("no such column in the optimiser"), "{findings:?}");
    }
}
