//! Which columns are masked for a caller, and how: the project's rules, without the masks that the caller's grants lift.
//!
//! What a mask does to values is [`super::mask`]'s business; putting masks into plans is [`super::inject`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use lakegate_core::access::Allowance;
use lakegate_core::project::{Config, Finding, MaskSpec};

use super::column_path::{Unclear, resolve};
use super::mask::{self, Mask, MaskKey, MaskRule};
use crate::lake::{CatalogAction, LakeTable};

/// A mask that the project puts on a column or on a field of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MaskId {
    pub(crate) table: String,
    /// The column, or a field of one, as the project writes it.
    pub(crate) column: String,
    /// The tag that brings the mask; `None` is the column's own.
    pub(crate) tag: Option<String>,
}

/// All masks of a project.
#[derive(Debug, Default)]
pub(crate) struct Masking {
    tables: BTreeMap<String, Rules>,
    /// What catalogs demand of columns, whoever asks; nothing lifts it.
    demanded: BTreeMap<String, BTreeMap<String, CatalogAction>>,
}

/// The rules of a table's columns.
#[derive(Debug)]
struct Rules {
    /// The table's columns, among which names of grants are looked for; `None` when the table cannot be read.
    schema: Option<SchemaRef>,
    columns: Vec<Declared>,
}

/// One rule of a column.
#[derive(Debug)]
struct Declared {
    /// The column, and below it the names of fields; `None` where the name means nothing in the table, or two things.
    path: Option<Vec<String>>,
    name: String,
    tags: BTreeSet<String>,
    /// The column's own mask with `None`, and those of its tags.
    masks: Vec<(Option<String>, MaskSpec)>,
}

impl Declared {
    fn hashes(&self) -> bool {
        self.masks.iter().any(|(_, spec)| matches!(spec, MaskSpec::Hash { .. }))
    }
}

/// The masks of tables as they are for one shape of caller: by table and column.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    tables: BTreeMap<String, BTreeMap<String, Arc<Mask>>>,
}

impl Masking {
    /// Reads the rules of a project over its tables, as far as they can be read.
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

    /// What the catalog of a table demands of its columns.
    pub(crate) fn demanded(&self, table: &str) -> impl Iterator<Item = (&str, CatalogAction)> {
        self.demanded.get(table).into_iter().flatten().map(|(column, action)| (column.as_str(), *action))
    }

    /// Whether a catalog demands a salt for each query.
    pub(crate) fn needs_salt(&self) -> bool {
        self.demanded.values().flat_map(BTreeMap::values).any(|action| *action == CatalogAction::Sha256QueryLocal)
    }

    /// The column of the table that a mask is on, or is on a field of.
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

    /// The masks of these tables that a caller's grants lift.
    pub(crate) fn lifted(&self, allowance: &Allowance, tables: &BTreeSet<String>) -> BTreeSet<MaskId> {
        let mut lifted = BTreeSet::new();
        if allowance.unmask().is_empty() {
            return lifted;
        }
        for (table, declared) in self.rules(tables) {
            let Some(path) = &declared.path else { continue };
            let schema = self.tables.get(table).and_then(|rules| rules.schema.as_ref());
            // The rule's own text was found to mean one thing; any other is looked for in the table as it is now.
            let means = |text: &str| {
                text == declared.name
                    || schema.is_some_and(|schema| resolve(text, schema).is_ok_and(|meant| meant == *path))
            };
            for (tag, _) in &declared.masks {
                if allowance.lifts(table, path, &declared.tags, tag.as_deref(), means) {
                    let (table, column) = (table.to_owned(), declared.name.clone());
                    lifted.insert(MaskId { table, column, tag: tag.clone() });
                }
            }
        }
        lifted
    }

    /// The masks of these tables that are not lifted, with what they do, for people.
    pub(crate) fn kept<'a>(
        &'a self,
        lifted: &'a BTreeSet<MaskId>,
        tables: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (MaskId, &'a MaskSpec)> {
        self.rules(tables).flat_map(move |(table, declared)| {
            declared.masks.iter().filter_map(move |(tag, spec)| {
                let id = MaskId { table: table.to_owned(), column: declared.name.clone(), tag: tag.clone() };
                (!lifted.contains(&id)).then_some((id, spec))
            })
        })
    }

