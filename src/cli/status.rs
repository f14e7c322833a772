//! `status`: how the tokens stand by what the vault says, with no daemon and no redemption.
//!
//! Owns the vault's view: the newest version of each token and the notes in its tags, made into the same
//! document that a daemon serves. What only a daemon knows is null in it.

mod table;

use chrono::TimeDelta;
use clap::Args;
use futures::StreamExt as _;
use futures::stream;

use super::azure_clients::{AzureClients, AzureRotator};
use super::rotate::select;
use super::{ExitCode, Global, Monitored, Stop, for_people, known, load, out};
use crate::ports::failure::{FailureSubject, Kind};
use crate::process::clock::{Clock, Timestamp};
use crate::process::relative;
use crate::rotation::state::State;
use crate::status::condition::Severity;
use crate::status::document::{Status, StatusSource};
use crate::status::snapshot::{Snapshot, TokenState};

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial status
  perennial status partner-center --json
  perennial status --monitor        # one line and 0, 1, 2 or 3, for monitoring plugins

This is what the vault says: a proof is noted there once a day. The daemon itself, where it runs,
knows more: http://127.0.0.1:9464/status

The exit code follows what is shown as critical: 3 where somebody must sign in, 4 where an operator
must act, 1 where a token could not be read and trying again may help, else 0.

With --monitor: 0 healthy, 1 attention, 2 action needed, 3 cannot tell, as after a mistake in the
configuration.";

/// What `status` takes.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Write the document that the daemon serves as /status
    #[arg(long)]
    pub json: bool,
    /// Write one line and exit as monitoring plugins do
    #[arg(long, conflicts_with = "json")]
    pub monitor: bool,
}

/// Reads the vault and says how the tokens stand.
///
/// # Errors
/// A wrong configuration, or a name that it does not know; none of them with `--monitor`.
pub async fn run(args: StatusArgs, global: &Global) -> Result<ExitCode, Stop> {
    let found = look(&args, global).await;
    let written = |outcome: std::io::Result<()>| outcome.map_err(|error| Stop::Failed(error.into()));
    if args.monitor {
        let (verdict, line) = match &found {
            Ok(found) => (found.verdict(), found.line()),
            Err(stop) => (Monitored::CannotTell, for_people(stop).replace('\n', ";")),
        };
        let word = word(verdict);
        written(out::line(format!("PERENNIAL {word} - {line}")))?;
        return Ok(ExitCode::Monitored(verdict));
    }
    let found = found?;
    if args.json {
        written(out::json(&found.status))?;
    } else {
        written(out::line(table::of(&found.status, out::has_colours())))?;
    }
    Ok(found.code)
}

/// What was found.
struct Found {
    status: Status,
    /// Tokens whose secret could not be read, so that nothing is known of them.
    unread: usize,
    code: ExitCode,
}

async fn look(args: &StatusArgs, global: &Global) -> Result<Found, Stop> {
    let config = load(global)?;
    let grants = select(&config, &args.names)?;
    let clock = Clock::host();
    let shipped = AzureClients::for_person(&config, clock.clone()).await?;
    let reads = grants.into_iter().map(|grant| peek(shipped.rotator(grant, "status")));
    let snapshots: Vec<Snapshot> = stream::iter(reads).buffered(super::AT_ONCE).collect().await;
    let now = clock.now();
    let status = Status::of(&snapshots, clock.skew(), now, StatusSource::Vault);
    let unread = snapshots.iter().filter(|of| is_unread(of)).count();
    let codes = snapshots.iter().map(|of| known::in_the_way(of, now).0);
    Ok(Found { status, unread, code: codes.fold(ExitCode::Done, ExitCode::gravest) })
}

async fn peek(mut rotator: AzureRotator) -> Snapshot {
    let peeked = rotator.peek(State::unknown(rotator.clock.now())).await;
    known::draw(&rotator, peeked.logged(&rotator.grant.name))
}

fn is_unread(of: &Snapshot) -> bool {
    of.failure().is_some_and(|failure| {
        let unread =
            matches!(failure.kind, Kind::VaultUnreachable | Kind::VaultRefused | Kind::VaultIdentity);
        failure.about == FailureSubject::Token && unread
    })
}

impl Found {
    fn verdict(&self) -> Monitored {
        let unknown = self.status.tokens.iter().any(|token| token.state == TokenState::Unknown);
        match self.status.gravest(None) {
            Some(Severity::Critical) => Monitored::ActionNeeded,
            _ if unknown || self.unread > 0 => Monitored::CannotTell,
            Some(Severity::Warning) => Monitored::Attention,
            None => Monitored::Healthy,
        }
    }

    /// What matters, and numbers behind a bar as plugins write them.
    fn line(&self) -> String {
        let Status { tokens, conditions, .. } = &self.status;
        let count = |severity| conditions.iter().filter(|one| one.severity == severity).count();
        let unknown = tokens.iter().filter(|token| token.state == TokenState::Unknown).count();
        let said = match conditions.first() {
            Some(gravest) => {
                let more = conditions.len() - 1;
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{}: {}{more}", gravest.kind.as_str(), gravest.tokens.join(", "))
            }
            None if unknown > 0 => format!("{unknown} of {} not proved lately", tokens.len()),
            None => format!("{} of {} current", tokens.len() - unknown, tokens.len()),
        };
        let runway = tokens.iter().filter_map(|token| token.runway_seconds).min();
        let runway = runway.map_or_else(|| "U".to_owned(), |seconds| format!("{seconds}s"));
        let (critical, warning) = (count(Severity::Critical), count(Severity::Warning));
        format!(
            "{} | tokens={} critical={critical} warning={warning} runway={runway}",
            said.replace('|', "/"),
            tokens.len()
        )
    }
}

fn word(verdict: Monitored) -> &'static str {
    match verdict {
        Monitored::Healthy => "OK",
        Monitored::Attention => "WARNING",
        Monitored::ActionNeeded => "CRITICAL",
        Monitored::CannotTell => "UNKNOWN",
    }
}

/// A span until then, or a dash.
fn left(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| relative::until(at, now))
}

/// A span since then, or a dash.
fn passed(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| relative::ago(at, now))
}

/// An age, or a dash.
fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    let none = TimeDelta::zero();
    at.map_or_else(|| "-".to_owned(), |at| relative::span((now - at).max(none)))
}
