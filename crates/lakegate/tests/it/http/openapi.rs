//! `GET /api/openapi.json`: it shows each caller exactly what it may call, and nothing about the project's policies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

use axum::body::Body;
use axum::http::Request;
use lakegate::http::status_of;
use lakegate::sample::Sample;
use lakegate_core::access::{Effect, Grantee};
use lakegate_core::error::{CODES, Code};
use lakegate_core::project::name::RESERVED_PARAMETERS;
use lakegate_core::value::{Scalar, Value};
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;

const CONFIG: &str = r#"
[lake]
location = "lake"
[access]
store = "sqlite:access.db"
secret_attributes = ["ward"]
[tables.visit_records]
location = "visits.csv"
row_filter = "ward IN (principal('ward'))"
unfiltered_for = ["auditor"]
[tables.visit_records.columns.patient_name]
mask = { kind = "partial", prefix = 1 }
tags = ["pii"]
[tables.visit_records.columns.weight]
mask = "null"
[tags.pii]
"#;

const VISITS: &str =
    "id,ward,patient_name,day,weight,city\n1,7,Canary,2022-01-01,70.5,rome\n2,8,Other,2022-01-02,,oslo\n";

const VISITS_SQL: &str = r#"/*---
summary = "Visits"
description = "One row a visit."

[params.from]
type = "date"
default = "2000-01-01"
description = "The first day"

[params.to]
type = "date"
required = false
example = "2022-01-31"

[params.city]
type = "string"
required = false
max_length = 10

[params.ids]
type = "integer[]"
required = false
max_items = 3

[[rules]]
check = "$from <= $to"
message = "from must not be after to"
---*/
SELECT id, patient_name, day, weight, city AS town FROM visit_records AS vr
WHERE day >= $from AND ($to IS NULL OR day <= $to) AND ($city IS NULL OR city = $city)
  AND ($ids IS NULL OR id IN ($ids))"#;

const COUNT_SQL: &str =
    "/*---\nsummary = \"How many\"\nhidden = true\n---*/\nSELECT count(*) AS visits FROM visit_records";

async fn app() -> TestApp {
    TestApp::project(&[
        ("lakegate.toml", CONFIG),
        ("lake/visits.csv", VISITS),
        ("endpoints/visits.sql", VISITS_SQL),
        ("endpoints/count_visits.sql", COUNT_SQL),
    ])
    .await
}

/// A caller of ward 7 with grants of these terms on one endpoint. Returns its token.
async fn admit(app: &TestApp, name: &str, endpoint: &str, terms: &[Json]) -> String {
    app.add_principal(name, "nurse", &[("ward", Value::Scalar(Scalar::Integer(7)))]).await;
    for terms in terms {
        app.add_terms(Effect::Allow, Grantee::Principal(name.to_owned()), endpoint, terms).await;
    }
    app.token(name, None).await
}

async fn document(app: &TestApp, token: &str) -> Json {
    let got = app.get(token, "/api/openapi.json").await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.headers["content-type"], "application/json");
    assert!(got.headers["cache-control"].to_str().unwrap().contains("private"));
    check_references(&got.json(), &got.json());
    got.json()
}

