//! Lists the log of a Delta table and serves it to the Delta kernel as a read-only object store.
//!
//! The kernel parses the log's contents.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::super::parquet::{FooterError, load};
use super::super::{Lake, TableFault, location};

/// Name of the log's folder in a table.
const FOLDER: &str = "_delta_log";

/// Whether a file name has the extension of a finished checkpoint, rather than of one still being written.
fn is_checkpoint(name: &str) -> bool {
    [".parquet", ".json"].iter().any(|extension| name.ends_with(extension))
}

/// The commit and checkpoint files of a log, by version.
#[derive(Debug)]
pub(super) struct Log {
    commits: BTreeMap<u64, ObjectMeta>,
    checkpoints: BTreeMap<u64, ObjectMeta>,
}

impl Log {
    pub(super) async fn list(lake: &Lake, folder: &Path, said: &str) -> std::result::Result<Self, TableFault> {
        let mut log = Self { commits: BTreeMap::new(), checkpoints: BTreeMap::new() };
        let of_log = folder.clone().join(FOLDER);
        for object in location::list(lake, of_log.as_ref()).await? {
            // Files in subfolders, such as staged commits that were never made, are not versions.
            if object.location.prefix_match(&of_log).is_none_or(|parts| parts.count() != 1) {
                continue;
            }
            let name = object.location.filename().unwrap_or_default();
            let digits = name.get(..20).filter(|digits| digits.bytes().all(|each| each.is_ascii_digit()));
            let Some(version) = digits.and_then(|digits| digits.parse::<u64>().ok()) else { continue };
            match &name[20..] {
                ".json" => log.commits.insert(version, object),
                rest if rest.starts_with(".checkpoint.") && is_checkpoint(rest) => {
                    log.checkpoints.insert(version, object)
                }
                _ => None,
            };
        }
        if log.commits.is_empty() && log.checkpoints.is_empty() {
            return Err(TableFault::new(format!("there is no Delta table at `{said}`"))
                .help("`location` is the folder that holds `_delta_log`"));
        }
        Ok(log)
    }

    /// Validates the footer of the checkpoint that `version` is read from, because the kernel allocates memory by it.
    pub(super) async fn check_checkpoint(&self, lake: &Lake, version: u64) -> std::result::Result<(), TableFault> {
        let Some((_, object)) = self.checkpoints.range(..=version).next_back() else { return Ok(()) };
        if !object.location.as_ref().ends_with(".parquet") {
            return Ok(());
        }
        match load(lake.store().as_ref(), object).await {
            Ok(_) => Ok(()),
            Err(FooterError::Store(error)) => {
                Err(location::unlisted(lake, format!("`{}` cannot be read", object.location), error))
            }
            Err(FooterError::Broken(text)) => {
                Err(TableFault::new(format!("`{}` cannot be read as a checkpoint: {text}", object.location))
                    .help("remove it, where the commits before it are still there"))
            }
        }
    }

    /// The newest version.
    pub(super) fn last(&self) -> u64 {
        let last = |files: &BTreeMap<u64, ObjectMeta>| files.keys().next_back().copied();
        last(&self.commits).max(last(&self.checkpoints)).unwrap_or_default()
    }

    /// A tag that changes with the newest version, and when another table replaces this one.
    pub(super) fn newest(&self) -> String {
        let last = self.last();
        let file = self.commits.get(&last).or(self.checkpoints.get(&last));
        format!("{last} {:?}", file.map(|file| (&file.e_tag, file.last_modified, file.size)))
    }

    /// The commit files that still exist, by version.
    pub(super) fn commits(&self) -> &BTreeMap<u64, ObjectMeta> {
        &self.commits
    }

    /// When the version's file was last modified, in microseconds since 1970; `None` if the file does not exist.
    pub(super) fn written(&self, version: u64) -> Option<i64> {
        let file = self.commits.get(&version).or(self.checkpoints.get(&version))?;
        Some(file.last_modified.timestamp_micros())
    }
}

/// A read-only view of a table's folder for the kernel: nothing above the folder is visible, and listings are sorted.
#[derive(Debug)]
pub(super) struct LogStoreView {
    store: Arc<dyn ObjectStore>,
    root: Option<PathBuf>,
    folder: Path,
}

impl LogStoreView {
    pub(super) fn new(lake: &Lake, folder: Path) -> Self {
        Self { store: Arc::clone(lake.store()), root: lake.root.clone(), folder }
    }

    fn in_lake(&self, path: &Path) -> Path {
        self.folder.parts().chain(path.parts()).collect()
    }

    fn in_table(&self, object: ObjectMeta) -> Option<ObjectMeta> {
        let location = object.location.prefix_match(&self.folder)?.collect();
        Some(ObjectMeta { location, ..object })
    }

    /// The folder's files sorted by path, an order that the kernel relies on.
    fn listed(&self, prefix: Option<&Path>, after: Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = self.in_lake(prefix.unwrap_or(&Path::default()));
        let listing = self.store.list(Some(&prefix));
        let view = Self { store: Arc::clone(&self.store), root: self.root.clone(), folder: self.folder.clone() };
        let sorted = async move {
            let mut objects = listing.try_collect::<Vec<_>>().await?;
            objects.sort_by(|one, other| one.location.cmp(&other.location));
            let objects = objects.into_iter().filter_map(|object| view.in_table(object));
            let objects = objects.filter(|object| !is_within_log(&object.location));
            let after = after.as_ref();
            let kept = objects.filter(|object| after.is_none_or(|after| object.location > *after)).collect::<Vec<_>>();
            Ok::<_, Error>(stream::iter(kept.into_iter().map(Ok)))
        };
        stream::once(sorted).try_flatten().boxed()
    }
}

impl fmt::Display for LogStoreView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("table")
    }
}

/// Whether a file is in a subfolder of the log. The kernel would treat a file there as a commit if it is named like
/// one; it requests those that it needs by path.
fn is_within_log(path: &Path) -> bool {
    let mut parts = path.parts();
    parts.next().is_some_and(|first| first.as_ref() == FOLDER) && parts.count() > 1
}

fn read_only<T>() -> Result<T> {
    Err(Error::NotImplemented { operation: "writing".to_owned(), implementer: "table".to_owned() })
}

#[async_trait]
impl ObjectStore for LogStoreView {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = self.in_lake(location);
        if location::leads_outside(self.root.as_deref(), &path) {
            let source = "it leads out of the lake".into();
            return Err(Error::NotFound { path: location.to_string(), source });
        }
        let mut got = self.store.get_opts(&path, options).await?;
        got.meta.location = location.clone();
        Ok(got)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = self.in_lake(prefix.unwrap_or(&Path::default()));
        let listed = self.store.list_with_delimiter(Some(&prefix)).await?;
        let in_table = |path: Path| path.prefix_match(&self.folder).map(Iterator::collect);
        let mut objects = listed.objects.into_iter().filter_map(|object| self.in_table(object)).collect::<Vec<_>>();
        objects.sort_by(|one, other| one.location.cmp(&other.location));
        Ok(ListResult { common_prefixes: listed.common_prefixes.into_iter().filter_map(in_table).collect(), objects })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        read_only()
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        read_only()
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { read_only() }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        read_only()
    }
}
