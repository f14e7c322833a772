//! An HTTPS server on this machine, for unit tests of the modules that call other services. The server creates its own
//! certificate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

use crate::net::address::{BaseUrl, Roots};
use crate::net::http::Http;
use crate::net::server;
use crate::net::server::ClientLimits;

/// No test reaches these limits.
const LIMITS: ClientLimits = ClientLimits {
    connections: 128,
    head_within: Duration::from_secs(60),
    head_bytes: 64 * 1024,
    connection_lives: Duration::from_secs(600),
    keep_alive: true,
};

/// A request that the server received.
pub(crate) struct Seen {
    /// The method and the path with its query, such as `GET /a?b=c`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header, or an empty text if the header is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// Builds a response.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let response = headers
        .iter()
        .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    response.body(body.into()).expect("a response")
}

/// A test server that runs until the test ends.
pub(crate) struct Loopback {
    /// The base URL of the server.
    pub(crate) base: BaseUrl,
    /// An HTTP client that trusts the server's certificate.
    pub(crate) http: Arc<Http>,
    /// All requests received so far.
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl Loopback {
    /// The request lines received so far, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panicked").iter().map(|seen| seen.line.clone()).collect()
    }
}

/// Starts a server on a free port. The server answers every request with `answer`.
pub(crate) async fn serve(answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static) -> Loopback {
    let (acceptor, ca_pem) = certificate();
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let routes = Router::new().fallback(async move |request: Request| {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let arrived = Seen {
            line: format!("{} {}", head.method, head.uri.path_and_query().expect("a path")),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let response = answer(&arrived);
        kept.lock().expect("nobody panicked").push(arrived);
        response
    });
    let open = move |tcp| acceptor.accept(tcp);
    tokio::spawn(server::serve(vec![tcp], open, routes, LIMITS, CancellationToken::new()));
    Loopback {
        base: BaseUrl::parse(&format!("https://localhost:{port}")).expect("a base URL"),
        http: Arc::new(Http::new(Roots::Pem(ca_pem.into_bytes()), false).expect("a client")),
        seen,
    }
}

fn certificate() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a server's settings");
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}
