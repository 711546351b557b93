//! Takes connections, up to a bound, and goes on when that fails for a while.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::connection::Handling;
use crate::status::ServerStatus;

/// How long nothing is taken after the system had no more to give, such as file descriptors.
const REST: Duration = Duration::from_millis(100);
/// How often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Takes connections until the server ends, and waits for their end.
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
                    // It is never closed.
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
                failed.tell(|| tracing::error!(%error, "connections can not be taken"));
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }
    // Who came before the end is answered; closing the listener would reset these.
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

/// Whether the error is of one connection, which has gone before it was taken.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Something that is told from time to time as long as it lasts.
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
