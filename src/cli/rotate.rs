//! `rotate`: carries out one pass for each token and exits. It is meant for cron, CI and Kubernetes `CronJobs`.
//!
//! This module owns the pass: the daemon's steps, once for one token. A pass repeats only two kinds of failed step:
//! the save of a new refresh token, and the proof of a `strict` token that has not been redeemed yet.

use clap::Args;
use futures::StreamExt as _;
use futures::{future, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::azure_clients::{AzureClients, AzureRotator};
use super::{ExitCode, Global, Stop, known, load, out, signals};
use crate::config::Config;
use crate::ports::failure::Remedy;
use crate::process::clock::{Clock, Timestamp, rfc3339};
use crate::rotation::daemon;
use crate::rotation::schedule::Next;
use crate::rotation::state::State;
use crate::status::snapshot::TokenState;
use crate::token::managed::ManagedToken;
use crate::token::version::{Version, VersionId};

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial rotate                          # prove all, rotate what is due
  perennial rotate --dry-run                # only show what would be done
  perennial rotate partner-center --force   # rotate this one now
  perennial rotate --json > result.json";

/// What `rotate` takes.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Also rotate tokens that are not due
    #[arg(long)]
    pub force: bool,
    /// Only show what would be done; redeem nothing and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// The result of a pass for one token.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    /// The outcome: `rotated`, `proved`, `would_rotate`, `would_prove`, `refused_would_prove`, `expired_would_prove`,
    /// `off` or `failed`.
    outcome: &'static str,
    /// Whether the token can be used. If the token cannot be used, or if this is unknown, `kind`, `remedy`, `summary`
    /// and `action` say why.
    state: TokenState,
    version: Option<VersionId>,
    issued_at: Option<String>,
    expires_at: Option<String>,
    rotate_at: Option<String>,
    partner_center_accepts: Option<bool>,
    /// The kind of the condition. Null if there is no condition, for example if only Partner Center's answer is
    /// missing.
    kind: Option<&'static str>,
    remedy: Option<Remedy>,
    /// Whether the rejection is confirmed. The daemon sends no alert for an unconfirmed rejection: it redeems the token
    /// again first. Null if there is no rejection.
    confirmed: Option<bool>,
    summary: Option<String>,
    action: Option<String>,
    #[serde(skip)]
    code: ExitCode,
}

/// Proves the tokens and rotates the tokens that are due. With `--force`, rotates all tokens.
///
/// # Errors
/// Returns an error for a wrong configuration or an unknown name. A token's failures are in the result and in the exit
/// code.
pub async fn run(args: RotateArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let grants = select(&config, &args.names)?;
    let clock = Clock::host();
    let shipped = AzureClients::for_person(&config, clock.clone()).await?;
    let all = grants.len();
    let stop = signals::stop()?;
    let passes = grants.into_iter().map(|grant| {
        let rotator = shipped.rotator(grant, "rotate");
        let hold = rotator.hold.clone();
        let (args, stop) = (&args, &stop);
        async move {
            tokio::select! {
                biased;
                outcome = pass(rotator, args, stop) => Some(outcome),
                () = hold.may_end(stop) => None,
            }
        }
    });
    // The passes of all tokens run concurrently, but each step waits for its permits (`wait_turn`). After a stop
    // request, no further pass begins. A pass that could lose a successor continues.
    let begun = stream::iter(passes).take_until(stop.cancelled());
    let outcomes: Vec<_> = begun.buffered(all.max(1)).filter_map(future::ready).collect().await;
    report(&outcomes, args.json).map_err(|error| Stop::Failed(error.into()))?;
    let left = all - outcomes.len();
    if left > 0 {
        return Err(Stop::Failed(anyhow::anyhow!(
            "stopped by a signal: the command did not process {left} of {all} tokens"
        )));
    }
    Ok(outcomes.iter().fold(ExitCode::Done, |worst, outcome| worst.gravest(outcome.code)))
}

/// Returns the tokens with these names. Without names, returns all tokens.
///
/// # Errors
/// Returns an error for a name that is not configured.
pub fn select<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a ManagedToken>, Stop> {
    if let Some(unknown) = names.iter().find(|name| !config.tokens.iter().any(|g| g.name.as_str() == **name))
    {
        let known: Vec<&str> = config.tokens.iter().map(|grant| grant.name.as_str()).collect();
        let known = known.join(", ");
        return Err(Stop::Usage(format!("no token is named {unknown:?}; the configuration has: {known}")));
    }
    let wanted =
        |grant: &&ManagedToken| names.is_empty() || names.iter().any(|name| grant.name.as_str() == name);
    Ok(config.tokens.iter().filter(wanted).collect())
}

