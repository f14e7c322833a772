//! Records the durations and results of calls to other services.
//!
//! This module owns the histograms behind `http_client_request_duration_seconds`.
//!
//! Invariant: every call is counted once, even if it is canceled.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use crate::net::no_response::NoResponse;

/// The upper bounds of the histogram buckets, in seconds. The last bound is the timeout of a call.
pub const BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallTarget {
    /// Entra's token endpoint.
    Entra,
    /// Azure Key Vault.
    KeyVault,
    /// Partner Center, the resource that checks access tokens.
    PartnerCenter,
    /// Microsoft Graph, which manages the credentials of apps.
    Graph,
    /// The endpoint that issues the managed identity's tokens.
    IdentityHost,
    /// A receiver of alerts.
    AlertSink,
    /// The heartbeat endpoint.
    Heartbeat,
}

impl CallTarget {
    /// The service's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::KeyVault => "key_vault",
            Self::PartnerCenter => "partner_center",
            Self::Graph => "graph",
            Self::IdentityHost => "identity_host",
            Self::AlertSink => "alert_sink",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// The result of a call: an HTTP status, or the reason why there was no response.
pub type CallResult = Result<u16, NoResponse>;

/// The metric labels of a call. The called service can influence only the label `code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    peer: &'static str,
    operation: &'static str,
    code: String,
}

impl CallLabels {
    /// Creates the labels for a call to `peer`. The operation is a word such as `redeem` or `set`. The code is an HTTP
    /// status or the reason why there was no response.
    pub fn new(peer: CallTarget, operation: &'static str, code: impl Into<String>) -> Self {
        Self { peer: peer.as_str(), operation, code: code.into() }
    }
}

/// Records calls for the metrics. All modules that call other services share one recorder.
#[derive(Debug)]
pub struct Calls(Family<CallLabels, Histogram>);

impl Default for Calls {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl Calls {
    /// Counts one call.
    pub fn record(&self, peer: CallTarget, operation: &'static str, outcome: CallResult, took: Duration) {
        let labels = CallLabels::new(peer, operation, code(outcome));
        self.0.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Starts measuring a call. The call is counted by [`Running::end`], or is counted as timed out if the returned
    /// value is dropped first.
    pub fn begin(&self, peer: CallTarget, operation: &'static str) -> Running<'_> {
        Running { calls: self, peer, operation, since: Instant::now(), ended: false }
    }

    /// The durations of all calls, in seconds.
    pub fn durations(&self) -> &Family<CallLabels, Histogram> {
        &self.0
    }
}

/// A call in progress.
#[derive(Debug)]
pub struct Running<'a> {
    calls: &'a Calls,
    peer: CallTarget,
    operation: &'static str,
    since: Instant,
    ended: bool,
}

impl Running<'_> {
    /// Records the result of the call.
    pub fn end(mut self, outcome: CallResult) {
        self.ended = true;
        self.calls.record(self.peer, self.operation, outcome, self.since.elapsed());
    }
}

impl Drop for Running<'_> {
    /// Counts the call as timed out, unless `end` has counted it. A running call is dropped only if the call times out
    /// or the process stops.
    fn drop(&mut self) {
        if !self.ended {
            let took = self.since.elapsed();
            self.calls.record(self.peer, self.operation, Err(NoResponse::TimedOut), took);
        }
    }
}

fn code(outcome: CallResult) -> String {
    let word = match outcome {
        Ok(status) => return status.to_string(),
        Err(NoResponse::NameUnknown) => "name_unknown",
        Err(NoResponse::Lookup) => "lookup",
        Err(NoResponse::Connect) => "connect",
        Err(NoResponse::Tls(_)) => "tls",
        Err(NoResponse::Proxy) => "proxy",
        Err(NoResponse::TimedOut) => "timed_out",
        Err(NoResponse::Cut) => "cut",
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(calls: &Calls, labels: &CallLabels) -> Option<(u64, f64)> {
        calls.durations().get(labels).map(|histogram| (histogram.count(), histogram.sum()))
    }

    #[test]
    fn calls_are_counted_by_peer_operation_and_end() {
        let calls = Calls::default();

        calls.record(CallTarget::Entra, "redeem", Ok(200), Duration::from_millis(250));
        calls.record(CallTarget::Entra, "redeem", Ok(200), Duration::from_secs(60));
        calls.record(
            CallTarget::KeyVault,
            "set",
            Err(NoResponse::Tls(crate::net::no_response::TlsFault::Handshake)),
            Duration::ZERO,
        );

        assert_eq!(calls.durations().len(), 2);
        assert_eq!(durations(&calls, &CallLabels::new(CallTarget::Entra, "redeem", "200")), Some((2, 60.25)));
        assert_eq!(durations(&calls, &CallLabels::new(CallTarget::KeyVault, "set", "tls")), Some((1, 0.0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_call_is_counted_too() {
        let calls = Calls::default();

        let call = async {
            let _running = calls.begin(CallTarget::KeyVault, "get");
            std::future::pending::<()>().await;
        };
        tokio::time::timeout(Duration::from_secs(30), call).await.expect_err("it never ends");

        let labels = CallLabels::new(CallTarget::KeyVault, "get", "timed_out");
        let (count, seconds) = durations(&calls, &labels).expect("a series");
        assert!(count == 1 && seconds >= 30.0, "{count} in {seconds} s");
    }
}
