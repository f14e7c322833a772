//! The list of tokens. Tokens with a problem are shown as cards. In a large list, healthy tokens are shown as table
//! rows. This module is pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use maud::{Markup, html};

use super::view::{MOST_SEARCHED, View};
use super::words::Look;
use super::{MOST_CONDITIONS, date, time, words};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::Severity;
use crate::status::document::{Status, TokenStatus};
use crate::status::snapshot::TokenState;

/// The maximum number of tokens on one page. Tokens with a problem come first.
pub(super) const PAGE_OF: usize = 200;
/// If there are at most this many tokens, the page shows every token as a card. With more tokens, only tokens with a
/// problem have cards.
const FEW: usize = 6;
/// The maximum number of cards in a large list. Further tokens with a problem are shown as table rows.
const MOST_CARDS: usize = 12;

const COLUMNS: [&str; 7] = ["Token", "State", "Age", "Rotates", "Expires", "Last proof", "Next step"];

pub(super) fn section(status: &Status, view: &View) -> Markup {
    let mut gravest: BTreeMap<&str, Severity> = BTreeMap::new();
    // The conditions are sorted, the most severe first. So a token's first condition is its most severe condition.
    for condition in &status.conditions {
        for name in &condition.tokens {
            gravest.entry(name).or_insert(condition.severity);
        }
    }
    let looks = status.tokens.iter().filter(|token| view.shows(token)).map(|token| {
        let gravest = gravest.get(token.name.as_str()).copied();
        (gravest, Look::of_token(token, gravest), token)
    });
    let mut all: Vec<_> = looks.collect();
    all.sort_by_key(|(gravest, look, _)| (Reverse(*gravest), *look == Look::Good));
    let found = all.len();
    let page = view.turned_to(view.number.min(found.saturating_sub(1) / PAGE_OF));
    let first = page.number * PAGE_OF;
    let shown = &all[first..found.min(first + PAGE_OF)];
    let few = status.tokens.len() <= FEW;
    let cards = shown.iter().take(MOST_CARDS).take_while(|(_, look, _)| few || *look != Look::Good).count();
    let (cards, rows) = shown.split_at(cards);
    html! {
        section aria-labelledby="tokens" {
            div.head { h2 id="tokens" { "Tokens" } p.soft { (words::tally(status)) } }
            @if !few { (search(view)) }
            @if view.filters() {
                p.soft { (found) " of " (words::tokens(status.tokens.len())) ". " a href=(View::default().pausing(view.paused).address()) { "Show all" } }
            }
            @if !cards.is_empty() {
                div.cards.tokens {
                    @for (_, look, token) in cards { (card(token, *look, status)) }
                }
            }
            @if !rows.is_empty() {
                table.card {
                    caption { @if cards.is_empty() { "All tokens" } @else { "The other tokens" } }
                    thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
                    tbody { @for (_, look, token) in rows { (row(token, *look, status.now)) } }
                }
            }
            @if found > PAGE_OF { (pages(&page, found)) }
        }
    }
}

/// The form with which a reader searches and filters tokens.
fn search(view: &View) -> Markup {
    html! {
        form.search role="search" method="get" action="./" {
            label { "Name or vault " input type="search" name="q" value=(view.search) maxlength=(MOST_SEARCHED); }
            label {
                "State "
                select name="state" {
                    option value="" { "All" }
                    @for state in TokenState::ALL {
                        option value=(state.as_str()) selected[view.state == Some(state)] { (words::state(state)) }
                    }
                }
            }
            @if view.paused { input type="hidden" name="paused"; }
            button { "Show" }
        }
    }
}

/// The range of tokens on this page, with links to the previous and next pages.
fn pages(page: &View, found: usize) -> Markup {
    let first = page.number * PAGE_OF;
    let last = found.min(first + PAGE_OF);
    html! {
        nav.head aria-label="Pages" {
            p.soft { (first + 1) " to " (last) " of " (words::tokens(found)) }
            p {
                @if page.number > 0 { a href=(page.turned_to(page.number - 1).address()) { "Previous" } " " }
                @if last < found { a href=(page.turned_to(page.number + 1).address()) { "Next" } }
            }
        }
    }
}

