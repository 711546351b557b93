//! Finds the tables of a lake: walks its folders, looks into the files, and puts those together that are of one table.
//!
//! Reads heads, footers and small samples, never a whole file that is large. What the tables suggest of tenants and of
//! people is [`lakegate_core::discover`]'s business; nothing is decided or written here.

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
use lakegate_core::discover::{FoundTable, is_same_place, name_of_table, unique_names};

use crate::lake::Lake;
use grouping::Candidate;
use walk::Place;

/// How many files are looked into at once.
pub(crate) const AT_ONCE: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Search {
    /// The folder of the lake to look into; nothing for all of it.
    pub folder: String,
    /// How many files are looked at before it stops.
    pub most_files: usize,
    /// Names that tables have already.
    pub taken: BTreeSet<String>,
    /// Locations that are declared already: what they cover keeps its name.
    pub known: Vec<(String, String)>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The tables, in the order of their locations.
    pub tables: Vec<FoundTable>,
    /// What is no table, and why.
    pub left_out: Vec<LeftOut>,
    /// How many files were seen.
    pub files: usize,
    /// Whether there were more than were to be looked at.
    pub is_cut: bool,
    /// Whether a folder could not be listed.
    pub is_incomplete: bool,
}

/// Something in the lake that is no table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// The path in the lake.
    pub path: String,
    /// Why it is none.
    pub reason: String,
    /// What to do, where something can be done.
    pub help: Option<String>,
}

/// How far it is: what is done, how many of it, and of how many when that is known.
pub type Progress<'a> = &'a (dyn Fn(&'static str, u64, Option<u64>) + Sync);

/// Why nothing can be found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The lake does not answer.
    #[error("the folder `{0}` of the lake can not be listed")]
    List(String, #[source] datafusion::object_store::Error),
    /// There is no such folder.
    #[error("there is nothing at `{0}`")]
    Nothing(String),
}

/// Looks for tables.
///
/// # Errors
/// When a folder can not be listed. A file that can not be read is left out, with the reason.
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

/// Gives names: those that the project has for the same locations, and else new ones.
fn name(tables: &mut [FoundTable], search: &Search) {
    let known = |table: &FoundTable| search.known.iter().find(|(location, _)| is_same_place(location, &table.location));
    let mut taken = search.taken.clone();
    // A table with a short way to its name gets it before one that would need a folder's.
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
    unnamed.sort_by_key(|at| (tables[*at].location.matches('/').count(), name_of_table(&tables[*at].location)));
    let locations = unnamed.iter().map(|at| tables[*at].location.clone()).collect::<Vec<_>>();
    for (at, name) in unnamed.into_iter().zip(unique_names(&locations, &taken)) {
        tables[at].name = name;
    }
}
