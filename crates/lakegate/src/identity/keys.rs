//! The public keys of an issuer: selects the usable keys of a JWK set, and finds the key for a `kid`.
//!
//! The source of the key set is in [`super::source`].

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use lakegate_core::access::StrictJson;
use lakegate_core::project::SigningAlgorithm;
use serde_json::Value;

/// The maximum number of keys in a set.
const MAX_KEYS: usize = 100;

/// The allowed size of an RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of an issuer that fit its algorithm.
pub(super) struct KeySet {
    algorithm: Algorithm,
    by_id: HashMap<String, DecodingKey>,
    nameless: Vec<DecodingKey>,
    /// The number of keys in the set that do not fit.
    pub(super) unfit: usize,
    /// Unique among the key sets of this process, because a verification with one set is not valid for another.
    pub(super) generation: u64,
}

/// Why a key set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is not a JSON object with a list `keys`, in which every member comes once")]
    Json,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("two of its keys have the same `kid`")]
    Duplicate,
}

impl KeySet {
    /// Parses a JWK set. Skips keys of other kinds, for other uses, or too weak.
    pub(super) fn parse(bytes: &[u8], algorithm: SigningAlgorithm) -> Result<Self, KeySetError> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);

        let Ok(StrictJson(Value::Object(mut set))) = serde_json::from_slice(bytes) else {
            return Err(KeySetError::Json);
        };
        let Some(Value::Array(jwks)) = set.remove("keys") else { return Err(KeySetError::Json) };
        if jwks.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut by_id, mut nameless, mut unfit) = (HashMap::new(), Vec::new(), 0);
        for jwk in jwks {
            let jwk = serde_json::from_value::<Jwk>(jwk).ok();
            let Some((id, key)) = jwk.and_then(|jwk| Some((jwk.common.key_id.clone(), usable_key(&jwk, algorithm)?)))
            else {
                unfit += 1;
                continue;
            };
            match id {
                None => nameless.push(key),
                Some(id) => {
                    if by_id.insert(id, key).is_some() {
                        return Err(KeySetError::Duplicate);
                    }
                }
            }
        }
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { algorithm: jwt_algorithm(algorithm), by_id, nameless, unfit, generation })
    }

    /// The number of keys that fit.
    pub(super) fn len(&self) -> usize {
        self.by_id.len() + self.nameless.len()
    }

    /// The key for this `kid`. If the token or the key has no `kid`, it matches only if the set has a single key.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        let named = kid.and_then(|kid| self.by_id.get(kid));
        match (kid, self.len()) {
            (Some(_), _) if named.is_some() => named,
            (Some(_), 1) => self.nameless.first(),
            (None, 1) => self.by_id.values().chain(&self.nameless).next(),
            _ => None,
        }
    }

    /// Whether the signature is valid for this key and the configured algorithm.
    pub(super) fn is_signed(&self, key: &DecodingKey, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, key, self.algorithm).unwrap_or(false)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.len()).field("generation", &self.generation).finish()
    }
}

fn jwt_algorithm(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::Rs256 => Algorithm::RS256,
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// The key, if it fits signatures of this algorithm.
fn usable_key(jwk: &Jwk, algorithm: SigningAlgorithm) -> Option<DecodingKey> {
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let same = common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(jwt_algorithm(algorithm)));
    if !(for_signatures && verifies && same) {
        return None;
    }
    let key = match (algorithm, &jwk.algorithm) {
        (SigningAlgorithm::Rs256, AlgorithmParameters::RSA(rsa)) => {
            let key = DecodingKey::from_rsa_components(&rsa.n, &rsa.e).ok()?;
            let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return None };
            let (n, e) = (without_zeros(n), without_zeros(e));
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            // With an exponent of 1, every text would be its own signature.
            let exponent = e.len() <= 4 && e.last()? % 2 == 1 && e != [1];
            let strong = RSA_BITS.contains(&bits) && exponent;
            strong.then(|| DecodingKey::from_rsa_raw_components(n, e))?
        }
        (SigningAlgorithm::Es256, AlgorithmParameters::EllipticCurve(ec)) if ec.curve == EllipticCurve::P256 => {
            DecodingKey::from_ec_components(&ec.x, &ec.y).ok().filter(|key| has_length(key, 65))?
        }
        (SigningAlgorithm::EdDsa, AlgorithmParameters::OctetKeyPair(okp)) if okp.curve == EllipticCurve::Ed25519 => {
            DecodingKey::from_ed_components(&okp.x).ok().filter(|key| has_length(key, 32))?
        }
        _ => return None,
    };
    Some(key)
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn has_length(key: &DecodingKey, length: usize) -> bool {
    key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == length)
}
