//! The overall status in one sentence for people.

use crate::process::clock::Timestamp;
use crate::status::snapshot::{Snapshot, TokenState};

/// Formats the status as one line. The line gives the next step's absolute time, because a relative time would become
/// outdated.
pub fn line(snapshots: &[Snapshot], now: Timestamp) -> String {
    let count = snapshots.len();
    let mut line = format!("{count} token{}", if count == 1 { "" } else { "s" });
    // A token that this process has not read yet may be in any state, so the line counts it as not checked.
    let (read, unread): (Vec<&Snapshot>, Vec<&Snapshot>) = snapshots.iter().partition(|of| of.was_tried());
    let standings: Vec<TokenState> = read.iter().map(|of| of.standing(now)).collect();
    let parts = TokenState::ALL.iter().filter_map(|state| {
        let count = standings.iter().filter(|standing| *standing == state).count();
        (count > 0).then(|| format!("{count} {}", words(*state, count)))
    });
    let unread = (!unread.is_empty()).then(|| format!("{} not checked yet", unread.len()));
    let mut parts = parts.chain(unread);
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

/// Describes `count` tokens in a state.
pub fn words(state: TokenState, count: usize) -> &'static str {
    match (state, count) {
        (TokenState::Current, _) => "current",
        (TokenState::Unsaved, _) => "unsaved",
        (TokenState::NeedsLogin, 1) => "needs a sign-in",
        (TokenState::NeedsLogin, _) => "need a sign-in",
        (TokenState::NeedsOperator, 1) => "needs an administrator",
        (TokenState::NeedsOperator, _) => "need an administrator",
        (TokenState::PartnerCenterRefused, _) => "rejected by Partner Center",
        (TokenState::Expired, _) => "expired",
        (TokenState::Off, _) => "off",
        (TokenState::Unknown, _) => "unconfirmed",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::TimeDelta;

    use super::*;
    use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
    use crate::rotation::samples;
    use crate::rotation::state::State;
    use crate::status;

    fn now() -> Timestamp {
        "2026-03-08T10:00:00Z".parse().expect("a time")
    }

    fn snapshot(proved: bool, next_step: TimeDelta) -> Snapshot {
        let grant = samples::grant("a");
        let version = samples::version("v", now());
        let state = if proved { samples::proved(version, now()) } else { State::unknown(now()) };
        status::samples::snapshot(grant, &state, now() + next_step, now())
    }

    #[test]
    fn the_line_counts_the_states_and_names_the_next_step() {
        let all = [snapshot(true, TimeDelta::hours(4)), snapshot(false, TimeDelta::days(1))];

        assert_eq!(line(&all, now()), "2 tokens: 1 current, 1 not checked yet; next step at 14:00 UTC");
        let later = "1 token: 1 not checked yet; next step on 2026-03-09 at 10:00 UTC";
        assert_eq!(line(&all[1..], now()), later);
        assert_eq!(line(&[], now()), "0 tokens");
    }

    #[test]
    fn two_need_and_one_needs() {
        let refused = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "as told");
        let state = samples::failed(State::unknown(now()), refused, now(), 1);
        let dead = |name| status::samples::snapshot(samples::grant(name), &state, now(), now());

        assert_eq!(line(&[dead("a")], now()), "1 token: 1 needs a sign-in");
        assert_eq!(line(&[dead("a"), dead("b")], now()), "2 tokens: 2 need a sign-in");
    }
    #[test]
    fn a_token_that_was_read_and_not_proved_is_unconfirmed() {
        let version = samples::version("v", now());
        let state = State { newest: Some(version), ..State::unknown(now()) };
        let read = |at| status::samples::snapshot(samples::grant("a"), &state, at, now());

        assert_eq!(line(&[read(now())], now()), "1 token: 1 unconfirmed", "a step that is due has no time");
        let soon = now() + TimeDelta::seconds(60);
        assert_eq!(line(&[read(soon)], now()), "1 token: 1 unconfirmed; next step at 10:01 UTC");
        let of_tomorrow = now() + TimeDelta::hours(14);
        let all = [read(of_tomorrow), read(of_tomorrow)];
        assert_eq!(line(&all, now()), "2 tokens: 2 unconfirmed; next step on 2026-03-09 at 00:00 UTC");
    }

    #[test]
    fn each_state_has_words_of_its_own() {
        let words = |count| TokenState::ALL.map(|state| words(state, count));
        let [one, two] = [1, 2].map(|count| words(count).into_iter().collect::<BTreeSet<_>>());

        assert_eq!((one.len(), two.len()), (TokenState::ALL.len(), TokenState::ALL.len()));
        assert!(one.contains("needs an administrator") && two.contains("need an administrator"));
        assert!(!one.contains("") && !one.contains("unknown"));
    }
}
