//! Parses JWTs as callers present them, strictly and without trusting them, and tells them from API tokens by their
//! shape.
//!
//! The chain is [`PresentedJwt`] → [`Jwt`] (parsed; names only the issuer and the key to look up) → [`Claims`]
//! (signature verified). The server verifies signatures, because it has the keys. [`super::claims`] interprets the
//! claims.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::strict_json::StrictJson;
use super::token::{PresentedToken, TokenError, TokenHash};
use crate::project::SigningAlgorithm;

/// Maximum length of a JWT, in bytes.
pub const MAX_JWT_BYTES: usize = 8192;

/// Minimum length of a JWT: no header, claims and signature are shorter.
const MIN_JWT_BYTES: usize = 32;

/// Maximum length of a `kid`, in bytes.
const MAX_KEY_ID_BYTES: usize = 256;

/// The prefix that is hashed before a JWT, so that its hash never equals that of an API token.
const DOMAIN: &[u8] = b"lakegate jwt v1\0";

/// The two kinds of credential that a caller can present, told apart by shape alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A secret that the store may know.
    Token(PresentedToken),
    /// A statement of an issuer.
    Jwt(PresentedJwt),
}

/// A JWT as a caller presents it: three parts in base64url, not decoded yet.
///
/// `Debug` hides its text, because it is a secret until it expires.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedJwt {
    text: Box<str>,
    hash: TokenHash,
}

/// A JWT whose parts were parsed. Nothing in it is verified yet.
pub struct Jwt<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// The signed text.
    message: &'a str,
    signature: &'a str,
    hash: TokenHash,
}

/// The claims of a JWT with a valid signature. Only [`Jwt::verified`] makes them.
pub struct Claims {
    pub(super) members: Map<String, Value>,
    pub(super) hash: TokenHash,
}

/// The reason why a JWT is refused. For the log only: callers get the same response for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// A part is not strict base64url.
    #[error("the {0} of the JWT is not base64url")]
    Encoding(&'static str),
    /// A part is not JSON, or an object in it has a duplicate member.
    #[error("the {0} of the JWT is not a JSON object in which every member comes once")]
    Json(&'static str),
    /// `alg` is not the algorithm of the issuer.
    #[error("the JWT's `alg` is not `{0}`, which is configured for its issuer")]
    Algorithm(&'static str),
    /// A header member that would change what is verified.
    #[error("the JWT's header has `{0}`, which is not taken")]
    Critical(&'static str),
    /// `typ` names something else than a JWT.
    #[error("the JWT's `typ` is neither `JWT` nor `at+jwt`")]
    Type,
    /// `kid` is not a string, or is too long.
    #[error("the JWT's `kid` is not a text of at most {MAX_KEY_ID_BYTES} bytes")]
    KeyId,
    /// The key does not verify the signature.
    #[error("the signature of the JWT is not good")]
    Signature,
}

impl Presented {
    /// Parses the bytes of a header, exactly.
    ///
    /// # Errors
    /// The bytes can be neither an API token nor a JWT.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        match PresentedJwt::from_bytes(bytes) {
            Some(jwt) => Ok(Self::Jwt(jwt)),
            None => PresentedToken::from_bytes(bytes).map(Self::Token),
        }
    }

    /// The hash, used as the cache key; not secret.
    pub fn hash(&self) -> TokenHash {
        match self {
            Self::Token(token) => token.hash(),
            Self::Jwt(jwt) => jwt.hash(),
        }
    }
}

/// Whether the bytes have the shape of a JWT, of any length.
pub(super) fn is_jwt(bytes: &[u8]) -> bool {
    // Most tokens fail this cheap test.
    if bytes.len() < MIN_JWT_BYTES || !bytes.starts_with(b"eyJ") {
        return false;
    }
    let mut parts = bytes.split(|byte| *byte == b'.');
    let encoded = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| is_base64url(*byte));
    let shaped = [parts.next(), parts.next(), parts.next()].into_iter().all(|part| part.is_some_and(encoded));
    shaped && parts.next().is_none()
}

/// Whether the text contains a JWT, with or without a signature.
pub(super) fn looks_like_jwt(text: &str) -> bool {
    // Most texts fail this cheap test.
    if !text.contains("eyJ") {
        return false;
    }
    let parts = text.split('.').collect::<Vec<_>>();
    parts.windows(3).any(|window| {
        let start = window[0].bytes().rposition(|byte| !is_base64url(byte)).map_or(0, |at| at + 1);
        // `start` is a character boundary, because every byte of a multi-byte character fails `is_base64url`.
        let header = window[0].get(start..).unwrap_or_default();
        let in_header = header.find("eyJ").is_some_and(|at| header.len() - at >= 10);
        in_header && window[1].len() >= 8 && window[1].bytes().all(is_base64url)
    })
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl PresentedJwt {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_JWT_BYTES && is_jwt(bytes))?;
        Some(Self { text: text.into(), hash: TokenHash::compute(DOMAIN, bytes) })
    }

    /// The hash, used as the cache key; not secret.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }

    /// Parses the parts without trusting them.
    ///
    /// # Errors
    /// A part is not base64url, or not a JSON object.
    pub fn read(&self) -> Result<Jwt<'_>, JwtError> {
        let (message, signature) = self.text.rsplit_once('.').ok_or(JwtError::Encoding("signature"))?;
        let (header, claims) = message.split_once('.').ok_or(JwtError::Encoding("header"))?;
        // Verifiers differ in what they tolerate, and a token must have only one spelling.
        BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| JwtError::Encoding("signature"))?;
        let (header, claims) = (object(header, "header")?, object(claims, "payload")?);
        Ok(Jwt { header, claims, message, signature, hash: self.hash })
    }
}

