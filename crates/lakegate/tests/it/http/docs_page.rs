//! `/docs`: the page works offline, runs only its own scripts, and shows nothing to a caller without a token.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use axum::http::Request;

use crate::support::app::{Answer, TestApp};

const CONFIG: &str = "[lake]\nlocation = \"lake\"\n[tables.sale]\nlocation = \"sale.csv\"\nshared = true\n";

async fn app(config: &str) -> TestApp {
    let endpoint = "/*---\nsummary = \"Sales\"\n---*/\nSELECT id FROM sale";
    let config = format!("{CONFIG}{config}");
    let files = [("lakegate.toml", config.as_str()), ("lake/sale.csv", "id\n1\n"), ("endpoints/sales.sql", endpoint)];
    TestApp::project(&files).await
}

async fn get(app: &TestApp, path: &str) -> Answer {
    app.send(Request::get(path).body(Body::empty()).unwrap()).await
}

/// The values of all `src="…"` and `href="…"` attributes.
fn links(html: &str) -> Vec<&str> {
    let parts = html.split(['=', ' ', '\n', '>']);
    let quoted = parts.filter_map(|part| part.strip_prefix('"')?.strip_suffix('"'));
    quoted.filter(|link| link.contains('/') && !link.contains("image/")).collect()
}

#[tokio::test]
async fn the_page_has_all_its_files_and_nothing_from_elsewhere() {
    let app = app("").await;
    let page = get(&app, "/docs").await;
    assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    let html = page.text();
    let links = links(html);
    assert_eq!(
        links,
        ["/docs/favicon.png", "/docs/swagger-ui.css", "/docs/page.css", "/docs/swagger-ui-bundle.js", "/docs/page.js"]
    );
    // No inline scripts or styles, and no links to other hosts.
    assert!(!html.contains("://") && !html.contains("<style") && !html.contains("style=") && !html.contains("onclick"));
    assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/docs/").count());
    for link in links {
        let file = get(&app, link).await;
        assert_eq!(file.status, 200, "{link}");
        assert!(!file.body.is_empty(), "{link}");
    }
    let bundle = get(&app, "/docs/swagger-ui-bundle.js").await;
    assert_eq!(bundle.headers["content-type"], "text/javascript; charset=utf-8");
    assert!(bundle.text().contains("SwaggerUIBundle"));
    // Without the script, a form would send named fields in the URL.
    assert!(html.contains("<input id=\"token\"") && !html.contains(" name=\"token\"") && !html.contains("action="));
}

#[tokio::test]
async fn the_page_is_held_to_its_own_files_and_to_nobodys_frame() {
    let app = app("").await;
    for path in ["/docs", "/docs/page.js", "/docs/swagger-ui.css"] {
        let answer = get(&app, path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.split("; ").any(|each| each == part), "{part} of {path}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn only_its_own_paths_are_the_pages() {
    let app = app("").await;
    for path in [
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-ui.js",
        "/docs/..%2f..%2fetc",
        "/docs/page.js/x",
        "/docs/page%2ejs",
    ] {
        assert_eq!(get(&app, path).await.problem(), (404, "request_path_unknown".to_owned()), "{path}");
    }
    let posted = app.send(Request::post("/docs").body(Body::empty()).unwrap()).await;
    assert_eq!(posted.problem(), (405, "request_method_not_allowed".to_owned()));
}

#[tokio::test]
async fn a_project_can_switch_the_page_off() {
    let app = app("[docs]\nserve = false\n").await;
    for path in ["/docs", "/docs/page.js", "/docs/swagger-ui-bundle.js"] {
        assert_eq!(get(&app, path).await.problem(), (404, "request_path_unknown".to_owned()), "{path}");
    }
}
