//! Builds a project's DataFusion session: its tables, its functions and the barrier's planner, and nothing that writes.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, Session as DataFusionSession};
use datafusion::catalog::{MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::common::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use super::filters::FilterPushdown;
use super::offset::physical_rules;
use super::types::Microseconds;
use crate::functions::{ExactRule, exact_avg, exact_extremes, exact_percentile, exact_sum};
use crate::govern::{BarrierPlanner, LeakProofPushdown};
use crate::lake::{Lake, LakeTable};

/// A session over the tables of one project.
pub(crate) fn session(lake: &Lake, tables: Vec<Arc<LakeTable>>, runtime: Arc<RuntimeEnv>) -> Result<SessionState> {
    runtime.register_object_store(lake.url().as_ref(), Arc::clone(lake.store()));
    let schema = MemorySchemaProvider::new();
    for table in tables {
        schema.register_table(table.name().to_owned(), table)?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::new(schema))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog("lakegate".to_owned(), Arc::new(catalog));

    let mut session = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config())
        .with_runtime_env(runtime)
        .with_catalog_list(Arc::new(catalogs))
        // No table functions: none may read a file or produce endless rows.
        .with_table_functions(Default::default())
        .with_table_factories(Default::default())
        .with_optimizer_rules(optimizer_rules())
        .with_physical_optimizer_rules(physical_rules())
        .with_analyzer_rule(Arc::new(ExactRule))
        .with_query_planner(Arc::new(GovernedPlanner))
        .with_type_planner(Arc::new(Microseconds))
        .build();
    session.register_udaf(Arc::new(exact_sum()))?;
    session.register_udaf(Arc::new(exact_avg()))?;
    session.register_udaf(Arc::new(exact_percentile()))?;
    for extreme in exact_extremes() {
        session.register_udaf(Arc::new(extreme))?;
    }
    Ok(session)
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("lakegate", "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        // One thread per query: small queries take the same time, and more requests run at once.
        .with_target_partitions(1);
    let options = config.options_mut();
    // Positions of names in the SQL, for the findings of `check`.
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some("UTC".to_owned());
    // If threads share a large aggregation, each of them first groups its own rows. This costs memory and time, so
    // DataFusion gives it up when more than half of the rows remain.
    options.execution.skip_partial_aggregation_probe_ratio_threshold = 0.5;
    // The planner and the optimiser sometimes disagree on whether an expression can be NULL, such as a CASE that lost a
    // branch. The rows are the same, but the check would refuse such a query as an internal error.
    options.execution.skip_physical_aggregate_schema_check = true;
    // Dynamic filters of joins and sorts would prune scans. DataFusion finds the column of such a filter by name, so
    // with two columns of one name it prunes by the wrong one: rows get lost, and a `NOT IN` in a row filter shows rows
    // that it should hide (apache/datafusion#25244). The first option does not imply the others.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // `DISTINCT … LIMIT` over sorted rows, as below a window function, fails in this version: DataFusion takes the
    // limit for that of a top-k, which needs a sort direction.
    options.optimizer.enable_distinct_aggregation_soft_limit = false;
    config
}

/// Rules that move expressions of a query below every node, even barriers, so a field would be read before its mask.
const LEFT_OUT: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];

/// The default rules, with ours in place of `push_down_filter`. Passes repeat until nothing changes.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| !LEFT_OUT.contains(&rule.name()));
    let place = rules.iter().position(|rule| rule.name() == "push_down_filter").unwrap_or(rules.len());
    rules.splice(
        place..rules.len().min(place + 1),
        [Arc::new(LeakProofPushdown) as Arc<dyn OptimizerRule + Send + Sync>, Arc::new(FilterPushdown::default())],
    );
    rules
}

/// Plans barriers in addition to everything that DataFusion plans.
#[derive(Debug)]
struct GovernedPlanner;

#[async_trait]
impl QueryPlanner for GovernedPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn DataFusionSession,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(BarrierPlanner)])
            .create_physical_plan(plan, session)
            .await
    }
}
