//! Whether the rows of each key follow each other, as they do in most tables that are laid out by something that the key goes
//! with; and where they are.

use datafusion::common::{Result, exec_err};

use super::found::count_mask;
use super::ranks::place;

/// Of so many runs at first it is looked whether they are the only ones of their keys. Most tables in which they are not show
/// it there.
const LOOKED_AT: u32 = 1 << 16;

/// Rows of keys that follow each other, as they are found.
///
/// Keys come from all over the span, so what takes the time is the way to their places. Each is gone to once for all rows that
/// follow each other, and only to write there, for which nobody waits. Whether a key was written twice shows in the end: then
/// rows are missing.
pub(super) struct Runs {
    least: i64,
    count_bits: u32,
    /// As in [`super::found::Found::Runs`], by the keys' distance from the least.
    runs: Vec<u32>,
    /// How many rows were noted, and how many runs.
    rows: u64,
    noted: u32,
    /// The key of the last rows, the first of them and how many there are.
    open: Option<(i64, u32, u32)>,
}

impl Runs {
    /// Of so many numbers from the least one on, with so many bits for a count.
    pub(super) fn new(least: i64, span: usize, count_bits: u32) -> Self {
        Self { least, count_bits, runs: vec![0; span], rows: 0, noted: 0, open: None }
    }

    /// Adds rows with their keys; says whether all rows of a key follow each other so far.
    pub(super) fn add(&mut self, rows: impl Iterator<Item = (u32, i64)>) -> Result<bool> {
        for (row, key) in rows {
            match &mut self.open {
                Some((open, first, count)) if *open == key && *first + *count == row => *count += 1,
                _ => {
                    if !self.close()? {
                        return Ok(false);
                    }
                    self.open = Some((key, row, 1));
                }
            }
        }
        Ok(true)
    }

    /// All runs, by the keys' distance from the least; `None` where the rows of a key do not follow each other.
    pub(super) fn all(mut self) -> Result<Option<Vec<u32>>> {
        if !self.close()? {
            return Ok(None);
        }
        let mask = count_mask(self.count_bits);
        let there = self.runs.iter().map(|run| u64::from(run & mask)).sum::<u64>();
        Ok((there == self.rows).then_some(self.runs))
    }

    /// Notes the last rows; says whether they are the first ones of their key, as far as it is looked at, and no more than can be
    /// told.
    fn close(&mut self) -> Result<bool> {
        let Some((key, first, count)) = self.open.take() else { return Ok(true) };
        let Some(run) = place(key, self.least, self.runs.len()).map(|at| &mut self.runs[at]) else {
            return out_of_bounds();
        };
        if count > count_mask(self.count_bits) || self.noted < LOOKED_AT && *run != 0 {
            return Ok(false);
        }
        self.noted = self.noted.saturating_add(1);
        self.rows += u64::from(count);
        *run = first.unbounded_shl(self.count_bits) | count;
        Ok(true)
    }
}

pub(super) fn out_of_bounds<T>() -> Result<T> {
    exec_err!("a key is not within its footer's bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First rows and counts of the numbers from -1 on.
    fn runs(count_bits: u32, parts: &[&[(u32, i64)]]) -> Option<Vec<(u32, u32)>> {
        let mut runs = Runs::new(-1, 4, count_bits);
        for part in parts {
            if !runs.add(part.iter().copied()).unwrap() {
                return None;
            }
        }
        let of = |run: u32| (run >> count_bits, run & count_mask(count_bits));
        Some(runs.all().unwrap()?.iter().copied().map(of).collect())
    }

    #[test]
    fn rows_that_follow_each_other_are_runs_wherever_they_are_cut() {
        let all = [(0, 2), (1, 2), (2, -1), (4, 0), (5, 0), (6, 0)];
        let wanted = Some(vec![(2, 1), (4, 3), (0, 0), (0, 2)]);
        for cut in 0..=all.len() {
            assert_eq!(runs(8, &[&all[..cut], &all[cut..]]), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn rows_apart_are_none_and_neither_are_more_than_can_be_counted() {
        assert_eq!(runs(8, &[&[(0, 1), (1, 2), (2, 1)]]), None);
        assert_eq!(runs(8, &[&[(0, 1), (2, 1)]]), None, "a row without a key is between them");
        assert_eq!(runs(8, &[&[(0, 1)], &[(1, 2)], &[(2, 1)]]), None);
        assert_eq!(runs(1, &[&[(0, 1), (1, 2)]]), Some(vec![(0, 0), (0, 0), (0, 1), (1, 1)]));
        assert_eq!(runs(1, &[&[(0, 1), (1, 1)]]), None);
        let mut late = Runs::new(0, LOOKED_AT as usize + 3, 8);
        let keys = (0..=i64::from(LOOKED_AT)).chain([5]);
        assert!(late.add((0..).zip(keys)).unwrap() && late.all().unwrap().is_none(), "it shows in the end");
        assert!(Runs::new(-1, 4, 8).add([(0, 3), (1, 1)].into_iter()).is_err(), "a key that the footer does not know");
    }
}