    fn rules<'a>(&'a self, tables: &'a BTreeSet<String>) -> impl Iterator<Item = (&'a str, &'a Declared)> {
        let reached = self.tables.iter().filter(|(table, _)| tables.contains(*table));
        reached.flat_map(|(table, rules)| rules.columns.iter().map(|declared| (table.as_str(), declared)))
    }

    /// The masks of a table's columns, without those that are lifted.
    ///
    /// # Errors
    /// A name that means no column or may mean two, a mask that does not take its type, a hash without a key: in words.
    fn compile(
        &self,
        table: &str,
        schema: &Schema,
        lifted: &BTreeSet<MaskId>,
        key: Option<&Arc<MaskKey>>,
    ) -> Result<BTreeMap<String, Arc<Mask>>, String> {
        let mut rules = BTreeMap::<&str, Vec<MaskRule<'_>>>::new();
        for declared in self.tables.get(table).into_iter().flat_map(|rules| &rules.columns) {
            let Some((column, path)) = declared.path.as_ref().and_then(|path| path.split_first()) else {
                return Err(format!("`{}` does not name one column", declared.name));
            };
            for (tag, spec) in &declared.masks {
                let id = MaskId { table: table.to_owned(), column: declared.name.clone(), tag: tag.clone() };
                if !lifted.contains(&id) {
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

    /// What is wrong with the masks of a table of this schema, where it is written.
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
            // A rule with tags alone is looked at as well: its path must lead to something.
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

/// A key for looking at plans that are never run.
pub(crate) fn stand_in_key() -> Arc<MaskKey> {
    match MaskKey::new("a key for plans that are looked at and never run") {
        Ok(key) => Arc::new(key),
        Err(error) => unreachable!("the text is long enough: {error}"),
    }
}

impl InForce {
    /// The masks of these tables (with their schemas) for a caller whose grants lift some.
    ///
    /// # Errors
    /// What `check` would say: a plan is never made with a mask left out.
    pub(crate) fn new(
        masking: &Masking,
        tables: &BTreeMap<String, Arc<Schema>>,
        lifted: &BTreeSet<MaskId>,
        key: Option<&Arc<MaskKey>>,
    ) -> Result<Self> {
        let mut in_force = Self::default();
        for (table, schema) in tables {
            match masking.compile(table, schema, lifted, key) {
                Ok(masks) if masks.is_empty() => {}
                Ok(masks) => {
                    in_force.tables.insert(table.clone(), masks);
                }
                Err(fault) => return plan_err!("a mask of table `{table}` can not be put on: {fault}"),
            }
        }
        Ok(in_force)
    }

    /// Whether there is a mask at all.
    pub(crate) fn is_any(&self) -> bool {
        !self.tables.is_empty()
    }

    /// The masks of a table, by column; `None` when it has none for this caller.
    pub(crate) fn of(&self, table: &str) -> Option<&BTreeMap<String, Arc<Mask>>> {
        self.tables.get(table)
    }

    /// The masked columns of a table.
    pub(crate) fn columns(&self, table: &str) -> BTreeSet<String> {
        self.of(table).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// A governed scan of a table with its columns under their masks, and under their names.
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

    /// Refuses a projection over a governed scan that is not just what [`Self::over`] makes.
    pub(crate) fn verify(&self, table: &str, projection: &Projection) -> Result<()> {
        match self.over(table, projection.input.as_ref().clone())? {
            LogicalPlan::Projection(wanted) if wanted.expr == projection.expr => Ok(()),
            _ => plan_err!("the columns of `{table}` are not under their masks"),
        }
    }
}

/// Whether an expression names one of these columns.
pub(crate) fn names(expr: &Expr, columns: &BTreeSet<String>) -> bool {
    expr.column_refs().iter().any(|column| columns.contains(&column.name))
}
