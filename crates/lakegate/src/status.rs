//! What a server knows of itself: since when it runs, whether it ends, how many connections it has.
//!
//! Health and `GET /admin/status` tell it; [`crate::http`] keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::clock;

/// The state of the process beside what it serves.
#[derive(Debug)]
pub struct ServerStatus {
    started: Instant,
    started_at: DateTime<Utc>,
    draining: AtomicBool,
    connections: AtomicUsize,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct Connected(Arc<ServerStatus>);

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
    /// When it started.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// How long it runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The server was told to stop: it is not ready for anything new from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a connection.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// How many connections there are, those of the admin API among them.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
