//! Finds tests that never run: integration test files that are not listed, and tests in a library with `test = false`.

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

/// Finds tests in a library whose manifest has `test = false`.
pub(crate) fn runs(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let Ok(parsed) = manifest.text.parse::<toml::Table>() else { continue };
        let is_tested = parsed.get("lib").and_then(|lib| lib.get("test")).and_then(toml::Value::as_bool);
        if is_tested != Some(false) {
            continue;
        }
        let src = format!("{}src/", manifest.path.trim_end_matches("Cargo.toml"));
        let of_library = |path: &str| path.starts_with(&src) && path != format!("{src}main.rs");
        for file in tree.rust().filter(|file| of_library(&file.path)) {
            let marks = |line: &str| line.trim() == "#[cfg(test)]" || line.trim() == "#[test]";
            let mark = file.text.lines().zip(1..).find(|(line, _)| marks(line));
            if let Some((_, number)) = mark {
                let message = format!("never runs: `{}` says `test = false`; put it into {FOLDER}", manifest.path);
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_in_a_library_without_tests_is_found() {
        let test = "//! x\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn a() {}\n}\n";
        let tree = Tree::of(&[
            ("crates/a/Cargo.toml", "[lib]\n# elsewhere\ntest = false\n"),
            ("crates/a/src/lib.rs", "//! x\nmod b;\n"),
            ("crates/a/src/b/c.rs", test),
            ("crates/a/src/main.rs", test),
            ("crates/a/tests/it/main.rs", test),
            ("crates/ab/Cargo.toml", "[lib]\nbench = false\n"),
            ("crates/ab/src/lib.rs", test),
        ]);
        let found: Vec<_> = runs(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        assert_eq!(found, [("crates/a/src/b/c.rs".to_owned(), 2)]);
    }

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
