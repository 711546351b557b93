//! The key that all servers of one store share, created on first use. It signs values that callers carry, see
//! [`crate::signer`], and gives no access to the store.

use super::error::StoreError;
use super::open::Store;
use super::random::bytes;

impl Store {
    /// Returns the key, and creates it if the store has none.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn server_key(&self) -> Result<[u8; 32], StoreError> {
        if let Some(key) = self.known_server_key().await? {
            return Ok(key);
        }
        let new = bytes::<32>()?;
        let mut change = self.begin_write().await?;
        // If another process was faster, its key is the key.
        sqlx::query("INSERT INTO server_key (id, key) VALUES (1, ?) ON CONFLICT DO NOTHING")
            .bind(new.as_slice())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(self.known_server_key().await?.unwrap_or(new))
    }

    async fn known_server_key(&self) -> Result<Option<[u8; 32]>, StoreError> {
        let key: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT key FROM server_key WHERE id = 1").fetch_optional(self.pool()).await?;
        Ok(key.and_then(|key| key.try_into().ok()))
    }
}
