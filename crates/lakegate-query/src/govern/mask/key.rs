//! Holds the key of `hash` masks. It comes from a secret and is never shown; only its id is.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Minimum length of a key, in characters.
const LEAST_CHARACTERS: usize = 32;

/// A key of `hash` masks. Two keys are equal if their text is.
#[derive(Clone)]
pub struct MaskKey {
    /// The HMAC state after the key. The key itself is not kept.
    state: Hmac<Sha256>,
    /// A digest of the key with its own domain label.
    fingerprint: [u8; 32],
    id: String,
}

/// The error for a text that is no key. Reveals nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of masks must have at least 32 characters; make one with `openssl rand -base64 32`")]
pub struct WeakMaskKey;

impl MaskKey {
    /// Makes a key from the text of a secret, without the line break at its end.
    ///
    /// # Errors
    /// [`WeakMaskKey`] for a text shorter than 32 characters.
    pub fn new(secret: &str) -> Result<Self, WeakMaskKey> {
        let text = secret.strip_suffix('\n').unwrap_or(secret);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim().chars().count() < LEAST_CHARACTERS {
            return Err(WeakMaskKey);
        }
        let state = Hmac::new_from_slice(text.as_bytes()).map_err(|_| WeakMaskKey)?;
        let digest = Sha256::new().chain_update(b"lakegate mask key id\0").chain_update(text.as_bytes()).finalize();
        let fingerprint: [u8; 32] = digest.into();
        let id = HEXLOWER.encode(&fingerprint[..4]);
        Ok(Self { state, fingerprint, id })
    }

    /// A short id for the key, which is not secret. Another key has another id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The HMAC state under this key, before any message.
    pub(super) fn state(&self) -> Hmac<Sha256> {
        self.state.clone()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskKey({})", self.id)
    }
}

impl PartialEq for MaskKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for MaskKey {}

impl Hash for MaskKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// A `hash` mask for one domain and kind of value, ready to use.
#[derive(Clone)]
pub(super) struct Pseudonyms {
    key: Arc<MaskKey>,
    domain: String,
    kind: u8,
    state: Hmac<Sha256>,
}

/// The kind of value is part of the message, so that the text `1` and the number 1 have different pseudonyms.
const TEXT: u8 = b't';
const INTEGER: u8 = b'i';
const UUID: u8 = b'u';

impl Pseudonyms {
    pub(super) fn of_text(key: &Arc<MaskKey>, domain: &str) -> Self {
        Self::new(key, domain, TEXT)
    }

    pub(super) fn of_integers(key: &Arc<MaskKey>, domain: &str) -> Self {
        Self::new(key, domain, INTEGER)
    }

    pub(super) fn of_uuids(key: &Arc<MaskKey>, domain: &str) -> Self {
        Self::new(key, domain, UUID)
    }

    fn new(key: &Arc<MaskKey>, domain: &str, kind: u8) -> Self {
        let mut state = key.state();
        state.update(b"lakegate mask v1\0");
        state.update(&(domain.len() as u64).to_be_bytes());
        state.update(domain.as_bytes());
        state.update(&[kind]);
        Self { key: Arc::clone(key), domain: domain.to_owned(), kind, state }
    }

    /// The first 128 bits of the HMAC.
    fn bits(&self, value: &[u8]) -> [u8; 16] {
        let mut state = self.state.clone();
        state.update(value);
        let whole: [u8; 32] = state.finalize().into_bytes().into();
        let mut bits = [0; 16];
        bits.copy_from_slice(&whole[..16]);
        bits
    }

    /// The pseudonym of a text: 32 lowercase hexadecimal digits.
    pub(super) fn write(&self, text: &str, out: &mut String) {
        HEXLOWER.encode_append(&self.bits(text.as_bytes()), out);
    }

    /// The pseudonym of a UUID: a UUID of version 8, which allows custom bits (RFC 9562).
    pub(super) fn uuid(&self, value: &[u8]) -> [u8; 16] {
        uuid::Builder::from_custom_bytes(self.bits(value)).into_uuid().into_bytes()
    }

    /// The pseudonym of an integer: 63 bits, so that it fits every type that has pseudonyms.
    pub(super) fn integer(&self, value: i128) -> u64 {
        let bits = self.bits(&value.to_be_bytes());
        u128::from_be_bytes(bits) as u64 & (u64::MAX >> 1)
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").field("key", &self.key).field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl PartialEq for Pseudonyms {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.domain, self.kind) == (&other.key, &other.domain, other.kind)
    }
}

impl Eq for Pseudonyms {}

impl Hash for Pseudonyms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.domain, self.kind).hash(state);
    }
}
