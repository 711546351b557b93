//! The threads that run queries. They are separate from those that serve connections, because a batch can take long,
//! and meanwhile time limits, health checks and other callers need service. Light queries run on the calling thread,
//! because waking another thread costs a tenth of their time.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use super::WORKER_STACK_BYTES;

static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

/// Runs a task until it ends or the returned set is dropped.
pub(super) fn spawn(is_light: bool, task: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if is_light {
        tasks.spawn(task);
        return tasks;
    }
    let threads = THREADS.get_or_init(|| {
        let mut threads = Builder::new_multi_thread();
        threads.enable_all().thread_name("query").thread_stack_size(WORKER_STACK_BYTES).build().ok()
    });
    // If the threads could not be created, the task runs on the threads that serve connections.
    let handle = threads.as_ref().map_or_else(Handle::current, |threads| threads.handle().clone());
    tasks.spawn_on(task, &handle);
    tasks
}
