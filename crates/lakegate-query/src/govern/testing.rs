//! Helpers for tests: a small lake with policies of every kind, callers, and calls of endpoints over it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::physical_plan::{ExecutionPlan, collect};
use lakegate_core::access::{
    Credential, EndpointPattern, Grant, Grantee, Principal, PrincipalRecord, Terms, TokenRecord, attribute,
    authenticate, authorize,
};
use lakegate_core::catalog::{RawArguments, call};
use lakegate_core::error::Error;
use lakegate_core::project::{Finding, Project, ProjectFiles};
use lakegate_core::value::Scalar;
use tempfile::TempDir;

use super::{GovernedPlan, govern};
use crate::engine::{Embedded, Engine, Limits, Resources, runtime};
use crate::lake::Lake;
use crate::plan::PlannedProject;

pub(crate) const TABLES: [&str; 6] = ["account", "city", "client", "event", "order", "trackcode"];

pub(crate) fn cases_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases/govern")
}

pub(crate) fn config() -> String {
    std::fs::read_to_string(cases_folder().join("lakegate.toml")).unwrap()
}

/// These tables without policies.
pub(crate) fn ungoverned_config() -> String {
    let tables = TABLES.map(|table| format!("[tables.{table}]\nlocation = \"{table}\"\nshared = true\n"));
    format!("[lake]\nlocation = \".\"\n{}", tables.concat())
}

/// An endpoint's file: the SQL, with front matter added if it has none.
pub(crate) fn endpoint_file(sql: &str) -> String {
    if sql.trim_start().starts_with("/*---") { sql.to_owned() } else { format!("/*---\nsummary = \"s\"\n---*/\n{sql}") }
}

/// The memory and disk limits of tests.
fn resources() -> Resources {
    Resources { memory_bytes: 1 << 28, spill_bytes: 1 << 28, spill_folder: None }
}

/// A project over the lake in a folder. `endpoints` are names and SQL.
pub(crate) async fn project(lake: &Path, config: &str, endpoints: &[(&str, &str)]) -> PlannedProject {
    match try_project(lake, config, endpoints).await {
        Ok(project) => project,
        Err(findings) => panic!("{}", findings.join("\n")),
    }
}

pub(crate) async fn try_project(
    lake: &Path,
    config: &str,
    endpoints: &[(&str, &str)],
) -> Result<PlannedProject, Vec<String>> {
    project_with(lake, config, endpoints, runtime(&resources()).unwrap()).await
}

/// A project whose queries share `runtime`; or its findings.
pub(crate) async fn project_with(
    lake: &Path,
    config: &str,
    endpoints: &[(&str, &str)],
    runtime: Arc<RuntimeEnv>,
) -> Result<PlannedProject, Vec<String>> {
    let endpoints = endpoints.iter().map(|(name, sql)| (format!("endpoints/{name}.sql"), endpoint_file(sql)));
    let files = ProjectFiles { config: config.to_owned(), endpoints: endpoints.collect(), ..ProjectFiles::default() };
    let (project, findings) = Project::read(&files);
    let lake = Lake::open(lake, &project.config.lake_location, &project.config.lake_store).unwrap();
    let loaded = Box::pin(PlannedProject::load(project, findings, Arc::new(lake), runtime, None)).await;
    let told = |findings: Vec<Finding>| findings.iter().map(ToString::to_string).collect();
    match loaded {
        Ok(project) if project.away().is_nothing() => Ok(project),
        Ok(project) => Err(told(project.away().findings())),
        Err(findings) => Err(told(findings)),
    }
}

/// The size of the block cache that [`after`] uses.
pub(crate) const HOT_BYTES: usize = 512 << 20;

/// The project that replaces `before`, over the current lake, with resident tables.
pub(crate) async fn after(before: &PlannedProject, project: Arc<Project>) -> PlannedProject {
    let (lake, runtime) = (Arc::clone(before.lake()), before.runtime());
    let load = Box::pin(PlannedProject::load(project, Vec::new(), lake, runtime, Some(before)));
    let project = load.await.unwrap_or_else(|findings| panic!("{findings:?}"));
    project.keep_hot(HOT_BYTES).await.unwrap();
    project.warm().await;
    project
}

/// A caller, from words such as `client_id=1`, `owner:string=A` and `role=operator`.
pub(crate) fn principal(words: &str) -> Principal {
    let start = DateTime::UNIX_EPOCH;
    let mut record = PrincipalRecord::new("p", "caller", start);
    for word in words.split_whitespace() {
        record = match word.strip_prefix("role=") {
            Some(role) => record.with_role(role),
            None => {
                let (name, value) = attribute::parse(word).unwrap();
                record.with_attribute(name, value)
            }
        };
    }
    authenticated(record)
}

/// The caller of a record.
pub(crate) fn authenticated(record: PrincipalRecord) -> Principal {
    let start = DateTime::UNIX_EPOCH;
    let credential =
        Credential { proof: TokenRecord::new("t", start).into(), principal: Arc::new(record), grants: Arc::new([]) };
    authenticate(&credential, start).unwrap()
}

/// The governed plan of a call; `arguments` is a JSON object.
pub(crate) fn governed(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    arguments: &str,
) -> Result<GovernedPlan, Error> {
    governed_with(project, who, endpoint, arguments, Terms::default())
}

/// The governed plan of a call under a grant with these terms.
pub(crate) fn governed_with(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    arguments: &str,
    terms: Terms,
) -> Result<GovernedPlan, Error> {
    let mut raw = RawArguments::default();
    raw.add_json(arguments.as_bytes())?;
    governed_call(project, who, endpoint, raw, terms)
}

