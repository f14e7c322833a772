//! How long the calls to other people's servers take, and how they end.
//!
//! Owns the counts and histogram buckets behind `http_client_request_duration_seconds`. Knows nothing of
//! metric formats or of what a call was for.
//!
//! Invariant: every call that was begun is counted once, also one that is given up half-way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::no_response::NoResponse;

/// Upper bounds of the histogram buckets, in seconds. The last one is the total time any call may take.
pub const BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallTarget {
    /// The token endpoint.
    Entra,
    /// The vault.
    KeyVault,
    /// The resource.
    PartnerCenter,
    /// Who hands out tokens of a managed identity.
    IdentityHost,
    /// Where alerts go.
    AlertSink,
    /// Who notices when this process is gone.
    Heartbeat,
}

impl CallTarget {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::KeyVault => "key_vault",
            Self::PartnerCenter => "partner_center",
            Self::IdentityHost => "identity_host",
            Self::AlertSink => "alert_sink",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// How a call ended: with an HTTP status, or without an answer.
pub type CallResult = Result<u16, NoResponse>;

/// The calls of one kind that ended in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Who was called.
    pub peer: CallTarget,
    /// What for, as `redeem` or `set`.
    pub operation: &'static str,
    /// HTTP status, or why there was none.
    pub code: String,
    /// How many.
    pub count: u64,
    /// How long they took together, in seconds.
    pub sum_seconds: f64,
    /// How many took at most as long as the bound of `BUCKETS` at the same place; each includes the ones
    /// before it.
    pub buckets: [u64; BUCKETS.len()],
}

/// The recorder. Shared by all adapters.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<Key, Histogram>>);

type Key = (CallTarget, &'static str, String);

#[derive(Debug, Default)]
struct Histogram {
    count: u64,
    sum_seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Calls {
    /// Counts a call.
    pub fn record(&self, peer: CallTarget, operation: &'static str, outcome: CallResult, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut all = self.lock();
        let histogram = all.entry((peer, operation, code(outcome))).or_default();
        histogram.count += 1;
        histogram.sum_seconds += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// Begins a call, which is counted when it ends, or as timed out when it is given up.
    pub fn begin(&self, peer: CallTarget, operation: &'static str) -> Running<'_> {
        Running { calls: self, peer, operation, since: Instant::now(), ended: false }
    }

    /// What was counted so far, in a fixed order.
    pub fn series(&self) -> Vec<Series> {
        let all = self.lock();
        all.iter()
            .map(|((peer, operation, code), histogram)| Series {
                peer: *peer,
                operation,
                code: code.clone(),
                count: histogram.count,
                sum_seconds: histogram.sum_seconds,
                buckets: histogram.buckets,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Histogram>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Running<'a> {
    calls: &'a Calls,
    peer: CallTarget,
    operation: &'static str,
    since: Instant,
    ended: bool,
}

impl Running<'_> {
    /// Says how it ended.
    pub fn end(mut self, outcome: CallResult) {
        self.ended = true;
        self.calls.record(self.peer, self.operation, outcome, self.since.elapsed());
    }
}

impl Drop for Running<'_> {
    /// Calls are given up by a time-out around them, never for another reason.
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
        Err(NoResponse::Tls | NoResponse::NotInTime) => "tls",
        Err(NoResponse::Proxy) => "proxy",
        Err(NoResponse::TimedOut) => "timed_out",
        Err(NoResponse::Cut) => "cut",
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_peer_operation_and_end() {
        let calls = Calls::default();

        calls.record(CallTarget::Entra, "redeem", Ok(200), Duration::from_millis(300));
        calls.record(CallTarget::Entra, "redeem", Ok(200), Duration::from_secs(60));
        calls.record(CallTarget::KeyVault, "set", Err(NoResponse::Tls), Duration::ZERO);

        let series = calls.series();
        assert_eq!(series.len(), 2);
        assert_eq!((series[0].code.as_str(), series[0].count), ("200", 2));
        assert_eq!(series[0].buckets, [0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert!((series[0].sum_seconds - 60.3).abs() < 1e-9);
        assert_eq!((series[1].peer.as_str(), series[1].code.as_str()), ("key_vault", "tls"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_is_counted_too() {
        let calls = Calls::default();

        let call = async {
            let _running = calls.begin(CallTarget::KeyVault, "get");
            std::future::pending::<()>().await;
        };
        tokio::time::timeout(Duration::from_secs(30), call).await.expect_err("it never ends");

        let series = calls.series();
        assert_eq!((series[0].code.as_str(), series[0].count), ("timed_out", 1));
        assert!(series[0].sum_seconds >= 30.0);
    }
}
