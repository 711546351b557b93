//! Inspects the head of a CSV or NDJSON file: encoding, delimiter, columns, and obstacles to serving it unchanged.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::csv::reader::Format;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Rows that type inference reads.
const ROWS: usize = 1_000;
/// Limit for a decompressed head, in bytes, because a small compressed file may expand to any size.
const MOST_UNPACKED: u64 = 1 << 20;
/// File extensions that may hold text data.
const EXTENSIONS: &[&str] = &[".csv", ".tsv", ".txt", ".ndjson", ".jsonl", ".json", ".dat", ".psv"];

/// The head of a text file.
#[derive(Debug)]
pub(super) struct Text {
    /// `csv` or `ndjson`.
    pub(super) format: &'static str,
    pub(super) schema: SchemaRef,
    /// Rows of the head. `is_whole` is whether they are all rows of the file.
    pub(super) rows: Option<RecordBatch>,
    pub(super) is_whole: bool,
    /// The field delimiter of a CSV file.
    pub(super) delimiter: u8,
    /// Why the file cannot be served unchanged, with the recipe keys that fix it.
    pub(super) trouble: Vec<Trouble>,
}

/// A property of a file that `ingest` needs to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    pub(super) what: String,
    /// A line of a recipe.
    pub(super) recipe: String,
}

/// Inspects the head of a file. `is_whole` is whether `head` is the whole file.
pub(super) fn look(name: &str, head: &[u8], is_whole: bool) -> Result<Text, String> {
    let bare = name.trim_end_matches(".gz").trim_end_matches(".zst").trim_end_matches(".gzip");
    let (head, unpacked_whole) = unpack(head, is_whole)?;
    let is_whole = is_whole && unpacked_whole;
    let looks_like_text = EXTENSIONS.iter().any(|extension| bare.ends_with(extension));
    let (text, encoding) = decoded(&head, is_whole).ok_or("it is no data that is known here")?;
    if !looks_like_text {
        return Err("its name and its content say nothing of a table".to_owned());
    }
    let text = whole_lines(&text, is_whole);
    let first = text.trim_start().lines().next().unwrap_or_default();
    if first.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut trouble = Vec::new();
    if encoding != UTF_8 {
        let name = encoding.name();
        let recipe = format!("encoding = \"{}\"", name.to_ascii_lowercase());
        trouble.push(Trouble { what: format!("it is in {name}"), recipe });
    }
    if bare.ends_with("json") || bare.ends_with("jsonl") || first.starts_with('{') {
        return json(bare, &text, is_whole, trouble);
    }
    csv(&text, is_whole, trouble)
}

fn unpack(head: &[u8], is_whole: bool) -> Result<(Vec<u8>, bool), String> {
    let mut unpacked = Vec::new();
    let mut read = |reader: &mut dyn Read| {
        // The head may end within a compressed block; the bytes decoded before that are used.
        let _ = reader.take(MOST_UNPACKED).read_to_end(&mut unpacked);
    };
    match head {
        [0x1f, 0x8b, ..] => read(&mut flate2::read::MultiGzDecoder::new(head)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => match zstd::stream::read::Decoder::new(head) {
            Ok(mut decoder) => read(&mut decoder),
            Err(_) => return Err("it is broken".to_owned()),
        },
        _ => return Ok((head.to_vec(), is_whole)),
    }
    if unpacked.is_empty() {
        return Err("it is compressed and cannot be unpacked".to_owned());
    }
    let whole = is_whole && (unpacked.len() as u64) < MOST_UNPACKED;
    Ok((unpacked, whole))
}

/// The text without its byte order mark, and its encoding. `None` for binary data.
fn decoded(head: &[u8], is_whole: bool) -> Option<(String, &'static Encoding)> {
    if let Some((encoding, length)) = Encoding::for_bom(head) {
        let (text, _) = encoding.decode_without_bom_handling(&head[length..]);
        return Some((text.into_owned(), encoding));
    }
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if head.len() > 8 && even.max(odd) * 3 > head.len() / 2 {
        let encoding = if odd > even { UTF_16LE } else { UTF_16BE };
        return Some((encoding.decode_without_bom_handling(head).0.into_owned(), encoding));
    }
    // A NUL byte in a value is legal text; one in the first line means an unknown encoding or binary data.
    if head.split(|byte| *byte == b'\n').next().is_some_and(|line| line.contains(&0)) {
        return None;
    }
    match std::str::from_utf8(head) {
        Ok(text) => Some((text.to_owned(), UTF_8)),
        // The head may end within a character.
        Err(error) if !is_whole && error.valid_up_to() + 4 > head.len() => {
            Some((String::from_utf8_lossy(&head[..error.valid_up_to()]).into_owned(), UTF_8))
        }
        Err(_) => {
            let controls = head.iter().filter(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)).count();
            let text = || WINDOWS_1252.decode_without_bom_handling(head).0.into_owned();
            (controls * 50 < head.len()).then(|| (text(), WINDOWS_1252))
        }
    }
}

/// Drops the last line when it may be incomplete.
fn whole_lines(text: &str, is_whole: bool) -> String {
    match (is_whole, text.rfind('\n')) {
        (false, Some(end)) => text[..=end].to_owned(),
        _ => text.to_owned(),
    }
}

/// The delimiter that splits the first lines into the most columns, with nearly the same count in each line.
fn delimiter(text: &str) -> u8 {
    let score = |delimiter: u8| {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let widths = reader.records().take(50).filter_map(Result::ok).map(|row| row.len()).collect::<Vec<_>>();
        let first = widths.first().copied().unwrap_or(1);
        let same = widths.iter().filter(|width| **width == first).count();
        if first > 1 && same * 10 >= widths.len() * 8 { (first, same) } else { (1, 0) }
    };
    // Ties go to the more common delimiter.
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|delimiter| score(*delimiter)).unwrap_or(b',')
}