/// Asserts that each `$ref` resolves.
fn check_references(document: &Json, part: &Json) {
    match part {
        Json::Object(members) => {
            if let Some(Json::String(reference)) = members.get("$ref") {
                assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
            }
            members.values().for_each(|member| check_references(document, member));
        }
        Json::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

fn paths(document: &Json) -> Vec<&str> {
    document["paths"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn columns<'a>(document: &'a Json, endpoint: &str) -> Vec<&'a str> {
    let row = &document["components"]["schemas"][format!("{endpoint}_row")]["properties"];
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

fn parameter<'a>(document: &'a Json, name: &str) -> &'a Json {
    let parameters = document["paths"]["/api/visits"]["get"]["parameters"].as_array().unwrap();
    parameters.iter().find(|parameter| parameter["name"] == name).unwrap()
}

#[tokio::test]
async fn the_document_of_one_caller_is_this() {
    let app = app().await;
    let terms = json!({
        "columns": ["id", "day", "weight"],
        "parameters": { "city": { "fixed": "rome" }, "from": { "min": "2020-01-01" } },
        "spans": [{ "from": "from", "to": "to", "at_most": "31d" }],
        "max_rows": 100,
    });
    let token = admit(&app, "nora", "visits", &[terms]).await;
    let mut document = document(&app, &token).await;
    // Remove the lists of error codes, because they grow; another test checks that each code is listed.
    document["components"].as_object_mut().unwrap().remove("responses");
    document["components"]["schemas"].as_object_mut().unwrap().retain(|name, _| name.starts_with("visits"));
    for operation in ["get", "post"] {
        document["paths"]["/api/visits"][operation]["responses"]
            .as_object_mut()
            .unwrap()
            .retain(|status, _| status == "200");
    }
    document["paths"].as_object_mut().unwrap().remove("/api");
    document["info"]["version"] = "a digest".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}

#[tokio::test]
async fn each_caller_has_a_document_of_its_own_grants() {
    let app = app().await;
    let whole = document(&app, &admit(&app, "whole", "*", &[json!({})]).await).await;
    assert_eq!(paths(&whole), ["/api", "/api/count_visits", "/api/visits"]);
    assert_eq!(columns(&whole, "visits"), ["id", "patient_name", "day", "weight", "town"]);
    assert_eq!(parameter(&whole, "city")["schema"]["maxLength"], 10);

    let narrow = document(&app, &admit(&app, "narrow", "visits", &[json!({ "columns": ["id"] })]).await).await;
    assert_eq!(paths(&narrow), ["/api", "/api/visits"]);
    assert_eq!(columns(&narrow, "visits"), ["id"]);
    assert_eq!(parameter(&narrow, "select")["schema"]["items"]["enum"], json!(["id"]));
    assert_eq!(parameter(&narrow, "order")["schema"]["items"]["enum"], json!(["id", "id.desc"]));
    let text = narrow.to_string();
    for hidden in ["count_visits", "patient_name", "town", "weight"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }

    // A denial overrides a grant, and an expired grant or one for another principal has no effect.
    let denied = admit(&app, "denied", "*", &[json!({})]).await;
    app.add_terms(Effect::Deny, Grantee::Principal("denied".to_owned()), "visits", &json!({ "columns": ["day"] }))
        .await;
    app.add_terms(Effect::Deny, Grantee::Role("nurse".to_owned()), "count_visits", &json!({})).await;
    let of_denied = document(&app, &denied).await;
    assert_eq!(paths(&of_denied), ["/api", "/api/visits"]);
    assert_eq!(columns(&of_denied, "visits"), ["id", "patient_name", "weight", "town"]);
    let nothing = document(&app, &admit(&app, "nobody", "visits", &[]).await).await;
    assert_eq!(paths(&nothing), ["/api"]);
    let gone = json!({ "columns": ["no_such_column"] });
    assert_eq!(paths(&document(&app, &admit(&app, "gone", "visits", &[gone]).await).await), ["/api"]);

    // A caller with the current document gets 304. A validator from another caller's document reveals nothing.
    let with = async |token: &str, validator: &str| {
        let request = Request::get("/api/openapi.json").header("token", token).header("if-none-match", validator);
        app.send(request.body(Body::empty()).unwrap()).await
    };
    let whole_token = admit(&app, "whole_again", "*", &[json!({})]).await;
    let first = app.get(&whole_token, "/api/openapi.json").await;
    assert_eq!(first.headers["cache-control"], "private, no-cache");
    let validator = first.headers["etag"].to_str().unwrap();
    let unchanged = with(&whole_token, validator).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(with(&denied, validator).await.status, 200);
    assert_eq!(with("lg_unknown", validator).await.status, 401);

    // The version depends only on the document's content.
    let again = document(&app, &admit(&app, "again", "visits", &[json!({ "columns": ["id"] })]).await).await;
    assert_eq!(again, narrow);
    assert_ne!(again["info"]["version"], whole["info"]["version"]);
}

#[tokio::test]
async fn what_a_grant_asks_is_in_the_document_of_its_caller_alone() {
    let app = app().await;
    let terms =
        json!({ "parameters": { "city": { "one_of": ["canaryton", "oslo"] }, "from": { "fixed": "2021-12-24" } } });
    let narrow = document(&app, &admit(&app, "narrow", "visits", &[terms]).await).await;
    assert_eq!(parameter(&narrow, "city")["required"], true);
    assert_eq!(parameter(&narrow, "city")["schema"]["enum"], json!(["canaryton", "oslo"]));
    let from = parameter(&narrow, "from");
    assert_eq!((&from["required"], &from["schema"]["const"]), (&json!(false), &json!("2021-12-24")));
    assert!(from["description"].as_str().unwrap().contains("Your grant fixes this value"));
    let other = document(&app, &admit(&app, "other", "visits", &[json!({})]).await).await.to_string();
    for of_another in ["canaryton", "2021-12-24", "Your grant"] {
        assert!(!other.contains(of_another), "{of_another}");
    }
}

/// The document contains no SQL, no tables or columns of the lake, and no policies, masks, attributes or principals.
#[tokio::test]
async fn nothing_of_the_project_behind_the_endpoints_is_told() {
    let app = app().await;
    let own = json!({ "parameters": { "ids": { "attribute": "ward" } } });
    for (name, terms) in [("lena", own), ("mira", json!({ "unmask": ["tag:pii"], "max_rows": 5 }))] {
        let token = admit(&app, name, "*", &[terms]).await;
        let text = document(&app, &token).await.to_string();
        for secret in [
            "SELECT",
            "visit_records",
            "visits.csv",
            "vr",
            "ward",
            "auditor",
            "nurse",
            "partial",
            "mask",
            "pii",
            "row_filter",
            "Canary",
            "min_group",
            "lake/",
            name,
            "$from",
            "sqlite",
            "tag:",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn the_document_needs_a_token() {
    let app = app().await;
    let got = app.send(Request::get("/api/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!(got.problem(), (401, "access_token_missing".to_owned()));
    assert_eq!(app.get("lg_unknown", "/api/openapi.json").await.problem(), (401, "access_token_unknown".to_owned()));
    let admin = app.admin_token("chief").await;
    assert_eq!(app.get(&admin, "/api/openapi.json").await.problem(), (403, "access_admin_token".to_owned()));
    let token = admit(&app, "a", "*", &[json!({})]).await;
    assert_eq!(app.post(&token, "/api/openapi.json", &json!({})).await.problem().0, 405);
}

/// Each error code is listed: under the status that it comes with, or as part of a problem.
#[tokio::test]
async fn every_code_is_in_the_document() {
    let app = app().await;
    let document = document(&app, &admit(&app, "a", "*", &[json!({})]).await).await;
    let responses = document["components"]["responses"].as_object().unwrap();
    let mut found = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let Some(reference) = response["$ref"].as_str() else { continue };
                let response = &responses[reference.rsplit('/').next().unwrap()];
                let Some(content) = response.get("content") else {
                    assert_eq!((method.as_str(), status.as_str()), ("get", "304"));
                    continue;
                };
                let schema = &content["application/problem+json"]["schema"]["properties"];
                assert_eq!(schema["status"]["const"].to_string(), *status);
                for code in schema["code"]["enum"].as_array().unwrap() {
                    let known = CODES.iter().find(|known| known.name() == code).unwrap();
                    assert_eq!(status_of(*known).to_string(), *status, "{method} {path}");
                    found.insert(known.name());
                }
            }
        }
    }
    let schemas = &document["components"]["schemas"];
    let listed = |codes: &Json| {
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let (all, parts) = (listed(&schemas["Code"]["enum"]), listed(&schemas["Fault"]["properties"]["code"]["enum"]));
    for code in CODES {
        // Codes of the admin listener, and codes for operators.
        let others = ["admin_", "health_"];
        if *code == Code::AccessNotAdmin || others.iter().any(|stage| code.name().starts_with(stage)) {
            assert!(!all.contains(code.name()), "{code}");
            continue;
        }
        assert!(all.contains(code.name()), "{code}");
        // No request in the document can return these two codes.
        let is_elsewhere = matches!(code, Code::RequestPathUnknown | Code::RequestMethodNotAllowed);
        assert!(is_elsewhere || found.contains(code.name()) || parts.contains(code.name()), "{code}");
    }
}

/// The document lists all inputs besides arguments that the server accepts, and no others.
#[tokio::test]
async fn the_modifiers_and_formats_are_those_that_the_server_takes() {
    let app = app().await;
    let token = admit(&app, "a", "visits", &[json!({})]).await;
    let document = document(&app, &token).await;
    let operations = &document["paths"]["/api/visits"];
    for method in ["get", "post"] {
        let parameters = operations[method]["parameters"].as_array().unwrap();
        let named = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
        for name in RESERVED_PARAMETERS {
            let answer = app.get(&token, &format!("/api/visits?{name}=1")).await;
            let is_unknown = answer.status == 400 && answer.text().contains("argument_unknown");
            assert_eq!(named(name), !is_unknown, "{method} {name}: {}", answer.text());
        }
    }
    let formats = &parameter(&document, "format")["schema"]["enum"];
    let content = &operations["get"]["responses"]["200"]["content"];
    for name in ["json", "ndjson", "csv", "arrow", "parquet", "xlsx", "xml"] {
        let answer = app.get(&token, &format!("/api/visits?format={name}")).await;
        assert_eq!(formats.as_array().unwrap().contains(&json!(name)), answer.status == 200, "{name}");
        if answer.status == 200 {
            let media_type = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
            assert!(content[media_type].is_object(), "{name} {media_type}");
        }
    }
}

/// The document describes all response headers, except for those that each HTTP client knows.
#[tokio::test]
async fn the_headers_of_answers_are_in_the_document() {
    const OF_HTTP: [&str; 8] = [
        "allow",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-type",
        "vary",
        "x-content-type-options",
    ];
    let app = app().await;
    let token = admit(&app, "a", "visits", &[json!({})]).await;
    let document = document(&app, &token).await;
    let responses = &document["paths"]["/api/visits"]["get"]["responses"];
    for (token, path) in [
        (token.as_str(), "/api/visits"),
        (&token, "/api/visits?other=1"),
        (&token, "/api/visits?from=2022-02-01&to=2022-01-01"),
        ("lg_unknown", "/api/visits"),
    ] {
        let answer = app.get(token, path).await;
        let response = &responses[answer.status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => response,
        };
        let documented = response["headers"].as_object().unwrap().keys().map(|name| name.to_ascii_lowercase());
        let documented = documented.collect::<BTreeSet<_>>();
        for name in answer.headers.keys().map(|name| name.as_str()).filter(|name| !OF_HTTP.contains(name)) {
            assert!(documented.contains(name), "{name} of {} {path}", answer.status);
        }
    }
}

/// Responses of the sample match their schemas in the document, for a caller with masks and one without.
#[tokio::test]
async fn answers_fit_their_schemas() {
    let sample = Sample::new(5, 0.01).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    let client = [("client_id", Value::Scalar(Scalar::Integer(sample.biggest_client().id)))];
    let plain = app.admit("plain", "client", &client).await;
    app.add_principal("masked", "client", &client).await;
    app.add_terms(Effect::Allow, Grantee::Principal("masked".to_owned()), "*", &json!({})).await;
    let masked = app.token("masked", None).await;
    let operator = app.admit("operator", "operator", &[]).await;
    for token in [plain, masked, operator] {
        let document = document(&app, &token).await;
        for path in paths(&document).into_iter().filter(|path| *path != "/api") {
            let mut schema = document.clone();
            let content = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"];
            schema["$ref"] = json!("#/$defs/answer");
            schema["$defs"] = json!({ "answer": content["schema"] });
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            let example = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"];
            for body in [example, &json!({ "start_datetime": "2000-01-01", "end_datetime": "2100-01-01" })] {
                let rows = app.post(&token, path, body).await.rows();
                let faults =
                    validator.iter_errors(&Json::from(rows)).map(|fault| fault.to_string()).collect::<Vec<_>>();
                assert_eq!(faults, [""; 0], "{path}");
            }
        }
    }
}

/// The command prints the document that the principal's token gets.
#[tokio::test]
async fn the_command_prints_the_same_document() {
    let app = app().await;
    let token = admit(&app, "nora", "visits", &[json!({ "columns": ["id"] })]).await;
    let served = document(&app, &token).await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakegate"));
        command.arg("endpoints").args(arguments).arg("--project").arg(app.folder.path()).output().unwrap()
    };
    let ran = run(&["--openapi", "--as", "nora"]);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(serde_json::from_slice::<Json>(&ran.stdout).unwrap(), served);
    assert_eq!(run(&["--openapi"]).status.code(), Some(2));
    let unknown = run(&["--openapi", "--as", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nobody"));
}
