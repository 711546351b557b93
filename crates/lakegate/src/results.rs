//! Answers that are kept in memory, as the bytes that were sent, for whoever may have exactly the same; and identical
//! requests that come at one time, of which one runs and the others wait for its answer.
//!
//! The key of an answer is its policy fingerprint with its representation: who calls, by which token or at which URL is
//! not in it, and all that governance and the data decide is. So an answer is shared by two callers only where each would
//! have got these bytes, and a change of policy, grant, mask key or data makes another key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lakegate_core::format::Coding;
use lakegate_core::project::Cache as CacheConfig;
use moka::Expiry;
use moka::sync::Cache;
use tokio::sync::watch;

use crate::observe::CacheAnswer;

/// What an answer is kept under.
pub type Key = String;

/// A whole answer that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The answer.
    pub answered: Answered,
    keep_for: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The body.
    pub body: Bytes,
    /// How it is compressed.
    pub coding: Option<Coding>,
    /// How many rows are in it.
    pub rows: u64,
    /// Whether rows were left out, which its head says.
    pub is_truncated: bool,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// What to do with a request.
pub enum Claim {
    /// Give this answer.
    Kept(Kept),
    /// Give this answer, which another request has just made.
    Joined(Kept),
    /// Run it; others may be waiting for its answer.
    First(Flight),
    /// Run it; there is no answer that could be shared.
    Alone,
}

/// Answers, and requests that are being answered.
pub struct Results {
    kept: Option<Cache<Key, Kept>>,
    flying: Arc<Mutex<Flying>>,
    largest: usize,
}

/// A request that is being answered for itself and for those that wait. Dropping it lets them run for themselves.
pub struct Flight {
    key: Key,
    kept: Cache<Key, Kept>,
    flying: Arc<Mutex<Flying>>,
    waiting: watch::Sender<Progress>,
    keep_for: Duration,
    largest: usize,
}

/// How far somebody has come whose answer others wait for.
enum Progress {
    /// It waits for a place among the running queries.
    Waits,
    Runs,
    Landed(Box<Kept>),
}

/// How long others wait for somebody who waits itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Each answer has a time of its own.
struct KeepFor;

impl Expiry<Key, Kept> for KeepFor {
    fn expire_after_create(&self, _: &Key, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.keep_for)
    }
}

/// What an answer takes beside its bytes, about.
const OVERHEAD: usize = 512;

impl Results {
    /// With as much memory as the project gives.
    pub fn new(config: &CacheConfig) -> Self {
        let kept = (config.results_bytes > 0).then(|| {
            let weigh = |_: &Key, kept: &Kept| u32::try_from(kept.answered.body.len() + OVERHEAD).unwrap_or(u32::MAX);
            Cache::builder().max_capacity(config.results_bytes).weigher(weigh).expire_after(KeepFor).build()
        });
        Self { kept, flying: Arc::default(), largest: usize::try_from(config.largest_bytes).unwrap_or(usize::MAX) }
    }

    /// The answer under this key, if it is kept.
    pub fn kept(&self, key: &Key) -> Option<Kept> {
        self.kept.as_ref()?.get(key)
    }

    /// The answer under this key, if it is kept or made at this moment; or the task to make it.
    pub async fn claim(&self, key: Key, keep_for: Duration, deadline: Instant) -> Claim {
        let Some(cache) = self.kept.as_ref().filter(|_| !keep_for.is_zero()) else { return Claim::Alone };
        if let Some(kept) = cache.get(&key) {
            return Claim::Kept(kept);
        }
        let mut waiting = match self.lead_or_wait(&key, cache, keep_for) {
            Ok(claim) => return claim,
            Err(waiting) => waiting,
        };
        // Who leads may have to wait for a place among its own queries: nobody else waits for that.
        let begins = waiting.wait_for(|progress| !matches!(progress, Progress::Waits));
        let begun = tokio::time::timeout_at(deadline.min(Instant::now() + PATIENCE).into(), begins).await;
        if !matches!(begun, Ok(Ok(_))) {
            return Claim::Alone;
        }
        drop(begun);
        // It may fail, leave, or find that the answer is too large; then everybody runs for themselves.
        let lands = waiting.wait_for(|progress| matches!(progress, Progress::Landed(_)));
        match tokio::time::timeout_at(deadline.into(), lands).await {
            Ok(Ok(progress)) => match &*progress {
                Progress::Landed(kept) => Claim::Joined(Kept::clone(kept)),
                _ => Claim::Alone,
            },
            Ok(Err(_)) | Err(_) => Claim::Alone,
        }
    }

    fn lead_or_wait(
        &self,
        key: &Key,
        cache: &Cache<Key, Kept>,
        keep_for: Duration,
    ) -> Result<Claim, watch::Receiver<Progress>> {
        let mut flying = locked(&self.flying);
        if let Some(waiting) = flying.get(key) {
            return Err(waiting.clone());
        }
        // It may have landed since it was looked for.
        if let Some(kept) = cache.get(key) {
            return Ok(Claim::Kept(kept));
        }
        let (sender, receiver) = watch::channel(Progress::Waits);
        flying.insert(key.clone(), receiver);
        Ok(Claim::First(Flight {
            key: key.clone(),
            kept: cache.clone(),
            flying: Arc::clone(&self.flying),
            waiting: sender,
            keep_for,
            largest: self.largest,
        }))
    }

    /// The memory that kept answers take, in bytes, and how many there are; about.
    pub fn size(&self) -> (u64, u64) {
        self.kept.as_ref().map_or((0, 0), |kept| (kept.weighted_size(), kept.entry_count()))
    }

    /// How many requests are being answered for others, too.
    pub fn flying(&self) -> usize {
        locked(&self.flying).len()
    }
}

impl Claim {
    /// What is counted of it; nothing where no answer could have been shared.
    pub fn said(&self) -> Option<CacheAnswer> {
        match self {
            Claim::Kept(_) => Some(CacheAnswer::Hit),
            Claim::Joined(_) => Some(CacheAnswer::Joined),
            Claim::First(_) => Some(CacheAnswer::Miss),
            Claim::Alone => None,
        }
    }
}

impl Flight {
    /// The query runs now: who waits does not wait for somebody else's turn.
    pub fn runs(&self) {
        self.waiting.send_replace(Progress::Runs);
    }

    /// The largest answer that can be shared, in bytes.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Keeps the whole answer, and gives it to those that wait.
    pub fn land(self, mut answered: Answered) {
        if answered.body.len() > self.largest {
            return;
        }
        // What it was gathered in may have room for twice as much.
        answered.body = Bytes::copy_from_slice(&answered.body);
        let kept = Kept { answered, keep_for: self.keep_for };
        // First kept, then given: who comes between the two finds it.
        self.kept.insert(self.key.clone(), kept.clone());
        self.waiting.send_replace(Progress::Landed(Box::new(kept)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        locked(&self.flying).remove(&self.key);
    }
}

type Flying = HashMap<Key, watch::Receiver<Progress>>;

fn locked(flying: &Mutex<Flying>) -> MutexGuard<'_, Flying> {
    flying.lock().unwrap_or_else(PoisonError::into_inner)
}
