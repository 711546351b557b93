//! Parses and checks `lakegate.toml`: the lake, the access store, the server, and the tables with their policies.
//!
//! Row filters are kept as text here; `lakegate_query` checks their SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::access;
use super::admin::{self, AdminApi};
use super::audit::{self, Audit};
use super::cache::{self, Cache};
use super::catalog::{self, Catalog, TableFormat};
use super::column::{self, ColumnRequirements, ColumnRule, Masking, TagRule};
use super::docs::{self, Docs};
use super::finding::{Finding, Position, suggest_or_list};
use super::formats::{self, Formats};
use super::hot::{self, Hot};
use super::http::{self, Http};
use super::issuer::{self, Issuer};
use super::lake::{self, LakeStore};
use super::limits::{self, ServerLimits};
use super::name;
use super::observe::{self, Observe};
use super::reader::{Section, SpannedValue, TomlSource};
use super::reload::{self, Reload};
use super::settings;
use super::text_files::{self, TextFiles};
use super::variables::{ReadKeys, Variables};
use crate::access::name::NameKind;
use crate::value::ScalarType;

/// The file's name in a project folder.
pub const CONFIG_FILE: &str = "lakegate.toml";

/// The prefix of a row filter that nobody has decided on yet. A project with it is invalid.
pub const UNDECIDED: &str = concat!("TO", "DO");

/// The checked content of `lakegate.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The location of the lake: a path relative to the project folder, or a URL.
    pub lake_location: String,
    /// The connection settings of the lake's object store.
    pub lake_store: LakeStore,
    /// The access store, such as `sqlite:access.db`; a path in it is relative to the project folder.
    pub access_store: String,
    /// Attributes of principals whose values are never logged, explained or listed.
    pub secret_attributes: BTreeSet<String>,
    /// Listening and the main limits of the server.
    pub server: Server,
    /// The intervals of checks for changes.
    pub reload: Reload,
    /// The cache of results.
    pub cache: Cache,
    /// The formats of responses.
    pub formats: Formats,
    /// The limits of connections, TLS and shutdown.
    pub http: Http,
    /// The limits of every call.
    pub limits: ServerLimits,
    /// The admin API, if it is served.
    pub admin: Option<AdminApi>,
    /// Logging, metrics and traces for operators.
    pub observe: Observe,
    /// The page for exploring the endpoints.
    pub docs: Docs,
    /// The issuers of JWTs that this server accepts, by name.
    pub issuers: BTreeMap<String, Issuer>,
    /// The catalogs of Iceberg tables, by name.
    pub catalogs: BTreeMap<String, Catalog>,
    /// The tables by name.
    pub tables: BTreeMap<String, Table>,
    /// The names of all tables, including those that could not be read.
    pub declared: BTreeSet<String>,
    /// The tags that columns may have, by name.
    pub tags: BTreeMap<String, TagRule>,
    /// The location of the key for masks.
    pub masking: Masking,
    /// Environment variables that start with `LAKEGATE_` but have no effect.
    pub warnings: Vec<Finding>,
    /// The origins of the values of keys.
    pub(super) read_keys: ReadKeys,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address and port.
    pub listen: String,
    /// A path that serves the endpoints in addition to `/api`, for clients that migrate to lakegate; starts with `/`.
    pub base_path: Option<String>,
    /// Maximum time of a query.
    pub timeout: Duration,
    /// Maximum size of a request body, in bytes.
    pub max_body_bytes: usize,
    /// Maximum number of running queries; further ones wait.
    pub max_concurrent_queries: usize,
    /// The memory of all running queries together, in bytes.
    pub memory_limit_bytes: usize,
    /// The size of the block cache for decoded lake files, in bytes; 0 disables it.
    pub cache_limit_bytes: usize,
    /// The audit log.
    pub audit: Audit,
}

/// `[tables.NAME]`: files of the lake under a name, with the policy that protects them.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name in SQL.
    pub name: String,
    /// A file, a folder or a glob below the lake.
    pub location: String,
    /// The file format; `None` derives it from the files' extension.
    pub format: Option<FileFormat>,
    /// The table format; `None` for plain files.
    pub table_format: Option<TableFormat>,
    /// The format details of text files.
    pub text: TextFiles,
    /// Types of hive partition columns; other partition columns are strings.
    pub partitions: BTreeMap<String, ScalarType>,
    /// Whether its decoded blocks stay in the block cache.
    pub hot: Hot,
    /// The row policy.
    pub policy: RowPolicy,
    /// Columns with tags or a mask, in the order of the file.
    pub columns: Vec<ColumnRule>,
    /// Position of the declaration.
    pub position: Position,
    /// Position of the location.
    pub location_position: Position,
}

