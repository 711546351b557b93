//! Finds the source files that a recipe names, and detects the format of each.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use lakegate_core::project::ingest::SourceFormat;

use super::IngestError;
use super::decode::Packing;

/// A source file.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// The name in messages.
    pub(super) shown: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) format: SourceFormat,
}

/// The files in the recipe's order; the matches of a glob are sorted by name.
pub(super) fn find(from: &[String], base: &Path, format: Option<SourceFormat>) -> Result<Vec<SourceFile>, IngestError> {
    let mut files = Vec::<SourceFile>::new();
    for pattern in from {
        if pattern.contains("://") {
            return Err(IngestError::unfit(
                format!("`{pattern}` is not a file of this machine"),
                "copy it here first, and name the copy",
            ));
        }
        for (shown, path) in paths(pattern, base)? {
            if files.iter().any(|file| file.path == path) {
                return Err(IngestError::unfit(
                    format!("`{shown}` is named twice"),
                    "name each file once, or its rows come twice",
                ));
            }
            files.push(open(shown, path, format)?);
        }
    }
    let is_parquet = |file: &SourceFile| file.format == SourceFormat::Parquet;
    if let Some(other) = files.iter().find(|file| is_parquet(file) != is_parquet(&files[0])) {
        return Err(IngestError::unfit(
            format!("`{}` and `{}` are not of one format", files[0].shown, other.shown),
            "write a recipe for each format",
        ));
    }
    Ok(files)
}

fn paths(pattern: &str, base: &Path) -> Result<Vec<(String, PathBuf)>, IngestError> {
    let full = base.join(pattern);
    if !pattern.contains(['*', '?', '[']) || full.exists() {
        return Ok(vec![(pattern.to_owned(), full)]);
    }
    // Escape the project's own path, because its characters are not wildcards.
    let escaped = match Path::new(pattern).is_absolute() {
        true => pattern.to_owned(),
        false => {
            Path::new(&glob::Pattern::escape(&base.to_string_lossy())).join(pattern).to_string_lossy().into_owned()
        }
    };
    let unfit = |what: String| IngestError::unfit(what, "check the pattern");
    let found =
        glob::glob(&escaped).map_err(|error| unfit(format!("`{pattern}` is not a good glob: {}", error.msg)))?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| unfit(format!("`{pattern}` cannot be looked through: {}", error.error())))?;
        if path.is_file() {
            let shown = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().into_owned();
            paths.push((shown, path));
        }
    }
    if paths.is_empty() {
        return Err(IngestError::unfit(
            format!("no file is found by `{pattern}`"),
            "check the path, from the project's folder",
        ));
    }
    paths.sort();
    Ok(paths)
}

fn open(shown: String, path: PathBuf, format: Option<SourceFormat>) -> Result<SourceFile, IngestError> {
    let mut file = File::open(&path).map_err(IngestError::unread(&shown))?;
    let metadata = file.metadata().map_err(IngestError::unread(&shown))?;
    if !metadata.is_file() {
        return Err(IngestError::unfit(format!("`{shown}` is not a file"), "name its files, such as `folder/*.csv`"));
    }
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(IngestError::unread(&shown))?;
    let format = match format {
        Some(format) => format,
        None if magic == b"PAR1" => SourceFormat::Parquet,
        None => by_name(&path, Packing::of(&magic)),
    };
    if (format == SourceFormat::Parquet) != (magic == b"PAR1") {
        let is = if magic == b"PAR1" { "Parquet" } else { "not Parquet" };
        return Err(IngestError::unfit(format!("`{shown}` is {is}"), "correct `format`, or the files"));
    }
    Ok(SourceFile { shown, path, bytes: metadata.len(), format })
}

fn by_name(path: &Path, packing: Packing) -> SourceFormat {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = match packing {
        Packing::None => name.as_str(),
        _ => name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem),
    };
    let is_ndjson = [".ndjson", ".jsonl", ".json"].iter().any(|ending| name.ends_with(ending));
    if is_ndjson { SourceFormat::Ndjson } else { SourceFormat::Csv }
}
