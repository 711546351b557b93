//! Discovers the tables of a lake: walks the folders, sniffs each file, and groups files into tables.
//!
//! It reads only file heads, Parquet footers and small row samples. [`lakegate_core::discover`] then suggests tenant
//! columns and personal data; this module decides and writes nothing.

#[cfg(test)]
mod broken_tests;
mod grouping;
mod lakehouse;
mod local;
mod sample;
mod sniff;
mod text;
mod walk;

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream;
use lakegate_core::discover::{FoundTable, is_same_location, table_name, unique_names};

use crate::lake::Lake;
use grouping::Candidate;
use walk::Place;

/// Files that are sniffed concurrently.
pub(crate) const AT_ONCE: usize = 16;

/// The parameters of a discovery run.
#[derive(Clone, Debug)]
pub struct Search {
    /// Folder of the lake to search; empty for the whole lake.
    pub folder: String,
    /// The search stops after this number of files.
    pub most_files: usize,
    /// Table names that are already in use.
    pub taken: BTreeSet<String>,
    /// Locations that the project declares, with their table names. A table found at one of them keeps that name.
    pub known: Vec<(String, String)>,
}

/// The result of a discovery run.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Tables, ordered by location.
    pub tables: Vec<FoundTable>,
    /// Files and folders that belong to no table, with the reasons.
    pub left_out: Vec<LeftOut>,
    /// Number of files seen.
    pub files: usize,
    /// Whether the search stopped at the file limit.
    pub is_cut: bool,
    /// Whether a folder could not be listed.
    pub is_incomplete: bool,
}

/// A file or folder of the lake that belongs to no table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Path in the lake.
    pub path: String,
    /// Why it was left out.
    pub reason: String,
    /// Advice for the operator; `None` when nothing can be done.
    pub help: Option<String>,
}

/// Reports progress: the step, the number of items done, and the total if it is known.
pub type Progress<'a> = &'a (dyn Fn(&'static str, u64, Option<u64>) + Sync);

/// Why discovery failed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The lake cannot list the folder.
    #[error("the folder `{0}` of the lake cannot be listed")]
    List(String, #[source] datafusion::object_store::Error),
    /// The folder does not exist or is empty.
    #[error("there is nothing at `{0}`")]
    Nothing(String),
}

/// Searches the lake for tables.
///
/// # Errors
/// When `search.folder` cannot be listed, or nothing is in it. Unreadable folders below it and files are left out.
pub async fn discover(lake: &Lake, search: &Search, progress: Progress<'_>) -> Result<Discovery, DiscoverError> {
    let walked = walk::walk(lake, &search.folder, search.most_files, progress).await?;
    if walked.places.is_empty() && walked.files == 0 {
        return Err(DiscoverError::Nothing(search.folder.clone()));
    }
    let mut found = Discovery {
        left_out: walked.left_out,
        files: walked.files,
        is_cut: walked.is_cut,
        is_incomplete: walked.is_incomplete,
        ..Discovery::default()
    };
    let all = walked.places.iter().map(Place::file_count).sum::<usize>() as u64;
    let (mut done, mut candidates) = (0, Vec::<Candidate>::new());
    for place in walked.places {
        match place {
            Place::Lakehouse(folder) => candidates.push(lakehouse::table(lake, folder).await),
            Place::Folder(folder) => {
                let files = folder.files.clone();
                let mut looks = stream::iter(files).map(|object| sniff::look(lake, object)).buffered(AT_ONCE);
                let mut seen = Vec::with_capacity(folder.files.len());
                while let Some(look) = looks.next().await {
                    seen.push(look);
                    done += 1;
                    progress("files looked into", done, Some(all));
                }
                grouping::tables(&folder, seen, &mut candidates, &mut found);
            }
        }
    }
    candidates.sort_by(|one, other| one.table.location.cmp(&other.table.location));
    let count = candidates.len() as u64;
    for (mut candidate, at) in candidates.into_iter().zip(1..) {
        sample::look(lake, &mut candidate).await;
        found.tables.push(candidate.table);
        progress("tables sampled", at, Some(count));
    }
    name(&mut found.tables, search);
    found.left_out.sort();
    found.left_out.dedup();
    Ok(found)
}

/// Names the tables: a table at a location that the project declares keeps its name, and others get new, unique names.
fn name(tables: &mut [FoundTable], search: &Search) {
    let known =
        |table: &FoundTable| search.known.iter().find(|(location, _)| is_same_location(location, &table.location));
    let mut taken = search.taken.clone();
    // Tables with short locations get their names first, so that longer locations take the folder prefix.
    let mut unnamed = Vec::new();
    for (at, table) in tables.iter_mut().enumerate() {
        match known(table) {
            Some((_, name)) => {
                table.name = name.clone();
                taken.insert(name.clone());
            }
            None => unnamed.push(at),
        }
    }
    unnamed.sort_by_key(|at| (tables[*at].location.matches('/').count(), table_name(&tables[*at].location)));
    let locations = unnamed.iter().map(|at| tables[*at].location.clone()).collect::<Vec<_>>();
    for (at, name) in unnamed.into_iter().zip(unique_names(&locations, &taken)) {
        tables[at].name = name;
    }
}
