//! Lists a folder of a lake on a local disk. It does not follow links that leave the lake or form a cycle, and it skips
//! names that are not valid in a lake path; it reports each of these.
//!
//! `walk` decides which folders to list next.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use datafusion::object_store::ObjectMeta;
use datafusion::object_store::path::Path;

use super::LeftOut;

/// The content of one folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Paths of the subfolders to walk.
    pub(super) folders: Vec<String>,
    pub(super) files: Vec<ObjectMeta>,
    /// Skipped entries, to be reported.
    pub(super) left_out: Vec<LeftOut>,
    /// Names of links to folders that are not followed, hidden names included.
    pub(super) closed: Vec<String>,
}

/// A local lake, and the first link to each linked folder. Each folder is walked through one link only.
#[derive(Clone, Debug)]
pub(super) struct LocalLake {
    root: PathBuf,
    linked: Arc<Mutex<HashMap<PathBuf, Path>>>,
}

/// The kind of a directory entry.
enum Found {
    Folder,
    File(Metadata),
    /// A link to a folder that is not followed, with the reason.
    Closed(&'static str),
    /// An entry that is skipped, with the reason.
    No(&'static str),
}

impl LocalLake {
    /// `root` must be a canonical path, without links.
    pub(super) fn new(root: &FilePath) -> Self {
        Self { root: root.to_owned(), linked: Arc::default() }
    }

    /// Lists a folder; returns an empty listing when the folder does not exist.
    pub(super) async fn list(&self, folder: &str) -> io::Result<Listing> {
        let (lake, folder) = (self.clone(), folder.to_owned());
        // Disk calls block, so they run on a blocking thread.
        let listed = tokio::task::spawn_blocking(move || lake.listed(&folder)).await;
        listed.unwrap_or_else(|_| Err(io::Error::other("the listing broke off")))
    }

    fn listed(&self, folder: &str) -> io::Result<Listing> {
        let above = match self.way_to(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            above => above?,
        };
        let Some(here) = above.last().filter(|here| here.is_dir()) else { return Ok(Listing::default()) };
        // Check again, because a link may have changed since its parent was listed.
        if !above.iter().all(|folder| folder.starts_with(&self.root)) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of the lake"));
        }
        let within = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let mut entries = fs::read_dir(here)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut listing = Listing::default();
        for entry in entries {
            let mut told = |path: String, reason: &str| {
                listing.left_out.push(LeftOut { path, reason: reason.to_owned(), help: None });
            };
            let name = entry.file_name();
            let plain = name.to_str().filter(|name| !name.chars().any(char::is_control));
            let path = plain.and_then(|name| Path::parse(within(name)).ok());
            let (Some(name), Some(location)) = (plain, path) else {
                let escaped = name.to_string_lossy().escape_debug().to_string();
                told(within(&escaped), "its name has characters that cannot be in a path; rename it");
                continue;
            };
            match self.found(&entry, &location, &above) {
                Found::Folder => listing.folders.push(within(name)),
                Found::File(metadata) => listing.files.push(ObjectMeta {
                    location,
                    last_modified: time(metadata.modified().ok()),
                    size: metadata.len(),
                    e_tag: None,
                    version: None,
                }),
                Found::Closed(why) => {
                    listing.closed.push(name.to_owned());
                    told(within(name), why);
                }
                Found::No(why) => told(within(name), why),
            }
        }
        Ok(listing)
    }

    /// Canonical paths of the root, of each folder on the way, and of `folder` itself.
    fn way_to(&self, folder: &str) -> io::Result<Vec<PathBuf>> {
        let mut next = self.root.clone();
        let mut way = vec![next.canonicalize()?];
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            next.push(part);
            way.push(next.canonicalize()?);
        }
        Ok(way)
    }

    fn found(&self, entry: &fs::DirEntry, location: &Path, above: &[PathBuf]) -> Found {
        let Ok(kind) = entry.file_type() else { return Found::No("it cannot be read") };
        if kind.is_dir() {
            return Found::Folder;
        }
        let mut file = entry.path();
        if kind.is_symlink() {
            let target = match file.canonicalize() {
                Ok(target) => target,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Found::Closed("it is a link to nothing");
                }
                Err(_) => return Found::Closed("it is a link that cannot be followed"),
            };
            if !target.starts_with(&self.root) {
                return Found::Closed("it is a link that leads out of the lake");
            }
            if target.is_dir() {
                if above.iter().any(|folder| folder.starts_with(&target)) {
                    return Found::Closed("it is a link to a folder above it");
                }
                let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
                // One folder may be listed twice.
                return match *linked.entry(target).or_insert_with(|| location.clone()) == *location {
                    true => Found::Folder,
                    false => Found::Closed("it is a link to a folder to which another link leads"),
                };
            }
            file = target;
        }
        match file.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Found::File(metadata),
            // Opening a pipe would block until another process opens its other end.
            Ok(_) => Found::No("it is not a file"),
            Err(_) => Found::No("it cannot be read"),
        }
    }
}

