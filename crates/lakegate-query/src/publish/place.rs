//! A lake as a place to write to: its store, its URL, and its folder where it is on a disk of this machine.
//!
//! Reading goes another way (`lake`), in which nothing can be written.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use datafusion::object_store::ObjectStore;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path;
use url::Url;

use super::error::PublishError;

/// Where tables can be written.
#[derive(Clone, Debug)]
pub struct Place {
    /// Paths in it start at the bucket, or at the root of this machine's files.
    store: Arc<dyn ObjectStore>,
    /// The lake's root, with a slash at its end.
    url: Url,
    /// The same as a folder.
    folder: Option<PathBuf>,
}

impl Place {
    /// The lake in a folder of this machine.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn local(folder: &FilePath) -> Result<Self, PublishError> {
        let folder = folder.canonicalize().map_err(PublishError::file("open the lake's folder"))?;
        let url = Url::from_directory_path(&folder)
            .map_err(|()| PublishError::refused("the lake's folder has no URL", "give it a plain name"))?;
        Ok(Self { store: Arc::new(LocalFileSystem::new()), url, folder: Some(folder) })
    }

    /// The lake in an object store. `url` names the lake's root, and `store` has the whole bucket.
    pub(crate) fn remote(store: Arc<dyn ObjectStore>, mut url: Url) -> Self {
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Self { store, url, folder: None }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The lake's folder, if it is on a disk of this machine.
    pub(crate) fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    /// The path of something below the lake's root, in the store.
    pub(crate) fn path(&self, below: &str) -> Result<Path, PublishError> {
        let refused = || PublishError::refused(format!("`{below}` is not a path"), "check `location`");
        let root = Path::from_url_path(self.url.path()).map_err(|_| refused())?;
        let below = Path::parse(below.trim_matches('/')).map_err(|_| refused())?;
        Ok(Path::from_iter(root.parts().chain(below.parts())))
    }

    /// The URL of a folder below the lake's root, with a slash at its end.
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

    /// A path of this store without what lies above the lake, for messages.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let root = Path::from_url_path(self.url.path()).unwrap_or_default();
        let below = path.prefix_match(&root).map(|parts| parts.collect::<Path>());
        below.as_ref().unwrap_or(path).to_string()
    }
}
