//! `login`: signs a user in, for the first time or again, and stores the refresh token.
//!
//! This module owns the order of the steps: read the app's credential and the vault, sign the user in, judge the
//! answer, store the token, and read it back. `login::judge` decides which tokens may be stored.
//!
//! Invariants: The command writes nothing before all checks pass. The command exchanges each authorization code only
//! once. The command prints no authorization code and no token.

mod browser;
mod code;
mod session;
mod device;
mod import;
mod listener;
mod page;
mod pasted;

use std::time::Duration;

use clap::Args;

use self::session::{LoginSession, StoredLogin};
use super::azure_clients::AzureClients;
use super::rotate::select;
use super::{ExitCode, Global, Stop, load, out};
use crate::config::Config;
use crate::login::judge;
use crate::process::clock::Clock;
use crate::process::telemetry::LogFormat;
use crate::token::managed::ManagedToken;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  # sign in with this machine's browser
  perennial login partner-center
  perennial login partner-center --login-hint admin@contoso.com
  # over SSH: paste the address that your browser shows at the end
  perennial login partner-center --no-browser
  # over SSH with a forwarded port (ssh -L 8400:127.0.0.1:8400)
  perennial login partner-center --no-browser --port 8400
  # replace the token of another user
  perennial login partner-center --replace-user
  # store a refresh token that you have
  perennial login partner-center --import < token.txt
  # sign in on another device (a fallback, see below)
  perennial login partner-center --device-code

The app registration needs the redirect URI http://localhost under the platform
Web. Entra ignores the port. Do not use the platform Single-page application:
the tokens of such an app expire after 24 hours. Do not use the platform Mobile
and desktop applications: this platform is for apps without a secret.

Perennial stores the token only if all of this is true: tenant, app and user
match the configuration; the scope is granted; the sign-in used a second factor;
Partner Center accepts the access token.

Phishers use device codes, so many tenants block device codes. If a policy
blocks device codes later, Entra also rejects the tokens from earlier device
codes. Never type a code that you did not request yourself.";

/// What `login` takes.
#[expect(clippy::struct_excessive_bools, reason = "each switch of the command line is one bool")]
#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// The token, by name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print the sign-in address, then ask for the address that your browser shows at the end
    #[arg(long)]
    pub no_browser: bool,
    /// Sign in on another device with a code (a fallback, see below)
    #[arg(long, conflicts_with_all = ["no_browser", "port", "login_hint"])]
    pub device_code: bool,
    /// Read an existing refresh token from stdin, redeem it, and store its successor
    #[arg(long, conflicts_with_all = ["no_browser", "port", "login_hint", "device_code", "timeout"])]
    pub import: bool,
    /// Allow another user than the user of the stored token
    #[arg(long)]
    pub replace_user: bool,
    /// The account that the sign-in page suggests
    #[arg(long, value_name = "UPN")]
    pub login_hint: Option<String>,
    /// The port of the redirect, http://localhost:PORT [default: any free port]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// How long to wait for the sign-in [default: 5m, or until the device code expires]
    #[arg(long, value_name = "SPAN", value_parser = super::span)]
    pub timeout: Option<Duration>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Signs a user in and stores the token.
///
/// # Errors
/// Returns an error if the configuration is wrong, if no token has this name, or if a step fails. If a step fails, the
/// error says what to do.
pub async fn run(args: LoginArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let grants = select(&config, std::slice::from_ref(&args.name))?;
    let kept = sign_in(&config, grants[0], &args, global).await;
    let kept = kept.map_err(|stop| match stop {
        Stop::Refused(refused) => refused.typed(&grants[0].deployment).into(),
        other => other,
    })?;
    report(&args.name, &kept, args.json).map_err(|error| Stop::Failed(error.into()))?;
    Ok(ExitCode::Done)
}

async fn sign_in(
    config: &Config,
    grant: &ManagedToken,
    args: &LoginArgs,
    global: &Global,
) -> Result<StoredLogin, Stop> {
    let shipped = AzureClients::for_person(config, Clock::host()).await?;
    let rotator = shipped.rotator(grant, "login");
    let voice = Prompter { json: global.log_format == Some(LogFormat::Json) };
    let token = if args.import { Some(import::read()?) } else { None };
    let desk = LoginSession::open(rotator, voice, args.replace_user).await?;
    Ok(match token {
        Some(token) => import::sign_in(&desk, &token).await?,
        None if args.device_code => device::sign_in(&desk, args.timeout).await?,
        None => code::sign_in(&desk, args, &config.secret_variables()).await?,
    })
}

fn report(name: &str, kept: &StoredLogin, json: bool) -> std::io::Result<()> {
    if json {
        return out::json(kept);
    }
    let oid = kept.user_oid.as_deref();
    let user = oid.map_or_else(|| "a user".to_owned(), |oid| judge::person(oid, kept.user_name.as_deref()));
    let company = kept.company.as_deref().map(|company| format!(" of {company}")).unwrap_or_default();
    out::line(format!(
        "{name}: {user}{company} signed in; the token is stored as version {}, good until {}",
        kept.version, kept.expires_at
    ))
}

/// Prints messages to the user on stderr, since stdout is only for results.
#[derive(Clone, Copy, Debug)]
struct Prompter {
    json: bool,
}

impl Prompter {
    fn say(self, event: &'static str, text: &str) {
        if self.json {
            tracing::info!(event, "{text}");
        } else {
            eprintln!("{text}");
        }
    }
}
