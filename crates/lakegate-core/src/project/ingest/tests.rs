//! Tests of parsing recipes, and of reporting all their faults at once.

use super::*;

fn faults(text: &str) -> Vec<String> {
    Recipe::read("tables/t.ingest.toml", text).1.iter().map(ToString::to_string).collect()
}

#[test]
fn a_recipe_is_read_as_it_is_written() {
    let text = r#"
from = ["../exports/client_*.csv"]
mode = "upsert"
key = ["id"]
into = "delta"
nulls = ["NULL", "-"]
decimal_comma = true
offset = "-05:00"
max_rejects = "1.5%"
drop = ["cityPoint"]

[csv]
encoding = "utf-16be"
delimiter = ";"

[columns.service_ids]
from = "serviceIDs"
type = "list<integer>"

[columns.source]
value = "first system"
"#;
    let (recipe, findings) = Recipe::read("tables/client.ingest.toml", text);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((recipe.table.as_str(), recipe.mode), ("client", IngestMode::Upsert));
    assert_eq!(recipe.into.as_deref(), Some("delta"));
    assert_eq!((recipe.text.delimiter, recipe.text.offset_minutes), (Some(b';'), -300));
    assert_eq!(recipe.columns[0].kind, Some(ColumnType::List(PlainKind::Integer)));
    assert_eq!(recipe.columns[0].source(), "serviceIDs");
    assert!(recipe.max_rejects.allows(15, 1000) && !recipe.max_rejects.allows(16, 1000));
}

#[test]
fn all_faults_are_found_at_their_places() {
    let text = "mode = \"upsrt\"\nkeys = [\"id\"]\nmax_rejects = \"few\"\n[csv]\ndelimiter = \"ab\"\n[columns.a]\ntype = \"text\"\n";
    let findings = faults(text);
    assert!(findings.iter().any(|finding| finding.contains("has no `from`")), "{findings:?}");
    let starts = [
        "tables/t.ingest.toml:1:8: `upsrt` is not a mode; did you mean `upsert`?",
        "tables/t.ingest.toml:2:1: unknown key `keys` in the file; did you mean `key`?",
        "tables/t.ingest.toml:3:15: `few` is not a number of rows",
        "tables/t.ingest.toml:5:13: `ab` is not a delimiter",
        "tables/t.ingest.toml:7:8: `text` is not a type of a column",
    ];
    for start in starts {
        assert!(findings.iter().any(|finding| finding.starts_with(start)), "{start} in {findings:?}");
    }
}

#[test]
fn an_upsert_needs_a_key_and_nothing_else_has_one() {
    assert!(faults("from = [\"a\"]\nmode = \"upsert\"")[0].contains("`upsert` needs a `key`"));
    assert!(faults("from = [\"a\"]\nkey = [\"id\"]")[0].contains("with `upsert` only"));
    assert!(faults("from = []")[0].contains("names no files"));
}

#[test]
fn offsets_and_allowances_are_read_strictly() {
    assert_eq!([parse_offset("+0530"), parse_offset("UTC"), parse_offset("-05:00")], [Some(330), Some(0), Some(-300)]);
    assert_eq!([parse_offset("5"), parse_offset("+99:00"), parse_offset("+1")], [None; 3]);
    assert_eq!(RejectLimit::parse("101%"), None);
    assert_eq!(RejectLimit::parse("-1"), None);
}
