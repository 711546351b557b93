//! API tokens: the secret that a caller presents, newly issued tokens, and the stored record.
//!
//! Only a hash is stored. A token has 256 random bits, so the hash needs no salt and no key stretching. Keys imported
//! from another system are hashed in the same way, and are only as strong as they were there.

use std::fmt;

use chrono::{DateTime, Utc};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

use super::jwt;
use super::scope::Scope;
use crate::error::{Code, Error};

/// The prefix that is hashed before the token, so that the hash is useless anywhere else.
const DOMAIN: &[u8] = b"lakegate token v1\0";

/// The allowed length of a token, in bytes. Other texts are not looked up.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=512;

/// A token as a caller presents it: of allowed length and visible ASCII, but not looked up yet.
///
/// Its text cannot be recovered, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedToken {
    hash: TokenHash,
}

/// The SHA-256 of a domain prefix and a token: the key in the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

/// A newly made token; its text is shown once.
pub struct NewToken {
    id: String,
    text: String,
}

/// The stored record of a token, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRecord {
    /// Identifies the token in listings; part of its text, not secret.
    pub id: String,
    /// A label that its owner chose.
    pub label: Option<String>,
    /// The creation time.
    pub created_at: DateTime<Utc>,
    /// The token is refused from this time on; `None` never expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Once set, the token is refused at any time, because a revocation must not depend on two clocks that agree.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The approximate time of its last use.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The token that replaced it.
    pub successor: Option<String>,
    /// The part of the principal's access that the token carries.
    pub scope: Scope,
    /// Whether it is an admin token. An admin token cannot call endpoints, and the admin API accepts no other.
    pub admin: bool,
}

/// The state of a token at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// Accepted.
    Active,
    /// Past its expiry.
    Expired,
    /// Revoked.
    Revoked,
}

/// The reason why a text cannot be a token. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short or too long.
    #[error("a token has {} to {} characters; this has {found}", LENGTH.start(), LENGTH.end(), found = .0)]
    Length(usize),
    /// Spaces, control characters or non-ASCII characters.
    #[error("a token has visible ASCII characters only")]
    Characters,
    /// A JWT: its issuer vouches for it, so it is never looked up in the store.
    #[error("a JWT is not a token that is kept")]
    Jwt,
}

/// Whether a text contains a lakegate token or a JWT. For places where no token belongs: a URL, a log line.
pub fn looks_like_token(text: &str) -> bool {
    if jwt::looks_like_jwt(text) {
        return true;
    }
    if !text.contains("lg_") {
        return false;
    }
    let secret =
        |part: &str| part.bytes().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count() >= 40;
    text.match_indices("lg_").any(|(at, prefix)| {
        let rest = &text[at + prefix.len()..];
        rest.split_once('_').is_some_and(|(id, rest)| id.len() <= 32 && secret(rest))
    })
}

impl PresentedToken {
    /// Parses the text of a header exactly: nothing is trimmed or folded.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Parses the bytes of a header, which may not be valid UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        if !LENGTH.contains(&bytes.len()) {
            return Err(TokenError::Length(bytes.len()));
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Characters);
        }
        if jwt::is_jwt(bytes) {
            return Err(TokenError::Jwt);
        }
        Ok(Self { hash: TokenHash::compute(DOMAIN, bytes) })
    }

    /// The hash to look it up by.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedToken(…)")
    }
}

impl From<TokenError> for Error {
    /// A text that cannot be a token gets the same response as an unknown token.
    fn from(error: TokenError) -> Self {
        Error::new(Code::AccessTokenUnknown, "the token is not known").source(error)
    }
}

impl TokenHash {
    pub(super) fn compute(domain: &[u8], text: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(domain);
        hasher.update(text);
        Self(hasher.finalize().into())
    }

    /// The bytes that the store keeps.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A few characters that let a person tell two keys apart without seeing either.
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}…)", self.fingerprint())
    }
}

impl NewToken {
    /// Makes the token `lg_<id>_<secret>` from an id and random bytes.
    ///
    /// # Panics
    /// If the id is not 1 to 32 lower-case letters and digits. lakegate makes the ids, see
    /// [`NewToken::id_from_random`].
    pub fn from_random(secret: [u8; 32], id: &str) -> Self {
        let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        assert!(plain && (1..=32).contains(&id.len()), "a token id is 1 to 32 lower-case letters and digits");
        let secret = BASE32_NOPAD.encode(&secret).to_ascii_lowercase();
        Self { id: id.to_owned(), text: format!("lg_{id}_{secret}") }
    }

    /// An id of 80 random bits: 16 lower-case letters and digits.
    pub fn id_from_random(random: [u8; 10]) -> String {
        BASE32_NOPAD.encode(&random).to_ascii_lowercase()
    }

    /// Identifies the token; not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret itself. Show it once, to its owner; never log it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The hash that the store keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::compute(DOMAIN, self.text.as_bytes())
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken({}, …)", self.id)
    }
}

