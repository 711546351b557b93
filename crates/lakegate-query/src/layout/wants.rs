//! Collects how the project queries each table: the key of its policy, the ranges and values that endpoints filter by,
//! and the join keys. It reads plans rather than SQL, so aliases, subqueries and other spellings make no difference.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use crate::govern::policy::{RowFilter, attribute_of, subquery_of};
use crate::govern::tables_of;
use crate::plan::{PlannedProject, lineage};

/// The endpoints that use a column.
pub(super) type Endpoints = BTreeSet<String>;

/// The uses of one table.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// The key by which its policy finds the rows of a caller.
    pub(super) key: Option<Key>,
    /// Columns that endpoints compare with the bounds of a range.
    pub(super) ranges: BTreeMap<String, Endpoints>,
    /// Columns that endpoints compare with a value or a list.
    pub(super) equals: BTreeMap<String, Endpoints>,
    /// Columns that endpoints join by.
    pub(super) joins: BTreeMap<String, Endpoints>,
    /// By endpoint, the tables that it joins to this one if it reads this one first.
    pub(super) first: BTreeMap<String, BTreeSet<String>>,
}

/// How a policy finds the rows of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A column equals an attribute of the caller.
    Own { column: String, attribute: String },
    /// A column refers to another governed table.
    Through { column: String, parent: String, parent_column: String },
}

