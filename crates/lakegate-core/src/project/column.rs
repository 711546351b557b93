//! Parses `[tables.NAME.columns.COLUMN]`, `[tags.NAME]` and `[masking]`: the masked columns, and the key of their
//! hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use toml::de::DeValue;

use super::config::Config;
use super::finding::{Position, suggest_or_list};
use super::mask::{Granularity, MaskSpec, Step};
use super::name;
use super::reader::{Section, SpannedValue, TomlSource, describe};

/// `[tables.NAME.columns.COLUMN]`: a column or a nested field, with its tags and its mask.
#[derive(Clone, Debug)]
pub struct ColumnRule {
    /// The name as written; see [`crate::column_name`]. The table decides which column or field it names.
    pub name: String,
    /// Labels for the column's content, in the project's own words.
    pub tags: BTreeSet<String>,
    /// The column's own mask; its tags may have masks too.
    pub mask: Option<MaskSpec>,
    /// Position of the declaration.
    pub position: Position,
}

/// `[tags.NAME]`: the rule for every column with this tag.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// The mask of such columns. A column whose type does not support it gets `null` instead.
    pub mask: Option<MaskSpec>,
    /// Position of the declaration.
    pub position: Position,
}

/// `[masking]`.
#[derive(Clone, Debug, Default)]
pub struct Masking {
    /// The location of the key for `hash` masks. Its value is never part of a project.
    pub key: Option<SecretLocation>,
    /// Position of `key`; `None` without a key.
    pub position: Option<Position>,
}

/// The location of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretLocation {
    /// The environment variable with this name.
    Env(String),
    /// A file; a relative path starts at the project folder.
    File(String),
}

impl Config {
    /// The masks of a column: its own, as `None`, and those of its tags.
    pub fn masks<'a>(&'a self, rule: &'a ColumnRule) -> impl Iterator<Item = (Option<&'a str>, &'a MaskSpec)> {
        let own = rule.mask.as_ref().map(|mask| (None, mask));
        let of_tag = |tag: &'a String| Some((Some(tag.as_str()), self.tags.get(tag)?.mask.as_ref()?));
        own.into_iter().chain(rule.tags.iter().filter_map(of_tag))
    }
}

/// The tags and keys that columns require from the rest of the file.
#[derive(Default)]
pub(super) struct ColumnRequirements {
    /// The tags of columns.
    tags: Vec<SpannedValue<String>>,
    /// The masks that need the key.
    hashes: Vec<Range<usize>>,
}

pub(super) fn read_columns(table: &mut Section<'_, '_>, requirements: &mut ColumnRequirements) -> Vec<ColumnRule> {
    let Some(columns) = table.section("columns") else { return Vec::new() };
    let mut rules = Vec::new();
    for (name, mut section) in columns.named_sections() {
        let source = section.source();
        let (has_mask, has_tags) = (section.has("mask"), section.has("tags"));
        let tags = section.strings("tags").map(|tags| tags.value);
        let mask = read_mask(&mut section, requirements);
        section.finish();
        // Invalid tags or an invalid mask were already reported.
        if !has_mask && (!has_tags || tags.as_ref().is_some_and(Vec::is_empty)) {
            let help = "add one of them, or remove the section: a column that is shown as it is needs none";
            source.report(
                &name.span,
                format!("column `{}` has neither `tags` nor a `mask`", name.value),
                Some(help.into()),
            );
        }
        if name.value.is_empty() {
            source.report(
                &name.span,
                "the name of a column is missing",
                Some("write the column, or a field of it behind a dot: `\"buyer.email\"`".into()),
            );
            continue;
        }
        let tags = tags.unwrap_or_default();
        requirements.tags.extend(tags.iter().cloned());
        let tags = tags.into_iter().map(|tag| tag.value).collect();
        rules.push(ColumnRule { position: source.position(&name.span), name: name.value, tags, mask });
    }
    rules
}

