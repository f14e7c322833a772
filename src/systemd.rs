//! What systemd is told: ready, one line for people, that the loop turns, and that it stops.
//!
//! Owns the messages and when they are sent. Without `NOTIFY_SOCKET` nothing is sent and nothing wakes up
//! (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::board::Board;
use crate::snapshot::Snapshot;
use crate::snapshot::Standing;
use crate::token::Timestamp;

/// Changes that follow each other this closely are told in one line: at start, every token has news.
const SETTLES: Duration = Duration::from_millis(500);

/// Says that the process listens. Not that tokens work: an outage must not make the unit flap.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// Says that the process is about to end.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// Goes on telling how things stand, and that every task turns for as long as that is so. Never ends.
pub async fn keep_told(board: Board) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let mut news = board.subscribe();
    // Half the period that is watched: one ping may be late.
    let mut ping = sd_notify::watchdog_enabled().map(|watched| tokio::time::interval(watched / 2));
    if let Some(ping) = &mut ping {
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut told = String::new();
    loop {
        let line = board.drawn(|snapshots, _, now| line(snapshots, now));
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
            // The sender lives in the board, which is held here.
            _ = news.changed() => {
                tokio::time::sleep(SETTLES).await;
                news.mark_unchanged();
            }
        }
    }
}

/// One line for people. The next step by its time of day: a distance would grow old as it stands.
pub fn line(snapshots: &[Snapshot], now: Timestamp) -> String {
    let count = snapshots.len();
    let mut line = format!("{count} token{}", if count == 1 { "" } else { "s" });
    let standings: Vec<Standing> = snapshots.iter().map(|of| of.standing(now)).collect();
    let mut parts = Standing::ALL.iter().filter_map(|state| {
        let count = standings.iter().filter(|standing| *standing == state).count();
        (count > 0).then(|| format!("{count} {}", words(*state)))
    });
    if let Some(first) = parts.next() {
        line = parts.fold(format!("{line}: {first}"), |line, part| format!("{line}, {part}"));
    }
    match snapshots.iter().filter_map(|of| of.next_step_at).min().filter(|at| *at > now) {
        Some(at) if at.date_naive() == now.date_naive() => {
            format!("{line}; next step at {}", at.format("%H:%M UTC"))
        }
        Some(at) => format!("{line}; next step on {}", at.format("%Y-%m-%d at %H:%M UTC")),
        None => line,
    }
}

fn words(state: Standing) -> &'static str {
    match state {
        Standing::Current => "current",
        Standing::Unsaved => "unsaved",
        Standing::NeedsLogin => "needs login",
        Standing::NeedsOperator => "needs an operator",
        Standing::Expired => "expired",
        Standing::Off => "off",
        Standing::Unknown => "not known yet",
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
    use std::sync::Arc;

    use chrono::TimeDelta;

    use crate::clock::Clock;
    use crate::samples;
    use crate::schedule::Timing;
    use crate::state::State;

    fn now() -> Timestamp {
        "2026-03-08T10:00:00Z".parse().expect("a time")
    }

    fn snapshot(proved: bool, next_step: TimeDelta) -> Snapshot {
        let grant = samples::grant("a");
        let timing = Timing::new(&grant.policy, &grant.name, 0.0);
        let state = State { proved_at: proved.then(now), ..State::unknown(now()) };
        let next = crate::schedule::Next::Wait(now() + next_step);
        Snapshot::of(&Arc::new(grant), &timing, &state, &next, now())
    }

    #[test]
    fn the_line_counts_the_states_and_names_the_next_step() {
        let all = [snapshot(true, TimeDelta::hours(4)), snapshot(false, TimeDelta::days(1))];

        assert_eq!(line(&all, now()), "2 tokens: 1 current, 1 not known yet; next step at 14:00 UTC");
        let later = "1 token: 1 not known yet; next step on 2026-03-09 at 10:00 UTC";
        assert_eq!(line(&all[1..], now()), later);
        assert_eq!(line(&[], now()), "0 tokens");
    }

    #[tokio::test(start_paused = true)]
    async fn without_systemd_nothing_wakes_up() {
        let board = Board::new(std::iter::empty(), Clock::running(now(), 1.0));

        let told = tokio::time::timeout(Duration::from_secs(86_400), keep_told(board));

        told.await.expect_err("it waits");
    }
}
