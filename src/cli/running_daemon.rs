//! The running daemon of the same configuration, as a command asks it: over HTTP, where `[http] listen` says.
//!
//! Owns where it is reached and what bounds the question. No proxy, no redirect; whatever answers there may be anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use super::Stop;
use crate::config::Config;
use crate::net::classify::classify;
use crate::net::http::{http_client, read_bounded};
use crate::status::document::Status;

/// A loop that turns answers at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Bounds a status, with so much more for each token.
const STATUS_BYTES: usize = 64 * 1024;
const STATUS_BYTES_A_TOKEN: usize = 8 * 1024;

/// Why there is no daemon's view.
#[derive(Debug, Error)]
pub(super) enum NoDaemonView {
    /// Port 0: the system chose one.
    #[error("[http] listen leaves the port open, so no daemon can be asked")]
    OpenPort,
    /// Nothing that listens, or nothing in time.
    #[error("no daemon answers at {0}")]
    Silent(SocketAddr),
    /// Beyond loopback it is served only where the configuration says so.
    #[error("what answers at {0} serves no status: see [http] status")]
    NotServed(SocketAddr),
    /// Another program, or another version.
    #[error("what answers at {0} is not a Perennial of this version")]
    Stranger(SocketAddr),
    /// Another deployment, or an older configuration.
    #[error("the daemon at {0} keeps other tokens than this configuration")]
    OtherTokens(SocketAddr),
}

/// What the running daemon says of this configuration's tokens.
///
/// # Errors
/// This host has no root certificates, without which there is no HTTP client.
pub(super) async fn status(config: &Config) -> Result<Result<Status, NoDaemonView>, Stop> {
    let listen = config.http.listen;
    if listen.port() == 0 {
        return Ok(Err(NoDaemonView::OpenPort));
    }
    let most = STATUS_BYTES + STATUS_BYTES_A_TOKEN * config.tokens.len();
    for address in reached_at(listen) {
        let Ok(mut answer) = ask(address, "/status").await? else { continue };
        return Ok(match answer.status().as_u16() {
            200 => match read_bounded(&mut answer, most).await.ok().and_then(|body| Status::parse(&body)) {
                Some(status) if status.is_of(&config.tokens) => Ok(status),
                Some(_) => Err(NoDaemonView::OtherTokens(address)),
                None => Err(NoDaemonView::Stranger(address)),
            },
            404 => Err(NoDaemonView::NotServed(address)),
            _ => Err(NoDaemonView::Stranger(address)),
        });
    }
    Ok(Err(NoDaemonView::Silent(listen)))
}

/// Asks what listens there; else says why no answer came.
pub(super) async fn ask(address: SocketAddr, path: &str) -> Result<Result<reqwest::Response, String>, Stop> {
    let client = http_client(None, false).map_err(|error| Stop::Failed(error.into()))?;
    let request = client.get(format!("http://{address}{path}")).timeout(ANSWERS_WITHIN);
    Ok(request.send().await.map_err(|error| classify(&error).to_string()))
}

/// Where this machine reaches what listens there: an unspecified address is listened on, not asked. What
/// listens on `[::]` is asked by IPv4 too, since a container's network may have no IPv6, even on loopback.
pub(super) fn reached_at(listen: SocketAddr) -> Vec<SocketAddr> {
    let hosts: Vec<IpAddr> = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        ip => vec![ip],
    };
    hosts.into_iter().map(|host| SocketAddr::new(host, listen.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("[::]:9464", &["127.0.0.1:9464", "[::1]:9464"][..]),
            ("0.0.0.0:1", &["127.0.0.1:1"]),
            ("127.0.0.1:9464", &["127.0.0.1:9464"]),
            ("10.1.2.3:9464", &["10.1.2.3:9464"]),
        ] {
            let asked: Vec<SocketAddr> = asked.iter().map(|one| one.parse().expect("an address")).collect();
            assert_eq!(reached_at(listen.parse().expect("an address")), asked);
        }
    }
}
