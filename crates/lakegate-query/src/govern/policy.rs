//! Compiles row filters: turns the project's SQL text into a predicate with a typed placeholder for each attribute of
//! the caller.
//!
//! [`super::inject`] puts filters into plans, and [`super::bind`] fills in the values.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, SetExpr, Spanned, VisitMut, VisitorMut,
};
use lakegate_core::access::name::NameKind;
use lakegate_core::project::{Config, Finding, Position, RowPolicy, Table};

use super::inject::tables_of;
use super::{lists, literal};
use crate::lake::LakeTable;
use crate::plan::functions;
use crate::plan::identifiers::{self, Relation};
use crate::plan::place::Place;
use crate::plan::sql::{self, Syntax};
use crate::plan::{set_operations, subqueries};

/// The policy of each table of a project. Nobody can read a table without one.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    tables: BTreeMap<String, TablePolicy>,
    /// The row predicates that catalogs demand, for every caller.
    ceilings: BTreeMap<String, Expr>,
}

/// The policy of one table.
#[derive(Debug)]
pub(crate) enum TablePolicy {
    /// Every caller sees all rows.
    Shared,
    /// A caller sees the rows for which the filter is true.
    Filtered(Box<RowFilter>),
}

/// A compiled row filter.
#[derive(Debug)]
pub(crate) struct RowFilter {
    /// The predicate. Scans in its subqueries are not governed yet.
    pub(crate) predicate: Expr,
    /// The attributes that the predicate itself names, without those of the filters of tables that it reads.
    pub(crate) attributes: BTreeSet<String>,
    /// The tables that its subqueries read.
    pub(crate) reads: BTreeSet<String>,
    /// Roles that see every row.
    pub(crate) unfiltered_for: Vec<String>,
    /// The filter's position in the project.
    pub(crate) position: Position,
}

/// The id of an attribute's placeholder. It has a dot, which no parameter name has, so it never equals a parameter's
/// id.
pub(crate) fn placeholder_id(attribute: &str) -> String {
    format!("$principal.{attribute}")
}

/// The attribute of a placeholder's id.
pub(crate) fn attribute_of(id: &str) -> Option<&str> {
    id.strip_prefix("$principal.")
}

impl Policies {
    /// Compiles all filters. `session` has the tables that are `open`; for a filter over other tables, only the syntax
    /// is checked.
    pub(crate) async fn compile(
        config: &Config,
        session: &SessionState,
        open: &BTreeSet<String>,
    ) -> (Self, Vec<Finding>) {
        let mut policies = Self::default();
        let mut findings = Vec::new();
        for table in config.tables.values() {
            match &table.policy {
                RowPolicy::Shared => {
                    policies.tables.insert(table.name.clone(), TablePolicy::Shared);
                }
                RowPolicy::Filtered { filter, position, unfiltered_for } => {
                    match compile(table, filter, position, config, session, open).await {
                        Ok((predicate, attributes, reads)) => {
                            let unfiltered_for = unfiltered_for.clone();
                            let filter =
                                RowFilter { predicate, attributes, reads, unfiltered_for, position: position.clone() };
                            policies.tables.insert(table.name.clone(), TablePolicy::Filtered(Box::new(filter)));
                        }
                        Err(faults) => findings.extend(faults),
                    }
                }
            }
        }
        findings.extend(policies.cycles());
        (policies, findings)
    }

    /// Adds the row predicates that the catalogs of these tables demand.
    pub(crate) fn restrict(&mut self, tables: &[Arc<LakeTable>]) {
        let demanded = tables.iter().filter_map(|table| {
            let filter = table.restrictions()?.filter.clone()?;
            Some((table.name().to_owned(), filter))
        });
        self.ceilings = demanded.collect();
    }

    /// The predicate that the catalog of a table demands for rows, for every caller.
    pub(crate) fn ceiling(&self, table: &str) -> Option<&Expr> {
        self.ceilings.get(table)
    }

