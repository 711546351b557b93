//! An engine that limits concurrent queries: it queues some others, fairly by principal, and refuses the rest.
//!
//! [`FairQueue`] decides which query runs next; this file adds the lock, the waiting and the clock. Nothing is awaited
//! while the lock is held. Queries that look cheap get no priority: the cost of a query is estimated from sizes that
//! include other callers' rows, and within one principal the distinction is not worth it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lakegate_core::error::{Code, Error};
use lakegate_core::limits::{FairQueue, QueueFull, QueueLoad, QueueRequest, Ticket};
use tokio::sync::oneshot;

use super::failure::timed_out;
use super::{BatchStream, Engine, Limits, Turn};
use crate::govern::GovernedPlan;

/// Wraps an engine with a limit on concurrent queries.
#[derive(Debug)]
pub struct Limited<E> {
    engine: E,
    queue: Arc<Queue>,
}

/// The limits on waiting queries.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// The maximum of all principals together.
    pub all: usize,
    /// The maximum of each principal.
    pub each: usize,
}

impl<E> Limited<E> {
    /// Runs at most `queries` queries at a time.
    pub fn new(engine: E, queries: usize, waiting: Waiting) -> Self {
        let queue = FairQueue::new(queries, waiting.all, waiting.each);
        let state = State { queue, wakers: HashMap::new(), mean: None };
        Self { engine, queue: Arc::new(Queue { state: Mutex::new(state) }) }
    }
}

#[async_trait]
impl<E: Engine> Engine for Limited<E> {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        let (mut slot, wait) = self.queue.enter(&limits.turn)?;
        if let Some(wait) = wait {
            let turn = tokio::time::timeout_at(limits.deadline.into(), wait).await.map_err(|_| timed_out())?;
            // The sender is dropped unsent only together with this ticket, so this does not fail.
            turn.map_err(|_| timed_out())?;
        }
        slot.began = Some(Instant::now());
        Ok(self.engine.run(plan, limits).await?.holding(slot))
    }

    fn load(&self) -> QueueLoad {
        self.queue.state().queue.load()
    }
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: FairQueue,
    wakers: HashMap<Ticket, oneshot::Sender<()>>,
    /// The moving average of query times, in seconds.
    mean: Option<f64>,
}

/// A place among the running or waiting queries; returned on drop.
#[derive(Debug)]
struct Slot {
    queue: Arc<Queue>,
    ticket: Ticket,
    began: Option<Instant>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent after each step, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the queue. Returns a place and, if the query cannot run yet, the signal to wait for.
    fn enter(self: &Arc<Self>, turn: &Turn) -> Result<(Slot, Option<oneshot::Receiver<()>>), Error> {
        let request = QueueRequest {
            lane: Arc::clone(&turn.principal),
            group: Arc::clone(&turn.endpoint),
            most_of_lane: turn.most_of_principal,
            most_of_group: turn.most_of_endpoint,
        };
        let mut state = self.state();
        match state.queue.enter(request) {
            Ok((ticket, runs)) => {
                let wait = (!runs).then(|| {
                    let (waker, wait) = oneshot::channel();
                    state.wakers.insert(ticket, waker);
                    wait
                });
                Ok((Slot { queue: Arc::clone(self), ticket, began: None }, wait))
            }
            Err(full) => {
                let load = state.queue.load();
                let turns = match full {
                    QueueFull::Lane => state.queue.estimated_turns(&turn.principal),
                    QueueFull::Queue => load.waiting + 1,
                };
                Err(busy(full, retry_after(turns, load.slots, state.mean)))
            }
        }
    }

