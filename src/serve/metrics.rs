//! The definitions of all metrics (name, type, labels and meaning), and the text that a scrape gets.
//!
//! This module owns `METRICS`, the only table that defines the metrics. A test compares the documentation with this
//! table. The crate `prometheus-client` formats the text. The values come from the status board and from the recorder
//! of calls.
//!
//! At each scrape, a collector creates the series from the snapshots of the tokens. So no registry stores each token's
//! values a second time.
//!
//! Invariants: An unknown value is absent, never 0. Counters exist with the value 0 from the start. No series appears
//! twice. Labels never contain secrets, request ids or free text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::net::calls::Calls;
use crate::ports::failure::Kind;
use crate::process::build_info::{REVISION, RUSTC, VERSION};
use crate::process::clock::Timestamp;
use crate::status::board::StatusBoard;
use crate::status::condition::Condition;
use crate::status::counts::RotationOutcome;
use crate::status::sink_health;
use crate::status::snapshot::{Snapshot, TokenState};

/// The content type of the metrics text.
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// The data for one scrape. The text is made piece by piece, and all pieces use the same conditions and the same time.
#[derive(Debug)]
pub struct Scrape {
    pub board: StatusBoard,
    pub calls: Arc<Calls>,
    pub conditions: Vec<Condition>,
    pub now: Timestamp,
    /// Whether the metrics may contain token names. If false, the metrics of rotations and conditions have an empty
    /// token label and cover all tokens together. All other metrics with a token label are omitted.
    pub names: bool,
}

/// The definition of one metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The metric's name in Prometheus. The name of a counter ends in `_total`.
    pub name: &'static str,
    pub kind: MetricType,
    /// The names of the labels of each series, in their order.
    pub labels: &'static [&'static str],
    /// The meaning of the metric, with its unit.
    pub help: &'static str,
    samples: fn(&Drawn<'_>, Samples<'_>) -> fmt::Result,
}

/// The definitions of all metrics.
pub const METRICS: [Metric; 15] = [
    Metric {
        name: "perennial_build_info",
        kind: MetricType::Gauge,
        labels: &["version", "revision", "rustc", "instance"],
        help: "Always 1; the labels name the version and the instance.",
        samples: |drawn, mut to| {
            let instance = drawn.snapshots.first().map_or("", |of| &of.grant.deployment.instance);
            to.put(&[VERSION, REVISION, RUSTC, instance], &ConstGauge::new(1))
        },
    },
    Metric {
        name: "perennial_tokens",
        kind: MetricType::Gauge,
        labels: &["state"],
        help: "Tokens in each state.",
        samples: tokens,
    },
    Metric {
        name: "perennial_token_issued_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "When the stored token was issued.",
        samples: |drawn, to| instants(drawn, to, |of| of.issued_at),
    },
    Metric {
        name: "perennial_token_expiry_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "When the stored token expires: its issue time plus the configured lifetime.",
        samples: |drawn, to| instants(drawn, to, |of| of.expires_at),
    },
    Metric {
        name: "perennial_token_runway_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "Time until the token or its app secret expires, whichever is first; 0 while no usable access token can be obtained.",
        samples: |drawn, to| {
            of_tokens(drawn, to, |of| of.runway(drawn.scrape.now).map(|left| left.num_seconds()))
        },
    },
    Metric {
        name: "perennial_token_proved_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "When the issuer last redeemed the stored token.",
        samples: |drawn, to| instants(drawn, to, |of| of.proved_at),
    },
    Metric {
        name: "perennial_token_last_rotation_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "When this process last saved a new token.",
        samples: |drawn, to| instants(drawn, to, |of| of.last_rotation_at),
    },
    Metric {
        name: "perennial_token_next_step_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "When Perennial's next step for the token is due.",
        samples: |drawn, to| instants(drawn, to, |of| of.next_step_at),
    },
    Metric {
        name: "perennial_partner_center_accepts",
        kind: MetricType::Gauge,
        labels: &["token"],
        help: "Whether Partner Center accepted the access token at the last check: 1 or 0.",
        samples: |drawn, to| of_tokens(drawn, to, |of| of.accepted().map(i64::from)),
    },
    Metric {
        name: "perennial_rotations_total",
        kind: MetricType::Counter,
        labels: &["token", "outcome"],
        help: "Attempts to save a new token: saved, gave_way (kept a newer sign-in), or failed (retried).",
        samples: rotations,
    },
    Metric {
        name: "perennial_failures_total",
        kind: MetricType::Counter,
        labels: &["kind"],
        help: "Failed attempts, counted by the kind of condition that such a failure opens.",
        samples: failures,
    },
    Metric {
        name: "perennial_condition",
        kind: MetricType::Gauge,
        labels: &["kind", "token"],
        help: "1 while the condition is open; each affected token has its own series.",
        samples: conditions,
    },
    Metric {
        name: "perennial_app_secret_expiry_timestamp_seconds",
        kind: MetricType::Gauge,
        labels: &["client_id"],
        help: "When the app's secret expires. Exists only if the expiry is known and the configuration contains the app's id.",
        samples: app_secrets,
    },
    Metric {
        name: "perennial_http_client_request_duration_seconds",
        kind: MetricType::Histogram,
        labels: &["peer", "operation", "code"],
        help: "Duration of calls to other servers, by HTTP status, or by the reason why no answer came.",
        samples: |drawn, to| drawn.scrape.calls.durations().encode(to.encoder),
    },
    Metric {
        name: "perennial_alert_deliveries_total",
        kind: MetricType::Counter,
        labels: &["sink", "outcome"],
        help: "Attempts to deliver an alert: delivered, or failed (retried).",
        samples: alert_deliveries,
    },
];

