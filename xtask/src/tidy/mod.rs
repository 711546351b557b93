//! `cargo xtask tidy`: the house rules that rustc and clippy do not check, each in its own file.
//!
//! A rule is a pure function from the checkout's text files to findings. The test below runs all rules too.

use std::path::Path;

use anyhow::{Result, bail};

use self::tree::{Finding, Tree};

mod changelog;
mod config_keys;
mod cycles;
mod error_codes;
mod language;
mod layers;
mod links;
mod rust_files;
mod test_list;
mod tree;
mod wording;

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    rust_files::opening,
    rust_files::size,
    layers::manifests,
    layers::paths,
    layers::purity,
    layers::statuses,
    cycles::none,
    error_codes::documented,
    config_keys::documented,
    changelog::unreleased,
    language::words,
    language::headless,
    language::the_same,
    wording::todos,
    wording::machine_paths,
    wording::pending_snapshots,
    test_list::listed,
    test_list::runs,
    links::resolve,
];

/// Prints all findings. Fails when one of them is more than a warning.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        eprintln!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    if errors > 0 {
        bail!("{errors} house rules are broken");
    }
    eprintln!("{} files follow the house rules", tree.files.len());
    Ok(())
}

fn check(tree: &Tree) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_follows_the_house_rules() {
        let tree = Tree::read(&crate::root()).unwrap();
        assert!(tree.file("Cargo.toml").is_some(), "the root of the checkout was not found");
        let errors: Vec<_> =
            check(&tree).into_iter().filter(|finding| !finding.warning).map(|f| f.to_string()).collect();
        assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
    }
}
