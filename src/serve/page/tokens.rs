//! The tokens: the ones in trouble as cards, a fleet's healthy ones as rows of a table. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::words::Look;
use super::{MOST_CONDITIONS, More, Text, Time, date, push, words};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::Severity;
use crate::status::document::{Status, TokenStatus};

/// Tokens shown, the ones in trouble first.
pub(super) const MOST_TOKENS: usize = 500;
/// So many tokens have a card each; of a fleet, only the ones in trouble.
const FEW: usize = 6;
/// Cards of a fleet: where more than these are in trouble, the others are rows.
const MOST_CARDS: usize = 12;

pub(super) fn section(page: &mut String, status: &Status) {
    let mut gravest: BTreeMap<&str, Severity> = BTreeMap::new();
    // The gravest come first.
    for condition in &status.conditions {
        for name in &condition.tokens {
            gravest.entry(name).or_insert(condition.severity);
        }
    }
    let looks = status.tokens.iter().map(|token| {
        let gravest = gravest.get(token.name.as_str()).copied();
        (gravest, Look::of_token(token, gravest), token)
    });
    let mut all: Vec<_> = looks.collect();
    all.sort_by_key(|(gravest, look, _)| (Reverse(*gravest), *look == Look::Good));
    all.truncate(MOST_TOKENS);
    let few = all.len() <= FEW;
    let cards = all.iter().take(MOST_CARDS).take_while(|(_, look, _)| few || *look != Look::Good).count();
    let (cards, rows) = all.split_at(cards);
    push(
        page,
        format_args!(
            "<section aria-labelledby=\"tokens\"><div class=\"head\"><h2 id=\"tokens\">Tokens</h2><p class=\"soft\">{}</p></div>\n",
            words::tally(status),
        ),
    );
    if !cards.is_empty() {
        page.push_str("<div class=\"cards tokens\">\n");
        for (_, look, token) in cards {
            card(page, token, *look, status);
        }
        page.push_str("</div>\n");
    }
    if !rows.is_empty() {
        let caption = if cards.is_empty() { "All tokens" } else { "The other tokens" };
        push(
            page,
            format_args!(
                "<table class=\"card\"><caption>{caption}</caption><thead><tr><th scope=\"col\">Token<th scope=\"col\">State<th scope=\"col\">Age<th scope=\"col\">Rotates<th scope=\"col\">Expires<th scope=\"col\">Last proof<th scope=\"col\">Next step</thead><tbody>\n"
            ),
        );
        for (_, look, token) in rows {
            row(page, token, *look, status.now);
        }
        page.push_str("</tbody></table>\n");
    }
    push(page, format_args!("{}</section>\n", More(status.tokens.len(), MOST_TOKENS)));
}

fn card(page: &mut String, token: &TokenStatus, look: Look, status: &Status) {
    let now = status.now;
    push(
        page,
        format_args!(
            "<article class=\"card {}\"><div class=\"head\"><h3>{}</h3><span class=\"badge\">{}</span></div>\n",
            look.class(),
            Text(&token.name),
            words::state(token.state),
        ),
    );
    for condition in status.conditions.iter().take(MOST_CONDITIONS) {
        if condition.tokens.contains(&token.name) {
            let (id, title) = (condition.id, condition.kind.title());
            push(page, format_args!("<p class=\"see\"><a href=\"#{id}\">{title}</a></p>\n"));
        }
    }
    bar(page, token, "bar", now);
    let (dead, never) = (is_dead(token), "not known");
    let accepted = match token.partner_center_accepts {
        Some(true) if dead => "accepted it before",
        Some(true) => "accepts it",
        Some(false) => "does not accept it",
        None => "not asked",
    };
    let signed_in =
        token.signed_in_at.map_or_else(String::new, |at| format!("signed in {}", relative::ago(at, now)));
    let facts = [
        ("Age", words_or(token.issued_at, never, |at| words::age(at, token.expires_at, now)), signed_in),
        (
            "Rotates",
            words_or(rotates_at(token), if dead { "not now" } else { never }, |at| relative::until(at, now)),
            day(rotates_at(token), now),
        ),
        (
            "Expires",
            words_or(token.expires_at, never, |at| words::end(at, dead, now)),
            day(token.expires_at.filter(|at| !dead || *at <= now), now),
        ),
        (
            "Last proof",
            words_or(token.proved_at, "none yet", |at| relative::ago(at, now)),
            day(token.proved_at, now),
        ),
        (
            "Next step",
            words_or(token.next_step_at, never, |at| step(token, at, now)),
            day(token.next_step_at, now),
        ),
        ("Partner Center", accepted.to_owned(), String::new()),
    ];
    page.push_str("<dl class=\"life\">");
    for (name, told, more) in facts {
        push(page, format_args!("<div><dt>{name}</dt><dd>{told}<small>{more}</small></dd></div>"));
    }
    page.push_str("</dl></article>\n");
}