/// The number of tokens per piece of the metrics text. The server sends the text in pieces, so the whole text is never
/// in memory.
const TOKENS_A_PIECE: usize = 64;

impl Scrape {
    /// Returns the metrics text in pieces. Each piece is encoded when it is requested.
    pub fn text(self) -> impl Iterator<Item = Result<String, fmt::Error>> {
        let tokens = self.board.read(<[Snapshot]>::len);
        let scrape = Arc::new(self);
        let names = scrape.names;
        let pieces = METRICS
            .iter()
            .flat_map(move |metric| metric.pieces(tokens, names).map(move |piece| (metric, piece)));
        pieces.map(move |(metric, tokens)| Piece { scrape: scrape.clone(), metric, tokens }.text())
    }
}

impl Metric {
    /// Splits the tokens into ranges. Each range is one piece of the metric's text. If the metric's series contain no
    /// token name, one range covers all tokens.
    fn pieces(&self, tokens: usize, names: bool) -> impl Iterator<Item = Range<usize>> + use<> {
        let is_of_tokens = names && self.labels.first() == Some(&"token");
        let size = if is_of_tokens { TOKENS_A_PIECE } else { tokens.max(1) };
        (0..tokens.max(1)).step_by(size).map(move |from| from..(from + size).min(tokens))
    }
}

/// One metric's series for a range of tokens.
#[derive(Debug)]
struct Piece {
    scrape: Arc<Scrape>,
    metric: &'static Metric,
    tokens: Range<usize>,
}

impl Piece {
    fn text(self) -> Result<String, fmt::Error> {
        let is_first = self.tokens.start == 0;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        if is_first {
            return Ok(text);
        }
        // The encoder begins each piece with HELP and TYPE lines. A scrape may have these lines only once per metric.
        Ok(text.split_inclusive('\n').skip(2).collect())
    }
}

impl Collector for Piece {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { scrape, metric, tokens } = self;
        // The encoder itself adds the suffix `_total` to counters.
        let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        let encoder = encoder.encode_descriptor(name, metric.help, None, metric.kind)?;
        let samples = Samples { labels: metric.labels, encoder };
        scrape.board.read(|all| {
            let snapshots = all.get(tokens.clone()).unwrap_or_default();
            (metric.samples)(&Drawn { scrape, snapshots, first: tokens.start }, samples)
        })
    }
}

/// The data for the series of one [`Piece`].
struct Drawn<'a> {
    scrape: &'a Scrape,
    snapshots: &'a [Snapshot],
    /// The index of `snapshots[0]` on the status board.
    first: usize,
}

