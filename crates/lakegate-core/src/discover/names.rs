//! Derives table names from the names of folders and files.

use std::collections::BTreeSet;

use super::words;
use crate::project::name::sql_name_fault;

/// Maximum length of a table's name, in characters.
const MOST: usize = 63;

/// The SQL name of a table, from the last part of its path that yields a name, without extension, glob and part number.
pub fn table_name(location: &str) -> String {
    let parts = location.split('/').filter(|part| !part.is_empty() && !part.contains('='));
    let names = parts.map(|part| clean(stem(part))).filter(|name| !name.is_empty()).collect::<Vec<_>>();
    names.last().cloned().unwrap_or_else(|| "data".to_owned())
}

/// Makes each table's name unique: by prefixing the names of its parent folders, or else by appending a number.
pub fn unique_names(locations: &[String], taken: &BTreeSet<String>) -> Vec<String> {
    let mut taken = taken.clone();
    let mut names = Vec::with_capacity(locations.len());
    for location in locations {
        let parts = location.split('/').filter(|part| !part.is_empty() && !part.contains('=')).collect::<Vec<_>>();
        let with_folders = (1..parts.len()).rev().map(|from| {
            let folders = parts[from - 1..parts.len() - 1].iter().map(|part| clean(part));
            shaped(&format!("{}_{}", folders.collect::<Vec<_>>().join("_"), table_name(location)))
        });
        let bare = table_name(location);
        let numbered = (2..).map(|number| format!("{}_{number}", bare.chars().take(MOST - 8).collect::<String>()));
        let free = std::iter::once(bare.clone()).chain(with_folders).chain(numbered).find(|name| !taken.contains(name));
        let name = free.unwrap_or(bare);
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// A file's name without extensions, wildcards and part number: `trackcode-003.parquet` is `trackcode`.
pub(super) fn stem(file: &str) -> &str {
    let stem = file.split_once('*').map_or(file, |(before, _)| before);
    let stem = stem.split_once('.').map_or(stem, |(stem, _)| stem);
    let base = stem.trim_end_matches(|each: char| each.is_ascii_digit() || "-_ ".contains(each));
    if base.is_empty() { stem } else { base }
}

fn clean(name: &str) -> String {
    shaped(&words::split(name).join("_"))
}

/// Converts text to the form of a SQL name.
fn shaped(name: &str) -> String {
    let ascii = name.chars().map(|each| if each.is_ascii_alphanumeric() { each } else { '_' }).collect::<String>();
    let name = ascii.trim_matches('_').chars().take(MOST - 2).collect::<String>().to_ascii_lowercase();
    match sql_name_fault(&name) {
        Some(_) if !name.is_empty() => format!("t_{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_called_like_its_folder_or_file() {
        for (location, name) in [
            ("trackcode*.parquet", "trackcode"),
            ("sales/Order Lines/", "order_lines"),
            ("events/year=2022/", "events"),
            ("client_table.parquet", "client_table"),
            ("2022.csv", "t_2022"),
            ("*.parquet", "data"),
            ("übersicht.csv", "bersicht"),
        ] {
            assert_eq!(table_name(location), name, "{location}");
        }
    }

    #[test]
    fn names_that_are_taken_get_the_folder_before_them_or_a_number() {
        let locations = ["a/x/".to_owned(), "b/x/".to_owned(), "b_x.csv".to_owned(), "x.csv".to_owned()];
        assert_eq!(unique_names(&locations, &BTreeSet::new()), ["x", "b_x", "b_x_2", "x_2"]);
        assert_eq!(unique_names(&locations[..1], &BTreeSet::from(["x".to_owned()])), ["a_x"]);
    }
}