fn csv(text: &str, is_whole: bool, mut trouble: Vec<Trouble>) -> Result<Text, String> {
    let delimiter = delimiter(text);
    // A different delimiter by itself does not prevent serving the file.
    if delimiter != b',' && !trouble.is_empty() {
        let shown = if delimiter == b'\t' { "\\t".to_owned() } else { char::from(delimiter).to_string() };
        trouble
            .push(Trouble { what: format!("its delimiter is `{shown}`"), recipe: format!("delimiter = \"{shown}\"") });
    }
    let format = Format::default().with_header(true).with_delimiter(delimiter).with_truncated_rows(true);
    let (schema, _) = format.infer_schema(Cursor::new(text), Some(ROWS)).map_err(|error| {
        let reason = error.to_string();
        format!(
            "its rows cannot be read as CSV: {}",
            reason.lines().next().unwrap_or_default().trim_start_matches("Csv error: ")
        )
    })?;
    let mut names = BTreeSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !names.insert(field.name().to_lowercase())) {
        trouble.push(Trouble {
            what: format!("two columns are called `{}`", twice.name()),
            recipe: "# [columns]  # give one of the two another name".to_owned(),
        });
    }
    let schema = Arc::new(schema);
    let rows = ReaderBuilder::new(Arc::clone(&schema))
        .with_header(true)
        .with_delimiter(delimiter)
        .with_truncated_rows(true)
        .with_batch_size(text.lines().count().min(usize::from(u16::MAX)))
        .build(Cursor::new(text));
    let rows = rows.ok().and_then(|mut rows| rows.next()?.ok());
    Ok(Text { format: "csv", schema, rows, is_whole, delimiter, trouble })
}

fn json(name: &str, text: &str, is_whole: bool, trouble: Vec<Trouble>) -> Result<Text, String> {
    let mut fields = Vec::<Field>::new();
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(ROWS) {
        let Ok(serde_json::Value::Object(row)) = serde_json::from_str(line) else {
            return Err("it is JSON, and not one object a line".to_owned());
        };
        lines += 1;
        for (name, value) in row {
            let kind = match value {
                serde_json::Value::Null => DataType::Null,
                serde_json::Value::Bool(_) => DataType::Boolean,
                serde_json::Value::Number(number) if number.is_f64() => DataType::Float64,
                serde_json::Value::Number(_) => DataType::Int64,
                serde_json::Value::String(_) => DataType::Utf8,
                serde_json::Value::Array(_) => DataType::new_list(DataType::Null, true),
                serde_json::Value::Object(_) => DataType::Struct(Vec::<Field>::new().into()),
            };
            match fields.iter_mut().find(|field| *field.name() == name) {
                Some(field) if *field.data_type() == DataType::Null || kind == DataType::Float64 => {
                    *field = Field::new(name, kind, true);
                }
                Some(_) => {}
                None => fields.push(Field::new(name, kind, true)),
            }
        }
    }
    match lines {
        0 => Err("it is empty".to_owned()),
        1 if is_whole && name.ends_with(".json") => Err("it is a single JSON object".to_owned()),
        _ => Ok(Text {
            format: "ndjson",
            delimiter: b',',
            schema: Arc::new(Schema::new(fields)),
            rows: None,
            is_whole: is_whole && lines < ROWS,
            trouble,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(name: &str, bytes: &[u8]) -> Vec<String> {
        let text = look(name, bytes, true).unwrap();
        text.trouble.into_iter().map(|trouble| trouble.recipe).collect()
    }

    #[test]
    fn odd_encodings_and_delimiters_are_told_with_a_recipe() {
        let utf16 = "\u{feff}id;name\n1;Ana\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(trouble("a.csv", &utf16), ["encoding = \"utf-16le\"", "delimiter = \";\""]);
        assert_eq!(trouble("a.csv", b"id,name\n1,Bogot\xe1\n"), ["encoding = \"windows-1252\""]);
        // A file whose only oddity is a byte order mark is served unchanged.
        assert_eq!(trouble("a.csv", b"\xef\xbb\xbfid,name\n1,x\n"), Vec::<String>::new());
        assert_eq!(trouble("a.ndjson", b"\xef\xbb\xbf{\"id\":1}\n"), Vec::<String>::new());
        let utf16 = "\u{feff}{\"id\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(trouble("a.ndjson", &utf16), ["encoding = \"utf-16le\""]);
        let delimiter = |bytes: &[u8]| char::from(look("a.csv", bytes, true).unwrap().delimiter);
        assert_eq!(delimiter(b"id\tname\n1\tx\n"), '\t');
        assert_eq!(delimiter(b"id;price\n1;2,5\n2;3,5\n"), ';');
        assert_eq!(delimiter(b"id,text\n1,\"a;b;c\"\n2,\"d;e;f\"\n"), ',');
    }

    #[test]
    fn heads_that_are_no_table_say_so() {
        assert!(look("a.bin", &[0, 1, 2, 3, 0, 9, 9, 9, 9, 9], true).is_err());
        assert!(look("readme.md", b"# a text\n", true).is_err());
        assert!(look("a.json", b"[1,\n2]\n", true).is_err());
        assert_eq!(look("a.json", b"{\"id\": 1}\n{\"id\": 2, \"x\": null}\n", true).unwrap().format, "ndjson");
    }
}
