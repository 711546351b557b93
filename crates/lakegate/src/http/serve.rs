//! Listens, serves, and drains at the end: what runs is finished, what is new is refused.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{admin_router, router};
use crate::app::App;
use crate::reload;
use crate::store::SecretAttributes;

/// How long requests that run may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    admin: Option<AdminListener>,
    /// Looks for changes as long as there is a server.
    _watch: AbortOnDropHandle<()>,
}

/// The admin API, which has a listener of its own so that it can be out of reach of whoever calls endpoints.
struct AdminListener {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub async fn bind(listen: &str, app: App) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let app = Arc::new(app);
        let watch = reload::watch(Arc::clone(&app));
        Ok(Self { address: listener.local_addr()?, listener, app, admin: None, _watch: watch })
    }

    /// Serves the admin API too, at another address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub async fn with_admin(mut self, listen: &str, secret: SecretAttributes) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        self.admin = Some(AdminListener { listener, address, router: admin_router(Arc::clone(&self.app), secret) });
        Ok(self)
    }

    /// Where the admin API listens, if it is served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
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
        let observer = Arc::clone(&self.app.observer);
        let stopping = CancellationToken::new();
        let told = stopping.clone();
        let stop = async move {
            stop.await;
            told.cancel();
            std::future::pending::<Infallible>().await
        };
        let endpoints = serve(self.listener, router(self.app), stopping.clone());
        let admin = async {
            match self.admin {
                Some(admin) => serve(admin.listener, admin.router, stopping.clone()).await,
                None => Ok(()),
            }
        };
        // Both drain together; a listener that fails ends both.
        let serving = async { tokio::try_join!(endpoints, admin).map(|_| ()) };
        // A second signal is somebody who does not want to wait.
        let overdue = async {
            stopping.cancelled().await;
            let _ = tokio::time::timeout(DRAIN, interrupted()).await;
        };
        let served = tokio::select! {
            served = serving => served,
            () = overdue => {
                tracing::warn!("requests that did not end while draining were cut");
                Ok(())
            }
            never = stop => match never {},
        };
        audit.shutdown().await;
        observer.shutdown().await;
        served
    }
}

/// Serves one listener until it is told to stop and what runs is answered.
async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) -> io::Result<()> {
    // Small answers must not wait for an acknowledgement.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned()).await
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
