//! Every metric: its name, type, labels and meaning, and the text that a scrape gets.
//!
//! Owns `METRICS`, the table that documents them and from which alone they are rendered, and Prometheus' text
//! format 0.0.4. Pure.
//!
//! Written by hand, since nearly all of them are read off the snapshots at the moment of a scrape: a
//! registry would hold each per-token series a second time, for as long as the process lives.
//!
//! Invariants: what is not known is absent, never 0; counters exist from the start; no series appears
//! twice; no label holds a secret, an id of a request or free text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fmt::Write as _;
use std::ops::Range;

use crate::net::calls::{BUCKETS, Series};
use crate::ports::failure::Kind;
use crate::process::build_info::{REVISION, RUSTC, VERSION};
use crate::process::clock::Timestamp;
use crate::status::condition::Condition;
use crate::status::counts::{Counts, RotationOutcome};
use crate::status::sink_health;
use crate::status::sink_health::SinkHealth;
use crate::status::snapshot::{Snapshot, TokenState};

/// What the text is called in an answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the series are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// The tokens, in their order.
    pub snapshots: &'a [Snapshot],
    /// What holds.
    pub conditions: &'a [Condition],
    /// What was counted.
    pub counts: &'a Counts,
    /// How the alerts get through.
    pub deliveries: &'a SinkHealth,
    /// The calls.
    pub calls: &'a [Series],
    /// The moment.
    pub now: Timestamp,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// The labels of each series, in their order.
    pub labels: &'static [&'static str],
    /// What it means, with its unit.
    pub help: &'static str,
    /// Writes the series; the number is the place of the first snapshot.
    samples: fn(&Drawn<'_>, usize, &mut Samples<'_>),
}

/// All of them.
pub const METRICS: [Metric; 15] = [
    Metric {
        name: "perennial_build_info",
        kind: "gauge",
        labels: &["version", "revision", "rustc"],
        help: "Always 1; which program this is.",
        samples: |_, _, to| to.put(&[VERSION, REVISION, RUSTC], 1),
    },
    Metric {
        name: "perennial_tokens",
        kind: "gauge",
        labels: &["state"],
        help: "Tokens in each state.",
        samples: tokens,
    },
    Metric {
        name: "perennial_token_issued_timestamp_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "When the stored token was issued.",
        samples: |drawn, _, to| instants(drawn, to, |of| of.issued_at),
    },
    Metric {
        name: "perennial_token_expiry_timestamp_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "When the stored token ends, by its age.",
        samples: |drawn, _, to| instants(drawn, to, |of| of.expires_at),
    },
    Metric {
        name: "perennial_token_runway_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "Time until the first of the token's and its app secret's end; 0 once refused.",
        samples: runways,
    },
    Metric {
        name: "perennial_token_proved_timestamp_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "When the issuer last redeemed the stored token.",
        samples: |drawn, _, to| instants(drawn, to, |of| of.proved_at),
    },
    Metric {
        name: "perennial_token_last_rotation_timestamp_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "When this process last saved a successor.",
        samples: |drawn, _, to| instants(drawn, to, |of| of.last_rotation_at),
    },
    Metric {
        name: "perennial_token_next_step_timestamp_seconds",
        kind: "gauge",
        labels: &["token"],
        help: "When the next step is due.",
        samples: |drawn, _, to| instants(drawn, to, |of| of.next_step_at),
    },
    Metric {
        name: "perennial_partner_center_accepts",
        kind: "gauge",
        labels: &["token"],
        help: "Whether Partner Center last accepted the access token: 1 or 0.",
        samples: acceptances,
    },
    Metric {
        name: "perennial_rotations_total",
        kind: "counter",
        labels: &["token", "outcome"],
        help: "Attempts to save a successor: saved, gave_way to a newer sign-in, or failed and to be tried again.",
        samples: rotations,
    },
    Metric {
        name: "perennial_failures_total",
        kind: "counter",
        labels: &["kind"],
        help: "Failed attempts by the kind of condition they lead to.",
        samples: failures,
    },
    Metric {
        name: "perennial_condition",
        kind: "gauge",
        labels: &["kind", "token"],
        help: "1 while the condition holds; one series for each token it affects.",
        samples: conditions,
    },
    Metric {
        name: "perennial_app_secret_expiry_timestamp_seconds",
        kind: "gauge",
        labels: &["client_id"],
        help: "When the app's secret ends, where the app's id stands in the configuration and anybody says.",
        samples: app_secrets,
    },
    Metric {
        name: "perennial_http_client_request_duration_seconds",
        kind: "histogram",
        labels: &["peer", "operation", "code"],
        help: "Calls to other servers, by HTTP status or by why there was none.",
        samples: calls,
    },
    Metric {
        name: "perennial_alert_deliveries_total",
        kind: "counter",
        labels: &["sink", "outcome"],
        help: "Attempts to deliver an alert: delivered, or failed and to be tried again.",
        samples: alert_deliveries,
    },
];