/// The governed plan of a call with raw arguments and modifiers.
pub(crate) fn governed_call(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    raw: RawArguments,
    terms: Terms,
) -> Result<GovernedPlan, Error> {
    asked(project, who, endpoint, raw, terms, DateTime::UNIX_EPOCH)
}

/// The governed plan of a call without arguments at this time.
pub(crate) fn governed_at(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    now: DateTime<Utc>,
) -> Result<GovernedPlan, Error> {
    asked(project, who, endpoint, RawArguments::default(), Terms::default(), now)
}

fn asked(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    raw: RawArguments,
    terms: Terms,
    now: DateTime<Utc>,
) -> Result<GovernedPlan, Error> {
    let start = DateTime::UNIX_EPOCH;
    let grant = Grant::new("g", Grantee::Principal("caller".to_owned()), EndpointPattern::All, start).with_terms(terms);
    let planned = project.find(endpoint).unwrap();
    let authorized = authorize(who, endpoint, &[grant], start).unwrap();
    govern(project, None, &call(authorized, Arc::clone(planned.endpoint()), raw, planned.rules())?, now)
}

/// The rows as lines.
pub(crate) async fn rows(plan: GovernedPlan) -> Result<Vec<String>, Error> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut stream = Embedded.run(plan, Limits::until(deadline)).await?;
    let mut lines = Vec::new();
    while let Some(batch) = stream.next().await? {
        lines.extend(lines_of(&batch));
    }
    Ok(lines)
}

/// The rows of a query as lines: read from files, then from resident tables.
pub(crate) async fn both_ways(lake: &Path, config: &str, sql: &str) -> [Result<Vec<String>, Error>; 2] {
    let project = project(lake, config, &[("e", sql)]).await;
    let ask = async || rows(governed(&project, &principal(""), "e", "{}")?).await;
    let cold = ask().await;
    // A table that cannot be read is not cached.
    let _ = project.keep_hot(1 << 26).await;
    [cold, ask().await]
}

fn lines_of(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
    let columns = columns.collect::<Vec<_>>();
    let line = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(line).collect()
}

/// The physical plan that the embedded engine would run.
pub(crate) async fn physical(plan: &GovernedPlan) -> Arc<dyn ExecutionPlan> {
    let session = plan.session();
    session.query_planner().create_physical_plan(&plan.plan().unwrap(), session.as_ref()).await.unwrap()
}

/// All rows of a table, without any policy.
async fn table_rows(lake: &Path, table: &str) -> (SchemaRef, Vec<RecordBatch>) {
    let name = format!("SELECT * FROM \"{table}\"");
    let project = project(lake, &ungoverned_config(), &[("all", &name)]).await;
    let plan = governed(&project, &principal(""), "all", "{}").unwrap();
    let physical = physical(&plan).await;
    let batches = collect(Arc::clone(&physical), plan.session().task_ctx()).await.unwrap();
    (physical.schema(), batches)
}

/// Writes rows into a Parquet file with row groups of two, so that row groups mix owners.
pub(crate) fn write_parquet(path: &Path, schema: &SchemaRef, rows: &[RecordBatch]) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(schema), None).unwrap();
    for (at, row) in rows.iter().enumerate() {
        writer.write(row).unwrap();
        if at % 2 == 1 {
            writer.flush().unwrap();
        }
    }
    writer.close().unwrap();
}

/// Writes a table of integers into a folder, and replaces an earlier one.
pub(crate) fn put(folder: &Path, table: &str, columns: &[(&str, &[i64])]) {
    let fields = columns.iter().map(|(name, _)| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>();
    let arrays = columns.iter().map(|(_, values)| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef);
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).unwrap();
    let new = folder.join("new");
    write_parquet(&new, &schema, &[rows]);
    std::fs::rename(new, folder.join(format!("{table}.parquet"))).unwrap();
}

pub(crate) fn one_by_one(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1))).collect()
}

/// These tables as Parquet files.
pub(crate) async fn parquet_lake(csv: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for table in TABLES {
        let (schema, batches) = table_rows(csv, table).await;
        write_parquet(&folder.path().join(format!("{table}.parquet")), &schema, &one_by_one(&batches));
    }
    folder
}

/// A lake of the rows that a caller may see, computed without any governance code.
pub(crate) async fn own_lake(lake: &Path, who: &Principal) -> TempDir {
    let ids = who.attribute("client_id").map(|value| value.scalars()).unwrap_or_default();
    let ids = ids.iter().map(Scalar::to_string).collect::<BTreeSet<_>>();
    let owner = who.attribute("owner").map(|value| value.scalars()[0].to_string());
    let is_operator = who.has_role("operator");
    let (mut trackcodes, mut orders) = (BTreeSet::new(), BTreeSet::new());
    let folder = tempfile::tempdir().unwrap();
    // Parents before children.
    for table in ["city", "client", "account", "trackcode", "order", "event"] {
        let (schema, batches) = table_rows(lake, table).await;
        let mut own = Vec::new();
        for row in one_by_one(&batches) {
            let line = lines_of(&row).remove(0);
            let cells = line.split('|').collect::<Vec<_>>();
            let visible = match table {
                "city" => true,
                "client" => is_operator || ids.contains(cells[0]),
                "account" => owner.as_deref().is_some_and(|owner| owner == cells[0]) && row.column(0).null_count() == 0,
                "trackcode" => is_operator || ids.contains(cells[1]),
                "order" => who.has_role("auditor") || trackcodes.contains(cells[1]),
                _ => orders.contains(cells[1]),
            };
            if visible {
                match table {
                    "trackcode" => trackcodes.insert(cells[0].to_owned()),
                    "order" => orders.insert(cells[0].to_owned()),
                    _ => true,
                };
                own.push(row);
            }
        }
        write_parquet(&folder.path().join(format!("{table}.parquet")), &schema, &own);
    }
    folder
}
