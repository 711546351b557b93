//! The real binary with TLS: accepted clients, certificate renewal, and the response to a client without TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use rustls::version::{TLS12, TLS13};

use crate::serve::process::{configure, serve, shop};
use crate::support::binary::Project;
use crate::support::eventually::{PATIENCE, eventually_async};
use crate::support::secure::{Authority, Connection, body};
use crate::support::wire::Process;

/// The starter project with a certificate of the authority. Returns the certificate's files too.
fn encrypted(authority: &Authority, refresh: u32) -> (Project, String, [PathBuf; 2]) {
    let (project, token) = shop();
    let files = ["shop/chain.pem", "shop/key.pem"].map(|path| project.path().join(path));
    authority.issue(&files[0], &files[1]);
    let tls = format!("[http.tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\nrefresh_seconds = {refresh}\n");
    configure(&project, &tls);
    (project, token, files)
}

async fn shown(authority: &Authority, server: &Process) -> Vec<u8> {
    authority.connect(server.address(), "h2", &[&TLS13]).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_in_both_versions_of_tls_and_http() {
    let authority = Authority::new();
    let (project, token, _) = encrypted(&authority, 600);
    let server = serve(&project, &[]);
    assert!(server.said["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{}", server.said);
    let mut answers = Vec::new();
    for version in [&TLS12, &TLS13] {
        for alpn in ["h2", "http/1.1"] {
            let (mut connection, _) = authority.connect(server.address(), alpn, &[version]).await.unwrap();
            let answer = connection.get("/api/best_products", &token).await.unwrap();
            assert_eq!(answer.status(), 200);
            answers.push(body(answer).await.unwrap());
        }
    }
    assert!(answers[0].len() > 10 && answers.iter().all(|answer| *answer == answers[0]));
    // A client that trusts another authority cannot send a request.
    assert!(Authority::new().connect(server.address(), "h2", &[&TLS13]).await.is_err());
    let health = project.command(&["health", "--url", server.said["url"].as_str().unwrap()]).output().unwrap();
    assert!(health.status.success(), "{health:?}");
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn plain_http_is_refused_with_a_word() {
    let authority = Authority::new();
    let (project, token, _) = encrypted(&authority, 600);
    let server = serve(&project, &[]);
    for request in [
        format!("GET /api/best_products HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let mut plain = TcpStream::connect(server.address()).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        plain.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        let (_, problem) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
        assert_eq!(problem["code"], "request_not_encrypted");
    }
    // Neither text nor a TLS handshake.
    let mut noise = TcpStream::connect(server.address()).unwrap();
    noise.set_read_timeout(Some(PATIENCE)).unwrap();
    noise.write_all(&[0; 64]).unwrap();
    let mut answer = Vec::new();
    let _ = noise.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    let said = server.stop().stderr;
    assert!(!said.contains(token.rsplit('_').next().unwrap()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_while_the_server_runs() {
    let authority = Authority::new();
    // By a signal, and by the periodic check.
    for (refresh, is_told) in [(600, true), (1, false)] {
        let (project, token, [certificate, key]) = encrypted(&authority, refresh);
        let server = serve(&project, &[]);
        let first = shown(&authority, &server).await;
        let (mut kept, _) = authority.connect(server.address(), "h2", &[&TLS13]).await.unwrap();
        assert_eq!(kept.get("/api", &token).await.unwrap().status(), 200);

        authority.issue(&certificate, &key);
        let mut now = first.clone();
        eventually_async("the new certificate is shown", async || {
            if is_told {
                server.signal("HUP");
            }
            now = shown(&authority, &server).await;
            now != first
        })
        .await;
        // Open connections stay open.
        assert_eq!(kept.get("/api", &token).await.unwrap().status(), 200);

        // An invalid certificate is reported, and the previous one stays in use.
        std::fs::write(&key, "nothing").unwrap();
        let log = server.follow();
        eventually_async("the invalid certificate is reported", async || {
            if is_told {
                server.signal("HUP");
            }
            log.lock().unwrap().contains("the new certificate is not taken")
        })
        .await;
        assert_eq!(shown(&authority, &server).await, now);
        let said = server.stop().stderr;
        assert!(said.contains("has no private key in PEM"), "{said}");
    }
}

#[test]
fn a_server_without_its_certificate_does_not_start() {
    let authority = Authority::new();
    let (project, _, [certificate, key]) = encrypted(&authority, 600);
    let serve = ["serve", "--project", "shop", "--listen", "127.0.0.1:0"];
    let other = project.path().join("other.pem");
    // The key belongs to another certificate.
    authority.issue(&other, &key);
    let said = project.fails(&serve);
    assert!(said.contains("cannot be used with the key in") && said.contains("key.pem"), "{said}");
    std::fs::remove_file(&certificate).unwrap();
    let said = project.fails(&serve);
    assert!(said.contains("chain.pem` cannot be read"), "{said}");
}

/// On an address that other machines can reach, the admin API uses TLS as soon as the API has a certificate. On a
/// loopback address it uses TLS only with a certificate of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_is_encrypted_where_others_could_listen() {
    let authority = Authority::new();
    let (project, _, _) = encrypted(&authority, 600);
    let server = serve(&project, &["--admin-listen", "127.0.0.1:0"]);
    assert!(server.said["admin_url"].as_str().unwrap().starts_with("http://127.0.0.1"), "{}", server.said);
    server.stop();

    let server = serve(&project, &["--admin-listen", "0.0.0.0:0"]);
    let url = server.said["admin_url"].as_str().unwrap().to_owned();
    let address = url.strip_prefix("https://").unwrap().replace("0.0.0.0", "127.0.0.1");
    let (mut connection, _) = authority.connect(&address, "http/1.1", &[&TLS13]).await.unwrap();
    assert_eq!(connection.get("/admin/status", "x").await.unwrap().status(), 401);
    assert!(!server.stop().stderr.contains("without encryption"));

    let own = project.path().join("own.pem");
    let own_key = project.path().join("own-key.pem");
    authority.issue(&own, &own_key);
    let lines = format!("certificate = {:?}\nkey = {:?}", own.to_str().unwrap(), own_key.to_str().unwrap());
    configure(&project, &format!("[admin]\nlisten = \"127.0.0.1:0\"\n[admin.tls]\n{lines}\n"));
    let server = serve(&project, &[]);
    let address = server.said["admin_url"].as_str().unwrap().strip_prefix("https://").unwrap().to_owned();
    let (_, of_admin) = authority.connect(&address, "http/1.1", &[&TLS13]).await.unwrap();
    assert_ne!(of_admin, shown(&authority, &server).await);
    drop(Connection::plain(server.address(), false).await);
}
