//! Checks that each relative link of the documentation leads to an existing file, and to an existing heading in it.
//!
//! Web links are not followed, because a test must not need the network.

use regex::Regex;

use super::tree::{File, Finding, Tree};

pub(crate) fn resolve(tree: &Tree) -> Vec<Finding> {
    let link = Regex::new(r"\[[^\]]*\]\(([^)\s]+)\)").expect("the pattern is a constant");
    let mut findings = Vec::new();
    for page in tree.markdown() {
        for (number, line) in prose(page) {
            for found in link.captures_iter(line) {
                let target = &found[1];
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = if path.is_empty() { page.path.clone() } else { join(&page.path, path) };
                if let Some(fault) = fault(tree, &path, anchor) {
                    findings.push(Finding::new(&page.path, number, format!("the link `{target}` {fault}")));
                }
            }
        }
    }
    findings
}

fn fault(tree: &Tree, path: &str, anchor: &str) -> Option<&'static str> {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let Some(file) = tree.file(path) else {
        let exists = tree.files.iter().any(|file| file.path.starts_with(&folder)) || crate::root().join(path).exists();
        return (!exists).then_some("leads nowhere");
    };
    let has_heading = anchor.is_empty() || prose(file).any(|(_, line)| line.starts_with('#') && slug(line) == anchor);
    (!has_heading).then_some("names a heading that the page does not have")
}

/// The lines outside of code blocks.
fn prose(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    file.text.lines().zip(1..).filter_map(move |(line, number)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        (!in_code).then_some((number, line))
    })
}

/// The anchor that code hosts derive from a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The target of a link, relative to the root.
fn join(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_and_headings() {
        let tree = Tree::of(&[
            (
                "docs/a.md",
                "# A\n[b](../b.md) [h](../b.md#the-heading-here) [w](https://example.com)\n```\n[c](no.md)\n```\n",
            ),
            ("b.md", "## The `heading`, here\n[x](docs/none.md)\n[y](docs/a.md#b)\n[z](docs)\n"),
        ]);
        let found: Vec<_> = resolve(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        assert_eq!(found, [("b.md".to_owned(), 2), ("b.md".to_owned(), 3)]);
    }
}
