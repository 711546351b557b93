//! Generates lakes: few distinct values, so that joins match; tenants that share files; and text that fails when it is
//! cast, in rows that the first caller does not see.

use serde_json::{Value as Json, json};

use super::choices::Choices;
use super::world::{Caller, Filter, Kind, MaskAt, Membership, Only, Row, Table, World};

const NAMES: [&str; 6] = ["org", "item", "order", "event", "city", "extra"];
pub(super) const TENANTS: [&str; 6] = ["A", "B", "C", "D", "a", "B' OR '1'='1"];
pub(super) const KINDS: [&str; 4] = ["x", "y", "z", ""];
pub(super) const HOSTILE: [&str; 6] = ["SECRET-TOKEN", "12x", "", "9223372036854775808", "1e3", "٣"];
/// The value of `q` that makes a division fail.
pub(super) const HOSTILE_NUMBER: i64 = 7;

pub(super) fn world(choices: &mut Choices) -> World {
    let count = 4 + choices.below(3);
    let clustered = choices.chance(50);
    let half = choices.chance(60);
    let most = *choices.of(&[60, 30, 60, 12, 5]);
    let mut tables = Vec::<Table>::new();
    for name in &NAMES[..count] {
        let parents = tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
        tables.push(table(choices, name, &parents, most, half, clustered));
    }
    let callers = (0..2).map(|_| caller(choices, &tables)).collect::<Vec<_>>();
    let mut world = World { tables, callers };
    if choices.chance(85) {
        spoil_foreign_rows(choices, &mut world);
    }
    world
}

/// Makes the rows that the first caller sees safe, and many others fail when they are cast or divided by.
fn spoil_foreign_rows(choices: &mut Choices, world: &mut World) {
    let visible = world.visible(&world.callers[0]);
    for (table, visible) in world.tables.iter_mut().zip(visible) {
        let (code, q, id) = (table.place("code"), table.place("q"), table.place("id"));
        for (row, sees) in table.rows.iter_mut().zip(visible) {
            if sees {
                row[code] = json!(choices.below(10).to_string());
                row[q] = json!(choices.between(1, 6));
            } else {
                if choices.chance(60) {
                    row[code] = match choices.chance(50) {
                        true => json!(format!("SECRET-{}-{}", table.name, row[id])),
                        false => json!(choices.of(&HOSTILE)),
                    };
                }
                if choices.chance(30) {
                    row[q] = json!(HOSTILE_NUMBER);
                }
            }
        }
    }
}

fn table(choices: &mut Choices, name: &str, parents: &[String], most: usize, half: bool, clustered: bool) -> Table {
    let mut columns = [
        ("id", Kind::Key),
        ("parent_id", Kind::Key),
        ("tenant", Kind::Text),
        ("n", Kind::Int),
        ("kind", Kind::Text),
        ("open", Kind::Bool),
        ("code", Kind::Text),
        ("q", Kind::Int),
    ]
    .to_vec();
    let more = [
        ("note", Kind::Text),
        ("email", Kind::Text),
        ("day", Kind::Date),
        ("at", Kind::Time),
        ("price", Kind::Dec),
        ("score", Kind::Float),
        ("tags", Kind::Texts),
        ("buyer", Kind::Buyer),
    ];
    columns.extend(more.into_iter().filter(|_| choices.chance(60)));
    let columns = columns.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect::<Vec<_>>();
    let count = if choices.chance(5) { 0 } else { 1 + choices.below(most) };
    let mut rows = (1..=count as i64).map(|id| row(choices, &columns, id, count as i64, half)).collect::<Vec<_>>();
    if choices.chance(20) {
        with_extreme_keys(choices, &columns, &mut rows);
    }
    let tenant = 2;
    match clustered {
        true => rows.sort_by_key(|row| row[tenant].as_str().unwrap_or("~").to_owned()),
        false => {
            for at in (1..rows.len()).rev() {
                rows.swap(at, choices.below(at + 1));
            }
        }
    }
    let shared = name == "city" || choices.chance(10);
    let filter = (!shared).then(|| filter(choices, parents));
    let masks = if choices.chance(60) { masks(choices, &columns) } else { Vec::new() };
    Table {
        name: name.to_owned(),
        columns,
        rows,
        filter,
        open_to_auditors: choices.chance(25),
        masks,
        group: *choices.of(&[3, 2, 7, 100]),
        files: 1 + choices.weighted(&[4, 1, 1]),
    }
}

