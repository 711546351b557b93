//! The state of a running server: the served project, the access store, the engine, the caches and the audit log.
//! Created once, and shared by all requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lakegate_core::project::Config;
use lakegate_query::engine::{Embedded, Engine, Limited, Waiting};
use lakegate_query::plan::PlannedProject;
use serde::Serialize;
use tokio::time::timeout;

use crate::audit::AuditLog;
use crate::identity::Identity;
use crate::limits::Rates;
use crate::memo::RequestMemo;
use crate::observe::Observer;
use crate::project::{self, ProjectError};
use crate::reload::{FileStamps, Reloads, TrackedFiles};
use crate::response_cache::ResponseCache;
use crate::status::ServerStatus;
use crate::store::Access;

/// The maximum number of attempts to load a project whose table files are replaced while they are read.
const MAX_TRIES: usize = 5;

/// The time that a reload waits for the indexes of new tables. The previous tables are served meanwhile, so that no
/// request waits for the indexes.
const INDEX_BUILD_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of a server.
pub struct App {
    /// The project that is served. A request loads it once when it arrives, and again for a stale-file retry.
    served: ArcSwap<Served>,
    /// Authentication and grants.
    pub access: Access,
    /// Runs the queries.
    pub engine: Box<dyn Engine>,
    /// The request counts of all principals.
    pub rates: Arc<Rates>,
    /// Records requests.
    pub audit: AuditLog,
    /// The log, metrics and traces.
    pub observer: Arc<Observer>,
    /// The result cache.
    pub response_cache: ResponseCache,
    /// The results of reloading.
    pub reloads: Reloads,
    /// The state of the process.
    pub status: Arc<ServerStatus>,
    source: ProjectSource,
}

/// The location of the project and its lake.
#[derive(Clone, Debug)]
struct ProjectSource {
    folder: PathBuf,
    lake: Option<String>,
    /// The state of the project's files before they were first read.
    stamps: FileStamps,
}

/// A project and the state that belongs to it. A request keeps the same one until it ends, whatever is served
/// afterwards.
pub struct Served {
    /// The project.
    pub project: Arc<PlannedProject>,
    /// Authenticates callers.
    pub identity: Arc<Identity>,
    /// The response memo.
    pub memo: RequestMemo,
}

/// The load of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EngineLoad {
    /// The maximum number of concurrent queries.
    pub slots: usize,
    /// Running queries.
    pub running: usize,
    /// Queued queries.
    pub waiting: usize,
    /// Principals with queued queries.
    pub principals_waiting: usize,
    /// Bytes that queries have reserved.
    pub memory_bytes: usize,
    /// Bytes that queries have spilled to disk.
    pub spilled_bytes: u64,
}

impl App {
    /// Loads a project, and combines it with the access store and the embedded engine.
    ///
    /// # Errors
    /// If the project has faults, or its lake is missing.
    pub async fn load(folder: &Path, lake: Option<&str>, access: Access) -> Result<Self, ProjectError> {
        let stamps = TrackedFiles::scan(folder);
        let served = Self::load_with_retries(folder, lake, &access).await?;
        let project = Arc::clone(&served.project);
        let config = &project.project().config.server.audit;
        let audit =
            AuditLog::start(folder, config).map_err(|error| ProjectError::Audit(folder.join(&config.folder), error))?;
        let observer = Observer::start(&project.project().config.observe);
        for (table, reason) in project.away().unavailable() {
            tracing::error!(table, %reason, "a table is unavailable: endpoints that need it answer 503");
        }
        let queries = project.project().config.server.max_concurrent_queries;
        let response_cache = ResponseCache::new(&project.project().config.cache);
        let (all, each) = project.project().config.limits.waiting(&project.project().config.server);
        if !project.can_spill() {
            tracing::warn!("queries can put nothing aside on disk: one that needs more than its memory fails");
        }
        let engine = Box::new(Limited::new(Embedded, queries, Waiting { all, each }));
        let source = ProjectSource { folder: folder.to_owned(), lake: lake.map(str::to_owned), stamps };
        let (reloads, rates) = (Reloads::default(), Arc::default());
        Ok(Self {
            served: ArcSwap::from_pointee(served),
            access,
            engine,
            rates,
            audit,
            observer,
            response_cache,
            reloads,
            source,
            status: Arc::default(),
        })
    }