fn card(token: &TokenStatus, look: Look, status: &Status) -> Markup {
    let now = status.now;
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
            day(token.next_step_at.filter(|_| !token.waits_for_turn), now),
        ),
        ("Partner Center", html! { (accepted) }, String::new()),
    ];
    let renewal = token.renewal.as_ref().map(|renewal| {
        let more = day(renewal.ends_at, now);
        ("App credential", html! { (words::renewal(renewal, now)) }, more)
    });
    let conditions = status.conditions.iter().take(MOST_CONDITIONS);
    html! {
        article.card.(look.class()) {
            div.head { h3 { (token.name) } span.badge { (words::state(token.state)) } }
            @for condition in conditions.filter(|condition| condition.tokens.contains(&token.name)) {
                p.see { a href={ "#" (condition.id) } { (condition.kind.title()) } }
            }
            (bar(token, "bar", now))
            dl.life {
                @for (name, told, more) in facts.into_iter().chain(renewal) {
                    div { dt { (name) } dd { (told) small { (more) } } }
                }
            }
        }
    }
}

/// Renders one token as a table row.
fn row(token: &TokenStatus, look: Look, now: Timestamp) -> Markup {
    let (dead, none) = (is_dead(token), "–");
    let end = token.expires_at.filter(|at| !dead || *at <= now);
    html! {
        tr.(look.class()) {
            th scope="row" { (token.name) }
            td { span.state { (words::state(token.state)) } }
            td { (bar(token, "mini", now)) (words_or(token.issued_at, none, |at| relative::span(now - at))) }
            td { (words_or(rotates_at(token), none, |at| relative::until(at, now))) }
            td { (words_or(end, none, |at| words::end(at, dead, now))) }
            td { (words_or(token.proved_at, none, |at| relative::ago(at, now))) }
            td { (words_or(token.next_step_at, none, |at| step(token, at, now))) }
        }
    }
}

/// Renders a time with the text that `words` returns. If `at` is `None`, renders the text in the parameter `none`.
fn words_or(at: Option<Timestamp>, none: &str, words: impl Fn(Timestamp) -> String) -> Markup {
    html! {
        @match at {
            Some(at) => { (time(at, &words(at))) }
            None => { (none) }
        }
    }
}

fn day(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(String::new, |at| date(at, now))
}

fn step(token: &TokenStatus, at: Timestamp, now: Timestamp) -> String {
    if token.waits_for_turn {
        return "waits for its turn".to_owned();
    }
    format!("{} {}", words::next_step(token), relative::until(at, now))
}

/// Whether the token gives no usable access token, for example because the token is rejected or expired. For such a
/// token, the page hides the dates of the planned rotation and of a future expiry.
fn is_dead(token: &TokenStatus) -> bool {
    token.runway_seconds == Some(0)
}

fn rotates_at(token: &TokenStatus) -> Option<Timestamp> {
    token.rotate_at.filter(|_| !is_dead(token))
}

/// Renders the token's lifetime as a bar. The bar shows the token's age, the planned rotation and the last tenth of the
/// lifetime. The text next to the bar has the same information, so screen readers skip the bar.
fn bar(token: &TokenStatus, class: &str, now: Timestamp) -> Markup {
    html! {
        svg class=(class) aria-hidden="true" {
            rect.late x="90%" width="10%" height="100%" {}
            @if let (Some(issued), Some(expires)) = (token.issued_at, token.expires_at) {
                // The minimum width keeps the age visible if the token is new.
                @let age = percent(now, issued, expires).max(1.2);
                rect.age width=(format_args!("{age:.1}%")) height="100%" {}
                @if let Some(at) = rotates_at(token) {
                    @let at = percent(at, issued, expires);
                    rect.turn x=(format_args!("{at:.1}%")) width="3" height="100%" {}
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the width of a bar need not be exact")]
fn percent(at: Timestamp, from: Timestamp, to: Timestamp) -> f64 {
    let whole = (to - from).num_seconds().max(1);
    (100.0 * (at - from).num_seconds() as f64 / whole as f64).clamp(0.0, 100.0)
}
