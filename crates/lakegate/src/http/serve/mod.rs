//! The listeners of the server, and its shutdown: running requests finish, new ones are refused.

mod body;
mod connection;
mod connection_state;
mod listener;
mod signal;
mod socket;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lakegate_core::project::{AdminApi, Http};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpService;
use crate::app::App;
use crate::reload::{self, HangupSignal, Watched};
use crate::store::SecretAttributes;
use connection::ConnectionHandler;

pub use signal::shutdown_signal;
pub use tls::{CertificateError, Certificates};

/// A server that is bound and ready to run.
pub struct Server {
    app: Arc<App>,
    config: Http,
    endpoints: Listener,
    admin: Option<Listener>,
    hangup: HangupSignal,
}

/// A bound address and the service behind it. The admin API has its own, so that callers of endpoints need not reach
/// it.
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    service: HttpService,
    tls: Option<Arc<Certificates>>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is in use or does not belong to this machine.
    #[error("`{0}` cannot be listened at")]
    Listen(String, #[source] io::Error),
    /// The certificate is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Time for idle connections to close before the remaining ones are cut.
const IDLE_CLOSE_GRACE: Duration = Duration::from_millis(250);

/// The result of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// The number of connections that were cut because their requests did not finish in time.
    pub cut: usize,
}

impl Listener {
    async fn bind(listen: &str, service: HttpService) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Listen(listen.to_owned(), error);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, service, tls: None })
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl Server {
    /// Binds an address. Port 0 picks a free port.
    ///
    /// # Errors
    /// If the address is in use or does not belong to this machine, or if the certificate is unusable.
    pub async fn bind(listen: &str, app: App) -> Result<Self, ServerError> {
        let config = app.served().config().http.clone();
        let app = Arc::new(app);
        let mut endpoints = Listener::bind(listen, HttpService::endpoints(Arc::clone(&app))).await?;
        endpoints.tls = config.tls.as_ref().map(|tls| Certificates::load(tls, app.folder())).transpose()?;
        Ok(Self { app, config, endpoints, admin: None, hangup: HangupSignal::new() })
    }

    /// Also serves the admin API at another address. Port 0 picks a free port.
    ///
    /// It uses the certificate of `[admin.tls]`. Without that, it uses the certificate of the endpoints, except on a
    /// loopback address.
    ///
    /// # Errors
    /// If the address is in use or does not belong to this machine, or if the certificate is unusable.
    pub async fn with_admin(mut self, listen: &str, secret: SecretAttributes) -> Result<Self, ServerError> {
        let mut admin = Listener::bind(listen, HttpService::admin(Arc::clone(&self.app), secret)).await?;
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

    /// The URL of the endpoint API.
    pub fn url(&self) -> String {
        self.endpoints.url()
    }

    /// The URL of the admin API; `None` if it is not served.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.as_ref().map(Listener::url)
    }

    /// The admin address, if other machines can reach it without encryption.
    pub fn open_admin(&self) -> Option<SocketAddr> {
        let admin = self.admin.as_ref()?;
        (!admin.address.ip().is_loopback() && admin.tls.is_none()).then_some(admin.address)
    }

    /// The maximum number of open connections, over all listeners.
    pub fn max_connections(&self) -> usize {
        self.config.max_connections * if self.admin.is_some() { 2 } else { 1 }
    }

    /// Serves until `stop` completes, then drains: running requests finish, or are cut and recorded as cut when the
    /// time to drain is over. A second signal cuts immediately.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Drained {
        let Self { app, config, endpoints, admin, hangup } = self;
        let certificates = endpoints.tls.iter().chain(admin.iter().filter_map(|admin| admin.tls.as_ref()));
        let certificates = certificates.map(|certificates| Arc::clone(certificates) as Arc<dyn Watched>);
        // Watches for changes until the server ends.
        let _watch = reload::watch(Arc::clone(&app), hangup, certificates.collect());
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let listeners = [Some(endpoints), admin].into_iter().flatten().map(|listener| {
            let Listener { listener, service, tls, .. } = listener;
            let tokens = [stopping.clone(), cut.clone()];
            let handler = Arc::new(ConnectionHandler::new(&config, service, tls, Arc::clone(&app.status), tokens));
            listener::serve(listener, config.max_connections, handler, &connections, &app.status)
        });
        let serving = async {
            futures::future::join_all(listeners).await;
            connections.close();
            connections.wait().await;
        };
        let ending = async {
            stop.await;
            app.status.drain();
            // A load balancer may need a while to see that the server is not ready. A second signal means that the
            // operator does not want to wait.
            let hurried = timeout(config.drain_delay, shutdown_signal()).await.is_ok();
            stopping.cancel();
            if !hurried {
                let _ = timeout(config.drain, shutdown_signal()).await;
            }
        };
        let mut serving = std::pin::pin!(serving);
        let is_overdue = tokio::select! {
            () = &mut serving => false,
            () = ending => true,
        };
        let mut drained = Drained { cut: 0 };
        // Idle connections are about to close, and do not count as cut.
        if is_overdue && timeout(IDLE_CLOSE_GRACE, &mut serving).await.is_err() {
            drained.cut = connections.len();
            tracing::warn!(connections = drained.cut, "what did not end while draining is cut");
            // The audit log shuts down first: a request dropped before that would be recorded as abandoned by its
            // caller.
            app.audit.shutdown().await;
            cut.cancel();
            serving.await;
        }
        app.audit.shutdown().await;
        app.observer.shutdown().await;
        drained
    }
}
