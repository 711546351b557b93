//! Signs what callers carry for the server: validators of responses, and paging cursors. Both use a key that only
//! servers have (HMAC), so nobody can forge one or read what a validator was computed from.
//!
//! A cursor gives access to no row: it is a position in a response that its caller can get anyway.

use std::fmt;

use chrono::DateTime;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use lakegate_core::catalog::{AsOf, unreadable_cursor};
use lakegate_core::error::Error;
use sha2::Sha256;

/// The format version of a cursor, its first byte.
const FORMAT_VERSION: u8 = 3;
/// The length of a truncated digest in bytes: 128 bits cannot be guessed.
const DIGEST_LEN: usize = 16;
/// Another version may encode the same rows differently.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The length of a cursor without its digest, in bytes.
const CONTENT_LEN: usize = 1 + 8 + 4 + 8 + 9 + 2 * DIGEST_LEN;

/// The signing key and its operations.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
}

/// The position that a cursor encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePosition {
    /// The number of rows before the page.
    pub offset: u64,
    /// The size of the page before, and of this page unless the caller changes it.
    pub size: u32,
    /// The value of `now()` for all pages, in microseconds since 1970.
    pub now_micros: i64,
    /// The value of `as_of` for the tables as they are read, if one of them supports time travel.
    pub as_of: Option<AsOf>,
    /// The digest of the response, see [`Signer::response_digest`].
    pub response: [u8; DIGEST_LEN],
    /// The digest of the table versions, see [`Signer::versions_digest`].
    pub versions: [u8; DIGEST_LEN],
}

impl Signer {
    /// A signer with the key of the access store.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The strong validator of a response in one representation, quotes included.
    pub fn validator(&self, fingerprint: &str, representation: &str) -> String {
        let digest = self.digest("validator", &[VERSION.as_bytes(), fingerprint.as_bytes(), representation.as_bytes()]);
        format!("\"{}\"", BASE64URL_NOPAD.encode(&digest))
    }

    /// A digest that identifies a response independently of table versions.
    pub fn response_digest(&self, rows: &[u8; 32]) -> [u8; DIGEST_LEN] {
        self.digest("answer", &[rows])
    }

    /// A digest of table versions.
    pub fn versions_digest(&self, versions: &[u8; 32]) -> [u8; DIGEST_LEN] {
        self.digest("versions", &[versions])
    }

    /// The data version for callers, which identifies the versions of all tables of a response.
    pub fn data_version(&self, versions: &[u8; 32]) -> String {
        BASE64URL_NOPAD.encode(&self.digest("data version", &[versions]))
    }

    /// Encodes and signs a cursor.
    pub fn sign_cursor(&self, position: &PagePosition) -> String {
        let mut bytes = Vec::with_capacity(CONTENT_LEN + DIGEST_LEN);
        bytes.push(FORMAT_VERSION);
        bytes.extend_from_slice(&position.offset.to_be_bytes());
        bytes.extend_from_slice(&position.size.to_be_bytes());
        bytes.extend_from_slice(&position.now_micros.to_be_bytes());
        let (kind, as_of) = match position.as_of {
            None => (0, 0),
            Some(AsOf::Time(time)) => (1, time.timestamp_micros()),
            Some(AsOf::Snapshot(snapshot)) => (2, snapshot),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&as_of.to_be_bytes());
        bytes.extend_from_slice(&position.response);
        bytes.extend_from_slice(&position.versions);
        let digest = self.digest("cursor", &[&bytes]);
        bytes.extend_from_slice(&digest);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Verifies and decodes a cursor.
    ///
    /// # Errors
    /// If the cursor was not signed with this key.
    pub fn verify_cursor(&self, cursor: &str) -> Result<PagePosition, Error> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| unreadable_cursor())?;
        let (content, digest) = bytes.split_at_checked(CONTENT_LEN).ok_or_else(unreadable_cursor)?;
        let is_ours = self.mac("cursor", &[content]).verify_truncated_left(digest).is_ok();
        if !is_ours || digest.len() != DIGEST_LEN || content[0] != FORMAT_VERSION {
            return Err(unreadable_cursor());
        }
        let part = |from: usize, to: usize| content[from..to].iter();
        let number = |from, to| part(from, to).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let digest = |from: usize| {
            let mut digest = [0; DIGEST_LEN];
            digest.copy_from_slice(&content[from..from + DIGEST_LEN]);
            digest
        };
        let size = u32::try_from(number(9, 13)).map_err(|_| unreadable_cursor())?;
        let now_micros = number(13, 21).cast_signed();
        let as_of = number(22, 30).cast_signed();
        let as_of = match content[21] {
            1 => DateTime::from_timestamp_micros(as_of).map(AsOf::Time),
            2 => Some(AsOf::Snapshot(as_of)),
            _ => None,
        };
        let (response, versions) = (digest(30), digest(30 + DIGEST_LEN));
        Ok(PagePosition { offset: number(1, 9), size, now_micros, as_of, response, versions })
    }

    fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
        let whole = self.mac(purpose, parts).finalize().into_bytes();
        let mut short = [0; DIGEST_LEN];
        short.copy_from_slice(&whole[..DIGEST_LEN]);
        short
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}
