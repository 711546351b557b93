//! Resolves the project's mask rules to columns, and computes the masks in force for a caller after grants unmask some columns.
//!
//! [`super::mask`] computes masked values, and [`super::inject`] puts masks into plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use lakegate_core::access::GrantedAccess;
use lakegate_core::project::{Config, Finding, MaskSpec};

use super::column_path::{Unclear, resolve};
use super::mask::{self, Mask, MaskKey, MaskRule};
use crate::lake::{CatalogAction, LakeTable};

/// Identifies a mask that the project puts on a column or on a field of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MaskId {
    pub(crate) table: String,
    /// The column, or a field of one, as the project writes it.
    pub(crate) column: String,
    /// The tag that the mask comes from; `None` for the column's own mask.
    pub(crate) tag: Option<String>,
}

/// All masks of a project.
#[derive(Debug, Default)]
pub(crate) struct Masking {
    tables: BTreeMap<String, Rules>,
    /// The actions that catalogs demand for columns, for every caller. No grant removes them.
    demanded: BTreeMap<String, BTreeMap<String, CatalogAction>>,
}

/// The rules of a table's columns.
#[derive(Debug)]
struct Rules {
    /// The table's columns, in which the names in grants are resolved; `None` if the table cannot be read.
    schema: Option<SchemaRef>,
    columns: Vec<Declared>,
}

/// One rule of a column.
#[derive(Debug)]
struct Declared {
    /// The column, followed by the names of nested fields; `None` if the name is unknown or ambiguous in the table.
    path: Option<Vec<String>>,
    name: String,
    tags: BTreeSet<String>,
    /// The column's own mask, under `None`, and those of its tags.
    masks: Vec<(Option<String>, MaskSpec)>,
}

impl Declared {
    fn hashes(&self) -> bool {
        self.masks.iter().any(|(_, spec)| matches!(spec, MaskSpec::Hash { .. }))
    }
}

/// The masks of tables for one shape of caller, by table and column.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    tables: BTreeMap<String, BTreeMap<String, Arc<Mask>>>,
}

impl Masking {
    /// Reads the rules of a project, and resolves those of the tables that are open.
    pub(crate) fn of(config: &Config, open: &[Arc<LakeTable>]) -> Self {
        let mut tables = BTreeMap::new();
        for table in config.tables.values() {
            let schema = open.iter().find(|open| open.name() == table.name).map(|open| open.schema());
            let declared = table.columns.iter().filter_map(|rule| {
                let masks = config.masks(rule).map(|(tag, spec)| (tag.map(str::to_owned), spec.clone()));
                let masks = masks.collect::<Vec<_>>();
                let path = schema.as_ref().and_then(|schema| resolve(&rule.name, schema).ok());
                let (name, tags) = (rule.name.clone(), rule.tags.clone());
                (!masks.is_empty()).then_some(Declared { name, path, tags, masks })
            });
            let columns = declared.collect::<Vec<_>>();
            if !columns.is_empty() {
                tables.insert(table.name.clone(), Rules { schema, columns });
            }
        }
        let demanded = open.iter().filter_map(|table| {
            let actions = table.restrictions()?.actions.clone();
            (!actions.is_empty()).then(|| (table.name().to_owned(), actions))
        });
        Self { tables, demanded: demanded.collect() }
    }

    /// The actions that the catalog of a table demands for its columns.
    pub(crate) fn demanded(&self, table: &str) -> impl Iterator<Item = (&str, CatalogAction)> {
        self.demanded.get(table).into_iter().flatten().map(|(column, action)| (column.as_str(), *action))
    }

    /// Whether a catalog demands a salt for each query.
    pub(crate) fn needs_salt(&self) -> bool {
        self.demanded.values().flat_map(BTreeMap::values).any(|action| *action == CatalogAction::Sha256QueryLocal)
    }

    /// The table's column that a mask is on, whether the mask covers all of it or one field.
    pub(crate) fn column_of(&self, id: &MaskId) -> Option<&str> {
        let declared = self.tables.get(&id.table)?.columns.iter().find(|declared| declared.name == id.column)?;
        declared.path.as_ref()?.first().map(String::as_str)
    }

    /// Whether any mask needs the key.
    pub(crate) fn need_key(&self) -> bool {
        self.tables.values().flat_map(|rules| &rules.columns).any(Declared::hashes)
    }

