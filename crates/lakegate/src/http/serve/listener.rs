//! Accepts connections up to a maximum, and survives errors of `accept`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::connection::Handling;
use crate::status::ServerStatus;

/// The pause after the system ran out of a resource such as file descriptors.
const REST: Duration = Duration::from_millis(100);
/// The interval at which a lasting problem is logged.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections until shutdown. The tracker waits for their end.
pub(super) async fn serve(
    listener: TcpListener,
    most: usize,
    handling: Arc<Handling>,
    connections: &TaskTracker,
    status: &Arc<ServerStatus>,
) {
    let places = Arc::new(Semaphore::new(most));
    let stopping = handling.stopping.clone();
    let begin = |stream: TcpStream, place: OwnedSemaphorePermit| {
        let (handling, counted) = (Arc::clone(&handling), status.connected());
        connections.spawn(async move {
            handling.serve(stream).await;
            drop((place, counted));
        });
    };
    let mut full = Trouble::default();
    let mut failed = Trouble::default();
    loop {
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                full.tell(|| tracing::warn!(most, "there are as many connections as may be; others wait"));
                tokio::select! {
                    () = stopping.cancelled() => break,
                    // The semaphore is never closed.
                    place = Arc::clone(&places).acquire_owned() => match place {
                        Ok(place) => place,
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
            Ok((stream, _)) => begin(stream, place),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                failed.tell(|| tracing::error!(%error, "connections cannot be taken"));
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }
    // Connections in the backlog are still served, because closing the listener would reset them.
    if let Ok(listener) = listener.into_std() {
        while let Ok(place) = Arc::clone(&places).try_acquire_owned()
            && let Ok((stream, _)) = listener.accept()
        {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                begin(stream, place);
            }
        }
    }
}

/// Whether the error concerns one connection that the client closed before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Logs a lasting problem at most once per [`TELL_EVERY`].
#[derive(Default)]
struct Trouble(Option<Instant>);

impl Trouble {
    fn tell(&mut self, tell: impl FnOnce()) {
        if self.0.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.0 = Some(Instant::now());
            tell();
        }
    }
}
