//! Models a lake with policies and callers as plain values, and computes the rows that each caller sees without
//! DataFusion.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::choices::Choices;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An integer that is used in joins but not in arithmetic, because it may be a pseudonym.
    Key,
    Int,
    Text,
    Bool,
    Date,
    Time,
    Dec,
    Float,
    Texts,
    /// A struct of `email` (text) and `cid` (integer).
    Buyer,
}

impl Kind {
    pub(super) const ALL: [(&'static str, Kind); 10] = [
        ("key", Kind::Key),
        ("int", Kind::Int),
        ("text", Kind::Text),
        ("bool", Kind::Bool),
        ("date", Kind::Date),
        ("time", Kind::Time),
        ("dec", Kind::Dec),
        ("float", Kind::Float),
        ("texts", Kind::Texts),
        ("buyer", Kind::Buyer),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).unwrap().0
    }
}

pub(super) type Row = Vec<Json>;

/// A mask in `lakegate.toml`: of a column or of a field of one, its own or from a tag.
#[derive(Clone, Debug)]
pub(super) struct MaskAt {
    pub(super) column: String,
    /// The mask as TOML.
    pub(super) own: Option<String>,
    pub(super) tag: Option<&'static str>,
}

/// Tags with their masks. The first mask is the strictest of all; the second does not support every type.
pub(super) const TAGS: [(&str, &str); 2] = [("pii", "\"null\""), ("words", "\"redact\"")];

/// A row filter.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    /// `tenant = principal('t')`
    TenantIs,
    /// `tenant IN (principal('ts'))`
    TenantIn,
    /// `n IN (principal('ns'))`
    NumberIn,
    /// `tenant IN (…)` or `NOT IN`, with literals.
    TenantOf(Vec<String>, bool),
    TenantMissing,
    TenantLike(String),
    /// `upper(tenant) = principal('t')`
    UpperTenantIs,
    KindIsNot(String),
    NumberBetween(i64, i64),
    /// `open`
    Open,
    /// `false`
    Nobody,
    /// `parent_id IN (SELECT id FROM parent)`, possibly without parents of one kind.
    ParentIn(String, Option<String>),
    /// `[NOT] EXISTS (SELECT 1 FROM parent WHERE parent.id = parent_id)`
    ParentExists(String, bool),
    /// `column [NOT] IN (SELECT of FROM parent WHERE …)`
    ColumnIn(Membership),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    /// `(…) IS NOT TRUE` and similar.
    Is(Box<Filter>, &'static str),
    /// `CASE WHEN … THEN … ELSE … END`
    Case(Box<Filter>, Box<Filter>, Box<Filter>),
}

/// A condition with a subquery over a parent's visible rows, with NULLs on either side.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) column: &'static str,
    pub(super) parent: String,
    /// The parent's column.
    pub(super) of: &'static str,
    pub(super) only: Only,
    /// A column that must have the same value in the parent's row and in the table's.
    pub(super) same: Option<&'static str>,
    pub(super) negated: bool,
}

/// The parent's rows that the subquery selects.
#[derive(Clone, Debug)]
pub(super) enum Only {
    All,
    KindIsNot(String),
    TenantIs,
    NumberBelow(i64),
}

/// The rows that a caller sees of each table, parents before children.
pub(super) type Seen<'a> = BTreeMap<&'a str, (&'a Table, Vec<&'a Row>)>;

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Kind)>,
    pub(super) rows: Vec<Row>,
    /// `None` is `shared = true`.
    pub(super) filter: Option<Filter>,
    /// Whether auditors see all rows.
    pub(super) open_to_auditors: bool,
    pub(super) masks: Vec<MaskAt>,
    /// Rows per row group.
    pub(super) group: usize,
    pub(super) files: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) t: String,
    pub(super) ts: Vec<String>,
    pub(super) ns: Vec<i64>,
    pub(super) is_auditor: bool,
    /// The columns and tags that the grant unmasks.
    pub(super) unmask: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    /// Parents before children.
    pub(super) tables: Vec<Table>,
    pub(super) callers: Vec<Caller>,
}

