//! Arguments under grants. The input is text whose lines start with their kind:
//!
//! ```text
//! a NAME:TYPE=VALUE    an attribute of the caller        q NAME=VALUE      a pair of the query string
//! x                    the token is for another endpoint  b JSON            the body
//! g PE                 a grant: `P` to the principal or   f PARAM VALUE     fixed
//!                      `R` to a role, `N` for the         t PARAM ATTRIBUTE the caller's attribute
//!                      endpoint, `A` for all, `O` for     o PARAM VALUE     one of
//!                      another, `X` expired               l PARAM VALUE     at least
//! d PE                 a denial                           h PARAM VALUE     at most
//! j JSON               terms as the store keeps them      s FROM TO MOST    a span
//! c COLUMN             a column                           u UNMASK          unmasked
//! m NUMBER             a row cap
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use lakegate_core::access::{
    Credential, Distance, DistanceTerm, Effect, EndpointPattern, Grant, Grantee, PrincipalRecord, Scope, Terms,
    TokenRecord, Unmask, attribute, authenticate, authorize,
};
use lakegate_core::catalog::{Arguments, RawArguments, RuleCheck, call};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Endpoint, Project, ProjectFiles};

use crate::admitted;

/// Every type, every constraint, with and without defaults.
static ENDPOINT: LazyLock<Arc<Endpoint>> = LazyLock::new(|| {
    let files = ProjectFiles {
        config: "[lake]\nlocation = \"lake/\"\n".to_owned(),
        endpoints: [("endpoints/e.sql".to_owned(), include_str!("endpoint.sql").to_owned())].into(),
        ..ProjectFiles::default()
    };
    let (mut project, findings) = Project::read(&files);
    assert_eq!(findings, []);
    Arc::new(project.endpoints.remove("e").expect("the file is there"))
});

/// A parsed input.
#[derive(Debug)]
struct Request {
    principal: PrincipalRecord,
    scope: Scope,
    grants: Vec<Grant>,
    query: Vec<(String, String)>,
    body: String,
}

/// Calls the endpoint with a parsed input.
///
/// # Panics
/// If a call is admitted that the parameters or the grants do not allow.
pub fn arguments(text: &str) {
    let request = read(text);
    let mut raw = RawArguments::default();
    if raw.add_query(request.query.clone()).is_err() || raw.add_json(request.body.as_bytes()).is_err() {
        return;
    }
    let mut token = TokenRecord::new("token", at(0));
    token.scope.clone_from(&request.scope);
    let credential = Credential {
        proof: token.into(),
        principal: Arc::new(request.principal.clone()),
        grants: request.grants.clone().into(),
    };
    let now = at(NOW);
    let principal = authenticate(&credential, now).expect("the token is good");
    let authorized = match authorize(&principal, &ENDPOINT.name, &credential.grants, now) {
        Ok(authorized) => authorized,
        Err(refusal) => {
            assert!(!Error::from(refusal).detail.is_empty());
            return;
        }
    };
    admitted::check_authorized(&authorized, &request.grants, now);
    match call(authorized, Arc::clone(&ENDPOINT), raw, &NoRules) {
        Ok(call) => admitted::check(&call),
        Err(error) => {
            assert!(matches!(error.code, Code::ArgumentsInvalid | Code::ArgumentNotGranted), "{error:?}");
            assert!(!error.errors.is_empty() && !error.detail.is_empty(), "{error:?}");
        }
    }
}

/// The time of the call, in seconds.
const NOW: i64 = 1_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

struct NoRules;

impl RuleCheck for NoRules {
    fn violated(&self, _arguments: &Arguments) -> Result<Vec<usize>, Error> {
        Ok(Vec::new())
    }
}

fn read(text: &str) -> Request {
    let mut request = Request {
        principal: PrincipalRecord::new("1", "caller", at(0)).with_role("clerk"),
        scope: Scope::default(),
        grants: Vec::new(),
        query: Vec::new(),
        body: String::new(),
    };
    for line in text.lines() {
        let mut characters = line.chars();
        let (Some(kind), rest) = (characters.next(), characters.as_str()) else { continue };
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            'a' => {
                if let Ok((name, value)) = attribute::parse(rest) {
                    request.principal.attributes.insert(name, value);
                }
            }
            'x' => request.scope.endpoints = Some(BTreeSet::from([rest.to_owned()])),
            'k' => request.scope.masked = true,
            'q' => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
                request.query.push((name.to_owned(), value.to_owned()));
            }
            'b' => request.body = rest.to_owned(),
            'g' | 'd' => {
                let mut grant = grant(request.grants.len(), rest);
                grant.effect = if kind == 'd' { Effect::Deny } else { Effect::Allow };
                request.grants.push(grant);
            }
            _ => {
                if let Some(grant) = request.grants.last_mut() {
                    term(&mut grant.terms, kind, rest);
                }
            }
        }
    }
    // The store refuses such grants, so none of them exists.
    request.grants.retain(|grant| match grant.effect {
        Effect::Allow => grant.terms.check().is_ok(),
        Effect::Deny => grant.terms.check_denial().is_ok(),
    });
    request
}

fn grant(number: usize, letters: &str) -> Grant {
    let to = match letters.contains('R') {
        true => Grantee::Role("clerk".to_owned()),
        false => Grantee::Principal("caller".to_owned()),
    };
    let endpoint = match (letters.contains('A'), letters.contains('O')) {
        (true, _) => EndpointPattern::All,
        (false, true) => EndpointPattern::Named("other".to_owned()),
        (false, false) => EndpointPattern::Named("e".to_owned()),
    };
    let mut grant = Grant::new(format!("grant-{number}"), to, endpoint, at(0));
    grant.expires_at = letters.contains('X').then(|| at(NOW));
    grant
}

fn term(terms: &mut Terms, kind: char, rest: &str) {
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let text = second.to_owned();
    match kind {
        'j' => {
            if let Ok(read) = serde_json::from_str(rest) {
                *terms = read;
            }
        }
        'f' => terms.parameters.entry(first.to_owned()).or_default().fixed = Some(text),
        't' => terms.parameters.entry(first.to_owned()).or_default().attribute = Some(text),
        'o' => terms.parameters.entry(first.to_owned()).or_default().one_of.push(text),
        'l' => terms.parameters.entry(first.to_owned()).or_default().min = Some(text),
        'h' => terms.parameters.entry(first.to_owned()).or_default().max = Some(text),
        's' => {
            if let Some((to, most)) = second.split_once(' ')
                && let Some(at_most) = Distance::parse(most)
            {
                terms.distance_limits.push(DistanceTerm { from: first.to_owned(), to: to.to_owned(), at_most });
            }
        }
        'c' => terms.columns.get_or_insert_default().extend([rest.to_owned()]),
        'u' => terms.unmask.extend(Unmask::parse(rest)),
        'm' => terms.limits.max_rows = rest.parse().ok(),
        _ => {}
    }
}
