//! Plans the import of the previous system's access-control table: one row a client, with its key and its endpoints.
//!
//! Pure: [`table`] parses cells into rows, and [`plan`] turns rows into principals, grants, tokens and conflicts.
//! Comparing them with the access store is done elsewhere. No message contains a key.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::table::{ID_COLUMN, KEY_COLUMN, TableError, table};
use super::terms::Unmask;
use super::token::{PresentedToken, TokenError, TokenHash};

/// One row of the table.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportRow {
    /// The row number in the file, from 1, without the header.
    pub row: usize,
    /// The client's id; `None` if it is missing or not a whole number.
    pub client: Option<i64>,
    /// The client's key: a secret.
    pub key: Option<String>,
    /// The endpoints that the client may call.
    pub endpoints: BTreeSet<String>,
}

/// The principals to create, and the conflicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportPlan {
    /// The clients, ordered by id.
    pub clients: Vec<PlannedClient>,
    /// The refused entries; everything else is imported.
    pub conflicts: Vec<Conflict>,
    /// Clients without a key in the table. They are imported, but cannot call anything until they get a token.
    pub without_key: Vec<i64>,
    /// The columns and tags that every grant unmasks, because the previous system had no masks.
    pub unmask: BTreeSet<Unmask>,
}

/// A principal to create, with its grants and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedClient {
    /// The value of the attribute `client_id`.
    pub client_id: i64,
    /// The endpoints to grant.
    pub endpoints: BTreeSet<String>,
    /// The hashes of its keys.
    pub keys: BTreeSet<TokenHash>,
}

/// An entry of the table that is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Rows of several clients share a key, so it is unclear whose rows a caller would see. The key is refused; the
    /// clients are imported without it.
    SharedKey {
        /// The hash of the key.
        key: TokenHash,
        /// The clients that share it.
        clients: Vec<i64>,
        /// The id and principal of the token that the key already is in the store. An import removes nothing.
        in_force: Option<(String, String)>,
    },
    /// Rows of one client grant different endpoints. Merging them would let one key do what only the other could, so
    /// the client is refused.
    DifferingRows {
        /// The client.
        client: i64,
        /// Its rows.
        rows: Vec<usize>,
    },
    /// A row without a client id. It is refused.
    NoClient {
        /// The row.
        row: usize,
    },
    /// A key that cannot be a token. It is refused; the client is imported without it.
    UnusableKey {
        /// The client.
        client: i64,
        /// The row.
        row: usize,
        /// The reason why the key is refused.
        error: TokenError,
    },
    /// The store has the key as a token of another principal. The key is refused; the client is imported without it.
    KeyOfAnother {
        /// The hash of the key.
        key: TokenHash,
        /// The client that has the key in the table.
        client: i64,
        /// The principal that has the key in the store.
        principal: String,
    },
    /// The store has a principal with the client's name but another `client_id`. The client is refused.
    PrincipalDiffers {
        /// The client.
        client: i64,
        /// The principal.
        principal: String,
    },
}

/// Turns the rows of the table into a plan of what to create.
pub fn plan(rows: &[ImportRow]) -> ImportPlan {
    let mut plan = ImportPlan::default();
    let mut owners: BTreeMap<&str, BTreeSet<Option<i64>>> = BTreeMap::new();
    let mut clients: BTreeMap<i64, Vec<&ImportRow>> = BTreeMap::new();
    for row in rows {
        if let Some(key) = &row.key {
            owners.entry(key).or_default().insert(row.client);
        }
        match row.client {
            Some(client) => clients.entry(client).or_default().push(row),
            None => plan.conflicts.push(Conflict::NoClient { row: row.row }),
        }
    }
    for (key, owners) in &owners {
        // A row without a client counts as an owner, because nobody knows whose key it is.
        if let (true, Ok(token)) = (owners.len() > 1, PresentedToken::parse(key)) {
            let clients = owners.iter().flatten().copied().collect();
            plan.conflicts.push(Conflict::SharedKey { key: token.hash(), clients, in_force: None });
        }
    }
    for (client, rows) in clients {
        if rows.iter().any(|row| row.endpoints != rows[0].endpoints) {
            let rows = rows.iter().map(|row| row.row).collect();
            plan.conflicts.push(Conflict::DifferingRows { client, rows });
            continue;
        }
        if rows.iter().all(|row| row.key.is_none()) {
            plan.without_key.push(client);
        }
        let mut keys = BTreeSet::new();
        for row in &rows {
            let Some(key) = &row.key else { continue };
            match PresentedToken::parse(key) {
                Ok(token) if owners[key.as_str()].len() == 1 => {
                    keys.insert(token.hash());
                }
                Ok(_) => {}
                Err(error) => plan.conflicts.push(Conflict::UnusableKey { client, row: row.row, error }),
            }
        }
        plan.clients.push(PlannedClient { client_id: client, endpoints: rows[0].endpoints.clone(), keys });
    }
    plan
}