/// Sets keys at the ends of the range and below zero, in rows and in references to them.
fn with_extreme_keys(choices: &mut Choices, columns: &[(String, Kind)], rows: &mut [Row]) {
    const EXTREME: [i64; 4] = [-1, i64::MIN, i64::MAX, 0];
    let place = |name: &str| columns.iter().position(|(column, _)| column == name).unwrap();
    for (row, key) in rows.iter_mut().zip(EXTREME) {
        row[place("id")] = json!(key);
    }
    for row in rows {
        if choices.chance(25) {
            row[place("parent_id")] = json!(choices.of(&EXTREME));
        }
    }
}

fn row(choices: &mut Choices, columns: &[(String, Kind)], id: i64, count: i64, half: bool) -> Row {
    let value = |(name, kind): &(String, Kind)| -> Json {
        if name != "id" && choices.chance(8) {
            return Json::Null;
        }
        match (name.as_str(), kind) {
            ("id", _) => json!(id),
            ("parent_id", _) if choices.chance(12) => json!(900 + choices.between(0, 3)),
            ("parent_id", _) => json!(choices.between(1, count.max(3))),
            ("tenant", _) if half && choices.chance(50) => json!("A"),
            ("tenant", _) => json!(choices.of(&TENANTS)),
            ("kind", _) => json!(choices.of(&KINDS)),
            ("q", _) => json!(choices.between(1, HOSTILE_NUMBER)),
            ("code", _) if choices.chance(15) => json!(choices.of(&HOSTILE)),
            ("code", _) => json!(choices.below(10).to_string()),
            ("note", _) => json!(choices.of(&["plain", "Étienne", "a%b_c", "", "NULL", "it's", "12", "SECRET-NOTE"])),
            ("email", _) => json!(choices.of(&["ana@example.org", "Bob@Example.com", "no address", "x@y.co", "12"])),
            (_, Kind::Key | Kind::Int) => json!(choices.between(0, 9)),
            (_, Kind::Text) => json!(choices.of(&KINDS)),
            (_, Kind::Bool) => json!(choices.chance(40)),
            (_, Kind::Date) => json!(format!("2024-0{}-1{}", choices.between(1, 4), choices.between(0, 9))),
            (_, Kind::Time) => {
                json!(format!("2024-0{}-11T0{}:30:00", choices.between(1, 4), choices.between(0, 9)))
            }
            // In cents, and in quarters.
            (_, Kind::Dec) => json!(choices.between(-50, 400) * 25),
            (_, Kind::Float) => json!(choices.between(-20, 80) as f64 / 4.0),
            (_, Kind::Texts) => {
                let items = (0..choices.below(4)).map(|_| match choices.chance(15) {
                    true => Json::Null,
                    false => json!(choices.of(&["red", "blue", "SECRET-TAG"])),
                });
                Json::Array(items.collect())
            }
            (_, Kind::Buyer) => {
                let cid = if choices.chance(15) { Json::Null } else { json!(choices.between(1, 5)) };
                json!({"email": choices.of(&["eva@example.org", "SECRET-MAIL", "z@z.org"]), "cid": cid})
            }
        }
    };
    columns.iter().map(value).collect()
}

fn filter(choices: &mut Choices, parents: &[String]) -> Filter {
    let both = |one: Filter, other: Filter| (Box::new(one), Box::new(other));
    let of_parent = |choices: &mut Choices| {
        let parent = choices.of(parents).clone();
        match choices.weighted(&[5, 2, 3, 1]) {
            0 => Filter::ParentIn(parent, None),
            1 => Filter::ParentIn(parent, Some((*choices.of(&KINDS[..3])).to_owned())),
            2 => Filter::ParentExists(parent, true),
            _ => Filter::ParentExists(parent, false),
        }
    };
    if !parents.is_empty() && choices.chance(45) {
        let leaf = of_parent(choices);
        return match choices.weighted(&[6, 2, 1]) {
            0 => leaf,
            1 => {
                let (one, other) = both(leaf, condition(choices));
                Filter::And(one, other)
            }
            _ => {
                let (one, other) = both(tenancy(choices), leaf);
                Filter::Or(one, other)
            }
        };
    }
    let leaf = tenancy(choices);
    match choices.weighted(&[8, 3, 3, 1, 1]) {
        0 => leaf,
        1 => {
            let (one, other) = both(leaf, condition(choices));
            Filter::And(one, other)
        }
        2 => {
            let (one, other) = both(Filter::Open, leaf);
            Filter::Or(one, other)
        }
        3 => Filter::Not(Box::new(of_rows(leaf))),
        _ => {
            let (one, other) = both(leaf, condition(choices));
            Filter::Not(Box::new(Filter::Or(one, other)))
        }
    }
}