/// The rows of a table that a caller sees.
#[derive(Clone, Debug)]
pub enum RowPolicy {
    /// All rows, for every caller with a grant.
    Shared,
    /// The rows for which the filter is true.
    Filtered {
        /// A SQL predicate; `principal('x')` stands for an attribute of the caller.
        filter: String,
        /// Position of the predicate.
        position: Position,
        /// Roles that see every row.
        unfiltered_for: Vec<String>,
    },
}

/// The format of a table's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Lines of values separated by a delimiter.
    Csv,
    /// Lines of JSON objects.
    NdJson,
}

impl FileFormat {
    /// The extension of such files, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
            FileFormat::NdJson => "ndjson",
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            base_path: None,
            timeout: Duration::from_secs(60),
            max_body_bytes: 1 << 20,
            max_concurrent_queries: 64,
            memory_limit_bytes: 2 << 30,
            cache_limit_bytes: 512 << 20,
            audit: Audit::default(),
        }
    }
}

/// Reads the file and the environment variables that override it. With findings, the config holds whatever could be
/// read.
pub(crate) fn read(text: &str, variables: &BTreeMap<String, String>) -> (Config, Vec<Finding>) {
    let (source, table) = TomlSource::new(CONFIG_FILE, text, 0..text.len());
    let source = source.with_variables(Variables::new(variables, text.len()));
    let mut root = Section::root(&source, table.get_ref());

    let (lake_location, lake_store) = match root.section("lake").map(lake::read) {
        Some(read) => read,
        None => {
            source.report(
                &(0..0),
                "there is no [lake] section",
                Some("add `[lake]` with `location = \"lake/\"`".into()),
            );
            (None, LakeStore::default())
        }
    };
    let access = root.section("access").map(access::read).unwrap_or_default();
    let server = root.section("server").map(read_server).unwrap_or_default();
    let reload = root.section("reload").map(reload::read).unwrap_or_default();
    let cache = root.section("cache").map(cache::read).unwrap_or_default();
    let formats = root.section("formats").map(formats::read).unwrap_or_default();
    let limits = root.section("limits").map(limits::read_server).unwrap_or_default();
    let observe = root.section("observe").map(observe::read).unwrap_or_default();
    let http = root.section("http").map(http::read).unwrap_or_default();
    let admin = root.section("admin").and_then(admin::read);
    let issuers = root.policy_section("issuers").map(issuer::read_all).unwrap_or_default();
    let docs = root.section("docs").map(docs::read).unwrap_or_default();
    let catalogs = root.policy_section("catalogs").map(catalog::read_all).unwrap_or_default();
    let (mut tables, mut declared) = (BTreeMap::new(), BTreeSet::new());
    let mut requirements = ColumnRequirements::default();
    if let Some(section) = root.policy_section("tables") {
        for (name, table) in section.named_sections() {
            declared.insert(name.value.clone());
            if let Some(table) = read_table(&name, table, &catalogs, &mut requirements) {
                tables.insert(name.value, table);
            }
        }
    }
    let tags = column::read_tags(&mut root, &mut requirements);
    let masking = column::read_masking(&mut root);
    column::check_requirements(&source, requirements, &tags, masking.position.is_some());
    root.finish();

    let mut config = Config {
        lake_location: lake_location.unwrap_or_else(|| ".".to_owned()),
        lake_store,
        access_store: access.store,
        secret_attributes: access.secret_attributes,
        server,
        reload,
        cache,
        formats,
        http,
        limits,
        admin,
        observe,
        docs,
        issuers,
        catalogs,
        tables,
        declared,
        tags,
        masking,
        warnings: Vec::new(),
        read_keys: source.variables().read_keys(),
    };
    config.warnings = settings::unknown_variables(&config, source.variables());
    (config, source.into_findings())
}

