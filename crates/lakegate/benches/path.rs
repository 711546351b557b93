//! Measures requests without a socket: responses that need no query, the decisions alone, binding a governed plan, a small
//! aggregate, a lookup and a listing. Run it with `cargo bench --workspace --bench path`.
//!
//! `cargo xtask bench` measures the whole server from outside.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use criterion::{Criterion, criterion_group, criterion_main};
use http_body_util::BodyExt;
use lakegate::app::App;
use lakegate::audit::{AuditStart, RequestAudit};
use lakegate::clock;
use lakegate::http::HttpService;
use lakegate::limits::RateLimitState;
use lakegate::request_id::RequestId;
use lakegate::sample::{Sample, write_lake, write_project};
use lakegate::store::{
    Access, Background, ChangeAuthor, GrantRequest, NewPrincipal, SecretAttributes, Store, StoreLocation, TokenRequest,
    new_token,
};
use lakegate_core::access::{EndpointPattern, Grantee, Presented, authorize};
use lakegate_core::catalog::{Call, RawArguments, call};
use lakegate_core::value::{Scalar, Value};
use lakegate_query::govern::govern;
use lakegate_query::plan::PlannedProject;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ENDPOINT: &str = "count_orders_by_range";
const PATH: &str = "/api/count_orders_by_range?start_datetime=2022-10-01&end_datetime=2022-10-31";

/// A served sample, and a client of it.
struct Served {
    runtime: Runtime,
    app: Arc<App>,
    service: HttpService,
    token: String,
    /// How many ranges were asked for.
    asked: AtomicU32,
    _background: Background,
    _folder: TempDir,
}