impl fmt::Debug for PresentedJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedJwt(…)")
    }
}

fn object(part: &str, what: &'static str) -> Result<Map<String, Value>, JwtError> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwtError::Encoding(what))?;
    match serde_json::from_slice(&bytes) {
        Ok(StrictJson(Value::Object(members))) => Ok(members),
        _ => Err(JwtError::Json(what)),
    }
}

impl Jwt<'_> {
    /// The issuer that the token claims. Use it only to look up the issuer in a map.
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Checks the header against the issuer's one algorithm, and returns the `kid`. Use it only to look up the key in a
    /// map. `jku`, `x5u`, `jwk` and any other member are ignored.
    ///
    /// # Errors
    /// Another algorithm, another type, or extensions that must be understood.
    pub fn key_id(&self, algorithm: SigningAlgorithm) -> Result<Option<&str>, JwtError> {
        if self.header.get("alg").and_then(Value::as_str) != Some(algorithm.name()) {
            return Err(JwtError::Algorithm(algorithm.name()));
        }
        for member in ["crit", "b64", "zip", "enc"] {
            if self.header.contains_key(member) {
                return Err(JwtError::Critical(member));
            }
        }
        match self.header.get("typ") {
            None => {}
            Some(Value::String(typ)) if ["JWT", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known)) => {}
            Some(_) => return Err(JwtError::Type),
        }
        match self.header.get("kid") {
            None => Ok(None),
            Some(Value::String(kid)) if kid.len() <= MAX_KEY_ID_BYTES => Ok(Some(kid)),
            Some(_) => Err(JwtError::KeyId),
        }
    }

    /// Returns the claims if `check` accepts the signature. `check` gets the signed bytes, and the signature in
    /// base64url.
    ///
    /// # Errors
    /// `check` returned false.
    pub fn verified(self, check: impl FnOnce(&[u8], &str) -> bool) -> Result<Claims, JwtError> {
        if !check(self.message.as_bytes(), self.signature) {
            return Err(JwtError::Signature);
        }
        Ok(Claims { members: self.claims, hash: self.hash })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::access::{NewToken, looks_like_token};

    fn encoded(part: &str) -> String {
        BASE64URL_NOPAD.encode(part.as_bytes())
    }

    fn jwt(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", encoded(header), encoded(claims), encoded("signature"))
    }

    fn presented(text: &str) -> PresentedJwt {
        match Presented::from_bytes(text.as_bytes()) {
            Ok(Presented::Jwt(jwt)) => jwt,
            other => panic!("{other:?}"),
        }
    }

    fn plain() -> String {
        jwt(r#"{"alg":"RS256","kid":"k1"}"#, r#"{"iss":"acme","sub":"a"}"#)
    }

    #[test]
    fn a_jwt_is_told_from_a_token_by_its_shape() {
        let text = plain();
        assert_eq!(presented(&text).read().unwrap().unverified_issuer(), Some("acme"));
        let token = NewToken::from_random([7; 32], "abc");
        for other in [
            token.text().to_owned(),
            "5ce7f90d-0000-4000-8000-000000000001".to_owned(),
            "eyJ.a.b4567890".to_owned(),
            format!("{text}."),
            format!("{text}.x"),
            format!("{text}="),
            text.replacen('.', "..", 1),
            text.rsplit_once('.').unwrap().0.to_owned() + ".",
            text.replacen("eyJ", "eyK", 1),
        ] {
            assert!(matches!(Presented::from_bytes(other.as_bytes()), Ok(Presented::Token(_))), "{other}");
        }
        for other in [format!("{text} "), format!("{text}\0"), format!("\u{e9}{text}")] {
            assert!(Presented::from_bytes(other.as_bytes()).is_err(), "{other:?}");
        }
        let long = jwt(r#"{"alg":"RS256"}"#, &json!({ "x": "y".repeat(MAX_JWT_BYTES) }).to_string());
        assert!(matches!(Presented::from_bytes(long.as_bytes()), Err(TokenError::Length(_))));
        assert_eq!(PresentedToken::parse(&text), Err(TokenError::Jwt), "no store has a JWT");
    }

    #[test]
    fn nothing_prints_it() {
        let text = plain();
        assert_eq!(format!("{:?}", presented(&text)), "PresentedJwt(…)");
        assert!(!format!("{:?}", Presented::from_bytes(text.as_bytes())).contains("eyJ"));
    }

    #[test]
    fn it_is_found_where_none_belongs() {
        let text = plain();
        let unsigned = text.rsplit_once('.').unwrap().0.to_owned() + ".";
        for found in [
            text.clone(),
            unsigned,
            format!("/api/{text}/x"),
            format!("Bearer {text}"),
            format!("é{text}é"),
            format!("a.b.{text}"),
            format!("eyJ.{text}"),
        ] {
            assert!(looks_like_token(&found), "{found}");
        }
        for other in
            ["", "eyJ", "eyJ..", "a.b.c", "/api/orders.v2.csv", "www.example.com", "eyJhbGciOiJ.short.x", "é.é.é"]
        {
            assert!(!looks_like_token(other), "{other}");
        }
    }

    #[test]
    fn the_header_must_fit_the_issuer() {
        let key_id = |header: &str| {
            let text = jwt(header, "{\"iss\": \"acme\"}");
            let presented = presented(&text);
            let jwt = presented.read()?;
            jwt.key_id(SigningAlgorithm::Rs256).map(|kid| kid.map(str::to_owned))
        };
        assert_eq!(key_id(r#"{"alg":"RS256","kid":"../../etc/passwd"}"#), Ok(Some("../../etc/passwd".to_owned())));
        assert_eq!(key_id(r#"{"alg":"RS256","typ":"at+JWT","jku":"http://x","x5u":"http://x","jwk":{}}"#), Ok(None));
        for alg in ["none", "HS256", "PS256", "RS512", "ES256", "rs256", "RS256 "] {
            assert_eq!(key_id(&format!(r#"{{"alg":"{alg}"}}"#)), Err(JwtError::Algorithm("RS256")), "{alg}");
        }
        assert_eq!(key_id(r#"{"alg":["RS256"]}"#), Err(JwtError::Algorithm("RS256")));
        assert_eq!(key_id(r#"{"typ":"JWT"}"#), Err(JwtError::Algorithm("RS256")));
        assert_eq!(key_id(r#"{"alg":"RS256","crit":[]}"#), Err(JwtError::Critical("crit")));
        assert_eq!(key_id(r#"{"alg":"RS256","b64":false}"#), Err(JwtError::Critical("b64")));
        assert_eq!(key_id(r#"{"alg":"RS256","typ":"dpop+jwt"}"#), Err(JwtError::Type));
        assert_eq!(key_id(r#"{"alg":"RS256","kid":7}"#), Err(JwtError::KeyId));
        assert_eq!(key_id(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257))), Err(JwtError::KeyId));
        assert_eq!(key_id(r#"{"alg":"none","alg":"RS256"}"#), Err(JwtError::Json("header")));
    }

    #[test]
    fn each_part_is_read_strictly() {
        let read = |text: &str| presented(text).read().map(|_| ()).unwrap_err();
        assert_eq!(read(&jwt("{\"alg\":1}", "[\"iss\"]")), JwtError::Json("payload"));
        assert_eq!(read(&jwt("{\"alg\":1}", r#"{"exp":1,"exp":2}"#)), JwtError::Json("payload"));
        assert_eq!(read(&jwt("{\"alg\":1}", "{\"iss\":1} x")), JwtError::Json("payload"));
        // The last character of a part has unused bits, and only one of its spellings is accepted.
        let text = jwt("{\"alg\":1}", "{\"iss\":1}");
        let bits = text.replace(&encoded("signature"), "c2lnbmF0dXJlYQ").replace("YQ", "YR");
        assert_eq!(read(&bits), JwtError::Encoding("signature"));
    }

    #[test]
    fn claims_are_had_only_with_a_good_signature() {
        let text = plain();
        let presented = presented(&text);
        assert_eq!(presented.read().unwrap().verified(|_, _| false).err(), Some(JwtError::Signature));
        let (message, signature) = text.rsplit_once('.').unwrap();
        let claims = presented.read().unwrap().verified(|m, s| m == message.as_bytes() && s == signature).ok().unwrap();
        assert_eq!(claims.members["sub"], "a");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(text in "eyJ[-_.a-zA-Z0-9]{0,80}", any in any::<String>()) {
            for text in [text, any] {
                let _ = looks_like_token(&text);
                if let Ok(Presented::Jwt(jwt)) = Presented::from_bytes(text.as_bytes()) {
                    let _ = jwt.read().map(|jwt| jwt.key_id(SigningAlgorithm::EdDsa).is_ok());
                    prop_assert!(looks_like_token(&text) || jwt.read().is_err());
                }
            }
        }
    }
}
