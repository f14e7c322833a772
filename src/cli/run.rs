//! `run`: the daemon.
//!
//! Owns the composition for a long life: one task per token, what is served and told about them,
//! signals, and the end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;

use super::ExitCode;
use super::Global;
use super::Stop;
use super::load;
use super::shipped::Shipped;
use super::signals::listen;
use super::signals::stopped;
use crate::board::Board;
use crate::clock::Clock;
use crate::courier;
use crate::courier::Courier;
use crate::daemon;
use crate::daemon::GRACE;
use crate::daemon::Signals;
use crate::holds::Holds;
use crate::http;
use crate::http::Extras;
use crate::state::State;
use crate::systemd;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial run
  perennial run --config ./perennial.toml --log-format json

Serves, where [http] listen says (127.0.0.1:9464):
  /           how things stand, for people     /health    200, or 503 while action is needed
  /status     the same as JSON                 /livez     200 while the loop turns
  /metrics    for Prometheus                   /readyz    200 once every token has been tried

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
/// A wrong configuration, an address that is taken, or a process that cannot have signals. Peers that do
/// not answer are no reason to end.
pub async fn run(_: RunArgs, global: &Global) -> Result<ExitCode, Stop> {
    let mut config = load(global)?;
    let (listener, address) = bind(config.http.listen).await?;
    let clock = Clock::host();
    let peers = Shipped::new(&config, clock.clone())?;
    let mut stopped = Box::pin(stopped()?);
    let mut hangup = listen(SignalKind::hangup())?;

    let stop = CancellationToken::new();
    let (poke, poked) = watch::channel(0);
    let mut tasks = JoinSet::new();
    // Each grant lives in its rotator from here on, and nowhere else.
    let tokens = std::mem::take(&mut config.tokens);
    let count = tokens.len();
    let rotators: Vec<_> = tokens.into_iter().map(|grant| peers.rotator(&grant, "run")).collect();
    let board = Board::new(rotators.iter().map(|rotator| (&rotator.grant, &rotator.timing)), clock.clone())
        .with_sinks(config.alerts.iter().map(|sink| sink.name.clone()));
    let holds = Holds::new(count);
    for (place, mut rotator) in rotators.into_iter().enumerate() {
        rotator.hold = holds.of(place);
        let publish = board.publisher(place);
        let nth = u32::try_from(place).unwrap_or(u32::MAX);
        let turn = crate::state::delta(STAGGER.saturating_mul(nth));
        let signals = Signals { stop: stop.clone(), poke: poked.clone(), turn };
        let pulse = board.pulses().of(place);
        tasks.spawn(daemon::keep(rotator, State::unknown(clock.now() + turn), signals, pulse, publish));
    }
    // They end with the process: what is not told is still due after the next start.
    let mut telling = JoinSet::new();
    for (place, sink) in config.alerts.iter().enumerate() {
        let courier = Courier { sink: sink.clone(), outbound: peers.outbound() };
        telling.spawn(courier::keep_told(courier, board.clone(), place));
    }
    if let Some(heartbeat) = config.heartbeat.clone() {
        telling.spawn(courier::keep_beating(heartbeat, peers.outbound(), board.clone()));
    }
    let served = CancellationToken::new();
    let extras = Extras { calls: peers.calls.clone(), status: config.http.status };
    let mut serving = tokio::spawn(http::serve(listener, board.clone(), extras, served.clone()));
    let mut told = std::pin::pin!(systemd::keep_told(board));
    info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        tokens = count,
        alert_sinks = config.alerts.len(),
        heartbeat = config.heartbeat.is_some(),
        vault_identity = config.vault.identity.name()
    );
    info!(event = "listening", %address, status_page = config.http.status);
    systemd::ready();

    loop {
        tokio::select! {
            () = &mut stopped => break,
            () = &mut told => {}
            _ = hangup.recv() => {
                info!(event = "poked");
                poke.send_modify(|times| *times += 1);
            }
            Some(_) = telling.join_next() => {
                return Err(Stop::Failed(anyhow::anyhow!("an alert's or the heartbeat's task ended")));
            }
            _ = &mut serving => return Err(Stop::Failed(anyhow::anyhow!("the server ended"))),
            Some(ended) = tasks.join_next() => {
                // A task ends by itself only by a broken invariant: the supervisor starts afresh.
                let reason = ended.err().map(|error| error.to_string());
                return Err(Stop::Failed(anyhow::anyhow!("a token's task ended: {reason:?}")));
            }
        }
    }
    info!(event = "stopping");
    systemd::stopping();
    let give_up_at = Instant::now() + GRACE;
    stop.cancel();
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout_at(give_up_at, all_ended).await.is_ok();
    // Served to the end: whoever probes meanwhile is told the truth.
    served.cancel();
    let _late = tokio::time::timeout_at(give_up_at, serving).await;
    if !in_time {
        error!(
            event = "stopped_unsaved",
            tokens = holds.successors(),
            "a successor could not be saved in time; its predecessor in the vault is still good at Entra"
        );
        return Ok(ExitCode::Failed);
    }
    info!(event = "stopped");
    Ok(ExitCode::Done)
}

/// Takes the address before anything else is begun; says which one it is where any port would do.
async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Stop> {
    let bound = async {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    let cannot = || format!("cannot listen on {listen} ([http] listen)");
    bound.await.with_context(cannot).map_err(Stop::Failed)
}
