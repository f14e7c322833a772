//! Sends notifications to systemd: ready, a status line, watchdog pings, and stopping.
//!
//! This module owns the messages and their timing. Without `NOTIFY_SOCKET`, this module sends no messages and starts no
//! timer (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::status::board::StatusBoard;
use crate::status::line::line;

/// The wait after a change, so that one status line reports several changes together. For example, the state of every
/// token changes at start-up.
const SETTLES: Duration = Duration::from_millis(500);

/// Reports that the process has started and listens. The process reports this even if no token works. Otherwise systemd
/// would restart the unit during an outage.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// Reports that the process is about to stop.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// Sends status lines. Also sends watchdog pings while every token task makes progress. This function never returns.
pub async fn keep_told(board: StatusBoard) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let mut news = board.subscribe();
    // The ping interval is half the watchdog's timeout, so that a late ping does no harm.
    let mut ping = sd_notify::watchdog_enabled().map(|watched| tokio::time::interval(watched / 2));
    if let Some(ping) = &mut ping {
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut told = String::new();
    loop {
        let line = board.read(|snapshots| line(snapshots, board.clock().now()));
        if line != told {
            send(&NotifyState::Status(&line));
            told = line;
        }
        let tick = async {
            match &mut ping {
                Some(ping) => ping.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tick => {
                if board.pulses().all_turn() {
                    send(&NotifyState::Watchdog);
                }
            }
            // `changed` cannot fail, because the board owns the sender and lives longer than this loop.
            _ = news.changed() => {
                tokio::time::sleep(SETTLES).await;
                news.mark_unchanged();
            }
        }
    }
}

fn send(what: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(what)) {
        tracing::debug!(event = "systemd_not_told", reason = %error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::process::clock::{Clock, Timestamp};

    fn now() -> Timestamp {
        "2026-03-08T10:00:00Z".parse().expect("a time")
    }

    #[tokio::test(start_paused = true)]
    async fn without_systemd_nothing_wakes_up() {
        let board = StatusBoard::new(std::iter::empty(), Clock::running(now(), 1.0));

        let told = tokio::time::timeout(Duration::from_secs(86_400), keep_told(board));

        told.await.expect_err("it waits");
    }
}
