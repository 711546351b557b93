//! Adds the ctime to the ETags of local files, so that a tag also shows when a file last changed in any way.
//!
//! [`LocalFileSystem`] builds a tag from the inode number, the size and the mtime. A writer can set all three: `tar`,
//! `cp -p` and `touch -r` can put another file in place under the same tag. The system alone sets the ctime. Decoded
//! data is cached by tag, so two files with one tag would be mixed up.

use std::fs::Metadata;

use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result};

/// Reads a local file, with the tag of the file that was opened. `if_match` compares such tags.
pub(super) async fn get(files: &LocalFileSystem, location: &Path, mut options: GetOptions) -> Result<GetResult> {
    let wanted = options.if_match.take();
    let mut got = files.get_opts(location, options).await?;
    got.meta = match &got.payload {
        // Metadata of the open file, because another file may have replaced it at its path.
        GetResultPayload::File(file, _) => {
            let tag = of_open(got.meta.e_tag.take(), file.metadata().ok().as_ref(), wanted.as_deref());
            ObjectMeta { e_tag: tag, ..got.meta }
        }
        GetResultPayload::Stream(_) => stamp(files, got.meta),
    };
    match wanted {
        Some(wanted) if got.meta.e_tag.as_ref() != Some(&wanted) => {
            Err(Error::Precondition { path: location.to_string(), source: "the file has changed".into() })
        }
        _ => Ok(got),
    }
}

/// Adds the ctime to a file's tag. A file that is gone keeps its plain tag, which no file has.
pub(super) fn stamp(files: &LocalFileSystem, mut object: ObjectMeta) -> ObjectMeta {
    let metadata = files.path_to_filesystem(&object.location).ok().and_then(|path| std::fs::metadata(path).ok());
    object.e_tag = stamped(object.e_tag, metadata.as_ref());
    object
}

fn stamped(tag: Option<String>, metadata: Option<&Metadata>) -> Option<String> {
    let Some((tag, changed)) = tag.as_ref().zip(metadata.and_then(changed)) else { return tag };
    Some(format!("{tag}-{changed}"))
}

/// The tag of an open file. Replacing a file unlinks the open one, which changes its ctime. It still is the wanted
/// version when the rest of the tag matches, and nobody can write to it any more.
fn of_open(tag: Option<String>, metadata: Option<&Metadata>, wanted: Option<&str>) -> Option<String> {
    let is_wanted = |wanted: &&str| wanted.rsplit_once('-').map(|(before, _)| before) == tag.as_deref();
    match wanted.filter(|wanted| metadata.is_some_and(has_no_name) && is_wanted(wanted)) {
        Some(wanted) => Some(wanted.to_owned()),
        None => stamped(tag, metadata),
    }
}

#[cfg(unix)]
fn has_no_name(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

#[cfg(not(unix))]
fn has_no_name(_: &Metadata) -> bool {
    false
}

/// The ctime of a file; `None` on systems that have none.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    Some(format!("{:x}.{:x}", metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{File, write};
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::super::pinned::Pinned;
    use super::*;
    use datafusion::object_store::ObjectStoreExt;

    #[test]
    fn a_file_that_is_replaced_while_it_is_open_is_the_one_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, "one").unwrap();
        let file = File::open(&path).unwrap();
        let tag = || Some("1-2-3".to_owned());
        let before = stamped(tag(), Some(&file.metadata().unwrap())).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        std::fs::remove_file(&path).unwrap();
        let of = |tag: Option<String>| of_open(tag, Some(&file.metadata().unwrap()), Some(&before));
        assert_eq!(of(tag()), Some(before.clone()));
        assert_ne!(of(Some("1-2-4".to_owned())), Some(before.clone()));
    }

    #[tokio::test]
    async fn a_file_of_the_same_size_and_time_in_the_same_place_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, location) = (folder.path().join("a"), Path::from("a"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let local = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let files = Pinned::of_folder(local, Arc::default(), Arc::default());
        let put = |text: &str| {
            write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        put("one");
        let before = files.head(&location).await.unwrap();
        let listed = files.list_with_delimiter(None).await.unwrap().objects;
        assert_eq!(listed[0].e_tag, before.e_tag);
        let read = async || {
            let options = GetOptions { if_match: before.e_tag.clone(), ..GetOptions::default() };
            files.get_opts(&location, options).await?.bytes().await
        };
        assert_eq!(read().await.unwrap(), "one");
        // The system clock advances in steps of milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        put("two");
        let after = files.head(&location).await.unwrap();
        assert_eq!((before.size, before.last_modified), (after.size, after.last_modified));
        assert_ne!(before.e_tag, after.e_tag);
        assert!(matches!(read().await, Err(Error::Precondition { .. })));
    }
}
