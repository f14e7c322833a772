//! The log's lines about conditions: one when a condition opens, with its action, and one when it ends.

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

/// A condition that may pass is logged after this time, as for sinks.
const HELD_FOR: TimeDelta = TimeDelta::seconds(30);
/// Changes within this time are evaluated together: that takes milliseconds for ten thousand tokens.
const SETTLES: Duration = Duration::from_secs(5);
/// Some conditions begin only because time passes, so they are also evaluated at this interval.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Token names in one line.
const MOST_NAMES: usize = 10;

/// Logs conditions as long as the process runs.
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

/// The conditions that were logged.
#[derive(Default)]
struct Journal {
    open: BTreeMap<Uuid, Condition>,
    /// Conditions that are not logged yet, and when they were first seen.
    pending: BTreeMap<Uuid, Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
enum JournalEntry {
    Opened(Condition),
    Ended(Condition, TimeDelta),
}

impl Journal {
    /// The lines that are due.
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
