//! Classifies the errors of the HTTP client.
//!
//! This module owns the mapping from errors to `NoResponse`. Error texts are not kept, because they may contain a URL.

use std::error::Error as StdError;
use std::io;

use tokio_rustls::rustls::CertificateError;

use crate::net::no_response::{NoResponse, TlsFault};

/// Finds out why there was no response. `error` is an error of the HTTP client, or contains such an error. If several
/// errors are nested, the outermost error with a specific reason is used. For example, a rejected tunnel is `Proxy`,
/// even if the error contains a DNS error.
pub fn classify(error: &(dyn StdError + 'static)) -> NoResponse {
    let mut connecting = false;
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(told) = told_by(error) {
            return told;
        }
        connecting |= error.downcast_ref().is_some_and(reqwest::Error::is_connect);
        // The method `source` of an I/O error skips the error that the I/O error contains. So this code checks the
        // contained error directly.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = inner.map_or_else(|| error.source(), |inner| Some(inner));
    }
    if connecting { NoResponse::Connect } else { NoResponse::Cut }
}

fn told_by(error: &(dyn StdError + 'static)) -> Option<NoResponse> {
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return error.is_timeout().then_some(NoResponse::TimedOut);
    }
    if let Some(error) = error.downcast_ref::<tokio_rustls::rustls::Error>() {
        return Some(NoResponse::Tls(told_by_tls(error)));
    }
    let text = error.to_string();
    if text.starts_with("tunnel error") {
        return Some(NoResponse::Proxy);
    }
    let (_, why) = text.split_once("failed to lookup address information")?;
    let unknown = NAME_UNKNOWN.iter().any(|said| why.contains(said));
    Some(if unknown { NoResponse::NameUnknown } else { NoResponse::Lookup })
}

fn told_by_tls(error: &tokio_rustls::rustls::Error) -> TlsFault {
    let tokio_rustls::rustls::Error::InvalidCertificate(error) = error else { return TlsFault::Handshake };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFault::NotInTime,
        // `BadSignature` means that a trusted certificate authority has the issuer's name, but a different key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::OtherName
        }
        // rustls has no variant for a server that uses a CA certificate as its TLS certificate. Instead, rustls wraps
        // the error of webpki.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            TlsFault::Authority
        }
        _ => TlsFault::Certificate,
    }
}

/// The texts of glibc and musl for a host name that does not exist (`EAI_NONAME`, `EAI_NODATA`). All other texts of
/// glibc and musl mean a resolver failure.
const NAME_UNKNOWN: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
];

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use tokio::net::TcpListener;

    use crate::net::http::http_client;

    async fn asked(url: &str) -> NoResponse {
        let client = http_client(None, false).expect("a client");
        let error = client.get(url).send().await.expect_err("no answer");
        classify(&error)
    }

    #[test]
    fn errors_of_the_resolver_are_distinguished() {
        for (said, told) in [
            ("Name or service not known", NoResponse::NameUnknown),
            ("Name does not resolve", NoResponse::NameUnknown),
            ("No address associated with hostname", NoResponse::NameUnknown),
            ("Temporary failure in name resolution", NoResponse::Lookup),
            ("Try again", NoResponse::Lookup),
            ("Device or resource busy", NoResponse::Lookup),
        ] {
            let error = io::Error::other(format!("failed to lookup address information: {said}"));

            assert_eq!(classify(&error), told, "{said}");
        }
    }

    #[test]
    fn a_certificate_is_found_inside_an_io_error() {
        let tls = tokio_rustls::rustls::Error::General("unknown issuer".into());
        let error = io::Error::new(io::ErrorKind::InvalidData, tls);

        assert_eq!(classify(&error), NoResponse::Tls(TlsFault::Handshake));
    }

    #[test]
    fn a_certificate_is_rejected_for_a_reason() {
        for (error, fault) in [
            (CertificateError::Expired, TlsFault::NotInTime),
            (CertificateError::NotValidYet, TlsFault::NotInTime),
            (CertificateError::UnknownIssuer, TlsFault::UnknownIssuer),
            (CertificateError::NotValidForName, TlsFault::OtherName),
            (CertificateError::Revoked, TlsFault::Certificate),
        ] {
            let error = tokio_rustls::rustls::Error::InvalidCertificate(error);

            assert_eq!(classify(&error), NoResponse::Tls(fault), "{error}");
        }
    }

    /// Starts a server with `certificate`. Returns why a client that trusts only `root` rejects the certificate.
    async fn shown(
        certificate: &rcgen::Certificate,
        key: &rcgen::KeyPair,
        root: &str,
        host: &str,
    ) -> NoResponse {
        let key =
            tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = tokio_rustls::rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a caller");
            let _rejected = acceptor.accept(tcp).await;
        });
        let client = http_client(Some(root.as_bytes()), false).expect("a client");
        let error = client.get(format!("https://{host}:{port}/")).send().await.expect_err("not accepted");
        classify(&error)
    }

    /// `openssl req -x509` creates a CA certificate. If a server uses such a certificate for TLS and the client trusts
    /// it, curl connects, but rustls reports an error.
    #[tokio::test]
    async fn a_server_with_an_authoritys_own_certificate_is_told_as_that() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("a certificate");

        let told = shown(&authority, &key, &authority.pem(), "localhost").await;

        assert_eq!(told, NoResponse::Tls(TlsFault::Authority));
    }

    #[tokio::test]
    async fn a_certificate_of_another_name_or_issuer_is_told_as_that() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["other.example".to_owned()]).expect("names");
        let own = params.self_signed(&key).expect("a certificate");
        let stranger =
            rcgen::generate_simple_self_signed(["x.example".to_owned()]).expect("a certificate").cert;

        assert_eq!(shown(&own, &key, &own.pem(), "localhost").await, NoResponse::Tls(TlsFault::OtherName));
        let untrusted = shown(&own, &key, &stranger.pem(), "localhost").await;
        assert_eq!(untrusted, NoResponse::Tls(TlsFault::UnknownIssuer));
    }

    #[test]
    fn a_tunnel_is_the_proxys_whatever_lies_below() {
        #[derive(Debug, thiserror::Error)]
        #[error("tunnel error: failed to create underlying connection")]
        struct Tunnel(#[source] io::Error);
        let below = io::Error::other("failed to lookup address information: Name or service not known");

        assert_eq!(classify(&Tunnel(below)), NoResponse::Proxy);
    }

    #[test]
    fn an_unknown_error_may_follow_an_effect() {
        assert_eq!(classify(&io::Error::from(io::ErrorKind::ConnectionReset)), NoResponse::Cut);
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);

        assert_eq!(asked(&format!("https://127.0.0.1:{port}/")).await, NoResponse::Connect);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_speak_tls_is_a_tls_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a caller");
            tcp.writable().await.expect("open");
            tcp.try_write(b"HTTP/1.0 400 Bad Request\r\n\r\n").expect("written");
            std::future::pending::<()>().await;
        });

        assert_eq!(asked(&format!("https://127.0.0.1:{port}/")).await, NoResponse::Tls(TlsFault::Handshake));
    }

    #[tokio::test]
    async fn no_answer_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let client = http_client(None, false).expect("a client");

        let request = client.get(format!("https://127.0.0.1:{port}/")).timeout(Duration::from_millis(50));
        let error = request.send().await.expect_err("no answer");

        assert_eq!(classify(&error), NoResponse::TimedOut);
    }
}
