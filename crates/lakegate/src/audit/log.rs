//! The server's side of the log: takes records from requests, and says when they are durable where that is asked for.

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
use super::trail::Inner as Request;
use super::writer::{Message, Writer};

/// How many records may wait for the disk. Beyond, requests wait.
const WAITING: usize = 4_096;
/// How many locks there are for requests that run; most requests wait for none.
const SHARDS: usize = 16;
/// How long the end of the server waits for the last records.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// The audit log of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct AuditLog {
    /// `None` is no log.
    shared: Option<Arc<Shared>>,
}

pub(super) struct Shared {
    messages: mpsc::Sender<Message>,
    /// Who writes, and may rest.
    writer: Thread,
    folder: PathBuf,
    strict: bool,
    /// Requests whose record is still to be written, for the end of the server; in shards by their numbers.
    running: [Mutex<HashMap<u64, Weak<Request>>>; SHARDS],
    next: AtomicU64,
    lost: Arc<AtomicU64>,
    late: TaskTracker,
}

/// How the log does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Records that wait for the disk.
    pub waiting: u64,
    /// Records that the disk did not take.
    pub lost: u64,
}

/// A place among the records that wait; a record that has one is not lost.
pub(super) struct Place<'a> {
    permit: mpsc::Permit<'a, Message>,
    strict: bool,
}

impl AuditLog {
    /// No log.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the log of a project and starts to write.
    ///
    /// # Errors
    /// When the folder or the file can not be written to.
    pub fn start(project: &Path, config: &Audit) -> io::Result<Self> {
        if config.mode == AuditMode::Off {
            return Ok(Self::off());
        }
        let strict = config.mode == AuditMode::Strict;
        let folder = project.join(&config.folder);
        let mut file = LogFile::new(&folder, Some(config.max_bytes), config.keep);
        file.prepare()?;
        let (messages, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(file, strict, Arc::clone(&lost));
        let thread = std::thread::Builder::new().name("lakegate-audit".to_owned());
        let writer = thread.spawn(move || writer.run(receiver))?.thread().clone();
        let (running, next, late) = (Default::default(), AtomicU64::new(0), TaskTracker::new());
        Ok(Self { shared: Some(Arc::new(Shared { messages, writer, folder, strict, running, next, lost, late })) })
    }

    /// The folder of its files; `None` where there is no log.
    pub fn folder(&self) -> Option<&Path> {
        self.shared.as_ref().map(|shared| shared.folder.as_path())
    }

    /// How many records wait for the disk, and how many it did not take since the server began.
    pub fn load(&self) -> Load {
        self.shared.as_ref().map_or_else(Load::default, |shared| Load {
            waiting: WAITING.saturating_sub(shared.messages.capacity()) as u64,
            lost: shared.lost.load(Ordering::Relaxed),
        })
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Done when all that was recorded before is on the disk, or was refused by it.
    pub async fn flush(&self) {
        let Some(shared) = &self.shared else { return };
        let (done, flushed) = oneshot::channel();
        shared.writer.unpark();
        if shared.messages.send(Message::Flush(done)).await.is_ok() {
            shared.writer.unpark();
            let _ = flushed.await;
        }
    }

    /// The end of the server: requests that still run are recorded as cut, and everything goes to the disk.
    pub async fn shutdown(&self) {
        let Some(shared) = &self.shared else { return };
        let running = (0..SHARDS as u64).flat_map(|shard| std::mem::take(&mut *shared.running(shard)));
        let running = running.collect::<Vec<_>>();
        let all = async {
            for request in running.into_iter().filter_map(|(_, request)| request.upgrade()) {
                request.end_with_server().await;
            }
            shared.late.close();
            shared.late.wait().await;
            self.flush().await;
        };
        if tokio::time::timeout(LAST_WRITE, all).await.is_err() {
            tracing::error!("the last records of the audit log could not be written in time");
        }
    }
}

impl Shared {
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Waits for a place; dropping the future leaves nothing behind.
    pub(super) async fn place(&self) -> Result<Place<'_>, Error> {
        if let Some(place) = self.place_at_once() {
            return Ok(place);
        }
        self.writer.unpark();
        match self.messages.reserve().await {
            Ok(permit) => Ok(Place { permit, strict: self.strict }),
            // The thread has ended, which it does not while there is a sender, unless it panicked.
            Err(_) => Err(unavailable()),
        }
    }

    /// A place, if there is one without waiting.
    pub(super) fn place_at_once(&self) -> Option<Place<'_>> {
        let permit = self.messages.try_reserve().ok()?;
        Some(Place { permit, strict: self.strict })
    }

    /// Records what nobody is left to wait for.
    pub(super) fn put_late(&self, record: Record) {
        match self.messages.try_send(Message::Write(record, None)) {
            Ok(()) => {}
            Err(TrySendError::Full(message)) => {
                let messages = self.messages.clone();
                match tokio::runtime::Handle::try_current() {
                    Ok(runtime) => {
                        self.late.spawn_on(async move { drop(messages.send(message).await) }, &runtime);
                    }
                    Err(_) => drop(messages.blocking_send(message)),
                }
            }
            Err(TrySendError::Closed(_)) => tracing::error!("a record of the audit log is lost: its writer has ended"),
        }
    }

    /// Remembers a request until [`Shared::leave`].
    pub(super) fn enter(&self, request: impl FnOnce(u64) -> Arc<Request>) -> Arc<Request> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = request(number);
        self.running(number).insert(number, Arc::downgrade(&request));
        request
    }

    pub(super) fn leave(&self, number: u64) {
        self.running(number).remove(&number);
    }

    fn running(&self, number: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Request>>> {
        self.running[number as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record on its way to the disk.
pub(super) struct OnItsWay(Option<oneshot::Receiver<bool>>);

impl Place<'_> {
    pub(super) fn put(self, record: Record) -> OnItsWay {
        let (waiter, durable) = if self.strict {
            let (waiter, durable) = oneshot::channel();
            (Some(waiter), Some(durable))
        } else {
            (None, None)
        };
        self.permit.send(Message::Write(record, waiter));
        OnItsWay(durable)
    }
}

impl OnItsWay {
    /// Waits until it is durable, in strict mode.
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
    Error::new(
        Code::AuditUnavailable,
        "the request can not be recorded now, and nothing is answered without its record",
    )
    .hint("try again in a while; the operator finds the reason in the server's log")
}
