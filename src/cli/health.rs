//! `health`: asks the running daemon whether its loop turns. For container health checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::{ExitCode, Global, Stop, load, out};
use crate::net::classify::classify;
use crate::net::http::http_client;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial health
  perennial health > /dev/null && echo alive

In a Dockerfile, without a shell:
  HEALTHCHECK CMD [\"/usr/local/bin/perennial\", \"health\"]";

/// What `health` takes: where the daemon listens is in the configuration.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {}

/// A loop that turns answers at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Asks `/livez` on the configured address.
///
/// # Errors
/// A wrong configuration, or one that leaves the port open.
pub async fn run(_: HealthArgs, global: &Global) -> Result<ExitCode, Stop> {
    let listen = load(global)?.http.listen;
    if listen.port() == 0 {
        return Err(Stop::Failed(anyhow::anyhow!(
            "[http] listen leaves the port open: nobody knows which it is"
        )));
    }
    let mut said = String::new();
    for address in reached_at(listen) {
        let (what, code) = match ask(address).await? {
            Ok(200) => ("alive".to_owned(), Some(ExitCode::Done)),
            Ok(status) => (format!("not alive, it answers {status}"), Some(ExitCode::Failed)),
            Err(summary) => (format!("no answer, {summary}"), None),
        };
        said = format!("{address}: {what}");
        if let Some(code) = code {
            return answer(&said, code);
        }
    }
    answer(&said, ExitCode::Failed)
}

fn answer(said: &str, code: ExitCode) -> Result<ExitCode, Stop> {
    out::line(said).map_err(|error| Stop::Failed(error.into()))?;
    Ok(code)
}

async fn ask(address: SocketAddr) -> Result<Result<u16, String>, Stop> {
    let client = http_client(None, false).map_err(|error| Stop::Failed(error.into()))?;
    let request = client.get(format!("http://{address}/livez")).timeout(ANSWERS_WITHIN);
    let answer = request.send().await;
    Ok(answer.map(|answer| answer.status().as_u16()).map_err(|error| classify(&error).to_string()))
}

/// Where this machine reaches what listens there: an unspecified address is listened on, not asked. What
/// listens on `[::]` is asked by IPv4 too, since a container's network may have no IPv6, even on loopback.
fn reached_at(listen: SocketAddr) -> Vec<SocketAddr> {
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
