//! Writes the `[tables.*]` sections for found tables, and reads which tables a project already declares.

use super::{FoundTable, Suggestion, suggest_mask};
use crate::column_name;
use crate::project::{CONFIG_FILE, UNDECIDED};
use crate::value::ScalarType;

/// A table that a project declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name.
    pub name: String,
    /// The location, as written; empty if there is none.
    pub location: String,
}

/// Maximum number of columns that a comment lists before it only counts the rest.
const MOST_COLUMNS: usize = 12;

/// The lake and the tables that a project's text declares. Accepts a text that has other faults.
///
/// # Errors
/// The text is not TOML.
pub fn declared(text: &str) -> Result<(Option<String>, Vec<Declared>), String> {
    let read = text.parse::<toml::Table>().map_err(|error| {
        format!("`{CONFIG_FILE}` is not valid TOML, and is left as it is: {}", error.message().replace('\n', ", "))
    })?;
    let string = |table: &toml::Table, key: &str| Some(table.get(key)?.as_str()?.to_owned());
    let lake = read.get("lake").and_then(toml::Value::as_table).and_then(|lake| string(lake, "location"));
    let tables = read.get("tables").and_then(toml::Value::as_table).into_iter().flatten();
    let declared = tables.map(|(name, table)| {
        let location = table.as_table().and_then(|table| string(table, "location")).unwrap_or_default();
        Declared { name: name.clone(), location }
    });
    Ok((lake, declared.collect()))
}

/// The text of a new project with this lake.
pub fn new_project_text(lake: &str) -> String {
    format!("[lake]\nlocation = {}\n", quoted(lake))
}

/// The section of a table, with suggestions in comments. It does not pass `check`.
pub fn table_text(table: &FoundTable, suggestions: &[Suggestion]) -> String {
    let mut text = format!("\n# {}\n", comment(&summary(table)));
    for note in &table.notes {
        text += &format!("# Note: {}\n", comment(note));
    }
    for suggestion in suggestions {
        let Suggestion { column, reasons, .. } = suggestion;
        text += &format!("# Looks like a key of tenants: `{}`: {}.\n", comment(column), comment(&reasons.join("; ")));
    }
    for other in suggestions.iter().skip(1) {
        text += &format!("# Or: row_filter = {}\n", quoted(&other.row_filter));
    }
    if suggestions.is_empty() {
        text += "# Nothing in it looks like a key of tenants. Is it for every caller? Then write `shared = true` in place of the filter.\n";
    }
    text += &format!("[tables.{}]\nlocation = {}\n", key(&table.name), quoted(&table.location));
    if table.needs_format_key || table.delimiter.is_some() {
        text += &format!("format = {}\n", quoted(&table.format));
    }
    if let Some(delimiter) = table.delimiter {
        text += &format!("delimiter = {}\n", quoted(&delimiter.to_string()));
    }
    let typed = table.partitions.iter().filter(|(_, scalar)| *scalar != ScalarType::String);
    let typed = typed.map(|(name, scalar)| format!("{} = \"{}\"", key(name), scalar.name())).collect::<Vec<_>>();
    if !typed.is_empty() {
        text += &format!("partitions = {{ {} }}\n", typed.join(", "));
    }
    let filter = suggestions.first().map(|first| format!(" {}", first.row_filter)).unwrap_or_default();
    text += &format!("row_filter = {}\n", quoted(&format!("{UNDECIDED}{filter}")));
    for column in &table.columns {
        let Some(idea) = suggest_mask(&table.name, &column.name, column.kind) else { continue };
        text += &format!("# `{}` looks like {}. To mask it:\n", comment(&column.name), idea.reason);
        let name = key(&column_key(table, &column.name));
        text += &format!("# [tables.{}.columns.{name}]\n# mask = {}\n", key(&table.name), idea.mask);
    }
    text
}

