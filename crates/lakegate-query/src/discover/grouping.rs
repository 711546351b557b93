//! Groups the files of a folder into tables: files with compatible schemas become one table, others are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::object_store::ObjectMeta;
use lakegate_core::discover::{ColumnClass, FoundColumn, FoundTable};
use lakegate_core::value::ScalarType;

use super::sniff::{Footer, Seen, What, fit};
use super::text::Text;
use super::walk::{Folder, is_partition, last};
use super::{Discovery, LeftOut};
use crate::lake::MOST_COLUMNS;
use crate::plan::column_type_name;

/// A table that discovery found, with the inputs for its row sample.
#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) table: FoundTable,
    /// Parquet files to sample, at most [`SAMPLED_FILES`].
    pub(super) files: Vec<ObjectMeta>,
    /// Rows that are already in memory, from the head of a text file.
    pub(super) rows: Option<RecordBatch>,
}

/// Files that are sampled for each table.
const SAMPLED_FILES: usize = 3;
/// The folder value that stands for NULL in hive partitioning.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Files with the same format, delimiter and columns.
struct Group {
    format: &'static str,
    delimiter: u8,
    schema: SchemaRef,
    files: Vec<(ObjectMeta, Data)>,
    /// Number of files whose columns differ from those of most files: some are missing, or their types are narrower.
    others: usize,
}

enum Data {
    Parquet(Footer),
    Text(Text),
}

/// Adds the tables of a folder to `candidates`, and all other files to `found.left_out`.
pub(super) fn tables(folder: &Folder, seen: Vec<Seen>, candidates: &mut Vec<Candidate>, found: &mut Discovery) {
    if folder.path.contains(['*', '?']) {
        found.left_out.push(LeftOut {
            path: format!("{}/", folder.path),
            reason: "its name is a pattern of other names".to_owned(),
            help: Some("rename the folder".to_owned()),
        });
        return;
    }
    let all_names = seen.iter().map(|seen| seen.object.location.to_string()).collect::<Vec<_>>();
    let mut groups = Vec::<Group>::new();
    let mut faulty = Vec::new();
    for Seen { object, what } in seen {
        let (format, delimiter, schema, data) = match what {
            What::Parquet(footer) => ("parquet", b',', SchemaRef::clone(&footer.schema), Data::Parquet(footer)),
            What::Text(text) if text.trouble.is_empty() => {
                (text.format, text.delimiter, SchemaRef::clone(&text.schema), Data::Text(text))
            }
            What::Text(text) => {
                found.left_out.push(for_ingest(&object, &text));
                faulty.push(last(object.location.as_ref()).to_owned());
                continue;
            }
            What::Other(reason, help) => {
                if is_data_by_name(object.location.as_ref()) {
                    faulty.push(last(object.location.as_ref()).to_owned());
                }
                found.left_out.push(LeftOut { path: object.location.to_string(), reason, help });
                continue;
            }
        };
        match groups
            .iter_mut()
            .find(|group| (group.format, group.delimiter) == (format, delimiter) && same(&group.schema, &schema))
        {
            Some(group) => group.files.push((object, data)),
            None => groups.push(Group { format, delimiter, schema, files: vec![(object, data)], others: 0 }),
        }
    }
    groups = merged(groups, folder.is_deep);
    if groups.is_empty() {
        return;
    }
    let is_alone = groups.len() == 1;
    let parts = if folder.is_deep {
        groups.sort_by_key(|group| std::cmp::Reverse(group.files.len()));
        for (object, _) in groups.drain(1..).flat_map(|group| group.files) {
            found.left_out.push(LeftOut {
                path: object.location.to_string(),
                reason: "its columns are not those of the other files of its table".to_owned(),
                help: Some("take it out of the folder: `check` refuses the table otherwise".to_owned()),
            });
        }
        groups.into_iter().map(|group| (deep_location(folder, &group), group)).collect()
    } else if is_alone && !folder.path.is_empty() && !folder.has_others_below {
        groups.into_iter().map(|group| (format!("{}/", folder.path), group)).collect()
    } else {
        split(folder, groups, &all_names, found)
    };
    let is_mixed = parts.len() > 1;
    for (location, group) in parts {
        let mut candidate = candidate(location, group, folder);
        if let Some((reason, help)) = refused(&candidate.table) {
            let (path, help) = (candidate.table.location, Some(help.to_owned()));
            found.left_out.push(LeftOut { path, reason, help });
            continue;
        }
        if is_mixed && candidate.table.files > 1 {
            let place = if folder.path.is_empty() { "the lake's folder" } else { "its folder" };
            candidate
                .table
                .notes
                .push(format!("{place} has files of other tables too; these go together by name and columns"));
        }
        let within = faulty.iter().filter(|name| matches_location(&candidate.table.location, &folder.path, name));
        for name in within {
            candidate
                .table
                .notes
                .push(format!("`{name}` at this location cannot be read as it is; take it away or mend it"));
        }
        candidates.push(candidate);
    }
}

