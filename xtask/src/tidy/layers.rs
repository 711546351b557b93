//! Checks that crates depend in one direction, and that a crate's private dependencies are named nowhere else.
//!
//! Rules that the compiler can enforce, such as who can create a `GovernedPlan`, are enforced with types instead.

use regex::Regex;

use super::tree::{File, Finding, Tree};

/// A crate's folder, and the crates that it must not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "crates/lakegate-core",
        &[
            "datafusion",
            "arrow",
            "parquet",
            "object_store",
            "axum",
            "hyper",
            "tokio",
            "sqlx",
            "lakegate_query",
            "lakegate",
        ],
    ),
    (
        "crates/lakegate-parquet",
        &["datafusion", "object_store", "tokio", "lakegate_core", "lakegate_query", "lakegate"],
    ),
    ("crates/lakegate-query", &["axum", "hyper", "sqlx", "lakegate"]),
    ("crates/lakegate", &["datafusion", "arrow", "parquet", "object_store"]),
    ("xtask", &["datafusion", "arrow", "parquet", "lakegate_core", "lakegate_query", "lakegate"]),
];

/// Names that make a function depend on more than its arguments.
const IMPURE: &[&str] = &[
    "Utc::now",
    "Local::now",
    "SystemTime",
    "Instant::now",
    "std::fs",
    "std::env",
    "std::process",
    "TcpStream",
    "TcpListener",
    "ToSocketAddrs",
];

/// Exceptions, each for one folder: table catalogs are stored in databases.
const EXCEPT: &[(&str, &str)] = &[("sqlx", "crates/lakegate-query/src/lake/catalog/")];

/// This folder contains an HTTP client, so it reads the statuses of other servers.
const CLIENTS: &str = "crates/lakegate-query/src/lake/catalog/";

/// The files that name HTTP statuses: one maps kinds of errors to them, the other answers conditional requests.
const STATUSES: [&str; 2] = [PROBLEM, "crates/lakegate/src/pipeline/conditional.rs"];
const PROBLEM: &str = "crates/lakegate/src/http/problem.rs";

/// No manifest has a forbidden dependency. Dev-dependencies are exempt, because tests check the crate from outside.
pub(crate) fn manifests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let Some(manifest) = tree.file(&format!("{folder}/Cargo.toml")) else { continue };
        let mut section = "";
        for (line, number) in manifest.text.lines().zip(1..) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
                continue;
            }
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let dependency = key.replace('-', "_");
            let counts = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
            let is_excepted = EXCEPT.iter().any(|(name, path)| dependency == *name && path.starts_with(folder));
            if counts && !is_excepted && forbidden.iter().any(|name| is_family(&dependency, name)) {
                let message = format!("`{folder}` must not depend on `{key}`; ARCHITECTURE.md says who may");
                findings.push(Finding::new(&manifest.path, number, message));
            }
        }
    }
    findings
}

/// No product code names a forbidden crate, even through a re-export.
pub(crate) fn paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let names = forbidden.join("|");
        let pattern = Regex::new(&format!(r"(^|[^\w:.\x22])({names})(_\w+)?::|\buse ({names})(_\w+)?\b"))
            .expect("the names are plain words");
        for file in sources(tree, folder) {
            for (number, line) in file.code_lines() {
                let Some(found) = pattern.captures(line) else { continue };
                let name = found.get(2).or(found.get(4)).map_or("", |name| name.as_str());
                let is_excepted = EXCEPT.iter().any(|(other, path)| name == *other && file.path.starts_with(path));
                if is_excepted
                    || allowed_family(found.get(3).or(found.get(5)).map_or("", |suffix| suffix.as_str()), name)
                {
                    continue;
                }
                let message = format!("`{folder}` must not name `{name}`; ARCHITECTURE.md says who may");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// The core takes files as text, and time as an argument.
pub(crate) fn purity(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources(tree, "crates/lakegate-core") {
        for (number, line) in file.code_lines() {
            for name in IMPURE.iter().filter(|name| line.contains(**name)) {
                let message = format!("the core has no clock and no I/O: take what `{name}` gives as an argument");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
    }
    findings
}

/// Only one file maps kinds of errors to HTTP statuses.
pub(crate) fn statuses(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("crates/") && file.path.contains("/src/")) {
        if STATUSES.contains(&file.path.as_str()) || file.path.starts_with(CLIENTS) || file.is_test() {
            continue;
        }
        for (number, line) in file.code_lines().filter(|(_, line)| line.contains("StatusCode::")) {
            let message =
                format!("only `{PROBLEM}` knows HTTP statuses; answer with an error code instead of `{}`", line.trim());
            findings.push(Finding::new(&file.path, number, message));
        }
    }
    findings
}

fn sources<'a>(tree: &'a Tree, folder: &str) -> impl Iterator<Item = &'a File> {
    let prefix = format!("{folder}/src/");
    tree.rust().filter(move |file| file.path.starts_with(&prefix) && !file.is_test())
}

/// `arrow_schema` belongs to `arrow`; `lakegate_core` does not belong to `lakegate`.
fn is_family(dependency: &str, name: &str) -> bool {
    dependency == name
        || dependency.strip_prefix(name).is_some_and(|rest| rest.starts_with('_') && !allowed_family(rest, name))
}

fn allowed_family(suffix: &str, name: &str) -> bool {
    name == "lakegate" && !suffix.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, line: &str) -> bool {
        let text = format!("//! x\n{line}\n");
        !paths(&Tree::of(&[(path, &text)])).is_empty()
    }

    #[test]
    fn only_the_query_crate_names_the_engine() {
        assert!(check("crates/lakegate/src/a.rs", "use datafusion::prelude::*;"));
        assert!(check("crates/lakegate/src/a.rs", "use arrow_schema::Schema;"));
        assert!(check("crates/lakegate/src/a.rs", "fn a(b: arrow::array::ArrayRef) {}"));
        assert!(check("crates/lakegate-core/src/a.rs", "use tokio::net;"));
        assert!(check("crates/lakegate-query/src/a.rs", "use lakegate::app;"));
        assert!(!check("crates/lakegate-query/src/a.rs", "use datafusion::prelude::*;"));
        assert!(!check("crates/lakegate-query/src/a.rs", "use lakegate_core::error;"));
        assert!(!check("crates/lakegate/src/a.rs", "// not datafusion::prelude"));
        assert!(!check("crates/lakegate/src/a.rs", "let parquet = Format::parquet();"));
        assert!(!check("crates/lakegate/src/a.rs", "use lakegate_query::parquet::write;"));
        assert!(!check("crates/lakegate/tests/it/a.rs", "use arrow::array;"));
    }

    #[test]
    fn manifests_name_only_what_they_may() {
        let manifest = "[dependencies]\nlakegate-core.workspace = true\narrow-array = \"1\"\n[dev-dependencies]\nparquet = \"1\"\n";
        let found = manifests(&Tree::of(&[("crates/lakegate/Cargo.toml", manifest)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_core_is_pure_and_statuses_have_one_place() {
        let tree = Tree::of(&[
            (
                "crates/lakegate-core/src/a.rs",
                "//! x\nlet a = Utc::now();\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
            ),
            ("crates/lakegate/src/http/problem.rs", "//! x\nStatusCode::OK\n"),
            ("crates/lakegate/src/http/routes.rs", "//! x\nStatusCode::OK\n"),
        ]);
        assert_eq!(purity(&tree).len(), 1);
        assert_eq!(statuses(&tree)[0].path, "crates/lakegate/src/http/routes.rs");
    }
}
