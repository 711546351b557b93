//! The real binary as a server: lake location, base path, readiness, and shutdown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::binary::Project;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::wire::{Exchange, Process};

/// The starter project in `shop`, with a caller for client 1. Returns the caller's token.
pub(crate) fn shop() -> (Project, String) {
    let project = Project::new();
    project.ok(&["init", "shop"]);
    project.ok(&["principal", "add", "acme", "--attribute", "client_id=1", "--project", "shop"]);
    project.ok(&["grant", "add", "--principal", "acme", "--endpoint", "*", "--project", "shop"]);
    let token = project.ok(&["token", "issue", "acme", "--project", "shop"]).trim().to_owned();
    (project, token)
}

/// Appends text to the starter's `lakegate.toml`.
pub(crate) fn configure(project: &Project, text: &str) {
    let path = project.path().join("shop/lakegate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{config}\n{text}")).unwrap();
}

pub(crate) fn serve(project: &Project, more: &[&str]) -> Process {
    let arguments = [&["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"], more].concat();
    Process::start(&mut project.command(&arguments))
}

#[test]
fn another_lake_is_served_by_option_and_by_environment() {
    let (project, token) = shop();
    project.write(
        "other/sale.csv",
        "id,client_id,product_id,sold_at,quantity\n1,1,7,2024-01-01T08:00:00,41\n2,1,7,2024-01-02T08:00:00,1\n3,2,7,2024-01-02T08:00:00,500\n",
    );
    project.write("other/product.csv", "id,name,price\n7,other thing,2.5\n");
    let wanted = json!([{ "product": "other thing", "sold": 42 }]);

    let server = serve(&project, &[]);
    let own = server.get("/api/best_products", &token).rows();
    assert!(own.len() > 1 && !own.contains(&wanted[0]));
    server.stop();
    let server = serve(&project, &["--lake", "other"]);
    assert_eq!(server.get("/api/best_products", &token).json(), wanted);
    server.stop();
    let arguments = ["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(project.command(&arguments).env("LAKEGATE_LAKE", project.path().join("other")));
    assert_eq!(server.get("/api/best_products", &token).json(), wanted);
    // An option overrides an environment variable.
    let server = Process::start(
        project.command(&[&arguments[..], &["--lake", "shop/lake"]].concat()).env("LAKEGATE_LAKE", "other"),
    );
    assert_eq!(server.get("/api/best_products", &token).rows(), own);

    let missing = project.fails(&["serve", "--project", "shop", "--lake", "nowhere"]);
    assert!(missing.contains("there is no lake at `nowhere`") && missing.contains("--lake"), "{missing}");
}

/// A client of the legacy system needs to change only its base URL.
#[test]
fn a_base_path_serves_clients_of_the_first_system() {
    for (base_path, prefix, other) in [
        ("/prod", "/prod", "/best_products"),
        ("/", "", "/prod/best_products"),
        ("/v1/data.api", "/v1/data.api", "/v1/best_products"),
    ] {
        let (project, token) = shop();
        configure(&project, &format!("[server]\nbase_path = \"{base_path}\"\n"));
        let server = serve(&project, &[]);
        let under_api = server.get("/api/best_products", &token).rows();
        let headers = [("token", token.as_str()), ("content-type", "application/json")];
        let path = format!("{prefix}/best_products");
        let posted = Exchange::begin(server.address(), "POST", &path, &headers, "{\"at_least\": 1}").finish();
        assert_eq!(posted.rows(), under_api, "{base_path}");
        assert!(posted.head.contains("content-type: application/json"), "{}", posted.head);
        assert_eq!(server.post(&path, "somebody-else", "{}").refusal(), (401, "access_token_unknown".to_owned()));
        assert_eq!(
            server.post(&format!("{prefix}/nothing"), &token, "{}").refusal(),
            (404, "endpoint_unknown".to_owned())
        );
        assert_eq!(server.post(other, &token, "{}").refusal(), (404, "request_path_unknown".to_owned()), "{base_path}");
        // Other routes ignore the base path.
        assert_eq!(server.get("/health/live", "").status, 200);
        assert_eq!(server.get("/api", &token).json()["endpoints"].as_array().unwrap().len(), 2);
        assert_eq!(server.get("/", &token).refusal(), (404, "request_path_unknown".to_owned()));
    }
}

#[test]
fn a_server_without_its_lake_lives_and_is_not_ready() {
    let (project, _) = shop();
    let server = serve(&project, &[]);
    let [lake, away] = ["shop/lake", "shop/away"].map(|path| project.path().join(path));
    assert_eq!(server.get("/health/ready", "").json(), json!({ "status": "ready" }));
    std::fs::rename(&lake, &away).unwrap();
    let ready = server.get("/health/ready", "");
    assert_eq!(ready.refusal(), (503, "health_not_ready".to_owned()));
    let errors = ready.json()["errors"].clone();
    assert_eq!(errors, json!([{ "code": "lake_unavailable", "detail": "the lake cannot be reached" }]));
    assert!(!ready.text().contains("shop") && ready.head.contains("retry-after: "), "{ready:?}");
    assert_eq!(server.get("/health/live", "").json(), json!({ "status": "live" }));
    std::fs::rename(&away, &lake).unwrap();
    assert_eq!(server.get("/health/ready", "").status, 200);
}

#[test]
fn a_taken_port_is_said() {
    let (project, _) = shop();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = project.fails(&["serve", "--project", "shop", "--listen", &address]);
    assert!(said.contains(&format!("`{address}` cannot be listened at")) && said.contains("--listen"), "{said}");
    assert!(said.contains("in use"), "{said}");
    for wrong in ["127.0.0.1", "nonsense", "127.0.0.1:99999"] {
        assert!(project.fails(&["serve", "--project", "shop", "--listen", wrong]).contains(wrong));
    }
}

#[test]
fn a_project_with_faults_is_not_served() {
    let (project, _) = shop();
    configure(&project, "[server]\nbase_pth = \"/prod\"\n");
    project.write("shop/endpoints/broken.sql", "/*---\nsummary = \"x\"\n---*/\nSELECT nothing FROM nowhere\n");
    project.write("shop/endpoints/drop.sql", "/*---\nsummary = \"x\"\n---*/\nDROP TABLE sale\n");
    let said = project.fails(&["serve", "--project", "shop", "--listen", "127.0.0.1:0"]);
    for finding in ["lakegate.toml:", "base_pth", "endpoints/broken.sql:4:", "nowhere", "endpoints/drop.sql:4:"] {
        assert!(said.contains(finding), "{finding} in {said}");
    }
    // The server reports the findings of `check`.
    let checked = project.run(&["check", "--project", "shop"]);
    assert_eq!(checked.code, Some(1));
    for finding in checked.stdout.lines() {
        assert!(said.contains(finding), "{finding} in {said}");
    }
}

/// Ctrl-C and SIGTERM end an idle server immediately, even with open connections.
#[test]
fn a_signal_ends_an_idle_server() {
    for signal in ["INT", "TERM"] {
        let (project, token) = shop();
        let mut server = serve(&project, &[]);
        let idle = TcpStream::connect(server.address()).unwrap();
        let mut kept = TcpStream::connect(server.address()).unwrap();
        kept.set_read_timeout(Some(PATIENCE)).unwrap();
        use std::io::{Read, Write};
        write!(kept, "GET /api HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\n\r\n").unwrap();
        assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
        server.signal(signal);
        let ran = server.wait();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{signal}: {ran:?}");
        drop((idle, kept));
    }
}

/// The log contains each refusal with its reason, and no token: none from a header, a query string or a path.
#[test]
fn the_log_has_no_token_and_no_colours() {
    let (project, token) = shop();
    let arguments = ["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(project.command(&arguments).env("LAKEGATE_LOG", "debug"));
    assert_eq!(server.get("/api/best_products", &token).status, 200);
    assert_eq!(server.get(&format!("/api/best_products?token={token}"), &token).refusal().0, 400);
    assert_eq!(server.get(&format!("/api/best_products?{token}=1"), &token).refusal().0, 400);
    assert_eq!(server.get(&format!("/api/{token}"), &token).refusal().0, 400);
    assert_eq!(server.get(&format!("/{token}/best_products"), &token).refusal().0, 400);
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhY21lIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    assert_eq!(server.get("/api/best_products", jwt).refusal().0, 401);
    assert_eq!(server.get(&format!("/api/best_products?at_least={jwt}"), &token).refusal().0, 400);
    assert_eq!(server.get(&format!("/api/{jwt}"), &token).refusal().0, 400);
    assert_eq!(server.post("/api/best_products", &token, &format!("{{\"token\": \"{token}\"}}")).refusal().0, 400);
    let refused = server.get("/api/best_products?at_least=x", &token);
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();
    let ran = server.stop();
    assert_eq!(ran.code, Some(0));
    let secret = token.rsplit('_').next().unwrap();
    for line in ran.stderr.lines() {
        assert!(!line.contains(secret) && !line.contains(&secret[..20]), "{line}");
        assert!(!line.contains("eyJ"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    let line = ran.stderr.lines().find(|line| line.contains(&id)).unwrap();
    assert!(line.contains("status=400") && line.contains("arguments_invalid"), "{line}");
}

#[test]
fn a_server_that_nobody_may_call_says_so() {
    let project = Project::new();
    project.ok(&["init", "shop"]);
    let server = serve(&project, &[]);
    eventually("the server accepts connections", || TcpStream::connect(server.address()).is_ok());
    let said = server.stop().stderr;
    assert!(said.contains("nobody may call yet") && said.contains("lakegate principal add"), "{said}");
}

/// The systemd unit becomes ready when the server accepts requests, and is notified when it drains.
#[cfg(unix)]
#[test]
fn systemd_is_told() {
    let (project, token) = shop();
    let path = project.path().join("notify");
    let notified = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 64];
        let length = notified.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    let arguments = ["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(project.command(&arguments).env("NOTIFY_SOCKET", &path));
    assert_eq!(told(), "READY=1");
    assert_eq!(server.get("/api/best_products", &token).status, 200);
    assert_eq!(server.stop().code, Some(0));
    assert_eq!(told(), "STOPPING=1");
}