/// A token's life on one line; a browser closes the cells by itself.
fn row(page: &mut String, token: &TokenStatus, look: Look, now: Timestamp) {
    let (dead, none) = (is_dead(token), "–");
    push(
        page,
        format_args!(
            "<tr class=\"{}\"><th scope=\"row\">{}<td><span class=\"state\">{}</span><td>",
            look.class(),
            Text(&token.name),
            words::state(token.state),
        ),
    );
    bar(page, token, "mini", now);
    push(
        page,
        format_args!(
            "{}<td>{}<td>{}<td>{}<td>{}\n",
            words_or(token.issued_at, none, |at| relative::span(now - at)),
            words_or(rotates_at(token), none, |at| relative::until(at, now)),
            words_or(token.expires_at.filter(|at| !dead || *at <= now), none, |at| words::end(at, dead, now)),
            words_or(token.proved_at, none, |at| relative::ago(at, now)),
            words_or(token.next_step_at, none, |at| step(token, at, now)),
        ),
    );
}

/// A time in words, or a word for that there is none.
fn words_or(at: Option<Timestamp>, none: &str, words: impl Fn(Timestamp) -> String) -> String {
    at.map_or_else(|| none.to_owned(), |at| Time(at, &words(at)).to_string())
}

fn day(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(String::new, |at| date(at, now))
}

fn step(token: &TokenStatus, at: Timestamp, now: Timestamp) -> String {
    format!("{} {}", words::next_step(token), relative::until(at, now))
}

/// Refused, expired, or without its app's secret: when it would be replaced, or would end, is beside the point.
fn is_dead(token: &TokenStatus) -> bool {
    token.runway_seconds == Some(0)
}

fn rotates_at(token: &TokenStatus) -> Option<Timestamp> {
    token.rotate_at.filter(|_| !is_dead(token))
}

/// The token's whole life as a bar: how old it is, where it is to be replaced, where its last tenth begins. The words
/// beside it say the same.
fn bar(page: &mut String, token: &TokenStatus, class: &str, now: Timestamp) {
    push(
        page,
        format_args!(
            r#"<svg class="{class}" aria-hidden="true"><rect class="late" x="90%" width="10%" height="100%"/>"#
        ),
    );
    if let (Some(issued), Some(expires)) = (token.issued_at, token.expires_at) {
        // Too thin to be seen is not what a young token's age should be.
        let age = percent(now, issued, expires).max(1.2);
        push(page, format_args!(r#"<rect class="age" width="{age:.1}%" height="100%"/>"#));
        if let Some(at) = rotates_at(token) {
            let at = percent(at, issued, expires);
            push(page, format_args!(r#"<rect class="turn" x="{at:.1}%" width="3" height="100%"/>"#));
        }
    }
    page.push_str("</svg>");
}

#[expect(clippy::cast_precision_loss, reason = "a width on a screen")]
fn percent(at: Timestamp, from: Timestamp, to: Timestamp) -> f64 {
    let whole = (to - from).num_seconds().max(1);
    (100.0 * (at - from).num_seconds() as f64 / whole as f64).clamp(0.0, 100.0)
}
