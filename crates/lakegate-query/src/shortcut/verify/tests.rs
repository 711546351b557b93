//! The check finds each operator of a prepared plan that lacks its policy or exposes a masked column.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::check;
use crate::govern::{GovernedPlan, MaskFunction, MaskKey, testing};
use crate::plan::PlannedProject;
use crate::shortcut::filter::Filter;
use crate::shortcut::lookup::{LookupExec, Side};
use crate::shortcut::scan::HotScanExec;

type Operators = Arc<dyn ExecutionPlan>;

const QUERIES: [&str; 9] = [
    "SELECT id, note FROM trackcode",
    "SELECT id FROM trackcode WHERE id > 102 ORDER BY id",
    "SELECT t.id, o.id AS o FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id",
    "SELECT t.id FROM trackcode t WHERE t.id IN (SELECT trackcode_id FROM \"order\")",
    "SELECT o.id, e.kind FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id JOIN event e ON e.order_id = o.id",
    "SELECT v.name, c.name AS client FROM city v LEFT JOIN client c ON c.id = v.id",
    "SELECT id, route FROM \"order\"",
    "SELECT kind, count(*) AS n FROM event GROUP BY kind",
    "SELECT DISTINCT t.city_id, c.name FROM trackcode t JOIN client c ON c.id = t.client_id",
];

fn options() -> ReplaceChildrenOptions {
    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)
}

/// Copies of a plan with one operator changed: one copy for each operator and each change that `change` makes to it.
fn changed(plan: &Operators, change: &dyn Fn(&Operators) -> Vec<Operators>) -> Vec<Operators> {
    let mut all = change(plan);
    let children = plan.children().into_iter().cloned().collect::<Vec<_>>();
    for (at, child) in children.iter().enumerate() {
        for other in changed(child, change) {
            let mut children = children.clone();
            children[at] = other;
            all.push(Arc::clone(plan).replace_children(children, options()).unwrap());
        }
    }
    all
}

/// Copies of a filter, each without one of its conjuncts.
fn without_one(filter: &Filter) -> Vec<Option<Filter>> {
    let conjuncts = split_conjunction(&filter.predicate);
    let without = |at: usize| {
        let kept = conjuncts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, kept)| Arc::clone(kept));
        let kept = kept.reduce(|one, other| Arc::new(BinaryExpr::new(one, Operator::And, other)));
        kept.map(|predicate| Filter { predicate, ..filter.clone() })
    };
    (0..conjuncts.len()).map(without).collect()
}

/// Copies of an operator that reads a table, each without a condition or with another key.
fn careless(node: &Operators) -> Vec<Operators> {
    let mut all = Vec::<Operators>::new();
    if let Some(scan) = node.downcast_ref::<HotScanExec>() {
        for filter in scan.filter().into_iter().flat_map(without_one) {
            all.push(Arc::new(scan.with_filter(filter)));
        }
    }
    if let Some(lookup) = node.downcast_ref::<LookupExec>() {
        let (side, key) = lookup.side();
        for filter in side.filter.iter().flat_map(without_one) {
            all.push(Arc::new(lookup.with_side(Side { filter, ..side.clone() }, key)));
        }
    }
    all
}

fn by_another_column(node: &Operators) -> Vec<Operators> {
    let Some(lookup) = node.downcast_ref::<LookupExec>() else { return Vec::new() };
    let (side, key) = lookup.side();
    let others = (0..side.table.schema().fields().len()).filter(|by| *by != side.by);
    let other = |by| Arc::new(lookup.with_side(Side { by, ..side.clone() }, key)) as Operators;
    others.map(other).collect()
}

