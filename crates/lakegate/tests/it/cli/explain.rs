//! `lakegate explain` and its admin API route: reports on calls that would succeed and calls that would be refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

use lakegate_core::access::{Effect, Grantee};
use lakegate_core::value::{Scalar, Value};
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;
use crate::support::binary::Ran;

const FILES: &[(&str, &str)] = &[
    (
        "lakegate.toml",
        "[lake]\nlocation = \"lake\"\n[access]\nsecret_attributes = [\"pin\"]\n\
         [tables.sale]\nlocation = \"sale.csv\"\n\
         row_filter = \"client_id IN (principal('client_id')) AND desk = principal('pin')\"\n\
         unfiltered_for = [\"operator\"]\n\
         [tables.sale.columns.buyer]\ntags = [\"person\"]\n\
         [tables.sale.columns.phone]\nmask = { kind = \"partial\", suffix = 2 }\n\
         [tags.person]\nmask = \"redact\"\n\
         [tables.city]\nlocation = \"city.csv\"\nshared = true\n",
    ),
    (
        "lake/sale.csv",
        "id,client_id,desk,buyer,phone,city_id\n1,1,7788,ann,300-1234567,1\n2,2,7788,bob,300-7654321,1\n",
    ),
    ("lake/city.csv", "id,name\n1,rome\n"),
    (
        "endpoints/sales.sql",
        "/*---\nsummary = \"Sales\"\n[params.most]\ntype = \"integer\"\ndefault = 10\n---*/\n\
         SELECT s.id, s.buyer, s.phone, c.name AS city FROM sale AS s JOIN city AS c ON c.id = s.city_id \
         WHERE s.id <= $most ORDER BY s.id",
    ),
];

/// The value of the secret attribute of each principal here.
const PIN: &str = "7788";

async fn app() -> TestApp {
    TestApp::project(FILES).await
}

