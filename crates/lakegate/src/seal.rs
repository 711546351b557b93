//! What callers carry for the server: validators of answers, and cursors that say where a page begins. Both are made with
//! a key that only servers have, so that nobody can make one up, and nobody can read out of one what it was made of.
//!
//! A cursor gives nobody a row: it is a place in the answer that its caller has anyway.

use std::fmt;

use chrono::DateTime;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use lakegate_core::catalog::{AsOf, unreadable_cursor};
use lakegate_core::error::Error;
use sha2::Sha256;

/// The first byte of a cursor of this form.
const FORM: u8 = 3;
/// How much of a digest is kept: 128 bits can not be hit by trying.
const SHORT: usize = 16;
/// Another version may write the same rows in other bytes.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The bytes of a cursor before its own digest.
const CONTENT: usize = 1 + 8 + 4 + 8 + 9 + 2 * SHORT;

/// The key, and what is done with it.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
}

/// A place in an answer, as a cursor says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of rows before the page.
    pub offset: u64,
    /// The most rows of the page before, and of this one unless the caller says otherwise.
    pub size: u32,
    /// The moment that `now()` is for all pages of the answer, in microseconds since 1970.
    pub moment: i64,
    /// What asks for the tables as they are read, where one of them keeps its past.
    pub state: Option<AsOf>,
    /// Of which answer, see [`Seal::answer`].
    pub answer: [u8; SHORT],
    /// Of which versions of the tables, see [`Seal::versions`].
    pub versions: [u8; SHORT],
}

impl Seal {
    /// With the key of the access store.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The strong validator of an answer in one representation, quotes included.
    pub fn validator(&self, fingerprint: &str, representation: &str) -> String {
        let digest = self.digest("validator", &[VERSION.as_bytes(), fingerprint.as_bytes(), representation.as_bytes()]);
        format!("\"{}\"", BASE64URL_NOPAD.encode(&digest))
    }

    /// Stands for an answer, whatever the versions of its tables.
    pub fn answer(&self, rows: &[u8; 32]) -> [u8; SHORT] {
        self.digest("answer", &[rows])
    }

    /// Stands for versions of tables.
    pub fn versions(&self, versions: &[u8; 32]) -> [u8; SHORT] {
        self.digest("versions", &[versions])
    }

    /// Names the versions of all tables that an answer was made of, to callers.
    pub fn data_version(&self, versions: &[u8; 32]) -> String {
        BASE64URL_NOPAD.encode(&self.digest("data version", &[versions]))
    }

    /// The text of a cursor.
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

    /// The place that a cursor says.
    ///
    /// # Errors
    /// When it was not made with this key.
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
