//! Computes the policy fingerprint: a digest of everything that a response depends on. Two calls with the same
//! fingerprint have the same response, and all caches between requests use it as their key.
//!
//! It covers the endpoint's file, the policies and masks of every table that is reached, the shape of the caller, the
//! values of attributes and arguments, and the versions of the tables. It is SHA-256 over length-prefixed parts, so no
//! two different lists of parts have the same bytes.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sha2::{Digest, Sha256};

/// An unfinished digest.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// An empty digest with a domain label.
    pub(crate) fn new(domain: &str) -> Self {
        let mut fingerprint = Self(Sha256::new());
        fingerprint.part(domain.as_bytes());
        fingerprint
    }

    /// Adds a part.
    pub(crate) fn part(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Adds a part as text.
    pub(crate) fn text(&mut self, part: impl std::fmt::Display) {
        self.part(part.to_string().as_bytes());
    }

    /// The 32 bytes of the digest.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The digest as 64 hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        HEXLOWER.encode(&self.bytes())
    }
}

/// The ids of the placeholders in a plan.
pub(crate) fn placeholders(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::Placeholder(placeholder) = inner {
                    ids.insert(placeholder.id.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: &[&str]| {
            let mut fingerprint = Fingerprint::new("test");
            parts.iter().for_each(|part| fingerprint.part(part.as_bytes()));
            fingerprint.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_eq!(of(&[]).len(), 64);
    }
}
