//! Turns verified JWT claims into a principal with attributes, roles, a validity period and a scope.
//!
//! Only the claims that the project names are used, with exactly the declared type; nothing is converted or guessed.
//! The validity period is checked at each request, see [`super::authenticate`].

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json};

use super::assertion::{Assertion, VerifiedAssertion};
use super::jwt::Claims;
use super::name::{NameError, NameKind};
use super::principal::PrincipalRecord;
use super::scope::Scope;
use crate::project::{ClaimPath, Issuer, ScopeClaim};
use crate::value::Value;

/// Maximum length of a `jti` that identifies a token in logs.
const MAX_ID_BYTES: usize = 128;

/// The last supported second: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// The reason to refuse verified claims. Leaves out values, because they may be personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// A required claim is missing.
    #[error("the claim `{0}` is missing")]
    Missing(String),
    /// A claim has the wrong type.
    #[error("the claim `{claim}` is not {expected}")]
    Type {
        /// The claim.
        claim: String,
        /// The expected type.
        expected: String,
    },
    /// The token names another issuer than its key's.
    #[error("`iss` is not that of the issuer whose key has signed")]
    Issuer,
    /// The token is for another audience.
    #[error("`aud` does not hold the audience of this server")]
    Audience,
    /// The token's lifetime exceeds the maximum.
    #[error("the token is made for longer than `max_lifetime_seconds`")]
    Lifetime,
    /// The subject is not a valid principal name.
    #[error("the subject makes no principal: {0}")]
    Subject(#[from] NameError),
}

impl VerifiedAssertion {
    /// Applies the issuer's rules to the claims.
    ///
    /// # Errors
    /// The first claim that is missing, has the wrong type, or is not for this server.
    pub fn from_claims(claims: &Claims, issuer: &Issuer) -> Result<Self, ClaimsError> {
        let members = &claims.members;
        if members.get("iss").and_then(Json::as_str) != Some(issuer.issuer.as_str()) {
            return Err(ClaimsError::Issuer);
        }
        if !texts(members.get("aud"), "aud", false)?.iter().any(|audience| issuer.audiences.contains(*audience)) {
            return Err(ClaimsError::Audience);
        }
        let (expires_at, not_before, issued_at) = times(members, issuer)?;
        let subject = match issuer.subject.find(members) {
            Some(Json::String(subject)) if !subject.is_empty() => subject,
            Some(Json::String(_)) => return Err(ClaimsError::Missing(issuer.subject.as_str().to_owned())),
            Some(_) => return Err(mistyped(&issuer.subject, "a string")),
            None => return Err(ClaimsError::Missing(issuer.subject.as_str().to_owned())),
        };
        let name = format!("{}:{subject}", issuer.name);
        NameKind::Principal.check(&name)?;

        let mut principal = PrincipalRecord::new(name.clone(), name, issued_at.unwrap_or(DateTime::UNIX_EPOCH));
        for (attribute, source) in &issuer.attributes {
            let Some(json) = source.claim.find(members) else { continue };
            let value = Value::from_json(source.value_type, json)
                .ok_or_else(|| mistyped(&source.claim, &format!("of the type `{}`", source.value_type.name())))?;
            principal.attributes.insert(attribute.clone(), value);
        }
        if let Some(claim) = &issuer.roles_claim {
            let theirs = texts(claim.find(members), claim.as_str(), true)?;
            principal.roles = theirs.into_iter().filter_map(|role| issuer.roles.get(role).cloned()).collect();
        }
        let scope = Scope {
            endpoints: issuer.scope.as_ref().map(|scope| endpoints(members, scope)).transpose()?,
            masked: false,
        };
        let id = match members.get("jti") {
            Some(Json::String(id)) if is_loggable(id) => id.clone(),
            _ => claims.hash.fingerprint(),
        };
        let assertion = Assertion { issuer: issuer.name.clone(), id, expires_at, not_before, scope };
        Ok(Self { assertion, principal, hash: claims.hash })
    }
}

