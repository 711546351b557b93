//! How a server is told to end.

use std::future::Future;

/// Done on Ctrl-C, and on SIGTERM where there is one, from the moment of this call on: who is told before anybody waits
/// for it is heard, too.
pub fn interrupted() -> impl Future<Output = ()> + Send + 'static {
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
        // Without a handler there is no way to be told; then only the process's end ends the server.
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
        // Without a handler there is no way to be told; then only the process's end ends the server.
        Err(_) => std::future::pending().await,
    }
}
