//! Parses `tables/NAME.ingest.toml`: a recipe for filling a table from files. Returns a checked recipe and all
//! findings.
//!
//! Reads no data: the ingest itself checks that the files exist and have the columns.

mod columns;
mod kind;

use super::finding::{Finding, Position, suggest_or_list};
use super::reader::{Section, SpannedValue, TomlSource};

pub use columns::RecipeColumn;
pub use kind::{ColumnType, PlainKind};

/// The suffix of recipe file names.
pub const RECIPE_ENDING: &str = ".ingest.toml";

/// A checked recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Position of the recipe: its file, or a name for the command line.
    pub position: Position,
    /// The table of the project.
    pub table: String,
    /// Paths or globs; relative to the project folder, or absolute.
    pub from: Vec<String>,
    /// The effect of the rows on the table.
    pub mode: IngestMode,
    /// The columns that identify a row, for `upsert`.
    pub key: Vec<String>,
    /// The format of a new table: `parquet`, `delta` or `iceberg`. `None` if not set.
    pub into: Option<String>,
    /// The format of the files; `None` infers it from their names and first bytes.
    pub source: Option<SourceFormat>,
    /// The parsing options for text files.
    pub text: TextOptions,
    /// Columns of the files to ignore.
    pub drop: Vec<String>,
    /// The options of single columns, in the order of the file.
    pub columns: Vec<RecipeColumn>,
    /// Whether to add columns that the table does not have.
    pub new_columns: bool,
    /// Number of rows that may be rejected.
    pub max_rejects: RejectLimit,
}

/// The effect of new rows on a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngestMode {
    /// Adds the rows.
    #[default]
    Append,
    /// Replaces all rows.
    Replace,
    /// Replaces rows that have the same key, and adds the others.
    Upsert,
}

/// The format of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// Text with a delimiter.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

/// The parsing options for text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// The encoding's label; a byte order mark in a file takes precedence. `None` is UTF-8, or UTF-16 if the bytes show
    /// it.
    pub encoding: Option<String>,
    /// The delimiter of CSV; `None` detects it.
    pub delimiter: Option<u8>,
    /// The quote of CSV; `None` disables quoting.
    pub quote: Option<u8>,
    /// Column names, for files without a header line.
    pub header: Option<Vec<String>>,
    /// Words that mean NULL, in addition to the empty cell.
    pub nulls: Vec<String>,
    /// Words that mean true.
    pub true_words: Vec<String>,
    /// Words that mean false.
    pub false_words: Vec<String>,
    /// Whether numbers have a decimal comma.
    pub decimal_comma: bool,
    /// The offset from UTC, in minutes, of times without an offset.
    pub offset_minutes: i32,
}

/// Number of rows that may be rejected. Above it, nothing is ingested.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RejectLimit {
    /// An absolute number.
    Rows(u64),
    /// A percentage of the rows.
    Percent(f64),
}

impl Default for TextOptions {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            encoding: None,
            delimiter: None,
            quote: Some(b'"'),
            header: None,
            nulls: Vec::new(),
            true_words: words(&["true", "t", "yes", "y"]),
            false_words: words(&["false", "f", "no", "n"]),
            decimal_comma: false,
            offset_minutes: 0,
        }
    }
}

impl IngestMode {
    /// The modes by name.
    pub const NAMES: [(&str, Self); 3] =
        [("append", Self::Append), ("replace", Self::Replace), ("upsert", Self::Upsert)];
}

impl SourceFormat {
    /// The formats by name.
    pub const NAMES: [(&str, Self); 3] = [("csv", Self::Csv), ("ndjson", Self::Ndjson), ("parquet", Self::Parquet)];
}

impl RejectLimit {
    /// Parses `10` or `1.5%`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
                percent.map(Self::Percent)
            }
            None => text.parse().ok().map(Self::Rows),
        }
    }

    /// Whether this many of `rows` rows may be rejected.
    pub fn allows(self, rejected: u64, rows: u64) -> bool {
        match self {
            Self::Rows(most) => rejected <= most,
            Self::Percent(percent) => rejected as f64 <= rows as f64 * percent / 100.0,
        }
    }
}

/// Looks up a name, or returns a help text with a suggestion.
pub fn named<T: Copy>(names: &[(&str, T)], written: &str) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == written).map(|(_, value)| *value);
    found.ok_or_else(|| suggest_or_list(written, names.iter().map(|(name, _)| *name)))
}

/// Parses `-05:00`, `+0530` or `UTC` as minutes from UTC.
pub fn parse_offset(text: &str) -> Option<i32> {
    if matches!(text, "UTC" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = rest.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Parses a delimiter: one character, or `\t`.
pub fn parse_delimiter(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"\\t" => Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | b'"') => Some(*byte),
        _ => None,
    }
}

impl Recipe {
    /// A recipe without a file, with default options.
    pub fn for_table(table: &str) -> Self {
        Self {
            position: Position::without_line("the command line"),
            table: table.to_owned(),
            from: Vec::new(),
            mode: IngestMode::default(),
            key: Vec::new(),
            into: None,
            source: None,
            text: TextOptions::default(),
            drop: Vec::new(),
            columns: Vec::new(),
            new_columns: false,
            max_rejects: RejectLimit::Rows(0),
        }
    }

