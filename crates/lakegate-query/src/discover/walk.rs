//! Walks the folders of a lake, level by level. It skips hidden folders, and does not descend into tables.

use std::collections::BTreeSet;

use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore};
use futures::{StreamExt, TryStreamExt, stream};

use super::local::{Listing, LocalLake};
use super::{AT_ONCE, DiscoverError, LeftOut, Progress};
use crate::lake::Lake;

/// Depth limit; deeper folders are not walked.
const MOST_DEPTH: usize = 24;

/// A folder that may hold a table.
#[derive(Debug)]
pub(super) enum Place {
    Folder(Folder),
    Lakehouse(Lakehouse),
}

/// A folder with the files that may be data.
#[derive(Debug)]
pub(super) struct Folder {
    /// Path without a trailing slash; empty for the lake's root.
    pub(super) path: String,
    pub(super) files: Vec<ObjectMeta>,
    /// Whether subfolders exist whose files are not in `files`.
    pub(super) has_others_below: bool,
    /// Whether `files` includes the files of all hive or date folders below this one.
    pub(super) is_deep: bool,
}

/// The folder of a Delta, Iceberg or Hudi table.
#[derive(Debug)]
pub(super) struct Lakehouse {
    pub(super) path: String,
    pub(super) format: &'static str,
    /// Files of its log or metadata folder.
    pub(super) metadata: Vec<ObjectMeta>,
}

#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) places: Vec<Place>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) files: usize,
    pub(super) is_cut: bool,
    /// Whether a folder could not be listed.
    pub(super) is_incomplete: bool,
}

/// The lake under discovery.
struct Ground<'a> {
    lake: &'a Lake,
    /// Set when the lake is a folder of a local disk, because such a folder may contain links.
    local: Option<LocalLake>,
}

impl Place {
    pub(super) fn file_count(&self) -> usize {
        match self {
            Place::Folder(folder) => folder.files.len(),
            Place::Lakehouse(_) => 0,
        }
    }
}

pub(super) async fn walk(
    lake: &Lake,
    folder: &str,
    most_files: usize,
    progress: Progress<'_>,
) -> Result<Walked, DiscoverError> {
    let ground = &Ground { lake, local: lake.root().map(LocalLake::new) };
    let mut walked = Walked::default();
    let mut level = vec![folder.trim_matches('/').to_owned()];
    for depth in 0..MOST_DEPTH {
        // The search folder itself must open; a folder below it is left out when it does not.
        let level_is_below = depth > 0;
        // List local folders one at a time, so that of two links to a folder the search always follows the same one.
        let at_once = if ground.local.is_some() { 1 } else { AT_ONCE };
        let listings = stream::iter(std::mem::take(&mut level))
            .map(|folder| async move { (ground.list(&folder).await, folder) })
            .buffered(at_once)
            .collect::<Vec<_>>()
            .await;
        for (listing, folder) in listings {
            if walked.files >= most_files {
                walked.is_cut = true;
                break;
            }
            let listing = match listing {
                Err(_) if level_is_below => {
                    let reason = "it cannot be listed".to_owned();
                    walked.left_out.push(LeftOut { path: format!("{folder}/"), reason, help: None });
                    walked.is_incomplete = true;
                    continue;
                }
                listing => listing?,
            };
            match visit(ground, &folder, listing, most_files, &mut walked).await {
                Ok(below) => level.extend(below),
                // A fault in one folder does not end the search.
                Err(_) => {
                    let reason = "what is in it cannot be listed".to_owned();
                    walked.left_out.push(LeftOut { path: format!("{folder}/"), reason, help: None });
                    walked.is_incomplete = true;
                }
            }
            progress("files found", walked.files as u64, None);
        }
        level.sort();
        if level.is_empty() || walked.is_cut {
            return Ok(walked);
        }
    }
    for path in level {
        walked.left_out.push(LeftOut { path, reason: "it lies too deep".to_owned(), help: None });
    }
    Ok(walked)
}

