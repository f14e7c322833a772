//! The table that `status` prints.

use std::fmt::Write as _;

use super::{age, left, passed};
use crate::process::clock::Timestamp;
use crate::process::relative;
use crate::status::condition::Severity;
use crate::status::document::{Status, TokenStatus};
use crate::status::snapshot::TokenState;

const HEADINGS: [&str; 6] = ["TOKEN", "STATE", "PROVED", "AGE", "ROTATES", "EXPIRES"];
const STATE: usize = 1;

/// The largest number of token names that a condition shows.
const MOST_NAMES: usize = 10;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const DIM: &str = "2";
const BOLD: &str = "1";

/// Returns the tokens in columns, then the conditions with their actions, and the source of the document.
pub(super) fn of(status: &Status, view: &str, colour: bool) -> String {
    let rows: Vec<[String; 6]> = status.tokens.iter().map(|token| row(token, status.now)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADINGS[column].len()]).max().unwrap_or_default()
    });
    let mut text = String::new();
    push(&mut text, &HEADINGS.map(str::to_owned), &widths, |_, cell| painted(cell, DIM, colour));
    for (row, token) in rows.iter().zip(&status.tokens) {
        push(&mut text, row, &widths, |column, cell| match column {
            STATE => painted(cell, hue(token.state), colour),
            _ => cell.to_owned(),
        });
    }
    for condition in &status.conditions {
        let (word, hue) = match condition.severity {
            Severity::Critical => ("critical", RED),
            Severity::Warning => ("warning", YELLOW),
        };
        let kind = painted(condition.kind.as_str(), BOLD, colour);
        let since = relative::span(status.now - condition.since);
        let tokens = condition.names(MOST_NAMES);
        let whose = if tokens.is_empty() { String::new() } else { format!(" {tokens}") };
        line(&mut text, format_args!("\n{} {kind}{whose}, for {since}", painted(word, hue, colour)));
        line(&mut text, format_args!("  {}", condition.summary));
        line(&mut text, format_args!("  -> {}", condition.action));
    }
    let (first, rest) = view.split_at(view.len().min(1));
    let view = format!("{}{rest}.", first.to_ascii_uppercase());
    line(&mut text, format_args!("\n{}", painted(&view, DIM, colour)));
    text.truncate(text.trim_end().len());
    text
}

fn row(token: &TokenStatus, now: Timestamp) -> [String; 6] {
    // The row of a token that needs a sign-in has no rotation time and no expiry. The row of an expired token has no
    // rotation time, but shows when the token expired.
    let to_come = |at| left(at, now);
    let (rotates, expires) = match token.state {
        TokenState::NeedsLogin => (to_come(None), to_come(None)),
        TokenState::Expired => (to_come(None), passed(token.expires_at, now)),
        _ => (to_come(token.rotate_at), to_come(token.expires_at)),
    };
    [
        token.name.clone(),
        token.state.as_str().to_owned(),
        passed(token.proved_at, now),
        age(token.issued_at, now),
        rotates,
        expires,
    ]
}

fn hue(state: TokenState) -> &'static str {
    match state {
        TokenState::Current => GREEN,
        TokenState::Unsaved => YELLOW,
        TokenState::NeedsLogin
        | TokenState::NeedsOperator
        | TokenState::PartnerCenterRefused
        | TokenState::Expired => RED,
        TokenState::Off | TokenState::Unknown => DIM,
    }
}

/// Adds a row without trailing blanks. The width of a cell does not count color codes, since a terminal does not show
/// them.
fn push(text: &mut String, row: &[String; 6], widths: &[usize; 6], paint: impl Fn(usize, &str) -> String) {
    let mut gap = 0;
    for (column, cell) in row.iter().enumerate() {
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(&paint(column, cell));
        gap = 2 + widths[column] - cell.chars().count();
    }
    text.push('\n');
}

fn line(text: &mut String, more: std::fmt::Arguments<'_>) {
    writeln!(text, "{more}").expect("writing to a string never fails");
}

fn painted(text: &str, hue: &str, colour: bool) -> String {
    if colour { format!("\u{1b}[{hue}m{text}\u{1b}[0m") } else { text.to_owned() }
}
