//! The log on stderr. By default, the log is readable text on a terminal, and flat JSON (one line per event) elsewhere.
//!
//! This module owns the log format, the filter and the in-memory log of `demo`. The log's events are defined elsewhere.
//!
//! Invariant: dependencies log only warnings and errors, regardless of `RUST_LOG`. At lower levels, HTTP and TLS crates
//! log headers, addresses and frames.

use std::io;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use people::ForPeople;

mod people;

const USUAL: &str = "warn,perennial=info";

/// The filter of the in-memory log.
const EVERYTHING: &str = "warn,perennial=trace";

/// The most verbose level that other crates may log.
const OTHERS: Level = Level::WARN;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Readable lines for people.
    Pretty,
}

impl LogFormat {
    /// The default format: readable lines if stderr is a terminal, else JSON.
    pub fn usual() -> Self {
        if std::io::stderr().is_terminal() { Self::Pretty } else { Self::Json }
    }
}

/// Starts logging to stderr, filtered by `RUST_LOG`. Logging can start only once per process. Later calls have no
/// effect.
pub fn start(format: LogFormat) {
    let (filter, readable) = filter();
    let log = tracing_subscriber::registry().with(layer(format, colour(), filter, io::stderr));
    if tracing::subscriber::set_global_default(log).is_ok() && !readable {
        tracing::warn!("RUST_LOG is not valid and is ignored");
    }
}

/// Starts logging everything to memory, and also to stderr if a format is given. Logging can start only once per
/// process, so a program calls either this function or [`start`].
pub fn capture(shown: Option<LogFormat>) -> Captured {
    let captured = Captured::default();
    let kept = layer(LogFormat::Json, false, targets(EVERYTHING), captured.clone());
    let shown = shown.map(|format| layer(format, colour(), filter().0, io::stderr));
    // If logging has already started, `set_global_default` fails and `captured` stays empty.
    let _started =
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(kept).with(shown));
    captured
}

/// An in-memory log with one JSON object per line. All clones share the same log.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Returns the lines logged since the last call.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Returns the filter of `RUST_LOG` or the default filter. The `bool` is false if `RUST_LOG` cannot be parsed.
fn filter() -> (Targets, bool) {
    let wanted = std::env::var("RUST_LOG").ok().filter(|directives| !directives.trim().is_empty());
    match wanted.as_deref().map(str::parse) {
        Some(Ok(filter)) => (filter, true),
        Some(Err(_)) => (targets(USUAL), false),
        None => (targets(USUAL), true),
    }
}

fn targets(directives: &str) -> Targets {
    directives.parse().expect("directives of ours")
}

fn colour() -> bool {
    super::may_have_colors(io::stderr().is_terminal())
}

/// Creates a layer that writes each event to `writer`.
fn layer<S, W>(format: LogFormat, colour: bool, filter: Targets, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Pretty => lines.with_ansi(colour).event_format(ForPeople).boxed(),
    };
    lines.with_filter(filter.and(filter_fn(may_speak).with_max_level_hint(LevelFilter::TRACE)))
}

fn may_speak(event: &Metadata<'_>) -> bool {
    let ours = event.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || *event.level() <= OTHERS
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn libraries_log_only_warnings_at_any_filter() {
        let text = logged(LogFormat::Json, "trace", || {
            tracing::trace!(target: "hyper::proto::h1::io", "canary");
            tracing::debug!(target: "h2::codec", "canary");
            tracing::info!(target: "typespec_client_core::http", "canary");
            tracing::debug!(target: "perennially_yours", "canary");
            tracing::warn!(target: "rustls::common_state", "a warning");
            tracing::trace!(target: "perennial::rotate", "a trace");
        });

        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("a warning") && text.contains("a trace"), "{text}");
    }

    #[test]
    fn a_json_line_is_flat() {
        let text = logged(LogFormat::Json, USUAL, || {
            let span = tracing::info_span!("rotation", token = "hidden");
            let _inside = span.enter();
            tracing::info!(target: "perennial::rotate", token = "partner-center", code = 50173, "saved");
        });

        let line: Value = serde_json::from_str(&text).expect("one object");
        let mut keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["code", "level", "message", "target", "timestamp", "token"]);
        assert_eq!((&line["level"], &line["token"]), (&"INFO".into(), &"partner-center".into()));
    }

    #[test]
    fn a_line_for_people_has_no_colours_unless_asked() {
        let text = logged(LogFormat::Pretty, USUAL, || {
            tracing::info!(target: "perennial", token = "a", "saved \u{1b}[31mred");
            tracing::debug!(target: "perennial", "too much");
        });

        assert!(text.contains(" INFO  a: saved"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("too much"), "{text}");
    }

    #[test]
    fn a_line_for_people_says_what_happened_to_which_token_and_what_to_do() {
        let text = logged(LogFormat::Pretty, USUAL, || {
            tracing::warn!(
                target: "perennial",
                event = "successor_lost",
                token = "contoso",
                action = "run `perennial login contoso`",
                "AADSTS50173 (password changed)\u{1b}[2J"
            );
            tracing::info!(target: "perennial", event = "started", version = "0.1.0", tokens = 1);
        });

        let lines: Vec<&str> = text.lines().collect();
        let wanted = [
            "WARN  successor lost contoso: AADSTS50173 (password changed)\\u{1b}[2J",
            "    What to do: run `perennial login contoso`",
            "INFO  started (version 0.1.0, tokens 1)",
        ];
        assert_eq!(lines.len(), wanted.len(), "{text}");
        for (line, wanted) in lines.iter().zip(&wanted) {
            assert!(line.ends_with(wanted), "{line}");
        }
    }

    fn logged(format: LogFormat, filter: &str, act: impl FnOnce()) -> String {
        let kept = Captured::default();
        let log = tracing_subscriber::registry().with(layer(format, false, targets(filter), kept.clone()));
        tracing::subscriber::with_default(log, act);
        kept.take()
    }
}
