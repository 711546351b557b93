//! The state of a connection: waiting for a request, running some, or blocked on a client that does not read; and since
//! when. Decides whether the connection stays open.
//!
//! It reads clocks but sets no timers; the connection's driver polls it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Version;
use lakegate_core::project::Http;

/// At shutdown, how long a connection that has sent nothing yet stays open, because its request may be on the way.
pub(super) const NEW_CONNECTION_GRACE: Duration = Duration::from_secs(1);

/// The timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For a TLS handshake, and for the head of a request.
    pub(super) header: Duration,
    /// For an idle connection.
    pub(super) keep_alive: Duration,
    /// For a response that the client does not read.
    pub(super) write: Duration,
}

/// The decision on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep it open.
    Keep,
    /// Close it after its running requests are answered.
    GracefulShutdown,
    /// Close it now, for this reason.
    Cut(&'static str),
}

/// The state of one connection, shared by its parts.
#[derive(Debug)]
pub(super) struct ConnectionState(Mutex<Activity>);

#[derive(Debug)]
struct Activity {
    opened: Instant,
    /// When the first bytes of the incomplete request arrived.
    head_since: Option<Instant>,
    idle_since: Instant,
    /// Whether a request has arrived on this connection.
    used: bool,
    /// HTTP/2, where incoming bytes are not always a request.
    multiplexed: bool,
    running: usize,
    next: u64,
    /// HTTP/2 responses with data that the client does not take. The socket may still accept data of other responses.
    waiting: HashMap<u64, Instant>,
    /// Since when the socket accepts no more bytes.
    blocked_since: Option<Instant>,
}

/// A request in progress, until its response is sent. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct RequestGuard {
    state: Arc<ConnectionState>,
    number: u64,
    multiplexed: bool,
}

impl Timeouts {
    pub(super) fn new(config: &Http) -> Self {
        Self { header: config.header_timeout, keep_alive: config.keep_alive, write: config.write_timeout }
    }

    /// The interval between checks, so that a timeout is at most a quarter late.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self.header.min(self.keep_alive).min(self.write);
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}

impl ConnectionState {
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(Activity {
            opened: now,
            head_since: None,
            idle_since: now,
            used: false,
            multiplexed: false,
            running: 0,
            next: 0,
            waiting: HashMap::new(),
            blocked_since: None,
        })))
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the connection ready for requests, after the handshake.
    pub(super) fn open(&self) {
        let mut activity = self.activity();
        activity.opened = Instant::now();
        activity.head_since = None;
    }

    /// Records that bytes arrived.
    pub(super) fn bytes_received(&self) {
        let mut activity = self.activity();
        if activity.running == 0 && activity.head_since.is_none() {
            activity.head_since = Some(Instant::now());
        }
    }

    /// Records that the socket accepts no bytes.
    pub(super) fn write_blocked(&self) {
        let mut activity = self.activity();
        if activity.blocked_since.is_none() {
            activity.blocked_since = Some(Instant::now());
        }
    }

    /// Records that the socket accepted bytes.
    pub(super) fn write_progressed(&self) {
        self.activity().blocked_since = None;
    }

    /// Begins a request whose head is complete.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> RequestGuard {
        let mut activity = self.activity();
        activity.head_since = None;
        activity.used = true;
        activity.multiplexed = version == Version::HTTP_2;
        activity.running += 1;
        activity.next += 1;
        RequestGuard { state: Arc::clone(self), number: activity.next, multiplexed: activity.multiplexed }
    }

    /// Whether no request runs and no response is being sent.
    pub(super) fn is_idle(&self) -> bool {
        self.activity().running == 0
    }

    pub(super) fn verdict(&self, now: Instant, timeouts: &Timeouts) -> Verdict {
        let activity = self.activity();
        let is_over = |since: Instant, timeout: Duration| now.saturating_duration_since(since) >= timeout;
        let stalled = activity.blocked_since.iter().chain(activity.waiting.values());
        if stalled.into_iter().any(|since| is_over(*since, timeouts.write)) {
            return Verdict::Cut("the client does not read");
        }
        if activity.running > 0 {
            return Verdict::Keep;
        }
        if !activity.used && is_over(activity.opened, timeouts.header) {
            return Verdict::Cut("no request came");
        }
        let head_since = activity.head_since.filter(|_| !activity.multiplexed);
        if head_since.is_some_and(|since| is_over(since, timeouts.header)) {
            return Verdict::Cut("the head of a request did not come to its end");
        }
        if activity.used && head_since.is_none() && is_over(activity.idle_since, timeouts.keep_alive) {
            return Verdict::GracefulShutdown;
        }
        Verdict::Keep
    }

    /// Whether the connection can shut down gracefully without losing a request that is on its way.
    pub(super) fn may_shut_down(&self, now: Instant) -> bool {
        let activity = self.activity();
        let in_a_head = activity.head_since.is_some() && !activity.multiplexed;
        match activity.running {
            0 if in_a_head => false,
            0 if !activity.used => now.saturating_duration_since(activity.opened) >= NEW_CONNECTION_GRACE,
            _ => true,
        }
    }
}

impl RequestGuard {
    /// Whether the connection carries other requests too, so that the socket does not show the progress of this one.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Records that data waits for the client.
    pub(super) fn blocked_on_client(&self) {
        if self.multiplexed {
            self.state.activity().waiting.insert(self.number, Instant::now());
        }
    }

    /// Records that the client took the data.
    pub(super) fn progressed(&self) {
        if self.multiplexed {
            self.state.activity().waiting.remove(&self.number);
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut activity = self.state.activity();
        activity.waiting.remove(&self.number);
        activity.running -= 1;
        activity.idle_since = Instant::now();
    }
}
