//! The threads on which queries compute. They are not those that serve connections: a batch can take long, and meanwhile time limits,
//! health checks and other callers are to be heard. What is light runs where it was asked: to wake another thread costs a tenth of it.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use super::WORKER_STACK_BYTES;

static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

/// Runs a task on them until it ends or what is given is dropped.
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
    // Where there are no threads to be had, those of connections do it.
    let handle = threads.as_ref().map_or_else(Handle::current, |threads| threads.handle().clone());
    tasks.spawn_on(task, &handle);
    tasks
}
