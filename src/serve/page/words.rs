//! The page's texts, colors and icons for states, times and the overall status.

use chrono::TimeDelta;

use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::renewal::report::RenewalStage;
use crate::status::condition::Severity;
use crate::status::document::{RenewalStatus, Status, TokenStatus};
use crate::status::line;
use crate::status::snapshot::TokenState;

/// The look of a status: a color and an icon. A word always appears next to the icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Good,
    Warn,
    Bad,
    Dim,
}

impl Look {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Dim => "dim",
        }
    }

    /// The SVG path of the icon: a check mark, an exclamation mark, a cross or a question mark.
    pub(super) fn strokes(self) -> &'static str {
        match self {
            Self::Good => "M7 12.5l3.4 3.4L17.2 9",
            Self::Warn => "M12 6.8v6.4M12 16.9v.2",
            Self::Bad => "M8.3 8.3l7.4 7.4M15.7 8.3l-7.4 7.4",
            Self::Dim => "M9.4 9.6a2.7 2.7 0 1 1 3.9 2.5c-.9.5-1.3 1-1.3 1.9M12 16.9v.2",
        }
    }

    /// The color as hexadecimal digits. The icon in the browser tab needs the digits, because the style sheet does not
    /// apply to the icon.
    pub(super) fn plain_colour(self) -> &'static str {
        match self {
            Self::Good => "17734a",
            Self::Warn => "b87a00",
            Self::Bad => "c62f26",
            Self::Dim => "6b7780",
        }
    }

    pub(super) fn of_severity(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::Warn,
            Severity::Critical => Self::Bad,
        }
    }

    /// The look of a token, by the first rule that applies: `Bad` for a critical condition. `Dim` for the states `Off`
    /// and `Unknown`. `Warn` for a warning. `Good` for the state `Current`. `Warn` for every other state.
    pub(super) fn of_token(token: &TokenStatus, gravest: Option<Severity>) -> Self {
        match (gravest, token.state) {
            (Some(Severity::Critical), _) => Self::Bad,
            (_, TokenState::Off | TokenState::Unknown) => Self::Dim,
            (Some(Severity::Warning), _) => Self::Warn,
            (None, TokenState::Current) => Self::Good,
            (
                None,
                TokenState::Unsaved
                | TokenState::NeedsLogin
                | TokenState::NeedsOperator
                | TokenState::PartnerCenterRefused
                | TokenState::Expired,
            ) => Self::Warn,
        }
    }
}

/// The overall status as a look, a headline and a sentence.
pub(super) fn verdict(status: &Status) -> (Look, &'static str, String) {
    let count = status.tokens.len();
    if !status.healthy {
        let named: Vec<&str> = affected(status).collect();
        let sentence = match named.as_slice() {
            [] => "See below.".to_owned(),
            [only] if count == 1 => format!("{only} needs action now."),
            [only] => format!("1 of {} needs action now: {only}.", tokens(count)),
            more => format!("{} of {} need action now.", more.len(), tokens(count)),
        };
        return (Look::Bad, "Action needed", sentence);
    }
    if let Some(text) = unconfirmed(status) {
        return (Look::Dim, "Not known yet", text);
    }
    if !status.conditions.is_empty() {
        let open = status.conditions.len();
        let problems = if open == 1 { "1 problem needs".to_owned() } else { format!("{open} problems need") };
        return (Look::Warn, "Working, with a warning", format!("{problems} attention, but not at once."));
    }
    let each = if count == 1 { "The token works".to_owned() } else { format!("All {count} tokens work") };
    let next = status.tokens.iter().filter_map(|token| Some((token.next_step_at?, &token.name))).min();
    let next = next.map_or_else(String::new, |(at, name)| {
        format!(" Next step: {name}, {}.", relative::until(at, status.now))
    });
    (Look::Good, "All is well", format!("{each}.{next}"))
}

