//! Generates the requests: each with another client and range, and equal in every run.

use std::collections::HashSet;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::http::request;

/// The range of requests of ordinary callers.
pub(crate) const ORDINARY_RANGE: Duration = Duration::days(30);

/// From the first to the last creation in the lake.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
}

/// The purpose of requests. Different purposes have different requests, so that no response is already cached.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Compare,
    Latency,
    Throughput,
    Short,
}

/// Requests of one client after another, each for a range of this length that starts at a random second.
pub(crate) fn ordinary(
    endpoint: &str,
    tokens: &[String],
    span: Span,
    length: Duration,
    purpose: Purpose,
    count: usize,
) -> Vec<Vec<u8>> {
    ranges(tokens.len(), (span.last - span.first - length).num_seconds(), purpose, count)
        .into_iter()
        .map(|(caller, second)| {
            let start = span.first + Duration::seconds(second);
            request(&path(endpoint, start, start + length), &tokens[caller], "")
        })
        .collect()
}

/// Requests of one client for all its rows. They differ in the first seconds, which they skip.
pub(crate) fn whole(endpoint: &str, token: &str, span: Span, count: u32) -> Vec<Vec<u8>> {
    let range = |second| path(endpoint, span.first + Duration::seconds(i64::from(second)), span.last);
    (0..count).map(|second| request(&range(second), token, "")).collect()
}

/// Distinct pairs of a caller and a second. Each caller occurs once, in random order, before any occurs again.
fn ranges(callers: usize, seconds: i64, purpose: Purpose, count: usize) -> Vec<(usize, i64)> {
    let mut random = ChaCha8Rng::seed_from_u64(super::SEED << 8 | purpose as u64);
    let mut order: Vec<_> = (0..callers).collect();
    for at in (1..callers).rev() {
        order.swap(at, below(&mut random, at as u64 + 1) as usize);
    }
    let seconds = u64::try_from(seconds).unwrap_or(0) + 1;
    let count = count.min(callers * usize::try_from(seconds / 2).unwrap_or(usize::MAX));
    let (mut seen, mut chosen) = (HashSet::new(), Vec::with_capacity(count));
    while chosen.len() < count {
        let pair = (order[chosen.len() % callers], below(&mut random, seconds) as i64);
        if seen.insert(pair) {
            chosen.push(pair);
        }
    }
    chosen
}

pub(crate) fn path(endpoint: &str, start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let shown = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    format!("/api/{endpoint}?start_datetime={}&end_datetime={}", shown(start), shown(end))
}

/// A random number below `limit`; the slight bias of the modulo does not matter here.
fn below(random: &mut ChaCha8Rng, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_comes_twice_and_clients_take_turns() {
        let chosen = ranges(7, 1_000, Purpose::Latency, 700);
        assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), 700);
        for turn in chosen.chunks(7) {
            assert_eq!(turn.iter().map(|(caller, _)| caller).collect::<HashSet<_>>().len(), 7);
        }
        assert!(chosen.iter().all(|(_, second)| (0..=1_000).contains(second)));
    }

    #[test]
    fn choices_are_the_same_in_every_run_and_differ_by_purpose() {
        assert_eq!(ranges(5, 100, Purpose::Latency, 20), ranges(5, 100, Purpose::Latency, 20));
        assert_ne!(ranges(5, 100, Purpose::Latency, 20), ranges(5, 100, Purpose::Throughput, 20));
    }

    #[test]
    fn a_range_that_has_few_starts_gives_few_requests() {
        assert_eq!(ranges(2, 9, Purpose::Short, 1_000).len(), 10);
    }

    #[test]
    fn the_largest_caller_asks_for_all_but_some_seconds() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let span = Span { first: time("2022-09-01T00:00:00.5Z"), last: time("2022-12-31T00:00:00Z") };
        let requests = whole("count", "secret", span, 2);
        let text = String::from_utf8(requests[1].clone()).unwrap();
        assert!(
            text.starts_with(
                "GET /api/count?start_datetime=2022-09-01T00:00:01.500Z&end_datetime=2022-12-31T00:00:00Z HTTP/1.1\r\n"
            ),
            "{text}"
        );
        assert_eq!(requests.len(), 2);
    }
}
