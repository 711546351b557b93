//! Rights of a JWT caller: grants from the store, attributes and roles from the claims, and a scope that narrows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use lakegate::clock;
use lakegate::store::{Store, StoreLocation};
use lakegate_core::access::{EndpointPattern, Grantee, Presented};
use lakegate_core::value::{Scalar, Value};
use serde_json::{Value as Json, json};

use crate::http::refusals::refused;
use crate::support::app::{TestApp, by};
use crate::support::eventually::{eventually_async, within};
use crate::support::issuer::{Signer, config, key_set, serve, with};

async fn app() -> TestApp {
    serve(&config("keys.json", "EdDSA"), &[("keys.json", &key_set(&[&Signer::ed()]))]).await
}

/// The app of [`app`], with each endpoint granted to the role that the claims map to.
async fn granting() -> TestApp {
    let app = app().await;
    app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::All, None).await;
    app
}

fn token(change: Json) -> String {
    Signer::ed().sign(&with(change))
}

async fn get(app: &TestApp, change: Json, path: &str) -> (u16, String) {
    let answer = app.get(&token(change), path).await;
    if answer.status == 200 { (200, String::new()) } else { refused(&answer) }
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn listed(app: &TestApp, change: Json) -> Vec<String> {
    let answer = app.get(&token(change), "/api").await.json();
    answer["endpoints"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn without_a_grant_nobody_may_and_grants_count_at_once() {
    let app = app().await;
    let not_granted = no(403, "access_not_granted");
    assert_eq!(get(&app, json!({}), "/api/one").await, not_granted);
    assert!(listed(&app, json!({})).await.is_empty());
    assert_eq!(get(&app, json!({}), "/api/nothing").await, no(404, "endpoint_unknown"));

    app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::Named("one".to_owned()), None).await;
    assert_eq!(get(&app, json!({}), "/api/one").await.0, 200);
    assert_eq!(get(&app, json!({ "roles": [] }), "/api/one").await, not_granted);
    assert_eq!(get(&app, json!({}), "/api/own").await, not_granted);
    assert_eq!(listed(&app, json!({})).await, ["one"]);

    // A grant to this principal only, which must exist in the store for that.
    app.add_principal("acme:bob", "nothing", &[]).await;
    app.grant(Grantee::Principal("acme:bob".to_owned()), EndpointPattern::Named("own".to_owned()), None).await;
    assert_eq!(get(&app, json!({}), "/api/own").await.0, 200);
    assert_eq!(get(&app, json!({ "sub": "eve" }), "/api/own").await, not_granted);

    for listing in app.store.grants().await.unwrap() {
        by(&app.store).revoke_grant(&listing.grant.id, clock::now()).await.unwrap();
    }
    assert_eq!(get(&app, json!({}), "/api/one").await, not_granted);
    assert_eq!(get(&app, json!({}), "/api/own").await, not_granted);
}

#[tokio::test]
async fn rows_are_those_of_the_claims() {
    let app = granting().await;
    for (client, rows) in [(7, json!([{ "n": 1 }])), (8, json!([{ "n": 2 }])), (9, json!([]))] {
        let answer = app.get(&token(json!({ "client_id": client })), "/api/own").await;
        assert_eq!(Json::from(answer.rows()), rows);
    }
    let missing = no(403, "access_attribute_missing");
    assert_eq!(get(&app, json!({ "client_id": null }), "/api/own").await, missing);
    assert_eq!(get(&app, json!({ "client_id": null }), "/api/one").await.0, 200, "no policy asks for it");

    // Attributes and roles in the store do not add to the claims.
    let eight = Value::Scalar(Scalar::Integer(8));
    app.add_principal("acme:bob", "operator", &[("client_id", eight)]).await;
    assert_eq!(get(&app, json!({ "client_id": null }), "/api/own").await, missing);
    assert_eq!(app.get(&token(json!({})), "/api/own").await.rows(), [json!({ "n": 1 })]);
}

/// The role `operator` sees all rows, and no claim maps to it.
#[tokio::test]
async fn a_claim_gives_no_role_that_is_not_mapped() {
    let app = granting().await;
    app.grant(Grantee::Role("operator".to_owned()), EndpointPattern::All, None).await;
    for roles in
        [json!(["operator"]), json!("operator"), json!(["partner"]), json!(["partner-users,operator"]), json!([])]
    {
        assert_eq!(get(&app, json!({ "roles": roles }), "/api/own").await, no(403, "access_not_granted"), "{roles}");
    }
    for roles in [json!(["operator", "partner-users"]), json!("operator partner-users")] {
        assert_eq!(app.get(&token(json!({ "roles": roles })), "/api/own").await.rows(), [json!({ "n": 1 })]);
    }
    let jwt = Presented::from_bytes(token(json!({ "roles": ["operator", "partner-users", "x"] })).as_bytes()).unwrap();
    let (principal, _) = app.app.served().identity.authenticate(&jwt, clock::now()).await.unwrap();
    assert_eq!(principal.roles().collect::<Vec<_>>(), ["partner"]);
    assert_eq!((principal.name(), principal.token_id()), ("acme:bob", "jwt:acme:j-1"));
}

#[tokio::test]
async fn a_scope_only_narrows() {
    let app = granting().await;
    let out = no(403, "access_out_of_scope");
    assert_eq!(listed(&app, json!({})).await, ["one", "own"]);
    let one = json!({ "scope": "openid lakegate:one" });
    assert_eq!(get(&app, one.clone(), "/api/one").await.0, 200);
    assert_eq!(get(&app, one.clone(), "/api/own").await, out);
    assert_eq!(listed(&app, one).await, ["one"]);
    for none in [Json::Null, json!(""), json!("one own"), json!("lakegate:*"), json!("lakegate:"), json!([])] {
        assert_eq!(get(&app, json!({ "scope": none }), "/api/one").await, out, "{none}");
        assert!(listed(&app, json!({ "scope": none })).await.is_empty());
    }
    // A scope is not a grant.
    assert_eq!(get(&app, json!({ "roles": [] }), "/api/one").await, no(403, "access_not_granted"));
}

#[tokio::test]
async fn who_is_disabled_is_locked_out_at_once() {
    let app = granting().await;
    let token = token(json!({}));
    for _ in 0..3 {
        assert_eq!(app.get(&token, "/api/one").await.status, 200);
    }
    app.add_principal("acme:bob", "nothing", &[]).await;
    assert_eq!(app.get(&token, "/api/one").await.status, 200);
    by(&app.store).disable_principal("acme:bob", clock::now()).await.unwrap();
    assert_eq!(refused(&app.get(&token, "/api/one").await), no(401, "access_principal_disabled"));
    assert_eq!(get(&app, json!({ "sub": "alice" }), "/api/one").await.0, 200);
    by(&app.store).enable_principal("acme:bob", clock::now()).await.unwrap();
    assert_eq!(app.get(&token, "/api/one").await.status, 200);

    // When another process disables the principal, that takes effect within moments.
    let location = StoreLocation::parse("sqlite:access.db", app.folder.path()).unwrap();
    by(&Store::open(&location).await.unwrap()).disable_principal("acme:bob", clock::now()).await.unwrap();
    let is_refused = async || app.get(&token, "/api/one").await.status != 200;
    within(Duration::from_secs(5), "the principal is locked out", is_refused).await;
    assert_eq!(refused(&app.get(&token, "/api/one").await), no(401, "access_principal_disabled"));
}

#[tokio::test]
async fn without_the_store_nobody_is_let_in() {
    let app = granting().await;
    let token = token(json!({}));
    assert_eq!(app.get(&token, "/api/one").await.status, 200);
    for entry in std::fs::read_dir(app.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("access.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let is_refused = async || app.get(&token, "/api/one").await.status != 200;
    eventually_async("callers are refused without the store", is_refused).await;
    let unavailable = no(503, "access_store_unavailable");
    assert_eq!(refused(&app.get(&token, "/api/one").await), unavailable);
    // A principal that was never seen before is refused too.
    assert_eq!(get(&app, json!({ "sub": "alice" }), "/api/one").await, unavailable);
}

#[tokio::test]
async fn a_jwt_in_the_url_is_refused_and_not_repeated() {
    let app = granting().await;
    let token = token(json!({}));
    let encoded = token.replace('.', "%2E");
    let unsigned = token.rsplit_once('.').unwrap().0.to_owned() + ".";
    for url in [
        format!("/api/one?x={token}"),
        format!("/api/one?{token}"),
        format!("/api/one?{token}=x"),
        format!("/api/one?x={encoded}"),
        format!("/api/one?x=Bearer+{token}"),
        format!("/api/one?x={unsigned}"),
        format!("/api?x={token}"),
        format!("/api/{token}"),
        format!("/api/{encoded}"),
        format!("/{token}/one"),
        format!("/health/live?x={token}"),
    ] {
        for header in [Some(token.as_str()), None] {
            let mut request = Request::get(&url);
            if let Some(header) = header {
                request = request.header("token", header);
            }
            let answer = app.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(refused(&answer), no(400, "request_token_in_url"), "{url}");
            assert!(!answer.text().contains(&token[..30]));
        }
    }
}

#[tokio::test]
async fn two_different_tokens_are_a_conflict_and_a_jwt_is_kept_nowhere() {
    let app = granting().await;
    let (jwt, kept) = (token(json!({})), app.admit("caller", "client", &[]).await);
    let both = |one: &str, other: &str| {
        let request = Request::get("/api/one").header("authorization", format!("Bearer {one}"));
        request.header("token", other).body(Body::empty()).unwrap()
    };
    assert_eq!(refused(&app.send(both(&jwt, &kept)).await), no(400, "access_token_conflict"));
    assert_eq!(app.send(both(&jwt, &jwt)).await.status, 200);
    assert_eq!(app.get(&kept, "/api/one").await.status, 200);
    assert_eq!(app.store.principals().await.unwrap().len(), 1, "a JWT makes no principal in the store");
}

#[tokio::test]
async fn a_request_is_recorded_under_the_name_and_without_the_jwt() {
    let app = granting().await;
    let good = token(json!({}));
    let expired = token(json!({ "exp": 1_000_000_000, "iat": 999_999_000, "nbf": 999_999_000 }));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for (jwt, status) in [(&good, 200), (&expired, 401), (&forged, 401)] {
        assert_eq!(app.get(jwt, "/api/own").await.status, status);
    }
    let records = crate::audit::records::records(&app).await;
    let told = records.iter().map(|record| json!([record["principal"], record["token"], record["status"]]));
    // An expired token identifies its principal, because its signature is valid; a forged one does not.
    let wanted =
        [json!(["acme:bob", "jwt:acme:j-1", 200]), json!(["acme:bob", "jwt:acme:j-1", 401]), json!([null, null, 401])];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
    let text = json!(records).to_string();
    for part in [&good, &expired, &forged].into_iter().flat_map(|jwt| jwt.split('.').skip(1)) {
        assert!(!text.contains(part), "{part}");
    }
}
