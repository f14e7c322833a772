//! `run`: the daemon.
//!
//! Owns the composition for a long life: one task per token, signals, and the end.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;

use super::ExitCode;
use super::Global;
use super::Stop;
use super::load;
use super::shipped::Shipped;
use super::shipped::ShippedRotator;
use super::signals::listen;
use super::signals::stopped;
use crate::board::Board;
use crate::clock::Clock;
use crate::daemon;
use crate::daemon::GRACE;
use crate::daemon::Signals;
use crate::schedule::Next;
use crate::snapshot::Snapshot;
use crate::state::State;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial run
  perennial run --config ./perennial.toml --log-format json

Signals:
  SIGHUP            look now
  SIGTERM, SIGINT   stop, once nothing is unsaved or after 25 s";

/// What `run` takes: everything is in the configuration.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {}

/// First proofs are this far apart, so that many tokens do not all ask at once.
const STAGGER: Duration = Duration::from_millis(50);

/// Keeps all configured tokens alive until a signal says stop.
///
/// # Errors
/// A wrong configuration, or a process that cannot have signals. Peers that do not answer are no
/// reason to end.
pub async fn run(_: RunArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let clock = Clock::host();
    let peers = Shipped::new(&config, clock.clone())?;
    let mut stopped = Box::pin(stopped()?);
    let mut hangup = listen(SignalKind::hangup())?;

    let stop = CancellationToken::new();
    let (poke, poked) = watch::channel(0);
    let mut tasks = JoinSet::new();
    let rotators: Vec<_> = config.tokens.iter().map(|grant| peers.rotator(grant, "run")).collect();
    let board = Board::new(rotators.iter().map(|rotator| (&rotator.grant, &rotator.timing)), clock.clone());
    for (place, rotator) in rotators.into_iter().enumerate() {
        let publish = publisher(&board, place, &rotator);
        let nth = u32::try_from(place).unwrap_or(u32::MAX);
        let due_at = clock.now() + crate::state::delta(STAGGER.saturating_mul(nth));
        let signals = Signals { stop: stop.clone(), poke: poked.clone() };
        tasks.spawn(daemon::keep(rotator, State::unknown(due_at), signals, publish));
    }
    info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        tokens = config.tokens.len(),
        vault_identity = config.vault.identity.name()
    );

    loop {
        tokio::select! {
            () = &mut stopped => break,
            _ = hangup.recv() => {
                info!(event = "poked");
                poke.send_modify(|times| *times += 1);
            }
            Some(ended) = tasks.join_next() => {
                // A task ends by itself only by a broken invariant: the supervisor starts afresh.
                let reason = ended.err().map(|error| error.to_string());
                return Err(Stop::Failed(anyhow::anyhow!("a token's task ended: {reason:?}")));
            }
        }
    }
    info!(event = "stopping");
    stop.cancel();
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        error!(
            event = "stopped_unsaved",
            tokens = tasks.len(),
            "a successor could not be saved in time; its predecessor in the vault is still good at Entra"
        );
        return Ok(ExitCode::Failed);
    }
    info!(event = "stopped");
    Ok(ExitCode::Done)
}

fn publisher(board: &Board, place: usize, rotator: &ShippedRotator) -> impl Fn(&State, &Next) + use<> {
    let (board, grant, timing) = (board.clone(), rotator.grant.clone(), rotator.timing.clone());
    move |state, next| {
        let now = board.clock().now();
        board.publish(place, Snapshot::of(&grant, &timing, state, next, now));
    }
}
