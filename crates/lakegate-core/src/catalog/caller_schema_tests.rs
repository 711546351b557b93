//! Compares a caller schema and its JSON Schema with the decision: what fits the schema is accepted, and what does not
//! is refused.

use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::json_schema::{ArgumentLocation, body_example, body_schema, is_portable, schema};
use super::{
    Arguments, Call, CallerSchema, RawArguments, RuleCheck, call, caller_schema, parameter_description,
    terms_description,
};
use crate::access::{
    Authorized, Credential, EndpointPattern, Grant, Grantee, PrincipalRecord, TokenRecord, authenticate, authorize,
};
use crate::error::{Code, Error};
use crate::project::{Endpoint, Project, ProjectFiles};
use crate::value::{Scalar, ScalarType, Value};

/// An endpoint with every type and constraint that a schema can express.
static ENDPOINT: LazyLock<Arc<Endpoint>> = LazyLock::new(|| {
    endpoint(
        r#"
        [params.must]
        type = "integer"
        [params.text]
        type = "string"
        required = false
        max_length = 3
        [params.shaped]
        type = "string"
        default = "ab"
        pattern = "[a-c]+"
        [params.size]
        type = "integer"
        default = 3
        min = 1
        max = 9
        [params.rate]
        type = "number"
        required = false
        max = 1.5
        [params.flag]
        type = "boolean"
        required = false
        [params.day]
        type = "date"
        required = false
        [params.moment]
        type = "timestamp"
        required = false
        [params.id]
        type = "uuid"
        required = false
        [params.ids]
        type = "integer[]"
        required = false
        max_items = 2
        [params.kind]
        type = "string"
        enum = ["a", "b", "c"]
        required = false
        example = "b"
        [params.pin]
        type = "integer"
        secret = true
        required = false"#,
    )
});

fn endpoint(params: &str) -> Arc<Endpoint> {
    let text = format!("/*---\nsummary = \"s\"\n{params}\n---*/\nSELECT 1");
    let files = ProjectFiles {
        config: "[lake]\nlocation = \"lake/\"\n".to_owned(),
        endpoints: [("endpoints/e.sql".to_owned(), text)].into(),
        ..ProjectFiles::default()
    };
    let (mut project, findings) = Project::read(&files);
    assert_eq!(findings, []);
    Arc::new(project.endpoints.remove("e").unwrap())
}

/// The caller `a` with one grant for each of these terms.
fn authorized(terms: &[Json]) -> Authorized {
    let at = DateTime::<Utc>::UNIX_EPOCH;
    let one = |value| Value::Scalar(Scalar::Integer(value));
    let two = Value::List(ScalarType::Integer, vec![Scalar::Integer(4), Scalar::Integer(5)]);
    let record = PrincipalRecord::new("p", "a", at).with_attribute("one", one(4)).with_attribute("two", two);
    let credential =
        Credential { proof: TokenRecord::new("t", at).into(), principal: Arc::new(record), grants: Arc::new([]) };
    let grants = terms.iter().enumerate().map(|(number, terms)| {
        let pattern = EndpointPattern::Named("e".to_owned());
        let grant = Grant::new(format!("g{number}"), Grantee::Principal("a".to_owned()), pattern, at);
        grant.with_terms(serde_json::from_value(terms.clone()).unwrap())
    });
    authorize(&authenticate(&credential, at).unwrap(), "e", &grants.collect::<Vec<_>>(), at).unwrap()
}

struct NoRules;

impl RuleCheck for NoRules {
    fn violated(&self, _arguments: &Arguments) -> Result<Vec<usize>, Error> {
        Ok(Vec::new())
    }
}

fn called(authorized: &Authorized, endpoint: &Arc<Endpoint>, body: &Json) -> Result<Call, Error> {
    let mut raw = RawArguments::default();
    raw.add_json(body.to_string().as_bytes())?;
    call(authorized.clone(), Arc::clone(endpoint), raw, &NoRules)
}

fn fits(schema: &Json, value: &Json) -> bool {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap().is_valid(value)
}

fn parameters(pairs: Json) -> Json {
    json!({ "parameters": pairs })
}

/// The schema of a parameter in a body, with these terms.
fn in_body(name: &str, terms: &[Json]) -> Json {
    let authorized = authorized(terms);
    let caller_schema = caller_schema(&authorized, &ENDPOINT);
    let at = ENDPOINT.params.iter().position(|param| param.name == name).unwrap();
    schema(&caller_schema, at, ArgumentLocation::Body)
}