    /// Whether a mask of one of these tables needs the key.
    pub(crate) fn hash(&self, tables: &BTreeSet<String>) -> bool {
        self.rules(tables).any(|(_, declared)| declared.hashes())
    }

    /// The masks of these tables that a caller's grants remove.
    pub(crate) fn unmasked(&self, granted_access: &GrantedAccess, tables: &BTreeSet<String>) -> BTreeSet<MaskId> {
        let mut unmasked = BTreeSet::new();
        if granted_access.unmask().is_empty() {
            return unmasked;
        }
        for (table, declared) in self.rules(tables) {
            let Some(path) = &declared.path else { continue };
            let schema = self.tables.get(table).and_then(|rules| rules.schema.as_ref());
            // The rule's own text has already been resolved. Any other text is resolved in the current table.
            let means = |text: &str| {
                text == declared.name
                    || schema.is_some_and(|schema| resolve(text, schema).is_ok_and(|meant| meant == *path))
            };
            for (tag, _) in &declared.masks {
                if granted_access.is_unmasked(table, path, &declared.tags, tag.as_deref(), means) {
                    let (table, column) = (table.to_owned(), declared.name.clone());
                    unmasked.insert(MaskId { table, column, tag: tag.clone() });
                }
            }
        }
        unmasked
    }

    /// The masks of these tables that grants do not remove, with their specifications, for `explain`.
    pub(crate) fn kept<'a>(
        &'a self,
        unmasked: &'a BTreeSet<MaskId>,
        tables: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (MaskId, &'a MaskSpec)> {
        self.rules(tables).flat_map(move |(table, declared)| {
            declared.masks.iter().filter_map(move |(tag, spec)| {
                let id = MaskId { table: table.to_owned(), column: declared.name.clone(), tag: tag.clone() };
                (!unmasked.contains(&id)).then_some((id, spec))
            })
        })
    }

    fn rules<'a>(&'a self, tables: &'a BTreeSet<String>) -> impl Iterator<Item = (&'a str, &'a Declared)> {
        let reached = self.tables.iter().filter(|(table, _)| tables.contains(*table));
        reached.flat_map(|(table, rules)| rules.columns.iter().map(|declared| (table.as_str(), declared)))
    }

    /// The masks of a table's columns, except those that grants remove.
    ///
    /// # Errors
    /// A message for a name that is unknown or ambiguous, a mask that does not support its type, or a hash without a
    /// key.
    fn compile(
        &self,
        table: &str,
        schema: &Schema,
        unmasked: &BTreeSet<MaskId>,
        key: Option<&Arc<MaskKey>>,
    ) -> Result<BTreeMap<String, Arc<Mask>>, String> {
        let mut rules = BTreeMap::<&str, Vec<MaskRule<'_>>>::new();
        for declared in self.tables.get(table).into_iter().flat_map(|rules| &rules.columns) {
            let Some((column, path)) = declared.path.as_ref().and_then(|path| path.split_first()) else {
                return Err(format!("`{}` does not name one column", declared.name));
            };
            for (tag, spec) in &declared.masks {
                let id = MaskId { table: table.to_owned(), column: declared.name.clone(), tag: tag.clone() };
                if !unmasked.contains(&id) {
                    rules.entry(column).or_default().push(MaskRule { path, spec, or_null: tag.is_some() });
                }
            }
        }
        let compile = |(column, rules): (&str, Vec<MaskRule<'_>>)| {
            let field = schema.field_with_name(column).map_err(|_| format!("there is no column `{column}`"))?;
            let mask = Mask::compile(&rules, field.data_type(), key).map_err(|fault| format!("`{column}`: {fault}"))?;
            Ok((column.to_owned(), Arc::new(mask)))
        };
        let mut masks = rules.into_iter().map(compile).collect::<Result<BTreeMap<_, _>, String>>()?;
        for (column, action) in self.demanded(table) {
            if schema.field_with_name(column).is_err() {
                return Err(format!("there is no column `{column}`, which its catalog restricts"));
            }
            let mask = Mask::demanded(action, masks.get(column).map(Arc::as_ref));
            masks.insert(column.to_owned(), Arc::new(mask));
        }
        Ok(masks)
    }

    /// Findings about the masks of a table with this schema.
    pub(crate) fn check(config: &Config, table: &lakegate_core::project::Table, schema: &Schema) -> Vec<Finding> {
        let key = stand_in_key();
        let mut findings = Vec::new();
        for rule in &table.columns {
            let path = match resolve(&rule.name, schema) {
                Ok(path) => path,
                Err(Unclear::Unknown(help)) => {
                    let message = format!("table `{}` has no column `{}`", table.name, rule.name);
                    findings.push(Finding::new(rule.position.clone(), message).help(help));
                    continue;
                }
                Err(Unclear::Ambiguous(ways)) => {
                    let message = format!("`{}` may mean more than one column of table `{}`", rule.name, table.name);
                    let ways = ways.iter().map(|way| format!("`[tables.{}.columns.'{way}']`", table.name));
                    let help = format!("write one of {}", ways.collect::<Vec<_>>().join(", "));
                    findings.push(Finding::new(rule.position.clone(), message).help(help));
                    continue;
                }
            };
            let Some((column, path)) = path.split_first() else { continue };
            let Ok(field) = schema.field_with_name(column) else { continue };
            // Check a rule that has only tags, too, because its path must exist.
            let masks = config.masks(rule).map(|(tag, spec)| MaskRule { path, spec, or_null: tag.is_some() });
            let masks = masks.collect::<Vec<_>>();
            let only_path = [MaskRule { path, spec: &MaskSpec::Null, or_null: true }];
            let rules = if masks.is_empty() { &only_path[..] } else { &masks };
            if let Err(fault) = Mask::compile(rules, field.data_type(), Some(&key)) {
                findings.push(Finding::new(rule.position.clone(), format!("column `{}`: {fault}", rule.name)));
            }
        }
        findings
    }
}

