//! Finds a table's files in the lake: a file, a folder or a glob, with hive partitions; and refuses what is not safe to read.
//!
//! What is in the files is `table`'s business.

use std::collections::BTreeSet;
use std::path::Path as FilePath;

use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::TryStreamExt;
use lakegate_core::project::{FileFormat, Table};

use super::{Lake, TableFault};

/// The files of a table, sorted by path, with the values of their hive partitions.
#[derive(Debug)]
pub(crate) struct TableFiles {
    pub(crate) format: FileFormat,
    /// Names of the partition columns, from the outermost folder.
    pub(crate) partition_columns: Vec<String>,
    pub(crate) files: Vec<TableFile>,
}

/// One file and its partition values, in the order of [`TableFiles::partition_columns`]; `None` is NULL.
#[derive(Debug)]
pub(crate) struct TableFile {
    pub(crate) object: ObjectMeta,
    pub(crate) partition_values: Vec<Option<String>>,
}

/// The folder that stands for NULL in hive layouts.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

pub(crate) async fn find(lake: &Lake, table: &Table) -> Result<TableFiles, TableFault> {
    let location = table.location.trim_end_matches('/').trim_start_matches("./");
    let is_glob = location.contains(['*', '?', '[']);
    let base = if is_glob { fixed_folder(location) } else { location };
    let listed = list(lake, base).await?;

    let mut objects = if is_glob {
        let pattern = glob::Pattern::new(location)
            .map_err(|error| TableFault::new(format!("`{location}` is not a good glob: {}", error.msg)))?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        listed.into_iter().filter(|object| pattern.matches_with(object.location.as_ref(), options)).collect()
    } else if listed.is_empty() {
        single_file(lake, location, table.format).await?
    } else {
        listed
    };
    refuse_table_formats(lake, &objects).await?;
    objects.retain(|object| object.size > 0 && !is_hidden(relative(&object.location, base)));
    let format = table.format.or_else(|| common_format(&objects));
    let Some(format) = format else {
        let both = objects.iter().any(|object| extension_is(&object.location, FileFormat::Parquet));
        let (what, help) = match both {
            true => (
                "both Parquet and CSV files",
                "say which are the table's: `format = \"parquet\"` or `format = \"csv\"`",
            ),
            false => {
                ("no Parquet or CSV files", "check the location, or say `format` when the files have another extension")
            }
        };
        return Err(TableFault::new(format!("there are {what} at `{}`", table.location)).help(help));
    };
    // A format that is given reads files of any name, unless some have its extension.
    if objects.iter().any(|object| extension_is(&object.location, format)) {
        objects.retain(|object| extension_is(&object.location, format));
    }
    if objects.is_empty() {
        return Err(TableFault::new(format!("there are no {} files at `{}`", format.extension(), table.location))
            .help("check the location"));
    }
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    for object in &objects {
        refuse_outside(lake, &object.location)?;
    }
    with_partitions(objects, base, format)
}

/// The folders of a glob before the first one with a wildcard.
fn fixed_folder(location: &str) -> &str {
    let wildcard = location.find(['*', '?', '[']).unwrap_or(location.len());
    location[..wildcard].rfind('/').map_or("", |slash| &location[..slash])
}

async fn list(lake: &Lake, folder: &str) -> Result<Vec<ObjectMeta>, TableFault> {
    let prefix = Path::parse(folder).map_err(|_| TableFault::new(format!("`{folder}` is not a path")))?;
    match lake.store.list(Some(&prefix)).try_collect::<Vec<_>>().await {
        // A prefix of a name is not a folder: `order` must not find `order_old/x.parquet`.
        Ok(objects) => Ok(objects.into_iter().filter(|object| object.location.prefix_matches(&prefix)).collect()),
        Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(TableFault::new(format!("the files at `{folder}` can not be listed")).source(error)),
    }
}

/// The location itself, or the location with an extension: `order/` finds `order.parquet` in a lake of single files.
async fn single_file(lake: &Lake, location: &str, format: Option<FileFormat>) -> Result<Vec<ObjectMeta>, TableFault> {
    let formats = format.map_or(vec![FileFormat::Parquet, FileFormat::Csv], |format| vec![format]);
    let with_extension = formats.into_iter().map(|format| format!("{location}.{}", format.extension()));
    for candidate in std::iter::once(location.to_owned()).chain(with_extension) {
        let path = Path::parse(&candidate).map_err(|_| TableFault::new(format!("`{location}` is not a path")))?;
        match lake.store.head(&path).await {
            Ok(object) => return Ok(vec![object]),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(TableFault::new(format!("the file `{candidate}` can not be read")).source(error)),
        }
    }
    Err(TableFault::new(format!("there is nothing at `{location}` in the lake"))
        .help("check `location` here and in [lake]"))
}