#[test]
fn types_and_constraints_become_keywords() {
    let whole = [json!({})];
    for (name, wanted) in [
        ("must", json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX })),
        (
            "text",
            json!({ "type": ["string", "null"], "maxLength": 3, "not": { "type": "string", "pattern": "\\u0000" } }),
        ),
        (
            "shaped",
            json!({ "type": ["string", "null"], "maxLength": 10_000, "not": { "type": "string", "pattern": "\\u0000" },
                "pattern": "^(?:[a-c]+)$", "default": "ab" }),
        ),
        ("size", json!({ "type": ["integer", "null"], "format": "int64", "minimum": 1, "maximum": 9, "default": 3 })),
        ("rate", json!({ "type": ["number", "null"], "format": "double", "maximum": 1.5 })),
        ("flag", json!({ "type": ["boolean", "null"] })),
        ("day", json!({ "type": ["string", "null"], "format": "date" })),
        (
            "moment",
            json!({ "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "string", "format": "date" },
                { "type": "null" }] }),
        ),
        ("id", json!({ "type": ["string", "null"], "format": "uuid" })),
        (
            "ids",
            json!({ "type": ["array", "null"], "maxItems": 2,
                "items": { "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX } }),
        ),
        ("kind", json!({ "type": ["string", "null"], "enum": ["a", "b", "c", null] })),
    ] {
        assert_eq!(in_body(name, &whole), wanted, "{name}");
    }
}

#[test]
fn grants_narrow_the_schema_to_what_they_admit() {
    for (name, terms, wanted) in [
        (
            "kind",
            vec![parameters(json!({ "kind": { "fixed": "a" } }))],
            json!({ "type": ["string", "null"], "enum": ["a", null], "default": "a" }),
        ),
        (
            "must",
            vec![parameters(json!({ "must": { "one_of": ["7", "8"] } }))],
            json!({ "type": "integer", "format": "int64", "enum": [7, 8] }),
        ),
        (
            "size",
            // A default that the grant excludes does not apply, and a required parameter cannot be NULL.
            vec![parameters(json!({ "size": { "min": "5", "max": "100" } }))],
            json!({ "type": "integer", "format": "int64", "minimum": 5, "maximum": 9 }),
        ),
        (
            "ids",
            vec![parameters(json!({ "ids": { "one_of": ["1"] } }))],
            json!({ "type": "array", "minItems": 1, "maxItems": 2,
                "items": { "type": "integer", "format": "int64", "enum": [1] } }),
        ),
        // Two grants: the schema accepts what either admits.
        (
            "kind",
            vec![parameters(json!({ "kind": { "one_of": ["a"] } })), parameters(json!({ "kind": { "fixed": "b" } }))],
            json!({ "anyOf": [{ "type": "string", "const": "b" }, { "type": "string", "enum": ["a"] }, { "type": "null" }] }),
        ),
        // A grant that does not narrow.
        (
            "kind",
            vec![parameters(json!({ "kind": { "one_of": ["a"] } })), json!({})],
            json!({ "type": ["string", "null"], "enum": ["a", "b", "c", null] }),
        ),
        // A grant that admits nothing is ignored.
        (
            "kind",
            vec![
                parameters(json!({ "kind": { "fixed": "a" }, "nothing": { "fixed": "1" } })),
                parameters(json!({ "kind": { "fixed": "z" } })),
                parameters(json!({ "kind": { "one_of": ["c"] } })),
            ],
            json!({ "type": "string", "enum": ["c"] }),
        ),
    ] {
        assert_eq!(in_body(name, &terms), wanted, "{name} {terms:?}");
    }
}

#[test]
fn what_is_secret_or_the_callers_own_is_not_told() {
    let narrowed = [
        parameters(json!({ "pin": { "fixed": "4711" } })),
        parameters(json!({ "pin": { "one_of": ["4711", "4712"] } })),
        parameters(json!({ "pin": { "min": "4711" } })),
        parameters(json!({ "must": { "attribute": "one" } })),
        parameters(json!({ "must": { "attribute": "two" } })),
        parameters(json!({ "ids": { "attribute": "two" } })),
    ];
    for terms in narrowed {
        let authorized = authorized(std::slice::from_ref(&terms));
        let caller_schema = caller_schema(&authorized, &ENDPOINT);
        let text = format!(
            "{} {:?} {:?}",
            body_schema(&caller_schema),
            terms_description(&caller_schema),
            body_example(&caller_schema)
        );
        for told in ["4711", "4712", "enum\":[4", "const", "\"one", "two", "minimum\":4"] {
            assert!(!text.contains(told), "{told} of {terms} in {text}");
        }
        let words =
            (0..ENDPOINT.params.len()).filter_map(|at| parameter_description(&caller_schema, at)).collect::<String>();
        assert!(words.contains("Your grant"), "{terms}");
    }
    // A caller with one attribute value may omit the parameter; with several it must choose.
    let omittable = |terms: Json| !body_schema(&caller_schema(&authorized(&[terms]), &ENDPOINT))["required"].is_array();
    assert!(omittable(parameters(json!({ "must": { "attribute": "one" } }))));
    assert!(!omittable(parameters(json!({ "must": { "attribute": "two" } }))));
}

#[test]
fn words_say_what_a_schema_can_not() {
    let endpoint = endpoint(
        r#"
        [params.from]
        type = "date"
        description = "The first day"
        min = "2020-01-01"
        [params.to]
        type = "date"
        max = "2030-01-01"
        [params.code]
        type = "string"
        pattern = "(?i)x`y"
        default = "x`y""#,
    );
    let whole = authorized(&[json!({})]);
    let words = |caller_schema: &CallerSchema<'_>| {
        (0..3).map(|at| parameter_description(caller_schema, at).unwrap()).collect::<Vec<_>>()
    };
    insta::assert_snapshot!(words(&caller_schema(&whole, &endpoint)).join("\n"), @r"
    The first day. At least `2020-01-01`.
    At most `2030-01-01`.
    The whole text must match the regular expression `` (?i)x`y `` (as in the Rust crate regex).
    ");
    assert_eq!(terms_description(&caller_schema(&whole, &endpoint)), None);
    let span = json!([{ "from": "from", "to": "to", "at_most": "31d" }]);
    let narrow = authorized(&[json!({ "spans": span, "parameters": { "from": { "min": "2022-01-01" } } })]);
    let narrow = caller_schema(&narrow, &endpoint);
    insta::assert_snapshot!(words(&narrow).join("\n"), @r"
    The first day. At least `2022-01-01`. Your grant narrows the values to these.
    At most `2030-01-01`.
    The whole text must match the regular expression `` (?i)x`y `` (as in the Rust crate regex).
    ");
    insta::assert_snapshot!(terms_description(&narrow).unwrap(), @"Your grant asks that `to` is at most 31d after `from`.");
    let two = authorized(&[
        json!({ "spans": span, "parameters": { "code": { "fixed": "x`y" } } }),
        json!({ "parameters": { "from": { "min": "2022-01-01", "max": "2022-02-01" } } }),
    ]);
    insta::assert_snapshot!(terms_description(&caller_schema(&two, &endpoint)).unwrap(), @r"
    The arguments must meet one of your grants as a whole:

    - `from` is at least `2022-01-01` and at most `2022-02-01`
    - `code` is `` x`y ``; `to` is at most 31d after `from`
    ");
    let unfit = authorized(&[parameters(json!({ "gone": { "fixed": "1" } }))]);
    assert!(terms_description(&caller_schema(&unfit, &endpoint)).unwrap().contains("No grant of yours fits"));
}

#[test]
fn examples_are_ones_that_are_taken() {
    let take = |terms: Json| {
        let authorized = authorized(&[terms]);
        let example = body_example(&caller_schema(&authorized, &ENDPOINT));
        if let Some(example) = &example {
            assert!(called(&authorized, &ENDPOINT, example).is_ok(), "{example}");
        }
        example
    };
    // `must` has no example.
    assert_eq!(take(json!({})), None);
    let fixed = take(parameters(json!({ "must": { "fixed": "5" }, "kind": { "one_of": ["c"] } })));
    assert_eq!(fixed, None, "`kind` must be given, and its example is not granted");
    let fixed = take(parameters(json!({ "must": { "fixed": "5" } })));
    assert_eq!(fixed, Some(json!({ "must": 5, "shaped": "ab", "size": 3, "kind": "b" })));
}

#[test]
fn patterns_are_passed_on_only_where_others_read_them_alike() {
    for fine in ["[a-c]+", r"\d{4}-\d{2}", "(?:a|b)?", r"[^\s\-]*", "a{2,}", r"\$\{x\}", "^x$", "a+?", ""] {
        assert!(is_portable(fine), "{fine}");
    }
    for other in [
        "(?i)a",
        "(?P<n>a)",
        "(?<n>a)",
        r"\pL",
        r"\p{Nd}",
        r"\x41",
        r"\A",
        r"\z",
        "[[:alpha:]]",
        "[a&&b]",
        "[a--b]",
        "[]a]",
        "[^]a]",
        "]",
        "}",
        "a**",
        r"\@",
        r"\-",
        r"\u{41}",
        "[a",
        r"\<",
        "x{a}",
    ] {
        assert!(!is_portable(other), "{other}");
    }
}

/// A JSON value that a client may send.
fn any_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-2_i64..12).prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        Just(json!(1.25)),
        Just(json!(1.75)),
        Just(json!(u64::MAX)),
        "[a-d]{0,4}".prop_map(Json::from),
        Just(json!("a\0")),
        Just(json!("ä🦀x")),
        Just(json!("2022-10-01")),
        Just(json!("2022-02-30")),
        Just(json!("2022-10-01T08:30:00Z")),
        Just(json!("2022-10-01T08:30:00.25+02:00")),
        Just(json!("5ce7f90d-0000-4000-8000-000000000001")),
        proptest::collection::vec(-1_i64..5, 0..4).prop_map(Json::from),
        Just(json!([1, "1"])),
        Just(json!({})),
    ]
}

fn any_body() -> impl Strategy<Value = Json> {
    let name = proptest::sample::select(
        ENDPOINT.params.iter().map(|param| param.name.clone()).chain(["other".to_owned()]).collect::<Vec<_>>(),
    );
    proptest::collection::btree_map(name, any_value(), 0..5).prop_flat_map(|body| {
        // Mostly include the required member, so that some bodies are accepted.
        proptest::option::weighted(0.9, 0_i64..9).prop_map(move |must| {
            let mut body = serde_json::Map::from_iter(body.clone());
            if let Some(must) = must {
                body.insert("must".to_owned(), must.into());
            }
            body.into()
        })
    })
}

/// Terms that a schema expresses exactly.
fn any_terms() -> impl Strategy<Value = Json> {
    let term = prop_oneof![
        (0_i64..9).prop_map(|value| ("must", json!({ "fixed": value.to_string() }))),
        (0_i64..9).prop_map(|value| ("must", json!({ "min": value.to_string() }))),
        (0_i64..12).prop_map(|value| ("size", json!({ "max": value.to_string() }))),
        (0_i64..12).prop_map(|value| ("size", json!({ "fixed": value.to_string(), "min": "2" }))),
        Just(("kind", json!({ "one_of": ["a", "z"] }))),
        Just(("shaped", json!({ "one_of": ["a", "b", "d"] }))),
        Just(("text", json!({ "fixed": "abc" }))),
        Just(("ids", json!({ "one_of": ["1", "2"] }))),
        Just(("ids", json!({ "fixed": "1" }))),
        Just(("ids", json!({ "min": "1", "max": "2" }))),
        Just(("flag", json!({ "fixed": "true" }))),
        Just(("day", json!({ "fixed": "2022-10-01" }))),
        Just(("rate", json!({ "min": "1" }))),
    ];
    proptest::collection::vec(term, 0..3).prop_map(|terms| parameters(terms.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// With one grant, the schema equals the decision.
    #[test]
    fn a_body_fits_its_schema_exactly_when_it_is_taken(terms in any_terms(), body in any_body()) {
        let authorized = authorized(std::slice::from_ref(&terms));
        let caller_schema = caller_schema(&authorized, &ENDPOINT);
        let taken = called(&authorized, &ENDPOINT, &body);
        if caller_schema.grants().is_empty() {
            prop_assert!(taken.is_err(), "{} {}", terms, body);
            return Ok(());
        }
        let schema = body_schema(&caller_schema);
        let told = taken.as_ref().err().map(ToString::to_string);
        prop_assert_eq!(fits(&schema, &body), taken.is_ok(), "{} {} {} {:?}", terms, body, schema, told);
    }

    /// With several grants, and with rules that no schema expresses, every accepted body fits the schema.
    #[test]
    fn what_is_taken_fits_the_schema(
        mut terms in proptest::collection::vec(any_terms(), 1..4),
        own in proptest::option::of(prop_oneof![Just("one"), Just("two"), Just("none")]),
        body in any_body(),
    ) {
        if let Some(own) = own {
            terms[0]["parameters"]["must"] = json!({ "attribute": own });
            terms[0]["spans"] = json!([{ "from": "size", "to": "must", "at_most": "2" }]);
        }
        let authorized = authorized(&terms);
        let caller_schema = caller_schema(&authorized, &ENDPOINT);
        match called(&authorized, &ENDPOINT, &body) {
            Ok(_) => prop_assert!(fits(&body_schema(&caller_schema), &body), "{:?} {}", terms, body),
            // With several grants, a body that fits may be refused as not granted, but never as malformed.
            Err(error) if !caller_schema.grants().is_empty() && fits(&body_schema(&caller_schema), &body) => {
                let missing = error.errors.iter().all(|fault| fault.code == Code::ArgumentMissing);
                prop_assert!(error.code == Code::ArgumentNotGranted || missing, "{:?} {} {}", terms, body, error);
            }
            Err(_) => {}
        }
    }
}
