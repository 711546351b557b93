//! Listens for the signals that stop the server.

use std::future::Future;

/// Completes on Ctrl-C, and on SIGTERM where it exists. Signals count from this call on, even before the future is
/// polled.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (ctrl_c, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        async move {
            tokio::select! {
                () = received(ctrl_c) => {}
                () = received(terminate) => {}
            }
        }
    }
    #[cfg(not(unix))]
    async {
        // Without a handler no signal can arrive, and only the end of the process stops the server.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
async fn received(signal: std::io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler no signal can arrive, and only the end of the process stops the server.
        Err(_) => std::future::pending().await,
    }
}
