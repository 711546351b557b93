//! What a running server holds: what is served now, the access, the engine and the audit log. Made once, shared by all
//! requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lakegate_core::project::Config;
use lakegate_query::engine::{Embedded, Engine, Limited, Waiting};
use lakegate_query::plan::PlannedProject;
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::audit::AuditLog;
use crate::identity::Identity;
use crate::limits::Rates;
use crate::mask_key;
use crate::observe::Observer;
use crate::project::{self, ProjectError};
use crate::reload::{Files, Reloads, Seen};
use crate::repeated::Repeated;
use crate::results::Results;
use crate::status::ServerStatus;
use crate::store::Access;

/// How often a project is loaded whose files are replaced while they are read.
const MOST_TRIES: usize = 5;

/// How long it may take to build the indexes of new tables while the ones before are served, so that no request waits for them.
const INDEX_FOR: Duration = Duration::from_secs(2);

/// The state of a server.
pub struct App {
    /// What is served now. A request takes it once, when it comes in; and again if it begins anew.
    served: ArcSwap<Served>,
    /// Who may call.
    pub access: Access,
    /// What runs the queries.
    pub engine: Box<dyn Engine>,
    /// How many requests who made.
    pub rates: Arc<Rates>,
    /// Where requests are recorded.
    pub audit: AuditLog,
    /// What operators get to see.
    pub observer: Arc<Observer>,
    /// Answers that are kept.
    pub results: Results,
    /// What came of looking for changes.
    pub reloads: Reloads,
    /// What the process knows of itself.
    pub status: Arc<ServerStatus>,
    source: Source,
}

/// Where what is served comes from.
#[derive(Clone, Debug)]
struct Source {
    folder: PathBuf,
    lake: Option<String>,
    /// The project's files before they were first read.
    seen: Seen,
}

/// A project and what goes with it, as one request sees it from its beginning to its end, whatever is served afterwards.
pub struct Served {
    /// The project.
    pub project: Arc<PlannedProject>,
    /// Who calls.
    pub identity: Arc<Identity>,
    /// Requests that were answered before.
    pub repeated: Repeated,
    /// Looks whether the key of masks was replaced.
    _mask_key: Option<AbortOnDropHandle<()>>,
}

/// How busy the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EngineLoad {
    /// How many queries may run at once.
    pub slots: usize,
    /// How many run.
    pub running: usize,
    /// How many wait.
    pub waiting: usize,
    /// Of how many principals.
    pub principals_waiting: usize,
    /// Memory that queries have reserved.
    pub memory_bytes: usize,
    /// What they have put aside on disk.
    pub spilled_bytes: u64,
}

impl App {
    /// Loads a project and puts it together with an access and the embedded engine.
    ///
    /// # Errors
    /// When the project has faults or its lake is not there.
    pub async fn load(folder: &Path, lake: Option<&str>, access: Access) -> Result<Self, ProjectError> {
        let seen = Files::look(folder);
        let served = Self::first(folder, lake, &access).await?;
        let project = Arc::clone(&served.project);
        let config = &project.project().config.server.audit;
        let audit =
            AuditLog::start(folder, config).map_err(|error| ProjectError::Audit(folder.join(&config.folder), error))?;
        let observer = Observer::start(&project.project().config.observe);
        for (table, reason) in project.away().unavailable() {
            tracing::error!(table, %reason, "a table is unavailable: endpoints that need it answer 503");
        }
        let queries = project.project().config.server.max_concurrent_queries;
        let results = Results::new(&project.project().config.cache);
        let (all, each) = project.project().config.limits.waiting(&project.project().config.server);
        if !project.can_spill() {
            tracing::warn!("queries can put nothing aside on disk: one that needs more than its memory fails");
        }
        let engine = Box::new(Limited::new(Embedded, queries, Waiting { all, each }));
        let source = Source { folder: folder.to_owned(), lake: lake.map(str::to_owned), seen };
        let (reloads, rates) = (Reloads::default(), Arc::default());
        Ok(Self {
            served: ArcSwap::from_pointee(served),
            access,
            engine,
            rates,
            audit,
            observer,
            results,
            reloads,
            source,
            status: Arc::default(),
        })
    }

