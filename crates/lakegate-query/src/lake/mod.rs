//! The lake: opens the store, finds tables in it and reads their files.
//!
//! Access to rows is decided elsewhere, in `govern`.

mod agreement;
#[cfg(test)]
mod agreement_tests;
mod believed;
#[cfg(test)]
mod broken_tests;
mod catalog;
mod columns;
mod contained;
mod contained_format;
mod conversion;
mod data_file;
mod deletes;
mod delta;
mod estimates;
#[cfg(test)]
mod evolution_tests;
mod footers;
#[cfg(test)]
mod formats_tests;
mod iceberg;
mod intervals;
pub(crate) mod layout;
mod location;
#[cfg(test)]
mod location_tests;
mod mapping;
mod meant;
#[cfg(test)]
mod nested_tests;
#[cfg(test)]
mod null_parents_tests;
pub(crate) mod object_reader;
mod parquet;
mod parquet_format;
mod pinned;
mod place;
mod plain;
pub mod records;
mod stamped;
#[cfg(test)]
mod statistics_tests;
mod store;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod unread;
#[cfg(test)]
mod uuid_tests;
mod values;
#[cfg(test)]
mod values_tests;
mod version;
mod widening;
mod widths;
pub mod write;
mod writers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path as StorePath;
use datafusion::object_store::{Error as StoreError, ObjectStoreExt};
use lakegate_core::error::Cause;
use lakegate_core::project::LakeStore;
use tokio::sync::Notify;
use url::Url;

pub(crate) use mapping::file_view;
pub(crate) use parquet::cached as cached_footer;
use pinned::Pinned;
use store::Contact;
pub(crate) use store::of_the_store;
pub use table::LakeTable;
pub(crate) use table::{PastFault, lake_table};
pub(crate) use text::MOST_COLUMNS;
pub use text::Skipped;
pub(crate) use text::is_text_fault;
pub(crate) use unread::{FileOf, unread};
pub use version::Snapshot;
pub(crate) use version::magnitude_only;

use crate::govern::fingerprint::Fingerprint;
use crate::publish::{Place, PublishError};

/// An open lake. Paths in it are relative to its root, so that no error reveals a path of the machine.
#[derive(Debug)]
pub struct Lake {
    /// The lake's folder; `None` for an object store.
    root: Option<PathBuf>,
    /// The lake's URI as the project writes it; a table's own metadata must stay below it. `None` for a folder.
    uri: Option<String>,
    /// The project's folder, the base of relative paths of catalogs and secrets.
    project: PathBuf,
    /// Sessions with catalogs.
    catalogs: catalog::Sessions,
    /// Fingerprint of the location and of how it is read.
    place: [u8; 32],
    store: Arc<dyn ObjectStore>,
    /// The bucket and the lake's URL in it; `None` for a folder.
    whole: Option<(Arc<dyn ObjectStore>, Url)>,
    url: ObjectStoreUrl,
    changed: Arc<Notify>,
    contact: Arc<Contact>,
    /// Parts of files that have passed their checks.
    verified: Arc<parquet::Verified>,
}

