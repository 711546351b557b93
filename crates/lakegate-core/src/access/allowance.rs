//! What several grants give together: columns, unmasking, rows. Only [`super::Authorized`] and what comes after it make one.

use std::collections::BTreeSet;

use super::grant::Grant;
use super::terms::Unmask;
use crate::column_name::covers;
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

    /// Whether the output column of this name is given. A grant names it exactly; a denial covers all that it may mean.
    pub fn shows(&self, column: &str) -> bool {
        let path = [column.to_owned()];
        let is_denied = || self.without.iter().any(|denied| covers(denied, &path));
        self.only.as_ref().is_none_or(|only| only.contains(column)) && !is_denied()
    }

    /// Whether every column of the endpoint is given, also those that come later.
    pub fn shows_all(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether the masks of a table's column, or of a field of one, are lifted, given its path and its tags.
    ///
    /// A mask that a tag brings is lifted by the tag; one of the column itself by naming the column, or by all of its
    /// tags. `tag` is the tag that brings the mask, or `None` for the column's own. `means` says whether a text names
    /// this column and nothing else of the table: a text that may name two columns lifts nothing.
    pub fn lifts(
        &self,
        table: &str,
        path: &[String],
        tags: &BTreeSet<String>,
        tag: Option<&str>,
        means: impl Fn(&str) -> bool,
    ) -> bool {
        let named = self.unmask.iter().any(|unmask| match unmask {
            Unmask::Column { table: of, column } => of == table && means(column),
            Unmask::Tag(_) => false,
        });
        let of_tag = |tag: &str| self.unmask.contains(&Unmask::Tag(tag.to_owned()));
        let denied = self.never_unmasked.iter().any(|never| match never {
            Unmask::Tag(never) => tags.iter().any(|tag| tag.eq_ignore_ascii_case(never)),
            Unmask::Column { table: of, column: never } => of.eq_ignore_ascii_case(table) && covers(never, path),
        });
        let lifted = named
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
