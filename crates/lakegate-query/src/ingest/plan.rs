//! Plans an ingestion before the first row is written: which columns the rows have, where their values come from, and
//! their types. The recipe, the table and the files decide.

use std::fs::File;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use lakegate_core::project::ingest::{ColumnType, PlainKind, Recipe, RecipeColumn, SourceFormat};
use lakegate_core::project::suggest_or_list;

use super::files::SourceFile;
use super::infer::Guess;
use super::text::Rows;
use super::values::Reading;
use super::{IngestError, Progress, TableFormat, writable};

/// The columns to write, and the source of each value.
#[derive(Debug)]
pub(super) struct Plan {
    /// Schema of the rows to write.
    pub(super) schema: SchemaRef,
    /// One entry per column of the schema.
    pub(super) columns: Vec<Planned>,
}

#[derive(Debug)]
pub(super) struct Planned {
    /// Column name in the source files; `None` for a constant.
    pub(super) source: Option<String>,
    pub(super) constant: Option<String>,
    /// Parsing rules for text cells.
    pub(super) reading: Reading,
    /// Whether NULL is rejected.
    pub(super) is_required: bool,
}

/// A column before its values are read.
struct Draft {
    name: String,
    source: Option<String>,
    said: RecipeColumn,
    data_type: Option<DataType>,
    is_required: bool,
}

