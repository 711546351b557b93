//! Tests non-interference: a governed result over a lake equals the ungoverned result over a copy that has only the
//! caller's rows with masked values, and rows that the caller does not see do not change it.
//!
//! Lakes, policies, masks, callers and queries are generated. `LAKEGATE_PROPERTY_CASES=N` runs more cases than the
//! default, and `LAKEGATE_PROPERTY_SEED=N` runs other ones. A failing case is shrunk and written to
//! `cases/noninterference/`; every run repeats all cases there.

mod case_file;
mod check;
mod choices;
mod copy;
mod generate;
mod policies;
mod query;
mod shrink;
mod types;
mod world;

use std::collections::BTreeMap;
use std::time::Instant;

use case_file::CaseFile;
use check::{Difference, Plain, Question, Report, Setting, View, check};
use choices::Choices;
use query::{Query, query};
use serde_json::json;
use shrink::{Failing, shrink};
use world::{Row, World};

const QUERIES: usize = 6;

/// A world as it is written, with the views of its callers. The seed determines the changes of foreign rows.
fn setting(world: &World, seed: u64) -> Setting {
    let plain = |table: &world::Table| Plain {
        name: table.name.clone(),
        columns: table.columns.clone(),
        rows: table.rows.clone(),
        group: table.group,
        files: table.files,
    };
    let view = |caller: &world::Caller| {
        let visible = world.visible(caller);
        let masks = world.tables.iter().map(|table| world.in_force(table, caller)).collect();
        let changed = changed(world, caller, &visible, &mut Choices::random(seed));
        View { caller: caller.clone(), visible, masks, changed }
    };
    Setting {
        config: world.config(),
        tables: world.tables.iter().map(plain).collect(),
        views: world.callers.iter().map(view).collect(),
    }
}

/// The rows of a lake whose foreign rows are changed, removed or added.
fn changed(world: &World, caller: &world::Caller, visible: &[Vec<bool>], choices: &mut Choices) -> Vec<Vec<Row>> {
    let own = |world: &World, visible: &[Vec<bool>]| {
        let own = |(table, visible): (&world::Table, &Vec<bool>)| {
            table.rows.iter().zip(visible).filter(|(_, sees)| **sees).map(|(row, _)| row.clone()).collect::<Vec<_>>()
        };
        world.tables.iter().zip(visible).map(own).collect::<Vec<_>>()
    };
    let seen = own(world, visible);
    let mut other = world.clone();
    for (table, visible) in other.tables.iter_mut().zip(visible) {
        let (id, code, q, n) = (table.place("id"), table.place("code"), table.place("q"), table.place("n"));
        let mut rows = Vec::new();
        for (row, sees) in std::mem::take(&mut table.rows).into_iter().zip(visible) {
            if *sees {
                rows.push(row);
                continue;
            }
            for copy in 0..choices.weighted(&[2, 5, 2]) {
                let mut row = row.clone();
                if copy > 0 {
                    row[id] = json!(2000 + rows.len());
                }
                row[code] = json!(["OTHER-SECRET", "8", "x1"][choices.below(3)]);
                row[q] = json!(choices.between(1, 7));
                if choices.chance(30) {
                    row[n] = json!(choices.between(0, 9));
                }
                rows.push(row);
            }
        }
        table.rows = rows;
    }
    // If the change made a row visible, discard it.
    match own(&other, &other.visible(caller)) == seen {
        true => other.tables.into_iter().map(|table| table.rows).collect(),
        false => seen,
    }
}

fn question(query: &Query) -> Question {
    Question {
        sql: query.sql.clone(),
        arguments: query.arguments.clone(),
        is_ordered: query.is_ordered,
        fallible: query.fallible.clone(),
    }
}

fn case_file(title: &str, failing: &Failing) -> CaseFile {
    let setting = setting(&failing.world, failing.seed);
    CaseFile { title: title.to_owned(), setting, question: question(&failing.query) }
}

/// The sum of many reports.
#[derive(Debug, Default)]
struct Sum {
    worlds: usize,
    report: Report,
    features: BTreeMap<&'static str, usize>,
    refused: BTreeMap<String, usize>,
    refused_when_governed: BTreeMap<String, usize>,
    asked: usize,
    no_project: Vec<String>,
    found: Vec<(Failing, String)>,
}

