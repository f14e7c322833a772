//! Sends HTTP requests from a command to the running daemon. The command's own configuration contains the daemon's
//! address (`listen` of `[http]`).
//!
//! This module owns the daemon's address and the limits of the request. The request uses no proxy and follows no
//! redirect. Any program may answer at that address, so the answer is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use super::Stop;
use crate::config::Config;
use crate::net::classify::classify;
use crate::net::http::{http_client, read_bounded};
use crate::status::document::Status;

/// The time limit for an answer. A healthy daemon answers much faster.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// The size limit of a status document. Each token adds `STATUS_BYTES_A_TOKEN` to this limit.
const STATUS_BYTES: usize = 64 * 1024;
const STATUS_BYTES_A_TOKEN: usize = 8 * 1024;

/// The reason why the daemon's status is missing.
#[derive(Debug, Error)]
pub(super) enum NoDaemonView {
    /// The configured port is 0, so the system chose a port that this command does not know.
    #[error("listen of [http] has port 0, so this command does not know the daemon's port")]
    OpenPort,
    /// No program listens at this address, or the program did not answer in time.
    #[error("no daemon answers at {0}")]
    Silent(SocketAddr),
    /// The server does not serve `/status`. If a daemon does not listen on a loopback address, it serves `/status` only
    /// if `status` of `[http]` is true.
    #[error("the server at {0} serves no status: set status of [http] to true")]
    NotServed(SocketAddr),
    /// Another program or another version of Perennial answered.
    #[error("the server at {0} is not Perennial, or is a different version of Perennial than this command")]
    Stranger(SocketAddr),
    /// A daemon answered, but its tokens differ from the tokens in this configuration. The daemon belongs to another
    /// deployment, or has an older configuration.
    #[error("the tokens of the daemon at {0} differ from the tokens in this configuration")]
    OtherTokens(SocketAddr),
}

/// Asks the running daemon for the status of the tokens in this configuration.
///
/// # Errors
/// Returns an error if this host has no root certificates. In that case, no HTTP client can be created.
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

/// Sends the request. The inner error says why no answer came.
pub(super) async fn ask(address: SocketAddr, path: &str) -> Result<Result<reqwest::Response, String>, Stop> {
    let client = http_client(None, false).map_err(|error| Stop::Failed(error.into()))?;
    let request = client.get(format!("http://{address}{path}")).timeout(ANSWERS_WITHIN);
    Ok(request.send().await.map_err(|error| classify(&error).to_string()))
}

/// Returns the addresses at which programs on this machine can reach the listener. For an unspecified address, returns
/// the loopback address. For `[::]`, also returns the loopback address of IPv4, since a container's network may have no
/// IPv6.
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
    fn an_unspecified_address_is_asked_on_loopback() {
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