/// Why a group of files cannot be served as a table, and what to do. `check` would refuse a project with such a table.
fn refused(table: &FoundTable) -> Option<(String, &'static str)> {
    let names = table.partitions.iter().map(|(name, _)| name).collect::<Vec<_>>();
    if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let reason = format!("its files are in two partition folders of the name `{name}`");
        return Some((reason, "nothing says which of the two values is the column's; move the files"));
    }
    let columns = table.columns.len() + names.len();
    (columns > MOST_COLUMNS).then(|| {
        (
            format!("it has {columns} columns, and a table has {MOST_COLUMNS} at most"),
            "export the columns that are needed",
        )
    })
}

fn for_ingest(object: &ObjectMeta, text: &Text) -> LeftOut {
    let what = text.trouble.iter().map(|trouble| trouble.what.as_str()).collect::<Vec<_>>().join(", ");
    let recipe = text.trouble.iter().map(|trouble| trouble.recipe.as_str()).collect::<Vec<_>>().join("; ");
    LeftOut {
        path: object.location.to_string(),
        reason: format!("it is not served as it is: {what}"),
        help: Some(format!("make a table of it with `lakegate ingest`; in its recipe: {recipe}")),
    }
}

fn is_data_by_name(path: &str) -> bool {
    [".parquet", ".csv", ".csv.gz", ".csv.zst"].iter().any(|extension| path.to_ascii_lowercase().ends_with(extension))
}

fn same(one: &Schema, other: &Schema) -> bool {
    one.fields().len() == other.fields().len()
        && one
            .fields()
            .iter()
            .zip(other.fields())
            .all(|(one, other)| one.name() == other.name() && one.data_type() == other.data_type())
}

/// Merges groups that are versions of one table: they share most columns, and no shared column has a conflicting type.
fn merged(groups: Vec<Group>, ignores_names: bool) -> Vec<Group> {
    let mut merged = Vec::<Group>::new();
    for group in groups {
        let stems = stems(&group);
        let is_version = |other: &&mut Group| {
            (other.format, other.delimiter) == (group.format, group.delimiter)
                && (ignores_names || self::stems(other).intersection(&stems).next().is_some())
                && are_versions(&other.schema, &group.schema, group.format != "parquet")
        };
        match merged.iter_mut().find(is_version) {
            Some(earlier) => {
                earlier.others +=
                    if earlier.files.len() < group.files.len() { earlier.files.len() } else { group.files.len() };
                earlier.schema = union(&earlier.schema, &group.schema);
                earlier.files.extend(group.files);
            }
            None => merged.push(group),
        }
    }
    merged
}

fn stems(group: &Group) -> BTreeSet<String> {
    group.files.iter().map(|(object, _)| stem(last(object.location.as_ref())).to_owned()).collect()
}

fn stem(name: &str) -> &str {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    // Spark and similar writers name a part with a number and then random letters, which carry no meaning.
    if let Some(part) = stem.strip_prefix("part-")
        && part.starts_with(|first: char| first.is_ascii_digit())
    {
        return "part";
    }
    let base = stem.trim_end_matches(|each: char| each.is_ascii_digit() || "-_ ".contains(each));
    if base.is_empty() { "" } else { base }
}

fn are_versions(one: &Schema, other: &Schema, is_text: bool) -> bool {
    // In text files, a column with plain values of several kinds is read as text.
    let is_plain = |field: &Field| is_text && !field.data_type().is_nested();
    let common = one.fields().iter().filter_map(|field| {
        let there = other.field_with_name(field.name()).ok()?;
        Some(fit(field.data_type(), there.data_type()) || (is_plain(field) && is_plain(there)))
    });
    let common = common.collect::<Vec<_>>();
    let smaller = one.fields().len().min(other.fields().len());
    common.iter().all(|fits| *fits) && common.len() * 2 > smaller
}

fn union(one: &Schema, other: &Schema) -> SchemaRef {
    let wider = |field: &Field| {
        let there = other.field_with_name(field.name()).ok()?;
        if !fit(field.data_type(), there.data_type()) {
            return Some(field.clone().with_data_type(DataType::Utf8));
        }
        let width =
            |kind: &DataType| (kind.is_floating(), kind.primitive_width().unwrap_or(0), *kind != DataType::Null);
        (width(there.data_type()) > width(field.data_type())).then(|| there.clone())
    };
    let own = one.fields().iter().map(|field| wider(field).unwrap_or_else(|| field.as_ref().clone()));
    let new = other.fields().iter().filter(|field| one.field_with_name(field.name()).is_err());
    Schema::new(own.chain(new.map(|field| field.as_ref().clone())).collect::<Vec<_>>()).into()
}

