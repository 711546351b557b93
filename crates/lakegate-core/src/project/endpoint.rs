//! Parses an endpoint file: TOML front matter in the leading comment, and one SQL query.
//!
//! The SQL is kept as text here; `lakegate_query` checks it.

use std::time::Duration;

use super::cache::CACHE_FOR;
use super::finding::{Finding, Position};
use super::limits::{self, EndpointLimits};
use super::name;
use super::param::{self, Param};
use super::reader::{Section, TomlSource};

const OPEN: &str = "/*---";
const CLOSE: &str = "---*/";

/// A checked endpoint file.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The name, which is the file's name without `.sql`.
    pub name: String,
    /// The path, relative to the project folder.
    pub path: String,
    /// One sentence for the docs.
    pub summary: String,
    /// A longer description for the docs.
    pub description: Option<String>,
    /// Whether callers without a grant get 404 instead of 403, as if the endpoint did not exist.
    pub hidden: bool,
    /// The time for which a result is reused for callers that may see the same.
    pub cache_for: Duration,
    /// Whether callers may read an earlier state of tables that keep their history.
    pub as_of: bool,
    /// The parameters, in the order of the file.
    pub params: Vec<Param>,
    /// The names of all declared parameters, including those that could not be read.
    pub declared_params: Vec<String>,
    /// Predicates over all arguments together.
    pub rules: Vec<Rule>,
    /// Suppresses groups smaller than a minimum; `None` suppresses none.
    pub small_groups: Option<SmallGroups>,
    /// The limits of its calls.
    pub limits: EndpointLimits,
    /// The file's text with the front matter replaced by spaces, so that lines and columns match the file.
    pub sql: String,
}

/// `min_group_size` and `subject`: suppresses small groups.
#[derive(Clone, Debug)]
pub struct SmallGroups {
    /// Minimum number of distinct subjects; smaller groups are left out of the result.
    pub least: u64,
    /// The column of the grouped rows that identifies the subject of a row, as the query names it.
    pub subject: String,
    /// Position of `subject`.
    pub subject_position: Position,
}

/// `[[rules]]`: a predicate over the parameters.
#[derive(Clone, Debug)]
pub struct Rule {
    /// A SQL predicate over `$parameters`; NULL counts as true, as in a `CHECK` constraint.
    pub check: String,
    /// The message for the caller if the predicate is false.
    pub message: String,
    /// Position of the predicate.
    pub position: Position,
}

impl Endpoint {
    /// The parameter with this name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Converts a line and column of [`Endpoint::sql`], both from 1, to a position in the file.
    pub fn position(&self, line: usize, column: usize) -> Position {
        Position { path: self.path.clone(), line: line.max(1), column: column.max(1) }
    }
}

/// Reads a file of `endpoints/`; `None` if its faults prevent it.
pub(crate) fn read(path: &str, text: &str) -> (Option<Endpoint>, Vec<Finding>) {
    let mut findings = Vec::new();
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let endpoint_name = file_name.strip_suffix(".sql").unwrap_or(file_name);
    if let Some(fault) = name::endpoint_fault(endpoint_name) {
        findings.push(
            Finding::new(Position::start(path), format!("endpoint name `{endpoint_name}` {fault}"))
                .help("rename the file"),
        );
    }
    let start = text.len() - text.trim_start_matches('\u{feff}').trim_start().len();
    if !text[start..].starts_with(OPEN) {
        let help = format!("begin the file with a comment `{OPEN}` … `{CLOSE}` that holds at least `summary = \"…\"`");
        findings.push(Finding::new(Position::at_byte(path, text, start), "there is no front matter").help(help));
        return (None, findings);
    }
    let toml_start = start + OPEN.len();
    let Some(toml_length) = text[toml_start..].find(CLOSE) else {
        let finding = Finding::new(Position::at_byte(path, text, start), "the front matter does not end");
        findings.push(finding.help(format!("close it with `{CLOSE}`")));
        return (None, findings);
    };
    let sql_start = toml_start + toml_length + CLOSE.len();
    let (source, table) = TomlSource::new(path, text, toml_start..toml_start + toml_length);
    if source.has_findings() {
        // After a syntax error, further findings would only be guesses.
        findings.extend(source.into_findings());
        return (None, findings);
    }
    let mut root = Section::new(&source, "the front matter", 0..0, table.get_ref());

    let summary = root.string("summary");
    if summary.as_ref().is_none_or(|summary| summary.value.trim().is_empty()) {
        source.report(&(0..0), "the endpoint has no `summary`", Some("say in one sentence what it answers".into()));
    }
    let description = root.string("description");
    let hidden = root.boolean("hidden");
    let as_of = root.boolean("as_of");
    let cache_seconds = root.integer("cache_seconds", 0..=86_400);
    let (mut params, mut declared_params) = (Vec::new(), Vec::new());
    if let Some(section) = root.section("params") {
        for (declared, section) in section.named_sections() {
            params.extend(param::read(&declared, section));
            declared_params.push(declared.value);
        }
    }
    let rules = root.sections("rules").into_iter().filter_map(read_rule).collect();
    let small_groups = read_small_groups(&mut root);
    let limits = root.section("limits").map(limits::read_endpoint).unwrap_or_default();
    root.finish();
    findings.extend(source.into_findings());

    let endpoint = Endpoint {
        name: endpoint_name.to_owned(),
        path: path.to_owned(),
        summary: summary.map(|summary| summary.value).unwrap_or_default(),
        description: description.map(|description| description.value),
        hidden: hidden.is_some_and(|hidden| hidden.value),
        as_of: as_of.is_some_and(|as_of| as_of.value),
        cache_for: cache_seconds.map_or(CACHE_FOR, |seconds| Duration::from_secs(seconds.value)),
        params,
        declared_params,
        rules,
        small_groups,
        limits,
        sql: format!("{}{}", blank(&text[..sql_start]), &text[sql_start..]),
    };
    (Some(endpoint), findings)
}