impl Served {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_project(folder.path()).unwrap();
        write_lake(&Sample::new(1, 0.02).unwrap(), &folder.path().join("lake"), |_, _| ()).unwrap();
        let (app, token, background) = runtime.block_on(serve(folder.path()));
        let service = HttpService::endpoints(Arc::clone(&app));
        Self { runtime, app, service, token, asked: AtomicU32::new(0), _background: background, _folder: folder }
    }

    /// The status and the headers of an answer that was read to its end.
    async fn get(&self, token: &str, validator: Option<&str>) -> (u16, HeaderMap) {
        let mut request = Request::get(PATH).header("authorization", format!("Bearer {token}"));
        if let Some(validator) = validator {
            request = request.header("if-none-match", validator);
        }
        let answer = self.service.answer(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        body.collect().await.unwrap();
        (head.status.as_u16(), head.headers)
    }

    /// The rows of a range that nobody has asked for yet, through the whole path.
    async fn get_anew(&self, endpoint: &str) {
        let second = self.asked.fetch_add(1, Ordering::Relaxed);
        let (minute, second) = (second / 60, second % 60);
        let (hour, minute) = (minute / 60 % 24, minute % 60);
        let day = 1 + minute % 28;
        let path = format!(
            "/api/{endpoint}?start_datetime=2022-10-{day:02}T{hour:02}:{minute:02}:{second:02}Z&end_datetime=2022-12-31"
        );
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.token));
        let answer = self.service.answer(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }

    /// A call that is allowed, with its arguments.
    async fn called(&self) -> Call {
        let (now, served) = (clock::now(), self.app.served());
        let mut raw = RawArguments::default();
        let pairs = [("start_datetime", "2022-10-01"), ("end_datetime", "2022-10-31")];
        raw.add_query(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        let token = Presented::from_bytes(self.token.as_bytes()).unwrap();
        let (principal, credential) = served.identity.authenticate(&token, now).await.unwrap();
        let authorized = authorize(&principal, ENDPOINT, &credential.grants, now).unwrap();
        let planned = served.project.find(ENDPOINT).unwrap();
        call(authorized, Arc::clone(planned.endpoint()), raw, planned.rules()).unwrap()
    }

    /// Everything that is decided and written down about a request, without its plan and its answer.
    async fn decide(&self) {
        let now = clock::now();
        let served = self.app.served();
        let rate_limits = RateLimitState::new(&self.app.rates);
        let audit = RequestAudit::begin(&self.app.audit, || AuditStart {
            request_id: RequestId::new(now),
            method: "GET".to_owned(),
            path: format!("/api/{ENDPOINT}"),
            tokens: vec![self.token.clone()],
        });
        audit.endpoint_named(ENDPOINT);
        let mut raw = RawArguments::default();
        let pairs = [("start_datetime", "2022-10-01"), ("end_datetime", "2022-10-31")];
        raw.add_query(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
        audit.arguments_named(&raw);
        let token = Presented::from_bytes(self.token.as_bytes()).unwrap();
        let (principal, credential) = served.identity.authenticate(&token, now).await.unwrap();
        audit.identified(&credential, &served.project);
        rate_limits.count_principal(served.config(), &principal, now).unwrap();
        let authorized = authorize(&principal, ENDPOINT, &credential.grants, now).unwrap();
        audit.allowed(authorized.reason());
        let planned = served.project.find(ENDPOINT).unwrap();
        rate_limits.count_call(&authorized, planned.endpoint(), now).unwrap();
        let call = call(authorized, Arc::clone(planned.endpoint()), raw, planned.rules()).unwrap();
        audit.called(&call, &served.config().secret_attributes);
        audit.sent(1, 13);
        audit.answered(200, None, Some(13), true).await.unwrap();
    }
}

/// The sample with one client, and the client's token.
async fn serve(folder: &std::path::Path) -> (Arc<App>, String, Background) {
    let store = Store::open(&StoreLocation::parse("sqlite:access.db", folder).unwrap()).await.unwrap();
    let (actor, secret, now) = (ChangeAuthor::cli("bench"), SecretAttributes::these([]), clock::now());
    let name = "client".to_owned();
    let attributes = BTreeMap::from([("client_id".to_owned(), Value::Scalar(Scalar::Integer(1)))]);
    let new = NewPrincipal { name: name.clone(), attributes, roles: BTreeSet::from(["owner".to_owned()]) };
    let changes = store.writer(&actor, &secret);
    changes.add_principal(new, now).await.unwrap();
    changes.add_grant(GrantRequest::new(Grantee::Principal(name.clone()), EndpointPattern::All), now).await.unwrap();
    let token = new_token().unwrap();
    changes.issue_token(&name, &token, TokenRequest::default(), now).await.unwrap();
    let (access, background) = Access::start(store.clone()).await.unwrap();
    let app = App::load(folder, None, access).await.unwrap();
    (Arc::new(app), token.text().to_owned(), background)
}

fn path(criterion: &mut Criterion) {
    let served = Served::new();
    let token = served.token.as_str();
    // The first makes the answer, the second finds it, and what comes then is like all that follow.
    let (mut status, mut headers) = (0, HeaderMap::new());
    for _ in 0..3 {
        (status, headers) = served.runtime.block_on(served.get(token, None));
    }
    assert_eq!(status, 200);
    let validator = headers["etag"].to_str().unwrap();
    assert_eq!(served.runtime.block_on(served.get(token, Some(validator))).0, 304);

    let mut group = criterion.benchmark_group("path");
    group.bench_function("decisions", |bencher| bencher.to_async(&served.runtime).iter(|| served.decide()));
    group.bench_function("token check", |bencher| {
        let (identity, now) = (&served.app.served().identity, clock::now());
        bencher.to_async(&served.runtime).iter(|| async {
            let token = Presented::from_bytes(token.as_bytes()).unwrap();
            identity.authenticate(&token, now).await.unwrap()
        });
    });
    group.bench_function("kept answer", |bencher| bencher.to_async(&served.runtime).iter(|| served.get(token, None)));
    group.bench_function("not modified", |bencher| {
        bencher.to_async(&served.runtime).iter(|| served.get(token, Some(validator)));
    });
    group.bench_function("unknown token", |bencher| {
        bencher.to_async(&served.runtime).iter(|| served.get("lg_nobody_has_this_token", None));
    });
    group.finish();

    let mut group = criterion.benchmark_group("query");
    let project = Arc::clone(&served.app.served().project);
    let call = served.runtime.block_on(served.called());
    group.bench_function("planning of all endpoints, with their tables", |bencher| {
        bencher.to_async(&served.runtime).iter(|| async {
            let (sample, lake) = (Arc::clone(project.project()), Arc::clone(project.lake()));
            PlannedProject::load(sample, Vec::new(), lake, project.runtime(), None).await.unwrap()
        });
    });
    group.bench_function("governed plan with its values", |bencher| {
        bencher.iter(|| govern(&project, None, &call, clock::now()).unwrap());
    });
    for (name, endpoint) in [
        ("small aggregate", "count_trackcode_by_range"),
        ("lookups", "count_orders_by_range"),
        ("listing", "all_orders_by_range"),
    ] {
        group.bench_function(name, |bencher| bencher.to_async(&served.runtime).iter(|| served.get_anew(endpoint)));
    }
    group.finish();
    served.runtime.block_on(served.app.audit.shutdown());
}

criterion_group!(benches, path);
criterion_main!(benches);
