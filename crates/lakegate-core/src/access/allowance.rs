//! What several grants give together: columns, unmasking, rows. Only [`super::Authorized`] and what comes after it make one.

use std::collections::BTreeSet;

use super::grant::Grant;
use super::terms::Unmask;
use crate::limits::Limits;

/// What a caller gets of an endpoint, for arguments that the grants admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The ids of the grants, the closest first.
    grants: Vec<String>,
    /// The columns that are given; `None` is all.
    only: Option<BTreeSet<String>>,
    /// The columns that are taken away.
    pub(super) without: BTreeSet<String>,
    /// What is shown unmasked.
    pub(super) unmask: BTreeSet<Unmask>,
    /// What stays masked, whatever is in `unmask`.
    pub(super) never_unmasked: BTreeSet<Unmask>,
    /// What bounds the call; `None` before the first grant.
    limits: Option<Limits>,
}

impl Allowance {
    pub(super) fn nothing() -> Self {
        Self {
            grants: Vec::new(),
            only: Some(BTreeSet::new()),
            without: BTreeSet::new(),
            unmask: BTreeSet::new(),
            never_unmasked: BTreeSet::new(),
            limits: None,
        }
    }

    /// Adds what a grant gives: the union of columns and unmasking, of each limit the wider.
    pub(super) fn add(&mut self, grant: &Grant) {
        self.grants.push(grant.id.clone());
        self.only = match (self.only.take(), &grant.terms.columns) {
            (Some(only), Some(columns)) => Some(only.into_iter().chain(columns.iter().cloned()).collect()),
            _ => None,
        };
        self.unmask.extend(grant.terms.unmask.iter().cloned());
        self.limits = Some(match self.limits.take() {
            Some(limits) => limits.wider(&grant.terms.limits),
            None => grant.terms.limits.clone(),
        });
    }

    /// The ids of the grants that give it, the closest first.
    pub fn grants(&self) -> &[String] {
        &self.grants
    }

    /// Whether the output column of this name is given.
    pub fn shows(&self, column: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(column)) && !self.without.contains(column)
    }

    /// Whether every column of the endpoint is given, also those that come later.
    pub fn shows_all(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether the masks of a table's column are lifted, given the column's tags.
    ///
    /// A mask that a tag brings is lifted by the tag; one of the column itself by naming the column, or by all of its
    /// tags. `tag` is the tag that brings the mask, or `None` for the column's own.
    pub fn lifts(&self, table: &str, column: &str, tags: &BTreeSet<String>, tag: Option<&str>) -> bool {
        let named = Unmask::Column { table: table.to_owned(), column: column.to_owned() };
        let of_tag = |tag: &str| self.unmask.contains(&Unmask::Tag(tag.to_owned()));
        let denied = self.never_unmasked.iter().any(|never| match never {
            Unmask::Tag(never) => tags.iter().any(|tag| tag.eq_ignore_ascii_case(never)),
            Unmask::Column { table: of, column: never } => of.eq_ignore_ascii_case(table) && covers(never, column),
        });
        let lifted = self.unmask.contains(&named)
            || match tag {
                Some(tag) => of_tag(tag),
                None => !tags.is_empty() && tags.iter().all(|tag| of_tag(tag)),
            };
        lifted && !denied
    }

    /// What is shown unmasked.
    pub fn unmask(&self) -> &BTreeSet<Unmask> {
        &self.unmask
    }

    /// What the grants bound. Without a grant there is no answer to be bounded.
    pub fn limits(&self) -> Limits {
        self.limits.clone().unwrap_or_default()
    }
}

/// Whether a denial of one column means another: itself, a field of it, or the whole that it is a field of; in any case of
/// letters, since a denial that misses what it meant would show it.
fn covers(denied: &str, column: &str) -> bool {
    let (denied, column) = (denied.to_ascii_lowercase(), column.to_ascii_lowercase());
    let is_part = |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.'));
    denied == column || is_part(&denied, &column) || is_part(&column, &denied)
}
