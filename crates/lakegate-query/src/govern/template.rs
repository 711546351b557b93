//! Makes and caches an endpoint's optimised plan for one shape of caller and arguments.
//!
//! A template holds no value of any caller: attributes and arguments are typed placeholders that [`super::bind`] fills.
//! The facts that the optimiser must know in advance (which tables are unfiltered, how long lists are, which arguments
//! are NULL) are in the template's [`Shape`], which is the cache key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, lit};
use tokio::sync::OnceCell;

use super::fingerprint::{self, Fingerprint};
use super::inject::{Injection, schemas_of, versions_of};
use super::mask::MaskKey;
use super::masking::{InForce, MaskId, Masking};
use super::one_of::{item_type, one_of};
use super::output::{self, Output};
use super::policy::{Policies, attribute_of};
use super::verify;
use crate::functions::grows;
use crate::plan::filters;
use crate::shortcut::{Shortcut, Slots};

/// The properties of a request that select a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Tables whose every row the caller sees.
    pub(crate) unfiltered: BTreeSet<String>,
    /// Items of each list, by the placeholder's id, rounded up by [`padded`]; [`LONG`] for every long list.
    pub(crate) lists: BTreeMap<String, usize>,
    /// The ids of placeholders that are NULL.
    pub(crate) nulls: BTreeSet<String>,
    /// The columns, order and rows of the response; `None` for the endpoint's own.
    pub(crate) output: Option<Output>,
    /// The masks of the project that the caller's grants remove.
    pub(crate) unmasked: BTreeSet<MaskId>,
    /// The key of `hash` masks, if a table of the endpoint has such a mask. Two keys are equal if their whole text is.
    pub(crate) mask_key: Option<Arc<MaskKey>>,
}

/// The parts of a project from which all its templates are made.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) masking: &'a Masking,
    pub(crate) key: Option<&'a Arc<MaskKey>>,
    pub(crate) session: &'a SessionState,
}

/// A governed, verified and optimised plan with placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) plan: LogicalPlan,
    pub(crate) schema: SchemaRef,
    /// Covers everything but the bound values and the versions of the tables.
    pub(crate) fingerprint: Fingerprint,
    /// Digest of the versions of the tables that are read.
    pub(crate) versions: [u8; 32],
    /// The ids of the placeholders that the plan still has.
    pub(crate) placeholders: BTreeSet<String>,
    /// The positions of the parameters' values.
    pub(crate) slots: Slots,
    /// The ids of the placeholders that are row counts in a `LIMIT` or an `OFFSET`.
    pub(crate) limits: BTreeSet<String>,
    /// Whether the plan calls functions whose results can be much larger than their arguments.
    pub(crate) has_large_values: bool,
    /// Estimated size in bytes.
    bytes: u32,
    _kept: Kept,
    /// The prepared plan over resident tables, made on first use; the inner `None` if the plan cannot be prepared.
    pub(crate) shortcut: OnceCell<Option<Shortcut>>,
}

/// Maximum length of a list that becomes comparisons, which the optimiser and all statistics understand. Longer lists
/// are looked up in a set and share one shape, whatever their length: see [`super::one_of`].
const MOST_COMPARISONS: usize = 4;

/// The length in a shape of every list that is looked up in a set.
pub(crate) const LONG: usize = usize::MAX;

/// Maximum items of an `IN` in SQL text, besides literals and list parameters. Each becomes a comparison.
const MOST_ITEMS_OF_TEXT: usize = 100;

/// The length of a list in a shape: the next power of two, up to which the first item is repeated, or [`LONG`].
pub(crate) fn padded(length: usize) -> usize {
    match length {
        0 => 0,
        1..=MOST_COMPARISONS => length.next_power_of_two(),
        _ => LONG,
    }
}

/// The id of one item of a list.
pub(crate) fn item_id(list: &str, at: usize) -> String {
    format!("{list}#{at}")
}

