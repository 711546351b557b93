//! `fixed`: a server that gives a JSON body of the size in the path, made once. How fast axum can be on this machine.
//!
//!     fixed
//!
//! It prints its address, and serves `GET /fixed/BYTES`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, RwLock};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The largest body that it makes.
const LIMIT: usize = 16 << 20;

type Bodies = Arc<RwLock<HashMap<usize, Bytes>>>;

#[tokio::main]
async fn main() -> Result<()> {
    let app = Router::new().route("/fixed/{bytes}", get(fixed)).with_state(Bodies::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app).await?;
    Ok(())
}

async fn fixed(State(bodies): State<Bodies>, Path(bytes): Path<usize>) -> Response {
    let size = bytes.min(LIMIT);
    let known = bodies.read().ok().and_then(|bodies| bodies.get(&size).cloned());
    let body = known.unwrap_or_else(|| {
        let body = Bytes::from(body(size));
        if let Ok(mut bodies) = bodies.write() {
            bodies.insert(size, body.clone());
        }
        body
    });
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// An array with one text, so long that the whole is `size` bytes.
fn body(size: usize) -> String {
    format!("[\"{}\"]", "x".repeat(size.saturating_sub(4)))
}