impl TokenRecord {
    /// A token that never expires.
    pub fn new(id: impl Into<String>, created_at: DateTime<Utc>) -> Self {
        Self {
            id: id.into(),
            label: None,
            created_at,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            successor: None,
            scope: Scope::default(),
            admin: false,
        }
    }

    /// The state now. The moment of expiry itself counts as expired.
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        if self.revoked_at.is_some() {
            return TokenState::Revoked;
        }
        match self.expires_at {
            Some(expiry) if expiry <= now => TokenState::Expired,
            _ => TokenState::Active,
        }
    }
}

impl TokenState {
    /// The name for listings.
    pub fn name(self) -> &'static str {
        match self {
            TokenState::Active => "active",
            TokenState::Expired => "expired",
            TokenState::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_token_is_found_again_by_its_text() {
        let token = NewToken::from_random([7; 32], "abc123");
        assert_eq!(token.text(), "lg_abc123_a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dq");
        assert_eq!(PresentedToken::parse(token.text()).unwrap().hash(), token.hash());
        assert!(looks_like_token(token.text()) && looks_like_token(&format!("/api/{}/x", token.text())));
        for text in [
            "",
            "lg_",
            "lg_abc_def",
            "lg_plan_for_a_long_name_that_is_no_secret_of_any_kind",
            "5ce7f90d-0000-4000-8000-000000000001",
        ] {
            assert!(!looks_like_token(text), "{text}");
        }
    }

    #[test]
    fn a_uuid_is_a_token_and_case_matters() {
        let lower = PresentedToken::parse("5ce7f90d-0000-4000-8000-000000000001").unwrap();
        let upper = PresentedToken::parse("5CE7F90D-0000-4000-8000-000000000001").unwrap();
        assert_ne!(lower.hash(), upper.hash());
    }

    #[test]
    fn the_hash_is_not_the_bare_sha_256() {
        let text = "5ce7f90d-0000-4000-8000-000000000001";
        let bare: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        assert_ne!(PresentedToken::parse(text).unwrap().hash().as_bytes(), &bare);
    }

    #[test]
    fn other_text_is_no_token() {
        assert_eq!(PresentedToken::parse(""), Err(TokenError::Length(0)));
        assert_eq!(PresentedToken::parse("1234567"), Err(TokenError::Length(7)));
        assert!(PresentedToken::parse(&"x".repeat(512)).is_ok());
        assert_eq!(PresentedToken::parse(&"x".repeat(513)), Err(TokenError::Length(513)));
        for text in
            ["with space", " leading1", "trailing1 ", "tab\there", "nul\0nul00", "Ünïcödé-token", "del\u{7f}delete"]
        {
            assert_eq!(PresentedToken::parse(text), Err(TokenError::Characters), "{text:?}");
        }
        assert_eq!(PresentedToken::from_bytes(&[0xff; 20]), Err(TokenError::Characters));
    }

    #[test]
    fn nothing_prints_the_secret() {
        let token = NewToken::from_random([9; 32], "abc");
        let presented = PresentedToken::parse(token.text()).unwrap();
        let secret = token.text().rsplit('_').next().unwrap();
        let error = Error::from(PresentedToken::parse("sekret value").unwrap_err());
        for shown in
            [format!("{token:?}"), format!("{presented:?}"), format!("{:?}", token.hash()), format!("{error:?}")]
        {
            assert!(!shown.contains(&secret[..6]) && !shown.contains("sekret"), "{shown}");
        }
    }

    #[test]
    fn expiry_is_exclusive_and_revocation_wins() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let mut token = TokenRecord::new("a", at(0));
        assert_eq!(token.state(at(1)), TokenState::Active);
        token.expires_at = Some(at(10));
        assert_eq!(token.state(at(9)), TokenState::Active);
        assert_eq!(token.state(at(10)), TokenState::Expired);
        // A revocation "in the future" comes from a clock that runs ahead.
        token.revoked_at = Some(at(500));
        assert_eq!(token.state(at(1)), TokenState::Revoked);
    }

    proptest! {
        #[test]
        fn every_new_token_is_presentable(secret: [u8; 32], id: [u8; 10]) {
            let token = NewToken::from_random(secret, &NewToken::id_from_random(id));
            prop_assert_eq!(PresentedToken::parse(token.text()).unwrap().hash(), token.hash());
        }

        #[test]
        fn equal_hashes_only_for_equal_text(a in "[!-~]{8,40}", b in "[!-~]{8,40}") {
            let same = PresentedToken::parse(&a).unwrap().hash() == PresentedToken::parse(&b).unwrap().hash();
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let fine = LENGTH.contains(&bytes.len()) && bytes.iter().all(|byte| (0x21..=0x7e).contains(byte));
            prop_assert_eq!(PresentedToken::from_bytes(&bytes).is_ok(), fine);
        }
    }
}
