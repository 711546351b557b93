//! Project files: any text parses to a project or to findings, whose positions are inside the text.

use std::collections::BTreeMap;

use lakegate_core::project::{Config, Finding, Position, Project, ProjectFiles, RowPolicy};

const ENDPOINT: &str = "endpoints/e.sql";
const CONFIG: &str = "[lake]\nlocation = \"lake/\"\n[tables.t]\nlocation = \"t.parquet\"\nshared = true\n";

/// Parses the text as an endpoint file.
///
/// # Panics
/// If a position is outside the text, or an endpoint without findings breaks its own rules.
pub fn endpoint_file(text: &str) {
    let files = ProjectFiles {
        config: CONFIG.to_owned(),
        endpoints: BTreeMap::from([(ENDPOINT.to_owned(), text.to_owned())]),
        ..ProjectFiles::default()
    };
    let (project, findings) = Project::read(&files);
    findings.iter().for_each(|finding| check_finding(finding, ENDPOINT, text));
    let Some(endpoint) = project.endpoints.get("e") else {
        assert!(!findings.is_empty(), "a file was left out without a word");
        return;
    };
    assert_eq!(endpoint.sql.chars().count(), text.chars().count(), "the SQL has moved");
    for (blanked, original) in endpoint.sql.chars().zip(text.chars()) {
        assert!(blanked == original || (blanked == ' ' && original != '\n'), "the SQL has changed");
    }
    for position in
        endpoint.params.iter().map(|param| &param.position).chain(endpoint.rules.iter().map(|it| &it.position))
    {
        check_position(position, ENDPOINT, text);
    }
    if !findings.is_empty() {
        return;
    }
    assert!(!endpoint.summary.trim().is_empty());
    assert_eq!(endpoint.params.len(), endpoint.declared_params.len());
    for param in &endpoint.params {
        for value in param.default.iter().chain(&param.example) {
            assert_eq!(value.value_type(), param.value_type);
            assert_eq!(param.fault(value), None, "a value of `{}` breaks its own rules", param.name);
        }
        let bounds = param.allowed.iter().chain(&param.min).chain(&param.max);
        bounds.for_each(|bound| assert_eq!(bound.scalar_type(), param.value_type.scalar));
        assert!(!(param.required && param.default.is_some()));
    }
}

/// Parses the text as `lakegate.toml`.
///
/// # Panics
/// If a position is outside the text, or a config without findings is unsafe.
pub fn config(text: &str) {
    let (project, findings) = Project::read(&ProjectFiles { config: text.to_owned(), ..ProjectFiles::default() });
    findings.iter().for_each(|finding| check_finding(finding, "lakegate.toml", text));
    let config = project.config;
    assert!(config.tables.keys().all(|name| config.declared.contains(name)));
    for table in config.tables.values() {
        check_position(&table.position, "lakegate.toml", text);
        check_position(&table.location_position, "lakegate.toml", text);
    }
    if !findings.is_empty() {
        return;
    }
    // A declared table that is not read would have no policy.
    assert_eq!(config.tables.len(), config.declared.len(), "a table was left out without a word");
    for table in config.tables.values() {
        assert!(!table.location.starts_with('/') && !table.location.split(['/', '\\']).any(|part| part == ".."));
        if let RowPolicy::Filtered { filter, position, .. } = &table.policy {
            assert!(!filter.trim().is_empty());
            check_position(position, "lakegate.toml", text);
        }
    }
    check_columns(&config, text);
    assert!(config.access_store.starts_with("sqlite:"));
    assert!(config.server.base_path.is_none_or(|path| path.starts_with('/')));
    assert!(!config.server.timeout.is_zero() && config.server.max_body_bytes > 0);
    assert!(config.server.max_concurrent_queries > 0 && config.server.memory_limit_bytes > 0);
}

/// Checks that every declared column is read: a mask that is written and not read would not be applied.
fn check_columns(config: &Config, text: &str) {
    let written: toml::Table = text.parse().expect("a file without findings is TOML");
    let entries = |table: Option<&toml::Value>| table.and_then(|table| table.as_table()).cloned().unwrap_or_default();
    for (name, table) in entries(written.get("tables")) {
        let columns = entries(table.get("columns"));
        let rules = &config.tables[&name].columns;
        assert_eq!(columns.len(), rules.len(), "a column of `{name}` was left out without a word");
        for rule in rules {
            let column = &columns[&rule.name];
            assert_eq!(column.get("mask").is_some(), rule.mask.is_some(), "a mask was left out without a word");
            let tags = column.get("tags").and_then(|tags| tags.as_array()).map_or(0, |tags| tags.len());
            assert!(rule.tags.is_empty() == (tags == 0), "tags were left out without a word");
            assert!(rule.tags.iter().all(|tag| config.tags.contains_key(tag)), "a tag is not declared");
        }
    }
    for (name, tag) in entries(written.get("tags")) {
        assert_eq!(tag.get("mask").is_some(), config.tags[&name].mask.is_some(), "a mask was left out without a word");
    }
}

fn check_finding(finding: &Finding, path: &str, text: &str) {
    check_position(&finding.position, path, text);
    assert!(!finding.message.is_empty());
    assert!(!finding.to_string().is_empty());
}

/// Checks that a position is inside the text: on an existing line, at most one character after its end.
fn check_position(position: &Position, path: &str, text: &str) {
    assert_eq!(position.path, path);
    let line = position.line.checked_sub(1).and_then(|line| text.split('\n').nth(line));
    let Some(line) = line else { panic!("{position} is outside the text") };
    assert!((1..=line.chars().count() + 1).contains(&position.column), "{position} is outside the line");
}