impl PlannedClient {
    /// The name of its principal.
    pub fn principal(&self) -> String {
        principal_name(self.client_id)
    }
}

/// The name of a client's principal.
pub fn principal_name(client_id: i64) -> String {
    format!("client-{client_id}")
}

impl Conflict {
    /// A machine-readable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Conflict::SharedKey { .. } => "shared_key",
            Conflict::DifferingRows { .. } => "differing_rows",
            Conflict::NoClient { .. } => "no_client",
            Conflict::UnusableKey { .. } => "unusable_key",
            Conflict::KeyOfAnother { .. } => "key_of_another",
            Conflict::PrincipalDiffers { .. } => "principal_differs",
        }
    }

    /// Its clients.
    pub fn clients(&self) -> Vec<i64> {
        match self {
            Conflict::SharedKey { clients, .. } => clients.clone(),
            Conflict::NoClient { .. } => Vec::new(),
            Conflict::DifferingRows { client, .. }
            | Conflict::UnusableKey { client, .. }
            | Conflict::KeyOfAnother { client, .. }
            | Conflict::PrincipalDiffers { client, .. } => vec![*client],
        }
    }

    /// The fingerprint of its key.
    pub fn fingerprint(&self) -> Option<String> {
        match self {
            Conflict::SharedKey { key, .. } | Conflict::KeyOfAnother { key, .. } => Some(key.fingerprint()),
            _ => None,
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::SharedKey { key, clients, in_force } => {
                let key = key.fingerprint();
                match clients.as_slice() {
                    [client] => {
                        write!(f, "key {key}… of client {client} is also in a row without a client and was refused")?
                    }
                    _ => write!(f, "key {key}… stands for several clients ({}) and was refused", listed(clients))?,
                }
                if let Some((token, principal)) = in_force {
                    write!(
                        f,
                        ", but is token `{token}` of principal `{principal}` since before; \
                         end that with `lakegate token revoke {token}`"
                    )?;
                }
                f.write_str("; give each client a token of its own with `lakegate token issue client-ID`")
            }
            Conflict::DifferingRows { client, rows } => write!(
                f,
                "client {client} has rows with different endpoints (rows {}) and was refused; make its rows agree and import again",
                listed(rows)
            ),
            Conflict::NoClient { row } => {
                write!(f, "row {row} has no whole number in `{ID_COLUMN}` and was refused; fill it in and import again")
            }
            Conflict::UnusableKey { client, row, error } => write!(
                f,
                "the key of client {client} in row {row} was refused: {error}; use `lakegate token issue client-{client}`"
            ),
            Conflict::KeyOfAnother { key, client, principal } => write!(
                f,
                "key {}… of client {client} is already a token of principal `{principal}` and was refused; \
                 use `lakegate token issue client-{client}`",
                key.fingerprint()
            ),
            Conflict::PrincipalDiffers { client, principal } => write!(
                f,
                "principal `{principal}` exists and its `client_id` is not the integer {client}, so the client was refused; \
                 look at `lakegate principal show {principal}`"
            ),
        }
    }
}

impl fmt::Debug for ImportRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportRow")
            .field("row", &self.row)
            .field("client", &self.client)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("endpoints", &self.endpoints)
            .finish()
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    const MOST: usize = 20;
    let mut text = items.iter().take(MOST).map(T::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > MOST {
        text.push_str(&format!(" and {} more", items.len() - MOST));
    }
    text
}

#[cfg(test)]
mod tests;
