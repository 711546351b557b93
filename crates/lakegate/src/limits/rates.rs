//! The request counts of all principals, in memory. Each server counts separately, and a restart resets the counts.
//!
//! An idle principal needs no entry, because a full bucket and a day without requests equal no count.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use lakegate_core::error::{Code, Error};
use lakegate_core::limits::Limits;
use lakegate_core::limits::rate::{Bucket, DailyCounter, QuotaLeft, Rate, RateExceeded};

/// The number of lock shards, so that most callers do not wait for each other.
const SHARDS: usize = 16;
/// The maximum number of entries in a shard. A new caller beyond that is refused, because an uncounted request must not
/// pass.
const MAX_ENTRIES: usize = 1 << 16;
/// A shard with fewer entries is not scanned for idle ones.
const MIN_SCAN_ENTRIES: usize = 1 << 10;

/// The request counts of all principals.
#[derive(Debug)]
pub struct Rates {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<String, Counts>,
    /// The number of entries at which to scan for idle ones.
    next_scan_at: usize,
}

#[derive(Debug, Default)]
struct Counts {
    bucket: Bucket,
    today: DailyCounter,
}

impl Counts {
    fn is_idle(&self, nanoseconds: u64, seconds: u64) -> bool {
        self.bucket.is_full(nanoseconds) && self.today.is_over(seconds)
    }
}

/// The state of one quota of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name in the headers.
    pub name: &'static str,
    /// The maximum number of requests in the window.
    pub quota: u64,
    /// The length of the window, in seconds.
    pub window_seconds: u64,
    /// The remaining requests.
    pub left: QuotaLeft,
}

/// The key of a count.
#[derive(Clone, Copy, Debug)]
pub struct RateKey<'a> {
    /// The principal.
    pub principal: &'a str,
    /// The endpoint; `None` counts all requests of the principal.
    pub endpoint: Option<&'a str>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Rates {
    /// Counts a request if a rate limit or daily quota applies. Returns the state of each quota.
    ///
    /// # Errors
    /// [`Code::AccessRateExceeded`] if the request exceeds a limit; the quotas are still returned.
    pub fn take(&self, counted: RateKey<'_>, limits: &Limits, now: DateTime<Utc>) -> (Vec<Quota>, Result<(), Error>) {
        if !is_rate(limits) {
            return (Vec::new(), Ok(()));
        }
        let rate = limits.requests_per_second.zip(limits.burst()).map(|(rate, burst)| Rate::new(rate, burst));
        // Times before 1970 count as 0.
        let nanoseconds = u64::try_from(now.timestamp_nanos_opt().unwrap_or_default()).unwrap_or_default();
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        // No name contains a line break.
        let key = format!("{}\n{}", counted.principal, counted.endpoint.unwrap_or_default());
        let at = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or_default();
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.counts.contains_key(&key) && !shard.has_room(nanoseconds, seconds) {
            let error = Error::new(Code::AccessRateExceeded, "too many callers are counted now");
            return (Vec::new(), Err(error.hint("try again later").retry_after(60)));
        }
        let counts = shard.counts.entry(key).or_default();
        let [per_second, per_day] = match counted.endpoint {
            None => ["requests-per-second", "requests-per-day"],
            Some(_) => ["endpoint-requests-per-second", "endpoint-requests-per-day"],
        };
        let (mut quotas, mut over) = (Vec::new(), None::<RateExceeded>);
        let mut stand = |name, quota, window_seconds, taken: Result<QuotaLeft, RateExceeded>| {
            let left = taken.unwrap_or_else(|refused| {
                over = over.filter(|over| over.retry_seconds >= refused.retry_seconds).or(Some(refused));
                refused.left
            });
            quotas.push(Quota { name, quota, window_seconds, left });
            taken.is_ok()
        };
        let fits = rate.is_none_or(|rate| {
            stand(per_second, rate.quota(), rate.window_seconds(), counts.bucket.take(rate, nanoseconds))
        });
        // A request that the rate limit refuses does not count against the daily quota.
        if let Some(quota) = limits.requests_per_day.filter(|_| fits) {
            stand(per_day, quota, 86_400, counts.today.take(quota, seconds));
        }
        let refused = over.map(|over| {
            let what = if counted.endpoint.is_some() { " of this endpoint" } else { "" };
            Error::new(Code::AccessRateExceeded, format!("this caller has made as many requests{what} as it may"))
                .hint("wait as long as `Retry-After` says; `RateLimit-Policy` says what may be asked")
                .retry_after(over.retry_seconds)
        });
        (quotas, refused.map_or(Ok(()), Err))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).counts.len()).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether the limits require counting.
pub(super) fn is_rate(limits: &Limits) -> bool {
    limits.requests_per_second.is_some() || limits.requests_per_day.is_some()
}

impl Shard {
    /// Drops idle entries when the shard has grown. Returns whether there is room for another entry.
    fn has_room(&mut self, nanoseconds: u64, seconds: u64) -> bool {
        if self.counts.len() >= self.next_scan_at.max(MIN_SCAN_ENTRIES) {
            self.counts.retain(|_, counts| !counts.is_idle(nanoseconds, seconds));
            self.next_scan_at = self.counts.len().saturating_mul(2).min(MAX_ENTRIES);
        }
        self.counts.len() < MAX_ENTRIES
    }
}
