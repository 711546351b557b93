//! How a server is told to end.

/// Done on Ctrl-C, and on SIGTERM where there is one.
pub async fn interrupted() {
    let ctrl_c = async {
        // Without a handler there is no way to be told; then only the process's end ends the server.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = signalled(tokio::signal::unix::SignalKind::terminate());
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminated => {}
    }
}

#[cfg(unix)]
async fn signalled(kind: tokio::signal::unix::SignalKind) {
    match tokio::signal::unix::signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
