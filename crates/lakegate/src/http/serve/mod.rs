//! Listens, serves, and drains at the end: what runs is finished, what is new is refused.

mod body;
mod connection;
mod listener;
mod signal;
mod socket;
mod tls;
mod watch;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lakegate_core::project::{AdminApi, Http};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{Front, admin_router};
use crate::app::App;
use crate::reload::{self, Told};
use crate::store::SecretAttributes;
use connection::Handling;

pub use signal::interrupted;
pub use tls::{CertificateError, Certificates};

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    config: Http,
    endpoints: Listener,
    admin: Option<Listener>,
    /// Looks for changes as long as there is a server.
    _watch: AbortOnDropHandle<()>,
}

/// An address with what is served there. The admin API has one of its own, so that it can be out of reach of whoever calls
/// endpoints.
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    front: Front,
    tls: Option<Arc<Certificates>>,
}

/// Why a server can not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not of this machine.
    #[error("`{0}` can not be listened at")]
    Listen(String, #[source] io::Error),
    /// The certificate is no good.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// How long connections that have nothing to answer may take to end, when what runs is to be cut.
const LAST_MOMENT: Duration = Duration::from_millis(250);

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// How many connections were cut, because what ran on them did not end in time.
    pub cut: usize,
}

impl Listener {
    async fn bind(listen: &str, front: Front) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Listen(listen.to_owned(), error);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, front, tls: None })
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine, or when the certificate is no good.
    pub async fn bind(listen: &str, app: App) -> Result<Self, ServerError> {
        let config = app.served().config().http.clone();
        let app = Arc::new(app);
        let mut endpoints = Listener::bind(listen, Front::new(Arc::clone(&app))).await?;
        endpoints.tls = config.tls.as_ref().map(|tls| Certificates::load(tls, app.folder())).transpose()?;
        let watch = reload::watch(Arc::clone(&app));
        Ok(Self { app, config, endpoints, admin: None, _watch: watch })
    }

    /// Serves the admin API too, at another address; port 0 takes a free one.
    ///
    /// It is encrypted with the certificate of `[admin.tls]`; without that, with the one of the endpoints, unless it is
    /// reached from this machine only.
    ///
    /// # Errors
    /// When the address is taken or not of this machine, or when the certificate is no good.
    pub async fn with_admin(mut self, listen: &str, secret: SecretAttributes) -> Result<Self, ServerError> {
        let mut admin = Listener::bind(listen, Front::of(admin_router(Arc::clone(&self.app), secret))).await?;
        let served = self.app.served();
        let own = served.config().admin.as_ref().and_then(|AdminApi { tls, .. }| tls.as_ref());
        admin.tls = match own {
            Some(tls) => Some(Certificates::load(tls, self.app.folder())?),
            None if admin.address.ip().is_loopback() => None,
            None => self.endpoints.tls.clone(),
        };
        self.admin = Some(admin);
        Ok(self)
    }

    /// Where it serves, with the scheme.
    pub fn url(&self) -> String {
        self.endpoints.url()
    }

    /// Where the admin API is, if it is served, with the scheme.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(Listener::url)
    }

    /// Where the admin API can be reached from other machines without encryption, if it can.
    pub fn open_admin(&self) -> Option<SocketAddr> {
        let admin = self.admin.as_ref()?;
        (!admin.address.ip().is_loopback() && admin.tls.is_none()).then_some(admin.address)
    }

    /// The most connections that it takes at once.
    pub fn max_connections(&self) -> usize {
        self.config.max_connections * if self.admin.is_some() { 2 } else { 1 }
    }

    /// Serves until `stop` is done and the requests that ran by then are answered, or their time to drain is over. What
    /// still runs then is cut, and recorded as cut. A second signal cuts at once.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Drained {
        let Self { app, config, endpoints, admin, _watch } = self;
        let certificates = endpoints.tls.iter().chain(admin.iter().filter_map(|admin| admin.tls.as_ref()));
        let certificates = certificates.cloned().collect::<Vec<_>>();
        let _watched = certificates.iter().map(Certificates::watch).collect::<Vec<_>>();
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let listeners = [Some(endpoints), admin].into_iter().flatten().map(|listener| {
            let Listener { listener, front, tls, .. } = listener;
            let tokens = [stopping.clone(), cut.clone()];
            let handling = Arc::new(Handling::new(&config, front, tls, Arc::clone(&app.status), tokens));
            listener::serve(listener, config.max_connections, handling, &connections, &app.status)
        });
        let serving = async {
            futures::future::join_all(listeners).await;
            connections.close();
            connections.wait().await;
        };
        let ending = async {
            stop.await;
            app.status.drain();
            // A load balancer may need a while to see that it is not ready any more. A second signal is somebody who does
            // not want to wait.
            let hurried = timeout(config.drain_delay, interrupted()).await.is_ok();
            stopping.cancel();
            if !hurried {
                let _ = timeout(config.drain, interrupted()).await;
            }
        };
        let mut told = Told::new();
        let reloading = async {
            loop {
                told.next().await;
                certificates.iter().for_each(|certificates| certificates.reload());
            }
        };
        let mut serving = std::pin::pin!(serving);
        let is_overdue = tokio::select! {
            () = &mut serving => false,
            () = ending => true,
            () = reloading => false,
        };
        let mut drained = Drained { cut: 0 };
        // What has nothing more to answer is about to end, and is not cut.
        if is_overdue && timeout(LAST_MOMENT, &mut serving).await.is_err() {
            drained.cut = connections.len();
            tracing::warn!(connections = drained.cut, "what did not end while draining is cut");
            // First the records: a request that is dropped before would be recorded as left by its caller.
            app.audit.shutdown().await;
            cut.cancel();
            serving.await;
        }
        app.audit.shutdown().await;
        app.observer.shutdown().await;
        drained
    }
}
