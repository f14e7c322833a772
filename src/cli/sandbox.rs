//! `sandbox`: serves simulated Entra, Key Vault and Partner Center.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ExitCode, Stop, out};
use crate::config::SHORTEST_SPAN;
use crate::sandbox::server;
use crate::sandbox::server::SandboxOptions;
use crate::token::managed::Policy;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial sandbox --dir ./sandbox
  perennial sandbox --dir ./sandbox --never-signed-in
  perennial sandbox --dir ./sandbox --age 80d --rotate-after 1m \\
    --prove-every 30s
  perennial sandbox --dir ./sandbox --tokens 40
  perennial sandbox --dir ./sandbox --listen 127.0.0.1:9443 --issuer strict";

/// What `sandbox` takes.
#[derive(Clone, Debug, Args)]
pub struct SandboxArgs {
    /// The folder for `ca.pem` and a ready `perennial.toml`
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The address of the simulated services
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// The address of a simulated identity service of an Azure host (plain HTTP; see managed-identity.env)
    #[arg(long, value_name = "ADDR")]
    pub identity_listen: Option<SocketAddr>,
    /// The age of the stored token at the start
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = super::span)]
    pub age: Duration,
    /// The value of `rotate_after` in the perennial.toml that the sandbox writes
    #[arg(long, value_name = "SPAN", value_parser = policy_span)]
    pub rotate_after: Option<Duration>,
    /// The value of `prove_every` in the perennial.toml that the sandbox writes
    #[arg(long, value_name = "SPAN", value_parser = policy_span)]
    pub prove_every: Option<Duration>,
    /// How the issuer treats a token that has been redeemed
    #[arg(long, value_name = "RULES", default_value = "entra")]
    pub issuer: IssuerRules,
    /// Begin without a stored token, to try `login`
    #[arg(long)]
    pub never_signed_in: bool,
    /// Send alerts and heartbeats to the sandbox's own inbox
    #[arg(long)]
    pub inbox: bool,
    /// The number of tokens, each with its own tenant, user and app
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub tokens: u16,
}

/// How the issuer treats a token that has been redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IssuerRules {
    /// A redeemed token stays valid until it expires, as at Entra
    Entra,
    /// A token works only once; a second use ends all tokens of the sign-in (RFC 9700, 4.14)
    Strict,
}

/// Parses a span. Rejects a span that `run` would reject in the generated configuration.
fn policy_span(text: &str) -> Result<Duration, String> {
    let span = super::span(text)?;
    let longest = Policy::default().lifetime / 3;
    match span {
        span if span < SHORTEST_SPAN => Err("must be 10s or more".to_owned()),
        span if span > longest => Err("must be 30d or less (a third of the token's lifetime)".to_owned()),
        span => Ok(span),
    }
}

/// Serves the simulated services until the process is stopped.
///
/// # Errors
/// Returns an error for an address in use, or for a directory that cannot be written.
pub async fn run(args: SandboxArgs) -> Result<ExitCode, Stop> {
    let options = SandboxOptions {
        dir: args.dir,
        listen: args.listen,
        identity_listen: args.identity_listen,
        age: args.age,
        rotate_after: args.rotate_after,
        prove_every: args.prove_every,
        strict: args.issuer == IssuerRules::Strict,
        never_signed_in: args.never_signed_in,
        inbox: args.inbox,
        tokens: args.tokens.into(),
        program: std::env::args_os().next().unwrap_or_else(|| "perennial".into()).into(),
    };
    let stop = super::signals::stopped()?;
    let say = |text: &str| drop(out::line(text));
    let served = server::serve(&options, stop, say).await;
    served.map(|()| ExitCode::Done).map_err(|error| Stop::Failed(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_run_rejects_is_rejected_here() {
        assert_eq!(policy_span("10s"), Ok(SHORTEST_SPAN));
        assert_eq!(policy_span("30d"), Ok(Policy::default().lifetime / 3));
        for (text, wanted) in [("5s", "10s or more"), ("31d", "30d or less"), ("soon", "must be a number")] {
            assert!(policy_span(text).is_err_and(|summary| summary.contains(wanted)), "{text}");
        }
    }
}
