//! The status page: one glance says whether all is well, a second one what to do.
//!
//! Owns the HTML. Server-rendered, without script: it reloads itself. Every length that depends on data is
//! an SVG attribute, since the policy admits one style sheet and no `style` attribute. Pure.
//!
//! Invariants: everything that is not written here is escaped; colour never stands alone; what is not known
//! is never green.

mod words;

use std::fmt::Display;
use std::fmt::Formatter;
use std::fmt::Write as _;

use chrono::TimeDelta;

use self::words::Look;
use crate::condition::Condition;
use crate::condition::Severity;
use crate::relative;
use crate::status::Status;
use crate::status::TokenStatus;
use crate::token::Timestamp;
use crate::version::rfc3339;

const STYLE: &str = include_str!("page/style.css");

/// What a browser may do with the page: use its one style sheet, named by its hash, and its icon. No
/// script, no font, no frame, no other host.
pub const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-K7tOfyL9L12HRgmE8laJDZowtyhM5kavCC3zapGlkvU='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How often the page loads itself again.
const RELOAD_SECONDS: u32 = 15;

/// Cards shown, the ones in trouble first: a browser has to bear the page every few seconds.
const MOST_TOKENS: usize = 200;
const MOST_CONDITIONS: usize = 50;
/// Names listed in one condition.
const MOST_NAMES: usize = 20;

/// The page.
pub fn render(status: &Status) -> String {
    let mut page = String::with_capacity(STYLE.len() + 4096 + 2048 * status.tokens.len().min(MOST_TOKENS));
    let (look, headline, sentence) = words::verdict(status);
    head(&mut page, look, headline);
    push(
        &mut page,
        format_args!(
            r#"<body><div class="wrap">
<header class="top"><p class="brand"><svg width="22" height="22" viewBox="0 0 24 24" stroke-width="2.2" stroke-linecap="round" aria-hidden="true"><path d="M12 21v-9M12 12c0-4 2.5-7 8-8 .4 5-2.5 8.4-8 8zM12 15.5c0-3-2-5.5-6.5-6.200-.2 4 2 6.4 6.5 6.200z"/></svg>Perennial</p>
<p class="soft">as of {}</p></header>
<main>
<section class="verdict {}" aria-labelledby="verdict">{}<div><h1 id="verdict">{headline}</h1><p>{}</p></div></section>
"#,
            Time(status.now, &status.now.format("%-d %b %Y, %H:%M:%S UTC").to_string()),
            look.class(),
            Sign(look),
            Text(&sentence),
        ),
    );
    if !status.conditions.is_empty() {
        push(
            &mut page,
            format_args!(
                "<section aria-labelledby=\"open\"><h2 id=\"open\">What is wrong</h2>\n<div class=\"cards\">\n"
            ),
        );
        for condition in status.conditions.iter().take(MOST_CONDITIONS) {
            trouble(&mut page, condition, status.now);
        }
        push(&mut page, format_args!("</div>{}</section>\n", More(status.conditions.len(), MOST_CONDITIONS)));
    }
    push(
        &mut page,
        format_args!(
            "<section aria-labelledby=\"tokens\"><h2 id=\"tokens\">Tokens</h2>\n<div class=\"cards tokens\">\n"
        ),
    );
    let mut tokens: Vec<_> =
        status.tokens.iter().map(|token| (status.gravest(Some(&token.name)), token)).collect();
    tokens.sort_by_key(|(gravest, _)| std::cmp::Reverse(*gravest));
    for (gravest, token) in tokens.into_iter().take(MOST_TOKENS) {
        card(&mut page, token, gravest, status.now);
    }
    push(
        &mut page,
        format_args!(
            r#"</div>{}</section>
</main>
<footer class="soft"><span>Perennial {}</span><a href="/status">Status as JSON</a><a href="/health">Health</a><a href="/metrics">Metrics</a><span>Reloads every {RELOAD_SECONDS} s</span></footer>
</div></body></html>
"#,
            More(status.tokens.len(), MOST_TOKENS),
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
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{RELOAD_SECONDS}"><meta name="robots" content="noindex">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Ccircle cx='12' cy='12' r='11' fill='%23{colour}'/%3E%3Cpath d='{strokes}' fill='none' stroke='white' stroke-width='2.4' stroke-linecap='round'/%3E%3C/svg%3E">
<style>{STYLE}</style></head>
"#
        ),
    );
}

fn trouble(page: &mut String, condition: &Condition, now: Timestamp) {
    let look = Look::of_severity(condition.severity);
    let word = match condition.severity {
        Severity::Critical => "Critical",
        Severity::Warning => "Warning",
    };
    push(
        page,
        format_args!(
            r#"<article class="card trouble {}"><div class="head"><h3><span class="badge">{word}</span>{}</h3><p class="soft">{}</p></div>
"#,
            look.class(),
            condition.kind.title(),
            Time(condition.since, &since(condition.since, now)),
        ),
    );
    if !condition.tokens.is_empty() {
        let mut names = condition.tokens.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
        if let Some(more) = condition.tokens.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
            push(&mut names, format_args!(" and {more} more"));
        }
        if !condition.owners.is_empty() {
            push(&mut names, format_args!(" · {}", condition.owners.join(", ")));
        }
        push(page, format_args!("<p class=\"who\">{}</p>", Text(&names)));
    }
    push(
        page,
        format_args!(
            "<p class=\"why\">{}.</p>\n<p class=\"cure\"><b>What to do</b>{}.</p>",
            Text(&capital(&condition.summary)),
            Text(&capital(&condition.action)),
        ),
    );
    let traces = [
        Some(format!("runbook: {}", condition.kind.as_str())),
        condition.code.map(|code| if code > 999 { format!("AADSTS{code}") } else { format!("HTTP {code}") }),
        condition.trace_id.as_ref().map(|id| format!("trace {id}")),
        condition.correlation_id.as_ref().map(|id| format!("correlation {id}")),
    ];
    let traces: Vec<String> = traces.into_iter().flatten().collect();
    push(page, format_args!("<p class=\"trace\">{}</p>", Text(&traces.join(" · "))));
    page.push_str("</article>\n");
}

