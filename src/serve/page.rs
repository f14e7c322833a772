//! The status page. The page shows first whether all tokens work, and then what to do.
//!
//! This module owns the HTML. The server renders the page without scripts. A header makes the browser reload the page,
//! unless the reader has paused the reloads. The content security policy allows one style sheet and no `style`
//! attributes. So the bars, whose lengths depend on data, are drawn in SVG. This module is pure.
//!
//! Invariants: `maud` escapes everything except the templates' own text and the style sheet. Color is never the only
//! sign of a state. An unknown state is never green.

mod tokens;
mod trouble;
mod view;
mod words;

use chrono::TimeDelta;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::view::View;
use self::words::Look;
use crate::process::clock::{Timestamp, rfc3339};
use crate::status::document::Status;

const STYLE: &str = include_str!("page/style.css");

/// The content security policy. The policy allows the style sheet with this hash, the icon in its `data:` URL, and
/// forms that are sent to this server. Scripts, fonts, frames and other hosts are not allowed.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-oLVoH1djfhbwVvmY4oX/UOgEwfpdN2iMBb5PlXZYbCU='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Returns the value of the `Refresh` header, which reloads the page after 15 seconds. For a paused page, the server
/// does not send this header. The page uses no `meta` element for the reload, because accessibility rules forbid such
/// an element.
///
/// The header contains a URL. Without this URL, Chromium would not reload a page whose address has a fragment. A click
/// on a link within the page adds a fragment. After such a click, the page would become outdated. With the URL,
/// Chromium also keeps the scroll position. If the page is older than 90 seconds, the style sheet shows a warning
/// (`.stale`).
pub fn reload(view: &View) -> String {
    format!("15;url={}", view.address())
}

/// The maximum number of conditions shown. Browsers reload the page every few seconds, so the limit keeps the page
/// small.
const MOST_CONDITIONS: usize = 50;
const MOST_NAMES: usize = 20;

/// Renders the page with the tokens that the view selects.
pub fn render(status: &Status, view: &View) -> Markup {
    let paused = view.paused;
    let (look, headline, sentence) = words::verdict(status);
    let moment = status.now.format("%-d %b %Y, %H:%M:%S UTC").to_string();
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(look, headline))
            body {
                div.wrap {
                    header.top {
                        p.brand { (leaf()) "Perennial" }
                        p.soft {
                            @if paused {
                                "paused at " (time(status.now, &moment)) " · " a href=(view.pausing(false).address()) { "Resume" }
                            } @else {
                                "as of " (time(status.now, &moment)) " · " a href=(view.pausing(true).address()) { "Pause" }
                            }
                        }
                        p.stale {
                            "Out of date: last loaded at " (status.now.format("%H:%M:%S")) ". "
                            a href=(view.address()) { "Reload" }
                        }
                    }
                    main {
                        section.verdict.(look.class()) aria-labelledby="verdict" {
                            (sign(look))
                            div { h1 id="verdict" { (headline) } p { (sentence) } }
                        }
                        (trouble::section(status))
                        (tokens::section(status, view))
                    }
                    footer.soft {
                        span {
                            "Perennial " (status.version) ", "
                            @if paused { "paused" } @else { "reloads every 15 s" }
                            "; all times are UTC"
                        }
                        a href="status" { "Status as JSON" }
                        a href="health" { "Health" }
                        a href="metrics" { "Metrics" }
                    }
                }
            }
        }
    }
}

fn head(look: Look, headline: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            title { (headline) " · Perennial" }
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="robots" content="noindex";
            link rel="icon" href={
                "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
                "%3Ccircle cx='12' cy='12' r='11' fill='%23" (look.plain_colour()) "'/%3E"
                "%3Cpath d='" (look.strokes()) "' fill='none' stroke='white' stroke-width='2.4' stroke-linecap='round'/%3E"
                "%3C/svg%3E"
            };
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn leaf() -> Markup {
    html! {
        svg width="22" height="22" viewBox="0 0 24 24" stroke-width="2.2" stroke-linecap="round" aria-hidden="true" {
            path d="M12 21v-9M12 12c0-4 2.5-7 8-8 .4 5-2.5 8.4-8 8zM12 15.5c0-3-2-5.5-6.5-6.2-.2 4 2 6.4 6.5 6.2z" {}
        }
    }
}

/// The icon of the verdict.
fn sign(look: Look) -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round" {
            circle cx="12" cy="12" r="11" stroke="none" {}
            path d=(look.strokes()) fill="none" {}
        }
    }
}

/// Formats a date. A date less than 60 days from `now` gets the time of day and no year. Other dates get the year and
/// no time of day.
fn date(at: Timestamp, now: Timestamp) -> String {
    let near = (at - now).abs() < TimeDelta::days(60);
    at.format(if near { "%-d %b, %H:%M" } else { "%-d %b %Y" }).to_string()
}

/// Renders a time in words. The exact time is in the `datetime` attribute and the tooltip.
fn time(at: Timestamp, words: &str) -> Markup {
    let exact = rfc3339(at);
    html! { time datetime=(exact) title=(exact) { (words) } }
}

/// Renders a text as a sentence: adds a capital letter and a full stop. Text in back-ticks becomes code.
fn sentence(text: &str) -> Markup {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    let text = first + chars.as_str();
    let mut pieces = text.split('`');
    html! {
        (pieces.next().unwrap_or_default())
        @while let Some(piece) = pieces.next() {
            @match pieces.next() {
                Some(after) => { code { (piece) } (after) }
                None => { "`" (piece) }
            }
        }
        "."
    }
}

/// Renders how many entries a list omits, if it omits any. The list has `all` entries and shows at most `most` of them.
fn left_out(all: usize, most: usize) -> Markup {
    html! {
        @if all > most {
            p.soft { "and " (all - most) " more: " a href="status" { "all as JSON" } }
        }
    }
}

#[cfg(test)]
mod tests;
