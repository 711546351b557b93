//! Checks that each error code of the core has a section in `docs/errors.md` with its title, kind and status, and that
//! each section has a code.
//!
//! Both files are read as text, because a rule must not depend on the crate that it checks.

use std::collections::BTreeMap;

use regex::Regex;

use super::tree::{File, Finding, Tree};

const SOURCE: &str = "crates/lakegate-core/src/error.rs";
const PAGE: &str = "docs/errors.md";

struct Section<'a> {
    line: usize,
    body: Vec<&'a str>,
}

pub(crate) fn documented(tree: &Tree) -> Vec<Finding> {
    let Some(source) = tree.file(SOURCE) else {
        return vec![Finding::new(SOURCE, 1, "the list of error codes is not here")];
    };
    let Some(page) = tree.file(PAGE) else { return vec![Finding::new(PAGE, 1, "write the page of error codes")] };
    let entry = Regex::new(r#"(?m)^\s*[A-Z]\w*, "(\w+)", ([A-Z]\w*), "([^"]+)";"#).expect("the pattern is a constant");
    let mut sections = sections(page);
    let statuses = statuses(page);
    let mut findings = Vec::new();
    let mut codes = 0;
    for found in entry.captures_iter(&source.text) {
        codes += 1;
        let (name, kind, title) = (&found[1], &found[2], &found[3]);
        let Some(section) = sections.remove(name) else {
            findings.push(Finding::new(PAGE, 1, format!("add a section `### {name}` for the error code")));
            continue;
        };
        let first = section.body.iter().find(|line| !line.is_empty()).copied().unwrap_or_default();
        let status = statuses.get(kind).copied().unwrap_or("a kind that the table of kinds does not have");
        let expected = format!("**{title}.** {kind}, {status}.");
        if first != expected {
            findings.push(Finding::new(PAGE, section.line, format!("begin the section of `{name}` with `{expected}`")));
        }
    }
    if codes == 0 {
        findings.push(Finding::new(
            SOURCE,
            1,
            "no error code was found; teach xtask/src/tidy/error_codes.rs the new form",
        ));
    }
    for (name, section) in sections {
        findings.push(Finding::new(PAGE, section.line, format!("`{name}` is no error code of `{SOURCE}`")));
    }
    findings
}

/// The page's table of kinds: `| Invalid | 400 | …`. The server's tests check that the server follows it.
fn statuses(page: &File) -> BTreeMap<&str, &str> {
    let rows = page.text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        Some((cells.next()?, cells.next()?))
    });
    cells.filter(|(_, status)| status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// The third-level sections, by heading.
fn sections(page: &File) -> BTreeMap<&str, Section<'_>> {
    let mut sections = BTreeMap::new();
    let mut current = None;
    for (line, number) in page.text.lines().zip(1..) {
        if let Some(heading) = line.strip_prefix("### ") {
            current = Some(heading.trim_matches('`'));
            sections.insert(heading.trim_matches('`'), Section { line: number, body: Vec::new() });
        } else if line.starts_with('#') {
            current = None;
        } else if let Some(section) = current.and_then(|name| sections.get_mut(name)) {
            section.body.push(line);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_sections_are_compared_both_ways() {
        let source = "codes! {\n    A, \"a_one\", Invalid, \"One\";\n    B, \"b_two\", Invalid, \"Two\";\n    C, \"c_three\", Refused, \"Three\";\n}\n";
        let page = "# E\n| Invalid | 400 | x |\n### `a_one`\n\n**One.** Invalid, 400.\n\n### c_three\n**Three.** Invalid, 400.\n## Z\n### gone\n";
        let found: Vec<_> =
            documented(&Tree::of(&[(SOURCE, source), (PAGE, page)])).into_iter().map(|f| f.message).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("b_two") && found[1].contains("c_three") && found[2].contains("gone"));
    }
}
