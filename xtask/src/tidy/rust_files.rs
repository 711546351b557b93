//! Checks that each Rust file starts with a module comment, and is small enough to be read in one go.

use super::tree::{Finding, Tree};

/// Maximum lines of product code. Tests do not count, so that nobody saves on them.
const LIMIT: usize = 800;
const AIM: usize = 500;

pub(crate) fn opening(tree: &Tree) -> Vec<Finding> {
    let silent = tree.rust().filter(|file| !file.text.starts_with("//! "));
    silent.map(|file| Finding::new(&file.path, 1, "open the file with `//!`: what it is, and what it is not")).collect()
}

pub(crate) fn size(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        let lines = file.product_lines().count();
        if lines > LIMIT {
            findings.push(Finding::new(
                &file.path,
                LIMIT,
                format!("{lines} lines, the limit is {LIMIT}; split the file by subject"),
            ));
        } else if lines > AIM {
            findings.push(Finding::warning(
                &file.path,
                AIM,
                format!("{lines} lines; aim for 300, the limit is {LIMIT}"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_opening_is_found() {
        let tree = Tree::of(&[("a.rs", "//! Good.\n"), ("b.rs", "use x;\n"), ("c.rs", "//!\n")]);
        assert_eq!(opening(&tree).iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b.rs", "c.rs"]);
    }

    #[test]
    fn long_files_are_found_and_tests_are_not_counted() {
        let long = "//! x\n".repeat(LIMIT + 1);
        let middling = "//! x\n".repeat(AIM + 1);
        let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &middling), ("c.rs", &tested), ("x/tests/d.rs", &long)]);
        let found: Vec<_> = size(&tree).into_iter().map(|f| (f.path, f.warning)).collect();
        assert_eq!(found, [("a.rs".to_owned(), false), ("b.rs".to_owned(), true)]);
    }
}
