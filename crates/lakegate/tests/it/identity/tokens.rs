//! Valid JWTs, and known attacks with invalid ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use axum::http::Request;
use jsonwebtoken::{Algorithm, EncodingKey};
use lakegate::clock;
use lakegate_core::access::{EndpointPattern, Grantee, Presented};
use lakegate_core::error::Code;
use serde_json::{Value as Json, json};

use crate::http::refusals::refused;
use crate::support::app::TestApp;
use crate::support::issuer::{KeyServer, Reply, Signer, claims, config, decoded, encoded, key_set, serve, with};

/// A project that trusts these keys, with a grant of each endpoint to the role `partner`.
async fn believing(signers: &[&Signer]) -> TestApp {
    let app = serve(&config("keys.json", &signers[0].alg()), &[("keys.json", &key_set(signers))]).await;
    app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::All, None).await;
    app
}

/// The reason for a refusal, which only the log contains.
async fn reason(app: &TestApp, token: &str) -> String {
    let presented = Presented::from_bytes(token.as_bytes());
    let error = match presented {
        Ok(presented) => match app.app.served().identity.authenticate(&presented, clock::now()).await {
            Ok((principal, _)) => panic!("{principal:?} was let in with {token}"),
            Err(error) => error,
        },
        Err(error) => error.into(),
    };
    assert_eq!(error.code, Code::AccessTokenUnknown, "{error}");
    error.source.map(|source| source.to_string()).unwrap_or_default()
}

