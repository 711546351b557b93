//! The engine's panics while a project is planned, as faults of the project.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use lakegate_core::project::{CONFIG_FILE, Finding, Position};

/// What is planned, or a fault where the engine panics over one of the queries: who looks for changes of the project must go on.
///
/// # Errors
/// Those of the planning, and the panic.
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

    /// Nobody would look for changes any more, and no new row filter would be applied.
    #[tokio::test]
    async fn a_panic_while_a_project_is_planned_is_a_fault_of_the_project() {
        let planning = async { panic!("no such column in the optimiser") };
        let findings = without_panic::<()>(planning).await.unwrap_err();
        assert!(findings[0].message.contains("no such column in the optimiser"), "{findings:?}");
    }
}
