//! Each endpoint of the sample against each kind of caller: status, code, and no information in the refusal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

use axum::body::Body;
use axum::http::Request;
use chrono::Duration;
use lakegate::clock;
use lakegate::sample::Sample;
use lakegate::store::{GrantRequest, TokenRequest, new_token};
use lakegate_core::access::{Effect, EndpointPattern, Grantee, Scope};
use lakegate_core::error::{CODES, Code, Kind};
use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::json;

use crate::support::app::{Answer, TestApp, by, unmasked};

/// Headers that a response may have; any other header needs a review.
const HEADERS: &[&str] = &[
    "allow",
    "cache-control",
    "content-length",
    "content-type",
    "retry-after",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-request-id",
];

/// Members that a problem may have.
const MEMBERS: &[&str] = &["type", "title", "status", "code", "detail", "parameter", "hint", "errors", "request_id"];

/// Text that no refusal may contain: the lake's location, query, engine, sources, secrets of [`admit_all`].
const LEAKS: &[&str] = &[
    ".parquet",
    "/tmp",
    "SELECT",
    "JOIN",
    "WHERE",
    "principal(",
    "row_filter",
    "datafusion",
    "DataFusion",
    "Arrow",
    "sqlite",
    "panicked",
    ".rs:",
    "secret-name",
    "secret-value",
];

/// Status and code of a refusal. Checks all its content.
pub(crate) fn refused(answer: &Answer) -> (u16, String) {
    let (status, code) = answer.problem();
    let problem = answer.json();
    // This media type looks like a file of the lake.
    let text = answer.text().replace("vnd.apache.parquet", "");
    for (member, value) in problem.as_object().unwrap() {
        assert!(MEMBERS.contains(&member.as_str()), "`{member}` in {text}");
        assert!(!value.is_null(), "{text}");
    }
    assert_eq!(problem["type"], format!("urn:lakegate:problem:{code}"));
    assert!(CODES.iter().any(|known| known.name() == code && known.title() == problem["title"]), "{text}");
    for header in answer.headers.keys() {
        assert!(HEADERS.contains(&header.as_str()), "header `{header}` of {text}");
    }
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers.get("www-authenticate").is_some(), status == 401, "{text}");
    for leak in LEAKS {
        assert!(!text.contains(leak), "{leak} in {text}");
        assert!(answer.headers.values().all(|value| !value.to_str().unwrap().contains(leak)), "{leak} in a header");
    }
    (status, code)
}

/// The names of all endpoints in the folder, so that none is forgotten.
pub(crate) fn endpoints(app: &TestApp) -> Vec<String> {
    let files = std::fs::read_dir(app.folder.path().join("endpoints")).unwrap();
    let mut names =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(names.len(), 11);
    names
}

