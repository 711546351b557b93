//! Refuses names in the SQL of policies that may mean two columns, and suggests an unambiguous spelling for each
//! meaning.
//!
//! SQL resolves them (`buyer.email` is a column of the table `buyer`, or else a field of the column `buyer`, and
//! `Email` is `email`), but an author who did not think of both may have meant the other one. A fully quoted name is
//! not ambiguous. Endpoints are not checked, because they read tables under their policies whatever they name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::{Fields, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Spanned, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::column_name::in_quotes;
use lakegate_core::project::Finding;

use super::place::Place;
use crate::govern::column_path::fields_of;

/// A table that a predicate may read, and every name that it has there.
pub(crate) struct Relation {
    pub(crate) names: BTreeSet<String>,
    pub(crate) schema: SchemaRef,
}

/// The tables that subqueries of an expression read, each with its alias.
pub(crate) fn aliases(expr: &Expr) -> Vec<(String, Option<String>)> {
    let mut names = Names::default();
    let _ = expr.visit(&mut names);
    names.tables
}

/// Findings for the names in an expression that may mean two columns of these tables.
pub(crate) fn ambiguous(expr: &Expr, relations: &[Relation], place: &Place<'_>) -> Vec<Finding> {
    let mut names = Names::default();
    let _ = expr.visit(&mut names);
    let faults = names.columns.iter().filter_map(|(parts, span)| {
        let ways = meanings(parts, relations)?;
        let name = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
        let finding = place.finding(*span, format!("`{name}` may mean more than one column"));
        let ways = ways.iter().map(|way| format!("`{way}`")).collect::<Vec<_>>().join(" or ");
        Some(finding.help(format!("write {ways}")))
    });
    faults.collect()
}

/// The meanings of a name, each written unambiguously; `None` if the name has at most one.
fn meanings(parts: &[Ident], relations: &[Relation]) -> Option<BTreeSet<String>> {
    let mut qualified = BTreeSet::new();
    let mut fields = BTreeSet::new();
    for relation in relations {
        let mut plain = BTreeSet::new();
        collect(relation.schema.fields(), parts, &mut Vec::new(), &mut plain);
        let mut own = BTreeSet::new();
        if let Some((table, below)) = parts.split_first()
            && !below.is_empty()
            && relation.names.iter().any(|name| is_name(std::slice::from_ref(table), name))
        {
            collect(relation.schema.fields(), below, &mut Vec::new(), &mut own);
        }
        if plain.len() > 1 || own.len() > 1 {
            return Some(plain.into_iter().chain(own).collect());
        }
        qualified.extend(own);
        fields.extend(plain);
    }
    // SQL's scoping rules resolve a column name that two tables share.
    let are_two = !qualified.is_empty() && !fields.is_empty();
    are_two.then(|| qualified.into_iter().chain(fields).collect())
}

/// Adds the columns and fields that these parts may refer to.
fn collect(fields: &Fields, parts: &[Ident], path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    for end in 1..=parts.len() {
        for field in fields.iter().filter(|field| is_name(&parts[..end], field.name())) {
            path.push(field.name().clone());
            if end == parts.len() {
                found.insert(written(path));
            } else if let Some(below) = fields_of(field.data_type()) {
                collect(below, &parts[end..], path, found);
            }
            path.pop();
        }
    }
}

/// Whether these parts may be one name: a single part in any letter case unless it is quoted, or several parts joined
/// by dots unless all are quoted.
fn is_name(parts: &[Ident], name: &str) -> bool {
    let are_quoted = parts.iter().all(|part| part.quote_style.is_some());
    let text = parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
    match (parts, are_quoted) {
        ([_], true) => text == name,
        (_, true) => false,
        (_, false) => text.to_lowercase() == name.to_lowercase(),
    }
}

fn written(path: &[String]) -> String {
    let Some((column, fields)) = path.split_first() else { return String::new() };
    fields.iter().fold(in_quotes(column), |text, field| format!("{text}['{}']", field.replace('\'', "''")))
}

#[derive(Default)]
struct Names {
    columns: Vec<(Vec<Ident>, Span)>,
    tables: Vec<(String, Option<String>)>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor {
            let alias = alias.as_ref().map(|alias| folded(&alias.name));
            self.tables.push((table_name(name), alias));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.columns.push((vec![name.clone()], name.span)),
            Expr::CompoundIdentifier(parts) => self.columns.push((parts.clone(), expr.span())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn table_name(name: &ObjectName) -> String {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect::<Vec<_>>().join(".")
}

fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use lakegate_core::project::Position;

    use super::super::sql::parse_predicate;
    use super::*;

    fn relation(name: &str, fields: Vec<Field>) -> Relation {
        Relation { names: BTreeSet::from([name.to_owned()]), schema: Arc::new(Schema::new(fields)) }
    }

    fn faults(sql: &str, relations: &[Relation]) -> Vec<String> {
        let position = Position::start("lakegate.toml");
        let place = Place::String(&position);
        let (expr, _) = parse_predicate(sql, &place).unwrap();
        ambiguous(&expr, relations, &place).into_iter().filter_map(|finding| finding.help).collect()
    }

    #[test]
    fn a_name_in_a_policy_that_may_mean_two_columns_is_refused() {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let buyer = Field::new("buyer", DataType::Struct(vec![text("email"), text("id")].into()), true);
        let fields = vec![text("id"), buyer, text("buyer.email"), text("Id"), text("t.k"), text("k")];
        let relations = [relation("t", fields)];
        let refused = |sql: &str| faults(sql, &relations);
        let email = ["write `\"buyer\"['email']` or `\"buyer.email\"`"];
        assert_eq!(refused("buyer.email = 'a'"), email);
        assert_eq!(refused("t.buyer.email = 'a'"), email);
        assert_eq!(refused("BUYER.\"email\" = 'a'"), email);
        assert_eq!(refused("lower(buyer.email) IN (SELECT x FROM u)"), email);
        assert_eq!(refused("id = 'a'"), ["write `\"Id\"` or `\"id\"`"]);
        assert_eq!(refused("t.k = 'a'"), ["write `\"k\"` or `\"t.k\"`"]);
        for sql in [
            "\"buyer.email\" = 'a'",
            "buyer['email'] = 'a'",
            "\"buyer\"['email'] = 'a'",
            "t.\"buyer.email\" = 'a'",
            "\"buyer\".\"email\" = 'a'",
            "\"id\" = 'a' OR t.\"Id\" = 'b'",
            "\"t\".\"k\" = 'a'",
            "\"t.k\" = 'a'",
            "buyer.id = 'a'",
            "k = 'a'",
        ] {
            assert_eq!(refused(sql), Vec::<String>::new(), "{sql}");
        }
        // A column of the table `buyer`, or a field of the column `buyer`.
        let two = [
            relation("t", vec![Field::new("buyer", DataType::Struct(vec![text("email")].into()), true)]),
            relation("buyer", vec![text("email")]),
        ];
        assert_eq!(faults("buyer.email = 'a'", &two), ["write `\"buyer\"['email']` or `\"email\"`"]);
        assert_eq!(faults("email = 'a'", &two), Vec::<String>::new());
    }
}
