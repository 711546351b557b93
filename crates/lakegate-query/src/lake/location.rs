//! Finds a table's files in the lake, from a file, a folder or a glob, with hive partitions. Refuses files that are not
//! safe to read.
//!
//! `table` reads the contents.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::{FutureExt, TryStreamExt};
use lakegate_core::project::{FileCompression, FileFormat, Table};

use super::columns::in_order;
use super::store::is_away;
use super::{Lake, TableFault};

/// The files of a table, sorted by path, with their hive partition values.
#[derive(Debug)]
pub(crate) struct TableFiles {
    pub(crate) format: FileFormat,
    /// The compression of all files.
    pub(crate) compression: FileCompression,
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

/// The partition value that means NULL in hive layouts.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The extent of the search for other table formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The table's files and the folders above them, before a table is read.
    Whole,
    /// The table's files only, to find out whether they changed. The folders above were checked before.
    Again,
}

pub(crate) async fn find(lake: &Lake, table: &Table, look: Look) -> Result<TableFiles, TableFault> {
    let location = table.location.trim_end_matches('/').trim_start_matches("./");
    let is_pattern = location.contains(['*', '?', '[']);
    // A name may contain brackets, and some writers always use them in folder names.
    let is_name =
        is_pattern && !location.contains(['*', '?']) && is_file_or_folder(lake, location, table.format).await?;
    let is_glob = is_pattern && !is_name;
    let base = if is_glob { fixed_folder(location) } else { location };
    let below = location.strip_prefix(base).unwrap_or(location).trim_start_matches('/');
    // A pattern within one folder needs no recursive listing.
    let is_flat = is_glob && !below.contains('/') && !below.contains("**");
    let listing = if is_flat { list_folder(lake, base).await? } else { list_below(lake, base).await? };
    let is_folder = !listing.objects.is_empty();
    if is_name {
        refuse_other_meaning(lake, location).await?;
    }
    let mut objects = if is_glob {
        let pattern = glob::Pattern::new(location)
            .map_err(|error| TableFault::new(format!("`{location}` is not a good glob: {}", error.msg)))?;
        let found = listing.objects.iter().filter(|object| pattern.matches_with(object.location.as_ref(), GLOB));
        found.cloned().collect()
    } else if is_folder {
        listing.objects.clone()
    } else {
        single_file(lake, location, table.format).await?
    };
    refuse_table_formats(&listing, &objects)?;
    if look == Look::Whole {
        // A recursive listing already covers the base folder.
        refuse_table_formats_above(lake, if is_flat { Some(base) } else { parent(base) }).await?;
    }
    objects.retain(|object| !is_hidden(relative(&object.location, base)));
    // The reader reports an empty text file; any other empty object may be a folder marker.
    let is_text = |object: &ObjectMeta| format_of(&object.location).is_some_and(|format| format != FileFormat::Parquet);
    let has_rows = |object: &ObjectMeta| object.size > 0 || is_text(object);
    let (mut objects, empty) = objects.into_iter().partition::<Vec<_>, _>(has_rows);
    let format = table.format.or_else(|| common_format(&objects)).or_else(|| common_format(&empty));
    let Some(format) = format else {
        let several = objects.iter().any(|object| format_of(&object.location).is_some());
        let (what, help) = match several {
            true => (
                "files of several formats",
                "say which are the table's: `format = \"parquet\"`, `format = \"csv\"` or `format = \"ndjson\"`",
            ),
            false => (
                "no Parquet, CSV or NDJSON files",
                "check the location, or say `format` when the files have another extension",
            ),
        };
        return Err(TableFault::new(format!("there are {what} at `{}`", table.location)).help(help));
    };
    let is_broken = |object: &&ObjectMeta| format == FileFormat::Parquet && extension_is(&object.location, format);
    if let Some(object) = empty.iter().find(is_broken) {
        // A Parquet file is never empty, and a response without this file would lack its rows.
        return Err(TableFault::new(format!("`{}` has no bytes, so its rows are missing", object.location))
            .help("write the file again if its upload broke off, or remove it"));
    }
    // A declared format reads files of any name, unless some have its extension.
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
    let compression = common_compression(&objects, format, table.text.compression)?;
    with_partitions(with_tags(lake, objects).await?, base, format, compression)
}

/// Glob matching ignores case, and `*` does not cross folders, but `**` does.
const GLOB: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: false, require_literal_separator: true, require_literal_leading_dot: false };

/// Whether a location with brackets is the literal name of a file or a folder.
async fn is_file_or_folder(lake: &Lake, location: &str, format: Option<FileFormat>) -> Result<bool, TableFault> {
    if is_there(lake, location).await? {
        return Ok(true);
    }
    match lake.store.head(&folder_path(location)?).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => match single_file(lake, location, format).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.source.is_none() => Ok(false),
            Err(fault) => Err(fault),
        },
        Err(error) => Err(unlisted(lake, format!("the file `{location}` cannot be read"), error)),
    }
}