fn read_server(mut section: Section<'_, '_>) -> Server {
    let default = Server::default();
    let source = section.source();
    let listen = section.string("listen").and_then(|listen| match listen.value.parse::<std::net::SocketAddr>() {
        Ok(_) => Some(listen.value),
        Err(_) => {
            source.report(
                &listen.span,
                format!("`{}` is not an address and a port", listen.value),
                Some("write it like `127.0.0.1:8080`".into()),
            );
            None
        }
    });
    let base_path = section.string("base_path").and_then(|path| match name::base_path_fault(&path.value) {
        None => Some(path.value),
        Some(fault) => {
            source.report(
                &path.span,
                format!("`base_path` {fault}"),
                Some("write it like `/prod`, or `/` for none".into()),
            );
            None
        }
    });
    let timeout = section.integer("timeout_seconds", 1..=86_400);
    let max_body_bytes = section.integer("max_body_bytes", 1..=(1 << 30));
    let max_concurrent_queries = section.integer("max_concurrent_queries", 1..=10_000);
    let memory_limit_mb = section.integer("memory_limit_mb", 16..=(1 << 24));
    let cache_limit_mb = section.integer("cache_limit_mb", 0..=(1 << 24));
    let audit = audit::read(&mut section);
    section.finish();
    let megabytes =
        |spanned: Option<SpannedValue<u64>>, default: usize| spanned.map_or(default, |mb| (mb.value as usize) << 20);
    Server {
        listen: listen.unwrap_or(default.listen),
        base_path,
        timeout: timeout.map_or(default.timeout, |seconds| Duration::from_secs(seconds.value)),
        max_body_bytes: max_body_bytes.map_or(default.max_body_bytes, |bytes| bytes.value as usize),
        max_concurrent_queries: max_concurrent_queries
            .map_or(default.max_concurrent_queries, |count| count.value as usize),
        memory_limit_bytes: megabytes(memory_limit_mb, default.memory_limit_bytes),
        cache_limit_bytes: megabytes(cache_limit_mb, default.cache_limit_bytes),
        audit,
    }
}

fn read_table(
    name: &SpannedValue<String>,
    mut section: Section<'_, '_>,
    catalogs: &BTreeMap<String, Catalog>,
    requirements: &mut ColumnRequirements,
) -> Option<Table> {
    let source = section.source();
    let position = source.position(&name.span);
    if let Some(fault) = name::sql_name_fault(&name.value) {
        source.report(&name.span, format!("table name `{}` {fault}", name.value), None);
    }
    let has_location = section.has("location");
    let location = section.string("location");
    let mut table_format = None;
    let format = section.string("format").and_then(|format| match format.value.as_str() {
        "parquet" => Some(FileFormat::Parquet),
        "csv" => Some(FileFormat::Csv),
        "ndjson" => Some(FileFormat::NdJson),
        "delta" => {
            table_format = Some(TableFormat::Delta);
            None
        }
        "iceberg" => {
            table_format = Some(TableFormat::Iceberg { entry: None });
            None
        }
        other => {
            let help = "use `parquet`, `csv`, `ndjson`, `delta` or `iceberg`";
            source.report(&format.span, format!("`{other}` is not a format"), Some(help.into()));
            None
        }
    });
    // The files of a table format are Parquet, so text options have no effect and are reported.
    let text = text_files::read(&mut section, format.or(table_format.is_some().then_some(FileFormat::Parquet)));
    let entry = catalog::read_entry(&mut section, matches!(table_format, Some(TableFormat::Iceberg { .. })), catalogs);
    let is_in_catalog = !matches!(entry, Ok(None));
    if !has_location && !is_in_catalog {
        let help = format!("say where the files are below the lake, such as `location = \"{}/\"`", name.value);
        source.report(&name.span, format!("table `{}` has no `location`", name.value), Some(help));
    }
    if let (Some(location), true) = (&location, is_in_catalog) {
        source.report(
            &location.span,
            "a table in a catalog has no `location`: the catalog says it",
            Some("remove it".into()),
        );
    }
    let partitions = section.section("partitions").map(|partitions| {
        if table_format.is_some() {
            source.report(
                partitions.span(),
                "`partitions` is for files as they lie; the table itself says how it is partitioned",
                Some("remove it".into()),
            );
        }
        read_partitions(partitions)
    });
    let hot = hot::read(&mut section);
    let policy = read_policy(name, &mut section);
    let columns = column::read_columns(&mut section, requirements);
    section.finish();
    let entry = entry.ok()?;
    // The catalog locates the table. Report its faults where the table is declared.
    let location = match &entry {
        Some(_) => SpannedValue { value: String::new(), span: name.span.clone() },
        None => location?,
    };
    if entry.is_some() {
        table_format = Some(TableFormat::Iceberg { entry });
    } else if let Some(fault) = name::location_fault(&location.value) {
        source.report(
            &location.span,
            format!("location `{}` {fault}", location.value),
            Some("a table's files lie below the lake's location".into()),
        );
        return None;
    }
    Some(Table {
        name: name.value.clone(),
        location_position: source.position(&location.span),
        location: location.value,
        format,
        table_format,
        text,
        partitions: partitions.unwrap_or_default(),
        hot,
        policy: policy?,
        columns,
        position,
    })
}