pub(super) fn make(
    recipe: &Recipe,
    files: &[SourceFile],
    table: Option<&SchemaRef>,
    format: TableFormat,
    progress: &dyn Progress,
) -> Result<Plan, IngestError> {
    let is_parquet = files.first().is_some_and(|file| file.format == SourceFormat::Parquet);
    let sources = if is_parquet { parquet_columns(files)? } else { text_columns(recipe, files, progress)? };
    let mut drafts = drafts(recipe, &sources)?;
    fit_table(recipe, &mut drafts, table, format)?;
    for draft in &mut drafts {
        // A text column of Parquet may be parsed as another type; all other columns keep their types.
        let given =
            sources.iter().find(|(name, _)| Some(name) == draft.source.as_ref()).and_then(|(_, kind)| kind.clone());
        let said = draft.said.kind.map(arrow_type);
        draft.data_type = draft.data_type.take().or(said).or(given);
        if draft.data_type.is_none() && draft.source.is_none() {
            draft.data_type = Some(DataType::Utf8);
        }
    }
    if drafts.iter().any(|draft| draft.data_type.is_none()) {
        infer(recipe, files, &mut drafts, progress)?;
    }
    let fields = drafts.iter().map(|draft| {
        let data_type = draft.data_type.clone().unwrap_or(DataType::Utf8);
        Field::new(&draft.name, data_type, true)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let schema =
        writable(&schema, format).map_err(|fault| IngestError::unfit(fault, "give the column another `type`"))?;
    let mut columns = Vec::new();
    for (draft, field) in drafts.into_iter().zip(schema.fields()) {
        // Parquet columns keep their values, whatever their types; text cannot be parsed into a type without a kind.
        let unread = is_parquet.then_some((PlainKind::String, false));
        let (kind, is_list) = plain_kind(field.data_type()).or(unread).ok_or_else(|| {
            let what =
                format!("column `{}` is of the type {}, which is not read from files", field.name(), field.data_type());
            IngestError::unfit(what, "leave the column out with `drop`, or give it a `type`")
        })?;
        let RecipeColumn { formats, nulls, value, .. } = draft.said;
        let (range, is_single) = (range(field.data_type()), is_single(field.data_type()));
        let reading = Reading { kind, is_list, formats, nulls, options: recipe.text.clone(), range, is_single };
        columns.push(Planned { source: draft.source, constant: value, reading, is_required: draft.is_required });
    }
    for key in &recipe.key {
        if schema.field_with_name(key).is_err() {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            return Err(IngestError::unfit(
                format!("there is no column `{key}` for the key"),
                suggest_or_list(key, names),
            ));
        }
    }
    Ok(Plan { schema, columns })
}

type Sources = Vec<(String, Option<DataType>)>;

/// Columns of text files: for CSV the header's, which all files must share; for NDJSON all keys.
fn text_columns(recipe: &Recipe, files: &[SourceFile], progress: &dyn Progress) -> Result<Sources, IngestError> {
    let mut columns = Vec::<String>::new();
    let mut first = None::<&SourceFile>;
    for file in files {
        let mut rows = Rows::open(file, &recipe.text, None)?;
        if let Some(header) = rows.columns() {
            let mut ours = header.to_vec();
            if let Some(first) = first {
                ours.sort();
                let mut theirs = columns.clone();
                theirs.sort();
                if ours != theirs {
                    let what = format!("`{}` has other columns than `{}`", file.shown, first.shown);
                    return Err(IngestError::unfit(what, "ingest them one after the other, or correct the files"));
                }
            } else {
                columns = ours;
                first = Some(file);
            }
            continue;
        }
        drop(rows);
        progress.begin("looking for columns", file.bytes);
        rows = Rows::open(file, &recipe.text, Some(progress))?;
        while let Some((_, row)) = rows.next().map_err(IngestError::unread(&file.shown))? {
            let Ok(super::text::Row::Object(object)) = row else { continue };
            for key in object.keys().filter(|key| !columns.contains(key)).cloned().collect::<Vec<_>>() {
                if columns.len() >= MOST_COLUMNS {
                    return Err(too_many_columns(&file.shown));
                }
                columns.push(key);
            }
        }
    }
    if columns.len() > MOST_COLUMNS {
        return Err(too_many_columns(&files[0].shown));
    }
    Ok(columns.into_iter().map(|name| (name, None)).collect())
}

/// Maximum number of columns; a table with more cannot be served.
const MOST_COLUMNS: usize = 2_000;

fn too_many_columns(file: &str) -> IngestError {
    IngestError::unfit(
        format!("`{file}` has more than {MOST_COLUMNS} columns"),
        "is the delimiter another one? A table of that many columns is not served",
    )
}

fn parquet_columns(files: &[SourceFile]) -> Result<Sources, IngestError> {
    let mut schemas = Vec::new();
    for file in files {
        let opened = File::open(&file.path).map_err(IngestError::unread(&file.shown))?;
        // The decoder trusts some lengths in the file, and panics when they are wrong.
        let reader = std::panic::catch_unwind(|| ParquetRecordBatchReaderBuilder::try_new(opened));
        let reader = reader.ok().and_then(Result::ok).ok_or_else(|| broken(&file.shown))?;
        let schema = writable(reader.schema(), TableFormat::Parquet)
            .map_err(|fault| IngestError::unfit(format!("`{}`: {fault}", file.shown), "leave the column out"))?;
        schemas.push(schema.as_ref().clone());
    }
    let merged = Schema::try_merge(schemas).map_err(|error| {
        IngestError::unfit(format!("the files do not fit together: {error}"), "ingest them one by one")
    })?;
    Ok(merged.fields().iter().map(|field| (field.name().clone(), Some(field.data_type().clone()))).collect())
}

pub(super) fn broken(file: &str) -> IngestError {
    IngestError::unfit(format!("`{file}` is not valid Parquet, or is cut off"), "make it anew")
}

fn drafts(recipe: &Recipe, sources: &Sources) -> Result<Vec<Draft>, IngestError> {
    let names = || sources.iter().map(|(name, _)| name.as_str());
    let is_there = |name: &str| sources.iter().any(|(source, _)| source == name);
    if let Some(name) = recipe.drop.iter().find(|name| !is_there(name)) {
        return Err(IngestError::unfit(
            format!("there is no column `{name}` in the files to drop"),
            suggest_or_list(name, names().collect::<Vec<_>>()),
        ));
    }
    let mut drafts = Vec::<Draft>::new();
    for (source, _) in sources {
        if recipe.drop.contains(source) {
            continue;
        }
        let said = recipe.columns.iter().find(|column| column.value.is_none() && column.source() == source);
        let is_taken = recipe.columns.iter().any(|column| column.name == *source && column.value.is_some());
        if is_taken {
            return Err(IngestError::unfit(
                format!("column `{source}` has a `value`, and is in the files too"),
                "leave that of the files out with `drop`, or the `value`",
            ));
        }
        let said = said.cloned().unwrap_or_else(|| RecipeColumn::new(source));
        let (name, source) = (said.name.clone(), Some(source.clone()));
        drafts.push(Draft { name, source, said, data_type: None, is_required: false });
    }
    for column in &recipe.columns {
        if column.value.is_some() {
            let name = column.name.clone();
            drafts.push(Draft { name, source: None, said: column.clone(), data_type: None, is_required: false });
        } else if !is_there(column.source()) || recipe.drop.iter().any(|name| name == column.source()) {
            return Err(IngestError::unfit(
                format!("there is no column `{}` in the files for `{}`", column.source(), column.name),
                suggest_or_list(column.source(), names().collect::<Vec<_>>()),
            ));
        }
    }
    for (at, draft) in drafts.iter().enumerate() {
        if drafts[..at].iter().any(|other| other.name == draft.name) {
            return Err(IngestError::unfit(
                format!("two columns become `{}`", draft.name),
                "give one another name with `from`",
            ));
        }
    }
    Ok(drafts)
}

/// Takes column types from the existing table. The recipe must declare columns that only one of both has.
fn fit_table(
    recipe: &Recipe,
    drafts: &mut [Draft],
    table: Option<&SchemaRef>,
    format: TableFormat,
) -> Result<(), IngestError> {
    let Some(table) = table else { return Ok(()) };
    for draft in drafts.iter_mut() {
        let Ok(field) = table.field_with_name(&draft.name) else {
            if recipe.new_columns {
                continue;
            }
            let names = table.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
            return Err(IngestError::unfit(
                format!("the table has no column `{}`", draft.name),
                format!(
                    "{}; or leave it out with `drop`, or say `new_columns = true`",
                    suggest_or_list(&draft.name, names)
                ),
            ));
        };
        if let Some(kind) = draft.said.kind
            && !holds(field.data_type(), kind)
        {
            let what =
                format!("column `{}` is {} in the table, and `{kind}` in the recipe", draft.name, field.data_type());
            return Err(IngestError::unfit(what, "use the table's type; a column is not widened here"));
        }
        draft.data_type = Some(field.data_type().clone());
        draft.is_required = !field.is_nullable() && format != TableFormat::Parquet;
    }
    let is_given = |name: &str| drafts.iter().any(|draft| draft.name == name);
    if let Some(field) = table.fields().iter().find(|field| !is_given(field.name())) {
        return Err(IngestError::unfit(
            format!("the files have no column `{}`, which the table has", field.name()),
            format!(
                "say which it is with `[columns.{0}]` and `from`, or give it a `value` (an empty one is NULL)",
                field.name()
            ),
        ));
    }
    // Use the table's column order.
    let place = |name: &str| table.index_of(name).unwrap_or(usize::MAX);
    drafts.sort_by_key(|draft| place(&draft.name));
    Ok(())
}

fn holds(data_type: &DataType, kind: ColumnType) -> bool {
    let (plain, is_list) = match kind {
        ColumnType::Plain(plain) => (plain, false),
        ColumnType::List(plain) => (plain, true),
    };
    plain_kind(data_type) == Some((plain, is_list))
}

fn arrow_type(kind: ColumnType) -> DataType {
    let plain = |kind: PlainKind| match kind {
        PlainKind::String => DataType::Utf8,
        PlainKind::Integer => DataType::Int64,
        PlainKind::Number => DataType::Float64,
        PlainKind::Boolean => DataType::Boolean,
        PlainKind::Date => DataType::Date32,
        PlainKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    };
    match kind {
        ColumnType::Plain(kind) => plain(kind),
        ColumnType::List(kind) => DataType::List(Arc::new(Field::new_list_field(plain(kind), true))),
    }
}

fn plain_kind(data_type: &DataType) -> Option<(PlainKind, bool)> {
    Some(match data_type {
        DataType::Utf8 => (PlainKind::String, false),
        other if other.is_integer() => (PlainKind::Integer, false),
        DataType::Float32 | DataType::Float64 => (PlainKind::Number, false),
        DataType::Boolean => (PlainKind::Boolean, false),
        DataType::Date32 => (PlainKind::Date, false),
        DataType::Timestamp(..) => (PlainKind::Timestamp, false),
        DataType::List(item) => match plain_kind(item.data_type())? {
            (plain, false) => (plain, true),
            _ => return None,
        },
        _ => return None,
    })
}

fn is_single(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => is_single(item.data_type()),
        other => *other == DataType::Float32,
    }
}

fn range(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, i64::MAX),
        DataType::List(item) => range(item.data_type()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Reads all rows to infer the columns that have no type yet.
fn infer(
    recipe: &Recipe,
    files: &[SourceFile],
    drafts: &mut [Draft],
    progress: &dyn Progress,
) -> Result<(), IngestError> {
    let mut guesses = drafts
        .iter()
        .map(|draft| {
            let said = &draft.said;
            draft.data_type.is_none().then(|| Guess::new(&recipe.text, &said.formats, &said.nulls))
        })
        .collect::<Vec<_>>();
    for file in files {
        progress.begin("looking for types", file.bytes);
        let mut rows = Rows::open(file, &recipe.text, Some(progress))?;
        let places = places(&rows, drafts.iter().map(|draft| draft.source.as_deref()));
        while let Some((_, row)) = rows.next().map_err(IngestError::unread(&file.shown))? {
            let Ok(row) = row else { continue };
            for ((draft, guess), place) in drafts.iter().zip(&mut guesses).zip(&places) {
                if let (Some(guess), Some(source)) = (guess, &draft.source) {
                    guess.see(row.cell(*place, source));
                }
            }
        }
    }
    for (draft, guess) in drafts.iter_mut().zip(guesses) {
        if let Some(guess) = guess {
            draft.data_type = Some(arrow_type(guess.kind()));
        }
    }
    Ok(())
}

/// The index of each source column in the rows of a file; `usize::MAX` when it has none.
pub(super) fn places<'n>(rows: &Rows<'_>, sources: impl Iterator<Item = Option<&'n str>>) -> Vec<usize> {
    let place = |name: Option<&str>| rows.columns()?.iter().position(|column| Some(column.as_str()) == name);
    sources.map(|name| place(name).unwrap_or(usize::MAX)).collect()
}
