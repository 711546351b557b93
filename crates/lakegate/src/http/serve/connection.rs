//! Serves one connection from its handshake to its end: HTTP/1.1 or HTTP/2, with timeouts and graceful shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Version};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryFutureExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lakegate_core::project::Http;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::body::WatchedBody;
use super::connection_state::{ConnectionState, NEW_CONNECTION_GRACE, Timeouts, Verdict};
use super::socket::WatchedSocket;
use super::tls::Certificates;
use crate::http::{HttpService, problem};
use crate::status::ServerStatus;

/// Bytes in a request's buffer beyond the URL and the headers.
const HEAD_OVERHEAD: usize = 8 << 10;
/// Bytes of a response that are buffered for each HTTP/2 request.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// The number of HTTP/2 requests that a client may reset before they are processed, and of those that it may get wrong.
/// A client beyond that only wants to cause work.
const MAX_PENDING_RESETS: usize = 32;
const MAX_ERROR_RESETS: usize = 256;

/// The interval between checks of a connection during shutdown.
const STOPPING_TICK: Duration = Duration::from_millis(50);

/// The settings that all connections of a listener share.
pub(super) struct ConnectionHandler {
    builder: auto::Builder<TokioExecutor>,
    timeouts: Timeouts,
    service: HttpService,
    tls: Option<Arc<Certificates>>,
    status: Arc<ServerStatus>,
    /// Cancelled at shutdown; running requests still finish.
    pub(super) stopping: CancellationToken,
    /// Cancelled when the time to drain is over.
    pub(super) cut: CancellationToken,
}

impl ConnectionHandler {
    pub(super) fn new(
        config: &Http,
        service: HttpService,
        tls: Option<Arc<Certificates>>,
        status: Arc<ServerStatus>,
        [stopping, cut]: [CancellationToken; 2],
    ) -> Self {
        let head = config.max_url_bytes + config.max_header_bytes + HEAD_OVERHEAD;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().max_buf_size(head);
        builder
            .http2()
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .max_concurrent_streams(config.max_streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .max_send_buf_size(SEND_BUFFER_BYTES);
        Self { builder, timeouts: Timeouts::new(config), service, tls, status, stopping, cut }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, stream: TcpStream) {
        // Small responses must not wait for an acknowledgement (Nagle's algorithm).
        let _ = stream.set_nodelay(true);
        let state = ConnectionState::new();
        let Some(tls) = &self.tls else {
            return self.answer(WatchedSocket::new(stream, Arc::clone(&state)), state).await;
        };
        let handshake = async {
            if is_plain_http(&stream).await {
                refuse_plain_http(stream).await;
                return None;
            }
            let accepted = tls.acceptor().accept(WatchedSocket::new(stream, Arc::clone(&state))).await;
            accepted.inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed")).ok()
        };
        let accepted = tokio::select! {
            accepted = timeout(self.timeouts.header, handshake) => accepted,
            () = self.cut.cancelled() => return,
            () = self.new_connection_grace_over() => return,
        };
        match accepted {
            Ok(Some(stream)) => {
                state.open();
                self.answer(stream, state).await;
            }
            Ok(None) => {}
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Completes when the server has been stopping for [`NEW_CONNECTION_GRACE`]; a handshake still open by then is dropped.
    async fn new_connection_grace_over(&self) {
        self.stopping.cancelled().await;
        tokio::time::sleep(NEW_CONNECTION_GRACE).await;
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, state: Arc<ConnectionState>) {
        let (service_state, requests, status) = (Arc::clone(&state), self.service.clone(), Arc::clone(&self.status));
        let service = service_fn(move |request: Request<Incoming>| {
            let guard = service_state.begin(request.version());
            let is_http1 = request.version() < Version::HTTP_2;
            let status = Arc::clone(&status);
            requests.answer(request).map_ok(move |mut response| {
                if is_http1 && status.is_draining() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response.map(|body| WatchedBody::new(body, guard))
            })
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        // A connection is polled for every request. The signals are polled only when they wake, because polling each
        // one takes a lock that all connections share.
        let mut signals = FuturesUnordered::<BoxFuture<'_, Signal>>::new();
        signals.push(self.cut.cancelled().map(|()| Signal::Cut).boxed());
        signals.push(self.stopping.cancelled().map(|()| Signal::Stopping).boxed());
        let after = |pause: Duration| sleep(pause).map(|()| Signal::Tick).boxed();
        signals.push(after(self.timeouts.tick()));
        // The time of the graceful shutdown, and whether the server is stopping.
        let (mut shutdown_sent_at, mut stopping) = (None::<Instant>, false);
        loop {
            let signal = tokio::select! {
                biased;
                served = connection.as_mut() => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    return;
                }
                Some(signal) = signals.next() => signal,
            };
            match signal {
                Signal::Cut => return,
                Signal::Stopping => {
                    stopping = true;
                    signals.push(after(STOPPING_TICK));
                }
                Signal::Tick => signals.push(after(if stopping { STOPPING_TICK } else { self.timeouts.tick() })),
            }
            let now = Instant::now();
            let verdict = state.verdict(now, &self.timeouts);
            if let Verdict::Cut(reason) = verdict {
                tracing::debug!(reason, "a connection is cut");
                return;
            }
            match shutdown_sent_at {
                None if verdict == Verdict::GracefulShutdown || (stopping && state.may_shut_down(now)) => {
                    shutdown_sent_at = Some(now);
                    connection.as_mut().graceful_shutdown();
                }
                // The connection is idle, and the client did not close it after the graceful shutdown.
                Some(shutdown_sent_at)
                    if state.is_idle() && now.duration_since(shutdown_sent_at) >= self.timeouts.write =>
                {
                    return;
                }
                _ => {}
            }
        }
    }
}

/// The reason to check a connection.
enum Signal {
    /// The time to drain is over.
    Cut,
    /// The server is stopping.
    Stopping,
    /// A periodic check is due.
    Tick,
}

/// Whether the first byte belongs to an unencrypted request. A TLS handshake begins with a byte that is not a letter.
async fn is_plain_http(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1) if first[0].is_ascii_alphabetic())
}

/// Sends a problem response to a client that speaks plain HTTP on a TLS port.
async fn refuse_plain_http(mut stream: TcpStream) {
    tracing::debug!("a request came without encryption");
    // The sent bytes must be read, or a reset discards the response.
    let mut sent = [0; 4_096];
    let _ = stream.try_read(&mut sent);
    if stream.write_all(problem::not_encrypted().as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