/// Records the content of a folder and returns the subfolders to walk.
async fn visit(
    ground: &Ground<'_>,
    folder: &str,
    listing: Listing,
    most_files: usize,
    walked: &mut Walked,
) -> Result<Vec<String>, DiscoverError> {
    tell(listing.left_out, walked);
    // Without its log, the data files of a table must not be served as plain files.
    if listing.closed.iter().any(|name| ["_delta_log", ".hoodie"].contains(&name.as_str())) {
        walked.left_out.push(LeftOut {
            path: format!("{folder}/"),
            reason: "the log of this table is a link that is not followed".to_owned(),
            help: None,
        });
        return Ok(Vec::new());
    }
    let below = listing.folders.into_iter().collect::<BTreeSet<_>>();
    let names = below.iter().map(|path| last(path)).collect::<Vec<_>>();
    if let Some(lakehouse) = lakehouse(ground, folder, &names).await? {
        walked.files += lakehouse.metadata.len();
        match lakehouse.format {
            "hudi" => walked.left_out.push(LeftOut {
                path: format!("{folder}/"),
                reason: "it is a Hudi table, which is not read".to_owned(),
                help: Some("export it as Parquet, Delta or Iceberg".to_owned()),
            }),
            _ => walked.places.push(Place::Lakehouse(lakehouse)),
        }
        return Ok(Vec::new());
    }
    let visible = below.iter().filter(|path| !is_hidden(last(path))).cloned().collect::<Vec<_>>();
    let is_deep = !visible.is_empty()
        && (visible.iter().all(|path| is_partition(last(path))) || visible.iter().all(|path| is_date(last(path))));
    let mut files = data_files(ground.lake, listing.files, walked);
    if is_deep {
        files.extend(all_below(ground, folder, most_files.saturating_sub(walked.files), walked).await?);
        files.sort_by(|one, other| one.location.cmp(&other.location));
        files.dedup_by(|one, other| one.location == other.location);
    }
    walked.files += files.len();
    if walked.files > most_files {
        files.truncate(files.len() - (walked.files - most_files));
        walked.is_cut = true;
    }
    if !files.is_empty() {
        let has_others_below = !is_deep && !visible.is_empty();
        walked.places.push(Place::Folder(Folder { path: folder.to_owned(), files, has_others_below, is_deep }));
    }
    Ok(if is_deep { Vec::new() } else { visible })
}

/// The table format of a folder, detected from the names of its subfolders. `None` for a plain folder.
async fn lakehouse(ground: &Ground<'_>, folder: &str, names: &[&str]) -> Result<Option<Lakehouse>, DiscoverError> {
    let within = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let of = |format, metadata| Some(Lakehouse { path: folder.to_owned(), format, metadata });
    if names.contains(&"_delta_log") {
        return Ok(of("delta", ground.list(&within("_delta_log")).await?.files));
    }
    if names.contains(&".hoodie") {
        return Ok(of("hudi", Vec::new()));
    }
    if names.contains(&"metadata") {
        let metadata = ground.list(&within("metadata")).await?.files;
        if metadata.iter().any(|object| object.location.as_ref().ends_with(".metadata.json")) {
            return Ok(of("iceberg", metadata));
        }
    }
    Ok(None)
}

impl Ground<'_> {
    async fn list(&self, folder: &str) -> Result<Listing, DiscoverError> {
        if let Some(local) = &self.local {
            let listed = local.list(folder).await;
            return listed.map_err(|error| {
                let source = Box::new(error);
                DiscoverError::List(folder.to_owned(), StoreError::Generic { store: "lake", source })
            });
        }
        let Ok(prefix) = Path::parse(folder) else { return Ok(Listing::default()) };
        let prefix = (!folder.is_empty()).then_some(&prefix);
        match self.lake.store().list_with_delimiter(prefix).await {
            Err(StoreError::NotFound { .. }) => Ok(Listing::default()),
            Err(error) => Err(DiscoverError::List(folder.to_owned(), error)),
            Ok(listed) => Ok(Listing {
                folders: listed.common_prefixes.iter().map(ToString::to_string).collect(),
                files: listed.objects,
                ..Listing::default()
            }),
        }
    }
}

