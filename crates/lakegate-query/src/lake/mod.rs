//! The lake: where the files are, how tables are found in them, and how they are read.
//!
//! Who may see which rows is not decided here: see `govern`.

mod columns;
mod location;
#[cfg(test)]
mod location_tests;
mod memory;
mod owners;
mod pinned;
pub mod records;
mod table;
pub mod write;
mod zones;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::local::LocalFileSystem;
use lakegate_core::error::Source;
use tokio::sync::Notify;

pub(crate) use memory::memory_scan_size;
pub(crate) use owners::OWNER_COLUMN;
use pinned::Pinned;
pub use table::{LakeTable, Snapshot};
pub(crate) use table::{PastFault, lake_table, magnitude_only};

/// An open lake. Paths in it are relative to its root, so that no error names a place of the machine.
#[derive(Debug)]
pub struct Lake {
    root: PathBuf,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
    changed: Arc<Notify>,
}

/// Why a lake can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A scheme that is not read yet.
    #[error("`{0}` is not a lake that can be read; give a folder")]
    Scheme(String),
    /// No such folder.
    #[error("there is no lake at `{0}`; check `[lake] location`, or give `--lake`")]
    Missing(String, #[source] std::io::Error),
    /// The store refuses.
    #[error("the lake at `{0}` can not be opened")]
    Store(String, #[source] datafusion::object_store::Error),
}

/// Why a table can not be used, for `check`.
#[derive(Debug)]
pub(crate) struct TableFault {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) source: Option<Source>,
}

impl Lake {
    /// Opens the lake at a location, relative to the project's folder.
    ///
    /// # Errors
    /// When there is no such folder, or the location is of a kind that is not read.
    pub fn open(project: &Path, location: &str) -> Result<Self, LakeError> {
        let location = location.strip_prefix("file://").unwrap_or(location);
        if location.contains("://") {
            return Err(LakeError::Scheme(location.to_owned()));
        }
        let missing = |error| LakeError::Missing(location.to_owned(), error);
        let root = project.join(location).canonicalize().map_err(missing)?;
        if !root.is_dir() {
            return Err(missing(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
        }
        let store =
            LocalFileSystem::new_with_prefix(&root).map_err(|error| LakeError::Store(location.to_owned(), error))?;
        let url = ObjectStoreUrl::parse("lake://files").map_err(|error| LakeError::Scheme(error.to_string()))?;
        let changed = Arc::new(Notify::new());
        let store = Arc::new(Pinned::new(Arc::new(store), Arc::clone(&changed)));
        Ok(Self { root, store, url, changed })
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    /// Done when somebody has found that a file is no longer the one that is served.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether this is the lake at the same place.
    pub fn is_at_the_place_of(&self, other: &Self) -> bool {
        self.root == other.root
    }

    /// Whether the lake's folder is there, for readiness.
    pub fn is_reachable(&self) -> bool {
        self.root.is_dir()
    }
}

impl TableFault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, source: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }
}
