//! Tests row filters with subqueries in every place of a condition, over NULLs on either side: a caller sees the rows
//! that plain Rust computes, from files and from memory.
//!
//! `LAKEGATE_PROPERTY_CASES=N` runs more filters than the default.

use super::super::mask::MaskKey;
use super::super::testing;
use super::check::principal;
use super::choices::Choices;
use super::copy::{self, KEY};
use super::generate::with_nested_subqueries;
use super::world::{Filter, World};
use super::{number_of, setting};

/// The outcomes of the filters of one lake.
#[derive(Debug, Default)]
struct Tally {
    filters: usize,
    with_rows: usize,
    with_hidden_rows: usize,
    /// Lakes with a filter that has the same outcome for every row, such as `(EXISTS (…)) IS NOT NULL`, which `check`
    /// refuses.
    refused: usize,
    faults: Vec<String>,
}

impl Tally {
    async fn add(&mut self, seed: u64) {
        let mut choices = Choices::random(seed);
        let mut world = World::generate(&mut choices);
        with_nested_subqueries(&mut world, &mut choices);
        for table in &mut world.tables {
            table.masks.clear();
            table.filter.iter_mut().for_each(|filter| without_misplaced_lists(filter, false));
            table.open_to_auditors = false;
        }
        let setting = setting(&world, seed);
        let lake = copy::lake(&setting.tables, &setting.rows());
        let endpoints = world.tables.iter().map(|table| {
            let name = &table.name;
            (name.as_str(), format!("SELECT id FROM \"{name}\" ORDER BY id"))
        });
        let endpoints = endpoints.collect::<Vec<_>>();
        let endpoints = endpoints.iter().map(|(name, sql)| (*name, sql.as_str())).collect::<Vec<_>>();
        let project = match testing::try_project(lake.path(), &setting.config, &endpoints).await {
            Ok(project) => project,
            Err(findings) if findings.iter().all(|finding| finding.contains("no longer goes by")) => {
                self.refused += 1;
                return;
            }
            Err(findings) => {
                self.faults.push(format!("seed {seed} is refused: {}\n{}", findings.join("\n"), setting.config));
                return;
            }
        };
        project.set_mask_key(MaskKey::new(KEY).unwrap());
        for kept in ["from files", "from memory"] {
            if kept == "from memory" {
                project.keep_hot(1 << 28).await.unwrap();
            }
            for caller in &world.callers {
                let visible = world.visible(caller);
                for (table, visible) in world.tables.iter().zip(visible) {
                    let id = table.place("id");
                    let own = table.rows.iter().zip(&visible).filter(|(_, sees)| **sees);
                    let mut wanted = own.map(|(row, _)| row[id].as_i64().unwrap()).collect::<Vec<_>>();
                    wanted.sort_unstable();
                    let wanted = wanted.iter().map(i64::to_string).collect::<Vec<_>>();
                    let came = match testing::governed(&project, &principal(caller), &table.name, "{}") {
                        Ok(plan) => testing::rows(plan).await,
                        Err(error) => Err(error),
                    };
                    let filter = table.filter.as_ref().map(|filter| filter.sql(&table.name)).unwrap_or_default();
                    match came {
                        Ok(came) if came == wanted => {}
                        Ok(came) => {
                            self.faults.push(format!("seed {seed}, {kept}: {filter}\n{came:?}, not {wanted:?}"))
                        }
                        Err(error) => self.faults.push(format!("seed {seed}, {kept}: {filter}\n{error}")),
                    }
                    self.filters += usize::from(table.filter.is_some() && kept == "from files");
                    self.with_rows += usize::from(!wanted.is_empty());
                    self.with_hidden_rows += usize::from(wanted.len() < table.rows.len());
                }
            }
        }
    }
}

/// Replaces the caller's lists below `IS` and `CASE`, where they are refused.
fn without_misplaced_lists(filter: &mut Filter, is_below: bool) {
    match filter {
        Filter::TenantIn if is_below => *filter = Filter::TenantIs,
        Filter::NumberIn if is_below => *filter = Filter::NumberBetween(1, 3),
        Filter::And(left, right) | Filter::Or(left, right) => {
            [left, right].into_iter().for_each(|part| without_misplaced_lists(part, is_below));
        }
        Filter::Not(inner) => without_misplaced_lists(inner, is_below),
        Filter::Is(inner, _) => without_misplaced_lists(inner, true),
        Filter::Case(when, then, otherwise) => {
            [when, then, otherwise].into_iter().for_each(|part| without_misplaced_lists(part, true));
        }
        _ => {}
    }
}

#[test]
fn row_filters_with_subqueries_anywhere_show_the_rows_that_sql_says() {
    let wanted = number_of("LAKEGATE_PROPERTY_CASES", 200) as usize;
    let first = number_of("LAKEGATE_PROPERTY_SEED", 1);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tally = Tally::default();
        for seed in first.. {
            if tally.filters >= wanted || tally.faults.len() >= 20 {
                break;
            }
            runtime.block_on(tally.add(seed));
        }
        tally
    };
    let tally = std::thread::Builder::new().stack_size(8 << 20).spawn(run).unwrap().join().unwrap();
    let Tally { filters, with_rows, with_hidden_rows, refused, faults } = tally;
    println!(
        "{filters} filters and callers: {with_rows} with rows, {with_hidden_rows} with hidden rows; {refused} lakes refused"
    );
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n\n"));
    assert!(with_rows * 4 > filters && with_hidden_rows * 4 > filters && refused * 10 < filters);
}
