//! An in-process object store over HTTP that can be made to fail. It contains no tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode};
use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// The bucket of the test lake.
pub(crate) const BUCKET: &str = "lake-bucket";
/// The credentials that the store accepts.
pub(crate) const KEY: &str = "AKIATESTTESTTEST";
pub(crate) const SECRET: &str = "a-secret-that-no-log-may-hold";

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The store responds with 503.
    Busy,
    /// The connection ends before the response.
    Cut,
    /// The connection ends in the middle of the body.
    Torn,
    /// The body is truncated, with a matching length in the head.
    Short,
    /// The response is delayed.
    Slow(Duration),
    /// The credentials are refused.
    Denied,
}

/// A store over a folder.
pub(crate) struct ObjectStore {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// The fault, the text in the paths that it affects, and the remaining number of times.
    fault: Mutex<Option<(Fault, String, usize)>>,
    /// Method, path and range of each request.
    log: Mutex<Vec<String>>,
}

impl ObjectStore {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut store = Self { folder, address: (Ipv4Addr::LOCALHOST, 0).into(), state: Arc::default(), server: None };
        store.come_back().await;
        store
    }

    /// The folder of the bucket; files in it are objects of the store.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// The `[lake]` section of a project for a prefix. Writes the credentials to two files.
    pub(crate) fn lake(&self, project: &Path, prefix: &str) -> String {
        std::fs::write(project.join("store.id"), KEY).unwrap();
        std::fs::write(project.join("store.secret"), format!("{SECRET}\n")).unwrap();
        format!(
            "[lake]\nlocation = \"s3://{BUCKET}/{prefix}\"\nendpoint = \"http://{}\"\nallow_http = true\n\
             access_key_id = \"file:store.id\"\nsecret_access_key = \"file:store.secret\"\n\
             connect_timeout_seconds = 1\ntimeout_seconds = 2\nretry_seconds = 1\n",
            self.address
        )
    }

    /// Makes the next `times` requests with `path` in their paths fail.
    pub(crate) fn fail(&self, fault: Fault, path: &str, times: usize) {
        *self.state.fault.lock().unwrap() = Some((fault, path.to_owned(), times));
    }

    /// Ends all faults.
    pub(crate) fn mend(&self) {
        *self.state.fault.lock().unwrap() = None;
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.log.lock().unwrap())
    }

    /// Stops the server and its connections.
    pub(crate) async fn go_away(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Starts the server again at its old address.
    pub(crate) async fn come_back(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(64).unwrap();
        self.address = listener.local_addr().unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(self.folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        self.server = Some(tokio::spawn(serve(listener, builder.build(), Arc::clone(&self.state))));
    }
}

async fn serve(listener: TcpListener, store: S3Service, state: Arc<State>) {
    // The connections end with the task that owns them.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (store, state) = (store.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let answer = service_fn(|request| answer(&store, &state, request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn cut() -> std::io::Error {
    std::io::ErrorKind::ConnectionReset.into()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

async fn answer(
    store: &S3Service,
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
    let line = format!("{} {} {}", request.method(), request.uri(), range.unwrap_or_default());
    state.log.lock().unwrap().push(line.trim_end().to_owned());
    let path = request.uri().to_string();
    let fault = {
        let mut fault = state.fault.lock().unwrap();
        match fault.as_mut().filter(|(_, within, times)| path.contains(within.as_str()) && *times > 0) {
            Some((fault, _, times)) => {
                *times = times.saturating_sub(1);
                Some(*fault)
            }
            None => None,
        }
    };
    match fault {
        Some(Fault::Busy) => return Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
        Some(Fault::Denied) => return Ok(status(StatusCode::FORBIDDEN)),
        Some(Fault::Cut) => return Err(cut()),
        // A slow store is the fault itself, so time must pass.
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let answered = store.call(request.map(s3s::Body::from)).await.map_err(|_| cut())?;
    let (mut parts, body) = answered.into_parts();
    let bytes = BodyExt::collect(body).await.map_err(|_| cut())?.to_bytes();
    let half = bytes.slice(..bytes.len() / 2);
    let body = match fault {
        Some(Fault::Torn) => {
            let pieces = stream::iter([Ok(Frame::data(half))]).chain(stream::once(async {
                // While the stream is pending, the connection sends the head and half of the body.
                tokio::task::yield_now().await;
                Err(cut())
            }));
            parts.headers.insert("content-length", bytes.len().into());
            StreamBody::new(pieces).boxed_unsync()
        }
        Some(Fault::Short) => {
            parts.headers.insert("content-length", half.len().into());
            full(half)
        }
        _ => full(bytes),
    };
    Ok(Response::from_parts(parts, body))
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(full(Bytes::new())).unwrap()
}