fn read_small_groups(root: &mut Section<'_, '_>) -> Option<SmallGroups> {
    let source = root.source();
    let (has_least, has_subject) = (root.has("min_group_size"), root.has("subject"));
    let least = root.integer("min_group_size", 2..=1_000_000);
    let subject = root.string("subject");
    if has_least != has_subject {
        let (given, missing) = if has_least { ("min_group_size", "subject") } else { ("subject", "min_group_size") };
        let span = least.as_ref().map(|least| &least.span).or(subject.as_ref().map(|subject| &subject.span));
        let help =
            "say `min_group_size = 5` and `subject = \"t.client_id\"`, the column whose distinct values are counted";
        source.report(span.unwrap_or(&(0..0)), format!("`{given}` stands without `{missing}`"), Some(help.into()));
    }
    let (least, subject) = (least?, subject?);
    Some(SmallGroups { least: least.value, subject_position: source.position(&subject.span), subject: subject.value })
}

fn read_rule(mut section: Section<'_, '_>) -> Option<Rule> {
    let source = section.source();
    let check = section.string("check");
    let message = section.string("message");
    for (key, missing) in [("check", check.is_none()), ("message", message.is_none())] {
        if missing {
            source.report(
                section.span(),
                format!("a rule has no `{key}`"),
                Some("a rule has a `check` over parameters and a `message` for the caller".into()),
            );
        }
    }
    section.finish();
    let check = check?;
    Some(Rule { position: source.position(&check.span), check: check.value, message: message?.value })
}

/// Replaces each character with a space, and keeps newlines.
fn blank(text: &str) -> String {
    text.chars().map(|each| if each == '\n' { '\n' } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> String {
        let (_, findings) = read("endpoints/e.sql", text);
        findings.iter().map(|finding| finding.to_string() + "\n").collect()
    }

    #[test]
    fn a_good_file_keeps_the_lines_of_its_sql() {
        let (endpoint, findings) = read("endpoints/e.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT 1");
        assert_eq!(findings, []);
        let endpoint = endpoint.unwrap();
        assert_eq!(endpoint.name, "e");
        assert_eq!(endpoint.sql.lines().nth(3), Some("SELECT 1"));
        assert_eq!(endpoint.sql.trim(), "SELECT 1");
    }

    #[test]
    fn all_faults_come_at_once_with_their_places() {
        insta::assert_snapshot!(findings("/*---
sumary = \"s\"
[params.start]
type = \"timestmp\"
[params.n]
type = \"integer\"
min = \"a\"
deafult = 3
[params.limit]
type = \"integer\"
[params.p]
type = \"string\"
pattern = \"(\"
[[rules]]
check = \"$n > 1\"
---*/ SELECT 1"), @r#"
        endpoints/e.sql:1:6: the endpoint has no `summary`; say in one sentence what it answers
        endpoints/e.sql:4:8: `timestmp` is not a type; did you mean `timestamp`?
        endpoints/e.sql:8:1: unknown key `deafult` in [params.n]; did you mean `default`?
        endpoints/e.sql:7:7: `min` is not a whole number between -9223372036854775808 and 9223372036854775807
        endpoints/e.sql:9:9: parameter name `limit` has a meaning of its own in requests; choose another name
        endpoints/e.sql:13:11: `pattern` is not a regular expression: error: unclosed group
        endpoints/e.sql:14:1: a rule has no `message`; a rule has a `check` over parameters and a `message` for the caller
        endpoints/e.sql:2:1: unknown key `sumary` in the front matter; did you mean `summary`?
        "#);
    }

    #[test]
    fn a_number_is_the_same_in_every_notation() {
        for (written, wanted) in [("16", 16.0), ("0x10", 16.0), ("0o20", 16.0), ("0b1_0000", 16.0), ("1_6.0", 16.0)] {
            let text =
                format!("/*---\nsummary = \"s\"\n[params.n]\ntype = \"number\"\nmin = {written}\n---*/ SELECT 1");
            let (endpoint, findings) = read("endpoints/e.sql", &text);
            assert_eq!(findings, [], "{written}");
            let min = endpoint.unwrap().params.remove(0).min;
            assert_eq!(min, Some(crate::value::Scalar::Number(wanted)), "{written}");
        }
    }

    #[test]
    fn a_file_without_front_matter_says_what_to_write() {
        insta::assert_snapshot!(findings("SELECT 1"), @"endpoints/e.sql:1:1: there is no front matter; begin the file with a comment `/*---` … `---*/` that holds at least `summary = \"…\"`");
        insta::assert_snapshot!(findings("/*---\nsummary=\"\""), @"endpoints/e.sql:1:1: the front matter does not end; close it with `---*/`");
    }
}
