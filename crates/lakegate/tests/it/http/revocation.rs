//! A revocation takes effect with the next request on this server, and within moments when another process makes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use lakegate::clock;
use lakegate::store::{Store, StoreLocation};
use lakegate_core::access::{EndpointPattern, Grantee};

use crate::http::refusals::refused;
use crate::support::app::{TestApp, by};
use crate::support::eventually::within;

const CONFIG: &str = "[lake]\nlocation = \"lake/\"\n[tables.one]\nlocation = \"one.csv\"\nshared = true\n";
const SQL: &str = "/*---\nsummary = \"One\"\n---*/\nSELECT n FROM one\n";

/// Promised time until a change by another process takes effect. It usually takes about a second.
const PROMISED: Duration = Duration::from_secs(5);

async fn app() -> TestApp {
    TestApp::project(&[("lakegate.toml", CONFIG), ("lake/one.csv", "n\n1\n"), ("endpoints/one.sql", SQL)]).await
}

/// A change that an operator may make to the store.
#[derive(Clone, Copy, Debug)]
enum Change {
    Revoke,
    Disable,
    RevokeGrant,
}

const CHANGES: [(Change, (u16, &str)); 3] = [
    (Change::Revoke, (401, "access_token_revoked")),
    (Change::Disable, (401, "access_principal_disabled")),
    (Change::RevokeGrant, (403, "access_not_granted")),
];

async fn make(change: Change, store: &Store, token: &str) {
    let now = clock::now();
    match change {
        Change::Revoke => {
            by(store).revoke_token(token.split('_').nth(1).unwrap(), now).await.unwrap();
        }
        Change::Disable => {
            by(store).disable_principal("caller", now).await.unwrap();
        }
        Change::RevokeGrant => {
            for listing in store.grants().await.unwrap() {
                by(store).revoke_grant(&listing.grant.id, now).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_change_on_this_server_counts_at_once() {
    for (change, (status, code)) in CHANGES {
        let app = app().await;
        let token = app.admit("caller", "client", &[]).await;
        // Several times, so that the token is cached.
        for _ in 0..3 {
            assert_eq!(app.get(&token, "/api/one").await.status, 200);
        }
        make(change, &app.store, &token).await;
        assert_eq!(refused(&app.get(&token, "/api/one").await), (status, code.to_owned()), "{change:?}");
        if status == 403 {
            assert_eq!(app.get(&token, "/api").await.json()["endpoints"], serde_json::json!([]));
            let to = Grantee::Principal("caller".to_owned());
            app.grant(to, EndpointPattern::Named("one".to_owned()), None).await;
            assert_eq!(app.get(&token, "/api/one").await.status, 200, "a new grant counts at once too");
        }
    }
}

#[tokio::test]
async fn a_change_by_another_process_counts_within_a_moment() {
    for (change, (status, code)) in CHANGES {
        let app = app().await;
        let token = app.admit("caller", "client", &[]).await;
        assert_eq!(app.get(&token, "/api/one").await.status, 200);
        // A second handle shares only the file with the server.
        let location = StoreLocation::parse("sqlite:access.db", app.folder.path()).unwrap();
        let other = Store::open(&location).await.unwrap();
        make(change, &other, &token).await;
        let mut answer = app.get(&token, "/api/one").await;
        within(PROMISED, &format!("{change:?} takes effect"), async || {
            answer = app.get(&token, "/api/one").await;
            answer.status != 200
        })
        .await;
        assert_eq!(refused(&answer), (status, code.to_owned()), "{change:?}");
    }
}

/// A token that was unknown is not cached as unknown after another process has issued it.
#[tokio::test]
async fn a_token_of_another_process_is_known_within_a_moment() {
    let app = app().await;
    app.admit("caller", "client", &[]).await;
    let token = lakegate::store::new_token().unwrap();
    assert_eq!(refused(&app.get(token.text(), "/api/one").await), (401, "access_token_unknown".to_owned()));
    let location = StoreLocation::parse("sqlite:access.db", app.folder.path()).unwrap();
    let other = Store::open(&location).await.unwrap();
    let request = lakegate::store::TokenRequest::default();
    by(&other).issue_token("caller", &token, request, clock::now()).await.unwrap();
    within(PROMISED, "the token is known", async || app.get(token.text(), "/api/one").await.status == 200).await;
}
