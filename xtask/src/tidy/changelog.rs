//! Checks that the changelog exists and has a section for unreleased changes.

use super::tree::{Finding, Tree};

const PATH: &str = "CHANGELOG.md";

pub(crate) fn unreleased(tree: &Tree) -> Vec<Finding> {
    match tree.file(PATH) {
        None => vec![Finding::new(PATH, 1, "write the changelog")],
        Some(file) if !file.text.lines().any(|line| line == "## Unreleased") => {
            vec![Finding::new(
                PATH,
                1,
                "add a section `## Unreleased`; changes go there with the commit that makes them",
            )]
        }
        Some(_) => Vec::new(),
    }
}