impl Table {
    pub(super) fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|(name, _)| name == column).unwrap()
    }

    fn text<'r>(&self, row: &'r Row, column: &str) -> Option<&'r str> {
        row[self.place(column)].as_str()
    }

    fn number(&self, row: &Row, column: &str) -> Option<i64> {
        row[self.place(column)].as_i64()
    }
}

impl Caller {
    pub(super) fn json(&self) -> Json {
        let roles = if self.is_auditor { vec!["auditor"] } else { Vec::new() };
        json!({"t": self.t, "ts": self.ts, "ns": self.ns, "roles": roles, "unmask": self.unmask})
    }

    pub(super) fn from_json(json: &Json) -> Self {
        let texts = |name: &str| -> Vec<String> {
            json[name].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let ns = json["ns"].as_array().unwrap().iter().map(|item| item.as_i64().unwrap()).collect();
        let is_auditor = texts("roles").iter().any(|role| role == "auditor");
        Self { t: json["t"].as_str().unwrap().to_owned(), ts: texts("ts"), ns, is_auditor, unmask: texts("unmask") }
    }
}

impl Filter {
    /// The filter as SQL, for the table of this name.
    pub(super) fn sql(&self, table: &str) -> String {
        let list = |items: &[String]| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
        match self {
            Filter::TenantIs => "tenant = principal('t')".to_owned(),
            Filter::TenantIn => "tenant IN (principal('ts'))".to_owned(),
            Filter::NumberIn => "n IN (principal('ns'))".to_owned(),
            Filter::TenantOf(items, true) => format!("tenant IN ({})", list(items)),
            Filter::TenantOf(items, false) => format!("tenant NOT IN ({})", list(items)),
            Filter::TenantMissing => "tenant IS NULL".to_owned(),
            Filter::TenantLike(prefix) => format!("tenant LIKE '{prefix}%'"),
            Filter::UpperTenantIs => "upper(tenant) = principal('t')".to_owned(),
            Filter::KindIsNot(kind) => format!("kind <> {}", quoted(kind)),
            Filter::NumberBetween(low, high) => format!("n BETWEEN {low} AND {high}"),
            Filter::Open => "open".to_owned(),
            Filter::Nobody => "false".to_owned(),
            Filter::ParentIn(parent, None) => format!("parent_id IN (SELECT id FROM \"{parent}\")"),
            Filter::ParentIn(parent, Some(kind)) => {
                format!("parent_id IN (SELECT id FROM \"{parent}\" WHERE kind <> {})", quoted(kind))
            }
            Filter::ParentExists(parent, there) => {
                let not = if *there { "" } else { "NOT " };
                format!("{not}EXISTS (SELECT 1 FROM \"{parent}\" AS up WHERE up.id = \"{table}\".parent_id)")
            }
            Filter::ColumnIn(membership) => membership.sql(table),
            Filter::Is(inner, what) => format!("({}) IS {what}", inner.sql(table)),
            Filter::Case(condition, then, otherwise) => {
                let (condition, then, otherwise) = (condition.sql(table), then.sql(table), otherwise.sql(table));
                format!("CASE WHEN {condition} THEN {then} ELSE {otherwise} END")
            }
            Filter::And(one, other) => format!("({} AND {})", one.sql(table), other.sql(table)),
            Filter::Or(one, other) => format!("({} OR {})", one.sql(table), other.sql(table)),
            Filter::Not(inner) => format!("NOT ({})", inner.sql(table)),
        }
    }

