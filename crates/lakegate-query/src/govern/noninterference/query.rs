//! Generates queries over a generated lake: valid SQL whose result does not depend on the order of rows, compared as a
//! bag or, with a total `ORDER BY`, as a list.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::choices::Choices;
use super::generate::{HOSTILE_NUMBER, KINDS, TENANTS};
use super::types::{BOOL, BUYER, DATE, DEC, FLOAT, INT, KEY, Plain, Quotient, SCALAR, TEXT, TEXTS, TIME, Type, null};
use super::world::{Kind, World, quoted};

/// A query as an endpoint takes it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// With front matter if it has parameters.
    pub(super) sql: String,
    pub(super) arguments: Json,
    pub(super) is_ordered: bool,
    /// Tables and columns whose values can make the query fail, because they are cast to integers or divided by.
    pub(super) fallible: BTreeSet<(String, String)>,
    /// The SQL features that it uses, for the statistics.
    pub(super) features: BTreeSet<&'static str>,
    pub(super) choices: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Column {
    sql: String,
    kind: Type,
    /// The table and column, if the expression is a plain column.
    origin: Option<(String, String)>,
}

#[derive(Clone, Debug)]
struct Relation {
    sql: String,
    columns: Vec<Column>,
    /// Columns whose values are unique together; empty if none are known.
    unique: Vec<String>,
}

#[derive(Clone, Debug)]
struct Body {
    sql: String,
    types: Vec<Type>,
}

struct Maker<'a> {
    world: &'a World,
    choices: &'a mut Choices,
    params: Vec<(&'static str, Json)>,
    fallible: BTreeSet<(String, String)>,
    features: BTreeSet<&'static str>,
    names: usize,
    ctes: Vec<(String, Vec<Type>)>,
}

/// Generates a query.
pub(super) fn query(world: &World, choices: &mut Choices) -> Query {
    let mut maker = Maker {
        world,
        choices,
        params: Vec::new(),
        fallible: BTreeSet::new(),
        features: BTreeSet::new(),
        names: 0,
        ctes: Vec::new(),
    };
    let (body, is_ordered) = maker.whole();
    let Maker { params, fallible, features, .. } = maker;
    let mut front = "/*---\nsummary = \"s\"\n".to_owned();
    let mut arguments = serde_json::Map::new();
    let is_used = |at: usize| {
        let name = format!("$p{at}");
        body.match_indices(&name)
            .any(|(start, _)| !body[start + name.len()..].starts_with(|next: char| next.is_ascii_digit()))
    };
    // Omit parameters of expressions that were replaced.
    for (at, (kind, value)) in params.into_iter().enumerate().filter(|(at, _)| is_used(*at)) {
        write!(front, "[params.p{at}]\ntype = \"{kind}\"\n").unwrap();
        arguments.insert(format!("p{at}"), value);
    }
    let sql = format!("{front}---*/\n{body}");
    let choices = choices.taken().to_vec();
    Query { sql, arguments: Json::Object(arguments), is_ordered, fallible, features, choices }
}