/// Records the skipped entries of a listing, except for hidden ones.
fn tell(left_out: Vec<LeftOut>, walked: &mut Walked) {
    walked.left_out.extend(left_out.into_iter().filter(|left| !is_hidden(last(&left.path))));
}

async fn all_below(
    ground: &Ground<'_>,
    folder: &str,
    most: usize,
    walked: &mut Walked,
) -> Result<Vec<ObjectMeta>, DiscoverError> {
    if ground.local.is_some() {
        return all_below_here(ground, folder, most, walked).await;
    }
    let Ok(prefix) = Path::parse(folder) else { return Ok(Vec::new()) };
    let prefix = (!folder.is_empty()).then_some(&prefix);
    let objects = ground.lake.store().list(prefix).take(most.saturating_add(1)).try_collect::<Vec<_>>().await;
    let mut objects = objects.map_err(|error| DiscoverError::List(folder.to_owned(), error))?;
    // Files in hidden folders are not data.
    let below = |object: &ObjectMeta| {
        object.location.as_ref()[folder.len()..]
            .rsplit_once('/')
            .is_none_or(|(folders, _)| !folders.split('/').any(|name| is_hidden(name) && !is_partition(name)))
    };
    objects.retain(below);
    Ok(data_files(ground.lake, objects, walked))
}

/// Lists all data files below a folder of a local lake, one folder at a time.
async fn all_below_here(
    ground: &Ground<'_>,
    folder: &str,
    most: usize,
    walked: &mut Walked,
) -> Result<Vec<ObjectMeta>, DiscoverError> {
    let mut files = Vec::new();
    let mut next = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = next.pop() {
        if files.len() > most {
            break;
        }
        let reason = match (ground.list(&folder).await, depth < MOST_DEPTH) {
            (Ok(listing), true) => {
                tell(listing.left_out, walked);
                files.extend(data_files(ground.lake, listing.files, walked));
                let visible = listing.folders.into_iter().filter(|path| !is_hidden(last(path)));
                // The stack pops its last element first.
                next.extend(visible.rev().map(|path| (path, depth + 1)));
                continue;
            }
            (Ok(_), false) => "it lies too deep",
            (Err(error), _) if depth == 0 => return Err(error),
            (Err(_), _) => "it cannot be listed",
        };
        walked.left_out.push(LeftOut { path: format!("{folder}/"), reason: reason.to_owned(), help: None });
        walked.is_incomplete = true;
    }
    Ok(files)
}

/// Drops objects that are not data by name or size, and links that lead out of the lake; reports the links.
fn data_files(lake: &Lake, objects: Vec<ObjectMeta>, walked: &mut Walked) -> Vec<ObjectMeta> {
    let mut files = Vec::new();
    for object in objects {
        let name = last(object.location.as_ref());
        if is_hidden(name) || name.ends_with(".crc") || name.ends_with(".tmp") || object.size == 0 {
            continue;
        }
        if lake.leads_outside(&object.location) {
            walked.left_out.push(LeftOut {
                path: object.location.to_string(),
                reason: "it is a link that leads out of the lake".to_owned(),
                help: None,
            });
            continue;
        }
        files.push(object);
    }
    files.sort_by(|one, other| one.location.cmp(&other.location));
    files
}

/// The last segment of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.']) && !is_partition(name)
}

/// Whether a folder is a hive partition, as `year=2022`.
pub(super) fn is_partition(name: &str) -> bool {
    name.split_once('=').is_some_and(|(column, _)| !column.is_empty())
}

/// Whether a folder name looks like a date, as `2022`, `03` or `2022-03-01`. Such folders partition a table by time.
fn is_date(name: &str) -> bool {
    let digits = name.chars().filter(char::is_ascii_digit).count();
    (1..=8).contains(&digits) && name.chars().all(|each| each.is_ascii_digit() || each == '-')
}