    /// SQL's outcome for a row: true, false or NULL. `seen` has the parents' rows that the caller sees.
    fn holds(&self, table: &Table, row: &Row, caller: &Caller, seen: &Seen<'_>) -> Option<bool> {
        let tenant = table.text(row, "tenant");
        let parent = table.number(row, "parent_id");
        match self {
            Filter::TenantIs => tenant.map(|tenant| tenant == caller.t),
            // For an empty list, neither the condition nor its negation is true.
            Filter::TenantIn if caller.ts.is_empty() => None,
            Filter::TenantIn => tenant.map(|tenant| caller.ts.iter().any(|item| item == tenant)),
            Filter::NumberIn if caller.ns.is_empty() => None,
            Filter::NumberIn => table.number(row, "n").map(|n| caller.ns.contains(&n)),
            Filter::TenantOf(items, inside) => tenant.map(|tenant| items.iter().any(|item| item == tenant) == *inside),
            Filter::TenantMissing => Some(tenant.is_none()),
            Filter::TenantLike(prefix) => tenant.map(|tenant| tenant.starts_with(prefix.as_str())),
            Filter::UpperTenantIs => tenant.map(|tenant| tenant.to_uppercase() == caller.t),
            Filter::KindIsNot(kind) => table.text(row, "kind").map(|found| found != kind),
            Filter::NumberBetween(low, high) => table.number(row, "n").map(|n| (*low..=*high).contains(&n)),
            Filter::Open => row[table.place("open")].as_bool(),
            Filter::Nobody => Some(false),
            Filter::ParentIn(name, without) => {
                let only = without.clone().map_or(Only::All, Only::KindIsNot);
                let (column, of, parent) = ("parent_id", "id", name.clone());
                Membership { column, parent, of, only, same: None, negated: false }.holds(table, row, caller, seen)
            }
            Filter::ParentExists(name, there) => {
                let (up, rows) = &seen[name.as_str()];
                Some(rows.iter().any(|row| parent.is_some() && up.number(row, "id") == parent) == *there)
            }
            Filter::ColumnIn(membership) => membership.holds(table, row, caller, seen),
            Filter::Is(inner, what) => {
                let holds = inner.holds(table, row, caller, seen);
                let (what, wanted) = what.strip_prefix("NOT ").map_or((*what, true), |what| (what, false));
                let is_so = match what {
                    "TRUE" => holds == Some(true),
                    "FALSE" => holds == Some(false),
                    _ => holds.is_none(),
                };
                Some(is_so == wanted)
            }
            Filter::Case(condition, then, otherwise) => {
                let taken = if condition.holds(table, row, caller, seen) == Some(true) { then } else { otherwise };
                taken.holds(table, row, caller, seen)
            }
            Filter::And(one, other) => {
                match (one.holds(table, row, caller, seen), other.holds(table, row, caller, seen)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            Filter::Or(one, other) => {
                match (one.holds(table, row, caller, seen), other.holds(table, row, caller, seen)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                }
            }
            Filter::Not(inner) => inner.holds(table, row, caller, seen).map(|holds| !holds),
        }
    }
}

impl Membership {
    fn sql(&self, table: &str) -> String {
        let Self { column, parent, of, only, same, negated } = self;
        let mut conditions = Vec::new();
        match only {
            Only::All => {}
            Only::KindIsNot(kind) => conditions.push(format!("up.kind <> {}", quoted(kind))),
            Only::TenantIs => conditions.push("up.tenant = principal('t')".to_owned()),
            Only::NumberBelow(most) => conditions.push(format!("up.n < {most}")),
        }
        conditions.extend(same.map(|same| format!("up.{same} = \"{table}\".{same}")));
        let (not, filter) = (if *negated { "NOT " } else { "" }, conditions.join(" AND "));
        let filter = if filter.is_empty() { filter } else { format!(" WHERE {filter}") };
        format!("{column} {not}IN (SELECT up.{of} FROM \"{parent}\" AS up{filter})")
    }

    /// True, false or NULL, as SQL defines `IN`.
    fn holds(&self, table: &Table, row: &Row, caller: &Caller, seen: &Seen<'_>) -> Option<bool> {
        let (up, rows) = &seen[self.parent.as_str()];
        let counts = |parent: &&&Row| {
            let is_chosen = match &self.only {
                Only::All => true,
                Only::KindIsNot(kind) => up.text(parent, "kind").is_some_and(|found| found != kind),
                Only::TenantIs => up.text(parent, "tenant") == Some(caller.t.as_str()),
                Only::NumberBelow(most) => up.number(parent, "n").is_some_and(|n| n < *most),
            };
            let has_same = self.same.is_none_or(|same| {
                let value = &row[table.place(same)];
                !value.is_null() && parent[up.place(same)] == *value
            });
            is_chosen && has_same
        };
        let values = rows.iter().filter(counts).map(|parent| &parent[up.place(self.of)]).collect::<Vec<_>>();
        let value = &row[table.place(self.column)];
        let is_in = match () {
            () if values.is_empty() => Some(false),
            () if value.is_null() => None,
            () if values.contains(&value) => Some(true),
            () if values.iter().any(|value| value.is_null()) => None,
            () => Some(false),
        };
        is_in.map(|is_in| is_in != self.negated)
    }
}

impl World {
    /// For each table, whether the caller sees each row.
    pub(super) fn visible(&self, caller: &Caller) -> Vec<Vec<bool>> {
        let mut seen = Seen::new();
        let mut visible = Vec::new();
        for table in &self.tables {
            let sees = |row: &Row| match &table.filter {
                None => true,
                Some(_) if table.open_to_auditors && caller.is_auditor => true,
                Some(filter) => filter.holds(table, row, caller, &seen) == Some(true),
            };
            let rows = table.rows.iter().map(sees).collect::<Vec<_>>();
            let own = table.rows.iter().zip(&rows).filter(|(_, sees)| **sees).map(|(row, _)| row).collect();
            seen.insert(table.name.as_str(), (table, own));
            visible.push(rows);
        }
        visible
    }

    /// The masks of a table in force for a caller: columns (or fields), and masks as TOML.
    pub(super) fn in_force(&self, table: &Table, caller: &Caller) -> Vec<(String, String)> {
        let is_unmasked = |what: String| caller.unmask.contains(&what);
        let mut masks = Vec::new();
        for mask in &table.masks {
            let column = is_unmasked(format!("{}.{}", table.name, mask.column));
            let tag = mask.tag.is_some_and(|tag| is_unmasked(format!("tag:{tag}")));
            if column || tag {
                continue;
            }
            let kind = table.columns.iter().find(|(name, _)| *name == mask.column).map(|(_, kind)| *kind);
            let of_tag = mask.tag.map(|tag| match (tag, kind) {
                ("words", Some(Kind::Text | Kind::Texts)) => TAGS[1].1.to_owned(),
                _ => "\"null\"".to_owned(),
            });
            // If a column has both masks, the tag's is `null`, as the generator makes it.
            masks.push((mask.column.clone(), of_tag.or_else(|| mask.own.clone()).unwrap()));
        }
        masks
    }

    /// The text of `lakegate.toml`.
    pub(super) fn config(&self) -> String {
        let mut text = "[lake]\nlocation = \".\"\n[masking]\nkey = \"env:LAKEGATE_MASK_KEY\"\n".to_owned();
        let tags = self.tables.iter().flat_map(|table| &table.masks).filter_map(|mask| mask.tag);
        for tag in tags.collect::<BTreeSet<_>>() {
            let mask = TAGS.iter().find(|(name, _)| *name == tag).unwrap().1;
            write!(text, "[tags.{tag}]\nmask = {mask}\n").unwrap();
        }
        for table in &self.tables {
            write!(text, "\n[tables.{0}]\nlocation = \"{0}\"\n", table.name).unwrap();
            match &table.filter {
                None => text += "shared = true\n",
                Some(filter) => {
                    writeln!(text, "row_filter = {}", json!(filter.sql(&table.name))).unwrap();
                    if table.open_to_auditors {
                        text += "unfiltered_for = [\"auditor\"]\n";
                    }
                }
            }
            for mask in &table.masks {
                writeln!(text, "[tables.{}.columns.{}]", table.name, json!(mask.column)).unwrap();
                if let Some(tag) = mask.tag {
                    writeln!(text, "tags = [\"{tag}\"]").unwrap();
                }
                if let Some(own) = &mask.own {
                    writeln!(text, "mask = {own}").unwrap();
                }
            }
        }
        text
    }

    pub(super) fn generate(choices: &mut Choices) -> Self {
        super::generate::world(choices)
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