fn is_loggable(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn mistyped(claim: &ClaimPath, expected: &str) -> ClaimsError {
    ClaimsError::Type { claim: claim.as_str().to_owned(), expected: expected.to_owned() }
}

/// The endpoints that the token is for; empty if the claim is missing.
fn endpoints(members: &Map<String, Json>, scope: &ScopeClaim) -> Result<BTreeSet<String>, ClaimsError> {
    let items = texts(scope.claim.find(members), scope.claim.as_str(), true)?;
    let named = items.into_iter().filter_map(|item| item.strip_prefix(scope.prefix.as_str()));
    Ok(named.filter(|name| NameKind::Endpoint.check(name).is_ok()).map(str::to_owned).collect())
}

/// Reads a list of strings, or one string, which `split` splits at spaces. A missing claim is the empty list.
fn texts<'a>(json: Option<&'a Json>, claim: &str, split: bool) -> Result<Vec<&'a str>, ClaimsError> {
    let mistyped =
        || ClaimsError::Type { claim: claim.to_owned(), expected: "a string or a list of strings".to_owned() };
    match json {
        None => Ok(Vec::new()),
        Some(Json::String(text)) if split => Ok(text.split(' ').filter(|item| !item.is_empty()).collect()),
        Some(Json::String(text)) => Ok(vec![text]),
        Some(Json::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(mistyped)).collect(),
        Some(_) => Err(mistyped()),
    }
}

type Times = (DateTime<Utc>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// Computes the expiry, the start and the issue time. Fractions of a second are rounded against the caller.
fn times(members: &Map<String, Json>, issuer: &Issuer) -> Result<Times, ClaimsError> {
    let expiry = seconds(members, "exp", f64::floor)?.ok_or_else(|| ClaimsError::Missing("exp".to_owned()))?;
    let not_before = seconds(members, "nbf", f64::ceil)?;
    let issued_at = seconds(members, "iat", f64::ceil)?;
    if let Some(longest) = issuer.max_lifetime {
        let made = seconds(members, "iat", f64::floor)?.ok_or_else(|| ClaimsError::Missing("iat".to_owned()))?;
        if expiry - made > TimeDelta::from_std(longest).unwrap_or(TimeDelta::MAX) {
            return Err(ClaimsError::Lifetime);
        }
    }
    let leeway = TimeDelta::from_std(issuer.leeway.min(Duration::from_secs(300))).unwrap_or_default();
    // A token issued in the future is not valid yet.
    let begin = not_before.max(issued_at).map(|time| time - leeway);
    Ok((expiry + leeway, begin, issued_at))
}

/// Reads a claim that holds seconds since 1970; `None` if it is missing.
fn seconds(
    members: &Map<String, Json>,
    claim: &str,
    round: fn(f64) -> f64,
) -> Result<Option<DateTime<Utc>>, ClaimsError> {
    let Some(json) = members.get(claim) else { return Ok(None) };
    let mistyped =
        || ClaimsError::Type { claim: claim.to_owned(), expected: "a time in seconds since 1970".to_owned() };
    let seconds = match json {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| round(number) as i64)),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| (0..=LAST_SECOND).contains(seconds)).ok_or_else(mistyped)?;
    DateTime::from_timestamp(seconds, 0).map(Some).ok_or_else(mistyped)
}

#[cfg(test)]
mod tests {

    use data_encoding::BASE64URL_NOPAD;
    use serde_json::json;

    use super::*;
    use crate::access::{Presented, TokenState};
    use crate::project::{Project, ProjectFiles};
    use crate::value::{Scalar, ScalarType};

    const ISSUER: &str = r#"
lake.location = "lake/"
[issuers.acme]
issuer = "https://sso.acme.com/"
audience = ["lakegate", "second"]
algorithm = "RS256"
jwks = "keys.json"
leeway_seconds = 10
max_lifetime_seconds = 1000
roles_claim = "realm_access.roles"
scope_claim = "scope"
scope_prefix = "lakegate:"
[issuers.acme.attributes]
client_id = { claim = "client_id", type = "integer" }
tags = { claim = "deep.tags", type = "string[]" }
[issuers.acme.roles]
partner-users = "partner"
admins = "auditor"
"#;

    fn issuer(change: impl FnOnce(String) -> String) -> Issuer {
        let files = ProjectFiles { config: change(ISSUER.to_owned()), ..ProjectFiles::default() };
        let (mut project, findings) = Project::read(&files);
        assert!(findings.is_empty(), "{findings:#?}");
        project.config.issuers.remove("acme").unwrap()
    }