/// A key for checking plans that are never run.
pub(crate) fn stand_in_key() -> Arc<MaskKey> {
    match MaskKey::new("a key for plans that are looked at and never run") {
        Ok(key) => Arc::new(key),
        Err(error) => unreachable!("the text is long enough: {error}"),
    }
}

impl InForce {
    /// The masks of these tables (with their schemas) for a caller whose grants remove some.
    ///
    /// # Errors
    /// The errors that `check` reports: a plan is never made without one of its masks.
    pub(crate) fn new(
        masking: &Masking,
        tables: &BTreeMap<String, Arc<Schema>>,
        unmasked: &BTreeSet<MaskId>,
        key: Option<&Arc<MaskKey>>,
    ) -> Result<Self> {
        let mut in_force = Self::default();
        for (table, schema) in tables {
            match masking.compile(table, schema, unmasked, key) {
                Ok(masks) if masks.is_empty() => {}
                Ok(masks) => {
                    in_force.tables.insert(table.clone(), masks);
                }
                Err(fault) => return plan_err!("a mask of table `{table}` cannot be put on: {fault}"),
            }
        }
        Ok(in_force)
    }

    /// Whether there is any mask.
    pub(crate) fn is_any(&self) -> bool {
        !self.tables.is_empty()
    }

    /// The masks of a table, by column; `None` if it has none for this caller.
    pub(crate) fn of(&self, table: &str) -> Option<&BTreeMap<String, Arc<Mask>>> {
        self.tables.get(table)
    }

    /// The masked columns of a table.
    pub(crate) fn columns(&self, table: &str) -> BTreeSet<String> {
        self.of(table).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// A projection over a governed scan that masks its columns and keeps their names.
    pub(crate) fn over(&self, table: &str, governed: LogicalPlan) -> Result<LogicalPlan> {
        let Some(masks) = self.of(table) else { return Ok(governed) };
        let columns = governed.schema().columns();
        let masked = columns.into_iter().map(|column| match masks.get(&column.name) {
            Some(mask) => {
                let (relation, name) = (column.relation.clone(), column.name.clone());
                let value = mask::expr(table, &name, Arc::clone(mask), Expr::Column(column));
                value.alias_qualified(relation, name)
            }
            None => Expr::Column(column),
        });
        let masked = masked.collect::<Vec<_>>();
        LogicalPlanBuilder::from(governed).project(masked)?.build()
    }

    /// Refuses a projection over a governed scan that differs from the one of [`Self::over`].
    pub(crate) fn verify(&self, table: &str, projection: &Projection) -> Result<()> {
        match self.over(table, projection.input.as_ref().clone())? {
            LogicalPlan::Projection(wanted) if wanted.expr == projection.expr => Ok(()),
            _ => plan_err!("the columns of `{table}` are not under their masks"),
        }
    }
}

/// Whether an expression refers to one of these columns.
pub(crate) fn names(expr: &Expr, columns: &BTreeSet<String>) -> bool {
    expr.column_refs().iter().any(|column| columns.contains(&column.name))
}
