//! `status`: shows the tokens' status. The source is the running daemon or, without a daemon, the vault. The command
//! redeems nothing.
//!
//! This module chooses the source. From the vault, this module reads each token's newest version and its tags, and
//! builds a status document. This document has the same form as the daemon's document. Values that only a daemon knows
//! are null.

mod table;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use futures::stream;
use serde::Serialize;

use super::azure_clients::AzureClients;
use super::rotate::select;
use super::{ExitCode, Global, Monitored, Stop, for_people, known, load, out, running_daemon};
use crate::ports::{Issuer, Resource, Vault};
use crate::process::clock::{Clock, Timestamp, rfc3339};
use crate::process::relative;
use crate::rotation::rotate::Rotator;
use crate::rotation::state::State;
use crate::status::condition::Severity;
use crate::status::document::{Status, StatusSource};
use crate::status::snapshot::Snapshot;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial status
  perennial status partner-center --json
  # print one line, and exit with the code of a monitoring plugin
  perennial status --monitor
  # read the tags in Key Vault, even if the daemon answers
  perennial status --source vault

The command asks the running daemon at the address `listen` of [http]. If no
daemon answers, or if the daemon's tokens differ from the configuration, the
command reads the tags in Key Vault. The tags record a proof only once a day, so
the daemon's answer is more exact. The last line of the output names the source.

The exit code depends on the conditions: 3 if a user must sign in, 4 if an
administrator must act, 1 if a token could not be read and a retry may help,
else 0.

With --monitor: 0 healthy, 1 warning, 2 critical, 3 unknown.
The code is 3, for example, if the configuration has a mistake.";

/// What `status` takes.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Where to read the status [default: the daemon, else the vault]
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<AskedSource>,
    /// Write the document that the daemon serves as /status
    #[arg(long)]
    pub json: bool,
    /// Print one line, and exit with a monitoring plugin's code
    #[arg(long, conflicts_with = "json")]
    pub monitor: bool,
}

/// The source that `status` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AskedSource {
    /// The running daemon only.
    Daemon,
    /// The vault, whether a daemon runs or not.
    Vault,
}

/// Asks the daemon or reads the vault, and prints the status.
///
/// # Errors
/// Returns an error for a wrong configuration or an unknown name. With `--source daemon`, also returns an error if the
/// daemon's status is missing. With `--monitor`, such an error becomes the result UNKNOWN.
pub async fn run(args: StatusArgs, global: &Global) -> Result<ExitCode, Stop> {
    let found = look(&args, global).await;
    let written = |outcome: std::io::Result<()>| outcome.map_err(|error| Stop::Failed(error.into()));
    if args.monitor {
        let (verdict, line) = match &found {
            Ok(found) => (verdict(&found.status), found.line()),
            Err(stop) => (Monitored::CannotTell, for_people(stop).replace('\n', ";")),
        };
        let word = word(verdict);
        written(out::line(format!("PERENNIAL {word} - {line}")))?;
        return Ok(ExitCode::Monitored(verdict));
    }
    let found = found?;
    if args.json {
        written(out::json(&found))?;
    } else {
        written(out::line(table::of(&found.status, &found.view, out::has_colors())))?;
    }
    let codes = found.status.in_the_way().map(|condition| ExitCode::from(condition.remedy));
    Ok(codes.fold(ExitCode::Done, ExitCode::gravest))
}

/// The line that `--monitor` prints shows at most this many token names.
const MOST_NAMES: usize = 3;

/// A status document with its source.
#[derive(Serialize)]
struct Viewed {
    /// The source in words. The document's field `source` has the short name.
    view: String,
    #[serde(flatten)]
    status: Status,
}

async fn look(args: &StatusArgs, global: &Global) -> Result<Viewed, Stop> {
    let config = load(global)?;
    let grants = select(&config, &args.names)?;
    let no_daemon = if args.source == Some(AskedSource::Vault) {
        String::new()
    } else {
        match running_daemon::status(&config).await? {
            Ok(status) => {
                let view = format!("from the running daemon, at {}", rfc3339(status.now));
                return Ok(Viewed { view, status: status.narrowed(&grants) });
            }
            Err(none) if args.source == Some(AskedSource::Daemon) => return Err(Stop::Failed(none.into())),
            Err(none) => format!("; {none}"),
        }
    };
    let clock = Clock::host();
    let shipped = AzureClients::for_person(&config, clock.clone()).await?;
    let reads = grants.into_iter().map(|grant| peek(shipped.rotator(grant, "status")));
    let snapshots: Vec<Snapshot> = stream::iter(reads).buffered(super::AT_ONCE).collect().await;
    let status = Status::of(&snapshots, clock.skew(), clock.now(), StatusSource::Vault);
    let is_read = status.unread() < status.tokens.len();
    let read = if is_read { "from the tags in Key Vault" } else { "no token could be read from Key Vault" };
    Ok(Viewed { view: format!("{read}{no_daemon}"), status })
}

/// Reads a token's newest version and derives the token's status from this version and its tags.
pub async fn peek<I, V, R>(mut rotator: Rotator<I, V, R>) -> Snapshot
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    let peeked = rotator.peek(State::unknown(rotator.clock.now())).await;
    known::draw(&rotator, peeked.logged(&rotator.grant.name))
}

/// Returns the result for a monitoring system. A critical condition outranks a token whose state is unknown. Such a
/// token outranks a warning.
pub fn verdict(status: &Status) -> Monitored {
    match status.gravest(None) {
        Some(Severity::Critical) => Monitored::ActionNeeded,
        _ if status.unknown() + status.unread() > 0 => Monitored::CannotTell,
        Some(Severity::Warning) => Monitored::Attention,
        None => Monitored::Healthy,
    }
}

impl Viewed {
    /// Returns the summary, a vertical bar, and performance data, in the format of monitoring plugins.
    fn line(&self) -> String {
        let Status { tokens, conditions, .. } = &self.status;
        let count = |severity| conditions.iter().filter(|one| one.severity == severity).count();
        let unknown = self.status.unknown();
        let said = match conditions.first() {
            Some(gravest) => {
                let more = conditions.len() - 1;
                let more = if more > 0 { format!("; {more} more") } else { String::new() };
                format!("{}: {}{more}", gravest.kind.as_str(), gravest.names(MOST_NAMES))
            }
            None if unknown > 0 => format!("{unknown} of {} tokens not proved recently", tokens.len()),
            None => format!("{} of {} current", tokens.len() - unknown, tokens.len()),
        };
        let runway = tokens.iter().filter_map(|token| token.runway_seconds).min();
        let runway = runway.map_or_else(|| "U".to_owned(), |seconds| format!("{seconds}s"));
        let (critical, warning) = (count(Severity::Critical), count(Severity::Warning));
        let said = format!("{said} ({})", self.view).replace('|', "/");
        let count = tokens.len();
        format!("{said} | tokens={count} critical={critical} warning={warning} runway={runway}")
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

/// Returns the span from now until `at`, or a dash if `at` is unknown.
fn left(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| relative::until(at, now))
}

/// Returns how long ago `at` was, such as `2 h ago`, or a dash if `at` is unknown.
fn passed(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| relative::ago(at, now))
}

/// Returns the time since `at`, such as `2 h`, or a dash if `at` is unknown.
fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    let none = TimeDelta::zero();
    at.map_or_else(|| "-".to_owned(), |at| relative::span((now - at).max(none)))
}
