//! Plans a checked project over an open lake: opens tables, compiles policies and makes each endpoint's typed plan.
//!
//! Everything that does not depend on a request is done here, once.

mod away;
mod column;
mod depth;
#[cfg(test)]
mod depth_tests;
pub(crate) mod filters;
pub(crate) mod functions;
mod groups;
pub(crate) mod identifiers;
pub(crate) mod lineage;
mod offset;
mod panics;
mod params;
mod past;
pub(crate) mod place;
mod rows;
mod rules;
mod session;
pub(crate) mod set_operations;
pub(crate) mod sql;
pub(crate) mod subqueries;
mod tables;
#[cfg(test)]
mod tables_tests;
mod types;
mod withdrawn;
mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::tokenizer::Span;
use futures::FutureExt;
use lakegate_core::catalog::RuleCheck;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Endpoint, Finding, Project};

pub use away::Away;
pub use column::{ColumnKind, OutputColumn, Part};
pub use panics::without_panic;
pub(crate) use params::{column_type_name, placeholder_id};
pub use past::PastEndpoint;

use crate::encode;
use crate::engine::spills;
use crate::functions::suggestion;
use crate::govern::fingerprint::Fingerprint;
use crate::govern::masking::{Masking, stand_in_key};
use crate::govern::order_key;
use crate::govern::policy::{Policies, unknown_tables};
use crate::govern::template::{self, Maker, Shape, Templates};
use crate::govern::verify;
use crate::govern::{MaskKey, bind, tables_of};
use crate::hot::HotMemory;
use crate::lake::{Lake, LakeTable};
use place::Place;
use rules::CompiledRules;
use withdrawn::Withdrawn;

/// A project that is ready to serve: every file is checked, every endpoint is planned and every policy is compiled.
#[derive(Debug)]
pub struct PlannedProject {
    project: Arc<Project>,
    session: Arc<SessionState>,
    policies: Policies,
    masking: Masking,
    /// The key of `hash` masks. It can be replaced while requests run.
    mask_key: RwLock<Option<Arc<MaskKey>>>,
    endpoints: BTreeMap<String, Arc<PlannedEndpoint>>,
    /// The endpoints that were planned for this project. The others are from the project before it.
    fresh: BTreeSet<String>,
    tables: Vec<Arc<LakeTable>>,
    past: Box<past::Past>,
    lake: Arc<Lake>,
    away: Away,
    withdrawn: Withdrawn,
    hot: OnceLock<Arc<HotMemory>>,
}

/// An endpoint and its plan.
#[derive(Debug)]
pub struct PlannedEndpoint {
    endpoint: Arc<Endpoint>,
    /// The typed plan, before policies are applied.
    plan: LogicalPlan,
    schema: SchemaRef,
    /// The columns of the response, for API documents.
    columns: Vec<OutputColumn>,
    tables: BTreeSet<String>,
    /// The source columns in the lake of each column of the response.
    sources: Vec<BTreeSet<lineage::Source>>,
    /// Whether a column of its tables may have a `hash` mask.
    hashes: bool,
    rules: CompiledRules,
    /// Fingerprint of the endpoint's declaration.
    digest: [u8; 32],
    templates: Templates,
}

