//! The server's audit log: queues records of requests for the writer thread, and in strict mode waits until they are
//! durable.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Audit, AuditMode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::file::LogFile;
use super::record::Record;
use super::request::Inner as Request;
use super::writer::{Message, Writer};

/// The maximum number of queued records. Beyond it, requests wait.
const QUEUE_CAPACITY: usize = 4_096;
/// The number of lock shards for running requests, so that most requests wait for no lock.
const SHARDS: usize = 16;
/// The time that a shutdown waits for the last records.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The audit log of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct AuditLog {
    /// `None` if there is no log.
    shared: Option<Arc<SharedLog>>,
}

pub(super) struct SharedLog {
    messages: mpsc::Sender<Message>,
    /// The writer thread, which may be parked.
    writer: Thread,
    folder: PathBuf,
    strict: bool,
    /// Requests whose record is not written yet, for shutdown; sharded by their numbers.
    running: [Mutex<HashMap<u64, Weak<Request>>>; SHARDS],
    next: AtomicU64,
    lost: Arc<AtomicU64>,
    detached: TaskTracker,
}

/// The state of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditLoad {
    /// Records that are not on disk yet.
    pub waiting: u64,
    /// Records that could not be written.
    pub lost: u64,
}

/// A reserved slot in the queue. A record with a slot does not get lost on its way to the writer.
pub(super) struct QueueSlot<'a> {
    permit: mpsc::Permit<'a, Message>,
    strict: bool,
}

impl AuditLog {
    /// A log that records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the log of a project and starts the writer thread.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn start(project: &Path, config: &Audit) -> io::Result<Self> {
        if config.mode == AuditMode::Off {
            return Ok(Self::off());
        }
        let strict = config.mode == AuditMode::Strict;
        let folder = project.join(&config.folder);
        let mut file = LogFile::new(&folder, Some(config.max_bytes), config.keep);
        file.prepare()?;
        let (messages, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(file, strict, Arc::clone(&lost));
        let thread = std::thread::Builder::new().name("lakegate-audit".to_owned());
        let writer = thread.spawn(move || writer.run(receiver))?.thread().clone();
        let (running, next, detached) = (Default::default(), AtomicU64::new(0), TaskTracker::new());
        Ok(Self {
            shared: Some(Arc::new(SharedLog { messages, writer, folder, strict, running, next, lost, detached })),
        })
    }

    /// The folder of the log files; `None` if there is no log.
    pub fn folder(&self) -> Option<&Path> {
        self.shared.as_ref().map(|shared| shared.folder.as_path())
    }

    /// The number of queued records, and of those lost since the server started.
    pub fn load(&self) -> AuditLoad {
        self.shared.as_ref().map_or_else(AuditLoad::default, |shared| AuditLoad {
            waiting: QUEUE_CAPACITY.saturating_sub(shared.messages.capacity()) as u64,
            lost: shared.lost.load(Ordering::Relaxed),
        })
    }

    pub(super) fn shared(&self) -> Option<&Arc<SharedLog>> {
        self.shared.as_ref()
    }

    /// Completes when all earlier records are on disk or have failed.
    pub async fn flush(&self) {
        let Some(shared) = &self.shared else { return };
        let (done, flushed) = oneshot::channel();
        shared.writer.unpark();
        if shared.messages.send(Message::Flush(done)).await.is_ok() {
            shared.writer.unpark();
            let _ = flushed.await;
        }
    }

    /// Shuts the log down: records running requests as cut, and writes everything to disk.
    pub async fn shutdown(&self) {
        let Some(shared) = &self.shared else { return };
        let running = (0..SHARDS as u64).flat_map(|shard| std::mem::take(&mut *shared.running(shard)));
        let running = running.collect::<Vec<_>>();
        let all = async {
            for request in running.into_iter().filter_map(|(_, request)| request.upgrade()) {
                request.end_with_server().await;
            }
            shared.detached.close();
            shared.detached.wait().await;
            self.flush().await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await.is_err() {
            tracing::error!("the last records of the audit log could not be written in time");
        }
    }
}

impl SharedLog {
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Waits for a slot. Cancel-safe.
    pub(super) async fn slot(&self) -> Result<QueueSlot<'_>, Error> {
        if let Some(slot) = self.try_slot() {
            return Ok(slot);
        }
        self.writer.unpark();
        match self.messages.reserve().await {
            Ok(permit) => Ok(QueueSlot { permit, strict: self.strict }),
            // The thread ends only without senders or on a panic.
            Err(_) => Err(unavailable()),
        }
    }

    /// A slot, if one is free.
    pub(super) fn try_slot(&self) -> Option<QueueSlot<'_>> {
        let permit = self.messages.try_reserve().ok()?;
        Some(QueueSlot { permit, strict: self.strict })
    }

    /// Queues a record that no request waits for.
    pub(super) fn queue_detached(&self, record: Record) {
        match self.messages.try_send(Message::Write(record, None)) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => {
                let messages = self.messages.clone();
                match tokio::runtime::Handle::try_current() {
                    Ok(runtime) => {
                        self.detached.spawn_on(async move { drop(messages.send(message).await) }, &runtime);
                    }
                    Err(_) => drop(messages.blocking_send(message)),
                }
            }
            Err(TrySendError::Closed(_)) => tracing::error!("a record of the audit log is lost: its writer has ended"),
        }
    }

    /// Registers a request until [`SharedLog::unregister`].
    pub(super) fn register(&self, request: impl FnOnce(u64) -> Arc<Request>) -> Arc<Request> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = request(number);
        self.running(number).insert(number, Arc::downgrade(&request));
        request
    }

    pub(super) fn unregister(&self, number: u64) {
        self.running(number).remove(&number);
    }

    fn running(&self, number: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Request>>> {
        self.running[number as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queued record that is not on disk yet.
pub(super) struct PendingRecord(Option<oneshot::Receiver<bool>>);

impl QueueSlot<'_> {
    pub(super) fn queue(self, record: Record) -> PendingRecord {
        let (waiter, durable) = if self.strict {
            let (waiter, durable) = oneshot::channel();
            (Some(waiter), Some(durable))
        } else {
            (None, None)
        };
        self.permit.send(Message::Write(record, waiter));
        PendingRecord(durable)
    }
}

impl PendingRecord {
    /// In strict mode, waits until the record is durable.
    pub(super) async fn durable(self) -> Result<(), Error> {
        match self.0 {
            None => Ok(()),
            Some(durable) => match durable.await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(unavailable()),
            },
        }
    }
}

fn unavailable() -> Error {
    Error::new(Code::AuditUnavailable, "the request cannot be recorded now, and nothing is answered without its record")
        .hint("try again in a while; the operator finds the reason in the server's log")
}