/// Governs, verifies and optimises a typed plan for a shape.
///
/// `digest` identifies the endpoint's file.
pub(crate) fn make(plan: &LogicalPlan, shape: &Shape, maker: Maker<'_>, digest: &[u8]) -> Result<Template> {
    let Maker { policies, masking, key, session } = maker;
    let masks = InForce::new(masking, &schemas_of(plan)?, &shape.unmasked, key)?;
    let injection = Injection { policies, unfiltered: &shape.unfiltered, masks: &masks };
    let governed = injection.govern(plan.clone())?;
    let answered = match &shape.output {
        Some(output) => output.over(governed)?,
        None => governed,
    };
    verify::injected(&answered, &injection)?;
    // The text of the policies before the optimiser adds its own numbered names.
    let answered_text = answered.display_indent().to_string();
    let shaped = fit(answered, shape)?;
    let optimised = filters::guarded(session.optimize(&shaped)?)?;
    verify::optimised(&optimised, &injection, shape)?;
    output::verify(&optimised, plan, shape.output.as_ref())?;
    let mut fingerprint = Fingerprint::new("lakegate policy v1");
    fingerprint.part(digest);
    // A shape and a plan have only one text each, because their maps and sets are ordered.
    fingerprint.text(format_args!("{shape:?}"));
    fingerprint.text(answered_text);
    fingerprint.text(format_args!("{masks:?}"));
    let mut versions = Fingerprint::new("lakegate versions v1");
    for (table, version) in versions_of(&optimised)? {
        versions.part(table.as_bytes());
        versions.part(&version);
    }
    let placeholders = fingerprint::placeholders(&optimised)?;
    let (schema, versions) = (output::schema_of(&optimised), versions.bytes());
    let (slots, limits, shortcut) = (Slots::of(&optimised)?, limits_of(&optimised)?, OnceCell::new());
    let (has_large_values, bytes) = (calls_what_grows(&optimised)?, bytes_of(&optimised)?);
    Ok(Template {
        schema,
        plan: optimised,
        fingerprint,
        versions,
        placeholders,
        slots,
        limits,
        has_large_values,
        bytes,
        _kept: Kept::of(bytes),
        shortcut,
    })
}

fn calls_what_grows(plan: &LogicalPlan) -> Result<bool> {
    let mut calls = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                calls |= matches!(inner, Expr::ScalarFunction(call) if grows(&call.func));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(calls)
}

/// The ids of placeholders that are row counts.
fn limits_of(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            let numbers = limit.skip.iter().chain(&limit.fetch);
            ids.extend(numbers.filter_map(|number| match number.as_ref() {
                Expr::Placeholder(placeholder) => Some(placeholder.id.clone()),
                _ => None,
            }));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(ids)
}

