//! Commits to plain Parquet tables: replaces a file, a folder or a glob in one step, or leaves it unchanged.
//!
//! A rename replaces one file, and an exchange of names replaces a folder. An object store has no such exchange, so a
//! change of several files there is refused; use Delta or Iceberg instead.

use std::fs;
use std::path::Path as FilePath;

use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt, WriteMultipart};
use futures::TryStreamExt;
use uuid::Uuid;

use super::error::PublishError;
use super::place::Place;
use super::staged::StagedFile;
use super::staging::{Staging, inside, sync_folder};
use super::{Change, CurrentFile, new_name};

/// The location of a table and its files.
#[derive(Debug)]
pub(super) struct ParquetTable {
    shape: Shape,
    /// Files at the time the table was opened.
    before: Vec<ObjectMeta>,
}

#[derive(Debug)]
enum Shape {
    /// One file, at this path below the lake.
    File(String),
    /// All files of a folder.
    Folder(String),
    /// Files of a folder, by prefix and suffix of their names.
    Glob { folder: String, start: String, end: String },
}

impl ParquetTable {
    pub(super) async fn open(place: &Place, location: &str) -> Result<Self, PublishError> {
        let shape = shape(place, location).await?;
        let before = list(place, &shape).await?;
        if let Some(object) = before.iter().find(|object| place.shown(&object.location).contains('=')) {
            let what = format!("`{}` lies in a partition folder", place.shown(&object.location));
            return Err(PublishError::refused(what, "tables with partition folders are not written here"));
        }
        Ok(Self { shape, before })
    }

    pub(super) fn files(&self) -> Vec<CurrentFile> {
        let file = |object: &ObjectMeta| CurrentFile { path: object.location.clone(), bytes: object.size };
        self.before.iter().map(file).collect()
    }

    /// Whether rows can be added without rewriting the others.
    pub(super) fn can_append(&self) -> bool {
        !matches!(self.shape, Shape::File(_)) || self.before.is_empty()
    }

    pub(super) async fn commit(
        &self,
        place: &Place,
        staging: &Staging,
        files: &[StagedFile],
        change: Change,
    ) -> Result<(), PublishError> {
        if list(place, &self.shape).await? != self.before {
            return Err(PublishError::Conflict);
        }
        let one_file = || match files {
            [file] => Ok(file),
            _ => Err(PublishError::refused(
                format!("{} files cannot become part of a Parquet table at once", files.len()),
                "write one file, or make it a Delta or Iceberg table",
            )),
        };
        match (change, self.before.as_slice()) {
            (Change::Append, _) | (_, []) if files.len() < 2 => put(place, one_file()?, &self.new_path()).await,
            // One file replaces another.
            (Change::Replace | Change::Rewrite, [before]) if files.len() < 2 => {
                put(place, one_file()?, &place.shown(&before.location)).await
            }
            (Change::Append, _) => one_file().map(|_| ()),
            (Change::Replace | Change::Rewrite, _) => match (&self.shape, place.folder()) {
                (Shape::Folder(folder), Some(root)) => exchange(root, folder, staging, files),
                (Shape::Folder(_), None) => Err(PublishError::refused(
                    "several files cannot be replaced at once in an object store",
                    "make it a Delta or Iceberg table: `format = \"delta\"`",
                )),
                _ => Err(PublishError::refused(
                    "several files that a glob finds cannot be replaced at once",
                    "declare a folder of its own for the table",
                )),
            },
        }
    }

    /// Path of a new file, below the lake.
    fn new_path(&self) -> String {
        match &self.shape {
            Shape::File(path) => path.clone(),
            Shape::Folder(folder) => format!("{folder}/{}", new_name()),
            Shape::Glob { folder, start, end } => {
                let slash = if folder.is_empty() { "" } else { "/" };
                format!("{folder}{slash}{start}-{}{end}", Uuid::now_v7().simple())
            }
        }
    }
}

/// Puts a file into the lake under its final name, atomically.
pub(super) async fn put(place: &Place, file: &StagedFile, below: &str) -> Result<(), PublishError> {
    match place.folder() {
        Some(root) => rename(root, file.path(), below),
        None => upload(place, file.path(), &place.path(below)?).await,
    }
}

/// Moves a file to its path in the lake. Creates the folder if needed.
fn rename(root: &FilePath, from: &FilePath, below: &str) -> Result<(), PublishError> {
    let to = root.join(below);
    let failed = || PublishError::file(format!("put `{below}` into the lake"));
    let folder = to.parent().unwrap_or(root);
    inside(root, folder, below)?;
    fs::create_dir_all(folder).map_err(failed())?;
    fs::rename(from, &to).map_err(failed())?;
    // The rename is done, so a failed sync is not an error of this commit; such a disk will fail elsewhere too.
    let _ = sync_folder(folder);
    Ok(())
}

/// Copies a file into an object store, atomically.
async fn upload(place: &Place, from: &FilePath, to: &Path) -> Result<(), PublishError> {
    let doing = || format!("put `{}` into the lake", place.shown(to));
    let mut file = tokio::fs::File::open(from).await.map_err(PublishError::file(doing()))?;
    let upload = place.store().put_multipart(to).await.map_err(PublishError::store(doing()))?;
    let mut upload = WriteMultipart::new(upload);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut file, &mut buffer).await;
        let read = read.map_err(PublishError::file(doing()))?;
        if read == 0 {
            break;
        }
        upload.wait_for_capacity(8).await.map_err(PublishError::store(doing()))?;
        upload.write(&buffer[..read]);
    }
    upload.finish().await.map(|_| ()).map_err(PublishError::store(doing()))
}