fn unmasked(node: &Operators) -> Vec<Operators> {
    let bare = |expr: &Arc<dyn PhysicalExpr>| {
        Arc::clone(expr)
            .transform_up(|inner| {
                let function = inner.downcast_ref::<ScalarFunctionExpr>();
                let is_mask = |function: &&ScalarFunctionExpr| function.fun().inner().is::<MaskFunction>();
                Ok(match function.filter(is_mask) {
                    Some(function) => Transformed::yes(Arc::clone(&function.args()[0])),
                    None => Transformed::no(inner),
                })
            })
            .unwrap()
    };
    let mut all = Vec::<Operators>::new();
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter().map(|of| (bare(&of.expr), of.alias.clone())).collect::<Vec<_>>();
        if exprs.iter().any(|(expr, _)| expr.transformed) {
            let exprs = exprs.into_iter().map(|(expr, alias)| ProjectionExpr { expr: expr.data, alias });
            let input = Arc::clone(projection.input());
            all.push(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), input).unwrap()));
        }
    }
    if let Some(lookup) = node.downcast_ref::<LookupExec>() {
        let (side, key) = lookup.side();
        let made = side.made.iter().flat_map(|made| made.iter()).map(bare).collect::<Vec<_>>();
        if made.iter().any(|expr| expr.transformed) {
            let made = Some(made.into_iter().map(|expr| expr.data).collect());
            all.push(Arc::new(lookup.with_side(Side { made, ..side.clone() }, key)));
        }
    }
    all
}

async fn project(config: &str) -> (tempfile::TempDir, PlannedProject) {
    let lake = testing::parquet_lake(&testing::cases_folder().join("lake")).await;
    let names = (0..QUERIES.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
    let endpoints = names.iter().map(String::as_str).zip(QUERIES).collect::<Vec<_>>();
    let project = testing::project(lake.path(), config, &endpoints).await;
    project.set_mask_key(MaskKey::new("a key of masks for tests, and only for tests").unwrap());
    project.keep_hot(1 << 28).await.unwrap();
    (lake, project)
}

async fn operators(plan: &GovernedPlan) -> Operators {
    Arc::clone(plan.shortcut().await.expect("the plan is prepared").operators())
}

/// Counts the changed plans. Asserts that the check refuses each of them, but not the plan itself.
async fn each_is_refused(config: &str, change: &dyn Fn(&Operators) -> Vec<Operators>) -> usize {
    let (_lake, project) = project(config).await;
    let mut count = 0;
    for (at, sql) in QUERIES.iter().enumerate() {
        let plan = testing::governed(&project, &testing::principal("client_id=1"), &format!("q{at}"), "{}").unwrap();
        let operators = operators(&plan).await;
        let (governed, slots) = plan.template();
        check(&operators, governed, slots, plan.session()).unwrap_or_else(|error| panic!("{sql}: {error}"));
        for other in changed(&operators, change) {
            let text = datafusion::physical_plan::displayable(other.as_ref()).indent(false).to_string();
            assert!(check(&other, governed, slots, plan.session()).is_err(), "{sql}\n{text}");
            count += 1;
        }
    }
    count
}

/// A condition with a value belongs to a policy, because these queries have no parameters.
#[tokio::test]
async fn an_operator_that_lost_the_policys_condition_is_refused() {
    let conditions_with_values = |plan: &Operators| {
        let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        text.matches("value()").count()
    };
    let lost = |node: &Operators| {
        let lost = careless(node);
        lost.into_iter().filter(|other| conditions_with_values(other) < conditions_with_values(node)).collect()
    };
    assert!(each_is_refused(&testing::config(), &lost).await >= QUERIES.len());
}

/// Rows that are visible through a parent may be looked up only by the policy's key.
#[tokio::test]
async fn a_lookup_by_another_column_is_refused() {
    let config = testing::config();
    // An index join to a table with its own filter may use any column, so this changes only children of a parent.
    let of_children = |node: &Operators| {
        let is_child = node.downcast_ref::<LookupExec>().is_some_and(|lookup| {
            let (side, _) = lookup.side();
            side.filter.is_none() && ["order", "event"].contains(&side.table.name())
        });
        if is_child { by_another_column(node) } else { Vec::new() }
    };
    assert!(each_is_refused(&config, &of_children).await > 5);
}

#[tokio::test]
async fn a_masked_column_without_its_mask_is_refused() {
    let masks = "\n[masking]\nkey = \"env:K\"\n[tables.trackcode.columns.note]\nmask = \"redact\"\n\
        [tables.client.columns.name]\nmask = { kind = \"hash\", domain = \"d\" }\n\
        [tables.event.columns.kind]\nmask = \"redact\"\n";
    assert!(each_is_refused(&(testing::config() + masks), &unmasked).await >= 3);
}
