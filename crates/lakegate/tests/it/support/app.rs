//! An in-process server for tests: a project folder, its access store and the router, without a socket. No tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http_body_util::BodyExt;
use lakegate::app::App;
use lakegate::audit::AuditLog;
use lakegate::clock;
use lakegate::http::HttpService;
use lakegate::sample::model::Rows;
use lakegate::sample::{write_project, write_rows};
use lakegate::store::{
    Access, Background, ChangeAuthor, GrantRequest, NewPrincipal, SecretAttributes, Store, StoreLocation, StoreWriter,
    TokenRequest, new_token,
};
use lakegate_core::access::{Effect, EndpointPattern, Grantee};
use lakegate_core::value::{Scalar, Value};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A served project.
pub(crate) struct TestApp {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    pub(crate) app: Arc<App>,
    service: HttpService,
    admin: HttpService,
    _background: Background,
}

/// The store, with an actor for changes by a test.
pub(crate) fn by(store: &Store) -> StoreWriter<'_> {
    static ACTOR: LazyLock<ChangeAuthor> = LazyLock::new(|| ChangeAuthor::cli("test"));
    static SECRET: LazyLock<SecretAttributes> = LazyLock::new(|| SecretAttributes::these([]));
    store.writer(&ACTOR, &SECRET)
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The rows of a 200 response.
    pub(crate) fn rows(&self) -> Vec<Json> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json().as_array().unwrap().clone()
    }

    /// Status and code of a problem response. Checks its form too.
    pub(crate) fn problem(&self) -> (u16, String) {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

impl TestApp {
    /// Serves the logistics project with these rows.
    pub(crate) async fn logistics(rows: &Rows) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_project(folder.path()).unwrap();
        write_rows(rows, &folder.path().join("lake")).unwrap();
        Self::serve(folder).await
    }

    /// Serves the logistics project without resident tables or caches.
    pub(crate) async fn logistics_from_files(rows: &Rows) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_project(folder.path()).unwrap();
        write_rows(rows, &folder.path().join("lake")).unwrap();
        append(folder.path(), NOTHING_IN_MEMORY);
        Self::serve(folder).await
    }

    /// Serves a project with these files; paths are relative to its folder.
    pub(crate) async fn project(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), files);
        Self::serve(folder).await
    }

    /// Like [`Self::project`], but changes the app before it is served.
    pub(crate) async fn project_with(files: &[(&str, &str)], change: impl FnOnce(&mut App)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), files);
        Self::serve_with(folder, change).await
    }

    /// Serves the project in a folder.
    pub(crate) async fn serve(folder: TempDir) -> Self {
        Self::serve_with(folder, |_| ()).await
    }

    async fn serve_with(folder: TempDir, change: impl FnOnce(&mut App)) -> Self {
        let store = Store::open(&StoreLocation::parse("sqlite:access.db", folder.path()).unwrap()).await.unwrap();
        let (access, background) = Access::start(store.clone()).await.unwrap();
        let mut app = App::load(folder.path(), None, access).await.unwrap_or_else(|error| panic!("{error}"));
        change(&mut app);
        let audit = app.audit.clone();
        let app = Arc::new(app);
        let secret = SecretAttributes::these(["pin".to_owned()]);
        let admin = HttpService::admin(Arc::clone(&app), secret);
        let service = HttpService::endpoints(Arc::clone(&app));
        Self { folder, store, audit, service, app, admin, _background: background }
    }

    /// Adds a principal with a role, grants it every endpoint with the sample's masks lifted, and returns a token.
    pub(crate) async fn admit(&self, name: &str, role: &str, attributes: &[(&str, Value)]) -> String {
        self.add_principal(name, role, attributes).await;
        self.add_terms(Effect::Allow, Grantee::Principal(name.to_owned()), "*", &unmasked()).await;
        self.token(name, None).await
    }

    pub(crate) async fn add_principal(&self, name: &str, role: &str, attributes: &[(&str, Value)]) {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let attributes = attributes.collect::<BTreeMap<_, _>>();
        let new = NewPrincipal { name: name.to_owned(), attributes, roles: BTreeSet::from([role.to_owned()]) };
        by(&self.store).add_principal(new, clock::now()).await.unwrap();
    }

    pub(crate) async fn grant(&self, to: Grantee, endpoint: EndpointPattern, expires_at: Option<DateTime<Utc>>) {
        by(&self.store)
            .add_grant(GrantRequest { expires_at, ..GrantRequest::new(to, endpoint) }, clock::now())
            .await
            .unwrap();
    }

    /// Adds a principal with grants of these terms on one endpoint, and returns a token.
    pub(crate) async fn admit_with(&self, name: &str, endpoint: &str, terms: &[Json]) -> String {
        self.add_principal(name, "client", &[("client_id", Value::Scalar(Scalar::Integer(1)))]).await;
        for terms in terms {
            self.add_terms(Effect::Allow, Grantee::Principal(name.to_owned()), endpoint, terms).await;
        }
        self.token(name, None).await
    }

    /// Adds a grant or a denial with terms as JSON.
    pub(crate) async fn add_terms(&self, effect: Effect, to: Grantee, endpoint: &str, terms: &Json) {
        let terms = serde_json::from_value(terms.clone()).unwrap();
        let request = GrantRequest { effect, terms, ..GrantRequest::new(to, EndpointPattern::from_text(endpoint)) };
        by(&self.store).add_grant(request, clock::now()).await.unwrap();
    }

    pub(crate) async fn token(&self, principal: &str, expires_at: Option<DateTime<Utc>>) -> String {
        let token = new_token().unwrap();
        let request = TokenRequest { expires_at, ..TokenRequest::default() };
        by(&self.store).issue_token(principal, &token, request, clock::now()).await.unwrap();
        token.text().to_owned()
    }

    /// A token for the admin API, of a new principal.
    pub(crate) async fn admin_token(&self, name: &str) -> String {
        self.add_principal(name, "admin", &[]).await;
        let token = new_token().unwrap();
        let request = TokenRequest { admin: true, ..TokenRequest::default() };
        by(&self.store).issue_token(name, &token, request, clock::now()).await.unwrap();
        token.text().to_owned()
    }

    /// Sends a request to the admin API, with a JSON body unless `body` is null.
    pub(crate) async fn admin(&self, token: &str, method: &str, path: &str, body: Json) -> Answer {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = match body {
            Json::Null => request.body(Body::empty()),
            body => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        self.send_admin(request.unwrap()).await
    }

    pub(crate) async fn send_admin(&self, request: Request<Body>) -> Answer {
        answer_of(self.admin.answer(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: &Json) -> Answer {
        self.post_text(token, path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, token: &str, path: &str, body: &str) -> Answer {
        let request = Request::post(path).header("token", token).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// The service itself, for tests with concurrent requests.
    pub(crate) fn service(&self) -> &HttpService {
        &self.service
    }

    /// Returns the response head; the body is not read yet.
    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        self.service.answer(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        answer_of(self.respond(request).await).await
    }
}

/// Terms that unmask every tagged mask of the sample.
pub(crate) fn unmasked() -> Json {
    serde_json::json!({ "unmask": ["tag:address", "tag:point", "tag:route"] })
}

async fn answer_of(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// Appended to a `lakegate.toml` without a `[server]` section.
pub(crate) const NOTHING_IN_MEMORY: &str = "\n[server]\ncache_limit_mb = 0\n";

/// Appends text to a project's `lakegate.toml`.
pub(crate) fn append(folder: &Path, text: &str) {
    let path = folder.join("lakegate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, config + text).unwrap();
}

/// Writes files below a folder.
pub(crate) fn write_files(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
