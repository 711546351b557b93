//! Plans endpoints over earlier versions of their tables, for `as_of` and for pages that continue on the first page's
//! version.
//!
//! Only the rows are from the past. Caller, grants, policies and masks are current, and so are the tables that row
//! filters read: a caller who lost a right does not regain it by asking for yesterday. The columns must be the current
//! ones, too, so that a column that a policy names is the same in every version.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result as PlanResult, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlan;
use futures::future::try_join_all;
use lakegate_core::catalog::AsOf;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Endpoint;
use moka::future::Cache;
use tokio::sync::Semaphore;

use super::{PlannedEndpoint, PlannedProject};
use crate::govern::table_of;
use crate::govern::template::Templates;
use crate::lake::{LakeTable, PastFault};

/// Maximum number of cached endpoints with their plans.
const MOST_ENDPOINTS: u64 = 64;
/// Maximum number of cached tables with their file metadata.
const MOST_TABLES: u64 = 64;
/// Maximum number of tables opened at once, because opening reads more than a request does.
const MOST_OPENING: usize = 2;

/// An endpoint over earlier versions of its tables. It belongs to the project that made it.
#[derive(Debug)]
pub struct PastEndpoint {
    endpoint: Arc<Endpoint>,
    plan: LogicalPlan,
    templates: Templates,
    state: Option<AsOf>,
}

/// Cached plans and tables of earlier versions.
#[derive(Debug)]
pub(super) struct Past {
    endpoints: Cache<(String, AsOf), Arc<PastEndpoint>>,
    tables: Cache<(String, i64), Arc<LakeTable>>,
    opening: Semaphore,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            endpoints: Cache::new(MOST_ENDPOINTS),
            tables: Cache::new(MOST_TABLES),
            opening: Semaphore::new(MOST_OPENING),
        }
    }
}

impl PastEndpoint {
    /// The endpoint's declaration.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(crate) fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub(crate) fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The `as_of` argument that reads the tables in this version.
    pub fn state(&self) -> Option<AsOf> {
        self.state
    }
}

impl PlannedProject {
    /// The endpoint over its tables as they were at `as_of`. Tables that do not keep their past stay current.
    ///
    /// # Errors
    /// [`Code::AsOfUnknown`] if there was no such version, [`Code::AsOfGone`] if its files are gone,
    /// [`Code::LakeUnavailable`] if they cannot be read now.
    pub async fn as_of(&self, endpoint: &Arc<Endpoint>, as_of: AsOf) -> Result<Arc<PastEndpoint>, Error> {
        let key = (endpoint.name.clone(), as_of);
        let past = self.past.endpoints.try_get_with(key, self.planned_as_of(endpoint, as_of));
        past.await.map_err(Error::shared)
    }

    async fn planned_as_of(&self, endpoint: &Arc<Endpoint>, as_of: AsOf) -> Result<Arc<PastEndpoint>, Error> {
        let now = self.endpoint(endpoint)?;
        let with_past = self.tables_with_a_past(now).collect::<Vec<_>>();
        if matches!(as_of, AsOf::Snapshot(_)) && with_past.len() > 1 {
            let detail = "this endpoint reads several tables, each with snapshots of its own";
            let error = Error::new(Code::ArgumentConstraint, detail).parameter("as_of").hint("ask for a time");
            return Err(Error::arguments(vec![error]));
        }
        let opened = try_join_all(with_past.into_iter().map(|table| self.table_as_of(table, as_of))).await?;
        let state = state_of(opened.iter());
        let tables = opened.into_iter().map(|table| (table.name().to_owned(), table)).collect();
        let plan = over(now.plan().clone(), &tables).map_err(|error| {
            Error::new(Code::GovernRefused, "the query cannot be governed; nothing was run").source(error)
        })?;
        Ok(Arc::new(PastEndpoint { endpoint: Arc::clone(endpoint), plan, templates: Templates::new(), state }))
    }

    async fn table_as_of(&self, now: &Arc<LakeTable>, as_of: AsOf) -> Result<Arc<LakeTable>, Error> {
        let _a_few_at_a_time = self.past.opening.acquire().await;
        let Some(declared) = self.project.config.tables.get(now.name()) else { return Err(told(PastFault::Unknown)) };
        let snapshot = now.snapshot_as_of(&self.lake, declared, as_of).await.map_err(told)?;
        if now.snapshot().is_some_and(|newest| newest.id == snapshot) {
            return Ok(Arc::clone(now));
        }
        let open = async {
            let opened =
                now.open_snapshot(&self.lake, declared, self.session.as_ref(), snapshot).await.map_err(told)?;
            // Policies are the current ones, and the restrictions of the catalog are part of them.
            if opened.restrictions() != now.restrictions() {
                return Err(told(PastFault::Unavailable("the catalog restricts the table in another way now".into())));
            }
            // Policies name current columns.
            match opened.schema() == now.schema() {
                true => Ok(Arc::new(opened)),
                false => Err(told(PastFault::Unknown)),
            }
        };
        let opened = self.past.tables.try_get_with((now.name().to_owned(), snapshot), open);
        opened.await.map_err(Error::shared)
    }

    /// The `as_of` argument that reads the endpoint's current tables, if one of them keeps its past.
    pub fn state(&self, endpoint: &Arc<Endpoint>) -> Option<AsOf> {
        state_of(self.tables_with_a_past(self.find(&endpoint.name)?))
    }

    pub(super) fn tables_with_a_past<'a>(
        &'a self,
        endpoint: &'a PlannedEndpoint,
    ) -> impl Iterator<Item = &'a Arc<LakeTable>> {
        self.tables.iter().filter(|table| table.snapshot().is_some() && endpoint.tables().contains(table.name()))
    }
}

/// The `as_of` argument that reads these versions of the tables. Two commits may have the same time, but not the same
/// id.
fn state_of<'a>(tables: impl Iterator<Item = &'a Arc<LakeTable>>) -> Option<AsOf> {
    let snapshots = tables.filter_map(|table| table.snapshot()).collect::<Vec<_>>();
    match snapshots.as_slice() {
        [one] => Some(AsOf::Snapshot(one.id)),
        several => several.iter().map(|snapshot| snapshot.time).max().map(AsOf::Time),
    }
}

/// The plan over other versions of its tables. No policies are applied yet, so every scan in it is the endpoint's own.
fn over(plan: LogicalPlan, tables: &BTreeMap<String, Arc<LakeTable>>) -> PlanResult<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let Some(table) = tables.get(&table_of(&scan)?) else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        if table.schema() != scan.source.schema() {
            return plan_err!("`{}` has other columns than the endpoint was planned for", scan.table_name);
        }
        scan.source = provider_as_source(Arc::clone(table) as Arc<dyn TableProvider>);
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(replaced.data)
}

fn told(fault: PastFault) -> Error {
    match fault {
        PastFault::Unknown => Error::new(Code::AsOfUnknown, "the data has no such state")
            .parameter("as_of")
            .hint("ask for a time since the data began, or for a snapshot that `Lakegate-As-Of` or its owner names"),
        PastFault::Gone => Error::new(Code::AsOfGone, "that state of the data is no longer kept").parameter("as_of"),
        PastFault::Unavailable(source) => Error::new(Code::LakeUnavailable, "files of the lake cannot be read now")
            .hint("try again later")
            .source(source),
    }
}
