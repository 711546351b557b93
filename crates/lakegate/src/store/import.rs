//! Applies an import plan to the store, in one transaction. It adds only what is missing.
//!
//! An import removes nothing and restores nothing: a token or grant that was revoked since an earlier import stays
//! revoked, and a disabled principal stays disabled.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use lakegate_core::access::import::{Conflict, ImportPlan, PlannedClient};
use lakegate_core::access::{EndpointPattern, Grant, Grantee, PrincipalRecord, Terms, TokenHash, Unmask};
use lakegate_core::value::{Scalar, Value};
use serde_json::{Map, Value as Json, json};
use sqlx::{Row, SqliteConnection};

use super::cells::{attributes_from_json, from_micros, to_micros};
use super::error::StoreError;
use super::grants::{self, GranteeRow};
use super::principals::{self, NewPrincipal};
use super::random::new_id;
use super::tokens::{self, NewTokenRow, TokenRequest};
use super::writer::{Action, StoreTransaction, StoreWriter};

/// The attribute of an imported principal.
const ATTRIBUTE: &str = "client_id";

/// The label of an imported token.
pub const IMPORTED_LABEL: &str = "imported";

/// The result of an import, or of its dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// The number of new principals.
    pub principals_added: usize,
    /// The number of new tokens.
    pub tokens_added: usize,
    /// The number of new grants.
    pub grants_added: usize,
    /// The number of principals, tokens and grants that already exist.
    pub unchanged: usize,
    /// The number of these that are tokens and grants which were revoked and stay so.
    pub still_revoked: usize,
    /// The refused entries.
    pub conflicts: Vec<Conflict>,
    /// Clients without a key.
    pub without_key: Vec<i64>,
}

impl ImportOutcome {
    /// Whether something was, or would be, added.
    pub fn changes_anything(&self) -> bool {
        self.principals_added + self.tokens_added + self.grants_added > 0
    }
}

impl StoreWriter<'_> {
    /// Imports the plan, or only computes the result. Calls `progress` after each client with the number of clients
    /// done.
    pub async fn import(
        &self,
        plan: &ImportPlan,
        now: DateTime<Utc>,
        dry_run: bool,
        mut progress: impl FnMut(usize),
    ) -> Result<ImportOutcome, StoreError> {
        let mut change = self.begin().await?;
        let present = StoreContent::read(&mut change).await?;
        let mut outcome = ImportOutcome {
            conflicts: plan.conflicts.clone(),
            without_key: plan.without_key.clone(),
            ..ImportOutcome::default()
        };
        for conflict in &mut outcome.conflicts {
            if let Conflict::SharedKey { key, in_force, .. } = conflict {
                let token = present.tokens.get(key.as_bytes().as_slice()).filter(|token| !token.revoked);
                *in_force = token.map(|token| (token.id.clone(), token.principal.clone()));
            }
        }
        let mut added = Map::new();
        for (index, client) in plan.clients.iter().enumerate() {
            let mut put = ClientAdditions::default();
            put_client(&mut change, &present, (client, &plan.unmask), now, &mut outcome, &mut put).await?;
            if put != ClientAdditions::default() {
                added.insert(client.principal(), put.described());
            }
            progress(index + 1);
        }
        if dry_run || !outcome.changes_anything() {
            change.undo().await?;
        } else {
            let detail = json!({
                "principals_added": outcome.principals_added,
                "tokens_added": outcome.tokens_added,
                "grants_added": outcome.grants_added,
                "conflicts": outcome.conflicts.len(),
                "added": added,
            });
            change.commit(now, Action::AccessImport, detail).await?;
        }
        Ok(outcome)
    }
}

/// The relevant content of the store before the import.
struct StoreContent {
    principals: HashMap<String, (String, Option<Value>)>,
    tokens: HashMap<Vec<u8>, StoredToken>,
    /// For each principal id and endpoint with a grant: whether it was revoked.
    grants: HashMap<(String, String), bool>,
}

struct StoredToken {
    id: String,
    principal: String,
    revoked: bool,
}