    pub(crate) fn get(&self, table: &str) -> Option<&TablePolicy> {
        self.tables.get(table)
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = (&str, &RowFilter)> {
        self.tables.iter().filter_map(|(table, policy)| match policy {
            TablePolicy::Filtered(filter) => Some((table.as_str(), filter.as_ref())),
            TablePolicy::Shared => None,
        })
    }

    pub(crate) fn filter(&self, table: &str) -> Option<&RowFilter> {
        match self.tables.get(table) {
            Some(TablePolicy::Filtered(filter)) => Some(filter),
            _ => None,
        }
    }

    /// These tables, and those that their row filters read, directly or through others.
    pub(crate) fn reach(&self, tables: &BTreeSet<String>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting = tables.iter().map(String::as_str).collect::<Vec<_>>();
        while let Some(next) = waiting.pop() {
            if reached.insert(next.to_owned()) {
                waiting
                    .extend(self.filter(next).into_iter().flat_map(|filter| filter.reads.iter().map(String::as_str)));
            }
        }
        reached
    }

    /// Findings for filters that read their own table, directly or through others: governing would never end.
    fn cycles(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (table, filter) in self.filters() {
            if self.reach(&filter.reads).contains(table) {
                let message = format!("the row filter of `{table}` depends on itself");
                let path = filter.reads.iter().map(|read| format!("`{read}`")).collect::<Vec<_>>().join(", ");
                let help = format!("it reads {path}, whose own filter leads back to `{table}`; break the circle");
                findings.push(Finding::new(filter.position.clone(), message).help(help));
            }
        }
        findings
    }
}

type Compiled = (Expr, BTreeSet<String>, BTreeSet<String>);

async fn compile(
    table: &Table,
    text: &str,
    position: &Position,
    config: &Config,
    session: &SessionState,
    open: &BTreeSet<String>,
) -> Result<Compiled, Vec<Finding>> {
    let place = Place::String(position);
    let (mut expr, syntax) = sql::parse_predicate(text, &place)?;
    let mut findings = Vec::new();
    if let Some((name, span)) = syntax.placeholders.first() {
        let help = "a row filter depends on the caller alone: use `principal('attribute')`";
        findings.push(place.finding(*span, format!("`${name}` cannot stand in a row filter")).help(help));
    }
    let mut calls = PrincipalCalls { place: &place, attributes: BTreeSet::new(), findings: &mut findings };
    let _ = VisitMut::visit(&mut expr, &mut calls);
    let attributes = calls.attributes;
    findings.extend(lists::misplaced(&expr, &place));
    findings.extend(unknown_tables(&syntax, config, &place));
    let all_open = open.contains(&table.name) && syntax.tables.iter().all(|(name, _)| open.contains(name));
    if !findings.is_empty() || !all_open {
        return Err(findings);
    }
    let relations = relations(&table.name, &expr, session).await.map_err(|error| vec![place.error(&error)])?;
    let ambiguous = identifiers::ambiguous(&expr, &relations, &place);
    if !ambiguous.is_empty() {
        return Err(ambiguous);
    }
    let plan = session
        .statement_to_plan(select_where(&table.name, expr, &place)?)
        .await
        .map_err(|error| vec![place.error(&error)])?;
    let refused = functions::refused(&plan);
    if !refused.is_empty() {
        let names = refused.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message = format!("a row filter must not change from call to call, as {names} does");
        let help = "compare columns with attributes of the caller and fixed values";
        return Err(vec![Finding::new(position.clone(), message).help(help)]);
    }
    let plan = set_operations::counted(plan).and_then(subqueries::exact).map_err(|error| vec![place.error(&error)])?;
    let predicate =
        predicate_of(plan).ok_or_else(|| vec![Finding::new(position.clone(), "this is not a row filter")])?;
    check_types(&predicate, position)?;
    if !depends_on_rows(&predicate) {
        let message = format!("the row filter of `{}` is the same for every row", table.name);
        let help = "name a column, or say `shared = true` when every caller may see all rows";
        return Err(vec![Finding::new(position.clone(), message).help(help)]);
    }
    let reads = tables_read(&predicate).map_err(|error| vec![place.error(&error)])?;
    Ok((predicate, attributes, reads))
}

/// The table of a filter and the tables that its subqueries read, with their columns.
async fn relations(table: &str, filter: &SqlExpr, session: &SessionState) -> datafusion::common::Result<Vec<Relation>> {
    let mut relations = Vec::new();
    for (name, alias) in std::iter::once((table.to_owned(), None)).chain(identifiers::aliases(filter)) {
        // The name of a common table expression is not a table. Its columns are those of the tables that it reads.
        let Ok(schema) = session.schema_for_ref(TableReference::bare(name.as_str())) else { continue };
        let Some(provider) = schema.table(&name).await? else { continue };
        let names = BTreeSet::from([alias.unwrap_or(name)]);
        relations.push(Relation { names, schema: provider.schema() });
    }
    Ok(relations)
}

/// Findings for tables that the project does not have.
pub(crate) fn unknown_tables(syntax: &Syntax, config: &Config, place: &Place<'_>) -> Vec<Finding> {
    // A table that could not be read has been reported at its declaration.
    let tables = syntax.tables.iter().filter(|(name, _)| !config.declared.contains(name));
    let unknown = tables.filter_map(|(name, span)| Some((name, span, config.table(name).err()?)));
    unknown.map(|(name, span, help)| place.finding(*span, format!("there is no table `{name}`")).help(help)).collect()
}

/// `SELECT 1 FROM table WHERE expr`, built from syntax and not from text.
fn select_where(table: &str, expr: SqlExpr, place: &Place<'_>) -> Result<Statement, Vec<Finding>> {
    let (statement, _) = sql::parse_query(&format!("SELECT 1 FROM \"{table}\""), place)?;
    let Statement::Statement(mut inner) = statement else { return Err(Vec::new()) };
    if let ast::Statement::Query(query) = inner.as_mut()
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.selection = Some(expr);
    }
    Ok(Statement::Statement(inner))
}

