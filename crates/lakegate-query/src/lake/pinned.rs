//! A versioned reader: an object store whose paths can name one version of a file. A read returns that version or
//! fails.
//!
//! A plan is made from a file's footer, statistics and size. If another file replaced it before it is read, the old
//! numbers would be taken for facts about the new rows: a column with equal min and max becomes a constant, and a row
//! filter over it lets every row through. So every file of a table is pinned, from its first footer read on, and this
//! store never writes. Not every server honours `If-Match`, and some connections end early without an error, so the
//! reader compares the returned ETag and counts the bytes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::Notify;

use super::stamped;
use super::store::{Contact, without_secrets};

/// Prefix of the first segment of a pinned path. No file of a lake is in such a folder.
const PIN: &str = "@version-";

/// A read-only store that serves each file at the version its path names.
#[derive(Debug)]
pub(super) struct Pinned {
    files: Arc<dyn ObjectStore>,
    /// Notified when a file is no longer the pinned version.
    changed: Arc<Notify>,
    /// Records whether the store answers.
    contact: Arc<Contact>,
    /// The store as a local folder when it is one; `None` for a store behind HTTP, where ETags are quoted.
    folder: Option<Arc<LocalFileSystem>>,
}

/// The object with a path that can only read this version of it.
///
/// # Errors
/// When the store has no ETag for the file.
pub(super) fn pin(object: &ObjectMeta) -> Result<ObjectMeta> {
    let tag = object.e_tag.as_ref().ok_or_else(|| Error::Generic {
        store: "lake",
        source: format!("nothing tells versions of `{}` apart", object.location).into(),
    })?;
    let tag = HEXLOWER.encode(tag.as_bytes());
    let location = Path::parse(format!("{PIN}{tag}/{}", object.location))?;
    Ok(ObjectMeta { location, ..object.clone() })
}

/// The path in the lake.
pub(super) fn plain(location: &Path) -> &str {
    let text = location.as_ref();
    text.strip_prefix(PIN).and_then(|pinned| pinned.split_once('/')).map_or(text, |(_, plain)| plain)
}

/// The ETag and the path in the lake; `None` when the path is not pinned.
fn pinned(location: &Path) -> Option<(String, Path)> {
    let (tag, plain) = location.as_ref().strip_prefix(PIN)?.split_once('/')?;
    let bytes = HEXLOWER.decode(tag.as_bytes()).ok()?;
    Some((String::from_utf8(bytes).ok()?, Path::parse(plain).ok()?))
}

impl Pinned {
    pub(super) fn new(files: Arc<dyn ObjectStore>, changed: Arc<Notify>, contact: Arc<Contact>) -> Self {
        Self { files, changed, contact, folder: None }
    }

    /// The store of a local folder.
    pub(super) fn of_folder(files: Arc<LocalFileSystem>, changed: Arc<Notify>, contact: Arc<Contact>) -> Self {
        Self { folder: Some(Arc::clone(&files)), ..Self::new(files, changed, contact) }
    }

    async fn get(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let got = match &self.folder {
            Some(folder) => stamped::get(folder, location, options).await,
            None => self.files.get_opts(location, options).await,
        };
        let got = got.map_err(without_secrets);
        self.contact.note(&got);
        let mut got = got?;
        // A prefixed store returns the path in the bucket.
        got.meta.location = location.clone();
        if !is_head {
            let length = got.range.end.saturating_sub(got.range.start);
            got.payload = match got.payload {
                GetResultPayload::Stream(stream) => {
                    GetResultPayload::Stream(whole(stream, length, Arc::clone(&self.contact)))
                }
                file => file,
            };
        }
        Ok(got)
    }

    /// The ETag as sent to the store, because the listings of some stores omit the quotes.
    fn quoted(&self, tag: &str) -> String {
        if self.folder.is_none() && !tag.ends_with('"') { format!("\"{tag}\"") } else { tag.to_owned() }
    }
}

/// A listed object; in a local folder it gets the versioned tag.
fn stamp(folder: Option<&LocalFileSystem>, object: ObjectMeta) -> ObjectMeta {
    match folder {
        Some(folder) => stamped::stamp(folder, object),
        None => object,
    }
}

/// The ETag without the quotes and `W/`, which some responses of a store have and others do not.
fn bare(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}

/// Passes a stream through, and fails when it has more or fewer bytes than promised.
fn whole(
    stream: BoxStream<'static, Result<Bytes>>,
    length: u64,
    contact: Arc<Contact>,
) -> BoxStream<'static, Result<Bytes>> {
    let wrong = |text: &'static str| Error::Generic { store: "lake", source: text.into() };
    let checked = stream::try_unfold((stream, length, contact), move |(mut stream, left, contact)| async move {
        let failure = match stream.next().await {
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(left) => return Ok(Some((bytes, (stream, left, contact)))),
                None => wrong("more came than was asked for"),
            },
            Some(Err(error)) => without_secrets(error),
            None if left > 0 => wrong("the answer ended before its end"),
            None => return Ok(None),
        };
        contact.failed(&failure);
        Err(failure)
    });
    checked.boxed()
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
    // `get_ranges` keeps its default, which calls this method for each range, so it stays with the version.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some((tag, plain)) = pinned(location) else { return self.get(location, options).await };
        let got = self.get(&plain, GetOptions { if_match: Some(self.quoted(&tag)), ..options }).await;
        if matches!(got, Err(Error::Precondition { .. } | Error::NotFound { .. })) {
            self.changed.notify_one();
        }
        let mut got = got?;
        if got.meta.e_tag.as_deref().map(bare) != Some(bare(&tag)) {
            self.changed.notify_one();
            let source = "another version of the file came than was asked for".into();
            return Err(Error::Precondition { path: plain.to_string(), source });
        }
        got.meta.location = location.clone();
        Ok(got)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (contact, folder) = (Arc::clone(&self.contact), self.folder.clone());
        let listed = self.files.list(prefix).map(move |object| {
            let object = object.map_err(without_secrets);
            contact.note(&object);
            object.map(|object| stamp(folder.as_deref(), object))
        });
        listed.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.files.list_with_delimiter(prefix).await.map_err(without_secrets);
        self.contact.note(&listed);
        let mut listed = listed?;
        let objects = listed.objects.into_iter().map(|object| stamp(self.folder.as_deref(), object));
        listed.objects = objects.collect();
        Ok(listed)
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

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn read(pieces: &[&'static str], length: u64) -> Result<usize> {
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect::<Vec<_>>();
        let whole = whole(stream::iter(pieces).boxed(), length, Arc::default());
        whole.try_fold(0, |sum, bytes| async move { Ok(sum + bytes.len()) }).await
    }

    #[tokio::test]
    async fn bytes_that_do_not_come_are_missed() {
        assert_eq!(read(&["abc", "de"], 5).await.unwrap(), 5);
        assert_eq!(read(&[], 0).await.unwrap(), 0);
        assert!(read(&["abc", "d"], 5).await.is_err());
        assert!(read(&["abc", "def"], 5).await.is_err());
    }

    #[test]
    fn tags_are_the_same_with_and_without_what_is_around_them() {
        for tag in ["\"abc\"", "abc", "W/\"abc\""] {
            assert_eq!(bare(tag), "abc");
        }
    }
}