/// Replaces every filter but the first with one that has subqueries under `OR`, `NOT`, `CASE` and `IS`, over columns
/// with NULLs. They read only the first two tables, because each table that is read also adds its own filter.
pub(super) fn with_nested_subqueries(world: &mut World, choices: &mut Choices) {
    let names = world.tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
    for (at, table) in world.tables.iter_mut().enumerate() {
        for row in &mut table.rows {
            for column in ["tenant", "n", "kind", "q"] {
                let place = table.columns.iter().position(|(name, _)| name == column).unwrap();
                if choices.chance(12) {
                    row[place] = Json::Null;
                }
            }
        }
        if at > 0 {
            table.filter = Some(of_rows(nested(choices, &names[..at.min(1 + usize::from(at % 3 == 2))], 2)));
        }
    }
}

/// A filter that names a column. `check` refuses every other, such as `NOT (false)`, except `false` itself.
fn of_rows(filter: Filter) -> Filter {
    match names_a_column(&filter) {
        true => filter,
        false => Filter::Or(Box::new(filter), Box::new(Filter::TenantIs)),
    }
}

/// Whether a filter has a leaf other than `false`.
fn names_a_column(filter: &Filter) -> bool {
    match filter {
        Filter::Nobody => false,
        Filter::And(one, other) | Filter::Or(one, other) => names_a_column(one) || names_a_column(other),
        Filter::Not(inner) | Filter::Is(inner, _) => names_a_column(inner),
        Filter::Case(when, then, otherwise) => [when, then, otherwise].into_iter().any(|part| names_a_column(part)),
        _ => true,
    }
}

fn nested(choices: &mut Choices, parents: &[String], depth: usize) -> Filter {
    let inner = |choices: &mut Choices| Box::new(nested(choices, parents, depth - 1));
    match if depth == 0 { choices.weighted(&[3, 1]) } else { choices.weighted(&[3, 1, 3, 2, 2, 2, 2]) } {
        0 => membership(choices, parents),
        1 => {
            if choices.chance(50) {
                tenancy(choices)
            } else {
                condition(choices)
            }
        }
        2 => Filter::Or(inner(choices), inner(choices)),
        3 => Filter::And(inner(choices), inner(choices)),
        4 => Filter::Not(inner(choices)),
        5 => Filter::Is(
            inner(choices),
            choices.of::<&str>(&["TRUE", "FALSE", "NULL", "NOT TRUE", "NOT FALSE", "NOT NULL"]),
        ),
        _ => Filter::Case(inner(choices), inner(choices), inner(choices)),
    }
}

fn membership(choices: &mut Choices, parents: &[String]) -> Filter {
    let parent = choices.of(parents).clone();
    if choices.chance(15) {
        return Filter::ParentExists(parent, choices.chance(50));
    }
    let (column, of) = *choices.of(&[
        ("parent_id", "id"),
        ("n", "n"),
        ("tenant", "tenant"),
        ("kind", "kind"),
        ("n", "q"),
        ("id", "n"),
    ]);
    let only = match choices.weighted(&[4, 2, 1, 2]) {
        0 => Only::All,
        1 => Only::KindIsNot((*choices.of(&KINDS)).to_owned()),
        2 => Only::TenantIs,
        _ => Only::NumberBelow(choices.between(0, 9)),
    };
    let same = if choices.chance(20) { Some(*choices.of(&["kind", "n", "q"])) } else { None };
    Filter::ColumnIn(Membership { column, parent, of, only, same, negated: choices.chance(50) })
}

fn tenancy(choices: &mut Choices) -> Filter {
    match choices.weighted(&[6, 6, 3, 1, 1]) {
        0 => Filter::TenantIs,
        1 => Filter::TenantIn,
        2 => Filter::NumberIn,
        3 => Filter::UpperTenantIs,
        _ => Filter::Nobody,
    }
}

