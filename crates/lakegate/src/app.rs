//! What a running server holds: what is served now, the access, the engine and the audit log. Made once, shared by all
//! requests.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lakegate_core::project::Config;
use lakegate_query::engine::{Embedded, Engine, Limited};
use lakegate_query::plan::PlannedProject;
use tokio_util::task::AbortOnDropHandle;

use crate::audit::AuditLog;
use crate::identity::Identity;
use crate::mask_key;
use crate::project::{self, ProjectError};
use crate::store::Access;

/// The state of a server.
pub struct App {
    /// What is served now. A request takes it once, when it comes in.
    served: ArcSwap<Served>,
    /// Who may call.
    pub access: Access,
    /// What runs the queries.
    pub engine: Box<dyn Engine>,
    /// Where requests are recorded.
    pub audit: AuditLog,
}

/// A project and what goes with it, as one request sees it from its beginning to its end, whatever is served afterwards.
pub struct Served {
    /// The project.
    pub project: Arc<PlannedProject>,
    /// Who calls.
    pub identity: Arc<Identity>,
    /// Looks whether the key of masks was replaced.
    _mask_key: Option<AbortOnDropHandle<()>>,
}

impl App {
    /// Loads a project and puts it together with an access and the embedded engine.
    ///
    /// # Errors
    /// When the project has faults or its lake is not there.
    pub async fn load(folder: &Path, lake: Option<&str>, access: Access) -> Result<Self, ProjectError> {
        let project = project::load(folder, lake).await?;
        let memory = project.project().config.server.cache_limit_bytes;
        let (tables, bytes) = project.copy_to_memory(memory).await.map_err(ProjectError::Unread)?;
        tracing::info!(tables = tables.join(", "), megabytes = bytes >> 20, "tables in memory");
        let config = &project.project().config.server.audit;
        let audit =
            AuditLog::start(folder, config).map_err(|error| ProjectError::Audit(folder.join(&config.folder), error))?;
        let queries = project.project().config.server.max_concurrent_queries;
        let identity = Identity::start(&project.project().config.issuers, folder, access.clone()).await;
        let project = Arc::new(project);
        let mask_key = mask_key::watch(Arc::clone(&project), folder);
        let served = Served { project, identity: Arc::new(identity), _mask_key: mask_key };
        let engine = Box::new(Limited::new(Embedded, queries));
        Ok(Self { served: ArcSwap::from_pointee(served), access, engine, audit })
    }

    /// What is served now. Who asks twice may get two answers: take it once for each request.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }
}

impl Served {
    /// The project's `lakegate.toml`.
    pub fn config(&self) -> &Config {
        &self.project.project().config
    }
}