/// Why a lake cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// An invalid location; the text ends a sentence. The location is not repeated, because it may contain a password.
    #[error(
        "the location of the lake {0}; give a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`"
    )]
    Location(&'static str),
    /// The folder does not exist.
    #[error("there is no lake at `{0}`; check `[lake] location`, or give `--lake`")]
    Missing(String, #[source] std::io::Error),
    /// A secret is missing where the project expects it.
    #[error("{0}")]
    Credentials(String),
    /// The store refuses the connection.
    #[error("the lake at `{0}` cannot be opened; check [lake] and the environment")]
    Store(String, #[source] datafusion::object_store::Error),
}

/// Timeout of the request that asks whether a store answers again.
const ASK_FOR: Duration = Duration::from_secs(2);

/// Why a table cannot be used, for `check`.
#[derive(Debug)]
pub(crate) struct TableFault {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) source: Option<Cause>,
    /// Whether the table itself is fine and only cannot be read at the moment.
    pub(crate) is_passing: bool,
    /// Why the requested version does not exist; `None` for other faults.
    pub(crate) no_version: Option<version::NoVersion>,
    /// Whether reading the table is no longer allowed. Then its earlier version is not served either.
    pub(crate) is_withdrawn: bool,
}

impl Lake {
    /// Opens the lake at a location: a folder, relative to the project's, or a URL in an object store. Sends no request
    /// to the store.
    ///
    /// # Errors
    /// When the folder does not exist, the location's scheme is not supported, or credentials are missing.
    pub fn open(project: &Path, location: &str, settings: &LakeStore) -> Result<Self, LakeError> {
        let url = ObjectStoreUrl::parse("lake://files")
            .map_err(|error| LakeError::Store(location.to_owned(), generic(error.to_string())))?;
        let location = location.strip_prefix("file://").unwrap_or(location);
        let (changed, contact) = (Arc::new(Notify::new()), Arc::new(Contact::default()));
        let (root, place, whole, pinned) = if store::is_remote(location) {
            let opened = store::open(project, location, settings)?;
            let pinned = Pinned::new(opened.store, Arc::clone(&changed), Arc::clone(&contact));
            (None, opened.place, Some(opened.whole), pinned)
        } else {
            let missing = |error| LakeError::Missing(location.to_owned(), error);
            let root = project.join(location).canonicalize().map_err(missing)?;
            if !root.is_dir() {
                return Err(missing(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
            }
            let files = LocalFileSystem::new_with_prefix(&root)
                .map_err(|error| LakeError::Store(location.to_owned(), error))?;
            let mut place = Fingerprint::new("lakegate lake folder v1");
            place.part(root.as_os_str().as_encoded_bytes());
            let pinned = Pinned::of_folder(Arc::new(files), Arc::clone(&changed), Arc::clone(&contact));
            (Some(root), place.bytes(), None, pinned)
        };
        let uri = root.is_none().then(|| location.trim_end_matches('/').to_owned());
        Ok(Self {
            root,
            uri,
            project: project.to_owned(),
            catalogs: Default::default(),
            place,
            store: Arc::new(pinned),
            whole,
            url,
            changed,
            contact,
            verified: Arc::default(),
        })
    }

    /// Whether a path is a symlink out of the lake.
    pub(crate) fn leads_outside(&self, path: &datafusion::object_store::path::Path) -> bool {
        location::leads_outside(self.root.as_deref(), path)
    }

    /// The lake's folder with symlinks resolved; `None` for an object store.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The lake as a place to write to.
    ///
    /// # Errors
    /// When its folder does not exist any more.
    pub fn place(&self) -> Result<Place, PublishError> {
        match (&self.root, &self.whole) {
            (None, Some((store, url))) => Ok(Place::remote(Arc::clone(store), url.clone())),
            (root, _) => Place::local(root.as_deref().unwrap_or(Path::new(""))),
        }
    }

    pub(crate) fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    /// Completes when a reader has found that a file is no longer the version that is served.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether both lakes have the same location and are read in the same way.
    pub fn is_at_the_place_of(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// Whether the lake is in an object store, which may be unavailable.
    pub(crate) fn is_remote(&self) -> bool {
        self.root.is_none()
    }

    /// Whether the store did not answer the last request.
    pub fn is_lost(&self) -> bool {
        self.contact.is_lost()
    }

    /// Whether the lake is reachable, for readiness: its folder exists, or its store answers. Sends a request only when
    /// the store did not answer the last one.
    pub async fn is_reachable(&self) -> bool {
        if let Some(root) = self.root.clone() {
            // A disk that hangs must not block the threads that run requests.
            return tokio::task::spawn_blocking(move || root.is_dir()).await.unwrap_or(false);
        }
        if !self.contact.is_lost() {
            return true;
        }
        // A response that the file does not exist is an answer, too.
        let path = StorePath::from(".lakegate");
        let asked = tokio::time::timeout(ASK_FOR, self.store.head(&path)).await;
        asked.is_ok() && !self.contact.is_lost()
    }
}

fn generic(text: String) -> StoreError {
    StoreError::Generic { store: "lake", source: text.into() }
}

pub(crate) use catalog::restrictions::{Action as CatalogAction, Restrictions, fixed_value};

impl TableFault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            source: None,
            is_passing: false,
            no_version: None,
            is_withdrawn: false,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets whether a retry may succeed.
    pub(crate) fn passing(mut self, is_passing: bool) -> Self {
        self.is_passing = is_passing;
        self
    }

    /// Marks the table as no longer allowed to be read.
    pub(crate) fn withdrawn(mut self) -> Self {
        self.is_withdrawn = true;
        self
    }

    pub(crate) fn no_version(mut self, why: version::NoVersion) -> Self {
        self.no_version = Some(why);
        self
    }

    pub(crate) fn source(mut self, source: impl Into<Cause>) -> Self {
        self.source = Some(source.into());
        self
    }
}
