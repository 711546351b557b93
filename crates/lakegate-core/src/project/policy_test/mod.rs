//! Parses `tests/*.toml`: calls as a principal, and their expected outcome. Returns the checked tests and all findings.
//!
//! Runs nothing: the test runner checks that endpoints and principals exist and that the expectations hold.

mod access;
mod expect;
mod toml_json;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::finding::{Finding, Position};
use super::reader::{Section, SpannedValue, TomlSource};
use crate::access::{Grant, PrincipalRecord};

pub use expect::Expectation;

/// A file of tests.
#[derive(Clone, Debug)]
pub struct PolicyTestFile {
    /// The path, as given.
    pub path: String,
    /// The principals and grants of the file; `None` uses those of the access store.
    pub access: Option<TestAccess>,
    /// The tests, in the order of the file.
    pub tests: Vec<PolicyTest>,
}

/// Principals and grants that exist for the tests of a file only.
#[derive(Clone, Debug, Default)]
pub struct TestAccess {
    /// The principals by name.
    pub principals: BTreeMap<String, PrincipalRecord>,
    /// The grants; the id of each is its position.
    pub grants: Vec<Grant>,
    /// The endpoints that grants name, with their positions.
    pub endpoints: Vec<Positioned>,
}

/// `[[tests]]`: one call and its expected outcome.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// The name of the test, unique in the file: what it proves.
    pub name: Positioned,
    /// The principal that calls.
    pub principal: Positioned,
    /// The endpoint.
    pub endpoint: Positioned,
    /// The arguments, as in a JSON body.
    pub arguments: Map<String, Json>,
    /// The modifier `select`.
    pub select: Option<String>,
    /// The modifier `order`.
    pub order: Option<String>,
    /// The expected outcome.
    pub expect: Expectation,
}

/// A text with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positioned {
    /// The text.
    pub text: String,
    /// Its position.
    pub position: Position,
}

impl Positioned {
    fn from_spanned(source: &TomlSource<'_>, spanned: SpannedValue<String>) -> Self {
        Self { position: source.position(&spanned.span), text: spanned.value }
    }
}

impl PolicyTestFile {
    /// Reads the text of a file, and returns all findings. With findings, the file holds whatever could be read.
    pub fn read(path: &str, text: &str) -> (Self, Vec<Finding>) {
        let (source, table) = TomlSource::new(path, text, 0..text.len());
        let mut file = Self { path: path.to_owned(), access: None, tests: Vec::new() };
        // Invalid TOML cannot be checked any further.
        if source.has_findings() {
            return (file, source.into_findings());
        }
        let mut root = Section::new(&source, "the file", table.span(), table.get_ref());
        file.access = access::read(&mut root);
        for section in root.sections("tests") {
            let Some(test) = test(section) else { continue };
            if file.tests.iter().any(|other| other.name.text == test.name.text) {
                let message = format!("there are two tests `{}`", test.name.text);
                source.report_at(&test.name.position, message, "say in the name what only this one proves");
            }
            file.tests.push(test);
        }
        root.finish();
        let mut findings = source.into_findings();
        findings.sort();
        (file, findings)
    }
}

fn test(mut section: Section<'_, '_>) -> Option<PolicyTest> {
    let source = section.source();
    let name =
        needed(&mut section, "name", |section| section.string("name"), "name = \"a client sees its own orders\"");
    let principal = needed(&mut section, "as", |section| section.string("as"), "as = \"client-1\"");
    let endpoint = needed(&mut section, "endpoint", |section| section.string("endpoint"), "endpoint = \"orders\"");
    let arguments = section.section("arguments").map(|arguments| toml_json::members(source, arguments));
    let select = section.string("select").map(|text| text.value);
    let order = section.string("order").map(|text| text.value);
    let has_expect = section.has("expect");
    let expect = section.section("expect").map(expect::read);
    if !has_expect {
        let help = "add `[tests.expect]` with `status = 403`, or with what the rows must be";
        source.report(section.span(), "the test expects nothing", Some(help.to_owned()));
    }
    section.finish();
    if let Some(name) = name.as_ref().filter(|name| name.value.trim().is_empty()) {
        source.report(&name.span, "the test has an empty name", Some("say in a few words what it proves".to_owned()));
    }
    Some(PolicyTest {
        name: Positioned::from_spanned(source, name?),
        principal: Positioned::from_spanned(source, principal?),
        endpoint: Positioned::from_spanned(source, endpoint?),
        arguments: arguments.unwrap_or_default(),
        select,
        order,
        expect: expect?,
    })
}

/// Reads a required string.
fn needed<'a, 's>(
    section: &mut Section<'a, 's>,
    key: &str,
    take: impl FnOnce(&mut Section<'a, 's>) -> Option<SpannedValue<String>>,
    example: &str,
) -> Option<SpannedValue<String>> {
    if !section.has(key) {
        let message = format!("{} has no `{key}`", section.name());
        section.source().report(section.span(), message, Some(format!("add it, such as `{example}`")));
    }
    take(section)
}

#[cfg(test)]
mod tests;
