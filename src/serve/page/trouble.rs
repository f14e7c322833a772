//! What is wrong, a card for each condition: what it is, whom it hits, why, what to do, how long is left. Pure.

use super::words::Look;
use super::{MOST_CONDITIONS, MOST_NAMES, More, Sentence, Text, Time, date, push, words};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::{Condition, Severity};
use crate::status::document::Status;

/// Of more conditions than these, the others are folded.
const OPEN: usize = 5;

pub(super) fn section(page: &mut String, status: &Status) {
    let all = &status.conditions;
    if all.is_empty() {
        return;
    }
    page.push_str(
        "<section aria-labelledby=\"wrong\"><h2 id=\"wrong\">What is wrong</h2>\n<div class=\"cards\">\n",
    );
    for (place, condition) in all.iter().take(MOST_CONDITIONS).enumerate() {
        card(page, condition, place >= OPEN, status.now);
    }
    push(page, format_args!("</div>{}</section>\n", More(all.len(), MOST_CONDITIONS)));
}

/// A folded one shows what and whom; a browser unfolds it for whoever follows a link to what is inside.
fn card(page: &mut String, condition: &Condition, folded: bool, now: Timestamp) {
    let look = Look::of_severity(condition.severity);
    let word = match condition.severity {
        Severity::Critical => "Critical",
        Severity::Warning => "Warning",
    };
    let (element, head, head_ends) =
        if folded { ("details", "<summary>", "</summary>") } else { ("article", "", "") };
    push(
        page,
        format_args!(
            r#"<{element} class="card trouble {}">{head}<h3><span class="badge">{word}</span> {}</h3><span class="who">{}</span>{head_ends}<div id="{}">
"#,
            look.class(),
            condition.kind.title(),
            Text(&names(condition)),
            condition.id,
        ),
    );
    push(
        page,
        format_args!(
            "<p>{}</p>\n<div class=\"cure\"><h4>What to do</h4><p>{}</p></div>\n",
            Sentence(&condition.summary),
            Sentence(&condition.action),
        ),
    );
    facts(page, condition, now);
    push(page, format_args!("</div></{element}>\n"));
}

fn names(condition: &Condition) -> String {
    let mut names = condition.tokens.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more) = condition.tokens.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
        push(&mut names, format_args!(" and {more} more"));
    }
    names
}

fn facts(page: &mut String, condition: &Condition, now: Timestamp) {
    push(
        page,
        format_args!(
            "<dl><div><dt>Since</dt><dd>{}<small>{}</small></dd></div>",
            Time(condition.since, &relative::ago(condition.since, now)),
            date(condition.since, now),
        ),
    );
    if let Some(left) = condition.runway_seconds {
        push(page, format_args!("<div><dt>Time left</dt><dd>{}</dd></div>", words::time_left(left)));
    }
    push(page, format_args!("<div><dt>Who can fix it</dt><dd>{}", words::who(condition.remedy)));
    if !condition.owners.is_empty() {
        push(page, format_args!("<small>{}</small>", Text(&condition.owners.join(", "))));
    }
    push(
        page,
        format_args!(
            "</dd></div><div><dt>In the runbook</dt><dd>{}</dd></div></dl>\n",
            condition.kind.as_str()
        ),
    );
    let traces = condition.trace.parts();
    if !traces.is_empty() {
        push(page, format_args!("<p class=\"trace\">{}</p>\n", Text(&traces.join(" · "))));
    }
}
