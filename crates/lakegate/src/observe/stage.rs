//! How long each stage of a request took. Written by the stages without a lock, read when the request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The stages, in the order of a request.
pub const STAGES: [Stage; 9] = [
    Stage::Authenticate,
    Stage::Authorize,
    Stage::Arguments,
    Stage::Govern,
    Stage::Queue,
    Stage::Plan,
    Stage::FirstRow,
    Stage::Stream,
    Stage::Encode,
];

/// A stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Who calls.
    Authenticate,
    /// Whether they may.
    Authorize,
    /// The arguments are typed and the rules looked at.
    Arguments,
    /// The policies are put into the plan.
    Govern,
    /// The query waits for its turn.
    Queue,
    /// The physical plan is made.
    Plan,
    /// From the start of the query to its first rows.
    FirstRow,
    /// Rows after the first are waited for.
    Stream,
    /// Rows become bytes.
    Encode,
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Authenticate => "authenticate",
            Stage::Authorize => "authorize",
            Stage::Arguments => "arguments",
            Stage::Govern => "govern",
            Stage::Queue => "queue",
            Stage::Plan => "plan",
            Stage::FirstRow => "first_row",
            Stage::Stream => "stream",
            Stage::Encode => "encode",
        }
    }
}

/// The times of one request.
#[derive(Debug)]
pub struct Stages {
    begun: Instant,
    /// Where the next stage that follows the one before begins.
    last: AtomicU64,
    times: [Times; STAGES.len()],
}

/// Nanoseconds. `end` is 0 as long as the stage was not come to.
#[derive(Debug, Default)]
struct Times {
    start: AtomicU64,
    end: AtomicU64,
    busy: AtomicU64,
}

/// When a stage was at work, from the beginning of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When it was come to.
    pub start: Duration,
    /// When it was left for the last time.
    pub end: Duration,
    /// How long it was at work; less than from start to end where stages take turns.
    pub busy: Duration,
}

impl Stages {
    /// No stage was come to yet.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0), times: Default::default() }
    }

    /// When the request began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// A stage that follows another begins here.
    pub fn follow(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// A stage ends that began where the one before ended.
    pub fn end(&self, stage: Stage) {
        let now = self.now();
        let start = self.last.swap(now, Ordering::Relaxed);
        self.add(stage, start, now, now.saturating_sub(start));
    }

    /// A stage was at work for so long, until now.
    pub fn took(&self, stage: Stage, busy: Duration) {
        self.took_until(stage, busy, Duration::ZERO);
    }

    /// A stage was at work for so long, until so long ago.
    pub fn took_until(&self, stage: Stage, busy: Duration, ago: Duration) {
        let end = self.now().saturating_sub(nanos(ago));
        let busy = nanos(busy);
        self.add(stage, end.saturating_sub(busy), end, busy);
    }

    /// What a stage has taken; `None` where the request did not come to it.
    pub fn taken(&self, stage: Stage) -> Option<Taken> {
        let times = &self.times[stage as usize];
        let end = times.end.load(Ordering::Relaxed);
        let nanos = |value: &AtomicU64| Duration::from_nanos(value.load(Ordering::Relaxed));
        (end > 0).then(|| Taken {
            start: nanos(&times.start),
            end: Duration::from_nanos(end),
            busy: nanos(&times.busy),
        })
    }

    /// The time of all stages together.
    pub fn busy(&self) -> Duration {
        STAGES.iter().filter_map(|stage| self.taken(*stage)).map(|taken| taken.busy).sum()
    }

    fn add(&self, stage: Stage, start: u64, end: u64, busy: u64) {
        let times = &self.times[stage as usize];
        if times.end.load(Ordering::Relaxed) == 0 {
            times.start.store(start, Ordering::Relaxed);
        }
        times.end.fetch_max(end.max(1), Ordering::Relaxed);
        times.busy.fetch_add(busy, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
