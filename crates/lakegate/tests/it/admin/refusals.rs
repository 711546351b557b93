//! Requests that the admin API refuses: wrong tokens, web pages, and invalid input. Also admin tokens on endpoints.

use axum::body::Body;
use axum::http::Request;
use lakegate::clock;
use serde_json::{Value as Json, json};

use crate::admin::api::FILES;
use crate::support::app::{TestApp, by};

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/admin/principals"),
    ("POST", "/admin/principals"),
    ("GET", "/admin/principals/acme"),
    ("PATCH", "/admin/principals/acme"),
    ("POST", "/admin/principals/acme/disable"),
    ("POST", "/admin/principals/acme/enable"),
    ("GET", "/admin/tokens"),
    ("POST", "/admin/tokens"),
    ("POST", "/admin/tokens/x/rotate"),
    ("POST", "/admin/tokens/x/revoke"),
    ("GET", "/admin/grants"),
    ("POST", "/admin/grants"),
    ("GET", "/admin/grants/x"),
    ("POST", "/admin/grants/x/revoke"),
    ("GET", "/admin/changes"),
    ("POST", "/admin/explain"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/endpoints"),
];

#[tokio::test]
async fn every_route_takes_admin_tokens_alone() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let ordinary = app.admit("acme", "client", &[]).await;
    let before = app.store.change_log(100, None).await.unwrap();
    for (method, path) in ROUTES {
        let send = async |token: &str| app.admin(token, method, path, Json::Null).await.problem();
        assert_eq!(send(&ordinary).await, (403, "access_not_admin".to_owned()), "{method} {path}");
        assert_eq!(send("lg_nobody_knows").await, (401, "access_token_unknown".to_owned()), "{method} {path}");
        let without = Request::builder().method(*method).uri(*path).body(Body::empty()).unwrap();
        let without = app.send_admin(without).await;
        assert_eq!(without.headers["www-authenticate"], "Bearer");
        assert_eq!(without.problem(), (401, "access_token_missing".to_owned()), "{method} {path}");
    }
    assert_eq!(app.store.change_log(100, None).await.unwrap(), before);
    // All three token headers are accepted.
    for (name, value) in [("authorization", format!("Bearer {admin}")), ("x-api-key", admin.clone()), ("token", admin)]
    {
        let request = Request::get("/admin/tokens").header(name, value).body(Body::empty()).unwrap();
        assert_eq!(app.send_admin(request).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn an_admin_token_calls_no_endpoint() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    by(&app.store)
        .add_grant(
            lakegate::store::GrantRequest::new(
                lakegate_core::access::Grantee::Principal("alice".to_owned()),
                lakegate_core::access::EndpointPattern::All,
            ),
            clock::now(),
        )
        .await
        .unwrap();
    let refused = (403, "access_admin_token".to_owned());
    assert_eq!(app.get(&admin, "/api").await.problem(), refused);
    for endpoint in ["cities", "inside?id=1", "nothing"] {
        assert_eq!(app.get(&admin, &format!("/api/{endpoint}")).await.problem(), refused);
    }
    assert_eq!(app.post(&admin, "/api/cities", &json!({})).await.problem(), refused);
    // Only the admin router has the admin routes.
    assert_eq!(app.get(&admin, "/admin/tokens").await.problem(), (404, "request_path_unknown".to_owned()));
}

#[tokio::test]
async fn what_ended_is_refused_at_once() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let other = app.admin_token("bob").await;
    let id = admin.split('_').nth(1).unwrap();
    let ask = async |token: &str| app.admin(token, "GET", "/admin/tokens", Json::Null).await;
    assert_eq!(ask(&admin).await.status, 200);
    assert_eq!(app.admin(&other, "POST", &format!("/admin/tokens/{id}/revoke"), Json::Null).await.status, 200);
    assert_eq!(ask(&admin).await.problem(), (401, "access_token_revoked".to_owned()));
    by(&app.store).disable_principal("bob", clock::now()).await.unwrap();
    assert_eq!(ask(&other).await.problem(), (401, "access_principal_disabled".to_owned()));
}

