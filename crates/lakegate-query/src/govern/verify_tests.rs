//! Tests only the second check: refuses plans from which a barrier, a filter or the right predicate was removed by
//! hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::{Filter, LogicalPlan, LogicalPlanBuilder, col, lit};

use super::barrier::Barrier;
use super::inject::Injection;
use super::masking::InForce;
use super::template::{self, Shape};
use super::{testing, verify};
use crate::plan::PlannedProject;

/// A governed scan in every kind of place.
const QUERIES: &[&str] = &[
    "SELECT id FROM trackcode",
    "SELECT id FROM \"order\"",
    "SELECT id FROM event",
    "SELECT name FROM city WHERE id IN (SELECT city_id FROM trackcode)",
    "SELECT name FROM city WHERE NOT EXISTS (SELECT 1 FROM trackcode t WHERE t.city_id = city.id)",
    "SELECT name, (SELECT count(*) FROM trackcode) AS n FROM city",
    "WITH t AS (SELECT id FROM trackcode) SELECT id FROM t UNION ALL SELECT id FROM city",
    "SELECT c.name FROM city c LEFT JOIN (SELECT city_id FROM trackcode LIMIT 3) t ON t.city_id = c.id",
    "SELECT balance FROM account",
];

async fn project() -> PlannedProject {
    let names = (0..QUERIES.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
    let endpoints = names.iter().map(String::as_str).zip(QUERIES.iter().copied()).collect::<Vec<_>>();
    testing::project(&testing::cases_folder().join("lake"), &testing::config(), &endpoints).await
}

/// The project over files, and the project with all tables resident.
async fn projects() -> [PlannedProject; 2] {
    let in_memory = project().await;
    in_memory.keep_hot(1 << 28).await.unwrap();
    [project().await, in_memory]
}

/// The plans in which one barrier, each in turn, is replaced by the result of `change`.
fn changed(plan: &LogicalPlan, change: &dyn Fn(&Barrier) -> LogicalPlan) -> Vec<LogicalPlan> {
    let mut plans = Vec::new();
    loop {
        let (mut at, target) = (0, plans.len());
        let mut done = false;
        let new = plan.clone().transform_up_with_subqueries(|node| {
            let Some(barrier) = Barrier::of(&node) else { return Ok(Transformed::no(node)) };
            at += 1;
            if at - 1 != target {
                return Ok(Transformed::no(node));
            }
            done = true;
            Ok(Transformed::yes(change(barrier)))
        });
        if !done {
            return plans;
        }
        plans.push(new.unwrap().data);
    }
}

/// The input of the filter, or the left side of the join that the filter became: the scan without any policy.
fn unfiltered_input(barrier: &Barrier) -> LogicalPlan {
    let mut plan = barrier.input().clone();
    loop {
        plan = match plan {
            LogicalPlan::Filter(filter) => LogicalPlan::clone(&filter.input),
            LogicalPlan::Join(join) => LogicalPlan::clone(&join.left),
            LogicalPlan::Projection(projection) => LogicalPlan::clone(&projection.input),
            other => return other,
        };
    }
}

type Change = (&'static str, Box<dyn Fn(&Barrier) -> LogicalPlan>);

fn changes() -> Vec<Change> {
    vec![
        ("no barrier", Box::new(|barrier| barrier.input().clone())),
        ("no filter", Box::new(|barrier| Barrier::over(barrier.table(), BTreeSet::new(), unfiltered_input(barrier)))),
        ("neither", Box::new(unfiltered_input)),
        (
            "a filter that is always true",
            Box::new(|barrier| {
                let scan = unfiltered_input(barrier);
                Barrier::over(
                    barrier.table(),
                    BTreeSet::new(),
                    LogicalPlanBuilder::from(scan).filter(lit(true)).unwrap().build().unwrap(),
                )
            }),
        ),
        (
            "another filter",
            Box::new(|barrier| {
                let scan = unfiltered_input(barrier);
                let column = scan.schema().columns().remove(0);
                let plan = LogicalPlanBuilder::from(scan).filter(col(column).is_not_null()).unwrap().build().unwrap();
                Barrier::over(barrier.table(), BTreeSet::new(), plan)
            }),
        ),
        (
            "the barrier of another table",
            Box::new(|barrier| Barrier::over("city", BTreeSet::new(), barrier.input().clone())),
        ),
        (
            "the filter above the barrier",
            Box::new(|barrier| {
                let LogicalPlan::Filter(filter) = barrier.input() else { return unfiltered_input(barrier) };
                let inner = Barrier::over(barrier.table(), BTreeSet::new(), LogicalPlan::clone(&filter.input));
                LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(inner)).unwrap())
            }),
        ),
    ]
}

#[tokio::test]
async fn an_injected_plan_that_was_changed_is_refused() {
    let none = BTreeSet::new();
    let projects = projects().await;
    let endpoints = projects.iter().flat_map(|project| project.endpoints().map(move |endpoint| (project, endpoint)));
    for (project, endpoint) in endpoints {
        let injection = Injection { policies: project.policies(), unfiltered: &none, masks: &InForce::default() };
        let sql = endpoint.endpoint().sql.trim();
        let governed = injection.govern(endpoint.plan().clone()).unwrap();
        verify::injected(&governed, &injection).unwrap();
        assert!(verify::injected(endpoint.plan(), &injection).is_err(), "{sql}: nothing injected");
        for (what, change) in changes() {
            let plans = changed(&governed, change.as_ref());
            assert!(!plans.is_empty());
            for plan in plans {
                assert!(verify::injected(&plan, &injection).is_err(), "{sql}: {what}\n{}", plan.display_indent());
            }
        }
    }
}

