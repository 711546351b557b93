//! The access store as the server uses it: persistence, lookups, and how soon a change takes effect.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lakegate::store::{
    Access, Expiry, GrantRequest, Granting, NewPrincipal, PrincipalChange, Rotation, Store, StoreError, StoreLocation,
    TokenRequest, new_token,
};
use lakegate_core::access::{EndpointPattern, Grantee, NewToken, PresentedToken, authorize};
use lakegate_core::error::{Code, Error};
use lakegate_core::value::{Scalar, ScalarType, Value};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use crate::support::app::by;
use crate::support::eventually::within;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn folder() -> (TempDir, StoreLocation) {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::parse("sqlite:access.db", folder.path()).unwrap();
    (folder, location)
}

/// A connection that bypasses the store.
async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn add(store: &Store, name: &str, roles: &[&str]) {
    let attributes = BTreeMap::from([("client_id".to_owned(), Value::Scalar(Scalar::Integer(4562)))]);
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    by(store).add_principal(NewPrincipal { name: name.to_owned(), attributes, roles }, at(0)).await.unwrap();
}

async fn issue(store: &Store, principal: &str, expires_at: Option<DateTime<Utc>>) -> NewToken {
    let token = new_token().unwrap();
    by(store)
        .issue_token(principal, &token, TokenRequest { expires_at, ..TokenRequest::default() }, at(0))
        .await
        .unwrap();
    token
}

fn presented(token: &NewToken) -> PresentedToken {
    PresentedToken::parse(token.text()).unwrap()
}

/// The principal's name, or the error code.
async fn who(access: &Access, token: &NewToken, now: DateTime<Utc>) -> Result<String, Code> {
    let authenticated = access.authenticate(&presented(token), now).await;
    authenticated.map(|(principal, _)| principal.name().to_owned()).map_err(|error| error.code)
}

/// The id of the deciding grant, or the error code.
async fn decide(access: &Access, token: &NewToken, endpoint: &str, now: DateTime<Utc>) -> Result<String, Code> {
    let (principal, credential) = access.authenticate(&presented(token), now).await.map_err(|error| error.code)?;
    authorize(&principal, endpoint, &credential.grants, now)
        .map(|authorized| authorized.grants()[0].id.clone())
        .map_err(|refusal| Error::from(refusal).code)
}

/// Polls until the value is as expected. A change must take effect within the promised 5 seconds.
async fn within_5_seconds<T: PartialEq + std::fmt::Debug>(expected: T, mut ask: impl AsyncFnMut() -> T) {
    within(Duration::from_secs(5), &format!("{expected:?}"), async || ask().await == expected).await;
}