fn predicate_of(plan: LogicalPlan) -> Option<Expr> {
    match plan {
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Filter(filter) => Some(filter.predicate.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a predicate depends on the row or the caller. `false` is also allowed: only the named roles see rows.
fn depends_on_rows(predicate: &Expr) -> bool {
    let is_false = matches!(predicate, Expr::Literal(ScalarValue::Boolean(Some(false)), _));
    let depends = predicate
        .exists(|inner| Ok(matches!(inner, Expr::Column(_) | Expr::Placeholder(_)) || subquery_of(inner).is_some()));
    is_false || depends.unwrap_or(false)
}

/// The tables that the subqueries of a predicate scan, under their own names and not the aliases of the text.
fn tables_read(predicate: &Expr) -> datafusion::common::Result<BTreeSet<String>> {
    let mut tables = BTreeSet::new();
    predicate.apply(|inner| {
        if let Some(plan) = subquery_of(inner) {
            tables.extend(tables_of(plan)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// Checks that each attribute takes a type from a column it is compared with.
fn check_types(predicate: &Expr, position: &Position) -> Result<(), Vec<Finding>> {
    let mut findings = Vec::new();
    let mut check = |expr: &Expr| {
        if let Expr::Placeholder(placeholder) = expr {
            let data_type = placeholder.field.as_ref().map(|field| field.data_type());
            if data_type.is_none_or(|data_type: &DataType| literal::declared_type(data_type).is_none()) {
                let attribute = attribute_of(&placeholder.id).unwrap_or(&placeholder.id);
                let message = format!("the type of `principal('{attribute}')` is not known here");
                let help = format!(
                    "compare it with a column: `column = principal('{attribute}')` or `column IN (principal('{attribute}'))`"
                );
                findings.push(Finding::new(position.clone(), message).help(help));
            }
        }
    };
    let _ = visit_with_subqueries(predicate, &mut check);
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Visits an expression and the expressions in the plans of its subqueries.
pub(crate) fn visit_with_subqueries(
    expr: &Expr,
    visit: &mut dyn FnMut(&Expr),
) -> datafusion::common::Result<TreeNodeRecursion> {
    expr.apply(|inner| {
        visit(inner);
        if let Some(plan) = subquery_of(inner) {
            plan.apply_with_subqueries(|node| {
                node.apply_expressions(|expr| {
                    expr.apply(|inner| {
                        visit(inner);
                        Ok(TreeNodeRecursion::Continue)
                    })
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
}

/// The plan of a subquery expression.
pub(crate) fn subquery_of(expr: &Expr) -> Option<&LogicalPlan> {
    match expr {
        Expr::Exists(exists) => Some(&exists.subquery.subquery),
        Expr::InSubquery(inside) => Some(&inside.subquery.subquery),
        Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery.subquery),
        _ => None,
    }
}

/// Whether an expression contains a subquery.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    // The closure never fails, so neither does the walk.
    expr.exists(|inner| Ok(subquery_of(inner).is_some())).unwrap_or(true)
}

/// Whether a node's own expressions contain a subquery.
pub(crate) fn node_has_subquery(node: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = node.apply_expressions(|expr| {
        found |= has_subquery(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// The expression with the plans of its subqueries replaced.
pub(crate) fn map_subqueries(
    expr: Expr,
    map: &mut dyn FnMut(LogicalPlan) -> datafusion::common::Result<LogicalPlan>,
) -> datafusion::common::Result<Expr> {
    let outcome = expr.transform_up(|mut inner| {
        let subquery = match &mut inner {
            Expr::Exists(exists) => &mut exists.subquery,
            Expr::InSubquery(inside) => &mut inside.subquery,
            Expr::ScalarSubquery(subquery) => subquery,
            Expr::SetComparison(comparison) => &mut comparison.subquery,
            _ => return Ok(Transformed::no(inner)),
        };
        subquery.subquery = Arc::new(map(LogicalPlan::clone(&subquery.subquery))?);
        Ok(Transformed::yes(inner))
    })?;
    Ok(outcome.data)
}

/// Replaces `principal('attribute')` with placeholders.
struct PrincipalCalls<'a, 'f> {
    place: &'a Place<'a>,
    attributes: BTreeSet<String>,
    findings: &'f mut Vec<Finding>,
}

impl VisitorMut for PrincipalCalls<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        let SqlExpr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if !function.name.to_string().eq_ignore_ascii_case("principal") {
            return ControlFlow::Continue(());
        }
        match attribute_argument(function).filter(|name| NameKind::Attribute.check(name).is_ok()) {
            Some(attribute) => {
                let placeholder = ast::Value::Placeholder(placeholder_id(&attribute));
                *expr = SqlExpr::Value(placeholder.with_span(function.span()));
                self.attributes.insert(attribute);
            }
            None => {
                let finding = self.place.finding(function.span(), "`principal` takes the name of an attribute");
                self.findings.push(finding.help("write it like `principal('client_id')`"));
            }
        }
        ControlFlow::Continue(())
    }
}

fn attribute_argument(function: &ast::Function) -> Option<String> {
    let plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(value)))] if plain => match &value.value {
            ast::Value::SingleQuotedString(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}
