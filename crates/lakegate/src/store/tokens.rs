//! Issues, lists, rotates and revokes tokens in the store, which keeps only their hashes.

use chrono::{DateTime, Duration, Utc};
use lakegate_core::access::{NewToken, Scope, TokenHash, TokenRecord, looks_like_token};
use serde_json::{Value as Json, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::cells::{from_json, from_micros, from_optional_micros, time, to_json, to_micros};
use super::error::StoreError;
use super::open::Store;
use super::principals;
use super::writer::{Action, StoreTransaction, StoreWriter};

/// The maximum length of a label, in characters.
const MAX_LABEL_CHARS: usize = 200;

/// The properties of a new token.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The owner's label.
    pub label: Option<String>,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// The part of the principal's access that the token carries.
    pub scope: Scope,
    /// Whether it is for the admin API only.
    pub admin: bool,
}

/// A token and its principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenListing {
    /// The token.
    pub token: TokenRecord,
    /// The name of its principal.
    pub principal: String,
}

/// The options of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The time that the old token stays valid. Zero revokes it immediately.
    pub grace: Duration,
    /// When the new token expires.
    pub expiry: Expiry,
}

/// The expiry of a successor token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After the lifetime for which its predecessor was issued; never, if that has no expiry.
    SameLifetime,
    /// At this time.
    At(DateTime<Utc>),
}

impl StoreWriter<'_> {
    /// Stores a new token for a principal.
    pub async fn issue_token(
        &self,
        principal: &str,
        token: &NewToken,
        request: TokenRequest,
        now: DateTime<Utc>,
    ) -> Result<TokenListing, StoreError> {
        check(&request, now)?;
        let mut change = self.begin().await?;
        let principal = principals::existing(&mut change, principal).await?;
        let row = NewTokenRow { id: token.id(), principal_id: &principal.id, hash: token.hash(), request: &request };
        insert(&mut change, row, now).await?;
        let listing = existing(&mut change, token.id()).await?.0;
        let detail = json!({ "token": token.id(), "principal": listing.principal, "after": described(&listing.token) });
        change.commit(now, Action::TokenIssue, detail).await?;
        Ok(listing)
    }

    /// Stores the successor of a token, and ends the old token immediately or after the grace period.
    pub async fn rotate_token(
        &self,
        id: &str,
        successor: &NewToken,
        rotation: Rotation,
        now: DateTime<Utc>,
    ) -> Result<TokenListing, StoreError> {
        let mut change = self.begin().await?;
        let (old, principal_id) = existing(&mut change, id).await?;
        if let Some(successor) = old.token.successor {
            return Err(StoreError::TokenRotated { id: id.to_owned(), successor });
        }
        if old.token.revoked_at.is_some() {
            return Err(StoreError::TokenRevoked { id: id.to_owned(), principal: old.principal });
        }
        let expires_at = match (rotation.expiry, old.token.expires_at) {
            (Expiry::At(expiry), _) => Some(expiry),
            (Expiry::SameLifetime, Some(expiry)) => now.checked_add_signed(expiry - old.token.created_at),
            (Expiry::SameLifetime, None) => None,
        };
        let TokenRecord { label, scope, admin, .. } = old.token.clone();
        let request = TokenRequest { label, expires_at, scope, admin };
        check(&request, now)?;
        let row =
            NewTokenRow { id: successor.id(), principal_id: &principal_id, hash: successor.hash(), request: &request };
        insert(&mut change, row, now).await?;

        let end_of_grace = now.checked_add_signed(rotation.grace);
        // Never later than its own expiry.
        let old_expires_at = [old.token.expires_at, end_of_grace].into_iter().flatten().min();
        let revoked_at = (rotation.grace <= Duration::zero()).then(|| to_micros(now));
        sqlx::query("UPDATE tokens SET successor = ?, expires_at = ?, revoked_at = ? WHERE id = ?")
            .bind(successor.id())
            .bind(if revoked_at.is_some() { old.token.expires_at } else { old_expires_at }.map(to_micros))
            .bind(revoked_at)
            .bind(id)
            .execute(&mut *change)
            .await?;
        let listing = existing(&mut change, successor.id()).await?.0;
        let ended = existing(&mut change, id).await?.0;
        let detail = json!({
            "token": id,
            "principal": listing.principal,
            "before": described(&old.token),
            "after": described(&ended.token),
            "successor": { "token": successor.id(), "after": described(&listing.token) },
        });
        change.commit(now, Action::TokenRotate, detail).await?;
        Ok(listing)
    }

    /// Revokes a token permanently. Returns `false` if it was already revoked.
    pub async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<(TokenListing, bool), StoreError> {
        let mut change = self.begin().await?;
        let (listing, _) = existing(&mut change, id).await?;
        if listing.token.revoked_at.is_some() {
            return Ok((listing, false));
        }
        sqlx::query("UPDATE tokens SET revoked_at = ? WHERE id = ?")
            .bind(to_micros(now))
            .bind(id)
            .execute(&mut *change)
            .await?;
        let before = described(&listing.token);
        let (listing, _) = existing(&mut change, id).await?;
        let after = described(&listing.token);
        let detail = json!({ "token": id, "principal": listing.principal, "before": before, "after": after });
        change.commit(now, Action::TokenRevoke, detail).await?;
        Ok((listing, true))
    }
}