async fn pass(mut rotator: AzureRotator, args: &RotateArgs, stop: &CancellationToken) -> Report {
    let started = rotator.clock.now();
    let unknown = State::unknown(started);
    if args.dry_run {
        rotator.wait_turn(&unknown, &Next::CheckVault).await;
        let state = rotator.peek(unknown).await.logged(&rotator.grant.name);
        let due = state.newest.as_ref().is_some_and(|newest| {
            args.force || rotator.timing.rotation_is_due(newest, &state, rotator.clock.now())
        });
        return summarise(&rotator, state, if due { "would_rotate" } else { "would_prove" }, true);
    }
    let state = daemon::prove_within_grace(&mut rotator, unknown, args.force).await;
    let mut state = daemon::save_within_grace(&mut rotator, state, stop, |_| true).await;
    state = daemon::own_up(&rotator, state);
    state = daemon::note(&mut rotator, state).await;
    let done = if state.last_rotation_at.is_some() { "rotated" } else { "proved" };
    summarise(&rotator, state, done, false)
}

/// Returns the token's result after the pass. A dry run (`rehearsal`) does not ask Entra or Partner Center whether the
/// token works. A dry run therefore does not fail if the token's state is unknown.
fn summarise(rotator: &AzureRotator, state: State, done: &'static str, rehearsal: bool) -> Report {
    let failed = state.failure().is_some();
    let refused = state.newest.as_ref().is_some_and(Version::is_refused);
    let snapshot = known::draw(rotator, state);
    let now = rotator.clock.now();
    let standing = snapshot.standing(now);
    let (code, told) = known::in_the_way(&snapshot, now);
    let name = snapshot.grant.name.to_string();
    let confirmed = snapshot.blocked.as_ref().map(|blocked| blocked.is_confirmed);
    let (code, told) = match told {
        Some(told) => (code, Some((Some(told.kind.as_str()), told.remedy, told.summary, told.action))),
        None if standing == TokenState::Current || rehearsal => (code, None),
        None => (ExitCode::Failed, Some(unheard(&name))),
    };
    let (kind, remedy, summary, action) = match told {
        Some((kind, remedy, summary, action)) => (kind, Some(remedy), Some(summary), Some(action)),
        None => (None, None, None, None),
    };
    let shown = |at: Option<Timestamp>| at.map(rfc3339);
    Report {
        name,
        outcome: match standing {
            TokenState::Off => "off",
            _ if failed => "failed",
            _ if rehearsal && refused => "refused_would_prove",
            TokenState::Expired if rehearsal => "expired_would_prove",
            _ => done,
        },
        state: standing,
        issued_at: shown(snapshot.issued_at),
        expires_at: shown(snapshot.expires_at),
        rotate_at: shown(snapshot.rotate_at),
        partner_center_accepts: snapshot.accepted(),
        version: snapshot.version,
        kind,
        remedy,
        confirmed,
        summary,
        action,
        code,
    }
}

/// Returns kind, remedy, summary and action for a token that Entra redeems but that Partner Center has not judged
/// recently.
fn unheard(name: &str) -> (Option<&'static str>, Remedy, String, String) {
    let summary =
        "Entra redeems the token, but Partner Center does not say whether it accepts the access token";
    let action = format!("run `perennial rotate {name}` again in a few minutes");
    (None, Remedy::Retry, summary.to_owned(), action)
}

fn report(outcomes: &[Report], json: bool) -> std::io::Result<()> {
    if json {
        return out::json(&outcomes);
    }
    for outcome in outcomes {
        let Report { name, outcome: done, .. } = outcome;
        out::line(match (&outcome.summary, &outcome.expires_at) {
            (Some(summary), _) => format!("{name}: {done}: {summary}"),
            (None, Some(expires_at)) => format!("{name}: {done}, good until {expires_at}"),
            (None, None) => format!("{name}: {done}"),
        })?;
        if let Some(action) = &outcome.action {
            out::line(format!("  -> {action}"))?;
        }
    }
    Ok(())
}
