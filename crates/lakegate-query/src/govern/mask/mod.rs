//! Masks Arrow arrays: computes the values that a column has for a caller who may not see the raw ones.
//!
//! A mask returns a value or NULL for every input, and never an error. It returns new arrays: no byte of a masked value
//! remains in a buffer, under a NULL or in a dictionary.

mod function;
mod grid;
mod key;
mod number;
mod rebuild;
mod standard;
mod text;
mod time;

#[cfg(test)]
mod nested_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod value_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, new_null_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use lakegate_core::project::{Granularity, MaskSpec, Step, suggest_or_list};

pub(crate) use function::{MaskFunction, SALT, expr, of};
pub use key::{MaskKey, WeakMaskKey};

use crate::lake::CatalogAction;
use crate::uuids;
use key::Pseudonyms;
use text::TextMask;

/// The mask of a column, compiled for its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mask(Node);

/// A mask of a column or of a field of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskRule<'a> {
    /// The names of nested fields below the column; empty for the column itself.
    pub(crate) path: &'a [String],
    /// The mask.
    pub(crate) spec: &'a MaskSpec,
    /// Whether `null` replaces the mask on a type that does not support it, as for the mask of a tag.
    pub(crate) or_null: bool,
}

/// The operation on an array. It is compiled for one type; on any other type, it returns NULLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    /// Masks the values themselves.
    Leaf(Leaf),
    /// Masks the items of a list.
    Items(Box<Node>),
    /// Masks fields of a struct. Fields that are not named stay unchanged.
    Fields(BTreeMap<String, Node>),
    /// Applies the second to the result of the first.
    Then(Box<Node>, Box<Node>),
}

/// The operation on values that are not nested.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Leaf {
    Null,
    Text(TextMask),
    Pseudonyms(Pseudonyms),
    Truncate(Granularity),
    Round(Step),
    /// An action that a catalog demands.
    Catalog(CatalogAction),
    /// Digests with the salt of one query.
    Salted(String),
}

impl Mask {
    /// Compiles the mask of a column of this type from the rules for it and its fields. Of two rules for one place, the
    /// stricter one applies.
    ///
    /// # Errors
    /// A message about a type that does not support its mask, or an unknown field.
    pub(crate) fn compile(
        rules: &[MaskRule<'_>],
        data_type: &DataType,
        key: Option<&Arc<MaskKey>>,
    ) -> Result<Mask, String> {
        Node::compile(rules, data_type, key, "").map(Mask)
    }

    /// The action that a catalog demands for a column, followed by the project's mask, if there is one. The mask only
    /// receives what the catalog allows us to show.
    pub(crate) fn demanded(action: CatalogAction, then: Option<&Mask>) -> Mask {
        let first = Node::Leaf(Leaf::Catalog(action));
        Mask(match then {
            Some(Mask(then)) => Node::Then(Box::new(first), Box::new(then.clone())),
            None => first,
        })
    }

    /// Whether the mask needs a salt for each query.
    pub(crate) fn needs_salt(&self) -> bool {
        let is_salted = |node: &Node| matches!(node, Node::Leaf(Leaf::Catalog(CatalogAction::Sha256QueryLocal)));
        match &self.0 {
            Node::Then(first, _) => is_salted(first),
            node => is_salted(node),
        }
    }

    /// The mask with the salt of a query.
    fn salted(&self, salt: &str) -> Mask {
        let salted = Node::Leaf(Leaf::Salted(salt.to_owned()));
        match &self.0 {
            _ if !self.needs_salt() => self.clone(),
            Node::Then(_, then) => Mask(Node::Then(Box::new(salted), then.clone())),
            _ => Mask(salted),
        }
    }

    /// The masked array, which has the same length and the type that [`Self::data_type`] returns.
    pub(crate) fn apply(&self, array: &ArrayRef) -> ArrayRef {
        self.0.apply(array, None)
    }

    /// The type of masked values: that of the values, except that a field becomes nullable if its mask can return NULL.
    pub(crate) fn data_type(&self, data_type: &DataType) -> DataType {
        self.0.data_type(data_type)
    }

    /// Whether the mask can return NULL for a value that is not NULL.
    pub(crate) fn can_give_null(&self) -> bool {
        self.0.can_give_null()
    }

    /// The function's name in plans.
    fn function_name(&self) -> &'static str {
        let mut node = &self.0;
        while let Node::Items(inner) | Node::Then(_, inner) = node {
            node = inner;
        }
        match node {
            Node::Leaf(leaf) => leaf.function_name(),
            Node::Items(_) | Node::Fields(_) | Node::Then(..) => "mask_fields",
        }
    }
}

