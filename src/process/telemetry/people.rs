//! The log format for people: `2026-11-27T01:43:08.430609Z INFO  proved partner-center (version 93fe…)`.
//!
//! This module owns the order of an event's parts: event, token, message and other fields. The action follows on a line
//! of its own. Control characters in the values are escaped, so that a terminal does not act on them.

use std::fmt;
use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime as _;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::process::text;

/// Writes an event as one line and its action, if any, as a second line.
pub(super) struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _spans: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let (color, plain) = match (line.has_ansi_escapes(), *event.metadata().level()) {
            (false, _) => ("", ""),
            (true, Level::ERROR) => ("\u{1b}[31m", "\u{1b}[0m"),
            (true, Level::WARN) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[2m", "\u{1b}[0m"),
        };
        tracing_subscriber::fmt::time().format_time(&mut line)?;
        writeln!(line, " {color}{:5}{plain} {}", event.metadata().level(), parts.sentence())?;
        match parts.action {
            Some(action) => writeln!(line, "    What to do: {action}"),
            None => Ok(()),
        }
    }
}

/// The parts of one event. The fields `event`, `token`, `message` and `action` have fixed places. All other fields keep
/// the order in which they were logged.
#[derive(Default)]
struct Parts {
    event: Option<String>,
    token: Option<String>,
    message: Option<String>,
    action: Option<String>,
    others: String,
}

impl Parts {
    fn sentence(&self) -> String {
        let mut sentence = String::new();
        for word in [&self.event, &self.token].into_iter().flatten() {
            let space = if sentence.is_empty() { "" } else { " " };
            let _infallible = write!(sentence, "{space}{word}");
        }
        if let Some(message) = &self.message {
            let colon = if sentence.is_empty() { "" } else { ": " };
            let _infallible = write!(sentence, "{colon}{message}");
        }
        if !self.others.is_empty() {
            let _infallible = write!(sentence, " ({})", self.others);
        }
        sentence
    }

    fn put(&mut self, field: &Field, value: &str) {
        let value = text::defused(value);
        match field.name() {
            "event" => self.event = Some(value.replace('_', " ")),
            "token" => self.token = Some(value),
            "message" => self.message = Some(value),
            "action" => self.action = Some(value),
            name => {
                let comma = if self.others.is_empty() { "" } else { ", " };
                let _infallible = write!(self.others, "{comma}{} {value}", name.replace('_', " "));
            }
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}
