//! Sends the heartbeat. An external monitor expects heartbeats and raises an alarm if the heartbeats stop.

use std::time::Duration;

use reqwest::{Method, Request};
use tracing::warn;

use super::{Outbound, Undelivered, address, judged};
use crate::alert::sink::Heartbeat;
use crate::net::calls::CallTarget;
use crate::process::clock::Timestamp;
use crate::status::board::StatusBoard;
use crate::status::condition::TRIED_WITHIN;
use crate::status::line::line;
use crate::status::snapshot::Snapshot;
use crate::token::secret::Source;

/// The wait after a heartbeat that failed.
const PING_AGAIN: Duration = Duration::from_secs(30);

/// Sends heartbeats as long as every token task makes progress and Perennial tries the due steps. If the process is
/// gone or stalled, no heartbeat is sent, and the monitor raises an alarm. Each heartbeat is a POST request, because
/// monitors treat any POST request as a success (docs/azure-facts.md F505).
pub async fn keep_beating(heartbeat: Heartbeat, outbound: Outbound, board: StatusBoard) {
    let mut failing = false;
    loop {
        let mut wait = heartbeat.every;
        if let Some(line) = sign_of_life(&board) {
            let pinged = ping(&heartbeat.url, &outbound, line).await;
            if let Err(missed) = &pinged {
                wait = wait.min(PING_AGAIN);
                if !failing {
                    warn!(event = "heartbeat_missed", reason = %missed.why);
                }
            }
            failing = pinged.is_err();
        } else {
            warn!(
                event = "heartbeat_withheld",
                "the task of a token is stalled or overdue, so Perennial sends no heartbeat ping"
            );
        }
        tokio::time::sleep(wait).await;
    }
}

/// The body of a heartbeat. `None` if the heartbeat must not be sent now.
fn sign_of_life(board: &StatusBoard) -> Option<String> {
    let line = board.drawn(|snapshots, _, now| are_tried(snapshots, now).then(|| line(snapshots, now)));
    line.filter(|_| board.pulses().all_turn())
}

/// Whether Perennial tries all steps that are due. Returns false if any token's next step is overdue by more than
/// `TRIED_WITHIN`.
fn are_tried(snapshots: &[Snapshot], now: Timestamp) -> bool {
    snapshots.iter().filter_map(|of| of.next_step_at).all(|at| at + TRIED_WITHIN >= now)
}

/// Sends one test heartbeat, for `check --alerts`.
///
/// # Errors
/// The delivery failed.
pub async fn try_heartbeat(url: &Source, outbound: &Outbound) -> Result<(), Undelivered> {
    ping(url, outbound, "this is a test ping from `perennial check --alerts`".to_owned()).await
}

async fn ping(url: &Source, outbound: &Outbound, line: String) -> Result<(), Undelivered> {
    let mut request = Request::new(Method::POST, address(url)?.into());
    *request.body_mut() = Some(line.into());
    judged(outbound.exchange((CallTarget::Heartbeat, "ping"), request).await)
}

#[cfg(test)]
mod tests;