#[tokio::test]
async fn what_makes_no_sense_gets_a_problem_that_says_so() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    app.add_principal("acme", "client", &[]).await;
    let token = app.token("acme", None).await;
    let id = token.split('_').nth(1).unwrap();
    let grant = json!({ "principal": "acme", "endpoint": "cities" });
    let grant_id = app.admin(&admin, "POST", "/admin/grants", grant).await.json()["id"].as_str().unwrap().to_owned();
    let long = json!({ "principal": "acme", "endpoint": "cities", "expires_in": "1d" });
    let whole = format!("/admin/tokens/{token}/revoke");
    let before = app.store.change_log(1000, None).await.unwrap();

    let cases = [
        // Not found.
        ("GET", "/admin/principals/nobody", Json::Null, 404, "admin_unknown"),
        ("PATCH", "/admin/principals/nobody", json!({ "add_roles": ["a"] }), 404, "admin_unknown"),
        ("POST", "/admin/principals/nobody/disable", Json::Null, 404, "admin_unknown"),
        ("POST", "/admin/principals/nobody/enable", Json::Null, 404, "admin_unknown"),
        ("GET", "/admin/tokens?principal=nobody", Json::Null, 404, "admin_unknown"),
        ("GET", "/admin/grants?principal=nobody", Json::Null, 404, "admin_unknown"),
        ("POST", "/admin/tokens", json!({ "principal": "nobody" }), 404, "admin_unknown"),
        ("POST", "/admin/tokens/nothing/revoke", Json::Null, 404, "admin_unknown"),
        ("POST", "/admin/tokens/nothing/rotate", Json::Null, 404, "admin_unknown"),
        ("GET", "/admin/grants/nothing", Json::Null, 404, "admin_unknown"),
        ("POST", "/admin/grants/nothing/revoke", Json::Null, 404, "admin_unknown"),
        ("POST", "/admin/grants", json!({ "principal": "nobody", "endpoint": "*" }), 404, "admin_unknown"),
        // Already exists.
        ("POST", "/admin/principals", json!({ "name": "acme" }), 409, "admin_exists"),
        ("POST", "/admin/grants", long, 409, "admin_exists"),
        // Invalid.
        ("POST", "/admin/principals", json!({ "name": "a b" }), 422, "admin_refused"),
        ("POST", "/admin/principals", json!({ "name": "b", "roles": ["1"] }), 422, "admin_refused"),
        ("POST", "/admin/principals", json!({ "name": "b", "attributes": { "x": null } }), 422, "admin_refused"),
        ("POST", "/admin/principals", json!({ "name": "b", "attribute_types": { "x": "date" } }), 422, "admin_refused"),
        ("PATCH", "/admin/principals/acme", json!({}), 422, "admin_refused"),
        ("PATCH", "/admin/principals/acme", json!({ "remove_roles": ["nothing"] }), 422, "admin_refused"),
        ("POST", "/admin/tokens", json!({ "principal": "acme", "expires_at": "2001-01-01" }), 422, "admin_refused"),
        ("POST", "/admin/tokens", json!({ "principal": "acme", "expires_at": "soon" }), 422, "admin_refused"),
        ("POST", "/admin/tokens", json!({ "principal": "acme", "expires_in": "1y" }), 422, "admin_refused"),
        ("POST", "/admin/tokens", json!({ "principal": "acme", "label": token }), 422, "admin_refused"),
        (
            "POST",
            "/admin/tokens",
            json!({ "principal": "acme", "admin": true, "scope": { "masked": true } }),
            422,
            "admin_refused",
        ),
        ("POST", "/admin/grants", json!({ "endpoint": "*" }), 422, "admin_refused"),
        ("POST", "/admin/grants", json!({ "principal": "acme", "role": "a", "endpoint": "*" }), 422, "admin_refused"),
        ("POST", "/admin/grants", json!({ "role": "a", "endpoint": "a b" }), 422, "admin_refused"),
        ("POST", "/admin/grants", json!({ "role": "a", "endpoint": "*", "effect": "maybe" }), 422, "admin_refused"),
        (
            "POST",
            "/admin/grants",
            json!({ "role": "a", "endpoint": "*", "effect": "deny", "terms": { "max_rows": 1 } }),
            422,
            "admin_refused",
        ),
        ("GET", "/admin/grants?principal=acme&role=client", Json::Null, 422, "admin_refused"),
        ("GET", "/admin/changes?limit=0", Json::Null, 422, "admin_refused"),
        // Malformed for this path.
        ("POST", "/admin/principals", Json::Null, 400, "admin_request_malformed"),
        ("POST", "/admin/principals", json!({ "name": "b", "rolls": [] }), 400, "admin_request_malformed"),
        ("POST", "/admin/principals", json!({ "name": 7 }), 400, "admin_request_malformed"),
        ("POST", "/admin/principals?name=b", json!({ "name": "b" }), 400, "admin_request_malformed"),
        ("POST", "/admin/principals/acme/disable", json!({ "now": true }), 400, "admin_request_malformed"),
        (
            "POST",
            "/admin/grants",
            json!({ "role": "a", "endpoint": "*", "terms": { "row": 1 } }),
            400,
            "admin_request_malformed",
        ),
        ("GET", "/admin/tokens?activ=true", Json::Null, 400, "admin_request_malformed"),
        ("GET", "/admin/tokens?active=perhaps", Json::Null, 400, "admin_request_malformed"),
        ("GET", "/admin/changes?limit=x", Json::Null, 400, "admin_request_malformed"),
        ("GET", "/admin/principals/%ff", Json::Null, 400, "admin_request_malformed"),
        ("POST", "/admin/principals", json!(["b"]), 400, "request_body_malformed"),
        ("GET", "/admin/tokens?token=x", Json::Null, 400, "request_token_in_url"),
        ("POST", &whole, Json::Null, 400, "request_token_in_url"),
        ("GET", "/admin", Json::Null, 404, "request_path_unknown"),
        ("GET", "/api/cities", Json::Null, 404, "request_path_unknown"),
        ("DELETE", "/admin/principals/acme", Json::Null, 405, "request_method_not_allowed"),
        ("GET", "/admin/principals/acme/disable", Json::Null, 405, "request_method_not_allowed"),
    ];
    for (method, path, body, status, code) in cases {
        let said = format!("{method} {path} {body}");
        let answer = app.admin(&admin, method, path, body).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{said}: {}", answer.text());
        assert!(!answer.text().contains(token.rsplit('_').next().unwrap()), "{said}: {}", answer.text());
    }
    assert_eq!(app.store.change_log(1000, None).await.unwrap(), before, "a refusal leaves nothing");

    // A token that ended cannot be rotated again.
    assert_eq!(app.admin(&admin, "POST", &format!("/admin/tokens/{id}/rotate"), Json::Null).await.status, 201);
    let again = app.admin(&admin, "POST", &format!("/admin/tokens/{id}/rotate"), Json::Null).await;
    assert_eq!(again.problem(), (409, "admin_token_ended".to_owned()));
    let ended = app.admin(&admin, "GET", &format!("/admin/grants/{grant_id}"), Json::Null).await;
    assert_eq!(ended.status, 200);
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let send = async |content_type: Option<&str>, body: String| {
        let mut request = Request::post("/admin/principals").header("token", &admin);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        app.send_admin(request.body(Body::from(body)).unwrap()).await
    };
    let body = || json!({ "name": "acme" }).to_string();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        assert_eq!(send(content_type, body()).await.problem(), (415, "request_media_type".to_owned()));
    }
    let json = Some("application/json; charset=utf-8");
    assert_eq!(send(json, "{\"name\"".to_owned()).await.problem(), (400, "request_body_malformed".to_owned()));
    let twice = r#"{"name": "acme", "attributes": {"client_id": 1, "client_id": 2}}"#;
    assert_eq!(send(json, twice.to_owned()).await.problem(), (400, "admin_request_malformed".to_owned()));
    let twice = r#"{"name": "acme", "name": "globex"}"#;
    assert_eq!(send(json, twice.to_owned()).await.problem(), (400, "admin_request_malformed".to_owned()));
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(send(json, large).await.problem(), (413, "request_body_too_large".to_owned()));
    assert_eq!(send(json, body()).await.status, 201);
}

