//! The state of the server process: its start time, whether it is draining, and its connection count.
//!
//! [`crate::http`] updates it; `/health` and `GET /admin/status` report it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::clock;

/// The state of the process, independent of the served project.
#[derive(Debug)]
pub struct ServerStatus {
    started: Instant,
    started_at: DateTime<Utc>,
    draining: AtomicBool,
    connections: AtomicUsize,
}

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<ServerStatus>);

impl Default for ServerStatus {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_at: clock::now(),
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        }
    }
}

impl ServerStatus {
    /// The start time.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// The time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Starts draining: the server is not ready for new requests from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a connection.
    pub fn connected(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// The number of open connections, including those of the admin API.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
