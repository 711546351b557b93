//! An endpoint's optimised plan for one shape of caller and arguments, kept between requests.
//!
//! A template holds no value of any caller: attributes and arguments are typed placeholders that [`super::bind`] fills.
//! What the optimiser must know beforehand (which tables are unfiltered, how long lists are, which arguments are NULL)
//! is the template's [`Shape`], and so its key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use tokio::sync::OnceCell;

use super::fingerprint::{self, Fingerprint};
use super::inject::{Injection, schemas_of, versions_of};
use super::mask::MaskKey;
use super::masking::{InForce, MaskId, Masking};
use super::output::{self, Output};
use super::policy::{Policies, attribute_of};
use super::verify;
use crate::plan::filters;
use crate::shortcut::{Shortcut, Slots};

/// What a template is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Tables of which the caller sees every row.
    pub(crate) unfiltered: BTreeSet<String>,
    /// The number of items of each list, by the placeholder's id, rounded up by [`padded`].
    pub(crate) lists: BTreeMap<String, usize>,
    /// The ids of placeholders that are NULL.
    pub(crate) nulls: BTreeSet<String>,
    /// The columns and the order of the answer; `None` is as the endpoint gives them.
    pub(crate) output: Option<Output>,
    /// The masks of the project that are off for the caller.
    pub(crate) lifted: BTreeSet<MaskId>,
    /// The key of `hash` masks, where a table of the endpoint has such. Keys are equal when all of them is.
    pub(crate) mask_key: Option<Arc<MaskKey>>,
}

/// What all templates of a project are made with.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) masking: &'a Masking,
    pub(crate) key: Option<&'a Arc<MaskKey>>,
    pub(crate) session: &'a SessionState,
}

/// A governed, verified, optimised plan with placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) plan: LogicalPlan,
    pub(crate) schema: SchemaRef,
    /// Of everything but the values and the versions of the tables.
    pub(crate) fingerprint: Fingerprint,
    /// Of the versions of the tables that are read.
    pub(crate) versions: [u8; 32],
    /// The ids of the placeholders that the plan still has.
    pub(crate) placeholders: BTreeSet<String>,
    /// Their values' places.
    pub(crate) slots: Slots,
    /// How the plan runs over hot tables, once somebody has asked; `None` within where it can not.
    pub(crate) shortcut: OnceCell<Option<Shortcut>>,
}

/// Lengths are rounded up to a power of two, and the first item fills the rest: few shapes for lists of any length.
pub(crate) fn padded(length: usize) -> usize {
    if length == 0 { 0 } else { length.next_power_of_two() }
}

/// The id of one item of a list.
pub(crate) fn item_id(list: &str, at: usize) -> String {
    format!("{list}#{at}")
}

/// Governs, verifies and optimises a typed plan for a shape.
///
/// `digest` stands for the endpoint's file.
pub(crate) fn make(plan: &LogicalPlan, shape: &Shape, maker: Maker<'_>, digest: &[u8]) -> Result<Template> {
    let Maker { policies, masking, key, session } = maker;
    let masks = InForce::new(masking, &schemas_of(plan)?, &shape.lifted, key)?;
    let injection = Injection { policies, unfiltered: &shape.unfiltered, masks: &masks };
    let governed = injection.govern(plan.clone())?;
    let answered = match &shape.output {
        Some(output) => output.over(governed)?,
        None => governed,
    };
    verify::injected(&answered, &injection)?;
    // The policies as they stand in this plan, before the optimiser numbers names of its own.
    let answered_text = answered.display_indent().to_string();
    let shaped = fit(answered, shape)?;
    let optimised = filters::guarded(session.optimize(&shaped)?)?;
    verify::optimised(&optimised, &injection, shape)?;
    output::verify(&optimised, plan, shape.output.as_ref())?;
    let mut fingerprint = Fingerprint::new("lakegate policy v1");
    fingerprint.part(digest);
    // A shape and a plan are printed in one way only: their maps and sets are ordered.
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
    let (slots, shortcut) = (Slots::of(&optimised)?, OnceCell::new());
    Ok(Template { schema, plan: optimised, fingerprint, versions, placeholders, slots, shortcut })
}

