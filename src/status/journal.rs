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
/// How long to wait after a change, so that several changes are evaluated together. An evaluation takes milliseconds
/// for ten thousand tokens.
const SETTLES: Duration = Duration::from_secs(5);
/// How often conditions are evaluated without a change. Some conditions begin only because time passes.
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

/// The conditions that the log contains so far.
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
    use super::*;
    use crate::ports::failure::Kind;
    use crate::rotation::samples;
    use crate::status::condition::Cause;

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
}
