//! The result cache: keeps encoded responses in memory, and lets concurrent identical requests share one run (single
//! flight).
//!
//! The key is the policy fingerprint with the representation. It contains neither the caller, nor the token, nor the
//! URL, but everything that governance and the data decide. So two callers share a response only if each would have got
//! these very bytes, and a change of policy, grant, mask key or data changes the key.

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

/// The cache key of a response.
pub type Key = String;

/// A complete response in the cache.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The response.
    pub answered: Answered,
    keep_for: Duration,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The body.
    pub body: Bytes,
    /// Its compression.
    pub coding: Option<Coding>,
    /// The number of rows.
    pub rows: u64,
    /// Whether rows were left out, which a header reports.
    pub is_truncated: bool,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// The way to answer a request.
pub enum Claim {
    /// Return this cached response.
    Kept(Kept),
    /// Return this response, which a concurrent request has just computed.
    Joined(Kept),
    /// Run the query; other requests may wait for the response.
    First(Flight),
    /// Run the query; the response cannot be shared.
    Alone,
}

/// The cached responses, and the requests in flight.
pub struct Results {
    kept: Option<Cache<Key, Kept>>,
    flying: Arc<Mutex<Flying>>,
    largest: usize,
}

/// A request that is being answered for itself and for waiting requests. Dropping it lets those run themselves.
pub struct Flight {
    key: Key,
    kept: Cache<Key, Kept>,
    flying: Arc<Mutex<Flying>>,
    waiting: watch::Sender<Progress>,
    keep_for: Duration,
    largest: usize,
}

/// The progress of a request that others wait for.
enum Progress {
    /// It waits in the queue.
    Waits,
    Runs,
    Landed(Box<Kept>),
}

/// The time that others wait for a request that is queued itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The expiry policy: each response has its own lifetime.
struct KeepFor;

impl Expiry<Key, Kept> for KeepFor {
    fn expire_after_create(&self, _: &Key, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.keep_for)
    }
}

/// The approximate size of an entry beside its body.
const OVERHEAD: usize = 512;

impl Results {
    /// A cache with the memory that the project configures.
    pub fn new(config: &CacheConfig) -> Self {
        let kept = (config.results_bytes > 0).then(|| {
            let weigh = |_: &Key, kept: &Kept| u32::try_from(kept.answered.body.len() + OVERHEAD).unwrap_or(u32::MAX);
            Cache::builder().max_capacity(config.results_bytes).weigher(weigh).expire_after(KeepFor).build()
        });
        Self { kept, flying: Arc::default(), largest: usize::try_from(config.largest_bytes).unwrap_or(usize::MAX) }
    }

    /// The cached response with this key.
    pub fn kept(&self, key: &Key) -> Option<Kept> {
        self.kept.as_ref()?.get(key)
    }

    /// Returns the response with this key if it is cached or in flight; otherwise the task to compute it.
    pub async fn claim(&self, key: Key, keep_for: Duration, deadline: Instant) -> Claim {
        let Some(cache) = self.kept.as_ref().filter(|_| !keep_for.is_zero()) else { return Claim::Alone };
        if let Some(kept) = cache.get(&key) {
            return Claim::Kept(kept);
        }
        let mut waiting = match self.lead_or_wait(&key, cache, keep_for) {
            Ok(claim) => return claim,
            Err(waiting) => waiting,
        };
        // The leading request may be queued behind other queries of its principal, which the others need not wait for.
        let begins = waiting.wait_for(|progress| !matches!(progress, Progress::Waits));
        let begun = tokio::time::timeout_at(deadline.min(Instant::now() + PATIENCE).into(), begins).await;
        if !matches!(begun, Ok(Ok(_))) {
            return Claim::Alone;
        }
        drop(begun);
        // The leading request may fail, disconnect, or turn out too large; then each waiting request runs itself.
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
        // The response may have been cached since the lookup.
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

    /// The approximate memory of cached responses in bytes, and their number.
    pub fn size(&self) -> (u64, u64) {
        self.kept.as_ref().map_or((0, 0), |kept| (kept.weighted_size(), kept.entry_count()))
    }

    /// The number of requests in flight.
    pub fn flying(&self) -> usize {
        locked(&self.flying).len()
    }
}

impl Claim {
    /// The event to count; `None` if the response could not have been shared.
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
    /// Reports that the query runs, so that waiting requests do not wait for a queue.
    pub fn runs(&self) {
        self.waiting.send_replace(Progress::Runs);
    }

    /// The maximum size of a shared response, in bytes.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Caches the complete response, and passes it to the waiting requests.
    pub fn land(self, mut answered: Answered) {
        if answered.body.len() > self.largest {
            return;
        }
        // The buffer may have twice the needed capacity.
        answered.body = Bytes::copy_from_slice(&answered.body);
        let kept = Kept { answered, keep_for: self.keep_for };
        // Cache first, so that a request that arrives in between finds the response.
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
