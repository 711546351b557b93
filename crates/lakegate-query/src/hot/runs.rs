//! Whether the rows of each key follow each other, as they do in most tables that are laid out by something that the key goes
//! with; and where they are.

use datafusion::common::{Result, exec_err};

use super::found::count_mask;
use super::ranks::place;
use super::zeroed::Zeroed;

/// Among so many rows at first it is looked whether runs are the only ones of their keys. Most tables in which they are not
/// show it there.
const LOOKED_AT: u64 = 1 << 16;

/// Rows of keys that follow each other, as they are found.
///
/// Keys come from all over the span, so what takes the time is the way to their places. Each is gone to once for all rows that
/// follow each other, and only to write there, for which nobody waits. Whether a key was written twice shows in the end: then
/// rows are missing.
pub(super) struct Runs {
    least: i64,
    count_bits: u32,
    /// As in [`super::found::Found::Runs`], by the keys' distance from the least.
    runs: Zeroed,
    /// How many rows were added.
    rows: u64,
    /// The last of them, whose run may go on.
    open: Option<Run>,
}

/// Rows of one key that follow each other: the first of them and how many there are.
#[derive(Clone, Copy)]
struct Run {
    key: i64,
    first: u32,
    count: u32,
}

impl Runs {
    /// Of so many numbers from the least one on, with so many bits for a count.
    pub(super) fn new(least: i64, span: usize, count_bits: u32) -> Self {
        Self { least, count_bits, runs: Zeroed::new(span), rows: 0, open: None }
    }

    /// Adds rows with their keys; says whether all rows of a key follow each other, as far as it is looked at.
    pub(super) fn add(&mut self, rows: impl Iterator<Item = (u32, i64)>) -> Result<bool> {
        let looks = self.rows < LOOKED_AT;
        let (mut open, mut added) = (self.open.take(), 0);
        for (row, key) in rows {
            added += 1;
            match &mut open {
                Some(run) if run.key == key && run.first + run.count == row => run.count += 1,
                _ => {
                    let ended = open.replace(Run { key, first: row, count: 1 });
                    if let Some(run) = ended
                        && !self.note(run, looks)?
                    {
                        return Ok(false);
                    }
                }
            }
        }
        self.open = open;
        self.rows += added;
        Ok(true)
    }

    /// All runs, by the keys' distance from the least; `None` where the rows of a key do not follow each other.
    pub(super) fn all(mut self) -> Result<Option<Zeroed>> {
        if let Some(run) = self.open.take()
            && !self.note(run, false)?
        {
            return Ok(None);
        }
        let mask = count_mask(self.count_bits);
        let there = self.runs.iter().map(|run| u64::from(run & mask)).sum::<u64>();
        Ok((there == self.rows).then_some(self.runs))
    }

    /// Says whether it is the first run of its key, if that is looked at, and no longer than can be told.
    fn note(&mut self, Run { key, first, count }: Run, looks: bool) -> Result<bool> {
        let (least, count_bits) = (self.least, self.count_bits);
        let runs: &mut [u32] = &mut self.runs;
        let Some(run) = place(key, least, runs.len()).map(|at| &mut runs[at]) else { return out_of_bounds() };
        if count > count_mask(count_bits) || looks && *run != 0 {
            return Ok(false);
        }
        *run = first.unbounded_shl(count_bits) | count;
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
        assert!(late.add((0..).zip(0..=LOOKED_AT as i64)).unwrap());
        assert!(late.add([(LOOKED_AT as u32 + 1, 5), (LOOKED_AT as u32 + 2, 6)].into_iter()).unwrap());
        assert!(late.all().unwrap().is_none(), "it shows in the end");
        assert!(Runs::new(-1, 4, 8).add([(0, 3), (1, 1)].into_iter()).is_err(), "a key that the footer does not know");
    }
}