/// A sentence with the number of unconfirmed tokens. If such a token was proved before, the sentence also gives the age
/// of the token's last proof. With several such tokens, the sentence gives the highest age. `None` if no token is
/// unconfirmed.
fn unconfirmed(status: &Status) -> Option<String> {
    let count = status.tokens.len();
    let unknown = || status.tokens.iter().filter(|token| token.state == TokenState::Unknown);
    let proved = unknown().filter_map(|token| token.proved_at).min();
    let proved = proved.map(|at| relative::ago(at, status.now));
    Some(match (unknown().count(), count, proved) {
        (0, ..) => return None,
        (1, 1, None) => "The token has not been proved yet.".to_owned(),
        (1, 1, Some(ago)) => format!("The token is unconfirmed; it was last proved {ago}."),
        (all, count, None) if all == count => format!("None of {} has been proved yet.", tokens(count)),
        (some, count, None) => format!("Not proved yet: {some} of {}.", tokens(count)),
        (some, count, Some(ago)) => format!("Unconfirmed: {some} of {}, last proved {ago}.", tokens(count)),
    })
}

/// The names of the tokens with a critical condition.
fn affected(status: &Status) -> impl Iterator<Item = &str> {
    let names = status.tokens.iter().map(|token| token.name.as_str());
    names.filter(|name| status.gravest(Some(name)) == Some(Severity::Critical))
}

pub(super) fn tokens(count: usize) -> String {
    if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") }
}

/// A text with the number of tokens in each state.
pub(super) fn tally(status: &Status) -> String {
    let counts = TokenState::ALL.into_iter().filter_map(|standing| {
        let count = status.tokens.iter().filter(|token| token.state == standing).count();
        (count > 0).then(|| format!("{count} {}", line::words(standing, count)))
    });
    counts.collect::<Vec<_>>().join(" · ")
}

/// A token's age, with its lifetime if the expiry is known.
pub(super) fn age(issued: Timestamp, expires: Option<Timestamp>, now: Timestamp) -> String {
    let old = relative::span(now - issued);
    expires.map_or_else(|| old.clone(), |at| format!("{old} of {}", relative::span(at - issued)))
}

/// Describes when a token expires. If the token has expired or is no longer accepted, the text says so instead.
pub(super) fn end(at: Timestamp, dead: bool, now: Timestamp) -> String {
    if at <= now {
        "expired".to_owned()
    } else if dead {
        "no longer accepted".to_owned()
    } else {
        relative::until(at, now)
    }
}

/// Formats the time left, which is given in seconds.
pub(super) fn time_left(seconds: i64) -> String {
    if seconds > 0 { relative::span(TimeDelta::seconds(seconds)) } else { "none".to_owned() }
}

/// The name of a state.
pub(super) fn state(state: TokenState) -> &'static str {
    match state {
        TokenState::Current => "Current",
        TokenState::Unsaved => "Not saved yet",
        TokenState::NeedsLogin => "Needs a sign-in",
        TokenState::NeedsOperator => "Needs an administrator",
        TokenState::PartnerCenterRefused => "Rejected by Partner Center",
        TokenState::Expired => "Expired",
        TokenState::Off => "Switched off",
        TokenState::Unknown => "Unconfirmed",
    }
}

/// The name of the next step, without its time.
pub(super) fn next_step(token: &TokenStatus) -> &'static str {
    match token.state {
        TokenState::Current if token.rotate_at.is_some_and(|at| Some(at) <= token.next_step_at) => "rotation",
        TokenState::Current => "proof",
        TokenState::Unsaved => "save",
        TokenState::NeedsLogin | TokenState::NeedsOperator | TokenState::Expired | TokenState::Off => "check",
        TokenState::PartnerCenterRefused => "proof",
        TokenState::Unknown => "attempt",
    }
}

/// Describes the current stage of the renewal of an app's credential.
pub(super) fn renewal(renewal: &RenewalStatus, now: Timestamp) -> String {
    match (renewal.stage, renewal.renews_at) {
        (RenewalStage::Starting, _) | (RenewalStage::Waiting, None) => "not known".to_owned(),
        (RenewalStage::Waiting, Some(at)) => format!("renewed {}", relative::until(at, now)),
        (RenewalStage::Due, _) => "renewal is due".to_owned(),
        (RenewalStage::Trying | RenewalStage::Saving, _) => "a new credential is being tested".to_owned(),
        (RenewalStage::Removing, _) => "a credential is being removed".to_owned(),
    }
}
