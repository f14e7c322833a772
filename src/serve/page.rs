//! The status page: one glance shows whether all is well, a second one what to do.
//!
//! Owns the HTML. Rendered on the server, without script: a header makes the browser reload it, unless the reader has
//! paused it. Every length that depends on data is an SVG attribute, since the policy admits one style sheet and no
//! `style` attribute. Pure.
//!
//! Invariants: `maud` escapes everything except the templates' own text and the style sheet; color is never the only
//! sign; an unknown state is never green.

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

/// The content security policy: one style sheet, named by its hash, one icon, and a form that goes to this server. No
/// script, no font, no frame, no other host.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-oLVoH1djfhbwVvmY4oX/UOgEwfpdN2iMBb5PlXZYbCU='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The `Refresh` header: the page reloads after 15 seconds, unless the reader has paused it. Accessibility rules
/// forbid a `meta` refresh that the reader cannot stop (axe-core reports it).
///
/// The header names an address. Without one, Chromium does not reload a page whose address has a fragment, as after a
/// click on one of its links, and shows yesterday's page for ever. With it, Chromium also keeps the scroll position.
/// The style sheet marks a page that could not be reloaded (`.stale`).
pub fn reload(view: &View) -> String {
    format!("15;url={}", view.address())
}

/// Limits of conditions, and of names in one: a browser reloads the page every few seconds.
const MOST_CONDITIONS: usize = 50;
const MOST_NAMES: usize = 20;

/// The page, with the tokens that the view chooses.
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
                            "Out of date: this is how it was at " (status.now.format("%H:%M:%S")) ". "
                            a href=(view.address()) { "Load it again" }
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
                            @if paused { "paused" } @else { "loads itself again every 15 s" }
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

/// The icon of a verdict.
fn sign(look: Look) -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round" {
            circle cx="12" cy="12" r="11" stroke="none" {}
            path d=(look.strokes()) fill="none" {}
        }
    }
}

/// A near day with its hour, a distant one with its year.
fn date(at: Timestamp, now: Timestamp) -> String {
    let near = (at - now).abs() < TimeDelta::days(60);
    at.format(if near { "%-d %b, %H:%M" } else { "%-d %b %Y" }).to_string()
}

/// A time in words, with the exact time for machines and in the tooltip.
fn time(at: Timestamp, words: &str) -> Markup {
    let exact = rfc3339(at);
    html! { time datetime=(exact) title=(exact) { (words) } }
}

/// A sentence with capital letter and full stop; text in backticks becomes code.
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

/// The note on a list that shows `most` of `all`.
fn left_out(all: usize, most: usize) -> Markup {
    html! {
        @if all > most {
            p.soft { "and " (all - most) " more: " a href="status" { "all as JSON" } }
        }
    }
}

#[cfg(test)]
mod tests;