/// Asserts that a token is refused for this reason, and that the caller gets the generic error for an invalid token.
async fn assert_refused(app: &TestApp, what: &str, token: &str, wanted: &str) {
    let found = reason(app, token).await;
    assert!(found.contains(wanted), "{what}: {found}");
    let unprintable = token.bytes().any(|byte| byte < 0x20);
    if unprintable {
        return;
    }
    let answer = app.send(Request::get("/api/one").header("token", token).body(Body::empty()).unwrap()).await;
    assert_eq!(refused(&answer), (401, "access_token_unknown".to_owned()), "{what}");
    let problem = answer.json();
    assert_eq!(problem["detail"], "the token is not known", "{what}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

fn header(signer: &Signer, change: Json) -> String {
    let mut header = signer.header();
    for (name, value) in change.as_object().unwrap() {
        header[name] = value.clone();
    }
    header.to_string()
}

#[tokio::test]
async fn a_good_jwt_of_each_algorithm_is_taken_in_every_header() {
    for (signer, other) in Signer::pairs() {
        let app = believing(&[&signer, &other]).await;
        let token = signer.sign(&claims());
        for (name, value) in
            [("authorization", format!("Bearer {token}")), ("x-api-key", token.clone()), ("token", token.clone())]
        {
            let request = Request::get("/api/own").header(name, value).body(Body::empty()).unwrap();
            assert_eq!(app.send(request).await.rows(), [json!({ "n": 1 })], "{}", signer.alg());
        }
        assert_eq!(app.get(&other.sign(&claims()), "/api/one").await.status, 200, "the second key of the set");
        assert_eq!(app.post(&token, "/api/own", &json!({})).await.rows(), [json!({ "n": 1 })]);
        assert_eq!(app.get(&token, "/api").await.json()["endpoints"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_header_decides_nothing() {
    let trap = KeyServer::start(Reply::Body(key_set(&[&Signer::other_rsa()]))).await;
    for (signer, other) in Signer::pairs() {
        let app = believing(&[&signer]).await;
        let text = claims().to_string();
        let alg = signer.alg();
        let wrong_alg = format!("`alg` is not `{alg}`");
        let unsigned = |header: &str| format!("{}.{}.", encoded(header.as_bytes()), encoded(text.as_bytes()));

        // Unsigned tokens, with each spelling of the algorithm.
        for none in ["none", "None", "NONE", "nOnE", ""] {
            let header = header(&signer, json!({ "alg": none }));
            assert_refused(&app, "none", &unsigned(&header), "").await;
            assert_refused(&app, "none with a signature", &signer.sign_text(&header, &text), &wrong_alg).await;
        }
        assert_refused(&app, "no signature", &unsigned(&signer.header().to_string()), "").await;

        // The public key used as a shared secret, in each form that a server may hold.
        let jwk = signer.jwk();
        for secret in ["n", "x"].iter().filter_map(|member| jwk[*member].as_str()) {
            for secret in [secret.as_bytes().to_vec(), decoded(secret), jwk.to_string().into_bytes()] {
                let forger =
                    Signer { key: EncodingKey::from_secret(&secret), algorithm: Algorithm::HS256, ..signer.clone() };
                let token = forger.sign_text(&forger.header().to_string(), &text);
                assert_refused(&app, "HS256", &token, &wrong_alg).await;
                let token = forger.sign_text(&signer.header().to_string(), &text);
                assert_refused(&app, "an HMAC that says otherwise", &token, "signature").await;
            }
        }
        for other_alg in ["HS512", "RS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519", "dir"] {
            let token = signer.sign_text(&header(&signer, json!({ "alg": other_alg })), &text);
            assert_refused(&app, other_alg, &token, &wrong_alg).await;
        }

        // The verifying key must come from the key set, whatever the token contains. Nothing is fetched.
        let url = trap.url.as_str();
        for change in [
            json!({ "jku": url }),
            json!({ "x5u": url }),
            json!({ "jwk": other.jwk() }),
            json!({ "x5c": ["AAAA"] }),
            json!({ "jku": url, "x5u": url, "jwk": other.jwk() }),
        ] {
            let token = other.sign_text(&header(&signer, change.clone()), &text);
            assert_refused(&app, "a key of its own", &token, "signature").await;
            let token = other.sign_text(&header(&other, change.clone()), &text);
            assert_refused(&app, "a key of its own under its own name", &token, "`kid` names no key").await;
            let token = signer.sign_text(&header(&signer, change), &text);
            assert_eq!(app.get(&token, "/api/one").await.status, 200, "a good token may say what it likes");
        }
        for kid in
            ["", "unknown", "../../../../dev/null", "keys.json", "x' OR '1'='1", "rsa-1\0", " rsa-1", url, "RSA-1"]
        {
            let token = signer.sign_text(&header(&signer, json!({ "kid": kid })), &text);
            assert_refused(&app, kid, &token, "`kid` names no key").await;
        }
        let token = signer.sign_text(&header(&signer, json!({ "kid": "k".repeat(300) })), &text);
        assert_refused(&app, "a long kid", &token, "`kid` is not a text").await;
        for kid in [json!(1), json!(["rsa-1"]), json!({}), Json::Null] {
            let token = signer.sign_text(&header(&signer, json!({ "kid": kid })), &text);
            assert_refused(&app, "a kid of another type", &token, "`kid` is not a text").await;
        }

        for (change, wanted) in [
            (json!({ "crit": ["exp"] }), "`crit`"),
            (json!({ "crit": ["b64"], "b64": false }), "`crit`"),
            (json!({ "b64": false }), "`b64`"),
            (json!({ "zip": "DEF" }), "`zip`"),
            (json!({ "typ": "dpop+jwt" }), "`typ`"),
            (json!({ "typ": 1 }), "`typ`"),
        ] {
            assert_refused(&app, "header", &signer.sign_text(&header(&signer, change), &text), wanted).await;
        }
        let twice = format!(r#"{{"alg":"none","alg":"{alg}","kid":"{}"}}"#, signer.kid);
        assert_refused(&app, "alg twice", &signer.sign_text(&twice, &text), "every member comes once").await;
        for fine in [json!({ "typ": "at+jwt" }), json!({ "typ": "jwt" }), json!({ "typ": "JWT", "x": [1] })] {
            assert_eq!(app.get(&signer.sign_text(&header(&signer, fine), &text), "/api/one").await.status, 200);
        }
    }
    assert_eq!(trap.asked(), 0, "a token made the server fetch something");
}

#[tokio::test]
async fn a_token_without_a_kid_needs_a_set_with_one_key() {
    for (signer, other) in Signer::pairs() {
        let header = json!({ "alg": signer.alg() }).to_string();
        let token = signer.sign_text(&header, &claims().to_string());
        assert_eq!(believing(&[&signer]).await.get(&token, "/api/one").await.status, 200);
        assert_refused(&believing(&[&signer, &other]).await, "two keys", &token, "`kid` names no key").await;
        assert_refused(&believing(&[&other]).await, "another key", &token, "signature").await;
    }
}

#[tokio::test]
async fn a_signature_is_good_to_the_last_bit() {
    for (signer, other) in Signer::pairs() {
        let app = believing(&[&signer, &other]).await;
        let good = signer.sign(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let bytes = decoded(signature);
        assert_eq!(encoded(&bytes), signature);
        let signed = |bytes: &[u8]| format!("{message}.{}", encoded(bytes));
        for at in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            for bit in [1, 0x80] {
                let mut flipped = bytes.clone();
                flipped[at] ^= bit;
                assert_refused(&app, "a flipped bit", &signed(&flipped), "signature").await;
            }
        }
        for other in [&bytes[..bytes.len() - 1], &bytes[1..], &bytes[..1], &[bytes.as_slice(), &[0]].concat()] {
            assert_refused(&app, "another length", &signed(other), "signature").await;
        }
        assert_refused(&app, "zeros", &signed(&vec![0; bytes.len()]), "signature").await;
        if signer.algorithm == Algorithm::ES256 {
            assert_refused(&app, "DER", &signed(&der(&bytes)), "signature").await;
        }
        // The claims of another valid token.
        let elsewhere = signer.sign(&with(json!({ "sub": "eve" })));
        let payload = elsewhere.split('.').nth(1).unwrap();
        let parts = good.split('.').collect::<Vec<_>>();
        assert_refused(&app, "other claims", &format!("{}.{payload}.{}", parts[0], parts[2]), "signature").await;
        // The header names one key of the set, but another key signed.
        let swapped = other.sign_text(&signer.header().to_string(), &claims().to_string());
        assert_refused(&app, "the other key of the set", &swapped, "signature").await;
        assert_eq!(app.get(&good, "/api/one").await.status, 200);
    }
}

/// An ECDSA signature in ASN.1 DER.
fn der(fixed: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut value = bytes[zeros..].to_vec();
        if value[0] & 0x80 != 0 {
            value.insert(0, 0);
        }
        [vec![2, value.len() as u8], value].concat()
    };
    let both = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    [vec![0x30, both.len() as u8], both].concat()
}

#[tokio::test]
async fn the_text_is_taken_as_it_is_or_not_at_all() {
    let signer = Signer::rsa();
    let app = believing(&[&signer]).await;
    let good = signer.sign(&claims());
    let parts = good.split('.').collect::<Vec<_>>();
    for (what, token) in [
        ("an extra dot at the end", format!("{good}.")),
        ("an extra dot at the start", format!(".{good}")),
        ("a fourth part", format!("{good}.e30")),
        ("an empty part", format!("{}..{}", parts[0], parts[2])),
        ("padding", format!("{good}==")),
        ("padding within", format!("{}=.{}.{}", parts[0], parts[1], parts[2])),
        ("a space within", good.replacen('.', ". ", 1)),
        ("a NUL", format!("{good}\0")),
        ("a NUL within", good.replacen('.', "\0.", 1)),
        ("a line break", format!("{good}\n")),
        ("the other alphabet", format!("{}.{}.{}", parts[0], parts[1], parts[2].replace(['-', '_'], "+"))),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("one part", parts[0].to_owned()),
        ("huge", signer.sign(&with(json!({ "x": "y".repeat(9000) })))),
        (
            "deep",
            signer
                .sign_text(&signer.header().to_string(), &format!("{{\"x\":{}1{}}}", "[".repeat(500), "]".repeat(500))),
        ),
        ("not JSON", signer.sign_text(&signer.header().to_string(), "iss")),
        ("not an object", signer.sign_text(&signer.header().to_string(), "[1]")),
        ("not a header", signer.sign_text("{\"al", &claims().to_string())),
    ] {
        assert_refused(&app, what, &token, "").await;
    }
    assert_eq!(app.get(&good, "/api/one").await.status, 200);
}

#[tokio::test]
async fn claims_are_held_against_the_issuer_and_the_time() {
    let now = clock::now().timestamp();
    for (signer, _) in Signer::pairs() {
        let app = believing(&[&signer]).await;
        for (change, wanted) in [
            (json!({ "iss": null }), "`iss` is no issuer"),
            (json!({ "iss": "https://sso.acme.test" }), "`iss` is no issuer"),
            (json!({ "iss": "https://evil.test/" }), "`iss` is no issuer"),
            (json!({ "iss": ["https://sso.acme.test/"] }), "`iss` is no issuer"),
            (json!({ "aud": null }), "`aud` does not hold"),
            (json!({ "aud": "other" }), "`aud` does not hold"),
            (json!({ "aud": [] }), "`aud` does not hold"),
            (json!({ "aud": "lakegate-eu" }), "`aud` does not hold"),
            (json!({ "exp": null }), "`exp` is missing"),
            (json!({ "exp": (now + 600).to_string() }), "`exp` is not a time"),
            (json!({ "exp": -1 }), "`exp` is not a time"),
            (json!({ "exp": 1e300 }), "`exp` is not a time"),
            (json!({ "nbf": now + 60 }), "is not taken yet"),
            (json!({ "nbf": "0" }), "`nbf` is not a time"),
            (json!({ "iat": now + 60 }), "is not taken yet"),
            (json!({ "iat": null }), "`iat` is missing"),
            (json!({ "exp": now + 86_500 }), "max_lifetime_seconds"),
            (json!({ "sub": null }), "`sub` is missing"),
            (json!({ "sub": 7 }), "`sub` is not a string"),
            (json!({ "sub": "bob smith" }), "makes no principal"),
            (json!({ "sub": "bob\0" }), "makes no principal"),
            (json!({ "client_id": "7" }), "`client_id` is not of the type `integer`"),
            (json!({ "client_id": [7] }), "`client_id` is not of the type `integer`"),
            (json!({ "roles": { "partner-users": true } }), "`roles` is not a string or a list"),
            (json!({ "scope": 1 }), "`scope` is not a string or a list"),
        ] {
            assert_refused(&app, &change.to_string(), &signer.sign(&with(change.clone())), wanted).await;
        }
        let text = claims().to_string();
        let twice = text.replacen("\"sub\"", "\"sub\":\"eve\",\"sub\"", 1);
        let token = signer.sign_text(&signer.header().to_string(), &twice);
        assert_refused(&app, "a claim twice", &token, "every member comes once").await;

        // Only a token with a valid signature gets the specific error that it has expired.
        let expired = signer.sign(&with(json!({ "iat": now - 700, "exp": now - 60 })));
        assert_eq!(refused(&app.get(&expired, "/api/one").await), (401, "access_token_expired".to_owned()));
        let forged = expired.rsplit_once('.').unwrap().0.to_owned() + "." + &"A".repeat(86);
        assert_refused(&app, "expired and forged", &forged, "signature").await;
        // Within the leeway.
        for near in [json!({ "exp": now - 10 }), json!({ "nbf": now + 10 }), json!({ "iat": now + 10 })] {
            assert_eq!(app.get(&signer.sign(&with(near)), "/api/one").await.status, 200);
        }
    }
}

/// Only the signature check is cached; the expiry is checked on each request.
#[tokio::test]
async fn a_remembered_token_still_expires() {
    let signer = Signer::ed();
    let app = believing(&[&signer]).await;
    let now = clock::now();
    let token = signer.sign(&with(json!({ "iat": now.timestamp(), "exp": now.timestamp() + 100 })));
    let presented = Presented::from_bytes(token.as_bytes()).unwrap();
    let served = app.app.served();
    let identity = &served.identity;
    for _ in 0..3 {
        assert!(identity.authenticate(&presented, now).await.is_ok());
    }
    let later = |seconds| now + chrono::TimeDelta::seconds(seconds);
    assert!(identity.authenticate(&presented, later(128)).await.is_ok());
    let error = identity.authenticate(&presented, later(131)).await.unwrap_err();
    assert_eq!(error.code, Code::AccessTokenExpired);
    let error = identity.authenticate(&presented, later(-60)).await.unwrap_err();
    assert_eq!(error.code, Code::AccessTokenUnknown);
}

/// One of two issuers must not be able to impersonate the other's principals.
#[tokio::test]
async fn an_issuer_vouches_for_nobody_of_another() {
    let (acme, evil) = (Signer::rsa(), Signer::other_rsa());
    let mut config = config("keys.json", "RS256");
    config
        .push_str("[issuers.evil]\nissuer = \"https://evil.test/\"\naudience = \"lakegate\"\nalgorithm = \"RS256\"\n");
    config.push_str("jwks = \"evil.json\"\nroles_claim = \"roles\"\n");
    // `evil` uses the `kid` of `acme`.
    let evil = Signer { kid: acme.kid, ..evil };
    let files = [("keys.json", key_set(&[&acme])), ("evil.json", key_set(&[&evil]))];
    let app = serve(&config, &files.each_ref().map(|(path, text)| (*path, text.as_str()))).await;
    app.grant(Grantee::Role("partner".to_owned()), EndpointPattern::All, None).await;

    assert_refused(&app, "the other's name", &evil.sign(&claims()), "signature").await;
    assert_refused(&app, "the other's key", &acme.sign(&with(json!({ "iss": "https://evil.test/" }))), "signature")
        .await;
    let own = evil.sign(&with(json!({ "iss": "https://evil.test/", "sub": "acme:bob" })));
    let presented = Presented::from_bytes(own.as_bytes()).unwrap();
    let (principal, credential) = app.app.served().identity.authenticate(&presented, clock::now()).await.unwrap();
    assert_eq!((principal.name(), principal.token_id()), ("evil:acme:bob", "jwt:evil:j-1"));
    assert!(principal.roles().next().is_none() && principal.attributes().is_empty() && credential.grants.is_empty());
}
