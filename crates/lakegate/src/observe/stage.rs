//! Times the stages of a request. The stages write without a lock; the times are read when the request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// All stages, in the order of a request.
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
    /// Identifies the caller.
    Authenticate,
    /// Checks the caller's grants.
    Authorize,
    /// Types the arguments and checks the rules.
    Arguments,
    /// Applies the policies to the plan.
    Govern,
    /// Waits in the queue.
    Queue,
    /// Builds the physical plan.
    Plan,
    /// Runs the query up to its first rows.
    FirstRow,
    /// Waits for the rows after the first.
    Stream,
    /// Encodes rows as bytes.
    Encode,
}

impl Stage {
    /// The name in logs, metrics and headers.
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

/// The stage times of one request.
#[derive(Debug)]
pub struct Stages {
    begun: Instant,
    /// The start of the next sequential stage.
    last: AtomicU64,
    times: [AtomicTimes; STAGES.len()],
}

/// Times in nanoseconds since the start of the request. `end` is 0 until the stage has run.
#[derive(Debug, Default)]
struct AtomicTimes {
    start: AtomicU64,
    end: AtomicU64,
    busy: AtomicU64,
}

/// The times of a stage, relative to the start of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTimes {
    /// When the stage first started.
    pub start: Duration,
    /// When the stage last ended.
    pub end: Duration,
    /// The working time; less than `end - start` if stages alternate.
    pub busy: Duration,
}

impl Stages {
    /// Starts the clock of a request.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0), times: Default::default() }
    }

    /// When the request began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Starts the next sequential stage now.
    pub fn start_next(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Ends a stage that began when the previous one ended.
    pub fn end(&self, stage: Stage) {
        let now = self.now();
        let start = self.last.swap(now, Ordering::Relaxed);
        self.add(stage, start, now, now.saturating_sub(start));
    }

    /// Adds `busy` to a stage that ends now.
    pub fn add_now(&self, stage: Stage, busy: Duration) {
        self.add_until(stage, busy, Duration::ZERO);
    }

    /// Adds `busy` to a stage that ended `ago`.
    pub fn add_until(&self, stage: Stage, busy: Duration, ago: Duration) {
        let end = self.now().saturating_sub(nanos(ago));
        let busy = nanos(busy);
        self.add(stage, end.saturating_sub(busy), end, busy);
    }

    /// The times of a stage; `None` if it has not run.
    pub fn times(&self, stage: Stage) -> Option<StageTimes> {
        let times = &self.times[stage as usize];
        let end = times.end.load(Ordering::Relaxed);
        let nanos = |value: &AtomicU64| Duration::from_nanos(value.load(Ordering::Relaxed));
        (end > 0).then(|| StageTimes {
            start: nanos(&times.start),
            end: Duration::from_nanos(end),
            busy: nanos(&times.busy),
        })
    }

    /// The total working time of all stages.
    pub fn busy(&self) -> Duration {
        STAGES.iter().filter_map(|stage| self.times(*stage)).map(|times| times.busy).sum()
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
