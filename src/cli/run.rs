//! `run`: runs the daemon.
//!
//! This module starts and stops the parts of the daemon's process: one task per token, the server and the alerts. It
//! also handles the signals.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::azure_clients::{AzureClients, AzureRenewer};
use super::signals::{listen, stopped};
use super::{ExitCode, Global, Stop, load};
use crate::alert::notifier;
use crate::alert::notifier::Notifier;
use crate::daemon::Daemon;
use crate::process::clock::Clock;
use crate::serve::http::Extras;
use crate::serve::{http, systemd};
use crate::status::journal::keep_journal;
use crate::token::managed::ManagedToken;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial run
  perennial run --config ./perennial.toml --log-format json

Endpoints at the address `listen` of [http] (127.0.0.1:9464 by default):
  /          the status page
  /status    the same as JSON
  /metrics   for Prometheus
  /health    200, or 503 while action is needed
  /livez     200 while the task of every token runs
  /readyz    200 after the first attempt for every token

Signals:
  SIGHUP            check every token now
  SIGTERM, SIGINT   save every new token, then stop (after 25 s at the latest)";

/// `run` takes no arguments: everything is in the configuration.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {}

/// Keeps all configured tokens alive until a signal stops the daemon.
///
/// # Errors
/// Returns an error for a wrong configuration, for an address in use, or if a signal handler cannot be installed. Also
/// returns an error if a task ends unexpectedly. The daemon keeps running even if a service does not answer.
pub async fn run(_: RunArgs, global: &Global) -> Result<ExitCode, Stop> {
    let mut config = load(global)?;
    let (listener, address) = bind(config.http.listen).await?;
    for warning in config.warnings() {
        warn!(event = "too_many_tokens_of_one_user", action = warning.action, "{}", warning.summary);
    }
    let clock = Clock::host();
    let peers = AzureClients::new(&config, clock.clone())?;
    let mut stopped = Box::pin(stopped()?);
    let mut hangup = listen(SignalKind::hangup())?;

    // From here on, `config.tokens` is empty. Each rotator owns the configuration of its token.
    let tokens = std::mem::take(&mut config.tokens);
    let here = tokens[0].deployment.clone();
    let renewers = renewers(&peers, &tokens);
    let rotators: Vec<_> = tokens.into_iter().map(|grant| peers.rotator(&grant, "run")).collect();
    let sinks = config.alerts.iter().map(|sink| sink.name.clone());
    let mut daemon = Daemon::new(rotators, &clock, |board| board.with_sinks(sinks));
    for (place, sink) in config.alerts.iter().enumerate() {
        let notifier = Notifier { sink: sink.clone(), here: here.clone(), outbound: peers.outbound() };
        daemon.notify_by(notifier::keep_told(notifier, daemon.board().clone(), place));
    }
    let renewed_apps = renewers.len();
    for renewer in renewers {
        daemon.renew_by(renewer);
    }
    daemon.notify_by(keep_journal(daemon.board().clone()));
    if let Some(heartbeat) = config.heartbeat.clone() {
        daemon.notify_by(notifier::keep_beating(heartbeat, peers.outbound(), daemon.board().clone()));
    }
    let served = CancellationToken::new();
    let extras = Extras { calls: peers.calls.clone(), status: config.http.status };
    let mut serving = tokio::spawn(http::serve(listener, daemon.board().clone(), extras, served.clone()));
    let mut told = std::pin::pin!(systemd::keep_told(daemon.board().clone()));
    info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        tokens = daemon.tokens(),
        renewed_apps,
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
                info!(event = "reload_requested");
                daemon.reload();
            }
            _ = &mut serving => return Err(Stop::Failed(anyhow::anyhow!("the HTTP server stopped unexpectedly"))),
            // If a task ends unexpectedly, the process exits with an error, and the supervisor restarts the process.
            broken = daemon.broken() => return Err(Stop::Failed(anyhow::anyhow!("{broken}"))),
        }
    }
    info!(event = "stopping");
    systemd::stopping();
    let all_saved = daemon.stop().await;
    // The server stops last, so that health checks get correct answers during the stop.
    served.cancel();
    if !all_saved {
        return Ok(ExitCode::Failed);
    }
    let _ended = serving.await;
    info!(event = "stopped");
    Ok(ExitCode::Done)
}

/// Returns one renewer for each app whose credential Perennial renews.
fn renewers(peers: &AzureClients, tokens: &[ManagedToken]) -> Vec<AzureRenewer> {
    let mut found: Vec<AzureRenewer> = Vec::new();
    for renewer in tokens.iter().filter_map(|grant| peers.renewer(grant, "run")) {
        if found.iter().all(|known| !Arc::ptr_eq(&known.app, &renewer.app)) {
            found.push(renewer);
        }
    }
    found
}

/// Binds the address. Returns the listener and its actual address: for port 0, the system chooses the port.
async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Stop> {
    let bound = async {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    let cannot = || format!("cannot listen on {listen}, the address `listen` of [http]");
    bound.await.with_context(cannot).map_err(Stop::Failed)
}
