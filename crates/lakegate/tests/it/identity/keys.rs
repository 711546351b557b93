//! Key sets of issuers: accepted keys, key rotation, and behaviour while the keys cannot be fetched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use lakegate::clock;
use lakegate::identity::Identity;
use lakegate_core::access::{EndpointPattern, Grantee, Presented};
use lakegate_core::error::Code;
use serde_json::{Value as Json, json};

use crate::http::refusals::refused;
use crate::support::app::TestApp;
use crate::support::eventually::eventually_async;
use crate::support::issuer::{KeyServer, Reply, Signer, claims, config, key_set, serve};

async fn believing(url: &str) -> TestApp {
    let app = serve(&config(url, "RS256"), &[]).await;
    app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::All, None).await;
    app
}

async fn got(app: &TestApp, signer: &Signer) -> (u16, String) {
    let answer = app.get(&signer.sign(&claims()), "/api/one").await;
    if answer.status == 200 { (200, String::new()) } else { refused(&answer) }
}

fn good() -> (u16, String) {
    (200, String::new())
}

fn unknown() -> (u16, String) {
    (401, "access_token_unknown".to_owned())
}

fn unavailable() -> (u16, String) {
    (503, "access_issuer_unavailable".to_owned())
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_its_tokens_and_a_new_one_counts() {
    let (old, new) = (Signer::rsa(), Signer::other_rsa());
    let server = KeyServer::start(Reply::Body(key_set(&[&old]))).await;
    let app = believing(&server.url).await;
    let token = old.sign(&claims());
    for _ in 0..3 {
        assert_eq!(app.get(&token, "/api/one").await.status, 200);
    }
    server.set(Reply::Body(key_set(&[&new, &old])));
    let before = server.asked();
    for _ in 0..20 {
        assert_eq!(got(&app, &new).await, unknown());
    }
    assert_eq!(server.asked(), before, "a token with an unknown key made the server fetch keys");

    app.app.served().identity.refresh().await;
    assert_eq!((got(&app, &new).await, got(&app, &old).await), (good(), good()));
    server.set(Reply::Body(key_set(&[&new])));
    app.app.served().identity.refresh().await;
    assert_eq!(refused(&app.get(&token, "/api/one").await), unknown(), "a remembered token outlived its key");
    assert_eq!((got(&app, &new).await, got(&app, &old).await), (good(), unknown()));
    // Another key with the old `kid` is a different key.
    server.set(Reply::Body(key_set(&[&Signer { kid: old.kid, ..new.clone() }])));
    app.app.served().identity.refresh().await;
    assert_eq!(refused(&app.get(&token, "/api/one").await), unknown());
    // An empty key set is valid: the issuer has revoked all keys.
    server.set(Reply::Body("{\"keys\": []}".to_owned()));
    app.app.served().identity.refresh().await;
    assert_eq!((got(&app, &new).await, got(&app, &old).await), (unknown(), unknown()));
}

/// Responses of a key server that are not valid key sets.
fn faults(elsewhere: &str) -> Vec<Reply> {
    let jwk = Signer::rsa().jwk();
    let text = |text: &str| Reply::Body(text.to_owned());
    let padded = json!({ "keys": [jwk], "x": "y".repeat(1 << 20) }).to_string();
    vec![
        text(""),
        text("<html>"),
        text("[]"),
        text("{}"),
        text("{\"keys\": {}}"),
        text("{\"keys\": [], \"keys\": []}"),
        text("{\"keys\": []"),
        Reply::Body(padded),
        Reply::Body(json!({ "keys": [jwk, jwk] }).to_string()),
        Reply::Body(json!({ "keys": vec![json!({}); 101] }).to_string()),
        Reply::Status(404),
        Reply::Status(500),
        Reply::Status(204),
        Reply::Redirect(elsewhere.to_owned()),
    ]
}

#[tokio::test]
async fn what_is_no_key_set_leaves_the_old_one() {
    let signer = Signer::rsa();
    let elsewhere = KeyServer::start(Reply::Body(key_set(&[&Signer::other_rsa()]))).await;
    let server = KeyServer::start(Reply::Body(key_set(&[&signer]))).await;
    let app = believing(&server.url).await;
    for fault in faults(&elsewhere.url) {
        server.set(fault.clone());
        let before = server.asked();
        app.app.served().identity.refresh().await;
        assert_eq!(server.asked(), before + 1);
        assert_eq!(got(&app, &signer).await, good(), "{fault:?}");
        assert_eq!(got(&app, &Signer::other_rsa()).await, unknown(), "{fault:?}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
}

#[tokio::test]
async fn an_issuer_without_keys_refuses_and_the_server_goes_on() {
    let signer = Signer::rsa();
    let elsewhere = KeyServer::start(Reply::Body(key_set(&[&signer]))).await;
    let server = KeyServer::start(Reply::Status(503)).await;
    let app = believing(&server.url).await;
    let token = app.admit("caller", "client", &[]).await;
    for fault in faults(&elsewhere.url) {
        server.set(fault.clone());
        app.app.served().identity.refresh().await;
        assert_eq!(got(&app, &signer).await, unavailable(), "{fault:?}");
        assert_eq!(app.get(&token, "/api/one").await.status, 200, "API tokens need no issuer");
        assert_eq!(app.get("", "/health/ready").await.status, 200);
    }
    // Errors that need no keys are still detected.
    let stranger = signer.sign(&crate::support::issuer::with(json!({ "iss": "https://evil.test/" })));
    assert_eq!(refused(&app.get(&stranger, "/api/one").await), unknown());
    server.set(Reply::Body(key_set(&[&signer])));
    app.app.served().identity.refresh().await;
    assert_eq!(got(&app, &signer).await, good());
}

/// At the start, the key server is down, or the key file is missing.
#[tokio::test]
async fn keys_that_come_later_count_from_then_on() {
    let signer = Signer::rsa();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let app = believing(&format!("http://{free}/jwks.json")).await;
    assert_eq!(got(&app, &signer).await, unavailable());

    let app = believing("later/keys.json").await;
    assert_eq!(got(&app, &signer).await, unavailable());
    let path = app.folder.path().join("later/keys.json");
    std::fs::create_dir_all(&path).unwrap();
    app.app.served().identity.refresh().await;
    assert_eq!(got(&app, &signer).await, unavailable(), "a folder is no file");
    std::fs::remove_dir(&path).unwrap();
    // No refresh is requested: after a failure the server retries by itself, at first within seconds.
    std::fs::write(&path, key_set(&[&signer])).unwrap();
    eventually_async("the keys are loaded", async || got(&app, &signer).await == good()).await;
    std::fs::write(&path, key_set(&[&Signer::other_rsa()])).unwrap();
    app.app.served().identity.refresh().await;
    assert_eq!((got(&app, &signer).await, got(&app, &Signer::other_rsa()).await), (unknown(), good()));
}

/// The issuers of a project, with times outside the configurable range.
async fn identity(app: &TestApp, refresh: Duration, max_stale: Duration) -> Identity {
    let mut issuers = app.app.served().config().issuers.clone();
    for issuer in issuers.values_mut() {
        (issuer.refresh, issuer.max_stale) = (refresh, max_stale);
    }
    Identity::start(&issuers, app.folder.path(), app.app.access.clone()).await
}

/// The error code for this token; `None` if it is accepted.
async fn code(identity: &Identity, signer: &Signer) -> Option<Code> {
    let presented = Presented::from_bytes(signer.sign(&claims()).as_bytes()).unwrap();
    identity.authenticate(&presented, clock::now()).await.err().map(|error| error.code)
}

#[tokio::test]
async fn keys_that_are_too_old_let_nobody_in() {
    let signer = Signer::rsa();
    let server = KeyServer::start(Reply::Body(key_set(&[&signer]))).await;
    let app = believing(&server.url).await;
    let identity = identity(&app, Duration::from_secs(3600), Duration::from_millis(500)).await;
    let presented = Presented::from_bytes(signer.sign(&claims()).as_bytes()).unwrap();
    assert!(identity.authenticate(&presented, clock::now()).await.is_ok());
    server.set(Reply::Status(500));
    let mut refusal = None;
    eventually_async("the keys are too old", async || {
        identity.refresh().await;
        refusal = code(&identity, &signer).await;
        refusal.is_some()
    })
    .await;
    assert_eq!(refusal, Some(Code::AccessIssuerUnavailable));
    server.set(Reply::Body(key_set(&[&signer])));
    identity.refresh().await;
    assert!(identity.authenticate(&presented, clock::now()).await.is_ok());
}

#[tokio::test]
async fn keys_are_kept_fresh_in_the_background_until_the_end() {
    let (old, new) = (Signer::rsa(), Signer::other_rsa());
    let server = KeyServer::start(Reply::Body(key_set(&[&old]))).await;
    let app = believing(&server.url).await;
    let identity = identity(&app, Duration::from_millis(20), Duration::from_secs(60)).await;
    assert_eq!(code(&identity, &old).await, None);
    server.set(Reply::Body(key_set(&[&new])));
    eventually_async("the new key is loaded", async || code(&identity, &new).await.is_none()).await;
    assert_eq!(code(&identity, &old).await, Some(Code::AccessTokenUnknown));
}

/// A key that is not meant for these signatures verifies nothing, even under its own `kid`.
#[tokio::test]
async fn only_keys_for_these_signatures_are_taken() {
    let signer = Signer::rsa();
    let jwk = |change: Json| {
        let mut jwk = signer.jwk();
        jwk["kid"] = "changed".into();
        for (name, value) in change.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let n = signer.jwk()["n"].as_str().unwrap().to_owned();
    let server = KeyServer::start(Reply::Status(500)).await;
    let app = believing(&server.url).await;
    let changed = Signer { kid: "changed", ..signer.clone() };
    for (change, fits) in [
        (json!({}), true),
        (json!({ "use": "enc" }), false),
        (json!({ "use": "signature" }), false),
        (json!({ "key_ops": ["verify"] }), true),
        (json!({ "key_ops": ["sign", "encrypt"] }), false),
        (json!({ "key_ops": [] }), false),
        (json!({ "alg": "RS512" }), false),
        (json!({ "alg": "PS256" }), false),
        (json!({ "alg": "RSA-OAEP" }), false),
        (json!({ "alg": "none" }), false),
        (json!({ "alg": null }), true),
        (json!({ "use": null }), true),
        (json!({ "kty": "EC" }), false),
        (json!({ "kty": "oct", "k": n }), false),
        // Weak keys: a short modulus, and exponents that make forging easy.
        (json!({ "n": n[..160] }), false),
        (json!({ "e": "AQ" }), false),
        (json!({ "e": "" }), false),
        (json!({ "e": "Ag" }), false),
        (json!({ "n": "" }), false),
        (json!({ "n": format!("{n}=") }), false),
        (json!({ "kid": 7 }), false),
    ] {
        // Without a second key, a key set with one key would accept it without a `kid`.
        let keys = [jwk(change.clone()), Signer::other_rsa().jwk(), Signer::ec().jwk(), Signer::ed().jwk()];
        server.set(Reply::Body(json!({ "keys": keys }).to_string()));
        app.app.served().identity.refresh().await;
        let wanted = if fits { good() } else { unknown() };
        assert_eq!((got(&app, &changed).await, got(&app, &Signer::other_rsa()).await), (wanted, good()), "{change}");
    }
}

/// Keys of other algorithms in the key set verify nothing, whatever the token's header claims.
#[tokio::test]
async fn a_key_of_another_algorithm_is_not_there() {
    let everybody = Signer::pairs();
    let all = everybody.iter().flat_map(|(one, other)| [one, other]).collect::<Vec<_>>();
    let set = key_set(&all);
    for (signer, _) in &everybody {
        let app = serve(&config("keys.json", &signer.alg()), &[("keys.json", &set)]).await;
        app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::All, None).await;
        for other in &all {
            let wanted = if other.algorithm == signer.algorithm { good() } else { unknown() };
            assert_eq!(got(&app, other).await, wanted, "{} for {}", other.kid, signer.alg());
            let posing = json!({ "alg": signer.alg(), "kid": other.kid }).to_string();
            let token = other.sign_text(&posing, &claims().to_string());
            let answer = app.get(&token, "/api/one").await;
            assert_eq!(answer.status, wanted.0, "{} as {}", other.kid, signer.alg());
        }
    }
}
