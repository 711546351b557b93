//! Tests denials, scopes, and the terms of several grants, through the decision and the admission of arguments. Each
//! test is the one that fails when its guard is removed; see `xtask/guards.toml`.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::*;
use crate::catalog::{Arguments, Call, RawArguments, RuleCheck, call};
use crate::error::{Code, Error};
use crate::project::{Endpoint, Project, ProjectFiles};
use crate::value::{Scalar, Value};

const ENDPOINT: &str = "/*---\nsummary = \"s\"\n[params.size]\ntype = \"integer\"\nrequired = false\n\
    [params.upto]\ntype = \"integer\"\nrequired = false\n---*/\nSELECT 1";

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn endpoint(name: &str) -> Arc<Endpoint> {
    let files = ProjectFiles {
        config: "[lake]\nlocation = \"lake/\"\n".to_owned(),
        endpoints: [(format!("endpoints/{name}.sql"), ENDPOINT.to_owned())].into(),
        ..ProjectFiles::default()
    };
    let (mut project, findings) = Project::read(&files);
    assert_eq!(findings, []);
    Arc::new(project.endpoints.remove(name).unwrap())
}

fn principal(scope: Scope) -> Principal {
    let record = PrincipalRecord::new("p", "a", at(0)).with_attribute("size", Value::Scalar(Scalar::Integer(5)));
    let mut token = TokenRecord::new("t", at(0));
    token.scope = scope;
    authenticate(&Credential { proof: token.into(), principal: Arc::new(record), grants: Arc::new([]) }, at(0)).unwrap()
}

/// A grant of the endpoint `e`, with terms as the store serialises them.
fn grant(id: &str, terms: &str) -> Grant {
    let terms: Terms = serde_json::from_str(terms).unwrap();
    let endpoint = EndpointPattern::Named("e".to_owned());
    Grant::new(id, Grantee::Principal("a".to_owned()), endpoint, at(0)).with_terms(terms)
}

struct NoRules;

impl RuleCheck for NoRules {
    fn violated(&self, _arguments: &Arguments) -> Result<Vec<usize>, Error> {
        Ok(Vec::new())
    }
}

fn called(scope: Scope, grants: &[Grant], query: &[(&str, &str)]) -> Result<Call, Code> {
    let authorized = authorize(&principal(scope), "e", grants, at(1)).map_err(|refusal| refusal.code())?;
    let mut raw = RawArguments::default();
    raw.add_query(query.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))).unwrap();
    call(authorized, endpoint("e"), raw, &NoRules).map_err(|error| error.code)
}

fn granted_access(scope: Scope, grants: &[Grant]) -> GrantedAccess {
    called(scope, grants, &[]).unwrap().granted_access().clone()
}

fn names(granted_access: &GrantedAccess) -> Vec<&str> {
    granted_access.grants().iter().map(String::as_str).collect()
}

#[test]
fn a_denial_of_the_endpoint_wins_over_every_grant() {
    let denial = grant("deny", "{}").denying();
    let for_all = Grant { endpoint: EndpointPattern::All, ..denial.clone() };
    for denial in [denial.clone(), for_all] {
        let refused = called(Scope::default(), &[grant("allow", "{}"), denial], &[]);
        assert_eq!(refused.unwrap_err(), Code::AccessNotGranted);
    }
    let expired = Grant { expires_at: Some(at(1)), ..denial.clone() };
    assert!(called(Scope::default(), &[grant("allow", "{}"), expired], &[]).is_ok());
    let of_another = Grant { to: Grantee::Principal("b".to_owned()), ..denial };
    assert!(called(Scope::default(), &[grant("allow", "{}"), of_another], &[]).is_ok());
}

