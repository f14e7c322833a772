//! The signals that end a command that would otherwise go on.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Stop;

/// Listens for one signal from now on.
///
/// # Errors
/// A process that cannot have signals.
pub fn listen(kind: SignalKind) -> Result<Signal, Stop> {
    let cannot = |error| anyhow::Error::new(error).context("cannot install signal handlers");
    signal(kind).map_err(cannot).map_err(Stop::Failed)
}

/// Is cancelled by SIGTERM or SIGINT, whichever comes first; listens from now on.
///
/// # Errors
/// As [`listen`].
pub fn stop() -> Result<CancellationToken, Stop> {
    let stop = CancellationToken::new();
    let (stopped, stopping) = (stopped()?, stop.clone());
    tokio::spawn(async move {
        stopped.await;
        stopping.cancel();
    });
    Ok(stop)
}

/// Ends with SIGTERM or SIGINT, whichever comes first; listens from now on.
///
/// # Errors
/// As [`listen`].
pub fn stopped() -> Result<impl Future<Output = ()>, Stop> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
