//! Reads the list of guards, `xtask/guards.toml`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::build::Binary;

/// Path of the list.
const LIST: &str = "xtask/guards.toml";

/// A piece of code that prevents something, and the edit that removes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guard {
    /// Its name in the table and for `--only`.
    pub(crate) name: String,
    /// The consequence of removing it, as the end of a sentence.
    pub(crate) holds: String,
    /// The file, relative to the root of the checkout.
    pub(crate) file: String,
    /// Text that occurs exactly once in the file.
    pub(crate) find: String,
    /// The replacement, without the guard.
    pub(crate) replace: String,
    /// The test binary with its tests.
    pub(crate) binary: Binary,
    /// Names of tests, or parts of names; at least one of them must fail.
    pub(crate) tests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guards {
    guard: Vec<Guard>,
}

/// Reads the list.
pub(crate) fn read(root: &Path) -> Result<Vec<Guard>> {
    let text = fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read `{LIST}`"))?;
    let guards: Guards = toml::from_str(&text).with_context(|| format!("`{LIST}` is not as it should be"))?;
    Ok(guards.guard)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Otherwise the table would describe code that does not exist.
    #[test]
    fn every_guard_is_found_exactly_once() {
        let root = crate::root();
        let guards = read(&root).unwrap();
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        for guard in &guards {
            let text = fs::read_to_string(root.join(&guard.file)).unwrap_or_default();
            let count = text.matches(&guard.find).count();
            if count != 1 {
                faults.push(format!("guard `{}`: its text stands {count} times in {}", guard.name, guard.file));
            }
            if guard.find == guard.replace || guard.tests.is_empty() || !names.insert(&guard.name) {
                faults.push(format!("guard `{}` is empty, or there twice", guard.name));
            }
        }
        assert!(faults.is_empty(), "mend {LIST}:\n{}", faults.join("\n"));
    }

    #[test]
    fn every_test_that_a_guard_names_is_written_somewhere() {
        let root = crate::root();
        let mut sources = String::new();
        let mut folders = vec![root.join("crates")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    sources.push_str(&fs::read_to_string(path).unwrap());
                }
            }
        }
        let is_written = |test: &str| {
            let last = test.trim_end_matches("::").rsplit("::").next().unwrap_or(test);
            sources.contains(&format!("fn {last}(")) || sources.contains(&format!("mod {last}"))
        };
        let guards = read(&root).unwrap();
        let missing = guards.iter().flat_map(|guard| &guard.tests).filter(|test| !is_written(test)).collect::<Vec<_>>();
        assert!(missing.is_empty(), "{LIST} names tests that are not there: {missing:?}");
    }
}