fn condition(choices: &mut Choices) -> Filter {
    let some = |choices: &mut Choices| {
        (0..1 + choices.below(3)).map(|_| (*choices.of(&TENANTS)).to_owned()).collect::<Vec<_>>()
    };
    match choices.weighted(&[4, 3, 2, 2, 1, 1, 1]) {
        0 => Filter::KindIsNot((*choices.of(&KINDS)).to_owned()),
        1 => Filter::TenantOf(some(choices), false),
        2 => Filter::TenantOf(some(choices), true),
        3 => Filter::NumberBetween(choices.between(0, 5), choices.between(3, 9)),
        4 => Filter::TenantMissing,
        5 => Filter::Open,
        _ => Filter::TenantLike((*choices.of(&["A", "B", ""])).to_owned()),
    }
}

fn masks(choices: &mut Choices, columns: &[(String, Kind)]) -> Vec<MaskAt> {
    let texts = [
        "\"null\"",
        "\"redact\"",
        "{ kind = \"partial\", prefix = 1, suffix = 1 }",
        "{ kind = \"hash\", domain = \"d\" }",
        "\"email\"",
    ];
    let mut masks = Vec::new();
    for (column, kind) in columns {
        // Mask keys rarely, because joins on masked keys match nothing.
        let percent = if *kind == Kind::Key || column == "q" || column == "code" { 6 } else { 18 };
        if !choices.chance(percent) {
            continue;
        }
        let own = match kind {
            Kind::Text | Kind::Texts => (*choices.of(&texts)).to_owned(),
            Kind::Key => choices.of(&["{ kind = \"hash\", domain = \"keys\" }", "\"null\""]).to_string(),
            Kind::Int => choices.of(&["{ kind = \"round\", step = 5 }", "\"null\""]).to_string(),
            Kind::Dec => choices.of(&["{ kind = \"round\", step = 10 }", "\"null\""]).to_string(),
            Kind::Float => choices.of(&["{ kind = \"round\", step = 0.5 }", "\"null\""]).to_string(),
            Kind::Date | Kind::Time => {
                let to = choices.of(&["month", "year", "day"]);
                format!("{{ kind = \"truncate\", to = \"{to}\" }}")
            }
            Kind::Bool => "\"null\"".to_owned(),
            Kind::Buyer => "\"null\"".to_owned(),
        };
        let is_field = *kind == Kind::Buyer && choices.chance(70);
        let at = match (is_field, choices.weighted(&[6, 2, 2, 1])) {
            (true, _) => {
                let own = (*choices.of(&texts)).to_owned();
                MaskAt { column: format!("{column}.email"), own: Some(own), tag: None }
            }
            (false, 1) => MaskAt { column: column.clone(), own: None, tag: Some("pii") },
            (false, 2) => MaskAt { column: column.clone(), own: None, tag: Some("words") },
            (false, 3) => MaskAt { column: column.clone(), own: Some(own), tag: Some("pii") },
            (false, _) => MaskAt { column: column.clone(), own: Some(own), tag: None },
        };
        masks.push(at);
    }
    masks
}

fn caller(choices: &mut Choices, tables: &[Table]) -> Caller {
    let strange = ["Z", "", "%", "NULL", "B' OR '1'='1"];
    let t = match choices.weighted(&[7, 5, 1]) {
        0 => "A".to_owned(),
        1 => (*choices.of(&TENANTS)).to_owned(),
        _ => (*choices.of(&strange)).to_owned(),
    };
    let count = *choices.of(&[1, 2, 3, 0, 9, 1, 2]);
    let item = |choices: &mut Choices| match choices.chance(20) {
        true => (*choices.of(&strange)).to_owned(),
        false => (*choices.of(&TENANTS)).to_owned(),
    };
    let ts = (0..count).map(|_| item(choices)).collect();
    let ns = (0..*choices.of(&[3, 1, 5, 0, 9])).map(|_| choices.between(0, 11)).collect();
    let mut unmask = Vec::new();
    for table in tables {
        for mask in &table.masks {
            if choices.chance(15) {
                unmask.push(format!("{}.{}", table.name, mask.column));
            }
        }
    }
    if choices.chance(15) {
        unmask.push("tag:pii".to_owned());
    }
    unmask.sort();
    unmask.dedup();
    Caller { t, ts, ns, is_auditor: choices.chance(20), unmask }
}