/// The uses of all tables of a project, by name.
pub(super) fn of(project: &PlannedProject) -> Result<BTreeMap<String, Wants>> {
    let mut wants = BTreeMap::<String, Wants>::new();
    for table in project.tables() {
        let key = project.policies().filter(table.name()).map(key).transpose()?.flatten();
        wants.insert(table.name().to_owned(), Wants { key, ..Wants::default() });
    }
    for planned in project.endpoints() {
        let mut look = Look { endpoint: &planned.endpoint().name, wants: &mut wants };
        planned.plan().apply_with_subqueries(|node| {
            look.node(node)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(wants)
}

/// The key of a row filter. A filter with `OR` has none, because no order keeps its rows together.
fn key(filter: &RowFilter) -> Result<Option<Key>> {
    let mut through = None;
    for part in split_conjunction(&filter.predicate) {
        if let Some((column, attribute)) = own_key(part) {
            return Ok(Some(Key::Own { column, attribute }));
        }
        if through.is_none() {
            through = parent_key(part)?;
        }
    }
    Ok(through)
}

fn own_key(part: &Expr) -> Option<(String, String)> {
    let attribute = |expr: &Expr| match bare(expr) {
        Expr::Placeholder(placeholder) => attribute_of(&placeholder.id).map(str::to_owned),
        _ => None,
    };
    match part {
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            let (left, right) = (&*binary.left, &*binary.right);
            let found = column_of(left).zip(attribute(right)).or_else(|| column_of(right).zip(attribute(left)));
            found.map(|(column, attribute)| (column.name.clone(), attribute))
        }
        Expr::InList(list) if !list.negated => {
            let attribute = list.list.iter().find_map(attribute)?;
            Some((column_of(&list.expr)?.name.clone(), attribute))
        }
        _ => None,
    }
}

fn parent_key(part: &Expr) -> Result<Option<Key>> {
    match part {
        Expr::InSubquery(inside) if !inside.negated => {
            let Some(column) = column_of(&inside.expr) else { return Ok(None) };
            let sources = lineage::sources(&inside.subquery.subquery)?;
            Ok(only(sources.first()).map(|(parent, parent_column)| Key::Through {
                column: column.name.clone(),
                parent,
                parent_column,
            }))
        }
        Expr::Exists(exists) if !exists.negated => {
            let mut found = None;
            exists.subquery.subquery.apply(|node| {
                let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
                for part in split_conjunction(&filter.predicate) {
                    let Expr::BinaryExpr(binary) = part else { continue };
                    let (left, right) = (bare(&binary.left), bare(&binary.right));
                    let pair = match (left, right) {
                        (Expr::OuterReferenceColumn(_, outer), Expr::Column(inner))
                        | (Expr::Column(inner), Expr::OuterReferenceColumn(_, outer))
                            if binary.op == Operator::Eq =>
                        {
                            (outer, inner)
                        }
                        _ => continue,
                    };
                    if let Some((parent, parent_column)) = resolved(pair.1, &[&filter.input])? {
                        found =
                            found.take().or(Some(Key::Through { column: pair.0.name.clone(), parent, parent_column }));
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(found)
        }
        _ => Ok(None),
    }
}

/// Walks the nodes of one endpoint's plan.
struct Look<'a> {
    endpoint: &'a str,
    wants: &'a mut BTreeMap<String, Wants>,
}

impl Look<'_> {
    fn node(&mut self, node: &LogicalPlan) -> Result<()> {
        match node {
            LogicalPlan::Filter(filter) => {
                for part in split_conjunction(&filter.predicate) {
                    self.condition(part, &[&filter.input])?;
                }
            }
            LogicalPlan::Join(join) => {
                self.order(&join.left, &join.right)?;
                let inputs = [join.left.as_ref(), join.right.as_ref()];
                for (left, right) in &join.on {
                    self.joined(left, &inputs)?;
                    self.joined(right, &inputs)?;
                }
                for part in join.filter.iter().flat_map(split_conjunction) {
                    self.condition(part, &inputs)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Records the table that a join reads first, if its left side is a single table.
    fn order(&mut self, left: &LogicalPlan, right: &LogicalPlan) -> Result<()> {
        let (first, others) = (tables_of(left)?, tables_of(right)?);
        if let Some(first) = first.first().filter(|_| first.len() == 1)
            && let Some(wants) = self.wants.get_mut(first)
        {
            wants.first.entry(self.endpoint.to_owned()).or_default().extend(others);
        }
        Ok(())
    }

    fn condition(&mut self, part: &Expr, inputs: &[&LogicalPlan]) -> Result<()> {
        match part {
            Expr::Between(between) if !between.negated && (is_given(&between.low) || is_given(&between.high)) => {
                self.note(&between.expr, inputs, |wants| &mut wants.ranges)?;
            }
            Expr::InList(list) if !list.negated && list.list.iter().any(is_given) => {
                self.note(&list.expr, inputs, |wants| &mut wants.equals)?;
            }
            Expr::InSubquery(inside) if !inside.negated => self.joined(&inside.expr, inputs)?,
            Expr::BinaryExpr(binary) => {
                let (left, right) = (&*binary.left, &*binary.right);
                match binary.op {
                    Operator::Eq if column_of(left).is_some() && column_of(right).is_some() => {
                        self.joined(left, inputs)?;
                        self.joined(right, inputs)?;
                    }
                    Operator::Eq if is_given(right) => self.note(left, inputs, |wants| &mut wants.equals)?,
                    Operator::Eq if is_given(left) => self.note(right, inputs, |wants| &mut wants.equals)?,
                    Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if is_given(right) => {
                        self.note(left, inputs, |wants| &mut wants.ranges)?;
                    }
                    Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if is_given(left) => {
                        self.note(right, inputs, |wants| &mut wants.ranges)?;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, expr: &Expr, inputs: &[&LogicalPlan]) -> Result<()> {
        self.note(expr, inputs, |wants| &mut wants.joins)
    }

    fn note(
        &mut self,
        expr: &Expr,
        inputs: &[&LogicalPlan],
        place: fn(&mut Wants) -> &mut BTreeMap<String, Endpoints>,
    ) -> Result<()> {
        let Some(column) = column_of(expr) else { return Ok(()) };
        let Some((table, column)) = resolved(column, inputs)? else { return Ok(()) };
        if let Some(wants) = self.wants.get_mut(&table) {
            place(wants).entry(column).or_default().insert(self.endpoint.to_owned());
        }
        Ok(())
    }
}

/// Whether an expression depends on parameters only, so that its value is known before a row is read.
fn is_given(expr: &Expr) -> bool {
    let has = |wanted: fn(&Expr) -> bool| expr.exists(|inner| Ok(wanted(inner))).unwrap_or(true);
    has(|inner| matches!(inner, Expr::Placeholder(_)))
        && !has(|inner| matches!(inner, Expr::Column(_)) || subquery_of(inner).is_some())
}

/// The column behind an expression, ignoring casts.
fn column_of(expr: &Expr) -> Option<&Column> {
    match bare(expr) {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => bare(&cast.expr),
        Expr::TryCast(cast) => bare(&cast.expr),
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

/// The table column that a column of a plan comes from, if it comes from exactly one.
fn resolved(column: &Column, inputs: &[&LogicalPlan]) -> Result<Option<lineage::Source>> {
    for input in inputs {
        if let Some(at) = input.schema().maybe_index_of_column(column) {
            return Ok(only(lineage::sources(input)?.get(at)));
        }
    }
    Ok(None)
}

fn only(sources: Option<&BTreeSet<lineage::Source>>) -> Option<lineage::Source> {
    sources.filter(|sources| sources.len() == 1).and_then(|sources| sources.first().cloned())
}