/// Spreads lists into items and puts NULL where it is known.
fn fit(plan: LogicalPlan, shape: &Shape) -> Result<LogicalPlan> {
    let fitted = plan.transform_up_with_subqueries(|node| {
        // Columns keep their names, which nodes above refer to.
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(fit_in(expr, shape)?.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(fitted.data)
}

/// One expression, fitted; plans of its subqueries stay as they are.
pub(crate) fn fit_expr(expr: Expr, shape: &Shape) -> Result<Expr> {
    Ok(fit_in(expr, shape)?.data)
}

fn fit_in(expr: Expr, shape: &Shape) -> Result<Transformed<Expr>> {
    let spread = expr.transform_down(|inner| match inner {
        Expr::InList(list) => Ok(spread_list(list, shape)),
        // A list that came is not NULL: `$cities IS NULL OR city IN ($cities)`.
        Expr::IsNull(list) if is_given_list(&list, shape) => Ok(Transformed::yes(lit(false))),
        Expr::IsNotNull(list) if is_given_list(&list, shape) => Ok(Transformed::yes(lit(true))),
        other => Ok(Transformed::no(other)),
    })?;
    spread.transform_data(|expr| expr.transform_up(|inner| fit_scalar(inner, shape)))
}

fn is_given_list(expr: &Expr, shape: &Shape) -> bool {
    matches!(expr, Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id))
}

fn spread_list(list: InList, shape: &Shape) -> Transformed<Expr> {
    let mut items = Vec::with_capacity(list.list.len());
    let mut changed = false;
    for item in list.list {
        match &item {
            Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id) => {
                changed = true;
                let length = shape.lists.get(&placeholder.id).copied().unwrap_or_default();
                // A policy over a caller who stands for nothing lets nothing through, however it is written: NULL is not
                // true under `NOT` either.
                if length == 0 && attribute_of(&placeholder.id).is_some() {
                    return Transformed::yes(lit(ScalarValue::Boolean(None)));
                }
                items.extend((0..length).map(|at| {
                    Expr::Placeholder(Placeholder::new_with_field(
                        item_id(&placeholder.id, at),
                        placeholder.field.clone(),
                    ))
                }));
            }
            _ => items.push(item),
        }
    }
    if items.is_empty() {
        return Transformed::yes(lit(list.negated));
    }
    if items.iter().all(|item| matches!(item, Expr::Literal(..))) {
        let list = Expr::InList(InList { list: items, ..list });
        return if changed { Transformed::yes(list) } else { Transformed::no(list) };
    }
    Transformed::yes(comparisons(*list.expr, &items, list.negated))
}

/// `x IN (a, b)` as `x = a OR x = b`, and `x NOT IN (a, b)` as `x <> a AND x <> b`: the same for every value and NULL.
///
/// The optimiser merges lists over one column by how their items are written: `tenant IN ($a) AND tenant NOT IN ('X')`
/// becomes `tenant IN ($a)`, and a caller for whom `$a` is `X` sees what the policy excludes. Comparisons it leaves alone.
fn comparisons(expr: Expr, items: &[Expr], negated: bool) -> Expr {
    match items {
        [item] if negated => expr.not_eq(item.clone()),
        [item] => expr.eq(item.clone()),
        items => {
            // Halves, so that a long list is not a deep tree.
            let (left, right) = items.split_at(items.len() / 2);
            let (left, right) = (comparisons(expr.clone(), left, negated), comparisons(expr, right, negated));
            if negated { left.and(right) } else { left.or(right) }
        }
    }
}

fn fit_scalar(expr: Expr, shape: &Shape) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Placeholder(placeholder) if shape.lists.contains_key(&placeholder.id) => {
            plan_err!("{LIST_OUTSIDE_IN}{}", placeholder.id)
        }
        Expr::Placeholder(placeholder) if shape.nulls.contains(&placeholder.id) => {
            let null = match &placeholder.field {
                Some(field) => ScalarValue::try_from(field.data_type())?,
                None => ScalarValue::Null,
            };
            Ok(Transformed::yes(Expr::Literal(null, None)))
        }
        // A value that came is not NULL: `$city IS NULL OR city = $city` becomes `city = $city`, which prunes.
        Expr::IsNull(inner) if matches!(*inner, Expr::Placeholder(_)) => Ok(Transformed::yes(lit(false))),
        Expr::IsNotNull(inner) if matches!(*inner, Expr::Placeholder(_)) => Ok(Transformed::yes(lit(true))),
        other => Ok(Transformed::no(other)),
    }
}

/// How [`fit`] says that a list attribute meets `=` and not `IN`.
pub(crate) const LIST_OUTSIDE_IN: &str = "a list outside IN: ";

/// What happens to templates of an endpoint: made once for a shape, then shared.
#[derive(Debug)]
pub(crate) struct Templates {
    cache: moka::sync::Cache<Shape, Arc<Template>>,
}

impl Templates {
    /// Room for this many shapes; the least used go first.
    const SHAPES: u64 = 128;

    pub(crate) fn new() -> Self {
        Self { cache: moka::sync::Cache::new(Self::SHAPES) }
    }

    /// Forgets all templates: the tables are not what they were.
    pub(crate) fn clear(&self) {
        self.cache.invalidate_all();
    }

    /// The template for a shape, made at most once at a time.
    pub(crate) fn get(
        &self,
        shape: Shape,
        make: impl FnOnce(&Shape) -> Result<Template>,
    ) -> Result<Arc<Template>, Arc<datafusion::common::DataFusionError>> {
        if let Some(template) = self.cache.get(&shape) {
            return Ok(template);
        }
        let key = shape.clone();
        self.cache.try_get_with(key, || make(&shape).map(Arc::new))
    }
}
