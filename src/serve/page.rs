//! The status page: one glance says whether all is well, a second one what to do.
//!
//! Owns the HTML. Server-rendered, without script: a header makes the browser load it again, unless the reader has
//! paused it. Every length that depends on data is an SVG attribute, since the policy admits one style sheet and no
//! `style` attribute. Pure.
//!
//! Invariants: everything that is not written here is escaped; colour never stands alone; what is not known
//! is never green.

mod tokens;
mod trouble;
mod words;

use std::fmt::Write as _;
use std::fmt::{Display, Formatter};

use chrono::TimeDelta;

use self::words::Look;
use crate::process::clock::{Timestamp, rfc3339};
use crate::status::document::Status;

const STYLE: &str = include_str!("page/style.css");

/// What a browser may do with the page: use its one style sheet, named by its hash, and its icon. No
/// script, no font, no frame, no other host.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-fK5IUuSEjyd5fji2wwK5aTXfAHQuD+/whIA/R7e8u28='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The `Refresh` header: the page loads itself again after 15 seconds, unless the reader has paused it. Accessibility rules
/// forbid a `meta` refresh that nobody can stop (axe-core finds it).
///
/// With an address of its own: without one Chromium only jumps where the page's address has a fragment, as after a click on
/// one of its links, and shows yesterday's page for ever. In this form it also keeps the reader's place. The style sheet
/// marks a page that could not load (`.stale`).
pub const RELOAD: &str = "15;url=./";

/// The query of the page that stays as it is, for whoever reads slowly or by ear.
pub const PAUSED: &str = "paused";

/// Conditions shown, and names listed in one: a browser has to bear the page every few seconds.
const MOST_CONDITIONS: usize = 50;
const MOST_NAMES: usize = 20;

/// The page, as it is when it loads itself again or when it has been `paused`.
pub fn render(status: &Status, paused: bool) -> String {
    let mut page =
        String::with_capacity(STYLE.len() + 8192 + 700 * status.tokens.len().min(tokens::MOST_TOKENS));
    let (look, headline, sentence) = words::verdict(status);
    head(&mut page, look, headline);
    let moment = status.now.format("%-d %b %Y, %H:%M:%S UTC").to_string();
    let (word, link) = if paused {
        ("paused at", r#"<a href="./">Resume</a>"#)
    } else {
        ("as of", r#"<a href="./?paused">Pause</a>"#)
    };
    push(
        &mut page,
        format_args!(
            r#"<body><div class="wrap">
<header class="top"><p class="brand"><svg width="22" height="22" viewBox="0 0 24 24" stroke-width="2.2" stroke-linecap="round" aria-hidden="true"><path d="M12 21v-9M12 12c0-4 2.5-7 8-8 .4 5-2.5 8.4-8 8zM12 15.5c0-3-2-5.5-6.5-6.2-.2 4 2 6.4 6.5 6.2z"/></svg>Perennial</p>
<p class="soft">{word} {} · {link}</p><p class="stale">Out of date: this is how it was at {}. <a href="./">Load it again</a></p></header>
<main>
<section class="verdict {}" aria-labelledby="verdict">{}<div><h1 id="verdict">{headline}</h1><p>{}</p></div></section>
"#,
            Time(status.now, &moment),
            status.now.format("%H:%M:%S"),
            look.class(),
            Sign(look),
            Text(&sentence),
        ),
    );
    trouble::section(&mut page, status);
    tokens::section(&mut page, status);
    let often = if paused { "paused" } else { "loads itself again every 15 s" };
    push(
        &mut page,
        format_args!(
            r#"</main>
<footer class="soft"><span>Perennial {}, {often}; all times are UTC</span><a href="status">Status as JSON</a><a href="health">Health</a><a href="metrics">Metrics</a></footer>
</div></body></html>
"#,
            status.version,
        ),
    );
    page
}

fn head(page: &mut String, look: Look, headline: &str) {
    let (colour, strokes) = (look.plain_colour(), look.strokes());
    push(
        page,
        format_args!(
            r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{headline} · Perennial</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Ccircle cx='12' cy='12' r='11' fill='%23{colour}'/%3E%3Cpath d='{strokes}' fill='none' stroke='white' stroke-width='2.4' stroke-linecap='round'/%3E%3C/svg%3E">
<style>{STYLE}</style></head>
"#
        ),
    );
}

/// A day near by has its hour, one far away its year.
fn date(at: Timestamp, now: Timestamp) -> String {
    let near = (at - now).abs() < TimeDelta::days(60);
    at.format(if near { "%-d %b, %H:%M" } else { "%-d %b %Y" }).to_string()
}

fn push(page: &mut String, more: std::fmt::Arguments<'_>) {
    page.write_fmt(more).expect("a string takes whatever is written to it");
}

/// Text from elsewhere, escaped for content and for attributes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// A sentence, from its first letter to its full stop, with what stands in backticks as something to type.
struct Sentence<'a>(&'a str);

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut chars = self.0.chars();
        let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
        let text = first + chars.as_str();
        let mut pieces = text.split('`');
        write!(f, "{}", Text(pieces.next().unwrap_or_default()))?;
        while let Some(piece) = pieces.next() {
            match pieces.next() {
                Some(after) => write!(f, "<code>{}</code>{}", Text(piece), Text(after))?,
                None => write!(f, "`{}", Text(piece))?,
            }
        }
        f.write_char('.')
    }
}

/// A time in words, and exactly for machines and for whoever points at it.
struct Time<'a>(Timestamp, &'a str);

impl Display for Time<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let exact = rfc3339(self.0);
        write!(f, "<time datetime=\"{exact}\" title=\"{exact}\">{}</time>", Text(self.1))
    }
}

/// The sign of a verdict.
struct Sign(Look);

impl Display for Sign {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            r#"<svg viewBox="0 0 24 24" aria-hidden="true" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"><circle cx="12" cy="12" r="11" stroke="none"/><path d="{}" fill="none"/></svg>"#,
            self.0.strokes()
        )
    }
}

/// What a list leaves out.
struct More(usize, usize);

impl Display for More {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0.checked_sub(self.1).filter(|more| *more > 0) {
            Some(more) => {
                write!(f, "<p class=\"soft\">and {more} more: <a href=\"status\">all as JSON</a></p>")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
