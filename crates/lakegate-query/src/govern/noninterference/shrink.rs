//! Shrinks a failing case: fewer choices in the query, then fewer rows, masks, filters and tables.

use std::time::{Duration, Instant};

use super::check::{Question, check};
use super::choices::Choices;
use super::query::{Query, query};
use super::world::World;
use super::{question, setting};

const LONGEST: Duration = Duration::from_secs(120);

/// A case of one caller and one query.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) world: World,
    pub(super) query: Query,
    /// Determines the lake with changed foreign rows.
    pub(super) seed: u64,
}

impl Failing {
    /// The difference, if the case fails.
    pub(super) async fn difference(&self) -> Option<String> {
        let setting = setting(&self.world, self.seed);
        let questions: [Question; 1] = [question(&self.query)];
        let report = check(&setting, &questions).await;
        report.differences.into_iter().next().map(|difference| difference.text)
    }
}

/// The smallest failing case found within the time limit.
pub(super) async fn shrink(mut failing: Failing) -> Failing {
    let end = Instant::now() + LONGEST;
    let mut size = 16;
    while size > 0 && Instant::now() < end {
        let mut at = 0;
        while at < failing.query.choices.len() && Instant::now() < end {
            let taken = failing.query.choices.clone();
            let without = [&taken[..at], &taken[(at + size).min(taken.len())..]].concat();
            let mut simpler = taken.clone();
            simpler.iter_mut().skip(at).take(size).for_each(|choice| *choice = 0);
            let mut found = false;
            for choices in [without, simpler] {
                if choices == taken {
                    continue;
                }
                let candidate = query(&failing.world, &mut Choices::replay(&choices));
                let is_smaller = candidate.choices.len() < taken.len() || candidate.sql.len() < failing.query.sql.len();
                if is_smaller && replaced(&mut failing, |failing| failing.query = candidate).await {
                    found = true;
                    break;
                }
            }
            at += if found { 0 } else { size };
        }
        size /= 2;
    }
    for table in 0..failing.world.tables.len() {
        let mut size = failing.world.tables[table].rows.len();
        while size > 0 && Instant::now() < end {
            let mut at = 0;
            while at < failing.world.tables[table].rows.len() && Instant::now() < end {
                let remove = |failing: &mut Failing| {
                    let rows = &mut failing.world.tables[table].rows;
                    let last = (at + size).min(rows.len());
                    rows.drain(at..last);
                };
                if !replaced(&mut failing, remove).await {
                    at += size;
                }
            }
            size /= 2;
        }
        replaced(&mut failing, |failing| failing.world.tables[table].masks.clear()).await;
        replaced(&mut failing, |failing| failing.world.tables[table].filter = None).await;
        replaced(&mut failing, |failing| failing.world.tables[table].files = 1).await;
    }
    for table in (0..failing.world.tables.len()).rev() {
        let name = format!("\"{}\"", failing.world.tables[table].name);
        let is_read = |text: &str| text.contains(&name);
        let in_filters = failing
            .world
            .tables
            .iter()
            .any(|table| table.filter.as_ref().is_some_and(|filter| is_read(&filter.sql(&table.name))));
        if !is_read(&failing.query.sql) && !in_filters {
            failing.world.tables.remove(table);
        }
    }
    failing
}

/// Applies a change if the case still fails with it, and returns whether it does.
async fn replaced(failing: &mut Failing, change: impl FnOnce(&mut Failing)) -> bool {
    let mut candidate = failing.clone();
    change(&mut candidate);
    let fails = Box::pin(candidate.difference()).await.is_some();
    if fails {
        *failing = candidate;
    }
    fails
}
