//! A small project with canary words in rows, callers and arguments, which operators must not see. No tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use lakegate::clock;
use lakegate::store::{TokenRequest, new_token};
use lakegate_core::access::Scope;
use lakegate_core::value::{Scalar, Value};

use crate::support::app::{TestApp, by};

/// Words in callers and rows.
pub(crate) const CANARIES: [&str; 6] =
    ["canary-caller", "canary-tenant", "canary-argument", "canary-row", "canary-name", "canary-foreign"];

const TABLES: &str = "[lake]\nlocation = \"lake/\"\n[tables.note]\nlocation = \"note.csv\"\nrow_filter = \"tenant = principal('tenant')\"\n";
const NOTES: &str = "/*---\nsummary = \"Notes\"\ncache_seconds = 0\n[params.word]\ntype = \"string\"\ndefault = \"\"\n---*/\nSELECT id, body FROM note WHERE body <> $word ORDER BY id";
const ROWS: &str =
    "id,tenant,body\n1,canary-tenant,canary-row 1\n2,canary-tenant,canary-row 2\n3,canary-foreign,canary-foreign 3\n";
const MANY: &str = "/*---\nsummary = \"Many rows\"\ncache_seconds = 0\n[params.most]\ntype = \"integer\"\ndefault = 100\n---*/\nSELECT a.id * 100 + b.id AS id, a.body || ' and ' || b.body || ' and ' || c.body AS body FROM note AS a CROSS JOIN note AS b CROSS JOIN note AS c WHERE a.id < $most";

/// The project with additional sections, and a token for a caller with grants for all endpoints.
pub(crate) async fn notes(more: &str) -> (TestApp, String) {
    let hidden = NOTES.replacen("summary", "hidden = true\nsummary", 1);
    let app = TestApp::project(&[
        ("lakegate.toml", &format!("{TABLES}{more}")),
        ("lake/note.csv", ROWS),
        ("endpoints/notes.sql", NOTES),
        ("endpoints/secret.sql", &hidden),
        ("endpoints/kept.sql", &NOTES.replace("cache_seconds = 0\n", "")),
    ])
    .await;
    let token = app.admit("canary-caller", "client", &[tenant()]).await;
    (app, token)
}

/// Like [`notes`], with an endpoint whose response is streamed in pieces.
pub(crate) async fn many(more: &str) -> (TestApp, String) {
    let rows = (0..100).map(|id| format!("{id},canary-tenant,canary-row {id}\n")).collect::<String>();
    let app = TestApp::project(&[
        ("lakegate.toml", &format!("{TABLES}{more}")),
        ("lake/note.csv", &format!("id,tenant,body\n{rows}")),
        ("endpoints/many.sql", MANY),
    ])
    .await;
    let token = app.admit("canary-caller", "client", &[tenant()]).await;
    (app, token)
}

fn tenant() -> (&'static str, Value) {
    ("tenant", Value::Scalar(Scalar::String("canary-tenant".to_owned())))
}

/// Adds a principal with this role and no grants. Returns its token, which is scoped to `endpoints` if given.
pub(crate) async fn with_role(app: &TestApp, name: &str, role: &str, endpoints: Option<&[&str]>) -> String {
    app.add_principal(name, role, &[]).await;
    let endpoints = endpoints.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    let token = new_token().unwrap();
    let request = TokenRequest { scope: Scope { endpoints, masked: false }, ..TokenRequest::default() };
    by(&app.store).issue_token(name, &token, request, clock::now()).await.unwrap();
    token.text().to_owned()
}
