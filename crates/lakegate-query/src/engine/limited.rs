//! An engine that runs so many queries at once, lets so many wait, takes turns among principals, and refuses the rest.
//!
//! Who runs next is decided by [`FairQueue`]; here are the lock, the waiting and the clock. Nothing is awaited under the lock.
//! There are no short cuts for queries that look light: what a query will cost is known from sizes that rows of others are
//! part of, and a principal's own queries are not worth telling apart by them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lakegate_core::error::{Code, Error};
use lakegate_core::limits::{Ask, FairQueue, Full, Load, Ticket};
use tokio::sync::oneshot;

use super::failure::timed_out;
use super::{BatchStream, Engine, Limits, Turn};
use crate::govern::GovernedPlan;

/// Wraps an engine with a bound on queries.
#[derive(Debug)]
pub struct Limited<E> {
    engine: E,
    queue: Arc<Queue>,
}

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Of all principals.
    pub all: usize,
    /// Of one.
    pub each: usize,
}

impl<E> Limited<E> {
    /// At most `queries` at once.
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
            // Whoever wakes is never dropped without waking.
            turn.map_err(|_| timed_out())?;
        }
        slot.began = Some(Instant::now());
        Ok(self.engine.run(plan, limits).await?.holding(slot))
    }

    fn load(&self) -> Load {
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
    /// How long recent queries took, in seconds.
    mean: Option<f64>,
}

/// A place among those who run, or wait. Given back when it is dropped, whichever it is by then.
#[derive(Debug)]
struct Slot {
    queue: Arc<Queue>,
    ticket: Ticket,
    began: Option<Instant>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each step, also if one panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and what to wait for where it is none among those who run.
    fn enter(self: &Arc<Self>, turn: &Turn) -> Result<(Slot, Option<oneshot::Receiver<()>>), Error> {
        let ask = Ask {
            lane: Arc::clone(&turn.principal),
            group: Arc::clone(&turn.endpoint),
            most_of_lane: turn.most_of_principal,
            most_of_group: turn.most_of_endpoint,
        };
        let mut state = self.state();
        match state.queue.enter(ask) {
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
                    Full::Lane => state.queue.turns_before(&turn.principal),
                    Full::Queue => load.waiting + 1,
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
                // Who has left meanwhile gives its place back by itself.
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

/// How much the latest query counts among the recent ones.
const WEIGHT: f64 = 0.1;
/// The longest that anybody is told to stay away, in seconds.
const LONGEST: f64 = 60.0;

/// In how many seconds so many turns are over, if queries take as long as the recent ones.
fn retry_after(turns: usize, slots: usize, mean: Option<f64>) -> u64 {
    let seconds = mean.unwrap_or(1.0) * turns as f64 / slots.max(1) as f64;
    seconds.ceil().clamp(1.0, LONGEST) as u64
}

fn busy(full: Full, seconds: u64) -> Error {
    let error = match full {
        Full::Lane => Error::new(Code::EnginePrincipalBusy, "as many queries of this caller wait as may"),
        Full::Queue => Error::new(Code::EngineOverloaded, "too many queries run and wait"),
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
        assert_eq!(queue.state().queue.load(), Load { slots: 1, ..Load::default() });
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
        // Its turn has come, and it is dropped before it knows.
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
