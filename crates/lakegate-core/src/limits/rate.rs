//! Rate limits: whether one more request fits, and how many are left. A bucket is a few numbers, and time is an
//! argument.
//!
//! The rate per second is the generic cell rate algorithm: one number stores when the bucket will be full again. So a
//! full bucket equals a new one and can be forgotten. The server assigns buckets to principals.

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// A sustained number of requests a second, and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

/// The quota that is left after a request was admitted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Number of requests that still fit now.
    pub remaining: u64,
    /// Seconds, rounded up, until the whole quota is available again.
    pub reset_seconds: u64,
}

/// The refusal of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateExceeded {
    /// Seconds, rounded up, until a request fits.
    pub retry_seconds: u64,
    /// The quota that is left.
    pub left: QuotaLeft,
}

/// The bucket of a [`Rate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The time at which it is full again, in nanoseconds.
    full_at: u64,
}

/// Number of requests of a UTC day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DailyCounter {
    day: u64,
    count: u64,
}

impl Rate {
    /// Creates a rate. Both numbers are raised to at least 1.
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second: per_second.clamp(1, SECOND), burst: burst.max(1) }
    }

    /// The quota: the number of requests that fit into a full bucket.
    pub fn quota(self) -> u64 {
        self.burst
    }

    /// Seconds, rounded up, until an empty bucket is full.
    pub fn window_seconds(self) -> u64 {
        self.burst.div_ceil(self.per_second)
    }

    /// Nanoseconds for one request.
    fn interval(self) -> u64 {
        SECOND / self.per_second
    }

    /// Nanoseconds for a whole burst.
    fn capacity(self) -> u64 {
        self.interval().saturating_mul(self.burst)
    }
}

impl Bucket {
    /// Takes one request at `now`, in nanoseconds since any fixed moment.
    ///
    /// # Errors
    /// The request does not fit. It is then not counted.
    pub fn take(&mut self, rate: Rate, now: u64) -> Result<QuotaLeft, RateExceeded> {
        let (interval, capacity) = (rate.interval(), rate.capacity());
        // Clamp requests that were taken under a wider rate: they must not count for longer than this rate takes to
        // fill up.
        let full_at = self.full_at.clamp(now, now.saturating_add(capacity));
        let after = full_at.saturating_add(interval);
        let over = after.saturating_sub(now.saturating_add(capacity));
        if over > 0 {
            let left = Self::left(rate, full_at, now);
            return Err(RateExceeded { retry_seconds: over.div_ceil(SECOND).max(1), left });
        }
        self.full_at = after;
        Ok(Self::left(rate, after, now))
    }

    /// Whether it is full, and so equals a new bucket.
    pub fn is_full(&self, now: u64) -> bool {
        self.full_at <= now
    }

    fn left(rate: Rate, full_at: u64, now: u64) -> QuotaLeft {
        let taken = full_at.saturating_sub(now);
        let remaining = rate.capacity().saturating_sub(taken) / rate.interval();
        QuotaLeft { remaining, reset_seconds: taken.div_ceil(SECOND) }
    }
}

impl DailyCounter {
    /// Takes one request of at most `quota` in the day of `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The request does not fit. It is then not counted.
    pub fn take(&mut self, quota: u64, now: u64) -> Result<QuotaLeft, RateExceeded> {
        let day = now / DAY;
        if self.day != day {
            // A clock that goes back does not grant the day's quota again.
            *self = if day > self.day { Self { day, count: 0 } } else { *self };
        }
        let reset_seconds = DAY - now % DAY;
        if self.count >= quota {
            let left = QuotaLeft { remaining: 0, reset_seconds };
            return Err(RateExceeded { retry_seconds: reset_seconds, left });
        }
        self.count += 1;
        Ok(QuotaLeft { remaining: quota - self.count, reset_seconds })
    }

    /// Whether it counts nothing of the day of `now`, and so equals a new one.
    pub fn is_over(&self, now: u64) -> bool {
        self.count == 0 || self.day < now / DAY
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(2, 3);
        let (mut bucket, start) = (Bucket::default(), 100 * SECOND);
        let left = |remaining, reset_seconds| QuotaLeft { remaining, reset_seconds };
        assert_eq!(bucket.take(rate, start), Ok(left(2, 1)));
        assert_eq!(bucket.take(rate, start), Ok(left(1, 1)));
        assert_eq!(bucket.take(rate, start), Ok(left(0, 2)));
        assert_eq!(bucket.take(rate, start), Err(RateExceeded { retry_seconds: 1, left: left(0, 2) }));
        assert_eq!(bucket.take(rate, start + SECOND / 2), Ok(left(0, 2)));
        assert!(!bucket.is_full(start + SECOND) && bucket.is_full(start + 2 * SECOND));
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let (mut today, noon) = (DailyCounter::default(), 10 * DAY + DAY / 2);
        let reset_seconds = DAY / 2;
        assert_eq!(today.take(2, noon), Ok(QuotaLeft { remaining: 1, reset_seconds }));
        assert_eq!(today.take(2, noon), Ok(QuotaLeft { remaining: 0, reset_seconds }));
        let over = RateExceeded { retry_seconds: reset_seconds, left: QuotaLeft { remaining: 0, reset_seconds } };
        assert_eq!(today.take(2, noon), Err(over));
        // Not even with a clock that is put back.
        assert!(today.take(2, noon - DAY).is_err());
        assert!(!today.is_over(noon) && today.is_over(noon + DAY / 2));
        assert_eq!(today.take(2, noon + DAY / 2), Ok(QuotaLeft { remaining: 1, reset_seconds: DAY }));
    }

    proptest! {
        /// No period admits more than the burst plus the rate's requests in it.
        #[test]
        fn never_more_than_the_rate(
            per_second in 1_u64..50, burst in 1_u64..20,
            pauses in proptest::collection::vec(0_u64..400_000_000, 1..200),
        ) {
            let rate = Rate::new(per_second, burst);
            let (mut bucket, mut now, mut admitted) = (Bucket::default(), 7 * SECOND, Vec::new());
            for pause in pauses {
                now += pause;
                match bucket.take(rate, now) {
                    Ok(left) => {
                        admitted.push(now);
                        prop_assert!(left.remaining < burst);
                    }
                    Err(over) => {
                        prop_assert!(over.retry_seconds >= 1 && over.left.remaining == 0);
                        // The reported waiting time is sufficient.
                        let mut later = bucket;
                        prop_assert!(later.take(rate, now + over.retry_seconds * SECOND).is_ok());
                    }
                }
            }
            for (at, from) in admitted.iter().enumerate() {
                for (count, to) in (1_u64..).zip(&admitted[at..]) {
                    let most = burst + (to - from) / rate.interval();
                    prop_assert!(count <= most, "{count} within {} ns", to - from);
                }
            }
        }

        /// Forgetting a full bucket changes nothing.
        #[test]
        fn a_full_bucket_is_a_new_one(per_second in 1_u64..50, burst in 1_u64..20, now in SECOND..99 * SECOND) {
            let rate = Rate::new(per_second, burst);
            let mut bucket = Bucket::default();
            let _ = bucket.take(rate, now - SECOND);
            if bucket.is_full(now) {
                prop_assert_eq!(bucket.take(rate, now), Bucket::default().take(rate, now));
            }
        }
    }
}
