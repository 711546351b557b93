//! Distributes creation times of trackcodes over weekdays, months and hours of the last four months of 2022.
//!
//! The creation time follows the position of a trackcode in the whole sample, so that ids grow with time as in a live
//! system.

use super::random::RandomStream;

/// Microseconds of a second, an hour and a day.
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;

/// 2022-09-01T00:00:00, a Thursday.
pub(super) const START: i64 = 19_236 * DAY;
/// Days from September to December.
const DAYS: u64 = 122;
/// The last microsecond of 2022.
pub(super) const END: i64 = START + DAYS as i64 * DAY - 1;

/// The weights of the weekdays, from Monday on.
const WEEKDAY_WEIGHTS: [u64; 7] = [100, 102, 104, 103, 110, 58, 34];
/// Days and weight of each month: business grows, and November has its sales days.
const MONTH_WEIGHTS: [(u64, u64); 4] = [(30, 80), (31, 96), (30, 125), (31, 112)];
const HOUR_WEIGHTS: [u64; 24] =
    [6, 4, 2, 1, 1, 2, 6, 14, 30, 48, 58, 62, 60, 55, 58, 60, 58, 52, 44, 36, 28, 22, 16, 10];

/// The cumulative weights of all hours, which map a position to an hour.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// The total weight before each hour; the last entry is the total of all.
    before: Vec<u64>,
    places: u64,
}

impl Calendar {
    /// A calendar for `places` trackcodes.
    pub(super) fn new(places: u64) -> Self {
        let months = MONTH_WEIGHTS.iter().flat_map(|(days, weight)| (0..*days).map(move |_| *weight));
        let mut before = vec![0];
        let mut total = 0;
        for (day, month_weight) in months.enumerate() {
            // The first day is a Thursday, the fourth day of a week.
            let day_weight = month_weight * WEEKDAY_WEIGHTS[(day + 3) % 7];
            for hour_weight in HOUR_WEIGHTS {
                total += day_weight * hour_weight;
                before.push(total);
            }
        }
        Self { before, places }
    }

    /// The creation time of the trackcode at this position. Times are only nearly in order, because machines record
    /// them late.
    pub(super) fn creation(&self, place: u64, random: &mut RandomStream) -> i64 {
        let total = u128::from(self.before[self.before.len() - 1]);
        let within = u128::from(random.below(1 << 32));
        let target = ((u128::from(place) << 32 | within) * total / (u128::from(self.places) << 32)) as u64;
        let hour = self.before.partition_point(|before| *before <= target) - 1;
        let (low, high) = (self.before[hour], self.before[hour + 1]);
        let part = (u128::from(target - low) * HOUR as u128 / u128::from(high - low)) as i64;
        let late = random.between(0, 3 * HOUR);
        let time = START + hour as i64 * HOUR + part + late;
        let time = if time <= END { time } else { 2 * END - time };
        // Some systems send microseconds, some milliseconds, some seconds, and a few only the day.
        match random.below(100) {
            0 => time - time % DAY,
            1..20 => time - time % SECOND,
            20..60 => time - time % 1_000,
            _ => time,
        }
    }
}
