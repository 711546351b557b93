//! Tests of columns, tags and masks in a project file, and of the findings for invalid ones.

use super::config::{self, Config};
use super::{Granularity, MaskSpec, SecretLocation, Step};

const BEFORE: &str = "[lake]\nlocation = \"lake/\"\n[tables.t]\nlocation = \"t/\"\nshared = true\n";

fn read(text: &str) -> (Config, Vec<String>) {
    let (config, findings) = config::read(&format!("{BEFORE}{text}"), &Default::default());
    (config, findings.iter().map(ToString::to_string).collect())
}

/// The mask of column `c`, written as this value.
fn mask(value: &str) -> MaskSpec {
    let (config, findings) = read(&format!("[tables.t.columns.c]\nmask = {value}\n[masking]\nkey = \"env:K\""));
    assert_eq!(findings, Vec::<String>::new(), "{value}");
    config.tables["t"].columns[0].mask.clone().unwrap()
}

fn step(text: &str) -> Step {
    Step::parse(text).unwrap()
}

#[test]
fn every_kind_is_read_with_its_options() {
    let hash = |domain: &str| MaskSpec::Hash { domain: domain.to_owned() };
    for (value, expected) in [
        ("\"null\"", MaskSpec::Null),
        ("\"redact\"", MaskSpec::Redact),
        ("{ kind = \"redact\" }", MaskSpec::Redact),
        ("\"email\"", MaskSpec::Email),
        ("\"hash\"", hash("")),
        ("{ kind = \"hash\", domain = \"address\" }", hash("address")),
        ("{ kind = \"partial\", prefix = 2, suffix = 64 }", MaskSpec::Partial { prefix: 2, suffix: 64 }),
        ("{ kind = \"partial\", suffix = 4 }", MaskSpec::Partial { prefix: 0, suffix: 4 }),
        ("{ kind = \"truncate\", to = \"month\" }", MaskSpec::Truncate { to: Granularity::Month }),
        ("{ kind = \"round\", step = 1_000 }", MaskSpec::Round { step: step("1000") }),
        ("{ kind = \"round\", step = 0.05 }", MaskSpec::Round { step: step("0.05") }),
        ("{ kind = \"round\", step = 1e3 }", MaskSpec::Round { step: step("1000") }),
        ("{ kind = \"grid\", step = 0.0001 }", MaskSpec::Grid { step: step("0.0001") }),
        ("{ kind = \"grid\", step = 90 }", MaskSpec::Grid { step: step("90") }),
    ] {
        assert_eq!(mask(value), expected, "{value}");
    }
}

