//! Test certificates, and a client for HTTP/1.1 and HTTP/2 with and without TLS. It contains no tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The host name in all certificates.
pub(crate) const NAME: &str = "lake.example";

/// A certificate authority for a test.
pub(crate) struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// Writes a new certificate, then its key, as a renewal tool does.
    pub(crate) fn issue(&self, certificate: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        let issued = params.signed_by(&pair, &self.issuer).unwrap();
        std::fs::write(certificate, issued.pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }

    /// Connects with TLS. Also returns the server's certificate.
    pub(crate) async fn connect(
        &self,
        address: &str,
        alpn: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<(Connection, Vec<u8>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(alpn.as_bytes()));
        let shown = session.peer_certificates().unwrap()[0].to_vec();
        Ok((Connection::over(stream, alpn == "h2").await, shown))
    }
}

/// A connection that sends requests.
pub(crate) enum Connection {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Connection {
    /// Connects without TLS.
    pub(crate) async fn plain(address: &str, is_two: bool) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), is_two).await
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, is_two: bool) -> Self {
        let io = TokioIo::new(stream);
        if is_two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            return Self::Two(sender);
        }
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub(crate) async fn get(&mut self, path: &str, token: &str) -> hyper::Result<Response<Incoming>> {
        let url = format!("http://{NAME}{path}");
        match self {
            Self::One(sender) => {
                sender.ready().await?;
                let request = Request::get(path).header("host", NAME).header("token", token);
                sender.send_request(request.body(Body::empty()).unwrap()).await
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(Request::get(url).header("token", token).body(Body::empty()).unwrap()).await
            }
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

/// The complete body; an error when it is truncated.
pub(crate) async fn body(response: Response<Incoming>) -> hyper::Result<Bytes> {
    use http_body_util::BodyExt;
    Ok(response.into_body().collect().await?.to_bytes())
}
