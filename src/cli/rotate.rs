//! `rotate`: one pass, then exit. For cron, CI and Kubernetes `CronJobs`.
//!
//! Owns the pass: the same steps as the daemon's, once for each token, with no wait but for a
//! successor that is not saved yet.

use chrono::TimeDelta;
use clap::Args;
use futures::StreamExt as _;
use futures::future;
use futures::stream;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::ExitCode;
use super::Global;
use super::Stop;
use super::load;
use super::out;
use super::shipped::Shipped;
use super::shipped::ShippedRotator;
use super::signals::stopped;
use crate::clock::Clock;
use crate::condition::conditions;
use crate::config::Config;
use crate::daemon;
use crate::failure::Remedy;
use crate::schedule::Next;
use crate::snapshot::Snapshot;
use crate::snapshot::Standing;
use crate::state::Phase;
use crate::state::State;
use crate::token::Grant;
use crate::token::Timestamp;
use crate::version::VersionId;
use crate::version::rfc3339;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial rotate                          # prove all, rotate what is due
  perennial rotate --dry-run                # only say what that would do
  perennial rotate partner-center --force   # rotate this one now
  perennial rotate --json > result.json";

/// What `rotate` takes.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Rotate what is not due, too
    #[arg(long)]
    pub force: bool,
    /// Read the vault and say what would be done; redeem nothing, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// The outcome of a rehearsal with a token that was refused before.
const REFUSED: &str = "refused_would_prove";

/// What a pass did to one token.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    /// `rotated`, `proved`, `would_rotate`, `would_prove`, `refused_would_prove`, `off` or `failed`.
    outcome: &'static str,
    state: Standing,
    version: Option<VersionId>,
    issued_at: Option<String>,
    expires_at: Option<String>,
    rotate_at: Option<String>,
    partner_center_accepts: Option<bool>,
    kind: Option<&'static str>,
    remedy: Option<&'static str>,
    summary: Option<String>,
    action: Option<String>,
    #[serde(skip)]
    code: ExitCode,
}

/// Proves the tokens and rotates what is due, or all with `--force`.
///
/// # Errors
/// A wrong configuration, or a name that it does not know. What goes wrong with a token is in the result
/// and in the exit code.
pub async fn run(args: RotateArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let grants = select(&config, &args.names)?;
    let clock = Clock::host();
    let shipped = Shipped::for_person(&config, clock.clone()).await?;
    let all = grants.len();
    let stop = CancellationToken::new();
    let (stopped, stopping) = (stopped()?, stop.clone());
    tokio::spawn(async move {
        stopped.await;
        stopping.cancel();
    });
    let passes = grants.into_iter().map(|grant| {
        let rotator = shipped.rotator(grant, "rotate");
        let hold = rotator.hold.clone();
        let (args, stop) = (&args, &stop);
        async move {
            tokio::select! {
                biased;
                outcome = pass(rotator, args) => Some(outcome),
                () = hold.may_end(stop) => None,
            }
        }
    });
    // A stop begins nothing more; what has begun is ended where it holds a successor.
    let begun = stream::iter(passes).take_until(stop.cancelled());
    let outcomes: Vec<_> = begun.buffered(super::AT_ONCE).filter_map(future::ready).collect().await;
    report(&outcomes, args.json).map_err(|error| Stop::Failed(error.into()))?;
    let left = all - outcomes.len();
    if left > 0 {
        return Err(Stop::Failed(anyhow::anyhow!(
            "stopped by a signal: {left} of {all} tokens were not tried"
        )));
    }
    Ok(outcomes.iter().fold(ExitCode::Done, |worst, outcome| worst.gravest(outcome.code)))
}

/// The tokens of those names, or all.
///
/// # Errors
/// A name that is not configured.
pub fn select<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Grant>, Stop> {
    if let Some(unknown) = names.iter().find(|name| !config.tokens.iter().any(|g| g.name.as_str() == **name))
    {
        let known: Vec<&str> = config.tokens.iter().map(|grant| grant.name.as_str()).collect();
        let known = known.join(", ");
        return Err(Stop::Usage(format!("no token is called {unknown:?}; configured are: {known}")));
    }
    let wanted = |grant: &&Grant| names.is_empty() || names.iter().any(|name| grant.name.as_str() == name);
    Ok(config.tokens.iter().filter(wanted).collect())
}

async fn pass(mut rotator: ShippedRotator, args: &RotateArgs) -> Report {
    let started = rotator.clock.now();
    let unknown = State::unknown(started);
    if args.dry_run {
        let state = rotator.peek(unknown).await;
        let due = state.newest.as_ref().is_some_and(|newest| {
            args.force || rotator.timing.rotation_is_due(newest, &state, rotator.clock.now())
        });
        let would = match &state.newest {
            Some(newest) if newest.is_refused() => REFUSED,
            _ if due => "would_rotate",
            _ => "would_prove",
        };
        return summarise(&rotator, &state, would);
    }
    let mut state = Box::pin(rotator.prove(unknown, args.force)).await;
    state = daemon::save_within_grace(&mut rotator, state, |_| true).await;
    if let Next::Mark(tags) = rotator.timing.next(&state, rotator.clock.now()) {
        state = rotator.step(state, Next::Mark(tags)).await;
    }
    let done = if state.last_rotation_at.is_some() { "rotated" } else { "proved" };
    summarise(&rotator, &state, done)
}

fn summarise(rotator: &ShippedRotator, state: &State, done: &'static str) -> Report {
    let now = rotator.clock.now();
    let next = rotator.timing.next(state, now);
    let snapshot = Snapshot::of(&rotator.grant, &rotator.timing, state, &next, now);
    let failure = state.failing.as_ref().map(|failing| &failing.failure);
    let action = failure.and_then(|failure| {
        let all = conditions(std::slice::from_ref(&snapshot), TimeDelta::zero(), now);
        all.into_iter().find(|condition| condition.kind == failure.kind).map(|condition| condition.action)
    });
    let off = matches!(state.phase, Phase::Off { .. });
    let code = match failure {
        None => ExitCode::Done,
        // Off is what somebody asked for.
        Some(_) if off => ExitCode::Done,
        Some(failure) => failure.remedy.into(),
    };
    let shown = |at: Option<Timestamp>| at.map(rfc3339);
    Report {
        name: snapshot.grant.name.to_string(),
        outcome: match failure {
            None => done,
            Some(_) if off => "off",
            Some(_) => "failed",
        },
        state: snapshot.standing(now),
        issued_at: shown(snapshot.issued_at),
        expires_at: shown(snapshot.expires_at),
        rotate_at: shown(snapshot.rotate_at),
        version: snapshot.version,
        partner_center_accepts: snapshot.accepted,
        kind: failure.map(|failure| failure.kind.as_str()),
        remedy: failure.map(|failure| failure.remedy).map(Remedy::as_str),
        summary: failure.map(|failure| failure.summary.clone()),
        action,
        code,
    }
}

fn report(outcomes: &[Report], json: bool) -> std::io::Result<()> {
    if json {
        return out::json(&outcomes);
    }
    for outcome in outcomes {
        let Report { name, outcome: done, .. } = outcome;
        out::line(match (&outcome.summary, &outcome.expires_at) {
            (Some(summary), _) => format!("{name}: {done}: {summary}"),
            (None, Some(expires_at)) if outcome.outcome != REFUSED => {
                format!("{name}: {done}, good until {expires_at}")
            }
            (None, _) => format!("{name}: {done}"),
        })?;
        if let Some(action) = &outcome.action {
            out::line(format!("  -> {action}"))?;
        }
    }
    Ok(())
}