    /// Loads the project and makes it ready; anew, where files of tables are replaced meanwhile.
    async fn first(folder: &Path, lake: Option<&str>, access: &Access) -> Result<Served, ProjectError> {
        let mut tries = 1;
        loop {
            let project = project::load_after(folder, lake, None).await?;
            match Served::of(project, folder, access, None).await {
                Err(ProjectError::Unread(error)) if tries < MOST_TRIES => {
                    tracing::warn!(%error, "files of tables were replaced while they were read; they are read again");
                    tries += 1;
                }
                served => return served,
            }
        }
    }

    /// How busy the engine is: for the admin API and for metrics.
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

    /// What is served now. Who asks twice may get two answers: take it once for each request.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// The project's files as they were before they were first read.
    pub(crate) fn seen_at_start(&self) -> &Seen {
        &self.source.seen
    }

    /// The project's folder.
    pub fn folder(&self) -> &Path {
        &self.source.folder
    }

    /// Reads the project's files again and serves what they say from now on; requests that run end as they began.
    ///
    /// # Errors
    /// When the project has faults. Then what was served is served on.
    pub(crate) async fn load_again(&self) -> Result<Arc<Served>, ProjectError> {
        let before = self.served();
        let Source { folder, lake, .. } = &self.source;
        let project = project::load_after(folder, lake.as_deref(), Some(&before.project)).await?;
        self.serve(project, &before).await
    }

    /// Serves the same project over the tables as they are in the lake now.
    ///
    /// # Errors
    /// When a table can not be read. Then what was served is served on.
    pub(crate) async fn refresh_tables(&self) -> Result<Arc<Served>, ProjectError> {
        let before = self.served();
        let project = project::refreshed(&before.project, &self.source.folder).await?;
        self.serve(project, &before).await
    }

    async fn serve(&self, project: PlannedProject, before: &Served) -> Result<Arc<Served>, ProjectError> {
        let served = Arc::new(Served::of(project, &self.source.folder, &self.access, Some(before)).await?);
        self.served.store(Arc::clone(&served));
        Ok(served)
    }
}

impl Served {
    /// Makes a project ready: tables that are kept hot, keys of issuers loaded, the key of masks watched.
    async fn of(
        project: PlannedProject,
        folder: &Path,
        access: &Access,
        before: Option<&Self>,
    ) -> Result<Self, ProjectError> {
        let config = &project.project().config;
        let tables = project.keep_hot(config.server.cache_limit_bytes).await.map_err(ProjectError::Unread)?;
        tracing::info!(tables = tables.join(", "), megabytes = config.server.cache_limit_bytes >> 20, "hot tables");
        let identity = match before.filter(|before| before.config().issuers == config.issuers) {
            Some(before) => Arc::clone(&before.identity),
            None => Arc::new(Identity::start(&config.issuers, folder, access.clone()).await),
        };
        let project = Arc::new(project);
        // From here on a key that is replaced is seen.
        let mask_key = mask_key::watch(Arc::clone(&project), folder);
        let (indexed, warmed) = (Arc::clone(&project), Arc::clone(&project));
        let indexing = tokio::spawn(async move { indexed.index_as_before().await });
        // Something is served meanwhile.
        if before.is_some() {
            let _ = timeout(INDEX_FOR, indexing).await;
        }
        // Nobody waits for it, but who needs the same.
        tokio::spawn(async move { warmed.warm().await });
        Ok(Self { project, identity, repeated: Repeated::default(), _mask_key: mask_key })
    }

    /// The project's `lakegate.toml`.
    pub fn config(&self) -> &Config {
        &self.project.project().config
    }
}
