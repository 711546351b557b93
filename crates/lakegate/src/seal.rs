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
const FORM: u8 = 3;
/// The length of a truncated digest in bytes: 128 bits cannot be guessed.
const SHORT: usize = 16;
/// Another version may encode the same rows differently.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The length of a cursor without its digest, in bytes.
const CONTENT: usize = 1 + 8 + 4 + 8 + 9 + 2 * SHORT;

/// The signing key and its operations.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
}

/// The position that a cursor encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of rows before the page.
    pub offset: u64,
    /// The size of the page before, and of this page unless the caller changes it.
    pub size: u32,
    /// The value of `now()` for all pages, in microseconds since 1970.
    pub moment: i64,
    /// The value of `as_of` for the tables as they are read, if one of them supports time travel.
    pub state: Option<AsOf>,
    /// The digest of the response, see [`Seal::answer`].
    pub answer: [u8; SHORT],
    /// The digest of the table versions, see [`Seal::versions`].
    pub versions: [u8; SHORT],
}

impl Seal {
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
    pub fn answer(&self, rows: &[u8; 32]) -> [u8; SHORT] {
        self.digest("answer", &[rows])
    }

    /// A digest of table versions.
    pub fn versions(&self, versions: &[u8; 32]) -> [u8; SHORT] {
        self.digest("versions", &[versions])
    }

    /// The data version for callers, which identifies the versions of all tables of a response.
    pub fn data_version(&self, versions: &[u8; 32]) -> String {
        BASE64URL_NOPAD.encode(&self.digest("data version", &[versions]))
    }

    /// Encodes and signs a cursor.
    pub fn cursor(&self, place: &Place) -> String {
        let mut bytes = Vec::with_capacity(CONTENT + SHORT);
        bytes.push(FORM);
        bytes.extend_from_slice(&place.offset.to_be_bytes());
        bytes.extend_from_slice(&place.size.to_be_bytes());
        bytes.extend_from_slice(&place.moment.to_be_bytes());
        let (kind, state) = match place.state {
            None => (0, 0),
            Some(AsOf::Time(time)) => (1, time.timestamp_micros()),
            Some(AsOf::Snapshot(snapshot)) => (2, snapshot),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&state.to_be_bytes());
        bytes.extend_from_slice(&place.answer);
        bytes.extend_from_slice(&place.versions);
        let digest = self.digest("cursor", &[&bytes]);
        bytes.extend_from_slice(&digest);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Verifies and decodes a cursor.
    ///
    /// # Errors
    /// If the cursor was not signed with this key.
    pub fn open(&self, cursor: &str) -> Result<Place, Error> {
        let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| unreadable_cursor())?;
        let (content, digest) = bytes.split_at_checked(CONTENT).ok_or_else(unreadable_cursor)?;
        let is_ours = self.mac("cursor", &[content]).verify_truncated_left(digest).is_ok();
        if !is_ours || digest.len() != SHORT || content[0] != FORM {
            return Err(unreadable_cursor());
        }
        let part = |from: usize, to: usize| content[from..to].iter();
        let number = |from, to| part(from, to).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let digest = |from: usize| {
            let mut digest = [0; SHORT];
            digest.copy_from_slice(&content[from..from + SHORT]);
            digest
        };
        let size = u32::try_from(number(9, 13)).map_err(|_| unreadable_cursor())?;
        let moment = number(13, 21).cast_signed();
        let state = number(22, 30).cast_signed();
        let state = match content[21] {
            1 => DateTime::from_timestamp_micros(state).map(AsOf::Time),
            2 => Some(AsOf::Snapshot(state)),
            _ => None,
        };
        let (answer, versions) = (digest(30), digest(30 + SHORT));
        Ok(Place { offset: number(1, 9), size, moment, state, answer, versions })
    }

    fn digest(&self, use_of_it: &str, parts: &[&[u8]]) -> [u8; SHORT] {
        let whole = self.mac(use_of_it, parts).finalize().into_bytes();
        let mut short = [0; SHORT];
        short.copy_from_slice(&whole[..SHORT]);
        short
    }

    fn mac(&self, use_of_it: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in std::iter::once(use_of_it.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}
