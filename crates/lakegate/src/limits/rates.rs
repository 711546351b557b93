//! The counts of all principals, in memory. Several servers count each for itself, and a restart begins anew.
//!
//! Who has made no request for a while takes no room: a full bucket and a day without requests are the same as none.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use lakegate_core::error::{Code, Error};
use lakegate_core::limits::Limits;
use lakegate_core::limits::rate::{Bucket, Left, Over, Rate, Today};

/// How many locks there are; callers of different ones do not wait for each other.
const SHARDS: usize = 16;
/// The most counts that a shard keeps. One more than all of them is refused: what can not be counted is not let through.
const MOST: usize = 1 << 16;
/// So many counts are not worth looking through.
const FEW: usize = 1 << 10;

/// Who has made how many requests.
#[derive(Debug)]
pub struct Rates {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<String, Counts>,
    /// From how many counts on it is looked through again.
    look_at: usize,
}

#[derive(Debug, Default)]
struct Counts {
    bucket: Bucket,
    today: Today,
}

impl Counts {
    fn is_idle(&self, nanoseconds: u64, seconds: u64) -> bool {
        self.bucket.is_full(nanoseconds) && self.today.is_over(seconds)
    }
}

/// How a caller stands with one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name in the headers.
    pub name: &'static str,
    /// How many requests fit into the window.
    pub quota: u64,
    /// The window.
    pub window_seconds: u64,
    /// What is left of it.
    pub left: Left,
}

/// What is counted together.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The principal.
    pub principal: &'a str,
    /// The endpoint; `None` is all requests of the principal.
    pub endpoint: Option<&'a str>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Rates {
    /// Counts one request, where there is a rate or a number a day; gives how the caller stands with each.
    ///
    /// # Errors
    /// [`Code::AccessRateExceeded`] when it is one too many, beside how the caller stands.
    pub fn take(&self, counted: Counted<'_>, limits: &Limits, now: DateTime<Utc>) -> (Vec<Quota>, Result<(), Error>) {
        if !is_rate(limits) {
            return (Vec::new(), Ok(()));
        }
        let rate = limits.requests_per_second.zip(limits.burst()).map(|(rate, burst)| Rate::new(rate, burst));
        // Time before 1970 is none.
        let nanoseconds = u64::try_from(now.timestamp_nanos_opt().unwrap_or_default()).unwrap_or_default();
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        // No name holds a line break.
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
        let (mut quotas, mut over) = (Vec::new(), None::<Over>);
        let mut stand = |name, quota, window_seconds, taken: Result<Left, Over>| {
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
        // A request that is refused by one is not counted by the other.
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

    /// How many counts are kept.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).counts.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether there is something to count.
pub(super) fn is_rate(limits: &Limits) -> bool {
    limits.requests_per_second.is_some() || limits.requests_per_day.is_some()
}

impl Shard {
    /// Forgets who is idle, now and then. Whether one more count can be kept.
    fn has_room(&mut self, nanoseconds: u64, seconds: u64) -> bool {
        if self.counts.len() >= self.look_at.max(FEW) {
            self.counts.retain(|_, counts| !counts.is_idle(nanoseconds, seconds));
            self.look_at = self.counts.len().saturating_mul(2).min(MOST);
        }
        self.counts.len() < MOST
    }
}