fn summary(table: &FoundTable) -> String {
    let files = match table.files {
        0 => String::new(),
        1 => "1 file of ".to_owned(),
        files => format!("{files} files of "),
    };
    let rows = table.rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
    let columns = table.columns.iter().map(|column| format!("{} {}", column.name, column.type_name));
    let more = match table.columns.len().saturating_sub(MOST_COLUMNS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let columns = columns.take(MOST_COLUMNS).collect::<Vec<_>>().join(", ");
    format!("{files}{}{rows}: {columns}{more}", table.format)
}

/// The name of a column as a policy writes it, unambiguous against other columns and fields.
fn column_key(table: &FoundTable, name: &str) -> String {
    let is_twin = |other: &str| other != name && other.to_lowercase() == name.to_lowercase();
    match table.columns.iter().any(|other| is_twin(&other.name)) {
        true => column_name::in_quotes(name),
        false => column_name::written(&[name.to_owned()]),
    }
}

/// Replaces control characters, so that the text stays on one line.
fn comment(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect()
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|each| each.is_ascii_alphanumeric() || "_-".contains(each));
    if bare { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for each in text.chars() {
        match each {
            '"' | '\\' => quoted.extend(['\\', each]),
            each if each.is_control() => quoted += &format!("\\u{:04X}", u32::from(each)),
            each => quoted.push(each),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::{ColumnClass, FoundColumn, suggest};
    use super::*;
    use crate::project::{Project, ProjectFiles};

    fn found(name: &str) -> FoundTable {
        let column = |name: &str| FoundColumn {
            name: name.to_owned(),
            type_name: "string".to_owned(),
            kind: ColumnClass::Text,
            sample: None,
            range: None,
        };
        FoundTable {
            name: name.to_owned(),
            location: "a \"b\"/".to_owned(),
            format: "csv".to_owned(),
            delimiter: Some('\t'),
            files: 2,
            columns: vec![column("client_id"), column("e mail"), column("x\n[tables.evil]")],
            partitions: vec![("year".to_owned(), ScalarType::Integer)],
            ..FoundTable::default()
        }
    }

    #[test]
    fn what_is_written_is_read_and_refused_until_somebody_decides() {
        let table = found("note");
        let suggestions = suggest(std::slice::from_ref(&table));
        let config = new_project_text("lake/") + &table_text(&table, &suggestions["note"]);
        let files = ProjectFiles { config: config.clone(), ..ProjectFiles::default() };
        let (_, findings) = Project::read(&files);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains("nobody has decided"), "{findings:?}");
        assert!(findings[0].help.as_ref().unwrap().contains("client_id IN (principal('client_id'))"), "{findings:?}");
        let (lake, tables) = declared(&config).unwrap();
        assert_eq!(lake.as_deref(), Some("lake/"));
        assert_eq!(tables, [Declared { name: "note".to_owned(), location: "a \"b\"/".to_owned() }]);

        let decided = config.replace(&format!("{UNDECIDED} "), "");
        let (project, findings) = Project::read(&ProjectFiles { config: decided, ..ProjectFiles::default() });
        assert_eq!(findings, []);
        assert_eq!(project.config.tables["note"].partitions["year"], ScalarType::Integer);
    }

    #[test]
    fn the_ideas_for_masks_are_good_once_their_comment_is_taken_away() {
        let mut table = found("client");
        let personal = [("email", ColumnClass::Text), ("phone", ColumnClass::Text), ("born_birth", ColumnClass::Time)];
        table.columns = personal
            .into_iter()
            .map(|(name, kind)| FoundColumn {
                name: name.to_owned(),
                type_name: String::new(),
                kind,
                sample: None,
                range: None,
            })
            .collect();
        let text = new_project_text("lake/") + &table_text(&table, &[]);
        let text = text.replace("# [tables", "[tables").replace("# mask", "mask").replace(UNDECIDED, "id = 1");
        let (project, findings) = Project::read(&ProjectFiles { config: text, ..ProjectFiles::default() });
        assert_eq!(findings, []);
        assert_eq!(project.config.tables["client"].columns.len(), 3);
    }

    #[test]
    fn an_idea_for_a_mask_names_one_column_whatever_it_is_called() {
        let mut table = found("client");
        let names = ["buyer.email", "email", "Email", "e\"mail", "phone[0]"];
        table.columns = names
            .iter()
            .map(|name| FoundColumn {
                name: (*name).to_owned(),
                type_name: String::new(),
                kind: ColumnClass::Text,
                sample: None,
                range: None,
            })
            .collect();
        let text = new_project_text("lake/") + &table_text(&table, &[]);
        let text = text.replace("# [tables", "[tables").replace("# mask", "mask").replace(UNDECIDED, "id = 1");
        let (project, findings) = Project::read(&ProjectFiles { config: text, ..ProjectFiles::default() });
        assert_eq!(findings, []);
        let columns = project.config.tables["client"].columns.iter();
        let mut meant = columns.map(|rule| column_name::quoted_path(&rule.name).unwrap().join("/")).collect::<Vec<_>>();
        meant.sort();
        assert_eq!(meant, ["Email", "buyer.email", "e\"mail", "email", "phone[0]"]);
    }
}
