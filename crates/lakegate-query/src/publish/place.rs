//! A lake as a write destination: its object store, its URL, and its folder if it is on a local disk.
//!
//! Reads go through `lake`, which cannot write.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use datafusion::object_store::ObjectStore;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path;
use url::Url;

use super::error::PublishError;

/// A lake that tables can be written to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Store paths start at the bucket, or at the root of the local file system.
    store: Arc<dyn ObjectStore>,
    /// URL of the lake's root, with a trailing slash.
    url: Url,
    /// The lake's root as a folder; `None` for an object store.
    folder: Option<PathBuf>,
}

impl Place {
    /// A lake in a local folder.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn local(folder: &FilePath) -> Result<Self, PublishError> {
        let folder = folder.canonicalize().map_err(PublishError::file("open the lake's folder"))?;
        let url = Url::from_directory_path(&folder)
            .map_err(|()| PublishError::refused("the lake's folder has no URL", "give it a plain name"))?;
        Ok(Self { store: Arc::new(LocalFileSystem::new()), url, folder: Some(folder) })
    }

    /// A lake in an object store. `url` is the lake's root, and `store` covers the whole bucket.
    pub(crate) fn remote(store: Arc<dyn ObjectStore>, mut url: Url) -> Self {
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Self { store, url, folder: None }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The lake's folder, if it is on a local disk.
    pub(crate) fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    /// Converts a path below the lake's root to a path in the store.
    pub(crate) fn path(&self, below: &str) -> Result<Path, PublishError> {
        let refused = || PublishError::refused(format!("`{below}` is not a path"), "check `location`");
        let root = Path::from_url_path(self.url.path()).map_err(|_| refused())?;
        let below = Path::parse(below.trim_matches('/')).map_err(|_| refused())?;
        Ok(Path::from_iter(root.parts().chain(below.parts())))
    }

    /// URL of a folder below the lake's root, with a trailing slash.
    pub(crate) fn folder_url(&self, below: &str) -> Result<Url, PublishError> {
        let mut url = self.url.clone();
        let below = below.trim_matches('/');
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| PublishError::refused("the lake's location has no path", "check `[lake] location`"))?;
            segments.pop_if_empty();
            segments.extend(below.split('/').filter(|part| !part.is_empty()));
            segments.push("");
        }
        Ok(url)
    }

    /// Path relative to the lake's root, for messages.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let root = Path::from_url_path(self.url.path()).unwrap_or_default();
        let below = path.prefix_match(&root).map(|parts| parts.collect::<Path>());
        below.as_ref().unwrap_or(path).to_string()
    }
}