    /// Loads the project and makes it ready. Retries if table files are replaced meanwhile.
    async fn load_with_retries(folder: &Path, lake: Option<&str>, access: &Access) -> Result<Served, ProjectError> {
        let mut tries = 1;
        loop {
            let project = project::load_after(folder, lake, None).await?;
            match Served::prepare(project, folder, access, None).await {
                Err(ProjectError::UnreadableTables(error)) if tries < MAX_TRIES => {
                    tracing::warn!(%error, "files of tables were replaced while they were read; they are read again");
                    tries += 1;
                }
                served => return served,
            }
        }
    }

    /// The load of the engine, for the admin API and metrics.
    pub fn engine_load(&self) -> EngineLoad {
        let (load, served) = (self.engine.load(), self.served());
        EngineLoad {
            slots: load.slots,
            running: load.running,
            waiting: load.waiting,
            principals_waiting: load.lanes_waiting,
            memory_bytes: served.project.memory_reserved(),
            spilled_bytes: served.project.spilled(),
        }
    }

    /// The project that is served now. Two calls may return different projects; call this once per request.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// The state of the project's files before they were first read.
    pub(crate) fn stamps_at_start(&self) -> &FileStamps {
        &self.source.stamps
    }

    /// The project folder.
    pub fn folder(&self) -> &Path {
        &self.source.folder
    }

    /// Reloads the project's files and serves them from now on. Running requests keep the previous project.
    ///
    /// # Errors
    /// If the project has faults. Then the previous project stays in service.
    pub(crate) async fn reload_project(&self) -> Result<Arc<Served>, ProjectError> {
        let before = self.served();
        let ProjectSource { folder, lake, .. } = &self.source;
        let project = project::load_after(folder, lake.as_deref(), Some(&before.project)).await?;
        self.serve(project, &before).await
    }

    /// Serves the same project over the current tables of the lake.
    ///
    /// # Errors
    /// If a table is unreadable. Then the previous tables stay in service.
    pub(crate) async fn refresh_tables(&self) -> Result<Arc<Served>, ProjectError> {
        let before = self.served();
        let project = project::refreshed(&before.project, &self.source.folder).await?;
        self.serve(project, &before).await
    }

    async fn serve(&self, project: PlannedProject, before: &Served) -> Result<Arc<Served>, ProjectError> {
        let served = Arc::new(Served::prepare(project, &self.source.folder, &self.access, Some(before)).await?);
        self.served.store(Arc::clone(&served));
        Ok(served)
    }
}

impl Served {
    /// Makes a project ready to serve: loads resident tables and issuer keys.
    async fn prepare(
        project: PlannedProject,
        folder: &Path,
        access: &Access,
        before: Option<&Self>,
    ) -> Result<Self, ProjectError> {
        let config = &project.project().config;
        let tables = project.keep_hot(config.server.cache_limit_bytes).await.map_err(ProjectError::UnreadableTables)?;
        tracing::info!(tables = tables.join(", "), megabytes = config.server.cache_limit_bytes >> 20, "hot tables");
        let identity = match before.filter(|before| before.config().issuers == config.issuers) {
            Some(before) => Arc::clone(&before.identity),
            None => Arc::new(Identity::start(&config.issuers, folder, access.clone()).await),
        };
        let project = Arc::new(project);
        let (indexed, warmed) = (Arc::clone(&project), Arc::clone(&project));
        let indexing = tokio::spawn(async move { indexed.index_as_before().await });
        // The previous project is still served.
        if before.is_some() {
            let _ = timeout(INDEX_BUILD_TIMEOUT, indexing).await;
        }
        // Runs in the background; only requests that need the same data wait for it.
        tokio::spawn(async move { warmed.warm().await });
        Ok(Self { project, identity, memo: RequestMemo::default() })
    }

    /// The project's `lakegate.toml`.
    pub fn config(&self) -> &Config {
        &self.project.project().config
    }
}