impl Maker<'_> {
    fn note(&mut self, feature: &'static str) {
        self.features.insert(feature);
    }

    fn name(&mut self, letter: char) -> String {
        self.names += 1;
        format!("{letter}{}", self.names)
    }

    fn param(&mut self, kind: &'static str, value: Json) -> String {
        self.note("parameter");
        self.params.push((kind, value));
        format!("$p{}", self.params.len() - 1)
    }

    fn whole(&mut self) -> (String, bool) {
        let mut with = Vec::new();
        if self.choices.chance(20) {
            for _ in 0..1 + self.choices.below(2) {
                let name = self.name('w');
                let body = self.body(1, None);
                with.push(format!("{name} AS (\n{}\n)", body.sql));
                self.ctes.push((name, body.types));
            }
        }
        let (body, is_ordered) = match self.choices.weighted(&[11, 3]) {
            0 => {
                let body = self.body(2, None);
                self.ordered(body)
            }
            _ => {
                let body = self.set_operation();
                self.ordered(body)
            }
        };
        match with.is_empty() {
            true => (body, is_ordered),
            false => (format!("WITH {}\n{body}", with.join(",\n")), is_ordered),
        }
    }

    /// Adds a total order, and perhaps a limit, to a query whose columns can be sorted.
    fn ordered(&mut self, body: Body) -> (String, bool) {
        let sortable = body.types.iter().all(|kind| SCALAR.contains(kind) || *kind == Quotient);
        if !sortable || !self.choices.chance(45) {
            return (body.sql, false);
        }
        self.note("ORDER BY");
        let mut order = (1..=body.types.len()).map(|place| place.to_string()).collect::<Vec<_>>();
        if self.choices.chance(50) {
            order.reverse();
        }
        for place in &mut order {
            match self.choices.below(4) {
                1 => *place += " DESC",
                2 => *place += " NULLS FIRST",
                3 => *place += " DESC NULLS LAST",
                _ => {}
            }
        }
        let mut sql = format!("{}\nORDER BY {}", body.sql, order.join(", "));
        if self.choices.chance(60) {
            self.note("LIMIT");
            write!(sql, "\nLIMIT {}", self.choices.of(&[3, 1, 2, 5, 10, 0, 1000])).unwrap();
            if self.choices.chance(35) {
                self.note("OFFSET");
                write!(sql, " OFFSET {}", self.choices.of(&[1, 2, 5])).unwrap();
            }
        }
        (sql, true)
    }

    fn set_operation(&mut self) -> Body {
        let types = (0..1 + self.choices.below(3)).map(|_| *self.choices.of(&SCALAR[..6])).collect::<Vec<_>>();
        let mut sql = String::new();
        for arm in 0..2 + self.choices.below(2) {
            if arm > 0 {
                let (operator, feature) = *self.choices.of(&[
                    ("UNION ALL", "UNION ALL"),
                    ("UNION", "UNION"),
                    ("INTERSECT", "INTERSECT"),
                    ("EXCEPT", "EXCEPT"),
                ]);
                self.note(feature);
                write!(sql, "\n{operator}\n").unwrap();
            }
            sql += &self.body(1, Some(&types)).sql;
        }
        // The operators differ in precedence, but do so on both sides.
        let alias = self.name('u');
        let names = (0..types.len()).map(|at| format!("{alias}.c{at} AS c{at}")).collect::<Vec<_>>().join(", ");
        Body { sql: format!("SELECT {names} FROM (\n{sql}\n) AS {alias}"), types }
    }

    /// One `SELECT`, with these columns or with arbitrary ones.
    fn body(&mut self, depth: usize, wanted: Option<&[Type]>) -> Body {
        let (from, scope, unique) = self.from(depth);
        let condition = self.choices.chance(55).then(|| self.condition(&scope, depth));
        let filter = condition.map(|condition| format!("\nWHERE {condition}")).unwrap_or_default();
        if let Some(wanted) = wanted {
            let aggregates = self.choices.chance(15);
            let items = wanted.iter().enumerate().map(|(at, kind)| {
                let value = if aggregates { self.aggregate_of(*kind, &scope) } else { self.value(*kind, &scope, 1) };
                format!("{value} AS c{at}")
            });
            let items = items.collect::<Vec<_>>().join(", ");
            return Body { sql: format!("SELECT {items}\nFROM {from}{filter}"), types: wanted.to_vec() };
        }
        match self.choices.weighted(&[5, 4, 2, 3]) {
            0 => self.projection(&from, &filter, &scope),
            1 => self.aggregation(&from, &filter, &scope),
            2 => {
                self.note("DISTINCT");
                let (items, types) = self.items(&scope, false);
                Body { sql: format!("SELECT DISTINCT {items}\nFROM {from}{filter}"), types }
            }
            _ => self.windows(&from, &filter, &scope, &unique),
        }
    }

    fn items(&mut self, scope: &[Column], any_type: bool) -> (String, Vec<Type>) {
        let mut items = Vec::new();
        let mut types = Vec::new();
        for at in 0..1 + self.choices.below(4) {
            let (value, kind) = match any_type && self.choices.chance(15) {
                true => {
                    let column = self.choices.of(scope).clone();
                    (column.sql, column.kind)
                }
                false => {
                    let kind = *self.choices.of(&SCALAR);
                    (self.value(kind, scope, 2), kind)
                }
            };
            items.push(format!("{value} AS c{at}"));
            types.push(kind);
        }
        (items.join(", "), types)
    }

    fn projection(&mut self, from: &str, filter: &str, scope: &[Column]) -> Body {
        let (items, types) = self.items(scope, true);
        Body { sql: format!("SELECT {items}\nFROM {from}{filter}"), types }
    }

    fn aggregation(&mut self, from: &str, filter: &str, scope: &[Column]) -> Body {
        let mut items = Vec::new();
        let mut types = Vec::new();
        let mut groups = Vec::new();
        for at in 0..self.choices.below(3) {
            self.note("GROUP BY");
            let kind = *self.choices.of(&SCALAR);
            let value = self.value(kind, scope, 1);
            items.push(format!("{value} AS c{at}"));
            types.push(kind);
            groups.push((at + 1).to_string());
        }
        for _ in 0..1 + self.choices.below(3) {
            let (value, kind) = self.aggregate(scope);
            items.push(format!("{value} AS c{}", types.len()));
            types.push(kind);
        }
        let mut sql = format!("SELECT {}\nFROM {from}{filter}", items.join(", "));
        if !groups.is_empty() {
            write!(sql, "\nGROUP BY {}", groups.join(", ")).unwrap();
        }
        if self.choices.chance(25) {
            self.note("HAVING");
            let (value, kind) = self.aggregate(scope);
            let having = match kind {
                INT | DEC | FLOAT | Quotient => format!("{value} > {}", self.choices.between(0, 3)),
                _ => format!("{value} IS NOT NULL"),
            };
            write!(sql, "\nHAVING {having}").unwrap();
        }
        Body { sql, types }
    }

    /// An aggregate that does not depend on the order of rows.
    fn aggregate(&mut self, scope: &[Column]) -> (String, Type) {
        self.note("aggregate");
        let (value, kind) = match self.choices.weighted(&[4, 3, 3, 3, 2, 2, 2]) {
            0 => ("count(*)".to_owned(), INT),
            1 => {
                let kind = *self.choices.of(&SCALAR);
                (format!("count({})", self.value(kind, scope, 1)), INT)
            }
            2 => {
                self.note("count(DISTINCT)");
                let kind = *self.choices.of(&SCALAR);
                (format!("count(DISTINCT {})", self.value(kind, scope, 1)), INT)
            }
            3 => {
                let kind = *self.choices.of(&[INT, DEC, FLOAT]);
                (format!("sum({})", self.value(kind, scope, 1)), kind)
            }
            4 => {
                let kind = *self.choices.of(&SCALAR[..7]);
                (format!("min({})", self.value(kind, scope, 1)), kind)
            }
            5 => {
                let kind = *self.choices.of(&SCALAR[..7]);
                (format!("max({})", self.value(kind, scope, 1)), kind)
            }
            _ => {
                let kind = *self.choices.of(&[INT, FLOAT, DEC]);
                (format!("avg({})", self.value(kind, scope, 1)), Quotient)
            }
        };
        match self.choices.chance(15) {
            true => {
                self.note("FILTER");
                (format!("{value} FILTER (WHERE {})", self.simple_condition(scope, 0)), kind)
            }
            false => (value, kind),
        }
    }

    fn aggregate_of(&mut self, kind: Type, scope: &[Column]) -> String {
        self.note("aggregate");
        match kind {
            INT if self.choices.chance(60) => "count(*)".to_owned(),
            INT | DEC | FLOAT if self.choices.chance(50) => format!("sum({})", self.value(kind, scope, 1)),
            kind => {
                let name = self.choices.of(&["min", "max"]);
                format!("{name}({})", self.value(kind, scope, 1))
            }
        }
    }

    /// Window functions that return equal values for rows with equal keys, or have a total order.
    fn windows(&mut self, from: &str, filter: &str, scope: &[Column], unique: &[String]) -> Body {
        self.note("window");
        let (items, mut types) = self.items(scope, false);
        let mut items = vec![items];
        for _ in 0..1 + self.choices.below(2) {
            let mut over = Vec::new();
            if self.choices.chance(60) {
                let kind = *self.choices.of(&SCALAR);
                over.push(format!("PARTITION BY {}", self.value(kind, scope, 1)));
            }
            let by_kind = *self.choices.of(&SCALAR);
            let by = self.value(by_kind, scope, 1);
            let direction = *self.choices.of(&["", " DESC", " NULLS FIRST"]);
            let (function, kind) = match self.choices.weighted(&[3, 2, 3, 2, 3]) {
                0 => {
                    over.push(format!("ORDER BY {by}{direction}"));
                    ("rank()".to_owned(), INT)
                }
                1 => {
                    over.push(format!("ORDER BY {by}{direction}"));
                    ("dense_rank()".to_owned(), INT)
                }
                2 => {
                    if self.choices.chance(50) {
                        over.push(format!("ORDER BY {by}{direction}"));
                    }
                    let kind = *self.choices.of(&[INT, DEC, FLOAT]);
                    (format!("sum({})", self.value(kind, scope, 1)), kind)
                }
                3 => {
                    let kind = *self.choices.of(&SCALAR[..7]);
                    (format!("max({})", self.value(kind, scope, 1)), kind)
                }
                _ if unique.is_empty() => ("count(*)".to_owned(), INT),
                _ => {
                    self.note("window with a total order");
                    over.push(format!("ORDER BY {by}{direction}, {}", unique.join(", ")));
                    let kind = *self.choices.of(&SCALAR[..7]);
                    let value = self.value(kind, scope, 1);
                    match self.choices.below(4) {
                        0 => ("row_number()".to_owned(), INT),
                        1 => (format!("lag({value}, 1)"), kind),
                        2 => (format!("first_value({value})"), kind),
                        _ => (format!("lead({value}, 2)"), kind),
                    }
                }
            };
            items.push(format!("{function} OVER ({}) AS c{}", over.join(" "), types.len()));
            types.push(kind);
        }
        Body { sql: format!("SELECT {}\nFROM {from}{filter}", items.join(", ")), types }
    }

    fn from(&mut self, depth: usize) -> (String, Vec<Column>, Vec<String>) {
        let first = self.relation(depth);
        let (mut sql, mut scope, mut unique) = (first.sql, first.columns, first.unique);
        let joins = self.choices.weighted(if depth > 1 { &[4, 5, 2] } else { &[6, 3] });
        for _ in 0..joins {
            let next = self.relation(depth);
            let on = self.equality(&scope, &next.columns);
            let way = match on {
                None => 5,
                Some(_) => self.choices.weighted(&[6, 5, 2, 2, 2]),
            };
            let on = on.unwrap_or_default();
            let (join, feature) = [
                ("JOIN", "inner join"),
                ("LEFT JOIN", "left join"),
                ("RIGHT JOIN", "right join"),
                ("FULL JOIN", "full join"),
                ("SEMI", "semi or anti join"),
                ("CROSS JOIN", "cross join"),
            ][way];
            self.note(feature);
            let more = match way {
                0..=2 if self.choices.chance(25) => {
                    let both = [scope.clone(), next.columns.clone()].concat();
                    format!(" AND {}", self.simple_condition(&both, 0))
                }
                _ => String::new(),
            };
            match way {
                5 => {
                    // No two columns share a type to join by.
                    write!(sql, "\nCROSS JOIN {}", next.sql).unwrap();
                }
                4 => {
                    let kind = self.choices.of(&["LEFT SEMI JOIN", "LEFT ANTI JOIN"]);
                    write!(sql, "\n{kind} {} ON {on}", next.sql).unwrap();
                    continue;
                }
                _ => write!(sql, "\n{join} {} ON {on}{more}", next.sql).unwrap(),
            }
            scope.extend(next.columns);
            unique =
                if unique.is_empty() || next.unique.is_empty() { Vec::new() } else { [unique, next.unique].concat() };
        }
        (sql, scope, unique)
    }

    /// An equality of two columns of the same type, preferably keys.
    fn equality(&mut self, left: &[Column], right: &[Column]) -> Option<String> {
        let kinds = [KEY, KEY, KEY, INT, TEXT, DATE];
        let start = self.choices.below(kinds.len());
        for offset in 0..kinds.len() {
            let kind = kinds[(start + offset) % kinds.len()];
            let of = |columns: &[Column]| {
                columns.iter().filter(|column| column.kind == kind).map(|column| column.sql.clone()).collect::<Vec<_>>()
            };
            let (left, right) = (of(left), of(right));
            if !left.is_empty() && !right.is_empty() {
                let one = self.choices.of(&left).clone();
                return Some(format!("{one} = {}", self.choices.of(&right)));
            }
        }
        None
    }

    fn relation(&mut self, depth: usize) -> Relation {
        let way = self.choices.weighted(if depth > 1 { &[14, 3, 4, 1] } else { &[14, 0, 2, 1] });
        if way == 2 && !self.ctes.is_empty() {
            self.note("WITH");
            let (name, types) = self.choices.of(&self.ctes).clone();
            let alias = self.name('v');
            let columns = outputs(&alias, &types);
            return Relation { sql: format!("{name} AS {alias}"), columns, unique: Vec::new() };
        }
        if way == 1 {
            self.note("subquery in FROM");
            let body = self.body(1, None);
            let alias = self.name('d');
            let columns = outputs(&alias, &body.types);
            return Relation { sql: format!("(\n{}\n) AS {alias}", body.sql), columns, unique: Vec::new() };
        }
        let relation = self.table();
        let lists = relation.columns.iter().find(|column| column.kind == TEXTS).map(|column| column.sql.clone());
        if let (3, Some(list)) = (way, lists) {
            self.note("unnest");
            let alias = self.name('l');
            let key = &relation.columns[0].sql;
            let sql = format!("(SELECT {key} AS c0, unnest({list}) AS c1 FROM {}) AS {alias}", relation.sql);
            return Relation { sql, columns: outputs(&alias, &[KEY, TEXT]), unique: Vec::new() };
        }
        relation
    }

    fn table(&mut self) -> Relation {
        let table = self.choices.of(&self.world.tables);
        let alias = self.name('t');
        let column = |(name, kind): &(String, Kind)| Column {
            sql: format!("{alias}.{name}"),
            kind: Plain(*kind),
            origin: Some((table.name.clone(), name.clone())),
        };
        let columns = table.columns.iter().map(column).collect();
        // A masked key may occur in two rows.
        let is_masked = table.masks.iter().any(|mask| mask.column == "id");
        let unique = if is_masked { Vec::new() } else { vec![format!("{alias}.id")] };
        Relation { sql: format!("\"{}\" AS {alias}", table.name), columns, unique }
    }

    /// A condition, with subqueries if the depth allows them.
    fn condition(&mut self, scope: &[Column], depth: usize) -> String {
        let mut parts = vec![self.simple_condition(scope, 2)];
        if self.choices.chance(25) {
            parts.push(self.simple_condition(scope, 1));
        }
        if depth > 0 && self.choices.chance(40) {
            let part = self.subquery_condition(scope);
            match self.choices.chance(12) {
                true => {
                    self.note("subquery under OR");
                    let last = parts.pop().unwrap_or_default();
                    parts.push(format!("({last} OR {part})"));
                }
                false => parts.push(part),
            }
        }
        parts.join("\n  AND ")
    }

    fn subquery_condition(&mut self, scope: &[Column]) -> String {
        let inner = self.table();
        let way = self.choices.weighted(&[4, 2, 4, 3, 3, 2]);
        let filter = if self.choices.chance(50) { self.simple_condition(&inner.columns, 1) } else { "true".to_owned() };
        match way {
            0 | 1 => {
                let Some(outer) = self.column(&[KEY, INT, TEXT], scope) else { return "true".to_owned() };
                let inside = self.column(&[outer.kind], &inner.columns).map(|column| column.sql);
                let inside = inside.unwrap_or_else(|| null(outer.kind).to_owned());
                let from = &inner.sql;
                match way {
                    0 => {
                        self.note("IN (SELECT)");
                        format!("{} IN (SELECT {inside} FROM {from} WHERE {filter})", outer.sql)
                    }
                    _ => {
                        self.note("NOT IN (SELECT)");
                        let guard = format!("{inside} IS NOT NULL");
                        format!("{} NOT IN (SELECT {inside} FROM {from} WHERE {filter} AND {guard})", outer.sql)
                    }
                }
            }
            2 | 3 => {
                let Some(on) = self.equality(scope, &inner.columns) else { return "true".to_owned() };
                let (exists, feature) = [("EXISTS", "EXISTS"), ("NOT EXISTS", "NOT EXISTS")][way - 2];
                self.note(feature);
                format!("{exists} (SELECT 1 FROM {} WHERE {on} AND {filter})", inner.sql)
            }
            4 => {
                self.note("scalar subquery");
                let value = self.value(INT, scope, 1);
                let aggregate = self.choices.of(&["count(*)", "max({})", "min({})", "sum({})"]).to_string();
                let aggregate = aggregate.replace("{}", &self.value(INT, &inner.columns, 0));
                let compare = self.choices.of(&["<=", ">", "=", "<>"]);
                format!("{value} {compare} (SELECT {aggregate} FROM {} WHERE {filter})", inner.sql)
            }
            _ => {
                let Some(on) = self.equality(scope, &inner.columns) else { return "true".to_owned() };
                self.note("correlated scalar subquery");
                let value = self.value(INT, scope, 1);
                let aggregate = self.choices.of(&["max", "count", "min"]);
                let of = self.value(INT, &inner.columns, 0);
                format!("{value} >= (SELECT {aggregate}({of}) FROM {} WHERE {on} AND {filter})", inner.sql)
            }
        }
    }

    /// A condition without subqueries.
    fn simple_condition(&mut self, scope: &[Column], depth: usize) -> String {
        if depth > 0 && self.choices.chance(25) {
            let one = self.simple_condition(scope, depth - 1);
            return match self.choices.below(3) {
                0 => format!("({one} OR {})", self.simple_condition(scope, depth - 1)),
                1 => {
                    self.note("NOT");
                    format!("NOT ({one})")
                }
                _ => format!("({one} AND {})", self.simple_condition(scope, depth - 1)),
            };
        }
        let compare = *self.choices.of(&["<>", ">=", "<", "=", "IS DISTINCT FROM", "<=", ">", "IS NOT DISTINCT FROM"]);
        let kinds =
            SCALAR.into_iter().filter(|kind| scope.iter().any(|column| column.kind == *kind)).collect::<Vec<_>>();
        // A condition on parameters only that can fail is refused, because it would be evaluated on foreign rows.
        let Some(kind) = (!kinds.is_empty()).then(|| *self.choices.of(&kinds)) else { return "true".to_owned() };
        match self.choices.weighted(&[6, 3, 2, 2, 2, 2, 2, 1, 3]) {
            0 => format!("({} {compare} {})", self.value(kind, scope, 1), self.constant(kind)),
            8 => {
                let value = if self.choices.chance(60) { self.cast(scope) } else { self.division(scope) };
                match value {
                    Some(value) => format!("({value} {compare} {})", self.constant(INT)),
                    None => "true".to_owned(),
                }
            }
            1 => match self.column(&[kind], scope) {
                Some(column) => format!("({} {compare} {})", column.sql, self.constant(kind)),
                None => "true".to_owned(),
            },
            2 => {
                self.note("IN list");
                let not = self.choices.of(&["", "NOT "]);
                let Some(column) = self.column(&[INT, TEXT, KEY], scope) else { return "true".to_owned() };
                let (kind, value) = (column.kind, column.sql);
                let items = match self.choices.chance(30) {
                    true => self.list_param(kind),
                    false => (0..1 + self.choices.below(4)).map(|_| self.constant(kind)).collect::<Vec<_>>().join(", "),
                };
                format!("{value} {not}IN ({items})")
            }
            3 => {
                self.note("BETWEEN");
                let Some(column) = self.column(&[INT, KEY, DATE, DEC, FLOAT], scope) else { return "true".to_owned() };
                let (kind, value) = (column.kind, column.sql);
                format!("{value} BETWEEN {} AND {}", self.constant(kind), self.constant(kind))
            }
            4 => {
                self.note("LIKE");
                let Some(text) = self.column(&[TEXT], scope) else { return "true".to_owned() };
                let value = text.sql;
                let like = self.choices.of(&["LIKE", "NOT LIKE", "ILIKE"]);
                let pattern = self.choices.of(&["'A%'", "'%SECRET%'", "'%1%'", "'_'", "''"]).to_string();
                match self.choices.chance(20) {
                    true => format!("{value} {like} {}", self.param("string", json!("%a%"))),
                    false => format!("{value} {like} {pattern}"),
                }
            }
            5 => {
                self.note("IS NULL");
                let null = self.choices.of(&["IS NOT NULL", "IS NULL"]);
                format!("{} {null}", self.choices.of(scope).sql.clone())
            }
            6 => {
                let other = self.value(kind, scope, 1);
                format!("({} {compare} {other})", self.value(kind, scope, 1))
            }
            _ => match self.column(&[TEXTS, BUYER], scope) {
                Some(column) if column.kind == TEXTS => {
                    self.note("list");
                    format!("array_has({}, 'red')", column.sql)
                }
                Some(column) => {
                    self.note("struct");
                    format!("({}['cid'] {compare} 3)", column.sql)
                }
                None => "true".to_owned(),
            },
        }
    }

    fn list_param(&mut self, kind: Type) -> String {
        let count = *self.choices.of(&[2, 1, 3, 9]);
        let items = (0..count).map(|_| match kind {
            TEXT => json!(self.choices.of(&TENANTS)),
            _ => json!(self.choices.between(0, 12)),
        });
        let items = items.collect::<Vec<_>>();
        self.param(if kind == TEXT { "string[]" } else { "integer[]" }, Json::Array(items))
    }

    fn column(&mut self, kinds: &[Type], scope: &[Column]) -> Option<Column> {
        let fitting = scope.iter().filter(|column| kinds.contains(&column.kind)).collect::<Vec<_>>();
        if fitting.is_empty() { None } else { Some((*self.choices.of(&fitting)).clone()) }
    }

    /// A literal or a parameter.
    fn constant(&mut self, kind: Type) -> String {
        let is_param = self.choices.chance(30);
        match kind {
            KEY | INT => {
                let number = self.choices.between(0, 12);
                if is_param { self.param("integer", json!(number)) } else { number.to_string() }
            }
            TEXT => {
                let text = match self.choices.below(3) {
                    0 => *self.choices.of(&TENANTS),
                    1 => *self.choices.of(&KINDS),
                    _ => *self.choices.of(&["3", "plain", "SECRET-NOTE", "%", "é"]),
                };
                if is_param { self.param("string", json!(text)) } else { quoted(text) }
            }
            DATE => {
                let date = format!("2024-0{}-15", self.choices.between(1, 4));
                if is_param { self.param("date", json!(date)) } else { format!("DATE '{date}'") }
            }
            TIME => {
                let time = format!("2024-0{}-11T04:00:00", self.choices.between(1, 4));
                match is_param {
                    true => self.param("timestamp", json!(format!("{time}Z"))),
                    false => format!("TIMESTAMP '{}'", time.replace('T', " ")),
                }
            }
            DEC => format!("{}.5", self.choices.between(-5, 60)),
            FLOAT => {
                let number = self.choices.between(-8, 40) as f64 / 2.0;
                match is_param {
                    true => self.param("number", json!(number)),
                    false => format!("CAST({number:?} AS DOUBLE)"),
                }
            }
            BOOL => ["true", "false"][self.choices.below(2)].to_owned(),
            _ => null(kind).to_owned(),
        }
    }

    /// An expression of a type.
    fn value(&mut self, kind: Type, scope: &[Column], depth: usize) -> String {
        let column = self.column(&[kind], scope);
        let plain = match column {
            Some(column) => column.sql,
            None => self.constant(kind),
        };
        if depth == 0 || !self.choices.chance(45) {
            return plain;
        }
        match self.choices.weighted(&[3, 2, 8]) {
            0 => {
                self.note("CASE");
                let condition = self.simple_condition(scope, 0);
                let other = self.value(kind, scope, depth - 1);
                return format!("CASE WHEN {condition} THEN {plain} ELSE {other} END");
            }
            1 => {
                self.note("COALESCE");
                return format!("coalesce({plain}, {})", self.value(kind, scope, depth - 1));
            }
            _ => {}
        }
        match kind {
            INT => match self.choices.weighted(&[3, 2, 2, 4, 3, 1, 1]) {
                0 => format!("{plain} + {}", self.constant(INT)),
                1 => format!("{plain} * 2"),
                2 => format!("character_length({})", self.value(TEXT, scope, 0)),
                3 => self.cast(scope).unwrap_or(plain),
                4 => self.division(scope).unwrap_or(plain),
                5 => match self.column(&[TEXTS], scope) {
                    Some(list) => {
                        self.note("list");
                        format!("CAST(array_length({}) AS BIGINT)", list.sql)
                    }
                    None => format!("-({plain})"),
                },
                _ => match self.column(&[BUYER], scope) {
                    Some(buyer) => {
                        self.note("struct");
                        format!("{}['cid']", buyer.sql)
                    }
                    None => format!("abs({plain})"),
                },
            },
            TEXT => match self.choices.below(6) {
                0 => format!("upper({plain})"),
                1 => format!("substr({plain}, 1, 2)"),
                2 => format!("{plain} || {}", self.constant(TEXT)),
                3 => format!("CAST({} AS VARCHAR)", self.value(INT, scope, 0)),
                4 => match self.column(&[BUYER], scope) {
                    Some(buyer) => {
                        self.note("struct");
                        format!("{}['email']", buyer.sql)
                    }
                    None => format!("lower({plain})"),
                },
                _ => format!("nullif({plain}, {})", self.constant(TEXT)),
            },
            DATE => format!("CAST(date_trunc('month', {plain}) AS DATE)"),
            TIME => format!("date_trunc('day', {plain})"),
            DEC => format!("{plain} + 1.5"),
            FLOAT => format!("{plain} * 2.0"),
            BOOL => format!("({})", self.simple_condition(scope, 1)),
            _ => plain,
        }
    }

    /// A cast that fails for some text.
    fn cast(&mut self, scope: &[Column]) -> Option<String> {
        let texts = ["code", "code", "code", "code", "code", "code", "code", "code", "note", "email"];
        let name = *self.choices.of(&texts);
        let column = self.base_column(name, scope).or_else(|| self.base_column("code", scope))?;
        self.note("cast that can fail");
        self.fallible.extend(column.origin);
        Some(format!("CAST({} AS BIGINT)", column.sql))
    }

    /// A division that fails for one number.
    fn division(&mut self, scope: &[Column]) -> Option<String> {
        let column = self.base_column("q", scope)?;
        self.note("division that can fail");
        self.fallible.extend(column.origin);
        Some(format!("(60 / ({} - {HOSTILE_NUMBER}))", column.sql))
    }

    fn base_column(&mut self, name: &str, scope: &[Column]) -> Option<Column> {
        let is_it = |column: &&Column| column.origin.as_ref().is_some_and(|(_, column)| column == name);
        let fitting = scope.iter().filter(is_it).collect::<Vec<_>>();
        if fitting.is_empty() { None } else { Some((*self.choices.of(&fitting)).clone()) }
    }
}

fn outputs(alias: &str, types: &[Type]) -> Vec<Column> {
    let column = |(at, kind): (usize, &Type)| Column { sql: format!("{alias}.c{at}"), kind: *kind, origin: None };
    types.iter().enumerate().map(column).collect()
}