impl Sum {
    async fn add(&mut self, seed: u64) {
        let mut choices = Choices::random(seed);
        let world = World::generate(&mut choices);
        let queries = (0..QUERIES as u64).map(|at| {
            // Each query has its own choices, so that it can be generated again alone.
            query(&world, &mut Choices::random(seed.wrapping_mul(1_000_003).wrapping_add(at)))
        });
        let queries = queries.collect::<Vec<_>>();
        let setting = setting(&world, seed);
        let questions = queries.iter().map(question).collect::<Vec<_>>();
        let report = check(&setting, &questions).await;
        self.worlds += 1;
        self.asked += queries.len();
        if let Some(reason) = &report.no_project {
            self.no_project.push(format!("seed {seed}: {reason}"));
            return;
        }
        let is_there = |at: &usize| !report.refused.contains_key(at) && !report.refused_when_governed.contains_key(at);
        for at in (0..queries.len()).filter(is_there) {
            for feature in &queries[at].features {
                *self.features.entry(feature).or_default() += setting.views.len();
            }
        }
        for (from, to) in
            [(&report.refused, &mut self.refused), (&report.refused_when_governed, &mut self.refused_when_governed)]
        {
            for (at, reason) in from {
                if std::env::var_os("LAKEGATE_PROPERTY_SHOW").is_some() {
                    println!("seed {seed}, query {at}: {reason}\n{}\n", queries[*at].sql);
                }
                let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
                *to.entry(format!("{} (such as seed {seed}, query {at})", kind_of(reason))).or_default() += 1;
            }
        }
        for Difference { view, question, text } in report.differences.clone() {
            let world = World { callers: vec![world.callers[view].clone()], ..world.clone() };
            let failing = Failing { world, query: queries[question].clone(), seed };
            self.found.push((failing, format!("seed {seed}, query {question}, caller {view}: {text}")));
        }
        self.count(&report);
    }

    fn count(&mut self, report: &Report) {
        let sum = &mut self.report;
        sum.cases += report.cases;
        sum.comparisons += report.comparisons;
        sum.nonempty += report.nonempty;
        sum.governed += report.governed;
        sum.would_fail += report.would_fail;
        sum.failed += report.failed;
        sum.either += report.either;
        sum.shortcuts += report.shortcuts;
    }

    fn merge(&mut self, other: Sum) {
        self.count(&other.report);
        self.worlds += other.worlds;
        self.asked += other.asked;
        self.no_project.extend(other.no_project);
        self.found.extend(other.found);
        for (feature, count) in other.features {
            *self.features.entry(feature).or_default() += count;
        }
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        for (reason, count) in other.refused_when_governed {
            *self.refused_when_governed.entry(reason).or_default() += count;
        }
    }

    fn print(&self, started: Instant) {
        let Report { cases, comparisons, nonempty, governed, would_fail, failed, either, .. } = &self.report;
        println!(
            "{cases} cases (a query and a caller) over {} lakes, {comparisons} comparisons, in {:?}",
            self.worlds,
            started.elapsed()
        );
        println!(
            "{nonempty} with rows; {governed} with another answer over the whole lake ({would_fail} of them fail there)"
        );
        println!("{} have a shortcut over hot tables", self.report.shortcuts);
        println!("{failed} fail on the caller's own rows; {either} comparisons in which one side failed, as it may");
        println!("{} queries, of which refused without policies:", self.asked);
        for (reason, count) in &self.refused {
            println!("  {count}: {reason}");
        }
        println!("and refused with policies only:");
        for (reason, count) in &self.refused_when_governed {
            println!("  {count}: {reason}");
        }
        for (feature, count) in &self.features {
            println!("  {feature}: {count} cases");
        }
        for reason in &self.no_project {
            println!("no project: {reason}");
        }
    }
}

/// A message without the parts that vary from query to query.
fn kind_of(reason: &str) -> String {
    let short = reason.chars().filter(|each| !each.is_ascii_digit()).take(140);
    short.collect::<String>().replace('\n', " ")
}

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs worlds whose seeds are `step` apart until there are enough cases.
fn run(first: u64, step: u64, wanted: usize) -> Sum {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut sum, started, mut seed) = (Sum::default(), Instant::now(), first);
    while sum.report.cases < wanted && sum.worlds < wanted {
        runtime.block_on(sum.add(seed));
        seed += step;
        if sum.worlds.is_multiple_of(50) {
            println!("{} cases, {} differences, {:?}", sum.report.cases, sum.found.len(), started.elapsed());
        }
    }
    sum
}

