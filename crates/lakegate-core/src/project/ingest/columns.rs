//! Parses `[columns.NAME]` of a recipe: how one column is filled.

use super::super::finding::suggest_or_list;
use super::super::reader::Section;
use super::kind::{ColumnType, PlainKind};

/// The options of one column of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipeColumn {
    /// The name in the table.
    pub name: String,
    /// The name in the files, if it differs.
    pub from: Option<String>,
    /// The type; `None` uses the table's type, or infers it from the values.
    pub kind: Option<ColumnType>,
    /// The formats of dates and times, in `strftime` syntax; if empty, the usual formats are tried.
    pub formats: Vec<String>,
    /// Words that mean NULL in this column, in addition to those of all columns.
    pub nulls: Vec<String>,
    /// A constant value for every row, instead of one from the files.
    pub value: Option<String>,
}

impl RecipeColumn {
    /// A column without options.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The name in the files.
    pub fn source(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }
}

pub(super) fn read(section: Section<'_, '_>) -> Vec<RecipeColumn> {
    let mut columns = Vec::<RecipeColumn>::new();
    for (name, mut section) in section.named_sections() {
        let source = section.source();
        let mut column = RecipeColumn::new(&name.value);
        column.from = section.string("from").map(|from| from.value);
        if let Some(kind) = section.string("type") {
            column.kind = ColumnType::parse(&kind.value);
            if column.kind.is_none() {
                let help = suggest_or_list(&kind.value, PlainKind::NAMES.iter().map(|(name, _)| *name));
                let help = format!("{help}; a list is written like `list<integer>`");
                source.report(&kind.span, format!("`{}` is not a type of a column", kind.value), Some(help));
            }
        }
        let list = |list: Option<super::SpannedValue<Vec<super::SpannedValue<String>>>>| {
            super::texts(list).unwrap_or_default()
        };
        column.formats = list(section.strings("formats"));
        column.nulls = list(section.strings("nulls"));
        if let Some(value) = section.string("value") {
            if let Some(from) = &column.from {
                let message = format!("column `{}` has a `value` and comes `from` the column `{from}`", name.value);
                source.report(&value.span, message, Some("keep one of them".into()));
            }
            column.value = Some(value.value);
        }
        section.finish();
        columns.push(column);
    }
    columns
}
