//! Listens for signals. SIGTERM and SIGINT stop a command. SIGHUP makes `run` prove every token now.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Stop;

/// Listens from now on for signals of this kind.
///
/// # Errors
/// Returns an error if the signal handler cannot be installed.
pub fn listen(kind: SignalKind) -> Result<Signal, Stop> {
    let cannot = |error| anyhow::Error::new(error).context("cannot install signal handlers");
    signal(kind).map_err(cannot).map_err(Stop::Failed)
}

/// Returns a cancellation token. From now on, SIGTERM or SIGINT cancels this token.
///
/// # Errors
/// Returns the same errors as [`listen`].
pub fn stop() -> Result<CancellationToken, Stop> {
    let stop = CancellationToken::new();
    let (stopped, stopping) = (stopped()?, stop.clone());
    tokio::spawn(async move {
        stopped.await;
        stopping.cancel();
    });
    Ok(stop)
}

/// Returns a future that waits for SIGTERM or SIGINT. A signal that arrives before the first poll is not lost.
///
/// # Errors
/// Returns the same errors as [`listen`].
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
