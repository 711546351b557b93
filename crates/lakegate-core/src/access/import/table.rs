//! Parses the cells of the access-control table: `id`, `enterpriseKey`, and one boolean column an endpoint.
//!
//! An unexpected column fails the whole file, because then the rest of it cannot be trusted either.

use std::collections::BTreeSet;

use super::ImportRow;
use crate::access::name::{NameError, NameKind};
use crate::value::Scalar;

/// The column of the client's id. Its letter case is ignored, because query engines fold it.
pub const ID_COLUMN: &str = "id";
/// The column of the client's key.
pub const KEY_COLUMN: &str = "enterpriseKey";

/// The reason why a table is not an access-control table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// `id` or `enterpriseKey` is missing.
    #[error("there is no column `{column}`; the table has {}", columns(.found))]
    MissingColumn {
        /// The column.
        column: &'static str,
        /// The columns that exist.
        found: Vec<String>,
    },
    /// Two columns have the same name.
    #[error("there are two columns `{0}`; leave one out")]
    DuplicateColumn(String),
    /// The table has no endpoint column.
    #[error("there is no endpoint column beside `{ID_COLUMN}` and `{KEY_COLUMN}`; add one boolean column an endpoint")]
    NoEndpoints,
    /// A column name is not a valid endpoint name.
    #[error("{0}; if the column is no endpoint, leave it out with `--ignore-column`")]
    EndpointName(#[from] NameError),
    /// A cell is not a boolean.
    #[error(
        "column `{column}` is not boolean in row {row}; use true, false or nothing, or leave the column out with `--ignore-column`"
    )]
    NotBoolean {
        /// The column.
        column: String,
        /// The row.
        row: usize,
    },
    /// A key is not text.
    #[error("column `{KEY_COLUMN}` is not text in row {row}")]
    KeyNotText {
        /// The row.
        row: usize,
    },
    /// A column to ignore does not exist, or is required.
    #[error("column `{0}` cannot be ignored: it is not in the table, or is needed")]
    CanNotIgnore(String),
}

/// The role of a column.
enum Role {
    Id,
    Key,
    Endpoint,
    Ignored,
}

/// Parses the cells. NULL in a boolean column means "not granted".
pub fn table(
    columns: &[String],
    cells: &[Vec<Option<Scalar>>],
    ignore: &[String],
) -> Result<Vec<ImportRow>, TableError> {
    let roles = roles(columns, ignore)?;
    let mut rows = Vec::with_capacity(cells.len());
    for (index, cells) in cells.iter().enumerate() {
        let mut row = ImportRow { row: index + 1, client: None, key: None, endpoints: BTreeSet::new() };
        for ((column, role), cell) in columns.iter().zip(&roles).zip(cells) {
            match (role, cell) {
                (_, None) | (Role::Ignored, _) => {}
                (Role::Id, Some(id)) => row.client = whole_number(id),
                (Role::Key, Some(Scalar::String(key))) => row.key = Some(key.clone()).filter(|key| !key.is_empty()),
                (Role::Key, Some(Scalar::Uuid(key))) => row.key = Some(key.to_string()),
                (Role::Key, Some(_)) => return Err(TableError::KeyNotText { row: row.row }),
                (Role::Endpoint, Some(cell)) => match truth(cell) {
                    Some(true) => {
                        row.endpoints.insert(column.clone());
                    }
                    Some(false) => {}
                    None => return Err(TableError::NotBoolean { column: column.clone(), row: row.row }),
                },
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn roles(columns: &[String], ignore: &[String]) -> Result<Vec<Role>, TableError> {
    let mut seen = BTreeSet::new();
    let mut roles = Vec::with_capacity(columns.len());
    for column in columns {
        let role = if column.eq_ignore_ascii_case(ID_COLUMN) {
            Role::Id
        } else if column.eq_ignore_ascii_case(KEY_COLUMN) {
            Role::Key
        } else if ignore.contains(column) {
            Role::Ignored
        } else {
            NameKind::Endpoint.check(column)?;
            Role::Endpoint
        };
        let folded = match role {
            Role::Id | Role::Key => column.to_ascii_lowercase(),
            Role::Endpoint | Role::Ignored => column.clone(),
        };
        if !seen.insert(folded) {
            return Err(TableError::DuplicateColumn(column.clone()));
        }
        roles.push(role);
    }
    for column in [ID_COLUMN, KEY_COLUMN] {
        if !columns.iter().any(|found| found.eq_ignore_ascii_case(column)) {
            return Err(TableError::MissingColumn { column, found: columns.to_vec() });
        }
    }
    if let Some(column) = ignore.iter().find(|ignored| {
        !columns.iter().zip(&roles).any(|(column, role)| column == *ignored && matches!(role, Role::Ignored))
    }) {
        return Err(TableError::CanNotIgnore(column.clone()));
    }
    if !roles.iter().any(|role| matches!(role, Role::Endpoint)) {
        return Err(TableError::NoEndpoints);
    }
    Ok(roles)
}

/// Parses a whole number. Also accepts `4562.0`, which tools write for a column with empty rows.
fn whole_number(cell: &Scalar) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match cell {
        Scalar::Integer(id) => Some(*id),
        Scalar::Number(id) if id.fract() == 0.0 && id.abs() < EXACT => Some(*id as i64),
        Scalar::String(id) => id.strip_suffix(".0").unwrap_or(id).parse().ok(),
        _ => None,
    }
}

fn truth(cell: &Scalar) -> Option<bool> {
    match cell {
        Scalar::Boolean(truth) => Some(*truth),
        Scalar::Integer(0) => Some(false),
        Scalar::Integer(1) => Some(true),
        Scalar::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(true),
            "false" | "f" | "0" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn columns(found: &[String]) -> String {
    const MOST: usize = 20;
    let mut text =
        found.iter().take(MOST).map(|name| format!("`{}`", name.escape_debug())).collect::<Vec<_>>().join(", ");
    if found.len() > MOST {
        text.push_str(" and more");
    }
    if text.is_empty() { "no columns".to_owned() } else { text }
}