fn card(page: &mut String, token: &TokenStatus, gravest: Option<Severity>, now: Timestamp) {
    let look = Look::of_token(token, gravest);
    push(
        page,
        format_args!(
            r#"<article class="card {}"><div class="head"><h3>{}</h3><span class="badge">{}</span></div>
"#,
            look.class(),
            Text(&token.name),
            words::state(token.state),
        ),
    );
    bar(page, token, now);
    let when = |at: Option<Timestamp>, show: fn(Timestamp, Timestamp) -> String, none: &str| match at {
        Some(at) => Time(at, &show(at, now)).to_string(),
        None => none.to_owned(),
    };
    let accepted = match token.partner_center_accepts {
        Some(true) => "accepts it",
        Some(false) => "does not accept it",
        None => "not asked",
    };
    let step = token.next_step_at.map(|at| Time(at, &relative::until(at, now)).to_string());
    let step = step.map_or_else(|| "not known".to_owned(), |at| format!("{} {at}", words::next_step(token)));
    push(
        page,
        format_args!(
            "<dl><div><dt>Last proof</dt><dd>{}</dd></div><div><dt>Next step</dt><dd>{step}</dd></div><div><dt>Signed in</dt><dd>{}</dd></div><div><dt>Partner Center</dt><dd>{accepted}</dd></div></dl></article>\n",
            when(token.proved_at, relative::ago, "none yet"),
            when(token.signed_in_at, relative::ago, "not known"),
        ),
    );
}

/// The token's whole life as a bar: how old it is, where it is to be replaced, where it ends.
fn bar(page: &mut String, token: &TokenStatus, now: Timestamp) {
    let (Some(issued), Some(expires)) = (token.issued_at, token.expires_at) else {
        page.push_str(
            r#"<svg class="bar" role="img" aria-label="Age not known"><rect class="track" x="0" y="26" width="100%" height="10" rx="5"/></svg>
<p class="ends"><span>age not known</span></p>
"#,
        );
        return;
    };
    // Too thin to be seen is not what a young token's age should be.
    let age = percent(now, issued, expires).max(1.2);
    // Refused, or without its app's secret: when it would be replaced, or would end, is beside the point.
    let dead = token.runway_seconds == Some(0) && expires > now;
    let days = relative::span(expires - issued);
    let left = if dead {
        "no longer accepted".to_owned()
    } else if expires > now {
        format!("expires {}", relative::until(expires, now))
    } else {
        "expired".to_owned()
    };
    let old = relative::span(now - issued);
    let turn = token.rotate_at.filter(|_| !dead).map(|at| {
        let word = if at > now {
            format!("rotates {}", relative::until(at, now))
        } else {
            "rotation is due".to_owned()
        };
        (percent(at, issued, expires), word)
    });
    let told = turn.as_ref().map_or_else(String::new, |(_, word)| format!(", {word}"));
    push(
        page,
        format_args!(
            r#"<svg class="bar" role="img" aria-label="{old} old of {days}{told}, {left}"><rect class="track" x="0" y="26" width="100%" height="10" rx="5"/><rect class="late" x="90%" y="26" width="10%" height="10" rx="5"/><rect class="age" x="0" y="26" width="{age:.1}%" height="10" rx="5"/>"#
        ),
    );
    if let Some((at, word)) = turn {
        // Beside its mark, on the side where there is room.
        let (anchor, shift) = if at < 55.0 { ("start", 6) } else { ("end", -6) };
        push(
            page,
            format_args!(
                r#"<line class="turn" x1="{at:.1}%" x2="{at:.1}%" y1="8" y2="41"/><text x="{at:.1}%" dx="{shift}" y="17" text-anchor="{anchor}">{word}</text>"#
            ),
        );
    }
    push(
        page,
        format_args!(
            "</svg>\n<p class=\"ends\"><span>{}</span><span>{}</span></p>\n",
            Time(issued, &format!("{old} old")),
            Time(expires, &left),
        ),
    );
}

#[expect(clippy::cast_precision_loss, reason = "a width on a screen")]
fn percent(at: Timestamp, from: Timestamp, to: Timestamp) -> f64 {
    let whole = (to - from).num_seconds().max(1);
    (100.0 * (at - from).num_seconds() as f64 / whole as f64).clamp(0.0, 100.0)
}

/// For how long, and since which day where that is long ago.
fn since(at: Timestamp, now: Timestamp) -> String {
    let span = relative::span(now - at);
    if now - at < TimeDelta::days(2) {
        format!("for {span}")
    } else {
        format!("since {}, {span}", at.format("%-d %b %Y"))
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
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
                write!(f, "<p class=\"soft\">and {more} more: <a href=\"/status\">all as JSON</a></p>")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