fn attributes() -> [(&'static str, Value); 2] {
    [("client_id", Value::Scalar(Scalar::Integer(1))), ("pin", Value::Scalar(Scalar::Integer(7788)))]
}

/// Adds a principal with a grant of these terms on `sales`.
async fn admit(app: &TestApp, name: &str, terms: Json) {
    app.add_principal(name, "client", &attributes()).await;
    app.add_terms(Effect::Allow, Grantee::Principal(name.to_owned()), "sales", &terms).await;
}

fn run(app: &TestApp, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakegate"));
    command.env_remove("LAKEGATE_LAKE").env_remove("LAKEGATE_STORE");
    let ran = Ran::of(command.arg("explain").args(arguments).arg("--project").arg(app.folder.path()).output().unwrap());
    assert!(!ran.stdout.contains(PIN) && !ran.stderr.contains(PIN), "a secret attribute is told: {ran:?}");
    ran
}

/// Exit code and JSON of the command. Asserts that the admin API returns equal JSON.
async fn explained(app: &TestApp, admin: &str, name: &str, arguments: &Json) -> (Option<i32>, Json) {
    let pairs = arguments.as_object().unwrap().iter().map(|(name, value)| format!("{name}={value}"));
    let pairs = pairs.collect::<Vec<_>>();
    let mut line = vec!["sales", "--as", name, "--json"];
    line.extend(pairs.iter().map(String::as_str));
    let ran = run(app, &line);
    let told = serde_json::from_str::<Json>(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let body = json!({ "principal": name, "endpoint": "sales", "arguments": arguments });
    let answer = app.admin(admin, "POST", "/admin/explain", body).await;
    assert_eq!((answer.status, answer.json()), (200, told.clone()));
    (ran.code, told)
}

/// The lines of a text, with runs of spaces collapsed.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn has(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line == wanted), "`{wanted}` is not in\n{}", lines.join("\n"));
}

#[tokio::test]
async fn an_allowed_call_is_told_with_all_that_decides_it() {
    let app = app().await;
    let admin = app.admin_token("alice").await;
    admit(&app, "acme", json!({ "columns": ["id", "phone", "city"], "unmask": ["tag:person"], "max_rows": 100 })).await;
    let (code, told) = explained(&app, &admin, "acme", &json!({ "most": 3 })).await;
    assert_eq!((code, &told["allowed"]), (Some(0), &json!(true)));
    assert!(told["reason"].as_str().unwrap().contains("lets principal `acme` call endpoint `sales`"), "{told}");
    assert_eq!(told["attributes"], json!({ "client_id": 1, "pin": "***" }));
    assert_eq!(told["arguments"], json!({ "most": 3 }));
    assert_eq!(told["grants"][0]["part"], "decides");
    assert_eq!(told["limits"]["timeout_seconds"], 60);
    assert_eq!((&told["limits"]["max_rows"], &told["limits"]["from"]["max_rows"]), (&json!(100), &json!("grants")));
    let shown = |told: &Json| {
        let columns = told["columns"].as_array().unwrap().iter();
        columns.map(|one| (one["name"].clone(), one["granted"].clone())).collect::<Vec<_>>()
    };
    let column = |name: &str, granted: bool| (json!(name), json!(granted));
    let wanted = [column("id", true), column("buyer", false), column("phone", true), column("city", true)];
    assert_eq!(shown(&told), wanted);
    let table = |name: &str| told["tables"].as_array().unwrap().iter().find(|one| one["table"] == name).unwrap();
    assert_eq!(table("city")["rows"], "shared");
    assert_eq!(table("sale")["rows"], "filtered");
    assert_eq!(table("sale")["values"], json!({ "client_id": 1, "pin": "***" }));
    assert!(told["plan"].as_str().unwrap().contains("sale"), "{told}");
    // A fingerprint would confirm a guess of a secret attribute.
    assert!(told["fingerprint"].is_null(), "{told}");

    let ran = run(&app, &["sales", "--as", "acme", "most=3"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let lines = lines(&ran.stdout);
    has(&lines, "endpoint sales");
    has(&lines, "principal acme, roles: client");
    assert!(lines[2].starts_with("decision allowed: grant `"), "{}", lines[2]);
    has(&lines, "most 3");
    has(&lines, "sale client_id IN (principal('client_id')) AND desk = principal('pin') client_id = 1, pin = ***");
    has(&lines, "city all: the table is shared");
    has(&lines, "sale.buyer redact tag person lifted by a grant");
    has(&lines, "sale.phone partial(prefix 0, suffix 2) on");
    has(&lines, "max_rows 100 grants");
    has(&lines, "timeout_seconds 60 server");
    assert!(lines.iter().any(|line| line.starts_with("buyer ") && line.ends_with("not granted")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("phone ") && line.ends_with("made of masked sale.phone")));
    assert!(lines.iter().any(|line| line == "plan"), "{lines:?}");
}

#[tokio::test]
async fn a_refused_call_is_told_with_what_the_caller_is_told() {
    let app = app().await;
    let admin = app.admin_token("alice").await;
    let refused = |(code, told): (Option<i32>, Json)| {
        assert_eq!((code, &told["allowed"]), (Some(3), &json!(false)), "{told}");
        assert!(told.get("plan").is_none(), "{told}");
        (told["refusal"]["code"].as_str().unwrap().to_owned(), told)
    };

    // Refused by a rule of the grant.
    admit(&app, "ruled", json!({ "parameters": { "most": { "max": "5" } } })).await;
    let (code, told) = refused(explained(&app, &admin, "ruled", &json!({ "most": 6 })).await);
    assert_eq!(code, "argument_not_granted");
    assert!(told["refusal"]["detail"].as_str().unwrap().contains("at most `5`"), "{told}");
    assert_eq!(told["grants"][0]["terms"], json!({ "parameters": { "most": { "max": "5" } } }));
    assert_eq!(explained(&app, &admin, "ruled", &json!({ "most": 5 })).await.0, Some(0));
    let ran = run(&app, &["sales", "--as", "ruled", "most=6"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("the caller is told  argument_not_granted: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("decision   refused: "), "{}", ran.stdout);

    // Refused without a grant, and by a denial that overrides a grant.
    app.add_principal("stranger", "client", &attributes()).await;
    let (code, told) = refused(explained(&app, &admin, "stranger", &json!({})).await);
    assert_eq!((code.as_str(), &told["grants"]), ("access_not_granted", &json!([])));
    assert!(told["reason"].as_str().unwrap().contains("no grant lets the principal"), "{told}");
    admit(&app, "denied", json!({})).await;
    app.add_terms(Effect::Deny, Grantee::Principal("denied".to_owned()), "*", &json!({})).await;
    let (code, told) = refused(explained(&app, &admin, "denied", &json!({})).await);
    assert_eq!(code, "access_not_granted");
    let parts = told["grants"].as_array().unwrap().iter().map(|grant| grant["part"].as_str().unwrap());
    assert!(parts.into_iter().any(|part| part == "takes away"), "{told}");

    // Refused because an attribute that a row filter uses is missing.
    let [_, pin] = attributes();
    app.add_principal("nobody", "client", &[pin]).await;
    app.add_terms(Effect::Allow, Grantee::Principal("nobody".to_owned()), "sales", &json!({})).await;
    let (code, told) = refused(explained(&app, &admin, "nobody", &json!({})).await);
    assert_eq!(code, "access_attribute_missing");
    let sale = told["tables"].as_array().unwrap().iter().find(|table| table["table"] == "sale").unwrap();
    assert_eq!(sale["values"], json!({ "client_id": null, "pin": "***" }));
    let ran = run(&app, &["sales", "--as", "nobody"]);
    assert!(ran.code == Some(3) && ran.stdout.contains("no attribute client_id"), "{ran:?}");

    // Refused because of invalid arguments.
    let (code, _) = refused(explained(&app, &admin, "ruled", &json!({ "least": 1 })).await);
    assert_eq!(code, "arguments_invalid");
}

#[tokio::test]
async fn masks_are_told_as_on_or_lifted_and_roles_as_the_reason_for_all_rows() {
    let app = app().await;
    let admin = app.admin_token("alice").await;
    admit(&app, "masked", json!({})).await;
    admit(&app, "lifted", json!({ "unmask": ["tag:person", "sale.phone"] })).await;
    for (name, on) in [("masked", true), ("lifted", false)] {
        let (_, told) = explained(&app, &admin, name, &json!({})).await;
        let sale = told["tables"].as_array().unwrap().iter().find(|table| table["table"] == "sale").unwrap();
        let masks = json!([
            { "column": "buyer", "mask": "redact", "tag": "person", "on": on },
            { "column": "phone", "mask": "partial(prefix 0, suffix 2)", "on": on },
        ]);
        assert_eq!(sale["masks"], masks, "{name}");
        let masked = told["columns"].as_array().unwrap().iter().filter(|column| column.get("masked").is_some());
        assert_eq!(masked.count(), if on { 2 } else { 0 }, "{name}: {told}");
    }
    app.add_principal("boss", "operator", &[]).await;
    app.add_terms(Effect::Allow, Grantee::Role("operator".to_owned()), "*", &json!({})).await;
    let (code, told) = explained(&app, &admin, "boss", &json!({})).await;
    assert_eq!(code, Some(0));
    let sale = told["tables"].as_array().unwrap().iter().find(|table| table["table"] == "sale").unwrap();
    assert_eq!((&sale["rows"], &sale["because_of_roles"]), (&json!("unfiltered"), &json!(["operator"])));
    let ran = run(&app, &["sales", "--as", "boss"]);
    has(&lines(&ran.stdout), "sale all: role operator");
}

#[tokio::test]
async fn what_can_not_be_explained_is_said() {
    let app = app().await;
    let admin = app.admin_token("alice").await;
    admit(&app, "acme", json!({})).await;
    let ran = run(&app, &["sale", "--as", "acme"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("there is no endpoint `sale`") && ran.stderr.contains("sales"));
    let ran = run(&app, &["sales", "--as", "acne"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("acne"), "{ran:?}");
    assert_eq!(run(&app, &["sales", "--as", "acme", "most"]).code, Some(2));
    for (body, status, code) in [
        (json!({ "principal": "acne", "endpoint": "sales" }), 404, "admin_unknown"),
        (json!({ "principal": "acme", "endpoint": "sale" }), 404, "admin_unknown"),
        (json!({ "principal": "acme" }), 400, "admin_request_malformed"),
        (json!({ "principal": "acme", "endpoint": "sales", "argument": {} }), 400, "admin_request_malformed"),
    ] {
        let answer = app.admin(&admin, "POST", "/admin/explain", body.clone()).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{body}");
    }
    // Modifiers are explained as in the call itself.
    let body = |select: &str| json!({ "principal": "acme", "endpoint": "sales", "select": select });
    let answer = app.admin(&admin, "POST", "/admin/explain", body("id")).await;
    assert_eq!(answer.json()["allowed"], true);
    let answer = app.admin(&admin, "POST", "/admin/explain", body("nothing")).await;
    assert_eq!(
        (&answer.json()["allowed"], &answer.json()["refusal"]["code"]),
        (&json!(false), &json!("arguments_invalid"))
    );
}

#[tokio::test]
async fn the_audit_log_is_searched_over_the_admin_api() {
    let app = app().await;
    let admin = app.admin_token("alice").await;
    admit(&app, "acme", json!({})).await;
    let token = app.token("acme", None).await;
    app.add_principal("globex", "client", &attributes()).await;
    let other = app.token("globex", None).await;
    assert_eq!(app.get(&token, "/api/sales").await.status, 200);
    assert_eq!(app.get(&token, "/api/sales?most=x").await.status, 400);
    let refused = app.get(&other, "/api/sales").await;
    assert_eq!(refused.status, 403);
    let request_id = refused.headers["x-request-id"].to_str().unwrap().to_owned();
    app.audit.flush().await;
    let search = async |query: &str| {
        let answer = app.admin(&admin, "GET", &format!("/admin/audit?{query}"), Json::Null).await;
        answer.rows()
    };
    // Explain requests are recorded too, but only endpoint calls are counted here.
    for (query, wanted) in [
        ("endpoint=sales", 3),
        ("endpoint=sales&principal=acme", 2),
        ("endpoint=sales&outcome=refused", 2),
        ("endpoint=sales&status=400", 1),
        ("endpoint=sales&code=access_not_granted", 1),
        ("endpoint=sales&kind=request&limit=2", 2),
        ("endpoint=sales&kind=change", 0),
        ("endpoint=sales&since=2001-01-01", 3),
        ("endpoint=sales&until=2001-01-01", 0),
        ("endpoint=nothing", 0),
        (&format!("request_id={request_id}"), 1),
    ] {
        assert_eq!(search(query).await.len(), wanted, "{query}");
    }
    let last = search("endpoint=sales&limit=1").await;
    assert_eq!((&last[0]["principal"], &last[0]["code"]), (&json!("globex"), &json!("access_not_granted")));
    for query in ["endpont=sales", "status=many", "since=soonish", "limit=x"] {
        let answer = app.admin(&admin, "GET", &format!("/admin/audit?{query}"), Json::Null).await;
        assert_eq!(answer.problem(), (400, "admin_request_malformed".to_owned()), "{query}");
    }
}
