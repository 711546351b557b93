//! Checks that the first-level modules of a crate, files and folders directly below `src/`, import each other in one direction.
//!
//! Tests may import anything. The rule reads `crate::` and `super::` paths and does not resolve re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::tree::{File, Finding, Tree};

/// Modules that still import each other, by crate. The rule accepts a cycle only if all of its modules are listed together; the list
/// may shrink and not grow.
const KNOWN: &[(&str, &[&str])] = &[
    ("lakegate-core", &["access", "limits", "project"]),
    ("lakegate-query", &["encode", "engine", "govern", "hot", "ingest", "lake", "plan", "publish", "shortcut"]),
    ("lakegate", &["app", "audit", "mask_key", "memo", "observe", "project", "reload", "response_cache"]),
];

type Imports = BTreeMap<String, BTreeMap<String, (String, usize)>>;

/// No first-level module imports, directly or not, a module that imports it.
pub(crate) fn none(tree: &Tree) -> Vec<Finding> {
    let crates = tree.rust().filter_map(|file| crate_of(&file.path)).collect::<BTreeSet<_>>();
    crates.into_iter().flat_map(|name| of_crate(tree, name)).collect()
}

fn of_crate(tree: &Tree, name: &str) -> Vec<Finding> {
    let prefix = format!("crates/{name}/src/");
    let mut imports = Imports::new();
    for file in tree.rust().filter(|file| file.path.starts_with(&prefix) && !is_test(file)) {
        let path = &file.path[prefix.len()..];
        let module = module_of(path);
        if matches!(module, "lib" | "main") {
            continue;
        }
        for (line, other) in imported(file, path) {
            if other != module {
                let place = (file.path.clone(), line);
                imports.entry(module.to_owned()).or_default().entry(other).or_insert(place);
            }
        }
    }
    let modules = imports.keys().cloned().collect::<BTreeSet<_>>();
    imports.values_mut().for_each(|others| others.retain(|other, _| modules.contains(other)));
    let known = KNOWN.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, modules)| modules);
    let mut findings = Vec::new();
    for (module, others) in &imports {
        for (other, (path, line)) in others {
            let is_known = known.contains(&module.as_str()) && known.contains(&other.as_str());
            if !is_known && reaches(&imports, other, module) {
                let message =
                    format!("`{module}` imports `{other}`, which imports `{module}`: move what both need below them");
                findings.push(Finding::new(path, *line, message));
            }
        }
    }
    findings
}

fn reaches(imports: &Imports, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        let next = imports.get(module).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        open.extend(next.filter(|next| seen.insert(next)));
    }
    false
}

/// The first-level modules that a file names, with the line of each name.
fn imported(file: &File, path: &str) -> Vec<(usize, String)> {
    static PATH: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b(crate|(?:super::)*super)::(?:\{([^;]*?)\}\s*;|([a-z_0-9]+))")
            .expect("the pattern is a constant")
    });
    let code = file.code_lines().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    let depth = path.split('/').count() - usize::from(path.ends_with("/mod.rs"));
    let mut names = Vec::new();
    for found in PATH.captures_iter(&code) {
        let at = found.get(0).map_or(0, |whole| whole.start());
        let line = code[..at].matches('\n').count() + 1;
        let root = &found[1];
        // `super` of a first-level module is the crate's root.
        if root != "crate" && root.split("::").count() != depth {
            continue;
        }
        match (found.get(2), found.get(3)) {
            (Some(group), _) => names.extend(first_names(group.as_str()).map(|name| (line, name.to_owned()))),
            (None, Some(name)) => names.push((line, name.as_str().to_owned())),
            (None, None) => {}
        }
    }
    names
}

/// The first name of each path in a group: `a::{b, c}, d` has `a` and `d`.
fn first_names(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = group.split(move |character: char| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    parts.filter_map(|part| part.trim().split("::").next()).filter(|name| !name.is_empty())
}

fn is_test(file: &File) -> bool {
    file.is_test() || file.path.contains("testing")
}

fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split_once("/src/").map(|(name, _)| name)
}

fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_found_at_each_of_its_imports() {
        let tree = Tree::of(&[
            ("crates/a/src/x.rs", "use crate::{y::Y, z};\n"),
            ("crates/a/src/y/mod.rs", "mod deep;\n"),
            ("crates/a/src/y/deep.rs", "use super::super::x;\n"),
            ("crates/a/src/z.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    use crate::x;\n}\n"),
        ]);
        let found = none(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect::<Vec<_>>();
        assert_eq!(found, [("crates/a/src/x.rs".to_owned(), 1), ("crates/a/src/y/deep.rs".to_owned(), 1)]);
    }

    #[test]
    fn one_direction_is_fine() {
        let tree = Tree::of(&[("crates/a/src/x.rs", "use crate::y;\n"), ("crates/a/src/y.rs", "use std::fmt;\n")]);
        assert_eq!(none(&tree), []);
    }
}