/// Expands lists, and replaces placeholders that are NULL.
fn fit(plan: LogicalPlan, shape: &Shape) -> Result<LogicalPlan> {
    let fitted = plan.transform_up_with_subqueries(|node| {
        // Columns keep their names, because nodes above refer to them.
        let names = NamePreserver::new(&node);
        let schema = merge_schema(&node.inputs());
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(fit_in(expr, shape, Some(&schema))?.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(fitted.data)
}

/// Applies a shape to one expression. Does not change types or the plans of its subqueries.
pub(crate) fn fit_expr(expr: Expr, shape: &Shape) -> Result<Expr> {
    Ok(fit_in(expr, shape, None)?.data)
}

fn fit_in(expr: Expr, shape: &Shape, schema: Option<&DFSchema>) -> Result<Transformed<Expr>> {
    let spread = expr.transform_down(|inner| match inner {
        Expr::InList(list) => spread_list(list, shape, schema),
        // A list that was passed is not NULL: `$cities IS NULL OR city IN ($cities)`.
        Expr::IsNull(list) if is_given_list(&list, shape) => Ok(Transformed::yes(lit(false))),
        Expr::IsNotNull(list) if is_given_list(&list, shape) => Ok(Transformed::yes(lit(true))),
        other => Ok(Transformed::no(other)),
    })?;
    spread.transform_data(|expr| expr.transform_up(|inner| fit_scalar(inner, shape)))
}

fn is_given_list(expr: &Expr, shape: &Shape) -> bool {
    matches!(expr, Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id))
}

fn spread_list(list: InList, shape: &Shape, schema: Option<&DFSchema>) -> Result<Transformed<Expr>> {
    let InList { expr: value, list, negated } = list;
    let (mut items, mut literals, mut sets, mut changed) = (Vec::new(), Vec::new(), Vec::new(), false);
    for item in list {
        match item {
            Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id) => {
                changed = true;
                let length = shape.lists.get(&placeholder.id).copied().unwrap_or_default();
                // For a caller whose list attribute is empty, a policy lets no row through, however it is written: NULL
                // is not true under `NOT` either.
                if length == 0 && attribute_of(&placeholder.id).is_some() {
                    return Ok(Transformed::yes(lit(ScalarValue::Boolean(None))));
                }
                if length == LONG {
                    sets.push(set(value.as_ref().clone(), placeholder, schema)?);
                    continue;
                }
                items.extend((0..length).map(|at| {
                    Expr::Placeholder(Placeholder::new_with_field(
                        item_id(&placeholder.id, at),
                        placeholder.field.clone(),
                    ))
                }));
            }
            Expr::Literal(..) => literals.push(item),
            _ => items.push(item),
        }
    }
    if items.is_empty() && sets.is_empty() {
        if literals.is_empty() {
            return Ok(Transformed::yes(lit(negated)));
        }
        let list = Expr::InList(InList { expr: value, list: literals, negated });
        return Ok(if changed { Transformed::yes(list) } else { Transformed::no(list) });
    }
    if items.len() > MOST_ITEMS_OF_TEXT {
        return plan_err!(
            "an `IN` has more than {MOST_ITEMS_OF_TEXT} items that are not literals; use a list parameter"
        );
    }
    // A few literals are compared like the other items. Many stay a list, which is looked up in a set.
    let mut parts = sets;
    if literals.len() <= MOST_COMPARISONS {
        items.append(&mut literals);
    } else {
        parts.push(Expr::InList(InList { expr: value.clone(), list: literals, negated: false }));
    }
    if negated {
        parts = parts.into_iter().map(not_in).collect();
    }
    if !items.is_empty() {
        parts.push(comparisons(*value, &items, negated));
    }
    let joined = parts.into_iter().reduce(|left, right| if negated { left.and(right) } else { left.or(right) });
    Ok(Transformed::yes(joined.unwrap_or_else(|| lit(negated))))
}

fn not_in(list: Expr) -> Expr {
    match list {
        Expr::InList(list) => Expr::InList(InList { negated: true, ..list }),
        set => Expr::Not(Box::new(set)),
    }
}

/// Membership in a long list. The value and the items are coerced to one type, as for a comparison.
fn set(value: Expr, list: Placeholder, schema: Option<&DFSchema>) -> Result<Expr> {
    let Some(item) = list.field.as_ref().map(|field| field.data_type().clone()) else {
        return plan_err!("a list without a type: {}", list.id);
    };
    // The set holds plain values, and a dictionary is compared by its values.
    let plain = |data_type: DataType| match data_type {
        DataType::Dictionary(_, value) => *value,
        other => other,
    };
    let item = plain(item);
    let Some(schema) = schema else { return Ok(one_of(value, list.id, &item)) };
    let of_value = plain(value.get_type(schema)?);
    if of_value == item {
        return Ok(one_of(value, list.id, &item));
    }
    let Some(common) = comparison_coercion(&of_value, &item).filter(|common| !common.is_null()) else {
        return plan_err!("values of type {of_value} are not compared with a list of {item}");
    };
    let value = if of_value == common { value } else { Expr::Cast(Cast::new(Box::new(value), common.clone())) };
    Ok(one_of(value, list.id, &common))
}

/// `x IN (a, b)` as `x = a OR x = b`, and `x NOT IN (a, b)` as `x <> a AND x <> b`, which is equivalent for every value
/// and for NULL.
///
/// The optimiser merges lists over one column by the text of their items: `tenant IN ($a) AND tenant NOT IN ('X')`
/// becomes `tenant IN ($a)`, and a caller whose `$a` is `X` sees the rows that the policy excludes. It does not merge
/// comparisons.
fn comparisons(expr: Expr, items: &[Expr], negated: bool) -> Expr {
    match items {
        [item] if negated => expr.not_eq(item.clone()),
        [item] => expr.eq(item.clone()),
        items => {
            // Halve the items, so that a long list does not become a deep tree.
            let (left, right) = items.split_at(items.len() / 2);
            let (left, right) = (comparisons(expr.clone(), left, negated), comparisons(expr, right, negated));
            if negated { left.and(right) } else { left.or(right) }
        }
    }
}

fn fit_scalar(expr: Expr, shape: &Shape) -> Result<Transformed<Expr>> {
    match expr {
        // The list of a set is in its proper place and has a list type.
        Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id) && !is_of_set(&placeholder) => {
            plan_err!("{LIST_OUTSIDE_IN}{}", placeholder.id)
        }
        Expr::Placeholder(placeholder) if shape.nulls.contains(&placeholder.id) => {
            let null = match &placeholder.field {
                Some(field) => ScalarValue::try_from(field.data_type())?,
                None => ScalarValue::Null,
            };
            Ok(Transformed::yes(Expr::Literal(null, None)))
        }
        // A value that was passed is not NULL: `$city IS NULL OR city = $city` becomes `city = $city`, which prunes.
        Expr::IsNull(inner) if matches!(*inner, Expr::Placeholder(_)) => Ok(Transformed::yes(lit(false))),
        Expr::IsNotNull(inner) if matches!(*inner, Expr::Placeholder(_)) => Ok(Transformed::yes(lit(true))),
        other => Ok(Transformed::no(other)),
    }
}