/// The location of files in hive or date folders: the folder, or a glob when the folder is the lake's root.
fn deep_location(folder: &Folder, group: &Group) -> String {
    if !folder.path.is_empty() {
        return format!("{}/", folder.path);
    }
    let escape = glob::Pattern::escape;
    let first = group.files.first().map_or("", |(object, _)| object.location.as_ref());
    let (folders, name) = first.rsplit_once('/').unwrap_or(("", first));
    let folders = folders.split('/').map(|part| match part.split_once('=') {
        Some((column, _)) => format!("{}=*/", escape(column)),
        None => "*/".to_owned(),
    });
    format!("{}*.{}", folders.collect::<String>(), extension(name))
}

fn extension(name: &str) -> &str {
    last(name).split_once('.').map_or("", |(_, extension)| extension)
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Splits a folder that holds several tables, by columns and by file names.
fn split(folder: &Folder, groups: Vec<Group>, all_names: &[String], found: &mut Discovery) -> Vec<(String, Group)> {
    let mut parts = Vec::new();
    let is_alone = groups.len() == 1 && !folder.path.is_empty();
    for group in groups {
        let mut by_stem = BTreeMap::<String, Vec<(ObjectMeta, Data)>>::new();
        let Group { format, delimiter, schema, files, others } = group;
        for (object, data) in files {
            // Files of one folder with the same columns are one table, whatever their names are.
            let stem = if is_alone { "" } else { stem(last(object.location.as_ref())) };
            by_stem.entry(stem.to_owned()).or_default().push((object, data));
        }
        for (stem, files) in by_stem {
            let own = files.iter().map(|(object, _)| object.location.to_string()).collect::<BTreeSet<_>>();
            let whole = |location: &String| {
                let matched = all_names.iter().filter(|name| matches_location(location, &folder.path, last(name)));
                matched.cloned().collect::<BTreeSet<_>>() == own
            };
            let extension = own.first().map_or("", |name| extension(name));
            // Escape brackets in names, because they are not part of a pattern.
            let escape = glob::Pattern::escape;
            let (of_stem, of_extension) = (escape(&stem), escape(extension));
            let patterns = [format!("{of_stem}*.{of_extension}"), format!("*.{of_extension}"), format!("{of_stem}*")];
            let globs = patterns.iter().map(|pattern| joined(&escape(&folder.path), pattern));
            let location = match files.as_slice() {
                // A file name that ends with a number is one of a series; more files may follow.
                [(only, _)] => {
                    let name = last(only.location.as_ref());
                    let is_part = !stem.is_empty() && name != format!("{stem}.{extension}");
                    let glob = globs.take(1).find(|glob| is_part && whole(glob));
                    // Escape a name that reads as a glob, because it would match other files too.
                    let name = match only.location.as_ref() {
                        path if path.contains(['*', '?']) => escape(path),
                        path => path.to_owned(),
                    };
                    Some(glob.unwrap_or(name))
                }
                _ => globs.into_iter().find(whole),
            };
            match location {
                Some(location) => {
                    parts.push((
                        location,
                        Group { format, delimiter, schema: SchemaRef::clone(&schema), files, others: others.min(1) },
                    ));
                }
                None => found.left_out.push(LeftOut {
                    path: joined(&folder.path, &format!("{stem}*.{extension}")),
                    reason: format!(
                        "{} files cannot be told by their names from others with other columns",
                        files.len()
                    ),
                    help: Some("give each table a folder of its own".to_owned()),
                }),
            }
        }
    }
    parts
}

fn matches_location(location: &str, folder: &str, name: &str) -> bool {
    let path = joined(folder, name);
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    match location.strip_suffix('/') {
        Some(whole) => path.starts_with(whole),
        None => {
            path == location || glob::Pattern::new(location).is_ok_and(|pattern| pattern.matches_with(&path, options))
        }
    }
}

fn candidate(location: String, group: Group, folder: &Folder) -> Candidate {
    let Group { format, delimiter, schema, files, others } = group;
    let mut table = FoundTable { location, format: format.to_owned(), files: files.len(), ..FoundTable::default() };
    table.bytes = files.iter().map(|(object, _)| object.size).sum();
    table.needs_format_key = files.iter().any(|(object, _)| {
        let name = object.location.as_ref().to_ascii_lowercase();
        let bare = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let is_ndjson = format == "ndjson" && [".jsonl", ".json"].iter().any(|extension| bare.ends_with(extension));
        !bare.ends_with(&format!(".{format}")) && !is_ndjson
    });
    table.delimiter = (delimiter != b',').then(|| char::from(delimiter));
    table.rows = files.iter().map(|(_, data)| rows(data)).sum();
    let mut ranges = BTreeMap::<String, Option<(i128, i128)>>::new();
    for (_, data) in &files {
        let Data::Parquet(footer) = data else { continue };
        for field in footer.schema.fields() {
            let here = footer.ranges.get(field.name()).copied();
            let merge = |one: Option<(i128, i128)>| Some((one?.0.min(here?.0), one?.1.max(here?.1)));
            ranges.entry(field.name().clone()).and_modify(|range| *range = merge(*range)).or_insert(here);
        }
    }
    table.columns = schema
        .fields()
        .iter()
        .map(|field| FoundColumn {
            name: field.name().clone(),
            type_name: column_type_name(field.data_type()),
            kind: kind(field.data_type()),
            sample: None,
            range: ranges.get(field.name()).copied().flatten(),
        })
        .collect();
    if others > 0 {
        table.notes.push("not all files have the same columns; what a file lacks is NULL there".to_owned());
    }
    partitions(&mut table, &files, folder);
    let rows = files.iter().find_map(|(_, data)| match data {
        Data::Text(text) => text.rows.clone(),
        Data::Parquet(_) => None,
    });
    let parquet = files.iter().filter(|(_, data)| matches!(data, Data::Parquet(_)));
    let step = (files.len() / SAMPLED_FILES).max(1);
    let sampled = parquet.step_by(step).take(SAMPLED_FILES).map(|(object, _)| object.clone()).collect();
    Candidate { table, files: sampled, rows }
}

fn rows(data: &Data) -> Option<u64> {
    match data {
        Data::Parquet(footer) => Some(footer.rows),
        Data::Text(Text { is_whole: true, rows: Some(rows), .. }) => Some(rows.num_rows() as u64),
        Data::Text(_) => None,
    }
}

fn kind(data_type: &DataType) -> ColumnClass {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnClass::Text,
        DataType::Dictionary(_, value) => kind(value),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => ColumnClass::Time,
        other if other.is_integer() => ColumnClass::Integer,
        _ => ColumnClass::Other,
    }
}