/// Exchanges the table's folder with a new one; then removes the old one, which now has the hidden name.
fn exchange(root: &FilePath, folder: &str, staging: &Staging, files: &[StagedFile]) -> Result<(), PublishError> {
    let table = root.join(folder);
    inside(root, &table, folder)?;
    refuse_others(&table, folder)?;
    let failed = || PublishError::file(format!("write a folder beside `{folder}`"));
    let other = staging.hidden();
    fs::create_dir(&other).map_err(failed())?;
    let exchanged = (|| {
        for file in files {
            fs::rename(file.path(), other.join(new_name())).map_err(failed())?;
        }
        sync_folder(&other).map_err(failed())?;
        exchange_names(&other, &table).map_err(|error| {
            if matches!(error.kind(), std::io::ErrorKind::Unsupported | std::io::ErrorKind::InvalidInput) {
                return PublishError::refused(
                    format!("the file system cannot put another folder in the place of `{folder}` in one step"),
                    "use another file system, a table of one file, or a Delta or Iceberg table",
                );
            }
            failed()(error)
        })
    })();
    if exchanged.is_ok() {
        // The exchange is done, so a failed sync is not an error of this commit; such a disk will fail elsewhere too.
        let _ = sync_folder(table.parent().unwrap_or(root));
    }
    // The hidden name holds the old folder, or the new one after a failure. The next run removes what remains.
    let _ = fs::remove_dir_all(&other);
    exchanged
}

#[cfg(target_os = "linux")]
fn exchange_names(one: &FilePath, other: &FilePath) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange_names(_: &FilePath, _: &FilePath) -> std::io::Result<()> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

/// Refuses to replace a folder that contains anything but the table's files, which would be lost.
fn refuse_others(table: &FilePath, folder: &str) -> Result<(), PublishError> {
    let entries = fs::read_dir(table).map_err(PublishError::file(format!("list `{folder}`")))?;
    for entry in entries {
        let entry = entry.map_err(PublishError::file(format!("list `{folder}`")))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_hidden = name.starts_with(['_', '.']);
        if entry.path().is_dir() || !(is_hidden || name.ends_with(".parquet")) {
            return Err(PublishError::refused(
                format!("`{folder}/{name}` is not a file of the table, and would be lost with its folder"),
                "move it out of the folder",
            ));
        }
    }
    Ok(())
}

async fn shape(place: &Place, location: &str) -> Result<Shape, PublishError> {
    let trimmed = location.trim_end_matches('/').trim_start_matches("./");
    if trimmed.is_empty() || trimmed == "." {
        return Err(PublishError::refused("the table is the whole lake", "give it a folder of its own"));
    }
    if trimmed.contains(['*', '?', '[']) {
        let (folder, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let parts = name.split('*').collect::<Vec<_>>();
        return match parts.as_slice() {
            [start, end] if !trimmed.contains(['?', '[']) && !folder.contains('*') && end.ends_with(".parquet") => {
                Ok(Shape::Glob { folder: folder.to_owned(), start: (*start).to_owned(), end: (*end).to_owned() })
            }
            _ => Err(PublishError::refused(
                format!("nothing tells which name a new file at `{location}` would have"),
                "write the location as a folder, or with a single `*` such as `order*.parquet`",
            )),
        };
    }
    if trimmed.ends_with(".parquet") {
        return Ok(Shape::File(trimmed.to_owned()));
    }
    // A reader resolves `order/` to `order.parquet` in a lake of single files, so a writer must do that too.
    let single = format!("{trimmed}.parquet");
    let folder = Shape::Folder(trimmed.to_owned());
    if list(place, &folder).await?.is_empty() && exists(place, &single).await? {
        return Ok(Shape::File(single));
    }
    Ok(folder)
}

async fn exists(place: &Place, below: &str) -> Result<bool, PublishError> {
    match place.store().head(&place.path(below)?).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(PublishError::store(format!("look at `{below}`"))(error)),
    }
}

/// The table's files as a reader finds them, sorted by path.
async fn list(place: &Place, shape: &Shape) -> Result<Vec<ObjectMeta>, PublishError> {
    let (folder, single) = match shape {
        Shape::File(path) => (path.as_str(), true),
        Shape::Folder(folder) => (folder.as_str(), false),
        Shape::Glob { folder, .. } => (folder.as_str(), false),
    };
    let path = place.path(folder)?;
    if single {
        return match place.store().head(&path).await {
            Ok(object) => Ok(vec![object]),
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(PublishError::store(format!("look at `{folder}`"))(error)),
        };
    }
    let listed = place.store().list(Some(&path)).try_collect::<Vec<_>>().await;
    let mut objects = match listed {
        Ok(objects) => objects,
        Err(StoreError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(PublishError::store(format!("list `{folder}`"))(error)),
    };
    objects.retain(|object| {
        let Some(below) = object.location.prefix_match(&path).map(|parts| parts.collect::<Path>()) else {
            return false;
        };
        let below = below.as_ref();
        let is_hidden = below.split('/').any(|part| part.starts_with(['_', '.']) && !part.contains('='));
        let is_named = match shape {
            Shape::Glob { start, end, .. } => {
                !below.contains('/')
                    && below.len() >= start.len() + end.len()
                    && below.starts_with(start.as_str())
                    && below.ends_with(end.as_str())
            }
            _ => below.ends_with(".parquet"),
        };
        !is_hidden && is_named && object.size > 0
    });
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    Ok(objects)
}
