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

use crate::observe::CacheLookup;

/// The cache key of a response.
pub type ResponseKey = String;

/// A complete response in the cache.
#[derive(Clone, Debug)]
pub struct CachedResponse {
    /// The response.
    pub response: CompleteResponse,
    ttl: Duration,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct CompleteResponse {
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
    Hit(CachedResponse),
    /// Return this response, which a concurrent request has just computed.
    Shared(CachedResponse),
    /// Run the query; other requests may wait for the response.
    Leader(Flight),
    /// Run the query; the response cannot be shared.
    Uncacheable,
}

/// The cached responses, and the requests in flight.
pub struct ResponseCache {
    responses: Option<Cache<ResponseKey, CachedResponse>>,
    in_flight: Arc<Mutex<InFlight>>,
    max_response_bytes: usize,
}

/// A request that is being answered for itself and for waiting requests. Dropping it lets those run themselves.
pub struct Flight {
    key: ResponseKey,
    responses: Cache<ResponseKey, CachedResponse>,
    in_flight: Arc<Mutex<InFlight>>,
    progress: watch::Sender<Progress>,
    ttl: Duration,
    max_response_bytes: usize,
}

/// The progress of a request that others wait for.
enum Progress {
    /// It waits in the queue.
    Queued,
    Running,
    Published(Box<CachedResponse>),
}

/// The time that others wait for a request that is queued itself.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(1);

/// The expiry policy: each response has its own lifetime.
struct PerResponseTtl;

impl Expiry<ResponseKey, CachedResponse> for PerResponseTtl {
    fn expire_after_create(&self, _: &ResponseKey, cached: &CachedResponse, _: Instant) -> Option<Duration> {
        Some(cached.ttl)
    }
}

/// The approximate size of an entry beside its body.
const ENTRY_OVERHEAD: usize = 512;

impl ResponseCache {
    /// A cache with the memory that the project configures.
    pub fn new(config: &CacheConfig) -> Self {
        let responses = (config.results_bytes > 0).then(|| {
            let weigh = |_: &ResponseKey, cached: &CachedResponse| {
                u32::try_from(cached.response.body.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            };
            Cache::builder().max_capacity(config.results_bytes).weigher(weigh).expire_after(PerResponseTtl).build()
        });
        Self {
            responses,
            in_flight: Arc::default(),
            max_response_bytes: usize::try_from(config.largest_bytes).unwrap_or(usize::MAX),
        }
    }

    /// The cached response with this key.
    pub fn get(&self, key: &ResponseKey) -> Option<CachedResponse> {
        self.responses.as_ref()?.get(key)
    }

    /// Returns the response with this key if it is cached or in flight; otherwise the task to compute it.
    pub async fn claim(&self, key: ResponseKey, ttl: Duration, deadline: Instant) -> Claim {
        let Some(cache) = self.responses.as_ref().filter(|_| !ttl.is_zero()) else { return Claim::Uncacheable };
        if let Some(cached) = cache.get(&key) {
            return Claim::Hit(cached);
        }
        let mut progress = match self.lead_or_wait(&key, cache, ttl) {
            Ok(claim) => return claim,
            Err(progress) => progress,
        };
        // The leading request may be queued behind other queries of its principal, which the others need not wait for.
        let started = progress.wait_for(|progress| !matches!(progress, Progress::Queued));
        let started = tokio::time::timeout_at(deadline.min(Instant::now() + MAX_QUEUE_WAIT).into(), started).await;
        if !matches!(started, Ok(Ok(_))) {
            return Claim::Uncacheable;
        }
        drop(started);
        // The leading request may fail, disconnect, or turn out too large; then each waiting request runs itself.
        let published = progress.wait_for(|progress| matches!(progress, Progress::Published(_)));
        match tokio::time::timeout_at(deadline.into(), published).await {
            Ok(Ok(progress)) => match &*progress {
                Progress::Published(cached) => Claim::Shared(CachedResponse::clone(cached)),
                _ => Claim::Uncacheable,
            },
            Ok(Err(_)) | Err(_) => Claim::Uncacheable,
        }
    }

    fn lead_or_wait(
        &self,
        key: &ResponseKey,
        cache: &Cache<ResponseKey, CachedResponse>,
        ttl: Duration,
    ) -> Result<Claim, watch::Receiver<Progress>> {
        let mut in_flight = locked(&self.in_flight);
        if let Some(progress) = in_flight.get(key) {
            return Err(progress.clone());
        }
        // The response may have been cached since the lookup.
        if let Some(cached) = cache.get(key) {
            return Ok(Claim::Hit(cached));
        }
        let (sender, receiver) = watch::channel(Progress::Queued);
        in_flight.insert(key.clone(), receiver);
        Ok(Claim::Leader(Flight {
            key: key.clone(),
            responses: cache.clone(),
            in_flight: Arc::clone(&self.in_flight),
            progress: sender,
            ttl,
            max_response_bytes: self.max_response_bytes,
        }))
    }

    /// The approximate memory of cached responses in bytes, and their number.
    pub fn size(&self) -> (u64, u64) {
        self.responses.as_ref().map_or((0, 0), |cached| (cached.weighted_size(), cached.entry_count()))
    }

    /// The number of requests in flight.
    pub fn in_flight(&self) -> usize {
        locked(&self.in_flight).len()
    }
}

impl Claim {
    /// The event to count; `None` if the response could not have been shared.
    pub fn event(&self) -> Option<CacheLookup> {
        match self {
            Claim::Hit(_) => Some(CacheLookup::Hit),
            Claim::Shared(_) => Some(CacheLookup::Joined),
            Claim::Leader(_) => Some(CacheLookup::Miss),
            Claim::Uncacheable => None,
        }
    }
}

impl Flight {
    /// Reports that the query runs, so that waiting requests do not wait for a queue.
    pub fn started(&self) {
        self.progress.send_replace(Progress::Running);
    }

    /// The maximum size of a shared response, in bytes.
    pub fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// Caches the complete response, and passes it to the waiting requests.
    pub fn publish(self, mut response: CompleteResponse) {
        if response.body.len() > self.max_response_bytes {
            return;
        }
        // The buffer may have twice the needed capacity.
        response.body = Bytes::copy_from_slice(&response.body);
        let cached = CachedResponse { response, ttl: self.ttl };
        // Cache first, so that a request that arrives in between finds the response.
        self.responses.insert(self.key.clone(), cached.clone());
        self.progress.send_replace(Progress::Published(Box::new(cached)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        locked(&self.in_flight).remove(&self.key);
    }
}

type InFlight = HashMap<ResponseKey, watch::Receiver<Progress>>;

fn locked(in_flight: &Mutex<InFlight>) -> MutexGuard<'_, InFlight> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}