/// The output for the series of one metric.
struct Samples<'a> {
    labels: &'static [&'static str],
    encoder: MetricEncoder<'a>,
}

impl Samples<'_> {
    fn put(&mut self, values: &[&str], value: &impl EncodeMetric) -> fmt::Result {
        debug_assert_eq!(values.len(), self.labels.len(), "{:?}", self.labels);
        let labels: Vec<_> = self.labels.iter().copied().zip(values.iter().copied()).collect();
        value.encode(self.encoder.encode_family(&labels)?)
    }
}

fn tokens(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    TokenState::ALL.into_iter().try_for_each(|state| {
        let count = drawn.snapshots.iter().filter(|of| of.standing(drawn.scrape.now) == state).count();
        to.put(&[state.as_str()], &ConstGauge::new(count))
    })
}

/// Writes one series per token. Skips each token for which `value` returns `None`. If the metrics may not contain token
/// names, writes no series.
fn of_tokens(
    drawn: &Drawn<'_>,
    mut to: Samples<'_>,
    value: impl Fn(&Snapshot) -> Option<i64>,
) -> fmt::Result {
    let named = drawn.snapshots.iter().filter(|_| drawn.scrape.names);
    for of in named {
        if let Some(value) = value(of) {
            to.put(&[of.grant.name.as_str()], &ConstGauge::new(value))?;
        }
    }
    Ok(())
}

fn instants(drawn: &Drawn<'_>, to: Samples<'_>, at: impl Fn(&Snapshot) -> Option<Timestamp>) -> fmt::Result {
    of_tokens(drawn, to, |of| at(of).map(|at| at.timestamp()))
}

fn rotations(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    let counts = drawn.scrape.board.counts();
    if !drawn.scrape.names {
        return RotationOutcome::ALL.into_iter().try_for_each(|outcome| {
            let of = |place| u64::from(counts.rotations(place, outcome));
            let all: u64 = (0..drawn.snapshots.len()).map(of).sum();
            to.put(&["", outcome.as_str()], &ConstCounter::new(all))
        });
    }
    for (place, of) in (drawn.first..).zip(drawn.snapshots) {
        for outcome in RotationOutcome::ALL {
            let count = counts.rotations(place, outcome);
            to.put(&[of.grant.name.as_str(), outcome.as_str()], &ConstCounter::new(count))?;
        }
    }
    Ok(())
}

fn failures(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    let counts = drawn.scrape.board.counts();
    Kind::ALL
        .into_iter()
        .try_for_each(|kind| to.put(&[kind.as_str()], &ConstCounter::new(counts.failures(kind))))
}

/// Writes the current conditions. The token label is empty for a condition without a token, such as a wrong clock. The
/// label is always empty if the metrics may not contain token names.
fn conditions(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    let affected = drawn.scrape.conditions.iter().flat_map(|condition| {
        let tokens = condition.tokens.iter().map(String::as_str).filter(|_| drawn.scrape.names);
        let unnamed = (condition.tokens.is_empty() || !drawn.scrape.names).then_some("");
        tokens.chain(unnamed).map(|token| (condition.kind, token))
    });
    let affected: BTreeSet<_> = affected.collect();
    affected.into_iter().try_for_each(|(kind, token)| to.put(&[kind.as_str(), token], &ConstGauge::new(1)))
}

/// Writes the expiry of each app's secret. If the snapshots of an app's tokens contain different expiries, writes the
/// earliest expiry.
fn app_secrets(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    let mut ends: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for of in drawn.snapshots {
        if let (Some(app), Some(at)) = (of.client_id(), of.app_secret_expires) {
            ends.entry(app).and_modify(|end| *end = at.min(*end)).or_insert(at);
        }
    }
    ends.into_iter().try_for_each(|(app, at)| to.put(&[app], &ConstGauge::new(at.timestamp())))
}

fn alert_deliveries(drawn: &Drawn<'_>, mut to: Samples<'_>) -> fmt::Result {
    for (sink, counts) in drawn.scrape.board.deliveries().counts() {
        for (outcome, count) in sink_health::OUTCOMES.iter().zip(counts) {
            to.put(&[&*sink, outcome], &ConstCounter::new(count))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
