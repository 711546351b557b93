//! Generates the store's secrets and ids. No other file of the store reads the system's random source.

use lakegate_core::access::NewToken;

use super::error::StoreError;

/// A token with 256 random bits.
pub fn new_token() -> Result<NewToken, StoreError> {
    Ok(NewToken::from_random(bytes()?, &new_id()?))
}

/// An id with 80 random bits.
pub(super) fn new_id() -> Result<String, StoreError> {
    Ok(NewToken::id_from_random(bytes()?))
}

pub(super) fn bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StoreError::Random)?;
    Ok(bytes)
}
