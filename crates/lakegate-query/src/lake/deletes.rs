//! The deleted rows of a file, and the Parquet access plan that skips them.
//!
//! The table's format resolves them once per version. A deleted row is never decoded.

use std::collections::HashMap;

use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::object_store::path::Path;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};

/// Row numbers of deleted rows in a file, from 0, ascending and unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted(Vec<u64>);

impl Deleted {
    /// Accepts row numbers in any order.
    pub(super) fn of(mut places: Vec<u64>) -> Self {
        places.sort_unstable();
        places.dedup();
        Self(places)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn places(&self) -> &[u64] {
        &self.0
    }

    /// The rows left to read, for a file with these row counts per row group. Fails when a row number is past the last
    /// row.
    pub(super) fn access_plan(&self, row_groups: &[u64]) -> Result<ParquetAccessPlan, String> {
        let (mut first, mut at) = (0_u64, 0);
        let mut plan = Vec::with_capacity(row_groups.len());
        for rows in row_groups {
            let end = first + rows;
            let count = self.0[at..].iter().take_while(|place| **place < end).count();
            plan.push(match &self.0[at..at + count] {
                [] => RowGroupAccess::Scan,
                deleted if deleted.len() as u64 == *rows => RowGroupAccess::Skip,
                deleted => RowGroupAccess::Selection(left(deleted, first, end)),
            });
            (first, at) = (end, at + count);
        }
        if at < self.0.len() {
            // The list may belong to another file, and then rows that are deleted here would stay.
            return Err("rows are deleted that it does not have".to_owned());
        }
        Ok(ParquetAccessPlan::new(plan))
    }
}

/// Selects the rows in `first..end` that are not deleted.
fn left(deleted: &[u64], first: u64, end: u64) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = first;
    let mut skipped = 0_usize;
    for place in deleted {
        if *place > next {
            if skipped > 0 {
                selectors.push(RowSelector::skip(std::mem::take(&mut skipped)));
            }
            selectors.push(RowSelector::select((place - next) as usize));
        }
        skipped += 1;
        next = place + 1;
    }
    if skipped > 0 {
        selectors.push(RowSelector::skip(skipped));
    }
    if end > next {
        selectors.push(RowSelector::select((end - next) as usize));
    }
    RowSelection::from(selectors)
}

/// Collects deleted rows by the file's path in the lake.
#[derive(Debug, Default)]
pub(super) struct DeletedRows(HashMap<Path, Vec<u64>>);

impl DeletedRows {
    pub(super) fn add(&mut self, file: &Path, places: impl IntoIterator<Item = u64>) {
        match self.0.get_mut(file) {
            Some(known) => known.extend(places),
            None => {
                self.0.insert(file.clone(), places.into_iter().collect());
            }
        }
    }

    pub(super) fn take(&mut self, file: &Path) -> Deleted {
        self.0.remove(file).map(Deleted::of).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_all_but_the_deleted_rows() {
        let rows = [4, 3, 2, 0, 5];
        for deleted in [vec![], vec![0], vec![3, 4], vec![13], vec![7, 8], vec![8, 2, 2, 1, 12], (0..14).collect()] {
            let plan = Deleted::of(deleted.clone()).access_plan(&rows).unwrap();
            let mut read = Vec::new();
            let mut first = 0;
            for (access, rows) in plan.inner().iter().zip(rows) {
                match access {
                    RowGroupAccess::Skip => {}
                    RowGroupAccess::Scan => read.extend(first..first + rows),
                    RowGroupAccess::Selection(selection) => {
                        let mut at = first;
                        for selector in selection.iter() {
                            if !selector.skip {
                                read.extend(at..at + selector.row_count as u64);
                            }
                            at += selector.row_count as u64;
                        }
                        assert_eq!(at, first + rows, "a selection covers its row group");
                    }
                }
                first += rows;
            }
            assert_eq!(read, (0..14).filter(|row| !deleted.contains(row)).collect::<Vec<_>>(), "{deleted:?}");
        }
    }

    #[test]
    fn deleted_rows_that_a_file_does_not_have_are_a_fault() {
        assert!(Deleted::of(vec![5]).access_plan(&[5]).is_err());
    }
}
