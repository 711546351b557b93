//! A checked project over an open lake: tables, policies and the typed plan of every endpoint.
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

/// A project that can be served: every file checked, every endpoint planned, every policy compiled.
#[derive(Debug)]
pub struct PlannedProject {
    project: Arc<Project>,
    session: Arc<SessionState>,
    policies: Policies,
    masking: Masking,
    /// The key of `hash` masks; it can be replaced while requests run.
    mask_key: RwLock<Option<Arc<MaskKey>>>,
    endpoints: BTreeMap<String, Arc<PlannedEndpoint>>,
    /// Those of them that were planned for this project, and not for the one before.
    fresh: BTreeSet<String>,
    tables: Vec<Arc<LakeTable>>,
    past: Box<past::Past>,
    lake: Arc<Lake>,
    away: Away,
    withdrawn: Withdrawn,
    hot: OnceLock<Arc<HotMemory>>,
}

/// An endpoint with its plan.
#[derive(Debug)]
pub struct PlannedEndpoint {
    endpoint: Arc<Endpoint>,
    /// Typed, and not governed yet.
    plan: LogicalPlan,
    schema: SchemaRef,
    /// What documents tell of the answer.
    columns: Vec<OutputColumn>,
    tables: BTreeSet<String>,
    /// What each column of the answer is made of.
    sources: Vec<BTreeSet<lineage::Source>>,
    /// Whether a column of its tables may have a `hash` mask.
    hashes: bool,
    rules: CompiledRules,
    /// Stands for the endpoint's file.
    digest: [u8; 32],
    templates: Templates,
}

