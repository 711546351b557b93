//! A store in which a path can name one version of a file: it is read as it was listed, or not at all.
//!
//! A plan is made with a file's footer, statistics and size. Should another file lie at its place by the time it is read,
//! the old numbers would be taken for truths about new rows: a column whose least and greatest value are equal becomes a
//! constant, and a row filter over it shows everything. So what a table reads is pinned, from its first footer on; and
//! nothing is written here.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::Notify;

/// What the first part of a pinned path begins with. No file of a lake is found below such a folder.
const PIN: &str = "@version-";

/// A store of files that are read only, each at the version that a path names.
#[derive(Debug)]
pub(super) struct Pinned {
    files: Arc<dyn ObjectStore>,
    /// Told when a file is not what it was.
    changed: Arc<Notify>,
}

/// The same file, which can only be read as it is now.
///
/// # Errors
/// A store that does not tell versions of a file apart.
pub(super) fn pin(object: &ObjectMeta) -> Result<ObjectMeta> {
    let tag = object.e_tag.as_ref().ok_or_else(|| Error::Generic {
        store: "lake",
        source: format!("nothing tells versions of `{}` apart", object.location).into(),
    })?;
    let tag = tag.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let location = Path::parse(format!("{PIN}{tag}/{}", object.location))?;
    Ok(ObjectMeta { location, ..object.clone() })
}

/// The path in the lake.
pub(super) fn plain(location: &Path) -> &str {
    let text = location.as_ref();
    text.strip_prefix(PIN).and_then(|pinned| pinned.split_once('/')).map_or(text, |(_, plain)| plain)
}

/// The tag of the version, and the path in the lake.
fn pinned(location: &Path) -> Option<(String, Path)> {
    let (tag, plain) = location.as_ref().strip_prefix(PIN)?.split_once('/')?;
    let byte = |at: usize| u8::from_str_radix(tag.get(at..at + 2)?, 16).ok();
    let bytes = (0..tag.len()).step_by(2).map(byte).collect::<Option<Vec<_>>>()?;
    Some((String::from_utf8(bytes).ok()?, Path::parse(plain).ok()?))
}

impl Pinned {
    pub(super) fn new(files: Arc<dyn ObjectStore>, changed: Arc<Notify>) -> Self {
        Self { files, changed }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lake")
    }
}

fn read_only<T>() -> Result<T> {
    Err(Error::NotImplemented { operation: "writing".to_owned(), implementer: "lake".to_owned() })
}

#[async_trait]
impl ObjectStore for Pinned {
    // `get_ranges` is left at its default, which asks here for each range: that is what keeps it to the version.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some((tag, plain)) = pinned(location) else { return self.files.get_opts(location, options).await };
        let got = self.files.get_opts(&plain, GetOptions { if_match: Some(tag), ..options }).await;
        if matches!(got, Err(Error::Precondition { .. } | Error::NotFound { .. })) {
            self.changed.notify_one();
        }
        let mut got = got?;
        got.meta.location = location.clone();
        Ok(got)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
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