pub(super) fn read_tags(
    root: &mut Section<'_, '_>,
    requirements: &mut ColumnRequirements,
) -> BTreeMap<String, TagRule> {
    let Some(section) = root.policy_section("tags") else { return BTreeMap::new() };
    let mut tags = BTreeMap::new();
    for (name, mut section) in section.named_sections() {
        let source = section.source();
        if let Some(fault) = name::tag_fault(&name.value) {
            source.report(&name.span, format!("tag `{}` {fault}", name.value), None);
        }
        let mask = read_mask(&mut section, requirements);
        section.finish();
        tags.insert(name.value, TagRule { mask, position: source.position(&name.span) });
    }
    tags
}

pub(super) fn read_masking(root: &mut Section<'_, '_>) -> Masking {
    let Some(mut section) = root.policy_section("masking") else { return Masking::default() };
    let source = section.source();
    let mut masking = Masking::default();
    if let Some(key) = section.string("key") {
        masking.position = Some(source.position(&key.span));
        masking.key = SecretLocation::parse(&key.value);
        if masking.key.is_none() {
            // Do not repeat the text: it may be the key itself.
            source.report(
                &key.span,
                "`key` in [masking] must say where the key is, not what it is",
                Some("write `env:` and the name of an environment variable, or `file:` and a path".into()),
            );
        }
    }
    section.finish();
    masking
}

/// Reports tags and a key that columns require but the file lacks.
pub(super) fn check_requirements(
    source: &TomlSource<'_>,
    requirements: ColumnRequirements,
    tags: &BTreeMap<String, TagRule>,
    has_key: bool,
) {
    for tag in requirements.tags.iter().filter(|tag| !tags.contains_key(&tag.value)) {
        let help = if tags.is_empty() {
            format!("declare it: `[tags.{}]`", tag.value)
        } else {
            suggest_or_list(&tag.value, tags.keys().map(String::as_str))
        };
        source.report(&tag.span, format!("there is no tag `{}`", tag.value), Some(help));
    }
    if let Some(first) = requirements.hashes.first().filter(|_| !has_key) {
        source.report(
            first,
            "a `hash` mask needs a key, and there is none",
            Some("add `[masking]` with `key = \"env:LAKEGATE_MASK_KEY\"` or `key = \"file:mask.key\"`".into()),
        );
    }
}

/// Reads `mask` of a section: the name of a kind, or a table with `kind` and options.
fn read_mask(section: &mut Section<'_, '_>, requirements: &mut ColumnRequirements) -> Option<MaskSpec> {
    let source = section.source();
    let value = section.take("mask")?;
    let spec = match value.get_ref() {
        DeValue::String(kind) => {
            let kind = SpannedValue { value: kind.to_string(), span: value.span() };
            parse_mask_kind(source, &kind, None)
        }
        DeValue::Table(table) => {
            let mut options = Section::new(source, "`mask`", value.span(), table);
            let has_kind = options.has("kind");
            let kind = options.string("kind");
            if !has_kind {
                let help = format!("kinds: `{}`", MaskSpec::KINDS.join("`, `"));
                source.report(&value.span(), "the mask has no `kind`", Some(help));
            }
            // Without a kind, the options cannot be checked.
            let kind = kind?;
            let spec = parse_mask_kind(source, &kind, Some(&mut options));
            if MaskSpec::KINDS.contains(&kind.value.as_str()) {
                options.finish();
            }
            spec
        }
        other => {
            let message =
                format!("`mask` must be the name of a mask or a table with its `kind`, not {}", describe(other));
            source.report(&value.span(), message, None);
            None
        }
    };
    if matches!(spec, Some(MaskSpec::Hash { .. })) {
        requirements.hashes.push(value.span());
    }
    spec
}