/// The expected refusal of an endpoint, as status and code; `None` for a successful response.
type Wanted = Box<dyn Fn(&str) -> Option<(u16, &'static str)>>;

/// A kind of caller: its request headers, and the expected result of each endpoint.
struct Kindred {
    what: &'static str,
    headers: Vec<(&'static str, Vec<u8>)>,
    wanted: Wanted,
}

fn kindred(what: &'static str, token: &str, wanted: Option<(u16, &'static str)>) -> Kindred {
    Kindred { what, headers: vec![("token", token.into())], wanted: Box::new(move |_| wanted) }
}

fn integer(value: i64) -> Value {
    Value::Scalar(Scalar::Integer(value))
}

fn text(value: &str) -> Value {
    Value::Scalar(Scalar::String(value.to_owned()))
}

async fn callers(app: &TestApp, client: i64) -> Vec<Kindred> {
    let now = clock::now();
    let (past, ago) = (now - Duration::hours(2), now - Duration::hours(1));
    let id = |token: &str| token.split('_').nth(1).unwrap().to_owned();
    let own = [("client_id", integer(client))];

    let good = app.admit("secret-name-good", "client", &own).await;
    let other = app.admit("secret-name-other", "client", &own).await;
    let expired = new_token().unwrap();
    let request = TokenRequest { expires_at: Some(ago), ..TokenRequest::default() };
    by(&app.store).issue_token("secret-name-good", &expired, request, past).await.unwrap();
    let revoked = app.token("secret-name-good", None).await;
    by(&app.store).revoke_token(&id(&revoked), now).await.unwrap();
    let disabled = app.admit("secret-name-disabled", "client", &own).await;
    by(&app.store).disable_principal("secret-name-disabled", now).await.unwrap();

    app.add_principal("secret-name-none", "secret-name-role-without-grants", &own).await;
    let none = app.token("secret-name-none", None).await;
    app.add_principal("secret-name-late", "client", &own).await;
    let to = Grantee::Principal("secret-name-late".to_owned());
    let late_grant = GrantRequest { expires_at: Some(ago), ..GrantRequest::new(to, EndpointPattern::All) };
    by(&app.store).add_grant(late_grant, past).await.unwrap();
    let late = app.token("secret-name-late", None).await;
    let mut narrow = Vec::new();
    for endpoint in ["all_orders_by_range", "count_orders_by_range"] {
        let name = format!("secret-name-{}", endpoint.len());
        app.add_principal(&name, "client", &own).await;
        app.grant(Grantee::Principal(name.clone()), EndpointPattern::Named(endpoint.to_owned()), None).await;
        narrow.push((endpoint, app.token(&name, None).await));
    }

    let scope = Scope { endpoints: Some(BTreeSet::from(["another_endpoint".to_owned()])), ..Scope::default() };
    let scoped = new_token().unwrap();
    let request = TokenRequest { scope, ..TokenRequest::default() };
    by(&app.store).issue_token("secret-name-good", &scoped, request, now).await.unwrap();
    let denied = app.admit("secret-name-denied", "secret-name-role-denied", &own).await;
    let to = Grantee::Role("secret-name-role-denied".to_owned());
    let denial = GrantRequest { effect: Effect::Deny, ..GrantRequest::new(to, EndpointPattern::All) };
    by(&app.store).add_grant(denial, now).await.unwrap();

    let without = app.admit("secret-name-without", "client", &[("client_name", text("secret-value"))]).await;
    let wrong_text = app.admit("secret-name-text", "client", &[("client_id", text("secret-value"))]).await;
    let digits = app.admit("secret-name-digits", "client", &[("client_id", text(&client.to_string()))]).await;
    let strings = Value::List(ScalarType::String, vec![Scalar::String("secret-value".into())]);
    let wrong_list = app.admit("secret-name-list", "client", &[("client_id", strings)]).await;
    let boolean = [("client_id", Value::Scalar(Scalar::Boolean(true)))];
    let wrong_boolean = app.admit("secret-name-boolean", "client", &boolean).await;
    let nobody =
        app.admit("secret-name-nobody", "client", &[("client_id", Value::List(ScalarType::Integer, vec![]))]).await;

    app.add_terms(Effect::Allow, Grantee::Role("granted".to_owned()), "*", &unmasked()).await;
    app.add_principal("secret-name-by-role", "granted", &own).await;
    let by_role = app.token("secret-name-by-role", None).await;
    let operator = app.admit("secret-name-operator", "operator", &[]).await;
    // Role names are case-sensitive: this role sees what a client sees, and the principal has no client.
    let not_operator = app.admit("secret-name-not-operator", "Operator", &[]).await;
    let key = first_system_key(app, client);
    let admin = app.admin_token("secret-name-admin").await;
    app.grant(Grantee::Principal("secret-name-admin".to_owned()), EndpointPattern::All, None).await;

    let unknown = |what, token: &str| kindred(what, token, Some((401, "access_token_unknown")));
    let mut callers = vec![
        Kindred { what: "no token", headers: vec![], wanted: Box::new(|_| Some((401, "access_token_missing"))) },
        Kindred {
            what: "another scheme",
            headers: vec![("authorization", format!("Basic {good}").into())],
            wanted: Box::new(|_| Some((401, "access_token_missing"))),
        },
        unknown("empty", ""),
        unknown("short", "lg_"),
        unknown("with a space", &format!("{good} x")),
        unknown("too long", &"x".repeat(600)),
        Kindred { headers: vec![("token", vec![0xff; 40])], ..unknown("not text", "") },
        unknown("never made", new_token().unwrap().text()),
        unknown("in capitals", &good.to_uppercase()),
        unknown("cut", &good[..good.len() - 1]),
        unknown("the id alone", &id(&good)),
        unknown("with SQL", "'OR'1'='1'--"),
        kindred("expired", expired.text(), Some((401, "access_token_expired"))),
        kindred("revoked", &revoked, Some((401, "access_token_revoked"))),
        kindred("disabled", &disabled, Some((401, "access_principal_disabled"))),
        kindred("no grant", &none, Some((403, "access_not_granted"))),
        kindred("an expired grant", &late, Some((403, "access_grant_expired"))),
        kindred("out of scope", scoped.text(), Some((403, "access_out_of_scope"))),
        kindred("an admin token", &admin, Some((403, "access_admin_token"))),
        kindred("denied", &denied, Some((403, "access_not_granted"))),
        kindred("no attribute", &without, Some((403, "access_attribute_missing"))),
        kindred("a text for an integer", &wrong_text, Some((403, "access_attribute_mismatch"))),
        kindred("digits for an integer", &digits, Some((403, "access_attribute_mismatch"))),
        kindred("a list of texts", &wrong_list, Some((403, "access_attribute_mismatch"))),
        kindred("a boolean", &wrong_boolean, Some((403, "access_attribute_mismatch"))),
        kindred("nearly an operator", &not_operator, Some((403, "access_attribute_missing"))),
        Kindred {
            what: "two tokens",
            headers: vec![("token", good.clone().into()), ("x-api-key", other.into())],
            wanted: Box::new(|_| Some((400, "access_token_conflict"))),
        },
        kindred("a client", &good, None),
        Kindred {
            what: "one token three times",
            headers: vec![
                ("token", good.clone().into()),
                ("x-api-key", good.clone().into()),
                ("authorization", format!("BEARER  {good}").into()),
            ],
            wanted: Box::new(|_| None),
        },
        kindred("by role", &by_role, None),
        kindred("an operator", &operator, None),
        kindred("for no client", &nobody, None),
        kindred("a first system's key", &key, None),
    ];
    for (granted, token) in narrow {
        let wanted = move |endpoint: &str| (endpoint != granted).then_some((403, "access_not_granted"));
        callers.push(Kindred { what: granted, headers: vec![("token", token.into())], wanted: Box::new(wanted) });
    }
    callers
}

/// Imports a key of the legacy system with the command, while the server runs, as an operator does.
fn first_system_key(app: &TestApp, client: i64) -> String {
    let key = "5ce7f90d-0000-4000-8000-000000000001";
    let columns = endpoints(app);
    let table = app.folder.path().join("access_control_table.csv");
    let row = vec!["true"; columns.len()].join(",");
    std::fs::write(&table, format!("id,enterpriseKey,{}\n{client},{key},{row}\n", columns.join(","))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakegate"));
    command.args(["access", "import", "--unmask", "tag:address", "--unmask", "tag:point", "--unmask", "tag:route"]);
    let ran = command.arg(&table).arg("--project").arg(app.folder.path()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    key.to_owned()
}

#[tokio::test]
async fn every_endpoint_holds_against_every_kind_of_caller() {
    let sample = Sample::new(5, 0.005).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    let client = sample.biggest_client().id;
    let callers = callers(&app, client).await;
    let range = json!({ "start_datetime": "2000-01-01", "end_datetime": "2100-01-01" });
    let mut met = BTreeSet::new();
    for endpoint in endpoints(&app) {
        let mut rows = Vec::new();
        for caller in &callers {
            let what = format!("{} at {endpoint}", caller.what);
            let query = format!("/api/{endpoint}?start_datetime=2000-01-01&end_datetime=2100-01-01");
            let request = |mut request: axum::http::request::Builder, body: Body| {
                for (name, value) in &caller.headers {
                    request = request.header(*name, value.as_slice());
                }
                request.body(body).unwrap()
            };
            let got = app.send(request(Request::get(&query), Body::empty())).await;
            let posted = Request::post(format!("/api/{endpoint}"));
            let posted = app.send(request(posted, Body::from(range.to_string()))).await;
            match (caller.wanted)(&endpoint) {
                Some((status, code)) => {
                    assert_eq!(refused(&got), (status, code.to_owned()), "{what}");
                    assert_eq!(refused(&posted), (status, code.to_owned()), "{what}");
                    met.insert(code);
                }
                None => {
                    assert_eq!(got.status, 200, "{what}: {}", got.text());
                    let same = |answer: &Answer| {
                        let mut rows = answer.rows().iter().map(ToString::to_string).collect::<Vec<_>>();
                        rows.sort();
                        rows
                    };
                    assert_eq!(same(&got), same(&posted), "{what}");
                    rows.push((caller.what, same(&got)));
                }
            }
        }
        let of = |what| &rows.iter().find(|(caller, _)| *caller == what).unwrap().1;
        for equal in ["one token three times", "by role", "a first system's key"] {
            assert_eq!(of(equal), of("a client"), "{endpoint}");
        }
        if endpoint == "count_trackcode_by_client_city_by_range" {
            // In such a small sample, no city has enough clients, and a single client is never enough.
            assert!(rows.iter().all(|(_, rows)| rows.is_empty()), "{endpoint}");
            continue;
        }
        assert_ne!(of("an operator"), of("a client"), "{endpoint}");
        assert_ne!(of("for no client"), of("a client"), "{endpoint}");
    }
    // Some caller here gets each code of 401 and 403, except for those that only the admin API returns.
    let refusals = CODES.iter().filter(|code| matches!(code.kind(), Kind::Unauthenticated | Kind::Forbidden));
    for code in refusals.filter(|code| !matches!(code, Code::AccessNotAdmin | Code::AdminOriginRefused)) {
        assert!(met.contains(code.name()), "no caller gets `{code}`");
    }
}

/// `GET /api` lists exactly the endpoints that the caller may call.
#[tokio::test]
async fn the_list_is_of_the_granted_endpoints() {
    let sample = Sample::new(5, 0.002).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    for caller in callers(&app, sample.biggest_client().id).await {
        let mut request = Request::get("/api");
        for (name, value) in &caller.headers {
            request = request.header(*name, value.as_slice());
        }
        let listed = app.send(request.body(Body::empty()).unwrap()).await;
        let wanted = |endpoint: &str| (caller.wanted)(endpoint);
        // A token that is scoped to other endpoints is valid, but can call none of these.
        if caller.what == "out of scope" {
            assert_eq!(listed.json(), json!({ "endpoints": [] }));
            continue;
        }
        if let Some((status, code)) =
            wanted("").filter(|(status, code)| *status != 403 || *code == "access_admin_token")
        {
            assert_eq!(refused(&listed), (status, code.to_owned()), "{}", caller.what);
            continue;
        }
        assert_eq!(listed.status, 200, "{}", caller.what);
        let listed = listed.json()["endpoints"].as_array().unwrap().clone();
        let names = listed.iter().map(|endpoint| endpoint["name"].as_str().unwrap()).collect::<Vec<_>>();
        // A missing attribute does not affect the grant.
        let granted = |endpoint: &&String| {
            let not_granted = ["access_not_granted", "access_grant_expired", "access_out_of_scope"];
            wanted(endpoint).is_none_or(|(_, code)| !not_granted.contains(&code))
        };
        let all = endpoints(&app);
        assert_eq!(names, all.iter().filter(granted).collect::<Vec<_>>(), "{}", caller.what);
    }
}