/// Fails when a literal name is also a pattern that matches another file, because it could mean either.
async fn refuse_other_meaning(lake: &Lake, location: &str) -> Result<(), TableFault> {
    let Ok(pattern) = glob::Pattern::new(location) else { return Ok(()) };
    let listing = list_below(lake, fixed_folder(location)).await?;
    match listing.objects.iter().find(|object| pattern.matches_with(object.location.as_ref(), GLOB)) {
        None => Ok(()),
        Some(other) => {
            Err(TableFault::new(format!("`{location}` is a name, and a pattern that `{}` meets", other.location))
                .help("as a pattern, write `[[]` for an opening bracket of a name"))
        }
    }
}

/// Adds the ETags that the listings of some stores omit.
async fn with_tags(lake: &Lake, objects: Vec<ObjectMeta>) -> Result<Vec<ObjectMeta>, TableFault> {
    if objects.iter().all(|object| object.e_tag.is_some()) {
        return Ok(objects);
    }
    let tagged = objects.into_iter().map(|object| {
        let tagged = async move {
            if object.e_tag.is_some() {
                return Ok(object);
            }
            let location = object.location;
            let asked = lake.store.head(&location).await;
            asked.map_err(|error| unlisted(lake, format!("the file `{location}` cannot be read"), error))
        };
        tagged.boxed()
    });
    in_order(tagged.collect()).await
}

/// The folders of a glob before the first wildcard.
fn fixed_folder(location: &str) -> &str {
    let wildcard = location.find(['*', '?', '[']).unwrap_or(location.len());
    location[..wildcard].rfind('/').map_or("", |slash| &location[..slash])
}

/// A folder's contents, recursive or not.
#[derive(Debug, Default)]
struct Listing {
    objects: Vec<ObjectMeta>,
    /// Subfolders whose files are not among the objects.
    folders: Vec<Path>,
}

async fn list_below(lake: &Lake, folder: &str) -> Result<Listing, TableFault> {
    let prefix = folder_path(folder)?;
    match lake.store.list(Some(&prefix)).try_collect::<Vec<_>>().await {
        // A name prefix is not a folder: `order` must not match `order_old/x.parquet`.
        Ok(mut objects) => {
            objects.retain(|object| object.location.prefix_matches(&prefix));
            Ok(Listing { objects, folders: Vec::new() })
        }
        Err(StoreError::NotFound { .. }) => Ok(Listing::default()),
        Err(error) => Err(unlisted(lake, format!("the files at `{folder}` cannot be listed"), error)),
    }
}

/// All files below a folder, with their ETags.
pub(super) async fn list(lake: &Lake, folder: &str) -> Result<Vec<ObjectMeta>, TableFault> {
    with_tags(lake, list_below(lake, folder).await?.objects).await
}

async fn list_folder(lake: &Lake, folder: &str) -> Result<Listing, TableFault> {
    let prefix = folder_path(folder)?;
    match lake.store.list_with_delimiter(Some(&prefix)).await {
        Ok(listed) => Ok(Listing { objects: listed.objects, folders: listed.common_prefixes }),
        Err(StoreError::NotFound { .. }) => Ok(Listing::default()),
        Err(error) => Err(unlisted(lake, format!("the files at `{folder}` cannot be listed"), error)),
    }
}

fn folder_path(folder: &str) -> Result<Path, TableFault> {
    Path::parse(folder).map_err(|_| TableFault::new(format!("`{folder}` is not a path")))
}

/// The fault for a store error. It is transient when the store is unavailable.
pub(super) fn unlisted(lake: &Lake, message: String, error: StoreError) -> TableFault {
    let is_passing = lake.is_remote() && is_away(&error);
    TableFault::new(message).source(error).passing(is_passing)
}

/// The file at the location itself or with an extension added: `order/` finds `order.parquet` in a lake of single
/// files.
async fn single_file(lake: &Lake, location: &str, format: Option<FileFormat>) -> Result<Vec<ObjectMeta>, TableFault> {
    let formats = format.map_or(vec![FileFormat::Parquet, FileFormat::Csv, FileFormat::NdJson], |format| vec![format]);
    let with_extension = formats.into_iter().map(|format| format!("{location}.{}", format.extension()));
    for candidate in std::iter::once(location.to_owned()).chain(with_extension) {
        match lake.store.head(&folder_path(&candidate)?).await {
            Ok(object) => return Ok(vec![object]),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(unlisted(lake, format!("the file `{candidate}` cannot be read"), error)),
        }
    }
    Err(TableFault::new(format!("there is nothing at `{location}` in the lake"))
        .help("check `location` here and in [lake]"))
}

