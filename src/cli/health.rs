//! `health`: asks the running daemon whether its loop turns. For container health checks.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::ExitCode;
use super::Global;
use super::Stop;
use super::load;
use super::out;
use crate::azure::http_client;
use crate::azure::transport;

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
    let config = load(global)?;
    let address = reached_at(config.http.listen);
    if address.port() == 0 {
        return Err(Stop::Failed(anyhow::anyhow!(
            "[http] listen leaves the port open: nobody knows which it is"
        )));
    }
    let (said, code) = match ask(address).await? {
        Ok(200) => (format!("{address}: alive"), ExitCode::Done),
        Ok(status) => (format!("{address}: not alive, it answers {status}"), ExitCode::Failed),
        Err(why) => (format!("{address}: no answer, {why}"), ExitCode::Failed),
    };
    out::line(said).map_err(|error| Stop::Failed(error.into()))?;
    Ok(code)
}

async fn ask(address: SocketAddr) -> Result<Result<u16, String>, Stop> {
    let client = http_client(None, false).map_err(|error| Stop::Failed(error.into()))?;
    let request = client.get(format!("http://{address}/livez")).timeout(ANSWERS_WITHIN);
    let answer = request.send().await;
    Ok(answer.map(|answer| answer.status().as_u16()).map_err(|error| transport::classify(&error).to_string()))
}

/// Where this machine reaches what listens there: an unspecified address is listened on, not asked.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("[::]:9464", "[::1]:9464"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("10.1.2.3:9464", "10.1.2.3:9464"),
        ] {
            assert_eq!(reached_at(listen.parse().expect("an address")).to_string(), asked);
        }
    }
}