#[test]
fn a_column_has_its_own_mask_and_those_of_its_tags() {
    let (config, findings) = read(
        "[tables.t.columns.\"buyer.email\"]
tags = [\"pii\", \"plain\"]
mask = \"email\"
[tags.pii]
mask = { kind = \"hash\", domain = \"person\" }
[tags.plain]
[masking]
key = \"file:mask.key\"",
    );
    assert_eq!(findings, Vec::<String>::new());
    let rule = &config.tables["t"].columns[0];
    assert_eq!(rule.name, "buyer.email");
    assert_eq!(rule.position.to_string(), "lakegate.toml:6:19");
    let hash = MaskSpec::Hash { domain: "person".to_owned() };
    assert_eq!(config.masks(rule).collect::<Vec<_>>(), [(None, &MaskSpec::Email), (Some("pii"), &hash)]);
    assert_eq!(config.masking.key, Some(SecretLocation::File("mask.key".to_owned())));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        (
            "[tables.t.columns.c]",
            "6:19: column `c` has neither `tags` nor a `mask`; add one of them, or remove the section: a column that is shown as it is needs none",
        ),
        (
            "[tables.t.columns.c]\ntags = []",
            "6:19: column `c` has neither `tags` nor a `mask`; add one of them, or remove the section: a column that is shown as it is needs none",
        ),
        (
            "[tables.t.columns.\"\"]\nmask = \"null\"",
            "6:19: the name of a column is missing; write the column, or a field of it behind a dot: `\"buyer.email\"`",
        ),
        ("[tables.t.columns.c]\ntags = [\"pi\"]\n[tags.pii]", "7:9: there is no tag `pi`; did you mean `pii`?"),
        ("[tables.t.columns.c]\ntags = [\"pii\"]", "7:9: there is no tag `pii`; declare it: `[tags.pii]`"),
        (
            "[tags.PII]",
            "6:7: tag `PII` must be at most 63 lowercase letters, digits, underscores and hyphens, and start with a letter",
        ),
        (
            "[tags.pii]\nmask = \"hash\"",
            "7:8: a `hash` mask needs a key, and there is none; add `[masking]` with `key = \"env:LAKEGATE_MASK_KEY\"` or `key = \"file:mask.key\"`",
        ),
        (
            "[tags.pii]\nmask = \"hash\"\n[masking]",
            "7:8: a `hash` mask needs a key, and there is none; add `[masking]` with `key = \"env:LAKEGATE_MASK_KEY\"` or `key = \"file:mask.key\"`",
        ),
        (
            "[masking]\nkey = \"hunter2\"",
            "7:7: `key` in [masking] must say where the key is, not what it is; write `env:` and the name of an environment variable, or `file:` and a path",
        ),
        (
            "[masking]\nkey = \"env:\"",
            "7:7: `key` in [masking] must say where the key is, not what it is; write `env:` and the name of an environment variable, or `file:` and a path",
        ),
        ("[masking]\nkeys = \"env:K\"", "7:1: unknown key `keys` in [masking]; did you mean `key`?"),
        ("[tags.a]\nmask = \"redcat\"", "7:8: there is no mask `redcat`; did you mean `redact`?"),
        ("[tags.a]\nmask = 1", "7:8: `mask` must be the name of a mask or a table with its `kind`, not `1`"),
        (
            "[tags.a]\nmask = { step = 1 }",
            "7:8: the mask has no `kind`; kinds: `null`, `redact`, `grid`, `hash`, `email`, `partial`, `truncate`, `round`",
        ),
        ("[tags.a]\nmask = { kind = \"redact\", step = 1 }", "7:27: unknown key `step` in `mask`; known: `kind`"),
        (
            "[tags.a]\nmask = \"partial\"",
            "7:8: a `partial` mask needs options; write it like `mask = { kind = \"partial\", prefix = 2, suffix = 2 }`",
        ),
        (
            "[tags.a]\nmask = { kind = \"partial\", prefix = 0 }",
            "7:17: a `partial` mask needs options; write it like `mask = { kind = \"partial\", prefix = 2, suffix = 2 }`",
        ),
        (
            "[tags.a]\nmask = { kind = \"partial\", prefix = 65 }",
            "7:37: `prefix` in `mask` must be a whole number from 0 to 64, not `65`",
        ),
        (
            "[tags.a]\nmask = { kind = \"truncate\", to = \"week\" }",
            "7:34: times are not truncated to `week`; known: `hour`, `day`, `month`, `year`",
        ),
        (
            "[tags.a]\nmask = \"truncate\"",
            "7:8: a `truncate` mask needs options; write it like `mask = { kind = \"truncate\", to = \"month\" }`",
        ),
        (
            "[tags.a]\nmask = { kind = \"round\", step = 0 }",
            "7:33: `step` must be a number above 0 with at most 18 digits on either side of the point, not `0`",
        ),
        (
            "[tags.a]\nmask = { kind = \"round\", step = -1.5 }",
            "7:33: `step` must be a number above 0 with at most 18 digits on either side of the point, not `-1.5`",
        ),
        (
            "[tags.a]\nmask = { kind = \"round\", step = inf }",
            "7:33: `step` must be a number above 0 with at most 18 digits on either side of the point, not `inf`",
        ),
        (
            "[tags.a]\nmask = { kind = \"round\" }",
            "7:17: a `round` mask needs options; write it like `mask = { kind = \"round\", step = 100 }`",
        ),
        (
            "[tags.a]\nmask = { kind = \"grid\", step = 91 }",
            "7:32: `91` is not the side of a cell of a grid; write degrees from 0.0001 to 90, with at most 9 digits behind the point",
        ),
        (
            "[tags.a]\nmask = { kind = \"grid\", step = 0.00009 }",
            "7:32: `0.00009` is not the side of a cell of a grid; write degrees from 0.0001 to 90, with at most 9 digits behind the point",
        ),
        ("[tags.a]\nmask = { kind = \"hash\", domain = 1 }", "7:34: `domain` in `mask` must be a string, not `1`"),
    ] {
        assert_eq!(read(text).1, [format!("lakegate.toml:{expected}")], "{text}");
    }
}

#[test]
fn a_key_that_was_written_into_the_file_is_not_repeated() {
    let (_, findings) = read("[masking]\nkey = \"0123456789abcdef0123456789abcdef\"");
    assert!(findings.len() == 1 && !findings[0].contains("0123"), "{findings:?}");
}