    /// Reads the text of a file, and returns all findings. With findings, the recipe holds whatever could be read.
    pub fn read(path: &str, text: &str) -> (Self, Vec<Finding>) {
        let (source, table) = TomlSource::new(path, text, 0..text.len());
        let file_name = path.rsplit('/').next().unwrap_or(path);
        let mut recipe = Self::for_table(file_name.strip_suffix(RECIPE_ENDING).unwrap_or(file_name));
        recipe.position = Position::start(path);
        // Invalid TOML cannot be checked any further.
        if source.has_findings() {
            return (recipe, source.into_findings());
        }
        let mut root = Section::new(&source, "the file", table.span(), table.get_ref());
        read_root(&source, &mut root, &mut recipe);
        if let Some(section) = root.section("csv") {
            read_csv(&source, section, &mut recipe.text);
        }
        recipe.columns = root.section("columns").map(columns::read).unwrap_or_default();
        root.finish();
        let mut findings = source.into_findings();
        findings.sort();
        (recipe, findings)
    }
}

fn texts(list: Option<SpannedValue<Vec<SpannedValue<String>>>>) -> Option<Vec<String>> {
    list.map(|list| list.value.into_iter().map(|item| item.value).collect())
}

fn choice<T: Copy>(
    source: &TomlSource<'_>,
    what: &str,
    names: &[(&str, T)],
    text: Option<SpannedValue<String>>,
) -> Option<T> {
    let text = text?;
    match named(names, &text.value) {
        Ok(value) => Some(value),
        Err(help) => {
            source.report(&text.span, format!("`{}` is not a {what}", text.value), Some(help));
            None
        }
    }
}

fn read_root(source: &TomlSource<'_>, root: &mut Section<'_, '_>, recipe: &mut Recipe) {
    if let Some(table) = root.string("table") {
        recipe.table = table.value;
    }
    let has_from = root.has("from");
    let from = root.strings("from");
    if !has_from {
        let help = "say which files the rows come from, such as `from = [\"../exports/client_*.csv\"]`";
        source.report(&(0..0), "the recipe has no `from`", Some(help.into()));
    }
    if let Some(from) = &from
        && from.value.is_empty()
    {
        source.report(&from.span, "`from` names no files", Some("write a path or a glob".into()));
    }
    recipe.from = texts(from).unwrap_or_default();
    recipe.mode = choice(source, "mode", &IngestMode::NAMES, root.string("mode")).unwrap_or_default();
    let key = root.strings("key");
    match (&key, recipe.mode) {
        (None, IngestMode::Upsert) => {
            let help = "name the columns that tell rows apart, such as `key = [\"id\"]`";
            source.report(&(0..0), "`upsert` needs a `key`", Some(help.into()));
        }
        (Some(key), IngestMode::Upsert) if key.value.is_empty() => {
            source.report(&key.span, "`key` names no columns", Some("write it like `key = [\"id\"]`".into()));
        }
        (Some(key), IngestMode::Append | IngestMode::Replace) => {
            source.report(
                &key.span,
                "`key` has a meaning with `upsert` only",
                Some("write `mode = \"upsert\"`".into()),
            );
        }
        _ => {}
    }
    recipe.key = texts(key).unwrap_or_default();
    let layouts = [("parquet", "parquet"), ("delta", "delta"), ("iceberg", "iceberg")];
    recipe.into = choice(source, "table format", &layouts, root.string("into")).map(str::to_owned);
    recipe.source = choice(source, "format of files", &SourceFormat::NAMES, root.string("format"));
    recipe.drop = texts(root.strings("drop")).unwrap_or_default();
    recipe.new_columns = root.boolean("new_columns").is_some_and(|new| new.value);
    if let Some(text) = root.string("max_rejects") {
        match RejectLimit::parse(&text.value) {
            Some(limit) => recipe.max_rejects = limit,
            None => {
                let help = "write a number of rows such as `\"10\"`, or a share such as `\"1%\"`";
                source.report(&text.span, format!("`{}` is not a number of rows", text.value), Some(help.into()));
            }
        }
    }
    let options = &mut recipe.text;
    options.nulls = texts(root.strings("nulls")).unwrap_or_default();
    if let Some(words) = texts(root.strings("true_words")) {
        options.true_words = words;
    }
    if let Some(words) = texts(root.strings("false_words")) {
        options.false_words = words;
    }
    options.decimal_comma = root.boolean("decimal_comma").is_some_and(|comma| comma.value);
    if let Some(offset) = root.string("offset") {
        match parse_offset(&offset.value) {
            Some(minutes) => options.offset_minutes = minutes,
            None => {
                let help = "write it like `-05:00`, or `UTC`";
                source.report(&offset.span, format!("`{}` is not an offset from UTC", offset.value), Some(help.into()));
            }
        }
    }
}

fn read_csv(source: &TomlSource<'_>, mut section: Section<'_, '_>, options: &mut TextOptions) {
    options.encoding = section.string("encoding").map(|encoding| encoding.value);
    if let Some(delimiter) = section.string("delimiter") {
        options.delimiter = parse_delimiter(&delimiter.value);
        if options.delimiter.is_none() {
            let help = "write one character such as `;`, or `\\\\t` for a tab";
            source.report(&delimiter.span, format!("`{}` is not a delimiter", delimiter.value), Some(help.into()));
        }
    }
    if let Some(quote) = section.string("quote") {
        options.quote = match quote.value.as_bytes() {
            [] => None,
            [byte] if byte.is_ascii() => Some(*byte),
            _ => {
                let help = "write one character such as `'`, or nothing for files without quotes";
                source.report(&quote.span, format!("`{}` is not a quote", quote.value), Some(help.into()));
                options.quote
            }
        };
    }
    options.header = texts(section.strings("header"));
    section.finish();
}

#[cfg(test)]
mod tests;
