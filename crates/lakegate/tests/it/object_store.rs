//! An object store in this process that is spoken to over HTTP, and that can be made to fail. No tests here.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

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

/// The bucket in which the lake of a test is.
pub(crate) const BUCKET: &str = "lake-bucket";
/// The credentials that the store knows.
pub(crate) const KEY: &str = "AKIATESTTESTTEST";
pub(crate) const SECRET: &str = "a-secret-that-no-log-may-hold";

/// What goes wrong with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer is 503.
    Busy,
    /// The connection ends before an answer.
    Cut,
    /// The connection ends in the middle of the body.
    Torn,
    /// The body is shorter than the head says, and ends as if that were right.
    Short,
    /// The answer comes late.
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
    /// What goes wrong, with requests whose path has this in it, how many times more.
    fault: Mutex<Option<(Fault, String, usize)>>,
    /// Method, path and range of every request.
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

    /// The folder of the bucket; what is written there is in the store.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// What a project says in `[lake]` to read from below a prefix. Its credentials are in two files.
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

    /// From now on, requests for paths with this text fail, so many times.
    pub(crate) fn fail(&self, fault: Fault, path: &str, times: usize) {
        *self.state.fault.lock().unwrap() = Some((fault, path.to_owned(), times));
    }

    /// Nothing fails any more.
    pub(crate) fn mend(&self) {
        *self.state.fault.lock().unwrap() = None;
    }

    /// The requests since this was asked last.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.log.lock().unwrap())
    }

    /// Ends the server and its connections.
    pub(crate) async fn go_away(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    /// Starts it again, where it was.
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
    // They end with the task that holds them.
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
                // The head and the half are on their way before the end.
                tokio::time::sleep(Duration::from_millis(20)).await;
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