/// Fails when one of the table's files is below the folder of a Delta, Hudi or Iceberg table in the listing. Such a
/// folder also holds files that do not belong to its table any more, or not yet.
fn refuse_table_formats(listing: &Listing, objects: &[ObjectMeta]) -> Result<(), TableFault> {
    let folders = listing.folders.iter().map(|folder| format!("{folder}/"));
    let paths = folders.chain(listing.objects.iter().map(|object| object.location.to_string()));
    let mut tables = BTreeMap::new();
    for path in paths {
        let parts = path.split('/').collect::<Vec<_>>();
        for (at, part) in parts.iter().enumerate().take(parts.len() - 1) {
            let kind = match *part {
                "_delta_log" => "a Delta",
                ".hoodie" => "a Hudi",
                "metadata" if path.ends_with(".metadata.json") => "an Iceberg",
                _ => continue,
            };
            tables.insert(parts[..at].join("/"), kind);
        }
    }
    for (folder, kind) in tables {
        let holds =
            |object: &ObjectMeta| folder_path(&folder).is_ok_and(|folder| object.location.prefix_matches(&folder));
        if objects.iter().any(holds) {
            return Err(of_table_format(&folder, kind));
        }
    }
    Ok(())
}

/// Checks the folders above the listing, up to the lake's root, because a part of such a table is no safer to read than
/// the whole.
async fn refuse_table_formats_above(lake: &Lake, mut next: Option<&str>) -> Result<(), TableFault> {
    while let Some(folder) = next {
        if let Some(kind) = table_format(lake, folder).await? {
            return Err(of_table_format(folder, kind));
        }
        next = parent(folder);
    }
    Ok(())
}

fn of_table_format(folder: &str, kind: &str) -> TableFault {
    let message =
        format!("`{folder}` is {kind} table, whose files cannot be read as they lie: deleted rows would come back");
    TableFault::new(message).help(match kind {
        "a Delta" => format!("declare it: `location = \"{folder}/\"` and `format = \"delta\"`"),
        "an Iceberg" => format!("declare it: `location = \"{folder}/\"` and `format = \"iceberg\"`"),
        _ => "export it as Parquet".to_owned(),
    })
}

/// The parent folder; `""` for a folder in the root, `None` for the root.
fn parent(folder: &str) -> Option<&str> {
    (!folder.is_empty()).then(|| folder.rsplit_once('/').map_or("", |(parent, _)| parent))
}

/// The table format of the table at a folder; `None` when there is none.
async fn table_format(lake: &Lake, folder: &str) -> Result<Option<&'static str>, TableFault> {
    let below = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    if is_there(lake, &below("_delta_log")).await? {
        return Ok(Some("a Delta"));
    }
    if is_there(lake, &below(".hoodie")).await? {
        return Ok(Some("a Hudi"));
    }
    let metadata = list_folder(lake, &below("metadata")).await?;
    let is_iceberg = metadata.objects.iter().any(|object| object.location.as_ref().ends_with(".metadata.json"));
    Ok(is_iceberg.then_some("an Iceberg"))
}

/// Whether a folder contains anything.
async fn is_there(lake: &Lake, folder: &str) -> Result<bool, TableFault> {
    match lake.store.list(Some(&folder_path(folder)?)).try_next().await {
        Ok(first) => Ok(first.is_some()),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(unlisted(lake, format!("the files at `{folder}` cannot be listed"), error)),
    }
}

/// Fails when a symlink leads out of the lake.
pub(super) fn refuse_outside(lake: &Lake, path: &Path) -> Result<(), TableFault> {
    if !leads_outside(lake.root.as_deref(), path) {
        return Ok(());
    }
    Err(TableFault::new(format!("`{path}` leads out of the lake"))
        .help("a table's files, and what links among them point to, lie below the lake's location"))
}

/// Whether a path leads out of the lake's folder. A path that does not exist does not.
pub(super) fn leads_outside(root: Option<&FilePath>, path: &Path) -> bool {
    // An object store has no symlinks.
    let Some(root) = root else { return false };
    let path = root.join(path.as_ref());
    match path.canonicalize() {
        Ok(real) => !real.starts_with(root),
        // A dangling symlink may lead anywhere tomorrow.
        Err(error) => error.kind() != std::io::ErrorKind::NotFound || path.symlink_metadata().is_ok(),
    }
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
    format_of(path) == Some(format)
}

