//! Every file of the integration tests is part of the one test binary; a file that nobody lists never runs.

use super::tree::{Finding, Tree};

const FOLDER: &str = "crates/lakegate/tests/it/";

pub(crate) fn listed(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with(FOLDER)) {
        let inner = &file.path[FOLDER.len()..];
        if inner == "main.rs" {
            continue;
        }
        let module = inner.strip_suffix("/mod.rs").or(inner.strip_suffix(".rs")).unwrap_or(inner);
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let parents = match folder {
            "" => vec![format!("{FOLDER}main.rs")],
            folder => vec![format!("{FOLDER}{folder}/mod.rs"), format!("{FOLDER}{folder}.rs")],
        };
        let line = format!("mod {name};");
        let is_listed = parents.iter().filter_map(|parent| tree.file(parent)).any(|parent| {
            parent
                .text
                .lines()
                .any(|text| text.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ") == line)
        });
        if !is_listed {
            findings.push(Finding::new(&file.path, 1, format!("never runs: add `{line}` to `{}`", parents[0])));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlisted_file_is_found() {
        let tree = Tree::of(&[
            ("crates/lakegate/tests/it/main.rs", "//! x\nmod a;\nmod sub;\n"),
            ("crates/lakegate/tests/it/a.rs", ""),
            ("crates/lakegate/tests/it/b.rs", ""),
            ("crates/lakegate/tests/it/sub/mod.rs", "mod c;\n"),
            ("crates/lakegate/tests/it/sub/c.rs", ""),
            ("crates/lakegate/tests/it/sub/d.rs", ""),
        ]);
        let found: Vec<_> = listed(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/lakegate/tests/it/b.rs", "crates/lakegate/tests/it/sub/d.rs"]);
    }
}