fn read_partitions(section: Section<'_, '_>) -> BTreeMap<String, ScalarType> {
    let source = section.source();
    let mut partitions = BTreeMap::new();
    for (column, type_name) in section.named_strings() {
        match ScalarType::from_name(&type_name.value) {
            Some(scalar @ (ScalarType::String | ScalarType::Integer | ScalarType::Date)) => {
                partitions.insert(column.value, scalar);
            }
            _ => source.report(
                &type_name.span,
                format!("`{}` is not a type of a partition column", type_name.value),
                Some("use `string`, `integer` or `date`".into()),
            ),
        }
    }
    partitions
}

/// Reads the row policy, which is required: otherwise the project is not served.
fn read_policy(name: &SpannedValue<String>, section: &mut Section<'_, '_>) -> Option<RowPolicy> {
    let source = section.source();
    let is_given = section.has("row_filter") || section.has("shared");
    let filter = section.string("row_filter");
    let shared = section.boolean("shared");
    let unfiltered_for = section.strings("unfiltered_for");
    for role in unfiltered_for.iter().flat_map(|roles| &roles.value) {
        if let Err(fault) = NameKind::Role.check(&role.value) {
            source.report(&role.span, fault.to_string(), None);
        }
    }
    match (filter, shared) {
        (Some(filter), None) => {
            if filter.value.trim().is_empty() {
                source.report(
                    &filter.span,
                    "`row_filter` is empty",
                    Some("write a predicate, or `shared = true` when every caller may see all rows".into()),
                );
                return None;
            }
            if let Some(suggested) = suggested(&filter.value) {
                report_undecided(source, name, &filter.span, suggested);
                return None;
            }
            let roles = unfiltered_for.map(|roles| roles.value).unwrap_or_default();
            Some(RowPolicy::Filtered {
                filter: filter.value,
                position: source.position(&filter.span),
                unfiltered_for: roles.into_iter().map(|role| role.value).collect(),
            })
        }
        (None, Some(SpannedValue { value: true, .. })) => {
            if let Some(roles) = unfiltered_for {
                source.report(
                    &roles.span,
                    "`unfiltered_for` has no meaning on a shared table",
                    Some("remove it".into()),
                );
            }
            Some(RowPolicy::Shared)
        }
        (Some(_), Some(shared)) => {
            source.report(
                &shared.span,
                format!("table `{}` has a `row_filter` and says `shared`", name.value),
                Some("keep one of them".into()),
            );
            None
        }
        // An invalid value was already reported.
        (None, None) if is_given => None,
        (None, _) => {
            let help = "add `row_filter = \"client_id = principal('client_id')\"`, or `shared = true` when every caller may see all rows";
            source.report(
                &name.span,
                format!("table `{}` has neither `row_filter` nor `shared`", name.value),
                Some(help.into()),
            );
            None
        }
    }
}

/// The suggestion in an undecided row filter, which may be empty; `None` if the filter is decided.
fn suggested(filter: &str) -> Option<&str> {
    let rest = filter.trim().strip_prefix(UNDECIDED)?;
    let is_longer_word = rest.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '(');
    (!is_longer_word).then(|| rest.trim_start_matches(':').trim())
}

fn report_undecided(
    source: &TomlSource<'_>,
    name: &SpannedValue<String>,
    span: &std::ops::Range<usize>,
    suggested: &str,
) {
    let message = format!("nobody has decided yet who sees the rows of table `{}`", name.value);
    let help = match suggested {
        "" => "write a `row_filter`, such as `client_id IN (principal('client_id'))`, or `shared = true` in its place when \
               every caller may see all rows"
            .to_owned(),
        suggested => format!(
            "take `{UNDECIDED}` away if `{suggested}` is right, write another `row_filter`, or `shared = true` in its place \
             when every caller may see all rows"
        ),
    };
    source.report(span, message, Some(help));
}

impl Config {
    /// The table with this name, or a help text if there is none.
    pub fn table(&self, name: &str) -> Result<&Table, String> {
        self.tables.get(name).ok_or_else(|| suggest_or_list(name, self.declared.iter().map(String::as_str)))
    }
}