    fn claims(json: &Json) -> Claims {
        let part = |json: &Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let text = format!("{}.{}.c2lnbmF0dXJl", part(&json!({ "alg": "RS256" })), part(json));
        match Presented::from_bytes(text.as_bytes()) {
            Ok(Presented::Jwt(jwt)) => jwt.read().unwrap().verified(|_, _| true).ok().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn good() -> Json {
        json!({
            "iss": "https://sso.acme.com/", "aud": "lakegate", "sub": "auth0|5", "exp": 2000, "iat": 1000, "jti": "j-1",
            "client_id": 7, "deep": { "tags": ["a", "b"] }, "scope": "openid lakegate:orders lakegate:* other:secret",
            "realm_access": { "roles": ["partner-users", "operator", "Admins"] },
        })
    }

    /// The valid claims with some replaced; `null` removes one.
    fn with(change: Json) -> Result<VerifiedAssertion, ClaimsError> {
        let mut json = good();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Json::Null => json.as_object_mut().unwrap().remove(name),
                value => json.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        VerifiedAssertion::from_claims(&claims(&json), &issuer(|text| text))
    }

    fn message(change: Json) -> String {
        with(change).unwrap_err().to_string()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn claims_become_a_principal() {
        let asserted = with(json!({})).unwrap();
        let principal = asserted.principal();
        assert_eq!(principal.name, "acme:auth0|5");
        assert_eq!(principal.attributes["client_id"], Value::Scalar(Scalar::Integer(7)));
        let tags = ["a", "b"].map(|tag| Scalar::String(tag.to_owned())).to_vec();
        assert_eq!(principal.attributes["tags"], Value::List(ScalarType::String, tags));
        // Only mapped roles count, by exact name; `operator` is not mapped.
        assert_eq!(principal.roles.iter().collect::<Vec<_>>(), ["partner"]);
        let scope = &asserted.assertion().scope;
        assert_eq!(scope.endpoints.as_ref().unwrap().iter().collect::<Vec<_>>(), ["orders"]);
        assert_eq!(asserted.assertion().token_id(), "jwt:acme:j-1");
        assert!(!format!("{asserted:?}").contains("client_id"));
    }

    #[test]
    fn times_have_the_leeway_and_fractions_count_against_the_caller() {
        let assertion = with(json!({ "exp": 1999.9, "nbf": 1200.1 })).unwrap().assertion().clone();
        assert_eq!((assertion.expires_at, assertion.not_before), (at(2009), Some(at(1191))));
        assert!(assertion.is_early(at(1190)) && !assertion.is_early(at(1191)));
        assert_eq!((assertion.state(at(2008)), assertion.state(at(2009))), (TokenState::Active, TokenState::Expired));
        // A token from the future is valid from its issue time.
        assert_eq!(with(json!({ "iat": 1500, "nbf": 1 })).unwrap().assertion().not_before, Some(at(1490)));
        assert_eq!(message(json!({ "exp": null })), "the claim `exp` is missing");
        for time in [json!("2000"), json!(-1), json!(1e300), json!(true), json!([2000]), json!({})] {
            for claim in ["exp", "nbf", "iat"] {
                let found = message(json!({ claim: time }));
                assert_eq!(found, format!("the claim `{claim}` is not a time in seconds since 1970"), "{time}");
            }
        }
        assert_eq!(message(json!({ "exp": 2001 })), "the token is made for longer than `max_lifetime_seconds`");
        assert_eq!(message(json!({ "iat": null })), "the claim `iat` is missing");
        let lasting = issuer(|text| text.replace("max_lifetime_seconds = 1000\n", ""));
        let mut json = good();
        json.as_object_mut().unwrap().remove("iat");
        assert!(VerifiedAssertion::from_claims(&claims(&json), &lasting).is_ok());
    }

    #[test]
    fn the_token_is_of_this_issuer_and_for_this_server() {
        for iss in [
            json!("https://sso.acme.com"),
            json!("HTTPS://sso.acme.com/"),
            json!(["https://sso.acme.com/"]),
            Json::Null,
        ] {
            assert_eq!(with(json!({ "iss": iss })).unwrap_err(), ClaimsError::Issuer, "{iss}");
        }
        assert!(with(json!({ "aud": ["other", "second"] })).is_ok());
        for aud in [json!("lakegate second"), json!("Lakegate"), json!([]), json!(["other"]), json!(""), Json::Null] {
            assert_eq!(with(json!({ "aud": aud })).unwrap_err(), ClaimsError::Audience, "{aud}");
        }
        assert!(matches!(with(json!({ "aud": ["lakegate", 1] })).unwrap_err(), ClaimsError::Type { .. }));
        assert!(matches!(with(json!({ "aud": { "lakegate": true } })).unwrap_err(), ClaimsError::Type { .. }));
    }

    #[test]
    fn a_subject_is_a_name_or_nobody() {
        assert_eq!(message(json!({ "sub": null })), "the claim `sub` is missing");
        assert_eq!(message(json!({ "sub": "" })), "the claim `sub` is missing");
        assert_eq!(message(json!({ "sub": 5 })), "the claim `sub` is not a string");
        for sub in ["a b", "a/b", "a\0", "é", &"x".repeat(124)] {
            assert!(matches!(with(json!({ "sub": sub })).unwrap_err(), ClaimsError::Subject(_)), "{sub:?}");
        }
    }

    #[test]
    fn attributes_are_left_out_or_of_their_type() {
        let without = with(json!({ "client_id": null, "deep": null })).unwrap();
        assert!(without.principal().attributes.is_empty());
        for value in [json!("7"), json!(7.5), json!(true), json!([7]), json!(9_223_372_036_854_775_808_u64)] {
            let found = message(json!({ "client_id": value }));
            assert_eq!(found, "the claim `client_id` is not of the type `integer`", "{value}");
        }
        for value in [json!({ "tags": "a" }), json!({ "tags": ["a", 1] }), json!({ "tags": {} })] {
            let found = message(json!({ "deep": value }));
            assert_eq!(found, "the claim `deep.tags` is not of the type `string[]`", "{value}");
        }
        // A claim whose name contains the dot is not the nested path.
        assert!(
            !with(json!({ "deep": null, "deep.tags": ["x"] })).unwrap().principal().attributes.contains_key("tags")
        );
    }

    #[test]
    fn roles_come_from_the_map_alone() {
        let roles = |roles: Json| {
            with(json!({ "realm_access": { "roles": roles } })).map(|asserted| asserted.principal().roles.clone())
        };
        assert_eq!(
            roles(json!("admins partner-users")).unwrap().into_iter().collect::<Vec<_>>(),
            ["auditor", "partner"]
        );
        // The claim cannot use the project's role names.
        for none in [
            json!(["partner", "auditor", "operator"]),
            json!([]),
            json!(""),
            json!("admins,x"),
            json!(["admins partner-users"]),
            Json::Null,
        ] {
            assert!(roles(none.clone()).unwrap().is_empty(), "{none}");
        }
        for wrong in [json!(1), json!([["admins"]]), json!({ "admins": true })] {
            assert!(matches!(roles(wrong).unwrap_err(), ClaimsError::Type { .. }));
        }
        let unmapped = issuer(|text| text.split("[issuers.acme.roles]").next().unwrap().to_owned());
        assert!(VerifiedAssertion::from_claims(&claims(&good()), &unmapped).unwrap().principal().roles.is_empty());
    }

    #[test]
    fn a_scope_names_endpoints_or_none() {
        let scope = |scope: Json| {
            with(json!({ "scope": scope })).map(|asserted| asserted.assertion().scope.endpoints.clone().unwrap())
        };
        for none in [
            Json::Null,
            json!(""),
            json!("orders"),
            json!("lakegate:*"),
            json!("lakegate:"),
            json!([]),
            json!(["lakegate:a lakegate:b"]),
        ] {
            assert!(scope(none.clone()).unwrap().is_empty(), "{none}");
        }
        let two = scope(json!(["lakegate:a", "lakegate:b", "c"])).unwrap();
        assert_eq!(two.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(scope(json!(7)).unwrap_err(), ClaimsError::Type { .. }));
        let whole = issuer(|text| text.replace("scope_claim = \"scope\"\nscope_prefix = \"lakegate:\"\n", ""));
        assert!(VerifiedAssertion::from_claims(&claims(&good()), &whole).unwrap().assertion().scope.is_whole());
    }

    #[test]
    fn what_stands_in_the_log_is_one_plain_word() {
        for id in [json!("a b"), json!("a\n2022 fake"), json!(""), json!("x".repeat(129)), json!(7), Json::Null] {
            let asserted = with(json!({ "jti": id })).unwrap();
            let id = asserted.assertion().id.clone();
            assert_eq!((id.len(), id.bytes().all(|byte| byte.is_ascii_hexdigit())), (8, true));
        }
    }
}