impl Store {
    /// All tokens, or those of one principal; sorted by principal, newest last.
    pub async fn tokens(&self, principal: Option<&str>) -> Result<Vec<TokenListing>, StoreError> {
        let mut read = self.pool().begin().await?;
        if let Some(name) = principal {
            principals::existing(&mut read, name).await?;
        }
        let rows = sqlx::query(
            "SELECT t.id, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.successor, t.scope, t.admin, p.name \
             FROM tokens AS t JOIN principals AS p ON p.id = t.principal_id \
             WHERE ? IS NULL OR p.name = ? \
             ORDER BY p.name, t.created_at, t.id",
        )
        .bind(principal)
        .bind(principal)
        .fetch_all(&mut *read)
        .await?;
        rows.iter().map(listing_of).collect()
    }

    /// Records the last uses of tokens. This affects no access decision, so caches need no notice.
    pub(super) async fn write_last_uses(&self, uses: &[(String, DateTime<Utc>)]) -> Result<(), StoreError> {
        let mut change = self.begin_write().await?;
        for (id, used_at) in uses {
            sqlx::query(
                "UPDATE tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
            )
            .bind(to_micros(*used_at))
            .bind(id)
            .bind(to_micros(*used_at))
            .execute(&mut *change)
            .await?;
        }
        Ok(change.commit().await?)
    }
}

/// A token to insert.
pub(super) struct NewTokenRow<'a> {
    pub(super) id: &'a str,
    pub(super) principal_id: &'a str,
    pub(super) hash: TokenHash,
    pub(super) request: &'a TokenRequest,
}

pub(super) async fn insert(
    change: &mut StoreTransaction<'_>,
    row: NewTokenRow<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (id, principal_id, hash, label, created_at, expires_at, scope, admin) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id)
    .bind(row.principal_id)
    .bind(row.hash.as_bytes().as_slice())
    .bind(row.request.label.as_deref())
    .bind(to_micros(now))
    .bind(row.request.expires_at.map(to_micros))
    .bind(to_json(&row.request.scope)?)
    .bind(row.request.admin)
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// A token for the detail of a change, without its hash.
fn described(token: &TokenRecord) -> Json {
    json!({
        "label": token.label,
        "expires_at": token.expires_at.map(time),
        "revoked_at": token.revoked_at.map(time),
        "scope": token.scope,
        "admin": token.admin,
    })
}

/// Reads the token from a row with the columns `id, label, created_at, expires_at, revoked_at, last_used_at, successor,
/// scope, admin`.
pub(super) fn record_of(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    let mut record = TokenRecord::new(row.try_get::<String, _>("id")?, from_micros(row.try_get("created_at")?)?);
    record.label = row.try_get("label")?;
    record.expires_at = from_optional_micros(row.try_get("expires_at")?)?;
    record.revoked_at = from_optional_micros(row.try_get("revoked_at")?)?;
    record.last_used_at = from_optional_micros(row.try_get("last_used_at")?)?;
    record.successor = row.try_get("successor")?;
    record.scope = from_json(row.try_get("scope")?, "the scope of a token")?;
    record.admin = row.try_get("admin")?;
    Ok(record)
}

/// The token with this id, and the id of its principal.
async fn existing(connection: &mut SqliteConnection, id: &str) -> Result<(TokenListing, String), StoreError> {
    let row = sqlx::query(
        "SELECT t.id, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.successor, t.scope, t.admin, p.name, t.principal_id \
         FROM tokens AS t JOIN principals AS p ON p.id = t.principal_id WHERE t.id = ?",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    // The user may have passed a whole token, so a message holds at most the length of an id.
    let name = || id.chars().take(40).collect::<String>();
    match row {
        Some(row) => Ok((listing_of(&row)?, row.try_get("principal_id")?)),
        None if id.starts_with("lg_") || id.len() > 32 => Err(StoreError::Refused(
            "that is not the id of a token; the id is the part between `lg_` and the next `_`, see `lakegate token list`".to_owned(),
        )),
        None => Err(StoreError::Missing { what: "token", name: name() }),
    }
}

fn listing_of(row: &SqliteRow) -> Result<TokenListing, StoreError> {
    Ok(TokenListing { token: record_of(row)?, principal: row.try_get("name")? })
}

fn check(request: &TokenRequest, now: DateTime<Utc>) -> Result<(), StoreError> {
    if let Some(expiry) = request.expires_at.filter(|expiry| *expiry <= now) {
        return Err(StoreError::ExpiryInThePast(expiry));
    }
    request.scope.check()?;
    if request.admin && !request.scope.is_whole() {
        return Err(StoreError::Refused("an admin token calls no endpoint, so it has no scope".to_owned()));
    }
    match &request.label {
        Some(label) if looks_like_token(label) => {
            Err(StoreError::Refused("a label is shown, so it must not hold a token".to_owned()))
        }
        Some(label) if label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) => {
            Err(StoreError::Refused(format!(
                "a label has at most {MAX_LABEL_CHARS} characters and no line breaks or control characters"
            )))
        }
        _ => Ok(()),
    }
}
