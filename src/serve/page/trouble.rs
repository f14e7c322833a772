//! A card for each condition, with title, tokens, cause, action and time left. This module is pure.

use maud::{Markup, html};

use super::words::Look;
use super::{MOST_CONDITIONS, MOST_NAMES, date, left_out, sentence, time, words};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::{Condition, Severity};
use crate::status::document::Status;

/// The number of cards that are shown in full. Further cards are folded.
const OPEN: usize = 5;

pub(super) fn section(status: &Status) -> Markup {
    let all = &status.conditions;
    html! {
        @if !all.is_empty() {
            section aria-labelledby="wrong" {
                h2 id="wrong" { "What is wrong" }
                div.cards {
                    @for (place, condition) in all.iter().take(MOST_CONDITIONS).enumerate() {
                        (card(condition, place >= OPEN, status.now))
                    }
                }
                (left_out(all.len(), MOST_CONDITIONS))
            }
        }
    }
}

/// Renders a card. A folded card shows only severity, title and tokens. If the reader follows a link to the condition,
/// the browser unfolds its card.
fn card(condition: &Condition, folded: bool, now: Timestamp) -> Markup {
    let look = Look::of_severity(condition.severity);
    let word = match condition.severity {
        Severity::Critical => "Critical",
        Severity::Warning => "Warning",
    };
    let head = html! {
        h3 { span.badge { (word) } " " (condition.kind.title()) }
        span.who { (condition.names(MOST_NAMES)) }
    };
    let rest = html! {
        div id=(condition.id) {
            p { (sentence(&condition.summary)) }
            div.cure { h4 { "What to do" } p { (sentence(&condition.action)) } }
            (facts(condition, now))
        }
    };
    html! {
        @if folded {
            details.card.trouble.(look.class()) { summary { (head) } (rest) }
        } @else {
            article.card.trouble.(look.class()) { (head) (rest) }
        }
    }
}

fn facts(condition: &Condition, now: Timestamp) -> Markup {
    let traces = condition.trace.parts();
    html! {
        dl {
            div {
                dt { "Since" }
                dd {
                    (time(condition.since, &relative::ago(condition.since, now)))
                    small { (date(condition.since, now)) }
                }
            }
            @if let Some(left) = condition.runway_seconds {
                div { dt { "Time left" } dd { (words::time_left(left)) } }
            }
            div {
                dt { "Who can fix it" }
                dd {
                    (condition.remedy.who(condition.kind))
                    @if !condition.owners.is_empty() { small { (condition.owners.join(", ")) } }
                }
            }
            div { dt { "In the runbook" } dd { (condition.kind.as_str()) } }
        }
        @if !traces.is_empty() { p.trace { (traces.join(" · ")) } }
    }
}