impl PlannedProject {
    /// Opens the tables, compiles the policies and plans the endpoints of a project; or says everything that is wrong.
    ///
    /// What `before` has of the same lake is taken again: tables whose files are the same are not read once more, and where
    /// the project is the same one, endpoints over such tables are not planned once more. Where tables can not be read at the
    /// moment, or are broken, those of `before` stay; without such, what needs them is [`Self::away`].
    ///
    /// # Errors
    /// All findings, those of the files (`findings`) among them.
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
        // Nobody reads a table whose row filter can not be compiled, as one that reads a table that is away.
        while !away.is_nothing() {
            let readable = open.iter().filter(|table| policies.get(table).is_some()).cloned().collect();
            if open == readable {
                break;
            }
            open = readable;
            // What is wrong with a filter is said once its table is readable, and not said again when that is left out.
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
            // What was looked at was made with a key that masks nothing.
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

    /// What can not be served at the moment.
    pub fn away(&self) -> &Away {
        &self.away
    }

    /// Whether a table may not be read any more, so that nothing that was kept of it is to be given.
    pub fn has_withdrawn(&self) -> bool {
        self.withdrawn.is_any()
    }

    /// The tables behind an endpoint that their catalogs restrict.
    pub(crate) fn restricted(&self, endpoint: &PlannedEndpoint) -> Vec<String> {
        let mut restricted = self.tables.iter().filter(|table| table.restrictions().is_some()).peekable();
        if restricted.peek().is_none() {
            return Vec::new();
        }
        let reached = self.policies.reach(&endpoint.tables);
        restricted.map(|table| table.name().to_owned()).filter(|table| reached.contains(table)).collect()
    }

    /// Refuses what reads a table that may not be read any more.
    pub(crate) fn check_withdrawn(&self, endpoint: &PlannedEndpoint) -> Result<(), Error> {
        if self.withdrawn.is_any() && self.withdrawn.has_one_of(&self.policies.reach(&endpoint.tables)) {
            let error = Error::new(Code::LakeUnavailable, "a table of this endpoint can not be read now");
            return Err(error.hint("try again later"));
        }
        Ok(())
    }

    /// The files' content.
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// The lake that it is served from.
    pub fn lake(&self) -> &Arc<Lake> {
        &self.lake
    }

    /// What its queries share, to be shared with the project that takes its place.
    pub fn runtime(&self) -> Arc<RuntimeEnv> {
        Arc::clone(self.session.runtime_env())
    }

    /// The tables, in the order of their names.
    pub fn tables(&self) -> &[Arc<LakeTable>] {
        &self.tables
    }

    /// The endpoints, in the order of their names.
    pub fn endpoints(&self) -> impl Iterator<Item = &PlannedEndpoint> {
        self.endpoints.values().map(Arc::as_ref)
    }

    /// The endpoint of this name.
    pub fn find(&self, name: &str) -> Option<&PlannedEndpoint> {
        self.endpoints.get(name).map(Arc::as_ref)
    }

    pub(crate) fn endpoint(&self, endpoint: &Arc<Endpoint>) -> Result<&PlannedEndpoint, Error> {
        let planned = self.find(&endpoint.name).filter(|planned| Arc::ptr_eq(&planned.endpoint, endpoint));
        planned.ok_or_else(|| Error::new(Code::GovernRefused, "the endpoint is not of this project"))
    }

    /// The plan of an endpoint, for the same project over these tables: where all that it reads is as it was.
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

    /// Whether the key of `hash` masks is the one of this id; with `None`, whether there is none.
    pub fn has_mask_key(&self, id: Option<&str>) -> bool {
        self.mask_key().as_deref().map(MaskKey::id) == id
    }

    /// Takes over the key that another project has.
    pub fn keep_mask_key_of(&self, other: &Self) {
        *self.mask_key.write().unwrap_or_else(PoisonError::into_inner) = other.mask_key();
    }

    pub(crate) fn mask_key(&self) -> Option<Arc<MaskKey>> {
        self.mask_key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn maker<'a>(&'a self, key: Option<&'a Arc<MaskKey>>) -> Maker<'a> {
        Maker { policies: &self.policies, masking: &self.masking, key, session: &self.session }
    }

    /// What running queries have reserved now of the memory that they share, in bytes.
    pub fn memory_reserved(&self) -> usize {
        self.session.runtime_env().memory_pool.reserved()
    }

    /// What running queries have put aside on disk now, in bytes.
    pub fn spilled(&self) -> u64 {
        self.session.runtime_env().disk_manager.used_disk_space()
    }

    /// Whether queries can put something aside on disk.
    pub fn can_spill(&self) -> bool {
        spills(self.session.runtime_env())
    }

    pub(crate) fn session(&self) -> &Arc<SessionState> {
        &self.session
    }
}

/// Makes the usual template of an endpoint and plans it to the end, so that what can not be governed or run is known
/// here, and not from a caller's 500. Gives the schemas of what was made.
async fn check_template(planned: &PlannedEndpoint, maker: Maker<'_>) -> Result<Vec<SchemaRef>, Finding> {
    let params = &planned.endpoint.params;
    let given = planned.usual_shape();
    // Without the arguments that may be left out: NULL in their places makes another plan.
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
            // What does not fit in the query itself is no matter of who may see what.
            let message = match help {
                None => finding.message,
                Some(_) => format!("the query can not be governed{when}: {}", finding.message),
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
    /// The shape of a request with all arguments, and one value in each list.
    fn usual_shape(&self) -> Shape {
        let lists = self.endpoint.params.iter().filter(|param| param.value_type.list);
        Shape { lists: lists.map(|param| (placeholder_id(&param.name), 1)).collect(), ..Shape::default() }
    }

    /// The endpoint's declaration.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The columns of the answer.
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

/// A session without tables, as tables are opened with.
pub(crate) fn bare_session(
    lake: &Lake,
    runtime: Arc<RuntimeEnv>,
) -> datafusion::common::Result<datafusion::execution::SessionState> {
    session::session(lake, Vec::new(), runtime)
}

/// Optimises a bare scan of every governed table: a filter that can fail, or that the barrier can not hold, shows here.
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
    // The fault of a parent's filter shows in its children too; it is one fault.
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
    // What is wrong with a table is said once, at the table; and nothing can be planned over it.
    let all_open = syntax.tables.iter().all(|(name, _)| open.contains(name));
    if !findings.is_empty() || !all_open {
        return Err(findings);
    }
    let plan = session.statement_to_plan(statement).await.and_then(functions::with_clock);
    let plan = match plan {
        // The same for a parameter; but what has nothing to do with its type can be said.
        Err(error) if lacks_params && error.to_string().contains("Placeholder") => return Err(findings),
        Err(error) => return Err(vec![place.error(&error)]),
        Ok(_) if lacks_params => return Err(findings),
        Ok(plan) => plan,
    };
    for name in functions::refused(&plan) {
        let span = syntax.functions.iter().find(|(called, _)| *called == name).map_or(Span::empty(), |(_, span)| *span);
        let finding = match name.as_str() {
            "version" => {
                place.finding(span, "function `version` can not be called: it would tell callers what runs here")
            }
            "random" | "uuid" | "current_time" => place
                .finding(span, format!("function `{name}` can not be called: its answer changes from call to call"))
                .help("take the value as a parameter; `now()` and `current_date` are the time of the request"),
            _ => place
                .finding(
                    span,
                    format!("function `{name}` can not be called: it is not on the list of allowed functions"),
                )
                .help(suggestion(&name).unwrap_or("the page `sql.md` of the documentation has the list")),
        };
        findings.push(finding);
    }
    let mut plan = params::typed(plan, endpoint).map_err(|faults| [std::mem::take(&mut findings), faults].concat())?;
    // Before subqueries are moved: one beside the groups is to be seen there.
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

/// An endpoint that says `as_of` reads a table that keeps its past.
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