impl StoreContent {
    async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let mut principals = HashMap::new();
        for row in sqlx::query("SELECT id, name, attributes FROM principals").fetch_all(&mut *connection).await? {
            let client_id = attributes_from_json(row.try_get("attributes")?)?.remove(ATTRIBUTE);
            principals.insert(row.try_get("name")?, (row.try_get("id")?, client_id));
        }
        let mut tokens = HashMap::new();
        let sql = "SELECT t.id, t.hash, p.name, t.revoked_at IS NOT NULL AS revoked \
                   FROM tokens AS t JOIN principals AS p ON p.id = t.principal_id";
        for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
            let token = StoredToken {
                id: row.try_get("id")?,
                principal: row.try_get("name")?,
                revoked: row.try_get("revoked")?,
            };
            tokens.insert(row.try_get("hash")?, token);
        }
        let mut grants = HashMap::new();
        let sql = "SELECT principal_id, endpoint, min(revoked_at IS NOT NULL) AS revoked \
                   FROM grants WHERE principal_id IS NOT NULL GROUP BY principal_id, endpoint";
        for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
            grants.insert((row.try_get("principal_id")?, row.try_get("endpoint")?), row.try_get("revoked")?);
        }
        Ok(Self { principals, tokens, grants })
    }
}

/// The additions for one client, for the detail of the change.
#[derive(Default, PartialEq)]
struct ClientAdditions {
    principal: bool,
    tokens: Vec<String>,
    endpoints: Vec<String>,
}

impl ClientAdditions {
    fn described(self) -> Json {
        json!({ "principal": self.principal, "tokens": self.tokens, "endpoints": self.endpoints })
    }
}

async fn put_client(
    change: &mut StoreTransaction<'_>,
    present: &StoreContent,
    (client, unmask): (&PlannedClient, &BTreeSet<Unmask>),
    now: DateTime<Utc>,
    outcome: &mut ImportOutcome,
    added: &mut ClientAdditions,
) -> Result<(), StoreError> {
    let client_id = client.client_id;
    let name = client.principal();
    let attribute = Value::Scalar(Scalar::Integer(client_id));
    let principal_id = match present.principals.get(&name) {
        Some((id, found)) if *found == Some(attribute.clone()) => {
            outcome.unchanged += 1;
            id.clone()
        }
        Some(_) => {
            outcome.conflicts.push(Conflict::PrincipalDiffers { client: client_id, principal: name });
            return Ok(());
        }
        None => {
            let attributes = BTreeMap::from([(ATTRIBUTE.to_owned(), attribute)]);
            let new = NewPrincipal { name: name.clone(), attributes, roles: BTreeSet::new() };
            let PrincipalRecord { id, .. } = principals::insert(change, new, now).await?;
            outcome.principals_added += 1;
            added.principal = true;
            id
        }
    };
    for endpoint in &client.endpoints {
        match present.grants.get(&(principal_id.clone(), endpoint.clone())) {
            Some(revoked) => {
                outcome.unchanged += 1;
                outcome.still_revoked += usize::from(*revoked);
            }
            None => {
                added.endpoints.push(endpoint.clone());
                let endpoint = EndpointPattern::Named(endpoint.clone());
                let to = Grantee::Principal(name.clone());
                let terms = Terms { unmask: unmask.clone(), ..Terms::default() };
                let grant = Grant::new(new_id()?, to, endpoint, from_micros(to_micros(now))?).with_terms(terms);
                grants::insert(change, &GranteeRow::principal(principal_id.clone()), &grant).await?;
                outcome.grants_added += 1;
            }
        }
    }
    for key in &client.keys {
        put_key(change, present, (client_id, &name, &principal_id), *key, now, outcome, added).await?;
    }
    Ok(())
}

async fn put_key(
    change: &mut StoreTransaction<'_>,
    present: &StoreContent,
    (client_id, name, principal_id): (i64, &str, &str),
    key: TokenHash,
    now: DateTime<Utc>,
    outcome: &mut ImportOutcome,
    added: &mut ClientAdditions,
) -> Result<(), StoreError> {
    match present.tokens.get(key.as_bytes().as_slice()) {
        Some(token) if token.principal == name => {
            outcome.unchanged += 1;
            outcome.still_revoked += usize::from(token.revoked);
        }
        Some(token) => outcome.conflicts.push(Conflict::KeyOfAnother {
            key,
            client: client_id,
            principal: token.principal.clone(),
        }),
        None => {
            let request = TokenRequest { label: Some(IMPORTED_LABEL.to_owned()), ..TokenRequest::default() };
            let id = new_id()?;
            let row = NewTokenRow { id: &id, principal_id, hash: key, request: &request };
            tokens::insert(change, row, now).await?;
            outcome.tokens_added += 1;
            added.tokens.push(id);
        }
    }
    Ok(())
}