/// The format that a file's extension names, without regard to a compression extension.
fn format_of(path: &Path) -> Option<FileFormat> {
    let name = FilePath::new(path.as_ref());
    let extension = |name: &FilePath| Some(name.extension()?.to_str()?.to_ascii_lowercase());
    let last = extension(name)?;
    let (format, is_compressed) = match FileCompression::from_extension(&last) {
        Some(_) => (extension(FilePath::new(name.file_stem()?))?, true),
        None => (last, false),
    };
    match format.as_str() {
        "parquet" if !is_compressed => Some(FileFormat::Parquet),
        "csv" => Some(FileFormat::Csv),
        "ndjson" | "jsonl" | "json" => Some(FileFormat::NdJson),
        _ => None,
    }
}

/// The only format among the files that have one. A `.json` file beside Parquet or CSV files is their description, not
/// data.
fn common_format(objects: &[ObjectMeta]) -> Option<FileFormat> {
    let has = |format| objects.iter().any(|object| extension_is(&object.location, format));
    let is_lines = |object: &ObjectMeta| {
        let name = object.location.as_ref().to_ascii_lowercase();
        extension_is(&object.location, FileFormat::NdJson) && !name.ends_with(".json")
    };
    let (parquet, csv) = (has(FileFormat::Parquet), has(FileFormat::Csv));
    let lines = match parquet || csv {
        true => objects.iter().any(is_lines),
        false => has(FileFormat::NdJson),
    };
    match (parquet, csv, lines) {
        (true, false, false) => Some(FileFormat::Parquet),
        (false, true, false) => Some(FileFormat::Csv),
        (false, false, true) => Some(FileFormat::NdJson),
        _ => None,
    }
}

/// The compression of all files: the declared one, or else the one that their extensions name. Fails when they differ.
fn common_compression(
    objects: &[ObjectMeta],
    format: FileFormat,
    declared: Option<FileCompression>,
) -> Result<FileCompression, TableFault> {
    if format == FileFormat::Parquet {
        return Ok(FileCompression::None);
    }
    if let Some(declared) = declared {
        return Ok(declared);
    }
    let of = |object: &ObjectMeta| {
        let extension = FilePath::new(object.location.as_ref()).extension().and_then(|extension| extension.to_str());
        extension.and_then(FileCompression::from_extension).unwrap_or(FileCompression::None)
    };
    let first = objects.first().map_or(FileCompression::None, of);
    match objects.iter().find(|object| of(object) != first) {
        None => Ok(first),
        Some(other) => {
            let (here, there) = (of(other).name(), first.name());
            let message =
                format!("`{}` has the compression `{here}`, and the files before it `{there}`", other.location);
            Err(TableFault::new(message).help("all files of a table have the same; ingest them, or make two tables"))
        }
    }
}

fn with_partitions(
    objects: Vec<ObjectMeta>,
    base: &str,
    format: FileFormat,
    compression: FileCompression,
) -> Result<TableFiles, TableFault> {
    let mut columns: Option<Vec<String>> = None;
    let mut files = Vec::with_capacity(objects.len());
    for object in objects {
        let path = relative(&object.location, base);
        let mut names = Vec::new();
        let mut values = Vec::new();
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        for (name, value) in folders.split('/').filter_map(|folder| folder.split_once('=')) {
            if names.iter().any(|outer| outer == name) {
                return Err(TableFault::new(format!("`{path}` lies in two partition folders of the name `{name}`"))
                    .help("nothing says which of the two values is the column's; move the files"));
            }
            names.push(name.to_owned());
            let decoded = match value {
                HIVE_NULL => None,
                value => Some(decode(value).ok_or_else(|| not_utf8(path))?),
            };
            values.push(decoded);
        }
        if columns.get_or_insert_with(|| names.clone()) != &names {
            return Err(TableFault::new(format!("`{path}` has other partition folders than the files before it"))
                .help("every file of a table lies in folders `name=value` with the same names in the same order"));
        }
        files.push(TableFile { object, partition_values: values });
    }
    Ok(TableFiles { format, compression, partition_columns: columns.unwrap_or_default(), files })
}

/// Not converted by guess, because two values could become one.
fn not_utf8(path: &str) -> TableFault {
    TableFault::new(format!("a partition folder of `{path}` is not UTF-8 once it is decoded"))
        .help("percent-encode the UTF-8 bytes of the value, such as `%C3%BC` for `ü`")
}

/// Percent-decodes a partition value, because hive writers encode what a path cannot hold. `None` when the bytes are
/// not UTF-8.
pub(super) fn decode(value: &str) -> Option<String> {
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
    String::from_utf8(decoded).ok()
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
        assert_eq!(decode("a%2Fb%").as_deref(), Some("a/b%"));
        assert_eq!(decode("M%C3%BCller").as_deref(), Some("Müller"));
        assert_eq!(decode("M%FCller"), None);
    }
}