fn is_of_set(placeholder: &Placeholder) -> bool {
    placeholder.field.as_ref().is_some_and(|field| item_type(field.data_type()).is_some())
}

/// The prefix of [`fit`]'s error for a list attribute under `=` in place of `IN`.
pub(crate) const LIST_OUTSIDE_IN: &str = "a list outside IN: ";

/// The cache of an endpoint's templates. Each is made once for its shape and then shared.
///
/// Callers choose shapes by the arguments they omit and the columns and order they select. So the cache is limited in
/// size for each endpoint and across all endpoints. A template that is not cached is made again.
#[derive(Debug)]
pub(crate) struct Templates {
    cache: moka::sync::Cache<Shape, Arc<Template>>,
}

/// Estimated bytes of all cached templates.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// Counts a template's bytes in [`KEPT`] while the template exists.
#[derive(Debug)]
pub(crate) struct Kept(u64);

impl Kept {
    fn of(bytes: u32) -> Self {
        KEPT.fetch_add(bytes.into(), Ordering::Relaxed);
        Self(bytes.into())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Templates {
    /// Approximate limit in bytes for the templates of one endpoint, and of all endpoints.
    const MOST_BYTES: u64 = 32 << 20;
    const MOST_BYTES_OF_ALL: u64 = 256 << 20;

    pub(crate) fn new() -> Self {
        let weight = |_: &Shape, template: &Arc<Template>| template.bytes;
        Self { cache: moka::sync::Cache::builder().max_capacity(Self::MOST_BYTES).weigher(weight).build() }
    }

    /// Drops all templates, because the tables have changed.
    pub(crate) fn clear(&self) {
        self.cache.invalidate_all();
    }

    /// Estimated bytes in the cache, and the number of templates.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (u64, u64) {
        self.cache.run_pending_tasks();
        (self.cache.weighted_size(), self.cache.entry_count())
    }

    /// The template for a shape. Concurrent calls make it only once.
    pub(crate) fn get(
        &self,
        shape: Shape,
        make: impl FnOnce(&Shape) -> Result<Template>,
    ) -> Result<Arc<Template>, Arc<datafusion::common::DataFusionError>> {
        if let Some(template) = self.cache.get(&shape) {
            return Ok(template);
        }
        if KEPT.load(Ordering::Relaxed) > Self::MOST_BYTES_OF_ALL && self.cache.entry_count() > 0 {
            return make(&shape).map(Arc::new).map_err(Arc::new);
        }
        let key = shape.clone();
        self.cache.try_get_with(key, || make(&shape).map(Arc::new))
    }
}

/// Estimated bytes of a template and the operators made from it. The constants were measured on plans of the sample: a
/// node has schemas and statistics, an expression has boxed children, and both exist again as operators, for one thread
/// and for several.
fn bytes_of(plan: &LogicalPlan) -> Result<u32> {
    const OF_NODE: u32 = 16 << 10;
    const OF_FIELD: u32 = 512;
    const OF_EXPRESSION: u32 = 2 << 10;
    let mut bytes = OF_NODE;
    plan.apply_with_subqueries(|node| {
        let fields = u32::try_from(node.schema().fields().len()).unwrap_or(u32::MAX);
        bytes = bytes.saturating_add(OF_NODE).saturating_add(fields.saturating_mul(OF_FIELD));
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                // A constant that the optimiser folded may be large.
                let of_literal = match inner {
                    Expr::Literal(literal, _) => u32::try_from(literal.size()).unwrap_or(u32::MAX),
                    _ => 0,
                };
                bytes = bytes.saturating_add(OF_EXPRESSION).saturating_add(of_literal);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(bytes)
}
