//! Logs each condition when it opens, together with its action. Logs the condition again when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::ports::failure::Remedy;
use crate::process::clock::{Timestamp, rfc3339};
use crate::process::relative;
use crate::status::board::StatusBoard;
use crate::status::condition::{Condition, Severity};

/// How long a condition with remedy `Retry` must last before it is logged. Alert sinks use the same delay.
const HELD_FOR: TimeDelta = TimeDelta::seconds(30);
/// How long to wait after a change of the status, so that one evaluation covers several changes. One evaluation of ten
/// thousand tokens takes milliseconds.
const SETTLES: Duration = Duration::from_secs(5);
/// How often conditions are evaluated while the status does not change. Some conditions begin only because time passes.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The maximum number of token names in a log line.
const MOST_NAMES: usize = 10;

/// Logs conditions until the process ends.
pub async fn keep_journal(board: StatusBoard) {
    let mut news = board.subscribe_to_news();
    let mut journal = Journal::default();
    loop {
        news.mark_unchanged();
        for entry in board.drawn(|_, holding, now| journal.entries(&holding, now)) {
            entry.log();
        }
        let wait =
            if journal.pending.is_empty() { LOOK_EVERY } else { HELD_FOR.to_std().unwrap_or(LOOK_EVERY) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = news.changed() => tokio::time::sleep(SETTLES).await,
        }
    }
}

/// The current conditions. `open` contains the conditions whose start is already in the log.
#[derive(Default)]
struct Journal {
    open: BTreeMap<Uuid, Condition>,
    /// Conditions that are not logged yet, with the time when each was first seen.
    pending: BTreeMap<Uuid, Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum JournalEntry {
    Opened(Condition),
    Ended(Condition, TimeDelta),
}

impl Journal {
    /// Returns the log entries that are due.
    fn entries(&mut self, holding: &[Condition], now: Timestamp) -> Vec<JournalEntry> {
        let mut entries = Vec::new();
        let holds: BTreeSet<Uuid> = holding.iter().map(|condition| condition.id).collect();
        self.pending.retain(|id, _| holds.contains(id));
        self.open.retain(|id, condition| {
            let is_open = holds.contains(id);
            if !is_open {
                entries.push(JournalEntry::Ended(condition.clone(), now - condition.since));
            }
            is_open
        });
        for condition in holding {
            if self.open.contains_key(&condition.id) {
                continue;
            }
            let seen_at = *self.pending.entry(condition.id).or_insert(now);
            if condition.remedy == Remedy::Retry && seen_at + HELD_FOR > now {
                continue;
            }
            self.pending.remove(&condition.id);
            self.open.insert(condition.id, condition.clone());
            entries.push(JournalEntry::Opened(condition.clone()));
        }
        entries
    }
}

impl JournalEntry {
    fn log(&self) {
        match self {
            Self::Opened(condition) => opened(condition),
            Self::Ended(condition, lasted) => {
                let Condition { kind, cause, id, .. } = condition;
                let (kind, title, lasted) = (kind.as_str(), kind.title(), relative::span(*lasted));
                let tokens = condition.names(MOST_NAMES);
                info!(event = "condition_ended", kind, %cause, %id, tokens, lasted, "{title}");
            }
        }
    }
}

fn opened(condition: &Condition) {
    let Condition { kind, cause, id, since, summary, action, severity, .. } = condition;
    let (kind, title, since) = (kind.as_str(), kind.title(), rfc3339(*since));
    let tokens = condition.names(MOST_NAMES);
    match severity {
        Severity::Critical => {
            error!(event = "condition_opened", kind, %cause, %id, tokens, since, action, "{title}: {summary}");
        }
        Severity::Warning => {
            warn!(event = "condition_opened", kind, %cause, %id, tokens, since, action, "{title}: {summary}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::ports::failure::Kind;
    use crate::process::clock::Clock;
    use crate::process::telemetry::Captured;
    use crate::rotation::samples;
    use crate::rotation::schedule::Timing;
    use crate::status::condition::Cause;
    use crate::status::sink_health::Miss;

    fn condition(remedy: Remedy, now: Timestamp) -> Condition {
        let cause = Cause::token(&samples::address("token"));
        Condition::new(Kind::LoginRequired, &cause, (Severity::Critical, remedy), now)
    }

    #[test]
    fn a_condition_is_logged_when_it_opens_and_when_it_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let mut journal = Journal::default();
        let dead = condition(Remedy::Login, now);

        assert_eq!(journal.entries(std::slice::from_ref(&dead), now), [JournalEntry::Opened(dead.clone())]);
        assert_eq!(journal.entries(std::slice::from_ref(&dead), now), []);
        let later = now + TimeDelta::hours(2);
        assert_eq!(journal.entries(&[], later), [JournalEntry::Ended(dead, TimeDelta::hours(2))]);
        assert_eq!(journal.entries(&[], later), []);
    }

    #[test]
    fn a_condition_that_clears_within_half_a_minute_is_not_logged() {
        let now = Timestamp::UNIX_EPOCH;
        let mut journal = Journal::default();
        let late = condition(Remedy::Retry, now);

        assert_eq!(journal.entries(std::slice::from_ref(&late), now), []);
        assert_eq!(journal.entries(&[], now + TimeDelta::seconds(10)), []);
        assert_eq!(journal.entries(std::slice::from_ref(&late), now + HELD_FOR), [], "it began anew");
        assert_eq!(
            journal.entries(std::slice::from_ref(&late), now + HELD_FOR * 2),
            [JournalEntry::Opened(late)]
        );
    }
    /// An operator searches the log for `condition_opened` to find out what to do.
    #[tokio::test(start_paused = true)]
    async fn the_log_tells_the_start_and_the_end_of_a_condition_within_seconds() {
        let kept = Captured::default();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(kept.clone());
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines));
        let grant = Arc::new(samples::grant("a"));
        let timing = Timing::new(&grant.policy, &grant.name, 0.0);
        let board = StatusBoard::new(std::iter::once((&grant, &timing)), Clock::host())
            .with_sinks(std::iter::once("chat".into()));
        let journal = tokio::spawn(keep_journal(board.clone()));
        let soon = || tokio::time::sleep(SETTLES + Duration::from_millis(1));
        let miss = |severity| Miss { why: "it answered 403".into(), permanent: true, severity };
        soon().await;
        assert!(!kept.take().contains("condition_"));

        for (severity, level) in [(Severity::Warning, "WARN"), (Severity::Critical, "ERROR")] {
            board.missed(0, miss(severity));
            soon().await;
            let opened = kept.take();
            for part in [level, "condition_opened", "alert_undeliverable", "sink:chat", "it answered 403"] {
                assert!(opened.contains(part), "{part} is missing: {opened}");
            }
            assert!(opened.contains("perennial check --alerts"), "what to do is missing: {opened}");

            board.all_delivered(0);
            soon().await;
            let ended = kept.take();
            assert!(ended.contains("condition_ended") && ended.contains("sink:chat"), "{ended}");
            assert!(!ended.contains("condition_opened"), "{ended}");
        }
        journal.abort();
    }
}
