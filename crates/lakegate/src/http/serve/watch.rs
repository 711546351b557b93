//! What a connection is doing, and since when: whether it waits for a request, runs some, or can not get rid of an answer.
//! From that follows whether it is kept.
//!
//! It reads clocks and sets none; who drives the connection asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Version;
use lakegate_core::project::Http;

/// How long a connection that has sent nothing yet is given when the server ends: its request may be on the way.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// How long what may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// A TLS handshake, and the head of a request.
    pub(super) header: Duration,
    /// A connection without a request.
    pub(super) keep_alive: Duration,
    /// An answer of which the client takes nothing.
    pub(super) write: Duration,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays.
    Keep,
    /// It ends, when what runs on it is answered.
    WindDown,
    /// It ends now, and this is why.
    Cut(&'static str),
}

/// One connection, as its parts see it.
#[derive(Debug)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug)]
struct State {
    opened: Instant,
    /// When the first bytes of a request came that is not complete.
    head_since: Option<Instant>,
    idle_since: Instant,
    /// Whether any request has come.
    used: bool,
    /// HTTP/2: bytes that come are not always a request.
    multiplexed: bool,
    running: usize,
    next: u64,
    /// Answers on HTTP/2 that have more for the client, which does not take it. The socket may take that of others.
    waiting: HashMap<u64, Instant>,
    /// The socket takes no more.
    blocked_since: Option<Instant>,
}

/// A request that runs, or whose answer is still sent. Dropped at its end.
#[derive(Debug)]
pub(super) struct Turn {
    watch: Arc<Watch>,
    number: u64,
    multiplexed: bool,
}

impl Timeouts {
    pub(super) fn of(config: &Http) -> Self {
        Self { header: config.header_timeout, keep_alive: config.keep_alive, write: config.write_timeout }
    }

    /// How often a connection is looked at: a timeout is late by a quarter at most.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self.header.min(self.keep_alive).min(self.write);
        (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(State {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is ready for requests; what came before was a handshake.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.opened = Instant::now();
        state.head_since = None;
    }

    /// Bytes came.
    pub(super) fn came(&self) {
        let mut state = self.state();
        if state.running == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// The socket takes nothing.
    pub(super) fn blocked(&self) {
        let mut state = self.state();
        if state.blocked_since.is_none() {
            state.blocked_since = Some(Instant::now());
        }
    }

    /// The socket took something.
    pub(super) fn went(&self) {
        self.state().blocked_since = None;
    }

    /// A request is complete up to its body.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Turn {
        let mut state = self.state();
        state.head_since = None;
        state.used = true;
        state.multiplexed = version == Version::HTTP_2;
        state.running += 1;
        state.next += 1;
        Turn { watch: Arc::clone(self), number: state.next, multiplexed: state.multiplexed }
    }

    /// Whether no request runs and no answer is sent.
    pub(super) fn is_idle(&self) -> bool {
        self.state().running == 0
    }

    pub(super) fn verdict(&self, now: Instant, timeouts: &Timeouts) -> Verdict {
        let state = self.state();
        let is_over = |since: Instant, timeout: Duration| now.saturating_duration_since(since) >= timeout;
        let stalled = state.blocked_since.iter().chain(state.waiting.values());
        if stalled.into_iter().any(|since| is_over(*since, timeouts.write)) {
            return Verdict::Cut("the client does not read");
        }
        if state.running > 0 {
            return Verdict::Keep;
        }
        if !state.used && is_over(state.opened, timeouts.header) {
            return Verdict::Cut("no request came");
        }
        let head_since = state.head_since.filter(|_| !state.multiplexed);
        if head_since.is_some_and(|since| is_over(since, timeouts.header)) {
            return Verdict::Cut("the head of a request did not come to its end");
        }
        if state.used && head_since.is_none() && is_over(state.idle_since, timeouts.keep_alive) {
            return Verdict::WindDown;
        }
        Verdict::Keep
    }

    /// Whether the connection can be told that the server ends, without losing a request that is on its way.
    pub(super) fn may_end(&self, now: Instant) -> bool {
        let state = self.state();
        let in_a_head = state.head_since.is_some() && !state.multiplexed;
        match state.running {
            0 if in_a_head => false,
            0 if !state.used => now.saturating_duration_since(state.opened) >= FRESH,
            _ => true,
        }
    }
}

impl Turn {
    /// Whether the connection has other requests too, so that the socket does not tell of this one.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// There is something for the client, and nobody fetches it.
    pub(super) fn waits(&self) {
        if self.multiplexed {
            self.watch.state().waiting.insert(self.number, Instant::now());
        }
    }

    /// The client has taken what there was.
    pub(super) fn proceeds(&self) {
        if self.multiplexed {
            self.watch.state().waiting.remove(&self.number);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        state.waiting.remove(&self.number);
        state.running -= 1;
        state.idle_since = Instant::now();
    }
}
