//! Listens, serves, and drains at the end: what runs is finished, what is new is refused.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::router;
use crate::app::App;

/// How long requests that run may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub async fn bind(listen: &str, app: App) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        Ok(Self { address: listener.local_addr()?, listener, app: Arc::new(app) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done and the requests that ran by then are answered, or their time to drain is over.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let audit = self.app.audit.clone();
        let stopping = CancellationToken::new();
        let told = stopping.clone();
        // Small answers must not wait for an acknowledgement.
        let listener = self.listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let serving = axum::serve(listener, router(self.app)).with_graceful_shutdown(async move {
            stop.await;
            told.cancel();
        });
        // A second signal is somebody who does not want to wait.
        let overdue = async {
            stopping.cancelled().await;
            let _ = tokio::time::timeout(DRAIN, interrupted()).await;
        };
        let served = tokio::select! {
            served = std::future::IntoFuture::into_future(serving) => served,
            () = overdue => {
                tracing::warn!("requests that did not end while draining were cut");
                Ok(())
            }
        };
        audit.shutdown().await;
        served
    }
}

/// Done on Ctrl-C, and on SIGTERM where there is one.
pub async fn interrupted() {
    let ctrl_c = async {
        // Without a handler there is no way to be told; then only the process's end ends the server.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminated => {}
    }
}
