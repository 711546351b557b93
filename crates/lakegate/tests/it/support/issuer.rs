//! A JWT issuer for tests: signing keys, a key set, a server that publishes it, and a project that trusts it. It
//! contains no tests.
//!
//! The private keys at the end are TEST KEYS. They were made for this file, are public, and sign nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use lakegate::clock;
use serde_json::{Value as Json, json};
use tokio_util::task::AbortOnDropHandle;

use crate::support::app::TestApp;

/// A private key with its algorithm and `kid`.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) kid: &'static str,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
}

impl Signer {
    pub(crate) fn rsa() -> Self {
        Self { kid: "rsa-1", algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(&decoded(RSA)) }
    }

    pub(crate) fn other_rsa() -> Self {
        Self { kid: "rsa-2", algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(&decoded(OTHER_RSA)) }
    }

    pub(crate) fn ec() -> Self {
        Self { kid: "ec-1", algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&decoded(EC)) }
    }

    pub(crate) fn ed() -> Self {
        Self { kid: "ed-1", algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&decoded(ED)) }
    }

    /// Two keys for each algorithm.
    pub(crate) fn pairs() -> [(Self, Self); 3] {
        let other_ec = Self { kid: "ec-2", key: EncodingKey::from_ec_der(&decoded(OTHER_EC)), ..Self::ec() };
        let other_ed = Self { kid: "ed-2", key: EncodingKey::from_ed_der(&decoded(OTHER_ED)), ..Self::ed() };
        [(Self::rsa(), Self::other_rsa()), (Self::ec(), other_ec), (Self::ed(), other_ed)]
    }

    /// The name of the algorithm.
    pub(crate) fn alg(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    pub(crate) fn header(&self) -> Json {
        json!({ "alg": self.alg(), "typ": "JWT", "kid": self.kid })
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self) -> Json {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub(crate) fn sign(&self, claims: &Json) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// A key set with the public keys of these signers.
pub(crate) fn key_set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Claims for client 7, valid for ten minutes.
pub(crate) fn claims() -> Json {
    let now = clock::now().timestamp();
    json!({
        "iss": "https://sso.acme.test/", "aud": "lakegate", "sub": "bob", "jti": "j-1",
        "iat": now, "exp": now + 600, "client_id": 7, "roles": ["partner-users"], "scope": "lakegate:one lakegate:own",
    })
}

/// The claims with some values replaced; `null` removes a claim.
pub(crate) fn with(change: Json) -> Json {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Json::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// A project with a shared table, a governed table, and an issuer with its keys at `jwks`.
pub(crate) fn config(jwks: &str, algorithm: &str) -> String {
    format!(
        r#"
[lake]
location = "lake/"
[server]
cache_limit_mb = 0
[tables.one]
location = "one.csv"
shared = true
[tables.own]
location = "own.csv"
row_filter = "client_id = principal('client_id')"
unfiltered_for = ["operator"]
[issuers.acme]
issuer = "https://sso.acme.test/"
audience = "lakegate"
algorithm = "{algorithm}"
jwks = "{jwks}"
max_lifetime_seconds = 86400
roles_claim = "roles"
scope_claim = "scope"
scope_prefix = "lakegate:"
[issuers.acme.attributes]
client_id = {{ claim = "client_id", type = "integer" }}
[issuers.acme.roles]
partner-users = "partner"
"#
    )
}

/// Serves the project with these additional files.
pub(crate) async fn serve(config: &str, files: &[(&str, &str)]) -> TestApp {
    let sql = |table: &str| format!("/*---\nsummary = \"Rows\"\n---*/\nSELECT n FROM {table} ORDER BY n\n");
    let (one, own) = (sql("one"), sql("own"));
    let mut all = vec![
        ("lakegate.toml", config),
        ("lake/one.csv", "n\n1\n"),
        ("lake/own.csv", "n,client_id\n1,7\n2,8\n"),
        ("endpoints/one.sql", one.as_str()),
        ("endpoints/own.sql", own.as_str()),
    ];
    all.extend(files);
    TestApp::project(&all).await
}

/// The response of a key server.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Body(String),
    Status(u16),
    Redirect(String),
}

/// A local HTTP server for key sets that counts its requests. Dropping it stops it.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let (reply, asked) = (Arc::new(Mutex::new(reply)), Arc::new(AtomicUsize::new(0)));
        let (replies, count) = (Arc::clone(&reply), Arc::clone(&asked));
        let router = Router::new().fallback(move || {
            let (replies, count) = (Arc::clone(&replies), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                let reply = replies.lock().unwrap().clone();
                answer(reply)
            }
        });
        let task = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Self { url, reply, asked, _task: task }
    }

    pub(crate) fn set(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Number of requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(reply: Reply) -> Response {
    match reply {
        Reply::Body(body) => body.into_response(),
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Redirect(to) => (StatusCode::FOUND, [(LOCATION, to)]).into_response(),
    }
}

const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url without padding.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(char::from(URL_SAFE[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}

/// Decodes base64 in either alphabet.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let byte = match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        };
        bits = bits << 6 | URL_SAFE.iter().position(|known| *known == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

const RSA: &str = "\
MIIEogIBAAKCAQEA3QzUwlRON7L8gyFyCytz40Mg+RuEEPUzwA8gZLk5mLB/2zmmIizqeUyWJhBHp0GyayHgs0A//9munFwXr23JO5dshv95Ft\
8zLFofBsHVWKyfDUHX48DSuvVEbPhBBMVeQtQVVHXPzbK5AOjC39A2QFuE0Ld/OkcZZFgXc7e3oCD4aC/BzJUo+QoxDEVkWHUKu9G13o8S1T79\
9LUdQmHsL8K0Zr+061nSlh6wPsAhSQ14levHB1vskeX7rWQsDaR281N+g6977Vjbo+UyOFgVdEGqcehSF98NtascyHi4ikPz7tUpYAfaaeSxxS\
w2GC5HYx4b172SJBnrfr3FidNRcQIDAQABAoIBAAdW5bmOEwrGZpv0AFVem/pvwCiFQV1OxukZl3nArKjlM1mUEHASDbb5VALvh3GGPOZRuaQ5\
/eYA1Etcw2yPuJ7B6FiTIvIfdxOB6oXO6caH9L/7768gN979RchYddAyvW56nDqxrrSlun7NO6syvppkb4R+kzrcIXuzcRPmhbJLVigGjAnlS/\
yfA8rWT2CVpaAZDIWHE8pKgzb0IugWeyuN5EKa9oQPDo7vX5B8O/il8OirrRoYsALPdr4BzK4y+TYzbsoblrjkyJt9kwFqWI2ESYM411oF9JcF\
D7GH5MIM+wSUaPhHPtyIy0nFi54elbRGLlu3GoU5mQGp9lySeAECgYEA70R9l/HvPwjI9mDgEv0OAdObxtU/AmZXjP3qtZojexOst/ZmuU4fdL\
Kxn1PoyjpY2Zj39t3IBcpbML0jvCLiGA4Fa3Of4jKDyHNtfsyC3gtc+snAbEoh4jj1/bMtWGjKzepCc+bvw7TGlIPDxDgDETWeqk9x5dPaoezf\
fO7bMcUCgYEA7IIzkVTYC5hfTFWAWfUqEaSaGJ2YYTaiFnBHXM6rPCoUICUlFhULAAHJeliDDRI+ynIPXorHaxLl53iol3JUUoWzImkxYp0+T2\
RyOxHKocdh+hFKax0dVUE4GKkbk6quMwLCDlVN1kNGmxJASAhhWZsoi6mJDqC0M4n9VuU5d70CgYAnNd4vLGK8vb/RQIb4FahZ/EenCgNNbWAj\
pujz4dK2tL61Vxf2fisBgNdC+QlJOs6cukjImAfTixnuntBgYIcU0hdpSIWHGCgojWIASZuYr9wI7U8vb+aloBgP/3EK8AFsRVumis34EIQKip\
1mZpd6FoNt/Z74vwMxThRB8RLS0QKBgAQjpzlk7b8ONKTGXk+0vb6/Tb8eivswlJel8WnLaC3OYrnJTKPdTGr8nQUaJXkGF7k9U82IykKyevmZ\
IAI+iwFCu8bfZnDeZafID0O/ZPd94NYalV3YjZnfYVb1Jrln5FKaOsE7dvhIByVRpXRdSS7jS0tedTqfT2gTgy6RJndVAoGAe7fxwn4m95F360\
JrR4WrQKRAYONQHb22mJRWrUURw7iuq1FYttFISjVCf1S//A8SEkvuZhv/xe/VwsGKN7WhN9zILSDsXrtXXtxIXTrh/S5Ri3yj3WP+JPzOOroa\
CF56y33Rt3R8Gl9gDxZM+ZNdHyuj7MVUm8DBBFOb06YY4EA=";
const OTHER_RSA: &str = "\
MIIEpQIBAAKCAQEA1qCFGlCwgT3c7zehjwqk9FZFlUQHsMMPzwADusJl+CR/4Inj7YRVoz0Y8DVENKnPidPLyW4uwg3oPNdlZEOuRsVoxzAEKl\
eGT8zAb25sct85mBE5XKb5ZsrEueVRcS/yQM1IQiX0BBvYfK//a7O05/itIEzRuCif3eK3KAUEY+DswFlLPL0nSgE9kLAfjbK9iE6pGQ1vNp/Z\
qYfp9ixGtRGWZGpf6e4FaY7VD0jM74OKb13KDrF2BT1nZPSW7OLfabnjIR9V++sFaBIPQw61KBYHo/mjfANNDHa0H+IbOC/bdxmQzgipAs8pJk\
6C5XGfnsjINJoeYAmHyhTCRhtPoQIDAQABAoIBAAVlAvtymEEjXCyCFjQ5dQR0L6sNCvFxMbJHApD85mG6jyFGbf1wFFP2SuxstlJpiz8gXPCq\
7Y9wmIwA8Po4bka2mwfYp94llYlncNXMLXskq7asBihTRRUFlzTB9A5XgWwKDN0mxY+d4I7fwJiFK5CiEj3r2GCb2srRsj9WAvJ8rr5ifZoRK7\
iFWggL2PiSxcsS8pyG7ME20kvH3ghYjlzALcmtZ6l2VPdMQ9BUu9EGsTZUrOaNnDnSLJQpI/sHfw4VmLTrne2IbGL54PLvfw9zXs5zV1E4bEYY\
KpFE2M+9UsnNkgsN7VJeIqXAPbaupPOwq/NeF5Y9ADhxrv0pwEECgYEA+9adiALJ3RLRrStRqdH8Spkwv2ea5uZAegR0lGbRjwMEvhwfA3WMQd\
liJwFg0FlWXmm4FYkGQGhG5cGBubbjL5Q6SYX8og3/zmzQL9g6i5Ib3Gp1oh9bGMehcbZzN0JsYMg9SBi3K+rXHPwvoX2sw17eVTTeS6EZjHOn\
qV5nm7ECgYEA2ix8FdFu6cDoOPRdkEgqe9D39sBmZ8/CLJ2NNICJqHTZ00rx/Hhsa7J7/+bkCiUJRiCg4+z565wLxj0xffTsmNwKfebFK1bOIG\
x4tJd6m5Z0SBTG6CMUNyQq0508riyuJRIwlEvMl9E5luzKJf3+zsEyu2oHIHBJO5HO0nNDHvECgYEAuRRMybxi5loCRqXjak6sf5Z9wO0/Zhop\
oILNupKlx9iMD7tS/5PP9ETyYYAdyoEdfF1tsEX3ljYMhKXl1LqX1Eu3Wnlh5ScsrGRDzCW5QQGsAB0tPmyU4m00NQHFQwNJ6wa+ItInK9t3JB\
IiXyihYyPBehVUmXhX8mS8/zgmJMECgYEAjfFPMaq2bGJTM2rYzJwG99M24FTAy12BySEf0z6lUPHlHfCui0GV2GOhBRak2mzKIdPsmR1+Y+l8\
R5dcccQ9gh32vX68XLv3E2U/Cs9at4slUBgkaLcZ2d4v9slfxznOetPgwzqle0hmHWklA57CfqV3ajNLO7GSE62DT6wpySECgYEA7V8zOjBGSw\
jsAR/ThT768S0MfZILk9ngVM2nNYUr5sZ8m91oJoYbLMzvBWJBxIPsje4WDA7x6PBqESk/ZRqFBhcgfz9dAwquJkgktyQCY3gVfW/Au0aRFqQ8\
gdSF2iIlfvVz0c3ziKgYS48BBlNrwwe/UYKVh1P6qqKWA1Kbv/8=";
const EC: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLn73iuxBsZLG9pKavUj9ErX/Z8JgsPOzDWevN+JurDahRANCAAQu6aMiMxaf5n\
xaGLLuFZkfL1ZpJOnEddbgjomTTXv0PTccYCjQk6dFxg0tJvCsS4qDn7apx8DELS8HwBqesj4X";
const OTHER_EC: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNVabbdKNNSLiTtTqpgXdGh76N6nK4AJMRHjIcF1yXO+hRANCAASnXnSOjcJ7sx\
od/erHi/vrNfBjuKGQvur5NveNcZq0JloSA41eT1Kj2uBf20Cqvr+QBelq2y/amBcLsgMKvwJK";
const ED: &str = "MC4CAQAwBQYDK2VwBCIEIILKRfBLsTUcMfEY9lXpP7lSdwtoeYsB2XPb9KovyTBy";
const OTHER_ED: &str = "MC4CAQAwBQYDK2VwBCIEICEmnNJJ0G3yx1ROGGFi0u0eeESE4EA6++KgdF0pAga5";