#[test]
fn answers_are_those_of_a_lake_of_the_callers_own_masked_rows() {
    let wanted = number_of("LAKEGATE_PROPERTY_CASES", 72) as usize;
    let first = number_of("LAKEGATE_PROPERTY_SEED", 1);
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let start = |at: usize| {
            let run = move || run(first + at as u64, threads as u64, wanted.div_ceil(threads));
            std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, run).unwrap()
        };
        let running = (0..threads).map(start).collect::<Vec<_>>();
        for thread in running {
            sum.merge(thread.join().unwrap());
        }
    });
    sum.print(started);
    for (_, text) in &sum.found {
        println!("{text}\n");
    }
    if let Some((failing, text)) = sum.found.first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (small, difference) = runtime.block_on(async {
            let small = Box::pin(shrink(failing.clone())).await;
            let difference = Box::pin(small.difference()).await.unwrap_or_default();
            (small, difference)
        });
        let title = format!("Found with {}", text.split(": ").next().unwrap_or_default());
        let file = case_file(&title, &small).written();
        let path = case_file::folder().join(format!("found-{}.case", failing.seed));
        std::fs::write(&path, &file).unwrap();
        panic!("{} differences; the first is now {}\n{file}\n{difference}", sum.found.len(), path.display());
    }
    assert!(sum.no_project.is_empty(), "{:?}", sum.no_project);
    let Report { cases, nonempty, governed, failed, would_fail, shortcuts, .. } = sum.report;
    assert!(shortcuts * 8 > cases, "{shortcuts} of {cases} have a shortcut");
    assert!(nonempty * 4 > cases, "{nonempty} of {cases} have rows");
    assert!(governed * 4 > cases, "{governed} of {cases} need governance");
    assert!(failed * 5 < cases, "{failed} of {cases} fail");
    assert!(would_fail * 50 > cases, "{would_fail} of {cases} would fail on foreign rows");
    let refused = sum.refused.values().chain(sum.refused_when_governed.values()).sum::<usize>();
    assert!(refused * 10 < sum.asked, "{refused} of {} are no endpoints", sum.asked);
}

#[tokio::test]
async fn every_kept_case_gives_the_answer_of_the_callers_own_masked_rows() {
    let files = case_file::all();
    assert!(files.len() >= 3);
    for (name, case) in files {
        assert_eq!(case_file::parse(&case.written()).written(), case.written(), "{name}");
        let report = check(&case.setting, std::slice::from_ref(&case.question)).await;
        assert_eq!(report.no_project, None, "{name}");
        let refused = report.refused.values().chain(report.refused_when_governed.values()).collect::<Vec<_>>();
        assert!(refused.is_empty(), "{name}: {refused:?}");
        let differences = report.differences.iter().map(|difference| difference.text.as_str()).collect::<Vec<_>>();
        assert!(differences.is_empty(), "{name}: {}\n{}", case.title, differences.join("\n"));
        assert_eq!((report.cases, report.comparisons), (1, 3), "{name}");
    }
}

/// The parser read `open IS NOT DISTINCT FROM false AND tenant = …` as
/// `open IS NOT DISTINCT FROM (false AND tenant = …)`, which is true for every row that is not open, whatever its tenant is.
#[tokio::test]
async fn a_comparison_that_would_swallow_the_rest_of_a_row_filter_is_refused() {
    let lake = super::testing::cases_folder().join("lake");
    let config = |filter: &str| {
        format!("[lake]\nlocation = \".\"\n[tables.account]\nlocation = \"account\"\nrow_filter = {}\n", json!(filter))
    };
    let refused = [
        "owner IS NOT DISTINCT FROM 'A' AND owner = principal('owner')",
        "owner IS DISTINCT FROM 'A' OR owner = principal('owner')",
        "owner IS DISTINCT FROM 'A' IN ('B')",
        "EXISTS (SELECT 1 FROM account AS a WHERE a.owner IS NOT DISTINCT FROM account.owner AND a.owner = 'B')",
    ];
    for filter in refused {
        let findings = super::testing::try_project(&lake, &config(filter), &[]).await.unwrap_err();
        assert!(findings[0].contains("`IS DISTINCT FROM` would take all that follows"), "{filter}: {findings:?}");
    }
    let taken =
        "(owner IS NOT DISTINCT FROM 'A') AND owner = principal('owner') AND owner IS DISTINCT FROM lower('X' || 'y')";
    let sql = "SELECT owner FROM account WHERE owner IS NOT DISTINCT FROM 'A'";
    let project = super::testing::project(&lake, &config(taken), &[("e", sql)]).await;
    let plan = super::testing::governed(&project, &super::testing::principal("owner=A"), "e", "{}").unwrap();
    assert!(!super::testing::rows(plan).await.unwrap().is_empty());
    let sql = "SELECT owner FROM account WHERE owner IS NOT DISTINCT FROM 'A' AND owner = 'B'";
    let findings = super::testing::try_project(&lake, &config("owner = principal('owner')"), &[("e", sql)]).await;
    assert!(findings.unwrap_err()[0].starts_with("endpoints/e.sql:4:"));
}