fn time(modified: Option<SystemTime>) -> DateTime<Utc> {
    let since = modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok());
    let micros = since.and_then(|since| i64::try_from(since.as_micros()).ok());
    micros.and_then(DateTime::from_timestamp_micros).unwrap_or(DateTime::UNIX_EPOCH)
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use lakegate_core::project::LakeStore;

    use super::super::{Discovery, Search, discover};
    use super::*;
    use crate::lake::Lake;

    const ROWS: &str = "id,client_id\n1,2\n";

    fn write(folder: &FilePath, path: impl AsRef<OsStr>) {
        let path = folder.join(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, ROWS).unwrap();
    }

    async fn found(folder: &FilePath) -> Discovery {
        let lake = Lake::open(folder, ".", &LakeStore::default()).unwrap();
        let search = Search { folder: String::new(), most_files: 1000, taken: Default::default(), known: Vec::new() };
        discover(&lake, &search, &|_, _, _| {}).await.unwrap()
    }

    fn locations(found: &Discovery) -> Vec<&str> {
        found.tables.iter().map(|table| table.location.as_str()).collect()
    }

    fn left_out(found: &Discovery) -> Vec<String> {
        found.left_out.iter().map(|left| format!("{}: {}", left.path, left.reason)).collect()
    }

    #[tokio::test]
    async fn links_that_leave_the_lake_or_go_round_are_told_by_their_own_names_only() {
        let (lake, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lake = lake.path();
        write(outside.path(), "secret/x.csv");
        write(lake, "a.csv");
        write(lake, "b/c/d.csv");
        write(lake, "days/day=2024-01-01/e.csv");
        symlink(".", lake.join("dot")).unwrap();
        symlink("/", lake.join("root")).unwrap();
        symlink(outside.path(), lake.join("days/day=2024-01-02")).unwrap();
        symlink("..", lake.join("days/day=2024-01-03")).unwrap();
        symlink(outside.path().join("secret/x.csv"), lake.join("b/x.csv")).unwrap();
        symlink("nowhere", lake.join("b/none")).unwrap();
        symlink("one", lake.join("two")).unwrap();
        symlink("two", lake.join("one")).unwrap();
        let found = found(lake).await;
        assert_eq!(locations(&found), ["a.csv", "b/c/", "days/"]);
        assert_eq!(found.files, 3);
        assert_eq!(
            left_out(&found),
            [
                "b/none: it is a link to nothing",
                "b/x.csv: it is a link that leads out of the lake",
                "days/day=2024-01-02: it is a link that leads out of the lake",
                "days/day=2024-01-03: it is a link to a folder above it",
                "dot: it is a link to a folder above it",
                "one: it is a link that cannot be followed",
                "root: it is a link that leads out of the lake",
                "two: it is a link that cannot be followed",
            ]
        );
    }

    #[tokio::test]
    async fn a_partition_that_is_a_link_within_the_lake_is_part_of_its_table() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "days/day=2024-01-01/a.csv");
        write(lake, "_kept/b.csv");
        symlink("../_kept", lake.join("days/day=2024-01-02")).unwrap();
        let found = found(lake).await;
        assert_eq!((locations(&found), found.files), (vec!["days/"], 2), "{found:?}");
    }

    #[tokio::test]
    async fn links_between_two_folders_end() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "one/a.csv");
        write(lake, "two/b.csv");
        symlink("../two", lake.join("one/next")).unwrap();
        symlink("../one", lake.join("two/next")).unwrap();
        let found = found(lake).await;
        assert!(found.files <= 6, "{:?}", locations(&found));
        assert!(left_out(&found).iter().any(|left| left.contains("next: it is a link to a folder")), "{found:?}");
    }

    #[tokio::test]
    async fn odd_names_are_told_and_the_rest_is_found() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "a.csv");
        write(lake, "x\u{7f}.txt");
        write(lake, "odd\u{1b}[31m/b.csv");
        write(lake, OsStr::from_bytes(b"latin\xfc.csv"));
        let found = found(lake).await;
        assert_eq!(locations(&found), ["a.csv"]);
        let left_out = left_out(&found);
        assert_eq!(left_out.len(), 3, "{left_out:?}");
        assert!(left_out.iter().all(|left| left.contains("rename it") && !left.contains(char::is_control)));
        assert!(left_out.iter().any(|left| left.starts_with("x\\u{7f}.txt: ")), "{left_out:?}");
    }

    /// Discovery reads text columns as `check` does: a column with plain values of several kinds is text.
    #[tokio::test]
    async fn text_files_of_one_name_are_one_table_whatever_their_values_look_like() {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        for (name, text) in [("part-0.csv", "id,v\n1,2\n"), ("part-1.csv", "\u{feff}id,v\n3,x\n")] {
            fs::create_dir_all(lake.join("t")).unwrap();
            fs::write(lake.join("t").join(name), text).unwrap();
        }
        let found = found(lake).await;
        assert_eq!((locations(&found), left_out(&found)), (vec!["t/"], vec![]));
    }

    #[tokio::test]
    async fn a_table_whose_log_is_a_link_out_of_the_lake_is_none_of_files() {
        let (lake, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let lake = lake.path();
        write(lake, "a.csv");
        write(lake, "t/b.csv");
        symlink(outside.path(), lake.join("t/_delta_log")).unwrap();
        let found = found(lake).await;
        assert_eq!(locations(&found), ["a.csv"]);
        assert_eq!(left_out(&found), ["t/: the log of this table is a link that is not followed"]);
    }
}
