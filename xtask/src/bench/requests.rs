//! Which requests are measured: random clients and random ranges, the same ones in every run.

use anyhow::Result;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::callers::{Caller, Clients};

/// How many different requests an endpoint gets; a measurement goes round them.
const REQUESTS: usize = 500;

/// A range is as long as a client asks for: from a day to a month.
const DAYS: u64 = 31;

/// One request, ready to be sent.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) token: String,
}

/// The requests for one endpoint. Every endpoint gets the same clients and ranges.
pub(crate) fn choose(endpoint: &str, callers: &[Caller], clients: &Clients) -> Result<Vec<Request>> {
    let (first, last) = clients.span()?;
    let mut random = ChaCha8Rng::seed_from_u64(super::SEED);
    let requests = (0..REQUESTS).map(|_| {
        let caller = &callers[below(&mut random, callers.len() as u64) as usize];
        let length = 1 + below(&mut random, DAYS);
        let days = u64::try_from((last - first).num_days()).unwrap_or(0);
        let offset = below(&mut random, days.saturating_sub(length) + 1);
        let start = first + Duration::days(offset as i64);
        let end = start + Duration::days(length as i64);
        let path = format!("/api/{endpoint}?start_datetime={}&end_datetime={}", shown(start), shown(end));
        Request { path, token: caller.token.clone() }
    });
    Ok(requests.collect())
}

/// A random number below `limit`; the slight unevenness of a remainder does not matter here.
pub(crate) fn below(random: &mut ChaCha8Rng, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
