//! What a running server holds: the project, the access and the engine. Made once, shared by all requests.

use std::path::Path;
use std::sync::Arc;

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
    /// The project that is served.
    pub project: Arc<PlannedProject>,
    /// Who may call.
    pub access: Access,
    /// Who calls.
    pub identity: Identity,
    /// What runs the queries.
    pub engine: Box<dyn Engine>,
    /// Where requests are recorded.
    pub audit: AuditLog,
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
        let engine = Box::new(Limited::new(Embedded, queries));
        Ok(Self { project, access, identity, engine, audit, _mask_key: mask_key })
    }
}