    fn leave(&self, ticket: Ticket, ran: Option<Duration>) {
        let mut state = self.state();
        state.wakers.remove(&ticket);
        if let Some(ran) = ran {
            let ran = ran.as_secs_f64();
            state.mean = Some(state.mean.map_or(ran, |mean| mean + (ran - mean) * WEIGHT));
        }
        for started in state.queue.leave(ticket) {
            if let Some(waker) = state.wakers.remove(&started) {
                // If the receiver is gone, dropping its slot returns the place.
                let _ = waker.send(());
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.queue.leave(self.ticket, self.began.map(|began| began.elapsed()));
    }
}

/// The weight of the latest query in the moving average.
const WEIGHT: f64 = 0.1;
/// The longest `Retry-After`, in seconds.
const LONGEST: f64 = 60.0;

/// Estimates the seconds until `turns` queries have run, if they take as long as recent ones.
fn retry_after(turns: usize, slots: usize, mean: Option<f64>) -> u64 {
    let seconds = mean.unwrap_or(1.0) * turns as f64 / slots.max(1) as f64;
    seconds.ceil().clamp(1.0, LONGEST) as u64
}

fn busy(full: QueueFull, seconds: u64) -> Error {
    let error = match full {
        QueueFull::Lane => Error::new(Code::EnginePrincipalBusy, "as many queries of this caller wait as may"),
        QueueFull::Queue => Error::new(Code::EngineOverloaded, "too many queries run and wait"),
    };
    error.hint("try again later, as `Retry-After` says").retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(principal: &str) -> Turn {
        let most = usize::MAX;
        Turn { principal: principal.into(), endpoint: "e".into(), most_of_principal: most, most_of_endpoint: most }
    }

    fn queue(slots: usize, all: usize, each: usize) -> Arc<Queue> {
        Limited::new((), slots, Waiting { all, each }).queue
    }

    #[tokio::test]
    async fn a_slot_that_is_dropped_wakes_the_next() {
        let queue = queue(1, 9, 9);
        let (first, wait) = queue.enter(&turn("a")).unwrap();
        assert!(wait.is_none());
        let (second, wait) = queue.enter(&turn("b")).unwrap();
        drop(first);
        wait.unwrap().await.unwrap();
        assert_eq!(queue.state().queue.load().running, 1);
        drop(second);
        assert_eq!(queue.state().queue.load(), QueueLoad { slots: 1, ..QueueLoad::default() });
        assert!(queue.state().wakers.is_empty());
    }

    #[tokio::test]
    async fn who_leaves_makes_room_at_once_also_when_its_turn_has_just_come() {
        let queue = queue(1, 9, 9);
        let (first, _) = queue.enter(&turn("a")).unwrap();
        let gone = queue.enter(&turn("b")).unwrap();
        let chosen = queue.enter(&turn("c")).unwrap();
        let (_last, wait) = queue.enter(&turn("d")).unwrap();
        drop(gone);
        assert_eq!(queue.state().queue.load().waiting, 2);
        drop(first);
        // Its turn has come, but it is dropped before it is polled.
        drop(chosen);
        wait.unwrap().await.unwrap();
    }

    #[test]
    fn who_can_not_wait_is_told_when_to_come_again() {
        let queue = queue(1, 2, 1);
        let _running = queue.enter(&turn("a")).unwrap();
        let _waiting = queue.enter(&turn("a")).unwrap();
        let error = queue.enter(&turn("a")).unwrap_err();
        assert_eq!((error.code, error.retry_seconds()), (Code::EnginePrincipalBusy, Some(2)));
        let _other = queue.enter(&turn("b")).unwrap();
        let error = queue.enter(&turn("c")).unwrap_err();
        assert_eq!((error.code, error.retry_seconds()), (Code::EngineOverloaded, Some(3)));
    }

    #[test]
    fn the_estimate_goes_by_recent_queries_and_is_bounded() {
        assert_eq!(retry_after(10, 2, Some(0.001)), 1);
        assert_eq!(retry_after(10, 2, Some(1.5)), 8);
        assert_eq!(retry_after(10_000, 2, Some(9.0)), 60);
        assert_eq!(retry_after(3, 1, None), 3);
    }
}