#[tokio::test]
async fn an_optimised_plan_that_was_changed_is_refused() {
    let shape = Shape::default();
    let projects = projects().await;
    let endpoints = projects.iter().flat_map(|project| project.endpoints().map(move |endpoint| (project, endpoint)));
    for (project, endpoint) in endpoints {
        let injection =
            Injection { policies: project.policies(), unfiltered: &shape.unfiltered, masks: &InForce::default() };
        let sql = endpoint.endpoint().sql.trim();
        let plan = template::make(endpoint.plan(), &shape, project.maker(None), &[]).unwrap().plan;
        verify::optimised(&plan, &injection, &shape).unwrap();
        for (what, change) in changes() {
            let plans = changed(&plan, change.as_ref());
            assert!(!plans.is_empty(), "{sql}\n{}", plan.display_indent());
            for plan in plans {
                assert!(
                    verify::optimised(&plan, &injection, &shape).is_err(),
                    "{sql}: {what}\n{}",
                    plan.display_indent()
                );
            }
        }
    }
}

#[tokio::test]
async fn what_can_fail_below_a_barrier_is_refused() {
    let project = project().await;
    let shape = Shape::default();
    let injection =
        Injection { policies: project.policies(), unfiltered: &shape.unfiltered, masks: &InForce::default() };
    let plan = template::make(project.find("q0").unwrap().plan(), &shape, project.maker(None), &[]).unwrap().plan;
    let session = project.session();
    let unsafe_conditions = ["CAST(note AS BIGINT) = 1", "1 / id > 0", "upper(note) = 'X' AND id % 2 = 0"];
    for condition in unsafe_conditions {
        let sql = format!("SELECT id, client_id, note FROM trackcode WHERE {condition}");
        let LogicalPlan::Projection(projection) = session.create_logical_plan(&sql).await.unwrap() else {
            panic!("no projection")
        };
        let LogicalPlan::Filter(filter) = projection.input.as_ref() else { panic!("no filter") };
        let predicate = filter.predicate.clone();
        for bad in changed(&plan, &|barrier| {
            let own = LogicalPlanBuilder::from(filter.input.as_ref().clone());
            let LogicalPlan::Filter(policy) = barrier.input() else { panic!("no policy") };
            let both = own.filter(policy.predicate.clone().and(predicate.clone())).unwrap().build().unwrap();
            Barrier::over(barrier.table(), BTreeSet::new(), both)
        }) {
            assert!(verify::optimised(&bad, &injection, &shape).is_err(), "{condition}");
        }
    }
}

/// Scans under the name of a lake table that read something else.
fn foreign_scans(session_plan: &LogicalPlan) -> Vec<(&'static str, LogicalPlan)> {
    let schema = Arc::new(session_plan.schema().as_arrow().clone());
    let memory = MemTable::try_new(schema, vec![vec![]]).unwrap();
    let view = ViewTable::new(session_plan.clone(), None);
    let scan = |source| LogicalPlanBuilder::scan("trackcode", source, None).unwrap().build().unwrap();
    vec![
        ("a table in memory", scan(provider_as_source(Arc::new(memory)))),
        ("a view", scan(provider_as_source(Arc::new(view)))),
    ]
}

#[tokio::test]
async fn a_scan_of_anything_but_a_lake_table_is_refused() {
    let project = project().await;
    let none = BTreeSet::new();
    let injection = Injection { policies: project.policies(), unfiltered: &none, masks: &InForce::default() };
    let all: Result<LogicalPlan> = project.session().create_logical_plan("SELECT * FROM trackcode").await;
    for (what, plan) in foreign_scans(&all.unwrap()) {
        // A view's plan is inlined and then governed like any other; all others are refused.
        match injection.govern(plan.clone()) {
            Ok(governed) => verify::injected(&governed, &injection).unwrap_or_else(|error| panic!("{what}: {error}")),
            Err(error) => assert!(error.to_string().contains("is not a table of the lake"), "{what}: {error}"),
        }
        assert!(verify::injected(&plan, &injection).is_err(), "{what}");
        assert!(verify::optimised(&plan, &injection, &Shape::default()).is_err(), "{what}");
    }
    let recursive = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r";
    let plan = project.session().create_logical_plan(recursive).await.unwrap();
    assert!(injection.govern(plan.clone()).is_err());
    assert!(verify::injected(&plan, &injection).is_err());
}

#[tokio::test]
async fn a_table_without_a_policy_is_read_by_nobody() {
    let project = project().await;
    let (policies, none) = (super::policy::Policies::default(), BTreeSet::new());
    let injection = Injection { policies: &policies, unfiltered: &none, masks: &InForce::default() };
    let plan = project.session().create_logical_plan("SELECT name FROM city").await.unwrap();
    assert!(injection.govern(plan.clone()).unwrap_err().to_string().contains("`city` has no policy"));
    assert!(verify::injected(&plan, &injection).is_err());
    assert!(verify::optimised(&plan, &injection, &Shape::default()).is_err());
}

/// A plan that already has a barrier: injection adds its nodes below it, and only the check right after injection finds
/// this.
#[tokio::test]
async fn a_template_is_only_made_of_a_plan_that_was_walked_again() {
    let project = project().await;
    let plan = project.find("q0").unwrap().plan().clone();
    let barred = plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::TableScan(_) => Transformed::yes(Barrier::over("trackcode", BTreeSet::new(), node)),
            other => Transformed::no(other),
        })
    });
    let made = template::make(&barred.unwrap().data, &Shape::default(), project.maker(None), &[]);
    assert!(made.unwrap_err().to_string().contains("a barrier without a filter"));
}
