//! Finds out whether the rows of each key are consecutive, and collects their runs. They are consecutive in most tables
//! that are sorted by a column that correlates with the key.

use datafusion::common::{Result, exec_err};

use super::found::count_mask;
use super::ranks::place;
use super::zeroed::Zeroed;

/// Up to this many rows, checks that no key gets a second run. Most tables with scattered keys fail here.
const LOOKED_AT: u64 = 1 << 16;

/// Collects runs of consecutive rows with the same key.
///
/// Keys are scattered over the span, so cache misses dominate the time. There is one memory access for each run, and it
/// only writes, so the CPU does not wait for it. If a key was written twice, the sum of the counts is too small in the
/// end.
pub(super) struct Runs {
    least: i64,
    count_bits: u32,
    /// Encoded as in [`super::found::Found::Runs`], indexed by the key's distance from `least`.
    runs: Zeroed,
    /// The number of rows added.
    rows: u64,
    /// The last run, which the next rows may extend.
    open: Option<Run>,
}

/// Consecutive rows of one key.
#[derive(Clone, Copy)]
struct Run {
    key: i64,
    first: u32,
    count: u32,
}

impl Runs {
    /// Prepares for keys among `span` numbers from `least` on, with `count_bits` bits for the length of a run.
    pub(super) fn new(least: i64, span: usize, count_bits: u32) -> Self {
        Self { least, count_bits, runs: Zeroed::new(span), rows: 0, open: None }
    }

    /// Adds rows with their keys. Returns false if a key is found to have scattered rows, or a run is too long.
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

    /// All runs, by the key's distance from `least`; `None` if the rows of a key are not consecutive.
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

    /// Writes a run. Returns false if it is too long for the count bits or, if `looks`, its key already has a run.
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