impl Node {
    fn compile(
        rules: &[MaskRule<'_>],
        data_type: &DataType,
        key: Option<&Arc<MaskKey>>,
        place: &str,
    ) -> Result<Node, String> {
        let (here, below) = rules.iter().copied().partition::<Vec<_>, _>(|rule| rule.path.is_empty());
        let mut spec = None::<MaskSpec>;
        for rule in here {
            let fitting = match fault(rule.spec, data_type) {
                None => rule.spec.clone(),
                Some(_) if rule.or_null => MaskSpec::Null,
                Some(fault) => return Err(at(place, &fault)),
            };
            spec = Some(match spec {
                Some(other) => fitting.stricter(other),
                None => fitting,
            });
        }
        let fields = if below.is_empty() { None } else { Some(Self::of_fields(&below, data_type, key, place)?) };
        match (spec, fields) {
            (Some(spec), _) => Self::of_values(&spec, data_type, key).map_err(|fault| at(place, &fault)),
            (None, Some(fields)) => Ok(fields),
            (None, None) => Err(at(place, "there is no mask for it")),
        }
    }

    /// One mask for all values of a type that supports it.
    fn of_values(spec: &MaskSpec, data_type: &DataType, key: Option<&Arc<MaskKey>>) -> Result<Node, String> {
        if let Some(item) = item_of(data_type).filter(|_| *spec != MaskSpec::Null) {
            return Ok(Node::Items(Box::new(Self::of_values(spec, item.data_type(), key)?)));
        }
        let key = || key.ok_or_else(|| "a `hash` mask needs the key of [masking]".to_owned());
        let text = |mask| Leaf::Text(mask);
        Ok(Node::Leaf(match spec {
            _ if *data_type == DataType::Null => Leaf::Null,
            MaskSpec::Null => Leaf::Null,
            MaskSpec::Redact => text(TextMask::Redact),
            MaskSpec::Email => text(TextMask::Email),
            MaskSpec::Partial { prefix, suffix } => text(TextMask::Partial { prefix: *prefix, suffix: *suffix }),
            MaskSpec::Grid { step } => text(TextMask::Grid(*step)),
            MaskSpec::Hash { domain } if is_text(data_type) => {
                text(TextMask::Hash(Pseudonyms::of_text(key()?, domain)))
            }
            MaskSpec::Hash { domain } if *data_type == DataType::FixedSizeBinary(uuids::BYTES) => {
                Leaf::Pseudonyms(Pseudonyms::of_uuids(key()?, domain))
            }
            MaskSpec::Hash { domain } => Leaf::Pseudonyms(Pseudonyms::of_integers(key()?, domain)),
            MaskSpec::Truncate { to } => Leaf::Truncate(*to),
            MaskSpec::Round { step } => Leaf::Round(*step),
        }))
    }

    /// Masks for fields of a struct, or of the structs in a list.
    fn of_fields(
        rules: &[MaskRule<'_>],
        data_type: &DataType,
        key: Option<&Arc<MaskKey>>,
        place: &str,
    ) -> Result<Node, String> {
        if let Some(item) = item_of(data_type) {
            return Ok(Node::Items(Box::new(Self::of_fields(rules, item.data_type(), key, place)?)));
        }
        let DataType::Struct(fields) = data_type else {
            let what = match data_type {
                DataType::Map(..) => "a map, which is masked as a whole or not at all",
                _ => "no struct and has no fields",
            };
            return Err(at(place, &format!("it is {what}")));
        };
        let mut by_field = BTreeMap::<&str, Vec<MaskRule<'_>>>::new();
        for rule in rules {
            let Some((field, rest)) = rule.path.split_first() else { continue };
            by_field.entry(field).or_default().push(MaskRule { path: rest, ..*rule });
        }
        let mut nodes = BTreeMap::new();
        for (name, rules) in by_field {
            let mut same_name = fields.iter().filter(|field| field.name() == name);
            let Some(field) = same_name.next() else {
                let known = fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
                return Err(at(place, &format!("there is no field `{name}`; {}", suggest_or_list(name, known))));
            };
            if same_name.next().is_some() {
                return Err(at(place, &format!("there are two fields `{name}`; mask the whole with `null`")));
            }
            let place = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
            nodes.insert(name.to_owned(), Self::compile(&rules, field.data_type(), key, &place)?);
        }
        Ok(Node::Fields(nodes))
    }

    /// `hidden` marks the rows that are NULL because the value that contains them is.
    fn apply(&self, array: &ArrayRef, hidden: Option<&NullBuffer>) -> ArrayRef {
        let target = self.data_type(array.data_type());
        let masked = match self {
            Node::Leaf(leaf) => leaf.apply(array, hidden),
            Node::Items(node) => rebuild::items(array, hidden, &target, |items, hidden| node.apply(items, hidden)),
            Node::Fields(nodes) => rebuild::fields(array, hidden, &target, |name, values, hidden| {
                nodes.get(name).map(|node| node.apply(values, hidden))
            }),
            Node::Then(first, then) => Some(then.apply(&first.apply(array, hidden), hidden)),
        }
        .filter(|masked| *masked.data_type() == target);
        masked.unwrap_or_else(|| new_null_array(&target, array.len()))
    }

    fn data_type(&self, data_type: &DataType) -> DataType {
        match (self, data_type) {
            (Node::Items(node), DataType::List(item)) => DataType::List(node.field(item)),
            (Node::Items(node), DataType::LargeList(item)) => DataType::LargeList(node.field(item)),
            (Node::Items(node), DataType::ListView(item)) => DataType::ListView(node.field(item)),
            (Node::Items(node), DataType::LargeListView(item)) => DataType::LargeListView(node.field(item)),
            (Node::Items(node), DataType::FixedSizeList(item, size)) => {
                DataType::FixedSizeList(node.field(item), *size)
            }
            (Node::Fields(nodes), DataType::Struct(fields)) => {
                let masked = |field: &FieldRef| match nodes.get(field.name()) {
                    Some(node) => node.field(field),
                    None => Arc::clone(field),
                };
                DataType::Struct(fields.iter().map(masked).collect())
            }
            (Node::Then(first, then), _) => then.data_type(&first.data_type(data_type)),
            _ => data_type.clone(),
        }
    }

    fn field(&self, field: &FieldRef) -> FieldRef {
        let masked = Field::clone(field)
            .with_data_type(self.data_type(field.data_type()))
            .with_nullable(field.is_nullable() || self.can_give_null());
        Arc::new(masked)
    }

    fn can_give_null(&self) -> bool {
        match self {
            Node::Leaf(Leaf::Null | Leaf::Truncate(_) | Leaf::Round(_) | Leaf::Text(TextMask::Grid(_))) => true,
            Node::Leaf(Leaf::Catalog(action)) => standard::can_give_null(*action),
            Node::Leaf(Leaf::Text(_) | Leaf::Pseudonyms(_) | Leaf::Salted(_)) | Node::Items(_) | Node::Fields(_) => {
                false
            }
            Node::Then(first, then) => first.can_give_null() || then.can_give_null(),
        }
    }
}

impl Leaf {
    /// Returns `None` if the result can only be NULLs.
    fn apply(&self, array: &ArrayRef, hidden: Option<&NullBuffer>) -> Option<ArrayRef> {
        match self {
            Leaf::Null => None,
            Leaf::Text(mask) => mask.apply(array, hidden),
            Leaf::Pseudonyms(pseudonyms) => number::pseudonyms(array, hidden, pseudonyms),
            Leaf::Truncate(to) => time::truncate(array, hidden, *to),
            Leaf::Round(step) => number::round(array, hidden, *step),
            Leaf::Catalog(action) => standard::apply(*action, array, hidden),
            Leaf::Salted(salt) => standard::salted(array, hidden, salt),
        }
    }

    fn function_name(&self) -> &'static str {
        match self {
            Leaf::Null => "mask_null",
            Leaf::Text(TextMask::Redact) => "mask_redact",
            Leaf::Text(TextMask::Partial { .. }) => "mask_partial",
            Leaf::Text(TextMask::Email) => "mask_email",
            Leaf::Text(TextMask::Grid(_)) => "mask_grid",
            Leaf::Text(TextMask::Hash(_)) | Leaf::Pseudonyms(_) => "mask_hash",
            Leaf::Text(TextMask::Alphanum { .. } | TextMask::Digest { .. }) => "mask_catalog",
            Leaf::Truncate(_) => "mask_truncate",
            Leaf::Round(_) => "mask_round",
            Leaf::Catalog(_) | Leaf::Salted(_) => "mask_catalog",
        }
    }
}

/// Why values of this type do not support the mask. Lists support what their items support.
fn fault(spec: &MaskSpec, data_type: &DataType) -> Option<String> {
    if *spec == MaskSpec::Null || *data_type == DataType::Null {
        return None;
    }
    if let Some(item) = item_of(data_type) {
        return fault(spec, item.data_type());
    }
    let takes = match spec {
        MaskSpec::Null => return None,
        MaskSpec::Redact | MaskSpec::Email | MaskSpec::Partial { .. } | MaskSpec::Grid { .. } => {
            (!is_text(data_type)).then_some("text")
        }
        MaskSpec::Hash { .. } => {
            let is_key =
                matches!(data_type, DataType::Int64 | DataType::UInt64 | DataType::FixedSizeBinary(uuids::BYTES));
            (!is_text(data_type) && !is_key).then_some("text, integers of 64 bits and UUIDs")
        }
        MaskSpec::Truncate { .. } => {
            let is_time = matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
            (!is_time).then_some("timestamps and dates")
        }
        MaskSpec::Round { step } => match number::takes_step(data_type, *step) {
            Some(true) => None,
            Some(false) => {
                return Some(format!("its type `{data_type}` has no multiples of {step}; choose a larger `step`"));
            }
            None => Some("numbers"),
        },
    };
    takes.map(|takes| {
        let kind = spec.kind();
        format!("a `{kind}` mask takes {takes}, not `{data_type}`; choose another mask, such as `null`")
    })
}

fn at(place: &str, fault: &str) -> String {
    if place.is_empty() { fault.to_owned() } else { format!("field `{place}`: {fault}") }
}

fn item_of(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => {
            matches!(**values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}
