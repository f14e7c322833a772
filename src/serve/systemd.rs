//! Notifications to systemd: ready, a status line, the watchdog, and stopping.
//!
//! Owns the messages and their times. Without `NOTIFY_SOCKET` nothing is sent and no timer runs (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::status::board::StatusBoard;
use crate::status::line::line;

/// Changes within this time are sent in one line: at start-up, every token changes.
const SETTLES: Duration = Duration::from_millis(500);

/// Reports that the process listens. It does not report that tokens work: an outage must not restart the unit.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// Reports that the process is about to end.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// Sends status lines, and watchdog pings while every task makes progress. Never ends.
pub async fn keep_told(board: StatusBoard) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let mut news = board.subscribe();
    // Half the watchdog's period: one ping may be late.
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
            // Cannot fail: the board, which is held here, owns the sender.
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
