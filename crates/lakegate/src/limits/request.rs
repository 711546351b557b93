//! The rate-limit state of a request: counted once the caller and the endpoint are known, and reported in the headers
//! of every response.
//!
//! The headers are `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use lakegate_core::access::{Authorized, Principal};
use lakegate_core::error::Error;
use lakegate_core::limits::Limits;
use lakegate_core::project::{Config, Endpoint};

use super::rates::{Quota, RateKey, Rates, is_rate};

/// The rate-limit state of a request. The default counts nothing.
#[derive(Debug, Default)]
pub struct RateLimitState {
    rates: Option<Arc<Rates>>,
    quotas: Mutex<Vec<Quota>>,
    is_principal_counted: AtomicBool,
    is_call_counted: AtomicBool,
}

impl RateLimitState {
    /// The state of a request that counts.
    pub fn new(rates: &Arc<Rates>) -> Self {
        Self { rates: Some(Arc::clone(rates)), ..Self::default() }
    }

    /// Counts the request among all requests of its principal; only once, even if the request is retried.
    ///
    /// # Errors
    /// If it exceeds a limit.
    pub fn count_principal(&self, config: &Config, principal: &Principal, now: DateTime<Utc>) -> Result<(), Error> {
        let counted = RateKey { principal: principal.name(), endpoint: None };
        self.take(&self.is_principal_counted, counted, &config.limits.limits, now)
    }

    /// Counts the request among its principal's calls of the endpoint, with the limits of the endpoint and the grants;
    /// only once, even if the request is retried.
    ///
    /// # Errors
    /// If it exceeds a limit.
    pub fn count_call(&self, authorized: &Authorized, endpoint: &Endpoint, now: DateTime<Utc>) -> Result<(), Error> {
        let limits = tighter(&endpoint.limits.limits, &authorized.limits());
        let counted = RateKey { principal: authorized.principal().name(), endpoint: Some(authorized.endpoint()) };
        self.take(&self.is_call_counted, counted, &limits, now)
    }

    fn take(&self, once: &AtomicBool, counted: RateKey<'_>, limits: &Limits, now: DateTime<Utc>) -> Result<(), Error> {
        let Some(rates) = self.rates.as_ref().filter(|_| is_rate(limits)) else { return Ok(()) };
        if once.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (quotas, taken) = rates.take(counted, limits, now);
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner).extend(quotas);
        taken
    }

    /// The response headers; empty if no rate limit applies.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        if quotas.is_empty() {
            return Vec::new();
        }
        let policy =
            quotas.iter().map(|quota| format!("\"{}\";q={};w={}", quota.name, quota.quota, quota.window_seconds));
        let left = quotas
            .iter()
            .map(|quota| format!("\"{}\";r={};t={}", quota.name, quota.left.remaining, quota.left.reset_seconds));
        let texts = [
            ("ratelimit-policy", policy.collect::<Vec<_>>().join(", ")),
            ("ratelimit", left.collect::<Vec<_>>().join(", ")),
        ];
        let headers = texts
            .into_iter()
            .filter_map(|(name, text)| Some((HeaderName::from_static(name), HeaderValue::from_str(&text).ok()?)));
        headers.collect()
    }
}

/// The lower of each limit: rate, burst and daily quota.
fn tighter(one: &Limits, other: &Limits) -> Limits {
    let least = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Limits {
        requests_per_second: least(one.requests_per_second, other.requests_per_second),
        request_burst: least(one.burst(), other.burst()),
        requests_per_day: least(one.requests_per_day, other.requests_per_day),
        ..Limits::default()
    }
}
