//! The denials in a matrix of roles, and whether a saved denial is still in force.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Effect, Grant, Grantee, Unmask};
use serde::{Deserialize, Serialize};

use super::compare::{Comparison, MatrixChange};

/// A denial. Without columns and unmasking, it denies the whole endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixDenial {
    /// `role NAME` or `principal NAME`.
    pub to: String,
    /// The endpoint, or `*`.
    pub endpoint: String,
    /// The denied columns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub columns: BTreeSet<String>,
    /// The unmasking that is denied.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unmask: BTreeSet<Unmask>,
}

/// The distinct denials in force, sorted.
pub(super) fn denials(grants: &[Grant], now: DateTime<Utc>) -> Vec<MatrixDenial> {
    let in_force = grants.iter().filter(|grant| grant.effect == Effect::Deny && !grant.has_expired(now));
    let denials = in_force.map(|grant| MatrixDenial {
        to: match &grant.to {
            Grantee::Role(name) => format!("role {name}"),
            Grantee::Principal(name) => format!("principal {name}"),
        },
        endpoint: grant.endpoint.as_str().to_owned(),
        columns: grant.terms.columns.clone().unwrap_or_default(),
        unmask: grant.terms.unmask.clone(),
    });
    denials.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Adds saved denials that the current ones do not cover as wider, and new denials as narrower.
pub(super) fn compare(saved: &[MatrixDenial], current: &[MatrixDenial], comparison: &mut Comparison) {
    let change = |denial: &MatrixDenial, what: &str| MatrixChange {
        subject: denial.to.clone(),
        endpoint: Some(denial.endpoint.clone()),
        change: format!("the denial of {} is {what}", denial.object()),
    };
    let gone = saved.iter().filter(|denial| !denial.is_kept_by(current));
    comparison.widened.extend(gone.map(|denial| change(denial, "gone or weaker")));
    let new = current.iter().filter(|denial| !denial.is_kept_by(saved));
    comparison.narrowed.extend(new.map(|denial| change(denial, "new or stronger")));
}

impl MatrixDenial {
    fn is_whole(&self) -> bool {
        self.columns.is_empty() && self.unmask.is_empty()
    }

    /// Whether `denials` deny at least as much.
    fn is_kept_by(&self, denials: &[MatrixDenial]) -> bool {
        let about =
            |other: &&MatrixDenial| other.to == self.to && (other.endpoint == self.endpoint || other.endpoint == "*");
        let others = denials.iter().filter(about).collect::<Vec<_>>();
        others.iter().any(|other| other.is_whole())
            || (!self.is_whole()
                && self.columns.iter().all(|column| others.iter().any(|other| other.columns.contains(column)))
                && self.unmask.iter().all(|what| others.iter().any(|other| other.unmask.contains(what))))
    }

    fn object(&self) -> String {
        let listed = |names: Vec<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let columns = listed(self.columns.iter().cloned().collect());
        let unmask = listed(self.unmask.iter().map(ToString::to_string).collect());
        match (columns.is_empty(), unmask.is_empty()) {
            (true, true) => "the endpoint".to_owned(),
            (false, true) => format!("columns {columns}"),
            (true, false) => format!("unmasking {unmask}"),
            (false, false) => format!("columns {columns} and unmasking {unmask}"),
        }
    }
}
