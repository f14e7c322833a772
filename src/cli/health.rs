//! `health`: checks that the running daemon is alive. Container health checks use this command.

use clap::Args;

use super::running_daemon::{ask, reached_at};
use super::{ExitCode, Global, Stop, load, out};

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial health
  perennial health > /dev/null && echo alive

In a Dockerfile, without a shell:
  HEALTHCHECK CMD [\"/usr/local/bin/perennial\", \"health\"]";

/// `health` takes no arguments: the address is in the configuration.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {}

/// Sends a request to `/livez` at the configured address.
///
/// # Errors
/// Returns an error for a wrong configuration, or if the configured port is 0.
pub async fn run(_: HealthArgs, global: &Global) -> Result<ExitCode, Stop> {
    let listen = load(global)?.http.listen;
    if listen.port() == 0 {
        return Err(Stop::Failed(anyhow::anyhow!(
            "listen of [http] has port 0, so the port changes at each start: set a fixed port to use `health`"
        )));
    }
    let mut said = String::new();
    for address in reached_at(listen) {
        let (what, code) = match ask(address, "/livez").await?.map(|answer| answer.status().as_u16()) {
            Ok(200) => ("alive".to_owned(), Some(ExitCode::Done)),
            Ok(status) => (format!("not alive: HTTP status {status}"), Some(ExitCode::Failed)),
            Err(summary) => (format!("no answer: {summary}"), None),
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
