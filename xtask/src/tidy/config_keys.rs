//! Checks that each configuration key is documented: keys of a project in `docs/project.md`, keys of a policy test in
//! `docs/testing.md`, and keys of a recipe in `docs/ingest.md`; and that each documented key exists.
//!
//! The keys are found in the text of the core's `project/*.rs`, in calls such as `section.string("location")`. On a
//! page, keys are the first cells of table rows, as in ``| `location` | …``, or part of a heading, as in
//! ``## `[tables.NAME.partitions]` ``.

use std::collections::BTreeMap;

use regex::Regex;

use super::tree::{File, Finding, Tree};

const FOLDER: &str = "crates/lakegate-core/src/project/";
const PAGE: &str = "docs/project.md";
/// Policy tests and recipes are parsed below the folder of project files, but have their own pages.
const OWN_PAGES: [(&str, &str); 2] = [
    ("crates/lakegate-core/src/project/policy_test/", "docs/testing.md"),
    ("crates/lakegate-core/src/project/ingest/", "docs/ingest.md"),
];

pub(crate) fn documented(tree: &Tree) -> Vec<Finding> {
    let is_elsewhere = |path: &str| OWN_PAGES.iter().any(|(folder, _)| path.starts_with(folder));
    let mut findings = documented_on(tree, PAGE, |path| path.starts_with(FOLDER) && !is_elsewhere(path));
    for (folder, page) in OWN_PAGES {
        // The trees in the tests below lack such files.
        if tree.rust().any(|file| file.path.starts_with(folder)) {
            findings.extend(documented_on(tree, page, |path| path.starts_with(folder)));
        }
    }
    findings
}

fn documented_on(tree: &Tree, page_path: &str, counts: impl Fn(&str) -> bool) -> Vec<Finding> {
    let accepted = accepted(tree, counts);
    let Some(page) = tree.file(page_path) else { return vec![Finding::new(page_path, 1, "write the page")] };
    if accepted.is_empty() {
        return vec![Finding::new(FOLDER, 1, "no key was found; teach xtask/src/tidy/config_keys.rs the new form")];
    }
    let explained = explained(page);
    let mut findings = Vec::new();
    for (key, (path, line)) in &accepted {
        if !explained.contains_key(key) {
            findings.push(Finding::new(path, *line, format!("explain the key `{key}` in a table of `{page_path}`")));
        }
    }
    for (key, line) in &explained {
        if !accepted.contains_key(key) {
            findings.push(Finding::new(page_path, *line, format!("`{key}` is no key that is accepted there")));
        }
    }
    findings
}

/// Each key, with the path and line of its first use.
fn accepted(tree: &Tree, counts: impl Fn(&str) -> bool) -> BTreeMap<String, (String, usize)> {
    let taken = Regex::new(
        r#"\.(?:take|string|strings|boolean|integer|number|section|sections|policy_strings|policy_section)\("(\w+)""#,
    )
    .expect("the pattern is a constant");
    let mut keys = BTreeMap::new();
    for file in tree.rust().filter(|file| counts(&file.path)) {
        for (number, line) in file.code_lines() {
            for found in taken.captures_iter(line) {
                keys.entry(found[1].to_owned()).or_insert((file.path.clone(), number));
            }
        }
    }
    keys
}

/// Each key on the page, with its line. Names that the user chooses are in capitals, and are not keys.
fn explained(page: &File) -> BTreeMap<String, usize> {
    let cell = Regex::new(r"^\| `(\w+)` \|").expect("the pattern is a constant");
    let heading = Regex::new(r"^#+ .*`\[+([\w.]+)\]+`").expect("the pattern is a constant");
    let mut keys = BTreeMap::new();
    for (line, number) in page.text.lines().zip(1..) {
        let found = cell.captures(line).or_else(|| heading.captures(line));
        let Some(text) = found.and_then(|found| found.get(1)) else { continue };
        for key in text.as_str().split('.').filter(|key| key.chars().any(char::is_lowercase)) {
            keys.entry(key.to_owned()).or_insert(number);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tests_have_a_page_of_their_own() {
        let (config, test) = (format!("{FOLDER}config.rs"), format!("{}expect.rs", OWN_PAGES[0].0));
        let page = "| key | is |\n| --- | --- |\n| `location` | where |\n";
        let files = [
            (config.as_str(), "//! x\nlake.string(\"location\");\n"),
            (test.as_str(), "//! x\nexpect.integer(\"rows\", 0..=1);\n"),
            (PAGE, page),
            (OWN_PAGES[0].1, page),
        ];
        let found = documented(&Tree::of(&files)).into_iter().map(|f| f.message).collect::<Vec<_>>();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`rows`") && found[1].contains("`location`"), "{found:?}");
    }

    #[test]
    fn keys_are_compared_both_ways() {
        let source = "//! x\nlet a = lake.string(\"location\");\nlet b = table.boolean(\"shared\");\nroot.section(\"tables\");\n";
        let page = "# P\n## `[tables.NAME]`\n| key | is |\n| --- | --- |\n| `location` | where |\n| `old` | gone |\n";
        let path = format!("{FOLDER}config.rs");
        let found: Vec<_> =
            documented(&Tree::of(&[(&path, source), (PAGE, page)])).into_iter().map(|f| f.message).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`shared`") && found[1].contains("`old`"), "{found:?}");
    }
}
