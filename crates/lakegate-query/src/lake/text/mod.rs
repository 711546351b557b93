//! Reads a table's CSV and NDJSON files with our own parsers; their records do not depend on where a read, a range or a
//! compressed block ends.
//!
//! Each file is read whole once when it is new, to infer its columns and find faults (`look`), and then by scans
//! (`source`). Both use the same row reader, so they agree. Files that are not UTF-8 are refused; they can be ingested.

mod build;
mod bytes;
mod cell;
mod csv;
mod declared;
mod fault;
mod forms;
mod guess;
mod json;
mod lines;
mod look;
#[cfg(test)]
mod property_tests;
mod rows;
mod shape;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use futures::FutureExt;
use lakegate_core::project::{FileCompression, FileFormat, TextFiles, suggest_or_list};

pub use declared::Skipped;
pub(crate) use fault::is_text_fault;
pub(crate) use source::TextFormat;

use super::columns::{self, Unreadable};
use super::pinned::plain;
use guess::Guess;
use look::Looked;
use shape::Shapes;

/// Maximum length of a line, in bytes, because a whole line is held in memory.
const MOST_LINE_BYTES: usize = 16 << 20;
/// Maximum number of columns of a table.
pub(crate) const MOST_COLUMNS: usize = 2_000;

/// The settings for reading a table's text files.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) format: FileFormat,
    pub(super) compression: FileCompression,
    pub(super) text: TextFiles,
    pub(super) skipped: Skipped,
}

/// The schema of a table's text files, inferred by reading them all.
pub(super) struct TextTable {
    pub(super) format: Arc<dyn Format>,
    pub(super) schema: SchemaRef,
    /// Rows of each file and bytes of their text, in the order of the files.
    pub(super) rows: Vec<(usize, usize)>,
    pub(super) skipped: Skipped,
}

/// Reads every file once to infer the schema.
pub(super) async fn read(
    store: &Arc<dyn ObjectStore>,
    is_remote: bool,
    objects: &[ObjectMeta],
    format: FileFormat,
    compression: FileCompression,
    text: &TextFiles,
) -> Result<TextTable, Unreadable> {
    let mut layout = Layout { format, compression, text: text.clone(), skipped: Skipped::default() };
    let reading = objects.iter().map(|object| {
        let looking = look::look(store, object, &layout).map(|looked| Ok(looked?));
        columns::guarded(is_remote, looking).map(|looked| looked.map_err(|error| error.of(object))).boxed()
    });
    let looked = columns::in_order(reading.collect()).await?;
    let mut skipped = Skipped::default();
    looked.iter().for_each(|file| skipped.add(file.skipped));
    let rows = looked.iter().map(|file| (usize::try_from(file.rows).unwrap_or(usize::MAX), file.bytes)).collect();
    let fields = match format {
        FileFormat::NdJson => json_fields(&looked, objects, text)?,
        _ => csv_fields(&looked, objects, text)?,
    };
    if fields.is_empty() {
        return Err("no column is in them: all objects are empty, or there is none".to_owned().into());
    }
    layout.skipped = skipped;
    let format = Arc::new(TextFormat { layout: Arc::new(layout) });
    Ok(TextTable { format, schema: Arc::new(Schema::new(fields)), rows, skipped })
}

impl TextFormat {
    /// Counts of what is not served as written.
    pub(crate) fn skipped(&self) -> Skipped {
        self.layout.skipped
    }
}

/// The columns of CSV files; every file must have the same ones, in any order.
fn csv_fields(looked: &[Looked], objects: &[ObjectMeta], text: &TextFiles) -> Result<Vec<Field>, Unreadable> {
    let mut first = None::<Vec<(String, Guess)>>;
    for (file, object) in looked.iter().zip(objects).filter(|(file, _)| !file.is_empty) {
        let Some(first) = &mut first else {
            first = Some(file.columns.clone());
            continue;
        };
        let of = |name: &str| file.columns.iter().find(|(column, _)| column == name).map(|(_, guess)| guess);
        for (name, guess) in first.iter_mut() {
            match of(name) {
                Some(other) if file.columns.len() == first_len(looked) => guess.merge(other),
                _ => return Err(columns_differ(&file.columns, looked, object).into()),
            }
        }
    }
    let columns = first.unwrap_or_default();
    if let Some((name, _)) = text.types.iter().find(|(name, _)| !columns.iter().any(|(column, _)| column == name)) {
        let help = suggest_or_list(name, columns.iter().map(|(column, _)| column.as_str()));
        return Err(format!("`types` names column `{name}`, which is not in them; {help}").into());
    }
    let field = |(name, guess): &(String, Guess)| match text.types.iter().find(|(declared, _)| declared == name) {
        Some((_, kind)) => build::declared_field(name, *kind),
        None => Field::new(name, guess.data_type(), true),
    };
    Ok(columns.iter().map(field).collect())
}

fn first_len(looked: &[Looked]) -> usize {
    looked.iter().find(|file| !file.is_empty).map_or(0, |file| file.columns.len())
}

fn columns_differ(found: &[(String, Guess)], looked: &[Looked], object: &ObjectMeta) -> String {
    let names =
        |columns: &[(String, Guess)]| columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
    let first = looked.iter().find(|file| !file.is_empty).map(|file| names(&file.columns)).unwrap_or_default();
    format!("`{}` has the columns `{}`, and the files before it `{first}`", plain(&object.location), names(found))
}

/// The columns of NDJSON files: those of any file, and the declared ones.
fn json_fields(looked: &[Looked], objects: &[ObjectMeta], text: &TextFiles) -> Result<Vec<Field>, Unreadable> {
    let mut shapes = Shapes::default();
    for (file, object) in looked.iter().zip(objects) {
        shapes.merge(&file.shapes).map_err(|fault| Unreadable::from(fault.to_string()).of(object))?;
    }
    let declared = |name: &str| text.types.iter().find(|(declared, _)| declared == name);
    let mut fields = shapes.fields();
    for field in &mut fields {
        if let Some((name, kind)) = declared(field.name()) {
            *field = build::declared_field(name, *kind);
        }
    }
    for (name, kind) in &text.types {
        if !fields.iter().any(|field| field.name() == name) {
            fields.push(build::declared_field(name, *kind));
        }
    }
    if fields.len() > MOST_COLUMNS {
        return Err(format!("there are {} columns in them, more than {MOST_COLUMNS} columns", fields.len()).into());
    }
    Ok(fields)
}
