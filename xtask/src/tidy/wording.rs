//! Finds text that must not remain in a file: reminders without an issue, paths of one machine, unreviewed snapshots.

use regex::Regex;

use super::tree::{Finding, Tree};

/// A reminder must name the issue that will settle it.
pub(crate) fn todos(tree: &Tree) -> Vec<Finding> {
    let word = ["TO", "DO"].concat();
    let bare = Regex::new(&format!(r"\b({word}|FIX{})\b(\(#\d+\))?", "ME")).expect("the pattern is a constant");
    let mut findings = Vec::new();
    for file in tree.rust() {
        for (line, number) in file.text.lines().zip(1..) {
            if bare.captures(line).is_some_and(|found| found.get(2).is_none()) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("write `{word}(#NUMBER)` with the issue, or do it now"),
                ));
            }
        }
    }
    findings
}

/// Reports paths of one machine and folders beside the checkout: they work for nobody else.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let home = Regex::new(r"(^|[^\w.])/(work|root|home|Users)/\w").expect("the pattern is a constant");
    let beside = ["..", "/shared"].concat();
    let mut findings = Vec::new();
    for file in &tree.files {
        for (line, number) in file.text.lines().zip(1..) {
            if home.is_match(line) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    "a path of one machine; compute it or take it as an argument",
                ));
            }
            if line.contains(&beside) {
                findings.push(Finding::new(&file.path, number, "a folder beside the checkout; take it as an argument"));
            }
        }
    }
    findings
}

/// insta creates these files when a snapshot differs. They must be accepted or deleted.
pub(crate) fn pending_snapshots(tree: &Tree) -> Vec<Finding> {
    let pending = tree.files.iter().filter(|file| file.path.ends_with(".snap.new"));
    pending
        .map(|file| Finding::new(&file.path, 1, "a snapshot that nobody decided on; accept it or delete it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_needs_an_issue() {
        let word = ["TO", "DO"].concat();
        let text = format!("//! x\n// {word}: later\n// {word}(#12): later\n// mastodon\n");
        let found = todos(&Tree::of(&[("a.rs", &text)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let text = ["see /", "home/ada/x\nhttps://example.com/home/x\nlake/root/x\n"].concat();
        let found = machine_paths(&Tree::of(&[("a.md", &text)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1]);
    }
}