fn parse_mask_kind(
    source: &TomlSource<'_>,
    kind: &SpannedValue<String>,
    options: Option<&mut Section<'_, '_>>,
) -> Option<MaskSpec> {
    let lacks_options = |example: &str| {
        let help = format!("write it like `mask = {{ kind = \"{}\", {example} }}`", kind.value);
        source.report(&kind.span, format!("a `{}` mask needs options", kind.value), Some(help));
        None
    };
    match (kind.value.as_str(), options) {
        ("null", _) => Some(MaskSpec::Null),
        ("redact", _) => Some(MaskSpec::Redact),
        ("email", _) => Some(MaskSpec::Email),
        ("hash", None) => Some(MaskSpec::Hash { domain: String::new() }),
        ("hash", Some(options)) => {
            let is_given = options.has("domain");
            let domain = options.string("domain").map(|domain| domain.value);
            // An invalid domain was already reported, and the default must not replace it.
            (domain.is_some() || !is_given).then(|| MaskSpec::Hash { domain: domain.unwrap_or_default() })
        }
        ("partial", None) => lacks_options("prefix = 2, suffix = 2"),
        ("partial", Some(options)) => {
            let kept = |count: Option<SpannedValue<u64>>| count.map(|count| count.value as u8);
            let is_given = (options.has("prefix"), options.has("suffix"));
            let prefix = kept(options.integer("prefix", 0..=64));
            let suffix = kept(options.integer("suffix", 0..=64));
            if (is_given.0 && prefix.is_none()) || (is_given.1 && suffix.is_none()) {
                return None;
            }
            let (prefix, suffix) = (prefix.unwrap_or(0), suffix.unwrap_or(0));
            if prefix == 0 && suffix == 0 {
                return lacks_options("prefix = 2, suffix = 2");
            }
            Some(MaskSpec::Partial { prefix, suffix })
        }
        ("truncate", None) => lacks_options("to = \"month\""),
        ("truncate", Some(options)) => {
            if !options.has("to") {
                return lacks_options("to = \"month\"");
            }
            let to = options.string("to")?;
            let named = Granularity::NAMES.iter().find(|(name, _)| *name == to.value);
            if named.is_none() {
                let help = suggest_or_list(&to.value, Granularity::NAMES.iter().map(|(name, _)| *name));
                source.report(&to.span, format!("times are not truncated to `{}`", to.value), Some(help));
            }
            named.map(|(_, to)| MaskSpec::Truncate { to: *to })
        }
        ("round", None) => lacks_options("step = 100"),
        ("round", Some(options)) => {
            if !options.has("step") {
                return lacks_options("step = 100");
            }
            read_step(options).map(|(step, _)| MaskSpec::Round { step })
        }
        ("grid", None) => lacks_options("step = 0.01"),
        ("grid", Some(options)) => {
            if !options.has("step") {
                return lacks_options("step = 0.01");
            }
            let (step, span) = read_step(options)?;
            if !MaskSpec::is_grid_step(step) {
                let help = "write degrees from 0.0001 to 90, with at most 9 digits behind the point";
                source.report(&span, format!("`{step}` is not the side of a cell of a grid"), Some(help.into()));
                return None;
            }
            Some(MaskSpec::Grid { step })
        }
        (other, _) => {
            let help = suggest_or_list(other, MaskSpec::KINDS);
            source.report(&kind.span, format!("there is no mask `{other}`"), Some(help));
            None
        }
    }
}

fn read_step(options: &mut Section<'_, '_>) -> Option<(Step, Range<usize>)> {
    let source = options.source();
    let value = options.take("step")?;
    let step = match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => Step::parse(integer.as_str()),
        DeValue::Float(float) => Step::parse(float.as_str()),
        _ => None,
    };
    if step.is_none() {
        let message = format!(
            "`step` must be a number above 0 with at most 18 digits on either side of the point, not {}",
            describe(value.get_ref())
        );
        source.report(&value.span(), message, None);
    }
    step.map(|step| (step, value.span()))
}

impl SecretLocation {
    /// Parses `env:NAME` or `file:PATH`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            let shaped = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_');
            return shaped.then(|| Self::Env(name.to_owned()));
        }
        let path = text.strip_prefix("file:")?;
        (!path.trim().is_empty()).then(|| Self::File(path.to_owned()))
    }
}

impl fmt::Display for SecretLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}
