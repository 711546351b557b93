//! Limits how deeply a SQL text nests, by counting its tokens before anything recurses over it.
//!
//! The parser limits parentheses only. A chain of `AND`, `||`, `UNION` or joins makes a tree as deep as the chain is
//! long, and planning, evaluating and dropping that tree takes a stack frame for each level. Common table expressions
//! are inlined, so the number of tables they expand to is limited, too.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer, Word};
use lakegate_core::project::Finding;

use super::place::Place;

/// Maximum nesting. A stack of [`crate::engine::WORKER_STACK_BYTES`] holds several times as much.
const MOST: usize = 200;
/// Approximate plan levels for each step in a chain of joins, and in one of set operations.
const LEVELS_OF_JOIN: usize = 4;
const LEVELS_OF_SET: usize = 2;
/// Maximum number of tables that a query reads once common table expressions are inlined. A table counts each time it
/// is named.
const MOST_TABLES: usize = 300;
/// Maximum number of `WITH` queries that nest in each other.
const MOST_STANDING: usize = 40;

/// The chains between two parentheses, or within one `CASE`.
#[derive(Debug, Default)]
struct Level {
    /// Steps of the chain of `AND`, `OR` and `XOR`. Each restarts `operators`, because the operands of a chain do not
    /// nest.
    conditions: usize,
    operators: usize,
    joins: usize,
    sets: usize,
    is_in_from: bool,
}

impl Level {
    fn depth(&self) -> usize {
        1 + self.conditions + self.operators + self.joins * LEVELS_OF_JOIN + self.sets * LEVELS_OF_SET
    }

    fn word(&mut self, keyword: Keyword) {
        use Keyword::{
            AND, AT, BETWEEN, COLLATE, DIV, ELSE, EXCEPT, FROM, GROUP, HAVING, ILIKE, IN, INTERSECT, IS, JOIN, LIKE,
            LIMIT, MINUS, NOT, ON, OR, ORDER, QUALIFY, REGEXP, RLIKE, SELECT, SIMILAR, THEN, UNION, WHEN, WHERE, XOR,
        };
        match keyword {
            AND | OR | XOR => (self.conditions, self.operators) = (self.conditions + 1, 0),
            NOT | IN | IS | LIKE | ILIKE | RLIKE | REGEXP | SIMILAR | BETWEEN | AT | COLLATE | DIV => {
                self.operators += 1;
            }
            JOIN => {
                self.end();
                self.joins += 1;
            }
            UNION | EXCEPT | INTERSECT | MINUS => self.sets += 1,
            SELECT => {
                self.end();
                (self.joins, self.is_in_from) = (0, false);
            }
            FROM => {
                self.end();
                self.is_in_from = true;
            }
            WHERE | GROUP | HAVING | ORDER | LIMIT | QUALIFY => {
                self.end();
                self.is_in_from = false;
            }
            ON | WHEN | THEN | ELSE => self.end(),
            _ => {}
        }
    }

    /// Ends an expression, and with it its chains.
    fn end(&mut self) {
        (self.conditions, self.operators) = (0, 0);
    }
}

/// Refuses a text that nests too deeply.
pub(super) fn check(sql: &str, place: &Place<'_>) -> Result<(), Finding> {
    // The parser refuses a text that cannot be tokenised.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else { return Ok(()) };
    let mut levels = vec![Level::default()];
    // The sum of all levels but the last.
    let mut below = 0;
    for token in tokens {
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let (opens, closes) = match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => (true, false),
            Token::RParen | Token::RBracket | Token::RBrace => (false, true),
            Token::Word(Word { keyword: Keyword::CASE, quote_style: None, .. }) => (true, false),
            Token::Word(Word { keyword: Keyword::END, quote_style: None, .. }) => (false, true),
            Token::Word(Word { keyword, quote_style: None, .. }) => {
                level.word(*keyword);
                (false, false)
            }
            Token::Comma => {
                level.end();
                level.joins += usize::from(level.is_in_from);
                (false, false)
            }
            Token::Word(_) | Token::Number(..) | Token::Period | Token::SemiColon | Token::Placeholder(_) => continue,
            Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::EscapedStringLiteral(_) => continue,
            _ => {
                level.operators += 1;
                (false, false)
            }
        };
        if opens {
            // A chain of subscripts or calls nests as well.
            level.operators += usize::from(token.token == Token::LBracket);
            below += level.depth();
            levels.push(Level::default());
        }
        if closes && levels.len() > 1 {
            levels.pop();
            below -= levels.last().map_or(0, Level::depth);
        }
        if below + levels.last().map_or(0, Level::depth) > MOST {
            return Err(too_deep(place, token.span));
        }
    }
    Ok(())
}

fn too_deep(place: &Place<'_>, span: Span) -> Finding {
    place.finding(span, "the SQL nests too deeply, or chains too many operators, joins or set operations").help(
        format!(
            "write it flatter, at most {MOST} levels: `IN (…)` instead of many `OR`, a table instead of many `UNION`"
        ),
    )
}

/// Refuses a query whose common table expressions expand to too many tables, or nest too deeply.
pub(super) fn check_tables(query: &Query, place: &Place<'_>) -> Result<(), Finding> {
    let mut tables = Tables { named: BTreeMap::new(), sizes: vec![BTreeMap::new()], open: vec![Size::default()] };
    let is_too_large = query.visit(&mut tables).is_break();
    if !is_too_large {
        return Ok(());
    }
    let message = format!(
        "the query reads more than {MOST_TABLES} tables, or nests too deeply, once its `WITH` queries are put where they are named"
    );
    Err(place
        .finding(Span::empty(), message)
        .help("name each `WITH` query less often, and fewer of them in each other"))
}

/// The tables that a query reads, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    tables: usize,
    /// Number of `WITH` queries that nest in each other.
    depth: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.tables = self.tables.saturating_add(other.tables);
        self.depth = self.depth.max(other.depth);
    }
}

/// Counts tables. A `WITH` query counts each time it is named.
struct Tables {
    /// The names of `WITH` queries, keyed by the address of the query in memory.
    named: BTreeMap<usize, String>,
    /// The sizes of `WITH` queries by name, for each query that is open.
    sizes: Vec<BTreeMap<String, Size>>,
    open: Vec<Size>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.named.insert(std::ptr::from_ref(cte.query.as_ref()).addr(), cte.alias.name.value.to_lowercase());
        }
        self.sizes.push(BTreeMap::new());
        self.open.push(Size::default());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.sizes.pop();
        let size = self.open.pop().unwrap_or_default();
        if size.tables > MOST_TABLES || size.depth > MOST_STANDING {
            return ControlFlow::Break(());
        }
        match (self.named.get(&std::ptr::from_ref(query).addr()), self.sizes.last_mut(), self.open.last_mut()) {
            (Some(name), Some(sizes), _) => {
                sizes.insert(name.clone(), size);
            }
            (None, _, Some(outer)) => outer.add(size),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.to_string().trim_matches('"').to_lowercase();
        let named = self.sizes.iter().rev().find_map(|sizes| sizes.get(&name));
        let size = named.map_or(Size { tables: 1, depth: 0 }, |size| Size { depth: size.depth + 1, ..*size });
        if let Some(open) = self.open.last_mut() {
            open.add(size);
        }
        ControlFlow::Continue(())
    }
}
