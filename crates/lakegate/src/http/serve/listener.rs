//! Accepts connections up to a maximum, and survives errors of `accept`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::connection::ConnectionHandler;
use crate::status::ServerStatus;

/// The pause after the system ran out of a resource such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The interval at which a lasting problem is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts connections until shutdown. The tracker waits for their end.
pub(super) async fn serve(
    listener: TcpListener,
    most: usize,
    handler: Arc<ConnectionHandler>,
    connections: &TaskTracker,
    status: &Arc<ServerStatus>,
) {
    let slots = Arc::new(Semaphore::new(most));
    let stopping = handler.stopping.clone();
    let begin = |stream: TcpStream, slot: OwnedSemaphorePermit| {
        let (handler, counted) = (Arc::clone(&handler), status.connected());
        connections.spawn(async move {
            handler.serve(stream).await;
            drop((slot, counted));
        });
    };
    let mut full = RateLimitedLog::default();
    let mut failed = RateLimitedLog::default();
    loop {
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                full.log(|| tracing::warn!(most, "there are as many connections as may be; others wait"));
                tokio::select! {
                    () = stopping.cancelled() => break,
                    // The semaphore is never closed.
                    slot = Arc::clone(&slots).acquire_owned() => match slot {
                        Ok(slot) => slot,
                        Err(_) => break,
                    },
                }
            }
        };
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => begin(stream, slot),
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                failed.log(|| tracing::error!(%error, "connections cannot be taken"));
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    // Connections in the backlog are still served, because closing the listener would reset them.
    if let Ok(listener) = listener.into_std() {
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
            && let Ok((stream, _)) = listener.accept()
        {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                begin(stream, slot);
            }
        }
    }
}

/// Whether the error concerns one connection that the client closed before it was accepted.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Logs a lasting problem at most once per [`LOG_INTERVAL`].
#[derive(Default)]
struct RateLimitedLog(Option<Instant>);

impl RateLimitedLog {
    fn log(&mut self, log: impl FnOnce()) {
        if self.0.is_none_or(|logged_at| logged_at.elapsed() >= LOG_INTERVAL) {
            self.0 = Some(Instant::now());
            log();
        }
    }
}