/// Sets the partition columns, from the folders between the table's root and its files.
fn partitions(table: &mut FoundTable, files: &[(ObjectMeta, Data)], folder: &Folder) {
    let mut names = None::<Vec<String>>;
    let mut values = Vec::<BTreeSet<String>>::new();
    for (object, _) in files {
        let below = object.location.as_ref()[folder.path.len()..].trim_start_matches('/');
        let folders = below.rsplit_once('/').map_or("", |(folders, _)| folders);
        let pairs = folders.split('/').filter(|part| is_partition(part)).filter_map(|part| part.split_once('='));
        let pairs = pairs.collect::<Vec<_>>();
        let here = pairs.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let names = names.get_or_insert_with(|| here.clone());
        if *names != here {
            table
                .notes
                .push("its files do not all lie in the same partition folders, which `check` refuses".to_owned());
            return;
        }
        values.resize(names.len(), BTreeSet::new());
        for ((_, value), values) in pairs.iter().zip(&mut values) {
            if *value != HIVE_NULL && values.len() < 10_000 {
                values.insert((*value).to_owned());
            }
        }
    }
    for (name, values) in names.unwrap_or_default().into_iter().zip(values) {
        if table.columns.iter().any(|column| column.name == name) {
            let note = match table.format.as_str() {
                "csv" => format!("`{name}` is a column of the files and a partition folder, which `check` refuses"),
                _ => format!(
                    "`{name}` is a column of the files and a partition folder; `check` refuses files in which they differ"
                ),
            };
            table.notes.push(note);
        }
        table.partitions.push((name, scalar(&values)));
    }
}

/// The type of a partition column: integer when each value is in canonical form, else date, else string.
fn scalar(values: &BTreeSet<String>) -> ScalarType {
    let integer = |value: &String| value.parse::<i64>().is_ok_and(|number| number.to_string() == *value);
    let date = |value: &String| value.len() == 10 && value.parse::<chrono::NaiveDate>().is_ok();
    match values.is_empty() {
        true => ScalarType::String,
        false if values.iter().all(integer) => ScalarType::Integer,
        false if values.iter().all(date) => ScalarType::Date,
        false => ScalarType::String,
    }
}
