//! How deep a text of SQL nests, told from its tokens before anything recurses over it.
//!
//! The parser bounds parentheses only. A chain of `AND`, of `||`, of `UNION` or of joins is as deep a tree as it is long, and
//! planning, evaluating and dropping that tree takes a frame of the stack for each step. Common table expressions are inlined, so
//! what they multiply to is bounded, too.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer, Word};
use lakegate_core::project::Finding;

use super::place::Place;

/// The deepest nesting that is taken. A stack of [`crate::engine::WORKER_STACK_BYTES`] holds several times as much.
const MOST: usize = 200;
/// How many levels a step of a chain of joins, and one of set operations, becomes in a plan, about.
const LEVELS_OF_JOIN: usize = 4;
const LEVELS_OF_SET: usize = 2;
/// The most tables that a query reads, each as often as it is named once common table expressions are put in.
const MOST_TABLES: usize = 300;
/// The most queries of a `WITH` that stand on each other.
const MOST_STANDING: usize = 40;

/// What is open between two parentheses, or in one `CASE`.
#[derive(Debug, Default)]
struct Level {
    /// Of `AND` and `OR`; what stands between two of them is no part of the chain.
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

    /// An expression ends, and with it what it chains.
    fn end(&mut self) {
        (self.conditions, self.operators) = (0, 0);
    }
}

/// What is wrong with a text that nests too deeply.
pub(super) fn check(sql: &str, place: &Place<'_>) -> Result<(), Finding> {
    // A text that has no tokens is refused by the parser.
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
            // What is subscripted or called again and again is a chain as well.
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

/// What is wrong with a query whose common table expressions multiply to too many tables, or stand on too many others.
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

/// What a query reads.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    tables: usize,
    /// How many queries of a `WITH` stand on each other.
    depth: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.tables = self.tables.saturating_add(other.tables);
        self.depth = self.depth.max(other.depth);
    }
}

/// Counts tables. A query of a `WITH` counts where it is named.
struct Tables {
    /// The names of queries of `WITH`, by where they are in memory.
    named: BTreeMap<usize, String>,
    /// What such queries read, by name, for each query that is open.
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