#[test]
fn a_denied_column_is_shown_by_no_grant() {
    let grants = [grant("all", "{}"), grant("named", r#"{"columns":["x","y"]}"#)];
    let denial = grant("deny", r#"{"columns":["x"]}"#).denying();
    let granted_access = granted_access(Scope::default(), &[grants.as_slice(), &[denial]].concat());
    assert!(
        !granted_access.shows("x")
            && granted_access.shows("y")
            && granted_access.shows("z")
            && !granted_access.shows_all()
    );
}

#[test]
fn denied_unmasking_holds_however_else_it_is_granted() {
    let tags = BTreeSet::from(["pii".to_owned()]);
    let grants = [grant("tag", r#"{"unmask":["tag:pii"]}"#), grant("column", r#"{"unmask":["t.c"]}"#)];
    let is_unmasked = |denial: Option<&str>| {
        let denial = denial.map(|unmask| grant("deny", &format!(r#"{{"unmask":["{unmask}"]}}"#)).denying());
        let grants = grants.iter().cloned().chain(denial).collect::<Vec<_>>();
        let granted_access = granted_access(Scope::default(), &grants);
        [None, Some("pii")]
            .map(|tag| granted_access.is_unmasked("t", &["c".to_owned()], &tags, tag, |text| text == "c"))
    };
    assert_eq!(is_unmasked(None), [true, true]);
    assert_eq!(is_unmasked(Some("t.c")), [false, false]);
    assert_eq!(is_unmasked(Some("tag:pii")), [false, false]);
    assert_eq!(is_unmasked(Some("t.d")), [true, true]);
    // A denial also applies in another letter case, and to the whole or to a part of what it names.
    for near in ["T.c", "t.C", "t.c.part", "tag:PII"] {
        assert_eq!(is_unmasked(Some(near)), [false, false], "{near}");
    }
    assert_eq!(is_unmasked(Some("t.cc")), [true, true]);
}

#[test]
fn a_scope_narrows_and_never_gives() {
    let only = |name: &str| Scope { endpoints: Some(BTreeSet::from([name.to_owned()])), masked: false };
    let grants = [grant("allow", r#"{"unmask":["t.c"]}"#)];
    assert!(called(only("e"), &grants, &[]).is_ok());
    assert_eq!(called(only("f"), &grants, &[]).unwrap_err(), Code::AccessOutOfScope);
    assert_eq!(called(only("e"), &[], &[]).unwrap_err(), Code::AccessNotGranted);
    let is_unmasked = |scope: Scope| {
        granted_access(scope, &grants).is_unmasked("t", &["c".to_owned()], &BTreeSet::new(), None, |text| text == "c")
    };
    assert!(is_unmasked(Scope::default()));
    assert!(!is_unmasked(Scope { masked: true, ..Scope::default() }));
}

#[test]
fn what_was_authorized_for_one_endpoint_calls_no_other() {
    let everything = Grant { endpoint: EndpointPattern::All, ..grant("all", "{}") };
    let authorized = authorize(&principal(Scope::default()), "e", &[everything], at(1)).unwrap();
    let other = call(authorized.clone(), endpoint("other"), RawArguments::default(), &NoRules);
    assert_eq!(other.unwrap_err().code, Code::Internal);
    assert!(call(authorized, endpoint("e"), RawArguments::default(), &NoRules).is_ok());
}

#[test]
fn what_a_grant_gives_is_had_only_with_arguments_that_it_admits() {
    let fixed = grant("fixed", r#"{"parameters":{"size":{"fixed":"1"}},"unmask":["t.c"]}"#);
    let narrow = grant("narrow", r#"{"parameters":{"size":{"min":"1","max":"3"}}}"#);
    let both = [fixed, narrow];
    let got = |query: &[(&str, &str)]| called(Scope::default(), &both, query).unwrap();
    assert_eq!(names(got(&[("size", "1")]).granted_access()), ["narrow", "fixed"]);
    let two = got(&[("size", "2")]);
    assert_eq!(names(two.granted_access()), ["narrow"]);
    assert!(two.granted_access().unmask().is_empty());
    // Without the argument, only the grant that fixes it supplies a value.
    assert_eq!(names(got(&[]).granted_access()), ["fixed"]);
    assert_eq!(called(Scope::default(), &both, &[("size", "4")]).unwrap_err(), Code::ArgumentNotGranted);

    // Without the argument, both grants supply a different value and so make different calls. One of them decides, and
    // only that one applies.
    let one = grant("one", r#"{"parameters":{"size":{"fixed":"1"}}}"#);
    let two = grant("two", r#"{"parameters":{"size":{"fixed":"2"}},"max_rows":9}"#);
    assert_eq!(names(called(Scope::default(), &[one, two], &[]).unwrap().granted_access()).len(), 1);
}

#[test]
fn leaving_an_argument_out_gets_around_no_rule() {
    for rule in [r#"{"min":"1"}"#, r#"{"max":"1"}"#, r#"{"one_of":["1"]}"#] {
        let narrow = grant("narrow", &format!(r#"{{"parameters":{{"size":{rule}}}}}"#));
        let missing = called(Scope::default(), std::slice::from_ref(&narrow), &[]);
        assert_eq!(missing.unwrap_err(), Code::ArgumentNotGranted, "{rule}");
        assert!(called(Scope::default(), &[narrow], &[("size", "1")]).is_ok(), "{rule}");
    }
    let about_nothing = grant("odd", r#"{"parameters":{"nothing":{"fixed":"1"}}}"#);
    assert_eq!(called(Scope::default(), &[about_nothing], &[]).unwrap_err(), Code::ArgumentNotGranted);
}

#[test]
fn a_parameter_of_the_callers_own_takes_no_other_value() {
    let own = grant("own", r#"{"parameters":{"size":{"attribute":"size"}}}"#);
    let got = |query: &[(&str, &str)]| called(Scope::default(), std::slice::from_ref(&own), query);
    let filled = got(&[]).unwrap();
    assert_eq!(filled.arguments().values()[0], Some(Value::Scalar(Scalar::Integer(5))));
    assert!(got(&[("size", "5")]).is_ok());
    assert_eq!(got(&[("size", "6")]).unwrap_err(), Code::ArgumentNotGranted);
    let of_nobody = grant("own", r#"{"parameters":{"size":{"attribute":"other"}}}"#);
    assert_eq!(called(Scope::default(), &[of_nobody], &[]).unwrap_err(), Code::ArgumentNotGranted);
}

#[test]
fn two_arguments_are_no_further_apart_than_the_grant_allows() {
    let span = grant("span", r#"{"spans":[{"from":"size","to":"upto","at_most":"10"}]}"#);
    let got = |query: &[(&str, &str)]| called(Scope::default(), std::slice::from_ref(&span), query).map(drop);
    assert_eq!(got(&[("size", "1"), ("upto", "11")]), Ok(()));
    assert_eq!(got(&[("size", "1"), ("upto", "12")]), Err(Code::ArgumentNotGranted));
    assert_eq!(
        got(&[("size", "-9223372036854775808"), ("upto", "9223372036854775807")]),
        Err(Code::ArgumentNotGranted)
    );
    assert_eq!(got(&[("size", "1")]), Err(Code::ArgumentNotGranted));
    assert_eq!(got(&[]), Err(Code::ArgumentNotGranted));
}