#[tokio::test]
async fn a_store_is_made_on_first_use_for_its_owner_alone() {
    let (folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    add(&store, "acme", &["client"]).await;
    #[cfg(unix)]
    for name in ["access.db", "access.db-wal", "access.db-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    store.close().await;
    let reopened = Store::open(&location).await.unwrap();
    let principal = reopened.principal("acme").await.unwrap();
    assert_eq!(principal.roles, BTreeSet::from(["client".to_owned()]));
    assert_eq!(principal.created_at, at(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_can_make_and_write_it_at_once() {
    let (_folder, location) = folder();
    let writers: Vec<_> = (0..12)
        .map(|number| {
            let location = location.clone();
            tokio::spawn(async move {
                let store = Store::open(&location).await.unwrap();
                add(&store, &format!("p{number}"), &[]).await;
                issue(&store, &format!("p{number}"), None).await;
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let store = Store::open(&location).await.unwrap();
    assert_eq!((store.principals().await.unwrap().len(), store.tokens(None).await.unwrap().len()), (12, 12));
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let (folder, location) = folder();
    std::fs::write(location.path(), "hello, I am a text of some length").unwrap();
    assert!(matches!(Store::open(&location).await, Err(StoreError::NotAStore { .. })));
    assert_eq!(std::fs::read_to_string(location.path()).unwrap(), "hello, I am a text of some length");

    let other = StoreLocation::parse("sqlite:other.db", folder.path()).unwrap();
    let mut connection =
        SqliteConnectOptions::new().filename(other.path()).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE mine (x INTEGER)").execute(&mut connection).await.unwrap();
    assert!(matches!(Store::open(&other).await, Err(StoreError::NotAStore { .. })));
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await.unwrap();
    assert_eq!(tables, 1);

    let nowhere = StoreLocation::parse("sqlite:no/such/folder.db", folder.path()).unwrap();
    assert!(matches!(Store::open(&nowhere).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let (_folder, location) = folder();
    Store::open(&location).await.unwrap().close().await;
    let mut connection = raw(location.path()).await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, '', TRUE, x'00', 0)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    assert!(matches!(Store::open(&location).await, Err(StoreError::Newer { found: 999 })));
}

#[tokio::test]
async fn attributes_of_every_type_come_back_as_they_were() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let texts = [
        (ScalarType::String, "it's \"quoted\" — \u{1f600}\n\0; DROP TABLE principals"),
        (ScalarType::Integer, "-9223372036854775808"),
        (ScalarType::Number, "0.1"),
        (ScalarType::Boolean, "true"),
        (ScalarType::Date, "2024-02-29"),
        (ScalarType::Timestamp, "2022-10-01T08:30:00.123456Z"),
        (ScalarType::Uuid, "5ce7f90d-0000-4000-8000-000000000001"),
    ];
    let mut attributes = BTreeMap::new();
    for (scalar, text) in texts {
        let value = scalar.parse(text).unwrap();
        attributes.insert(scalar.name().to_owned(), Value::Scalar(value.clone()));
        attributes.insert(format!("{}s", scalar.name()), Value::List(scalar, vec![value.clone(), value]));
        attributes.insert(format!("no_{}s", scalar.name()), Value::List(scalar, Vec::new()));
    }
    let new = NewPrincipal { name: "acme".to_owned(), attributes: attributes.clone(), roles: BTreeSet::new() };
    by(&store).add_principal(new, at(0)).await.unwrap();
    assert_eq!(store.principal("acme").await.unwrap().attributes, attributes);

    let (access, background) = Access::start(store.clone()).await.unwrap();
    let token = issue(&store, "acme", None).await;
    let (principal, _) = access.authenticate(&presented(&token), at(1)).await.unwrap();
    assert_eq!(*principal.attributes(), attributes);
    background.shutdown().await;
}

#[tokio::test]
async fn no_file_of_the_store_holds_a_token() {
    let (folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    add(&store, "acme", &[]).await;
    let token = issue(&store, "acme", None).await;
    let secret = token.text().rsplit('_').next().unwrap().to_owned();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(20).any(|window| window == &secret.as_bytes()[..20]));
    }
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;

    let good = issue(&store, "acme", Some(at(100))).await;
    assert_eq!(who(&access, &good, at(1)).await, Ok("acme".to_owned()));
    // Served from the cache, but its expiry is still checked on each request.
    assert_eq!(who(&access, &good, at(99)).await, Ok("acme".to_owned()));
    assert_eq!(who(&access, &good, at(100)).await, Err(Code::AccessTokenExpired));
    assert_eq!(who(&access, &new_token().unwrap(), at(1)).await, Err(Code::AccessTokenUnknown));

    let (listing, changed) = by(&store).revoke_token(good.id(), at(2)).await.unwrap();
    assert_eq!((listing.token.revoked_at, changed), (Some(at(2)), true));
    assert_eq!(who(&access, &good, at(3)).await, Err(Code::AccessTokenRevoked));
    assert!(!by(&store).revoke_token(good.id(), at(4)).await.unwrap().1);

    let other = issue(&store, "acme", None).await;
    assert_eq!(who(&access, &other, at(1)).await, Ok("acme".to_owned()));
    assert!(by(&store).disable_principal("acme", at(2)).await.unwrap());
    assert!(!by(&store).disable_principal("acme", at(3)).await.unwrap());
    assert_eq!(who(&access, &other, at(3)).await, Err(Code::AccessPrincipalDisabled));
    assert!(by(&store).enable_principal("acme", at(3)).await.unwrap());
    assert_eq!(who(&access, &other, at(4)).await, Ok("acme".to_owned()));
    background.shutdown().await;
}

#[tokio::test]
async fn grants_of_the_principal_and_of_its_roles_count_and_no_others() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    for (name, roles) in [("acme", &["client"][..]), ("globex", &["client", "operator"]), ("client", &[])] {
        add(&store, name, roles).await;
    }
    let acme = issue(&store, "acme", None).await;
    let globex = issue(&store, "globex", None).await;
    let named_like_a_role = issue(&store, "client", None).await;
    let grant = async |to: Grantee, endpoint: &str, expires_at| {
        let request = GrantRequest { expires_at, ..GrantRequest::new(to, EndpointPattern::from_text(endpoint)) };
        match by(&store).add_grant(request, at(0)).await.unwrap() {
            Granting::Added(grant) | Granting::Unchanged(grant) => grant.id,
        }
    };
    let role = |name: &str| Grantee::Role(name.to_owned());

    assert_eq!(decide(&access, &acme, "orders", at(1)).await, Err(Code::AccessNotGranted));
    let of_operators = grant(role("operator"), "*", None).await;
    assert_eq!(decide(&access, &acme, "orders", at(1)).await, Err(Code::AccessNotGranted));
    assert_eq!(decide(&access, &globex, "orders", at(1)).await, Ok(of_operators));
    let of_clients = grant(role("client"), "orders", Some(at(50))).await;
    assert_eq!(decide(&access, &acme, "orders", at(1)).await, Ok(of_clients.clone()));
    assert_eq!(decide(&access, &acme, "orders2", at(1)).await, Err(Code::AccessNotGranted));
    assert_eq!(decide(&access, &acme, "orders", at(50)).await, Err(Code::AccessGrantExpired));
    assert_eq!(decide(&access, &named_like_a_role, "orders", at(1)).await, Err(Code::AccessNotGranted));
    let own = grant(Grantee::Principal("acme".to_owned()), "orders", None).await;
    assert_eq!(decide(&access, &acme, "orders", at(50)).await, Ok(own.clone()));

    // Adding an identical grant changes nothing. Another expiry is an error and does not silently add a second grant.
    assert_eq!(grant(Grantee::Principal("acme".to_owned()), "orders", None).await, own);
    let request = GrantRequest {
        expires_at: Some(at(9)),
        ..GrantRequest::new(Grantee::Principal("acme".to_owned()), EndpointPattern::from_text("orders"))
    };
    assert!(matches!(by(&store).add_grant(request, at(0)).await, Err(StoreError::GrantExists { id, .. }) if id == own));

    assert!(by(&store).revoke_grant(&own, at(60)).await.unwrap().1);
    assert_eq!(decide(&access, &acme, "orders", at(60)).await, Err(Code::AccessGrantExpired));
    let change = PrincipalChange { remove_roles: BTreeSet::from(["client".to_owned()]), ..PrincipalChange::default() };
    by(&store).change_principal("acme", change, at(60)).await.unwrap();
    assert_eq!(decide(&access, &acme, "orders", at(1)).await, Err(Code::AccessNotGranted));
    background.shutdown().await;
}

#[tokio::test]
async fn rotation_ends_the_old_token_at_once_or_after_the_grace() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;
    let rotate = async |old: &NewToken, grace: i64, expiry: Expiry| {
        let successor = new_token().unwrap();
        let rotation = Rotation { grace: TimeDelta::seconds(grace), expiry };
        let listing = by(&store).rotate_token(old.id(), &successor, rotation, at(10)).await;
        listing.map(|listing| (successor, listing.token.expires_at))
    };
    let acme = || Ok("acme".to_owned());

    let first = issue(&store, "acme", None).await;
    let (second, expires_at) = rotate(&first, 0, Expiry::SameLifetime).await.unwrap();
    assert_eq!(expires_at, None);
    assert_eq!(who(&access, &first, at(10)).await, Err(Code::AccessTokenRevoked));
    assert_eq!(who(&access, &second, at(10)).await, acme());
    assert!(matches!(rotate(&first, 0, Expiry::SameLifetime).await, Err(StoreError::TokenRotated { .. })));

    let (third, expires_at) = rotate(&second, 60, Expiry::At(at(500))).await.unwrap();
    assert_eq!(expires_at, Some(at(500)));
    assert_eq!(who(&access, &second, at(69)).await, acme());
    assert_eq!(who(&access, &second, at(70)).await, Err(Code::AccessTokenExpired));

    // The token was issued at 10 and expires at 500, so its lifetime is 490 seconds, and so is its successor's. A grace
    // period never extends a token.
    let (fourth, expires_at) = rotate(&third, 100_000, Expiry::SameLifetime).await.unwrap();
    assert_eq!(expires_at, Some(at(500)));
    assert_eq!(who(&access, &third, at(500)).await, Err(Code::AccessTokenExpired));

    by(&store).revoke_token(fourth.id(), at(11)).await.unwrap();
    assert!(matches!(rotate(&fourth, 0, Expiry::SameLifetime).await, Err(StoreError::TokenRevoked { .. })));
    background.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_another_process_counts_within_moments() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    // Separate connections and a separate cache, like a second process.
    let elsewhere = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &["client"]).await;

    let token = new_token().unwrap();
    assert_eq!(who(&access, &token, at(1)).await, Err(Code::AccessTokenUnknown));
    by(&elsewhere).issue_token("acme", &token, TokenRequest::default(), at(0)).await.unwrap();
    within_5_seconds(Ok("acme".to_owned()), async || who(&access, &token, at(1)).await).await;

    let request = GrantRequest::new(Grantee::Role("client".to_owned()), EndpointPattern::All);
    let Granting::Added(grant) = by(&elsewhere).add_grant(request, at(0)).await.unwrap() else { panic!("it is new") };
    within_5_seconds(Ok(grant.id.clone()), async || decide(&access, &token, "x", at(1)).await).await;
    by(&elsewhere).revoke_grant(&grant.id, at(1)).await.unwrap();
    within_5_seconds(Err(Code::AccessNotGranted), async || decide(&access, &token, "x", at(1)).await).await;

    by(&elsewhere).disable_principal("acme", at(1)).await.unwrap();
    within_5_seconds(Err(Code::AccessPrincipalDisabled), async || who(&access, &token, at(1)).await).await;
    by(&elsewhere).enable_principal("acme", at(3)).await.unwrap();
    within_5_seconds(Ok("acme".to_owned()), async || who(&access, &token, at(1)).await).await;
    by(&elsewhere).revoke_token(token.id(), at(1)).await.unwrap();
    within_5_seconds(Err(Code::AccessTokenRevoked), async || who(&access, &token, at(1)).await).await;
    background.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_revocation_returns_no_lookup_takes_the_token() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;
    for _ in 0..40 {
        let token = Arc::new(issue(&store, "acme", None).await);
        let revoked = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (access, token, revoked) = (access.clone(), Arc::clone(&token), Arc::clone(&revoked));
                tokio::spawn(async move {
                    loop {
                        let was_revoked = revoked.load(Ordering::SeqCst);
                        let answer = who(&access, &token, at(1)).await;
                        // On a busy machine a read may time out; that is not a leak.
                        if was_revoked && answer != Err(Code::AccessStoreUnavailable) {
                            return answer;
                        }
                        // A cached answer never yields, so this loop would starve other tasks.
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let outcome = by(&store).revoke_token(token.id(), at(1)).await;
        // Set this before any assertion can fail, because the readers wait for it.
        revoked.store(true, Ordering::SeqCst);
        outcome.unwrap();
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Err(Code::AccessTokenRevoked));
        }
    }
    background.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_wait_for_another_process_do_not_hold_up_lookups() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;
    let token = issue(&store, "acme", None).await;

    let mut elsewhere = raw(location.path()).await;
    let change = elsewhere.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        waiting.spawn(async move { add(&store, &format!("p{number}"), &[]).await });
    }
    for _ in 0..50 {
        assert_eq!(who(&access, &new_token().unwrap(), at(1)).await, Err(Code::AccessTokenUnknown));
        tokio::task::yield_now().await;
    }
    assert_eq!(who(&access, &token, at(1)).await, Ok("acme".to_owned()));
    assert!(!waiting.is_empty());
    change.rollback().await.unwrap();
    while let Some(added) = waiting.join_next().await {
        added.unwrap();
    }
    assert_eq!(store.principals().await.unwrap().len(), 9);
    background.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_token_needs_no_store_for_a_moment_and_is_refused_after_it() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;
    let token = issue(&store, "acme", None).await;
    who(&access, &token, at(1)).await.unwrap();
    access.ready().unwrap();

    store.close().await;
    assert_eq!(who(&access, &token, at(1)).await, Ok("acme".to_owned()), "from memory");
    assert_eq!(who(&access, &new_token().unwrap(), at(1)).await, Err(Code::AccessStoreUnavailable));
    within_5_seconds(Err(Code::AccessStoreUnavailable), async || who(&access, &token, at(1)).await).await;
    assert_eq!(access.ready().unwrap_err().code, Code::AccessStoreUnavailable);
    background.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_taken_away_or_replaced_is_not_answered_from() {
    let (folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    add(&store, "acme", &[]).await;
    let token = issue(&store, "acme", None).await;
    who(&access, &token, at(1)).await.unwrap();

    // A process that has the file open can still read it; that must not matter.
    let aside = folder.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    let move_all = |from: &Path, to: &Path| {
        for name in ["access.db", "access.db-wal", "access.db-shm"] {
            let _ = std::fs::rename(from.join(name), to.join(name));
        }
    };
    move_all(folder.path(), &aside);
    within_5_seconds(Err(Code::AccessStoreUnavailable), async || who(&access, &token, at(1)).await).await;

    // Another store at the same path, which does not know the token.
    let other = Store::open(&location).await.unwrap();
    within_5_seconds(Err(Code::AccessTokenUnknown), async || who(&access, &token, at(1)).await).await;
    other.close().await;

    // Restore the first store.
    move_all(&aside, folder.path());
    within_5_seconds(Ok("acme".to_owned()), async || who(&access, &token, at(1)).await).await;
    background.shutdown().await;
}

#[tokio::test]
async fn what_can_not_be_read_is_refused() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    add(&store, "acme", &[]).await;
    let token = issue(&store, "acme", None).await;
    let mut connection = raw(location.path()).await;
    for attributes in [
        "",
        "[]",
        "{\"client_id\": 1}",
        r#"{"client_id": {"type": "integer", "value": "1"}}"#,
        r#"{"a": {"type": "int", "value": 1}}"#,
    ] {
        sqlx::query("UPDATE principals SET attributes = ?").bind(attributes).execute(&mut connection).await.unwrap();
        let (access, background) = Access::start(store.clone()).await.unwrap();
        assert_eq!(who(&access, &token, at(1)).await, Err(Code::AccessStoreUnavailable), "{attributes}");
        background.shutdown().await;
    }
}

#[tokio::test]
async fn the_last_use_is_written_and_turns_no_decision() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    add(&store, "acme", &[]).await;
    let used = issue(&store, "acme", None).await;
    let unused = issue(&store, "acme", None).await;
    let refused = issue(&store, "acme", Some(at(5))).await;
    let version = async || -> i64 {
        let mut connection = raw(location.path()).await;
        sqlx::query_scalar("SELECT version FROM access_version").fetch_one(&mut connection).await.unwrap()
    };
    let before = version().await;
    let (access, background) = Access::start(store.clone()).await.unwrap();
    for seconds in [20, 30, 10] {
        who(&access, &used, at(seconds)).await.unwrap();
    }
    who(&access, &refused, at(6)).await.unwrap_err();
    background.shutdown().await;

    let tokens = store.tokens(Some("acme")).await.unwrap();
    let last_use =
        |token: &NewToken| tokens.iter().find(|listing| listing.token.id == token.id()).unwrap().token.last_used_at;
    assert_eq!((last_use(&used), last_use(&unused), last_use(&refused)), (Some(at(30)), None, None));
    assert_eq!(version().await, before);
    by(&store).revoke_token(used.id(), at(40)).await.unwrap();
    assert!(version().await > before);
}

#[test]
fn locations_are_files() {
    let parse =
        |text: &str| StoreLocation::parse(text, Path::new("/project")).map(|location| location.path().to_owned());
    assert_eq!(parse("sqlite:access.db").unwrap(), Path::new("/project/access.db"));
    assert_eq!(parse("sqlite:/var/access.db").unwrap(), Path::new("/var/access.db"));
    assert_eq!(parse("sqlite:///var/access.db").unwrap(), Path::new("/var/access.db"));
    for text in ["", "access.db", "sqlite:", "sqlite:dir/", "sqlite::memory:", "sqlite:a.db?mode=ro", "mysql://x"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let error = parse("postgres://user:secret@host/db").unwrap_err().to_string();
    assert!(error.contains("PostgreSQL") && !error.contains("secret"), "{error}");
}