/// How many tokens' series are written in one piece: a fleet's text is never in memory as a whole.
const TOKENS_A_PIECE: usize = 64;

impl Metric {
    /// The pieces of its text, by the tokens in each; one for all where its series are not a token's.
    pub fn pieces(&self, tokens: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let size = if self.labels.first() == Some(&"token") { TOKENS_A_PIECE } else { tokens.max(1) };
        (0..tokens.max(1)).step_by(size).map(move |from| from..(from + size).min(tokens))
    }

    /// One piece. The first begins with what the metric is.
    pub fn render(&self, drawn: &Drawn<'_>, piece: &Range<usize>) -> String {
        let mut text = String::new();
        let Self { name, kind, help, .. } = self;
        if piece.start == 0 {
            push(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        let snapshots = drawn.snapshots.get(piece.clone()).unwrap_or_default();
        let drawn = Drawn { snapshots, ..*drawn };
        (self.samples)(&drawn, piece.start, &mut Samples { metric: self, text: &mut text });
        text
    }
}

/// Where one metric's series are written.
struct Samples<'a> {
    metric: &'a Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    fn put(&mut self, values: &[&str], value: impl Display) {
        self.line("", values, None, value);
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let labels = self.metric.labels.iter().copied().zip(values.iter().copied());
        for (place, (label, value)) in labels.chain(bound.map(|bound| ("le", bound))).enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            push(self.text, format_args!("{label}=\""));
            escape(value, self.text);
            self.text.push('"');
        }
        let close = if values.is_empty() && bound.is_none() { "" } else { "}" };
        push(self.text, format_args!("{close} {value}\n"));
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes whatever is written to it");
}

/// Backslash, quote and line feed are all that the format escapes in a label's value.
fn escape(value: &str, to: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            other => to.push(other),
        }
    }
}

fn tokens(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for state in TokenState::ALL {
        let count = drawn.snapshots.iter().filter(|of| of.standing(drawn.now) == state).count();
        to.put(&[state.as_str()], count);
    }
}

fn instants(drawn: &Drawn<'_>, to: &mut Samples<'_>, at: impl Fn(&Snapshot) -> Option<Timestamp>) {
    for of in drawn.snapshots {
        if let Some(at) = at(of) {
            to.put(&[of.grant.name.as_str()], at.timestamp());
        }
    }
}

fn runways(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for of in drawn.snapshots {
        if let Some(runway) = of.runway(drawn.now) {
            to.put(&[of.grant.name.as_str()], runway.num_seconds());
        }
    }
}

fn acceptances(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for of in drawn.snapshots {
        if let Some(accepted) = of.accepted() {
            to.put(&[of.grant.name.as_str()], u8::from(accepted));
        }
    }
}

fn rotations(drawn: &Drawn<'_>, first: usize, to: &mut Samples<'_>) {
    for (place, of) in (first..).zip(drawn.snapshots) {
        for outcome in RotationOutcome::ALL {
            to.put(&[of.grant.name.as_str(), outcome.as_str()], drawn.counts.rotations(place, outcome));
        }
    }
}

fn failures(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for kind in Kind::ALL {
        to.put(&[kind.as_str()], drawn.counts.failures(kind));
    }
}

/// What holds for no token in particular, as a wrong clock, has an empty label.
fn conditions(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    let affected = drawn.conditions.iter().flat_map(|condition| {
        let tokens = condition.tokens.iter().map(String::as_str);
        let nobody = condition.tokens.is_empty().then_some("");
        tokens.chain(nobody).map(|token| (condition.kind, token))
    });
    for (kind, token) in affected.collect::<BTreeSet<_>>() {
        to.put(&[kind.as_str(), token], 1);
    }
}

/// Tokens of one app may know its end from different places: the first counts.
fn app_secrets(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    let mut ends: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for of in drawn.snapshots {
        if let (Some(app), Some(at)) = (of.client_id(), of.app_secret_expires) {
            ends.entry(app).and_modify(|end| *end = at.min(*end)).or_insert(at);
        }
    }
    for (app, at) in ends {
        to.put(&[app], at.timestamp());
    }
}

fn alert_deliveries(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for (sink, counts) in drawn.deliveries.counts() {
        for (outcome, count) in sink_health::OUTCOMES.iter().zip(counts) {
            to.put(&[&*sink, outcome], count);
        }
    }
}

fn calls(drawn: &Drawn<'_>, _: usize, to: &mut Samples<'_>) {
    for series in drawn.calls {
        let labels = [series.peer.as_str(), series.operation, series.code.as_str()];
        for (bound, count) in BUCKETS.iter().zip(series.buckets) {
            to.line("_bucket", &labels, Some(&bound.to_string()), count);
        }
        to.line("_bucket", &labels, Some("+Inf"), series.count);
        to.line("_sum", &labels, None, series.sum_seconds);
        to.line("_count", &labels, None, series.count);
    }
}

#[cfg(test)]
mod tests;
