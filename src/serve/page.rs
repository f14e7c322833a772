//! The status page: one glance says whether all is well, a second one what to do.
//!
//! Owns the HTML. Server-rendered, without script: a header makes the browser load it again, unless the reader has
//! paused it. Every length that depends on data is an SVG attribute, since the policy admits one style sheet and no
//! `style` attribute. Pure.
//!
//! Invariants: `maud` escapes everything but the templates' own text and the style sheet; colour never stands alone;
//! what is not known is never green.

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

/// What a browser may do with the page: use its one style sheet, named by its hash, and its icon. No
/// script, no font, no frame, no other host.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-oLVoH1djfhbwVvmY4oX/UOgEwfpdN2iMBb5PlXZYbCU='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The `Refresh` header: the page loads itself again after 15 seconds, unless the reader has paused it. Accessibility rules
/// forbid a `meta` refresh that nobody can stop (axe-core finds it).
///
/// With an address of its own: without one Chromium only jumps where the page's address has a fragment, as after a click on
/// one of its links, and shows yesterday's page for ever. In this form it also keeps the reader's place. The style sheet
/// marks a page that could not load (`.stale`).
pub fn reload(view: &View) -> String {
    format!("15;url={}", view.address())
}

/// Conditions shown, and names listed in one: a browser has to bear the page every few seconds.
const MOST_CONDITIONS: usize = 50;
const MOST_NAMES: usize = 20;

/// The page, and of its tokens those that the view chooses.
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

/// The sign of a verdict.
fn sign(look: Look) -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round" {
            circle cx="12" cy="12" r="11" stroke="none" {}
            path d=(look.strokes()) fill="none" {}
        }
    }
}

/// A day near by has its hour, one far away its year.
fn date(at: Timestamp, now: Timestamp) -> String {
    let near = (at - now).abs() < TimeDelta::days(60);
    at.format(if near { "%-d %b, %H:%M" } else { "%-d %b %Y" }).to_string()
}

/// A time in words, and exactly for machines and for whoever points at it.
fn time(at: Timestamp, words: &str) -> Markup {
    let exact = rfc3339(at);
    html! { time datetime=(exact) title=(exact) { (words) } }
}

/// A sentence, from its first letter to its full stop, with what stands in backticks as something to type.
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

/// What a list leaves out: of `all`, it shows `most`.
fn left_out(all: usize, most: usize) -> Markup {
    html! {
        @if all > most {
            p.soft { "and " (all - most) " more: " a href="status" { "all as JSON" } }
        }
    }
}

#[cfg(test)]
mod tests;