#[tokio::test]
async fn web_pages_are_refused() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let send = async |method: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/admin/tokens").header("token", &admin);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.send_admin(request.body(Body::empty()).unwrap()).await
    };
    let own = ("host", "127.0.0.1:8081");
    for headers in [
        &[own, ("origin", "https://example.com")][..],
        &[own, ("origin", "http://127.0.0.1:9999")],
        &[own, ("origin", "null")],
        &[own, ("origin", "")],
        // A DNS name of somebody else can resolve to this address.
        &[("host", "evil.example:8081"), ("origin", "http://evil.example:8081")],
        &[own, ("sec-fetch-site", "cross-site")],
        &[own, ("sec-fetch-site", "same-site")],
        // A page on such a name sends reads without an `Origin` header.
        &[("host", "rebound.example:8081"), ("sec-fetch-site", "same-origin")],
        &[own, ("origin", "http://127.0.0.1:8081"), ("origin", "http://example.com")],
    ] {
        let answer = send("GET", headers).await;
        assert_eq!(answer.problem(), (403, "admin_origin_refused".to_owned()), "{headers:?}");
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{headers:?}");
    }
    let preflight = send("OPTIONS", &[own, ("access-control-request-method", "POST")]).await;
    assert_eq!(preflight.problem(), (405, "request_method_not_allowed".to_owned()));
    assert!(!preflight.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    for headers in [
        &[own][..],
        &[own, ("origin", "http://127.0.0.1:8081")],
        &[("host", "[::1]:8081"), ("origin", "http://[::1]:8081"), ("sec-fetch-site", "same-origin")],
        &[("host", "localhost:8081"), ("origin", "http://localhost:8081")],
    ] {
        assert_eq!(send("GET", headers).await.status, 200, "{headers:?}");
    }
}