impl PlannedProject {
    /// Opens the tables, compiles the policies and plans the endpoints of a project, or returns everything that is
    /// wrong.
    ///
    /// Reuses what `before` holds of the same lake: a table whose files did not change is not read again, and if the
    /// project is the same one, an endpoint over such tables is not planned again. A table that is broken or cannot be
    /// read now keeps the version of `before`. If `before` has none, the table and the endpoints that need it are in
    /// [`Self::away`].
    ///
    /// # Errors
    /// All findings, including the given `findings` of the files.
    pub async fn load(
        project: impl Into<Arc<Project>>,
        mut findings: Vec<Finding>,
        lake: Arc<Lake>,
        runtime: Arc<RuntimeEnv>,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Finding>> {
        let project = project.into();
        let before = before.filter(|before| Arc::ptr_eq(&before.lake, &lake));
        let (tables, faults, mut away) = Box::pin(tables::open(&project, &lake, &runtime, before)).await;
        findings.extend(faults);
        let mut open = tables.iter().map(|table| table.name().to_owned()).collect::<BTreeSet<_>>();
        let internal =
            |error| vec![Finding::new(lakegate_core::project::Position::start("lakegate.toml"), format!("{error}"))];
        let session = session::session(&lake, tables.clone(), runtime).map_err(internal)?;
        let (mut policies, mut faults) = Policies::compile(&project.config, &session, &open).boxed().await;
        // A table whose row filter does not compile is not readable: its filter may read a table that is unavailable.
        while !away.is_nothing() {
            let readable = open.iter().filter(|table| policies.get(table).is_some()).cloned().collect();
            if open == readable {
                break;
            }
            open = readable;
            // Each error of a filter is reported once, because a table whose filter failed is not compiled again.
            let (fewer, more) = Policies::compile(&project.config, &session, &open).boxed().await;
            policies = fewer;
            faults.extend(more);
        }
        policies.restrict(&tables);
        let masking = Masking::of(&project.config, &tables);
        let stand_in = stand_in_key();
        let maker = Maker { policies: &policies, masking: &masking, key: Some(&stand_in), session: &session };
        for table in &tables {
            if let Some(declared) = project.config.tables.get(table.name()) {
                faults.extend(Masking::check(&project.config, declared, &table.schema()));
            }
        }
        let all_are_there = open == project.config.declared || !away.is_nothing() && findings.is_empty();
        if all_are_there && faults.is_empty() {
            faults.extend(probe_policies(maker).await);
        }
        let can_govern = all_are_there && faults.is_empty();
        findings.extend(faults);
        let (mut endpoints, mut fresh) = (BTreeMap::new(), BTreeMap::new());
        let unchanged = before.filter(|before| Arc::ptr_eq(&before.project, &project));
        let unchanged = unchanged.filter(|before| before.away.tables().eq(away.tables()));
        for endpoint in project.endpoints.values() {
            if let Some(planned) = unchanged.and_then(|before| before.still_good(&endpoint.name, &policies, &tables)) {
                endpoints.insert(endpoint.name.clone(), planned);
                continue;
            }
            match plan_endpoint(endpoint, &project, &open, &session).await {
                Ok(mut planned) => {
                    if can_govern {
                        match check_template(&planned, maker).await {
                            Ok(optimised) => planned.columns = column::columns(&planned.schema, &optimised),
                            Err(finding) => findings.push(finding),
                        }
                    }
                    fresh.insert(endpoint.name.clone(), planned);
                }
                Err(faults) if faults.is_empty() && !away.is_nothing() => away.add_endpoint(endpoint),
                Err(faults) => findings.extend(faults),
            }
        }
        findings.extend(fresh.values().filter_map(|planned| without_past(planned, &tables)));
        if !findings.is_empty() {
            findings.extend(away.reasons().cloned());
            return Err(sorted(findings));
        }
        for planned in fresh.values_mut() {
            // The checks above made these templates with a stand-in key, which masks nothing.
            planned.templates.clear();
            planned.hashes = masking.hash(&planned.tables);
        }
        let names = fresh.keys().cloned().collect();
        endpoints.extend(fresh.into_iter().map(|(name, planned)| (name, Arc::new(planned))));
        let (session, mask_key, past) = (Arc::new(session), RwLock::default(), Box::default());
        let hot = OnceLock::new();
        Ok(Self {
            project,
            session,
            policies,
            masking,
            mask_key,
            endpoints,
            fresh: names,
            tables,
            past,
            lake,
            away,
            withdrawn: Withdrawn::default(),
            hot,
        })
    }

    /// The tables and endpoints that cannot be served now.
    pub fn away(&self) -> &Away {
        &self.away
    }

    /// Whether a catalog has withdrawn a table, so that nothing cached of it may be returned.
    pub fn has_withdrawn(&self) -> bool {
        self.withdrawn.is_any()
    }

    /// The tables an endpoint reads, row filters included, that their catalogs restrict.
    pub(crate) fn restricted(&self, endpoint: &PlannedEndpoint) -> Vec<String> {
        let mut restricted = self.tables.iter().filter(|table| table.restrictions().is_some()).peekable();
        if restricted.peek().is_none() {
            return Vec::new();
        }
        let reached = self.policies.reach(&endpoint.tables);
        restricted.map(|table| table.name().to_owned()).filter(|table| reached.contains(table)).collect()
    }

    /// Refuses an endpoint that reads a withdrawn table.
    ///
    /// # Errors
    /// [`Code::LakeUnavailable`].
    pub(crate) fn check_withdrawn(&self, endpoint: &PlannedEndpoint) -> Result<(), Error> {
        if self.withdrawn.is_any() && self.withdrawn.has_one_of(&self.policies.reach(&endpoint.tables)) {
            let error = Error::new(Code::LakeUnavailable, "a table of this endpoint cannot be read now");
            return Err(error.hint("try again later"));
        }
        Ok(())
    }

    /// The content of the project's files.
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// The lake that the tables are read from.
    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }

    /// The runtime that all queries share. Pass it to the project that replaces this one.
    pub fn runtime(&self) -> Arc<RuntimeEnv> {
        Arc::clone(self.session.runtime_env())
    }

    /// The tables, ordered by name.
    pub fn tables(&self) -> &[Arc<LakeTable>] {
        &self.tables
    }

    /// The endpoints, ordered by name.
    pub fn endpoints(&self) -> impl Iterator<Item = &PlannedEndpoint> {
        self.endpoints.values().map(Arc::as_ref)
    }

    /// The endpoint with this name.
    pub fn find(&self, name: &str) -> Option<&PlannedEndpoint> {
        self.endpoints.get(name).map(Arc::as_ref)
    }

    pub(crate) fn endpoint(&self, endpoint: &Arc<Endpoint>) -> Result<&PlannedEndpoint, Error> {
        let planned = self.find(&endpoint.name).filter(|planned| Arc::ptr_eq(&planned.endpoint, endpoint));
        planned.ok_or_else(|| Error::new(Code::GovernRefused, "the endpoint is not of this project"))
    }

    /// The plan of an endpoint, if the project and every table that it reads (row filters included) are unchanged.
    fn still_good(&self, name: &str, policies: &Policies, tables: &[Arc<LakeTable>]) -> Option<Arc<PlannedEndpoint>> {
        let is_same = |table: &String| {
            let of = |tables: &[Arc<LakeTable>]| tables.iter().find(|known| known.name() == table).map(Arc::as_ptr);
            of(&self.tables).is_some_and(|before| of(tables) == Some(before))
        };
        let planned = self.endpoints.get(name)?;
        policies.reach(&planned.tables).iter().all(is_same).then(|| Arc::clone(planned))
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(crate) fn masking(&self) -> &Masking {
        &self.masking
    }

    /// Whether a mask of the project needs the key.
    pub fn needs_mask_key(&self) -> bool {
        self.masking.need_key()
    }

    /// Sets the key of `hash` masks for all requests that are governed from now on.
    pub fn set_mask_key(&self, key: MaskKey) {
        *self.mask_key.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
    }

    /// The id of the key of `hash` masks.
    pub fn mask_key_id(&self) -> Option<String> {
        self.mask_key().map(|key| key.id().to_string())
    }

    /// Whether the current key of `hash` masks has this id. With `None`: whether no key is set.
    pub fn has_mask_key(&self, id: Option<&str>) -> bool {
        self.mask_key().as_deref().map(MaskKey::id) == id
    }

    /// Copies the key of `hash` masks from another project.
    pub fn keep_mask_key_of(&self, other: &Self) {
        *self.mask_key.write().unwrap_or_else(PoisonError::into_inner) = other.mask_key();
    }

    pub(crate) fn mask_key(&self) -> Option<Arc<MaskKey>> {
        self.mask_key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn maker<'a>(&'a self, key: Option<&'a Arc<MaskKey>>) -> Maker<'a> {
        Maker { policies: &self.policies, masking: &self.masking, key, session: &self.session }
    }

    /// Bytes that running queries currently reserve of the shared memory pool.
    pub fn memory_reserved(&self) -> usize {
        self.session.runtime_env().memory_pool.reserved()
    }

    /// Bytes that running queries currently spill to disk.
    pub fn spilled(&self) -> u64 {
        self.session.runtime_env().disk_manager.used_disk_space()
    }

    /// Whether queries can spill to disk.
    pub fn can_spill(&self) -> bool {
        spills(self.session.runtime_env())
    }

    pub(crate) fn session(&self) -> &Arc<SessionState> {
        &self.session
    }
}

/// Makes the usual template of an endpoint and its physical plan, so that a query that cannot be governed or run fails
/// here and not as a caller's 500. Returns the schemas of the optimised plans.
async fn check_template(planned: &PlannedEndpoint, maker: Maker<'_>) -> Result<Vec<SchemaRef>, Finding> {
    let params = &planned.endpoint.params;
    let given = planned.usual_shape();
    // Optional arguments that are left out become NULL, which makes another plan.
    let mut left_out = given.clone();
    for param in params.iter().filter(|param| !param.required && param.default.is_none()) {
        left_out.lists.remove(&placeholder_id(&param.name));
        left_out.nulls.insert(placeholder_id(&param.name));
    }
    let is_another = left_out != given;
    let mut schemas = vec![check_shape(planned, maker, given).await?];
    if is_another {
        schemas.push(check_shape(planned, maker, left_out).await?);
    }
    Ok(schemas)
}

async fn check_shape(planned: &PlannedEndpoint, maker: Maker<'_>, shape: Shape) -> Result<SchemaRef, Finding> {
    let session = maker.session;
    let place = Place::File(&planned.endpoint);
    let left_out = !shape.nulls.is_empty();
    let template = match planned
        .templates
        .get(shape, |shape| template::make(&planned.plan, shape, maker, &planned.digest))
    {
        Ok(template) => template,
        Err(error) => {
            let finding = place.error(&error);
            let (when, help) = match left_out {
                true => (
                    ", when an argument is left out that may be",
                    Some(
                        "make the parameter required, or give it a default; or write the query so that NULL fits there",
                    ),
                ),
                false if finding.message.starts_with(verify::BELOW) => (
                    "",
                    Some(
                        "a condition on parameters alone that can fail would be evaluated on rows of other callers; \
                         state it in [[rules]]",
                    ),
                ),
                false => ("", None),
            };
            // An error of the query itself has nothing to do with policies, so it keeps its message.
            let message = match help {
                None => finding.message,
                Some(_) => format!("the query cannot be governed{when}: {}", finding.message),
            };
            let help = help.map(str::to_owned).or(finding.help);
            return Err(Finding { message, help, ..finding });
        }
    };
    let physical = match bind::with_nulls(template.plan.clone()) {
        Ok(plan) => session.query_planner().create_physical_plan(&plan, session).await,
        Err(error) => Err(error),
    };
    physical.map(|_| Arc::clone(&template.schema)).map_err(|error| place.error(&error))
}

impl PlannedEndpoint {
    /// The shape of a request with all arguments and one value in each list.
    fn usual_shape(&self) -> Shape {
        let lists = self.endpoint.params.iter().filter(|param| param.value_type.list);
        Shape { lists: lists.map(|param| (placeholder_id(&param.name), 1)).collect(), ..Shape::default() }
    }

    /// The endpoint's declaration.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The columns of the response.
    pub fn columns(&self) -> Vec<OutputColumn> {
        self.columns.clone()
    }

    /// The compiled rules.
    pub fn rules(&self) -> &dyn RuleCheck {
        &self.rules
    }

    pub(crate) fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn tables(&self) -> &BTreeSet<String> {
        &self.tables
    }

    pub(crate) fn sources(&self) -> &[BTreeSet<lineage::Source>] {
        &self.sources
    }

    pub(crate) fn hashes(&self) -> bool {
        self.hashes
    }

    pub(crate) fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub(crate) fn templates(&self) -> &Templates {
        &self.templates
    }
}

/// A session without tables, as the opening of tables needs it.
pub(crate) fn bare_session(
    lake: &Lake,
    runtime: Arc<RuntimeEnv>,
) -> datafusion::common::Result<datafusion::execution::SessionState> {
    session::session(lake, Vec::new(), runtime)
}

/// Optimises a bare scan of every governed table, to find row filters that can fail or that the barrier cannot hold.
async fn probe_policies(maker: Maker<'_>) -> Vec<Finding> {
    let Maker { policies, session, .. } = maker;
    let mut faults = BTreeMap::new();
    for (table, filter) in policies.filters() {
        let probed = match session.create_logical_plan(&format!("SELECT * FROM \"{table}\"")).await {
            Ok(plan) => template::make(&plan, &Shape::default(), maker, &[]).map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = probed {
            let finding = Place::String(&filter.position).error(&error);
            let reason = finding.message.replace(&format!("below the barrier of `{table}`: "), "");
            let message = format!("the row filter of `{table}` is not safe: {reason}");
            faults.insert(
                table,
                Finding { message, ..finding }.help(
                    "a row filter compares columns with attributes and fixed values; it can neither fail nor change",
                ),
            );
        }
    }
    // An error in a parent's filter also appears in its children; report it only at the parent.
    let faulty = faults.keys().map(|table| (*table).to_owned()).collect::<BTreeSet<_>>();
    faults.retain(|table, _| policies.filter(table).is_some_and(|filter| filter.reads.is_disjoint(&faulty)));
    faults.into_values().collect()
}

async fn plan_endpoint(
    endpoint: &Endpoint,
    project: &Project,
    open: &BTreeSet<String>,
    session: &SessionState,
) -> Result<PlannedEndpoint, Vec<Finding>> {
    let place = Place::File(endpoint);
    let lacks_params = endpoint.declared_params.len() != endpoint.params.len();
    let (rules, rule_syntax, mut findings) = CompiledRules::compile(endpoint, session);
    let (statement, syntax) = match sql::parse_query(&endpoint.sql, &place) {
        Ok(parsed) => parsed,
        Err(faults) => {
            findings.extend(faults);
            return Err(findings);
        }
    };
    findings.extend(params::check_names(endpoint, &syntax, &rule_syntax, &place));
    findings.extend(unknown_tables(&syntax, &project.config, &place));
    // An error of a table is reported at the table, and nothing over that table can be planned.
    let all_open = syntax.tables.iter().all(|(name, _)| open.contains(name));
    if !findings.is_empty() || !all_open {
        return Err(findings);
    }
    let plan = session.statement_to_plan(statement).await.and_then(functions::with_clock);
    let plan = match plan {
        // Errors of a parameter are reported at its declaration; only unrelated ones are reported here.
        Err(error) if lacks_params && error.to_string().contains("Placeholder") => return Err(findings),
        Err(error) => return Err(vec![place.error(&error)]),
        Ok(_) if lacks_params => return Err(findings),
        Ok(plan) => plan,
    };
    for name in functions::refused(&plan) {
        let span = syntax.functions.iter().find(|(called, _)| *called == name).map_or(Span::empty(), |(_, span)| *span);
        let finding = match name.as_str() {
            "version" => {
                place.finding(span, "function `version` cannot be called: it would tell callers what runs here")
            }
            "random" | "uuid" | "current_time" => place
                .finding(span, format!("function `{name}` cannot be called: its answer changes from call to call"))
                .help("take the value as a parameter; `now()` and `current_date` are the time of the request"),
            _ => place
                .finding(
                    span,
                    format!("function `{name}` cannot be called: it is not on the list of allowed functions"),
                )
                .help(suggestion(&name).unwrap_or("the page `sql.md` of the documentation has the list")),
        };
        findings.push(finding);
    }
    let mut plan = params::typed(plan, endpoint).map_err(|faults| [std::mem::take(&mut findings), faults].concat())?;
    // Before subqueries are moved, because a subquery beside the groups must still be visible here.
    if let Some(small) = &endpoint.small_groups {
        plan = groups::without_small(plan, small, session)
            .map_err(|faults| [std::mem::take(&mut findings), faults].concat())?;
    }
    let plan = set_operations::counted(plan).and_then(subqueries::exact).map_err(|error| vec![place.error(&error)])?;
    let plan = order_key::sorts(plan).map_err(|error| vec![place.error(&error)])?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    findings.extend(repeated_columns(&schema, &place));
    findings.extend(formless_columns(&schema, &place));
    if !findings.is_empty() {
        return Err(findings);
    }
    let tables = tables_of(&plan).map_err(|error| vec![place.error(&error)])?;
    let sources = lineage::sources(&plan).map_err(|error| vec![place.error(&error)])?;
    let mut digest = Fingerprint::new("lakegate endpoint v1");
    digest.text(format_args!("{endpoint:?}"));
    Ok(PlannedEndpoint {
        digest: digest.bytes(),
        endpoint: Arc::new(endpoint.clone()),
        plan,
        columns: column::columns(&schema, &[]),
        schema,
        sources,
        tables,
        hashes: false,
        rules,
        templates: Templates::new(),
    })
}

/// A finding for an endpoint that sets `as_of` although none of its tables keeps its past.
fn without_past(planned: &PlannedEndpoint, tables: &[Arc<LakeTable>]) -> Option<Finding> {
    let keeps = |table: &Arc<LakeTable>| table.snapshot().is_some() && planned.tables.contains(table.name());
    let is_in_vain = planned.endpoint.as_of && !tables.iter().any(keeps);
    is_in_vain.then(|| {
        let message = "`as_of` is for endpoints that read an Iceberg or a Delta table";
        Finding::new(planned.endpoint.position(1, 1), message).help("remove it: none of its tables keeps its past")
    })
}

fn repeated_columns(schema: &Schema, place: &Place<'_>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let repeated = schema.fields().iter().filter(|field| !seen.insert(field.name()));
    let finding = |field: &Arc<datafusion::arrow::datatypes::Field>| {
        let message = format!("the answer has two columns `{}`", field.name());
        place.finding(Span::empty(), message).help("give one another name with `AS`")
    };
    repeated.map(finding).collect()
}

fn formless_columns(schema: &Schema, place: &Place<'_>) -> Vec<Finding> {
    let faults = schema.fields().iter().filter_map(|field| Some((field.name(), encode::fault(field.data_type())?)));
    let finding = |(name, fault): (&String, String)| {
        let message = format!("column `{name}` of the answer: {fault}");
        place.finding(Span::empty(), message).help("leave it out, or cast it")
    };
    faults.map(finding).collect()
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort();
    findings.dedup();
    findings
}