/// A folder of a table format also holds files that are no longer, or not yet, part of the table. Looks beside the
/// files and above them, up to the lake's root: a part of such a table is no safer to read than the whole.
async fn refuse_table_formats(lake: &Lake, objects: &[ObjectMeta]) -> Result<(), TableFault> {
    let mut folders = BTreeSet::new();
    for object in objects {
        let mut path = object.location.as_ref();
        while let Some((folder, _)) = path.rsplit_once('/') {
            folders.insert(folder);
            path = folder;
        }
    }
    folders.insert("");
    for folder in folders {
        let Some(kind) = table_format(lake, folder).await? else { continue };
        let message = format!(
            "`{folder}` is {kind} table, whose files can not be read as they lie: deleted rows would come back"
        );
        return Err(TableFault::new(message).help("export it as Parquet for now"));
    }
    Ok(())
}

/// The table format of which a folder is a table.
async fn table_format(lake: &Lake, folder: &str) -> Result<Option<&'static str>, TableFault> {
    let below = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    if !list(lake, &below("_delta_log")).await?.is_empty() {
        return Ok(Some("a Delta"));
    }
    if !list(lake, &below(".hoodie")).await?.is_empty() {
        return Ok(Some("a Hudi"));
    }
    let metadata = list(lake, &below("metadata")).await?;
    let is_iceberg = metadata.iter().any(|object| object.location.as_ref().ends_with(".metadata.json"));
    Ok(is_iceberg.then_some("an Iceberg"))
}

/// A link must not lead out of the lake.
fn refuse_outside(lake: &Lake, path: &Path) -> Result<(), TableFault> {
    let real = lake.root.join(path.as_ref()).canonicalize();
    if real.is_ok_and(|real: std::path::PathBuf| real.starts_with(&lake.root)) {
        return Ok(());
    }
    Err(TableFault::new(format!("`{path}` leads out of the lake"))
        .help("a table's files, and what links among them point to, lie below the lake's location"))
}

fn relative<'a>(path: &'a Path, base: &str) -> &'a str {
    let path = path.as_ref();
    match path.strip_prefix(base) {
        // `note.csv` is not a file `.csv` below `note`.
        Some(below) if base.is_empty() || below.starts_with('/') => below.trim_start_matches('/'),
        _ => path,
    }
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with(['_', '.']) && !segment.contains('='))
}

fn extension_is(path: &Path, format: FileFormat) -> bool {
    let extension = FilePath::new(path.as_ref()).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case(format.extension()))
}

fn common_format(objects: &[ObjectMeta]) -> Option<FileFormat> {
    let has = |format| objects.iter().any(|object| extension_is(&object.location, format));
    match (has(FileFormat::Parquet), has(FileFormat::Csv)) {
        (true, false) => Some(FileFormat::Parquet),
        (false, true) => Some(FileFormat::Csv),
        _ => None,
    }
}

fn with_partitions(objects: Vec<ObjectMeta>, base: &str, format: FileFormat) -> Result<TableFiles, TableFault> {
    let mut columns: Option<Vec<String>> = None;
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let path = relative(&object.location, base);
        let mut names = Vec::new();
        let mut values = Vec::new();
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        for (name, value) in folders.split('/').filter_map(|folder| folder.split_once('=')) {
            names.push(name.to_owned());
            values.push((value != HIVE_NULL).then(|| decode(value)));
        }
        if columns.get_or_insert_with(|| names.clone()) != &names {
            return Err(TableFault::new(format!("`{path}` has other partition folders than the files before it"))
                .help("every file of a table lies in folders `name=value` with the same names in the same order"));
        }
        files.push(TableFile { object, partition_values: values });
    }
    Ok(TableFiles { format, partition_columns: columns.unwrap_or_default(), files })
}

/// Hive writers percent-encode what a path can not hold.
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_starts_below_its_fixed_folders() {
        assert_eq!(fixed_folder("a/b/*.parquet"), "a/b");
        assert_eq!(fixed_folder("*.csv"), "");
        assert_eq!(fixed_folder("a/b*/c"), "a");
    }

    #[test]
    fn a_file_found_by_its_name_without_extension_is_not_hidden() {
        assert_eq!(relative(&Path::from("note.csv"), "note"), "note.csv");
        assert_eq!(relative(&Path::from("note/a.csv"), "note"), "a.csv");
        assert_eq!(relative(&Path::from("a.csv"), ""), "a.csv");
    }

    #[test]
    fn hidden_files_are_not_data_but_partitions_of_odd_names_are() {
        assert!(is_hidden("_SUCCESS"));
        assert!(is_hidden("x/.tmp/a.parquet"));
        assert!(!is_hidden("_year=2022/a.parquet"));
    }

    #[test]
    fn partition_values_are_decoded() {
        assert_eq!(decode("a%2Fb%"), "a/b%");
    }
}
