//! The status board. Each token's task publishes the token's state to the board, and all other parts of the process
//! read the board.
//!
//! The task of a token writes only the token's entry. The task that renews an app's credential updates the entries of
//! the app's tokens, but only the state of the renewal. Readers build a status from all entries. The board uses a
//! `watch` channel so that readers can wait for changes. The board also contains the counters and the liveness of the
//! tasks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use tokio::sync::watch;

use crate::ports::failure::Kind;
use crate::process::clock::{Clock, Timestamp};
use crate::renewal::report::RenewalReport;
use crate::rotation::event::Event;
use crate::rotation::liveness::LivenessOfAll;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::State;
use crate::rotation::told::ToldOfAll;
use crate::status::condition;
use crate::status::condition::{Condition, conditions};
use crate::status::counts::Counts;
use crate::status::document::{Status, StatusSource};
use crate::status::sink_health::{Miss, SinkHealth};
use crate::status::snapshot::{Periods, Snapshot};
use crate::token::managed::ManagedToken;

/// The maximum number of tokens whose tags record the delivery of one alert.
pub const MARKED: usize = 3;

/// The snapshots of all tokens. Cheap to clone; all clones share one board.
#[derive(Clone, Debug)]
pub struct StatusBoard {
    snapshots: watch::Sender<Vec<Snapshot>>,
    /// Signals each change, except changes that `differ` ignores, such as a new time of the next step. While a person
    /// must act, Perennial checks the vault every minute, and each check plans the next check. If each check sent a
    /// signal, the sinks would compute all conditions every minute.
    news: watch::Sender<()>,
    /// The error of the host's clock, as last published, in seconds.
    skew: Arc<AtomicI64>,
    /// When the current clock error was first noticed. `None` while the error is within the tolerance.
    skewed_since: Arc<Mutex<Option<Timestamp>>>,
    counts: Arc<Counts>,
    pulses: LivenessOfAll,
    deliveries: SinkHealth,
    told: ToldOfAll,
    clock: Clock,
    /// The value of `Clock::uptime` at the creation of the board.
    since: TimeDelta,
}

impl StatusBoard {
    /// Creates a board on which every token has the state `Unknown`.
    pub fn new<'a>(tokens: impl Iterator<Item = (&'a Arc<ManagedToken>, &'a Timing)>, clock: Clock) -> Self {
        let now = clock.now();
        let unknown = State::unknown(now);
        let snapshots: Vec<Snapshot> = tokens
            .map(|(grant, timing)| {
                Snapshot::of(grant, Periods::of(timing), &unknown, Some(&Next::Wait(now)), now)
            })
            .collect();
        Self {
            counts: Arc::new(Counts::new(snapshots.len())),
            pulses: LivenessOfAll::new(snapshots.len()),
            told: ToldOfAll::new(snapshots.len()),
            snapshots: watch::Sender::new(snapshots),
            news: watch::Sender::new(()),
            skew: Arc::default(),
            skewed_since: Arc::default(),
            deliveries: SinkHealth::default(),
            since: clock.uptime(),
            clock,
        }
    }

    #[must_use]
    pub fn with_sinks(mut self, sinks: impl Iterator<Item = Arc<str>>) -> Self {
        self.deliveries = SinkHealth::new(sinks);
        self
    }

    /// Records that all due alerts were delivered to this sink. If the sink's condition ends, notifies all readers.
    pub fn all_delivered(&self, sink: usize) {
        if self.deliveries.all_delivered(sink) {
            self.tell();
        }
    }

    /// Records a failed delivery. If the sink's condition opens or changes, notifies all readers.
    pub fn missed(&self, sink: usize, miss: Miss) {
        if self.deliveries.missed(sink, miss, self.clock.now()) {
            self.tell();
        }
    }

    /// The health of the alert sinks.
    pub fn deliveries(&self) -> &SinkHealth {
        &self.deliveries
    }

    /// Opens the condition for a delivery failure that the previous process reported. The condition ends when all due
    /// alerts are delivered.
    pub fn inherit_trouble(&self, sink: usize) {
        if self.deliveries.inherit(sink, self.clock.now()) {
            self.tell();
        }
    }

    /// For each token, the marks that go into its tags. A mark is a number that stands for a delivered alert.
    pub fn told(&self) -> &ToldOfAll {
        &self.told
    }

    /// Records that an alert about these tokens was delivered. Only the first few tokens get the mark of the alert,
    /// because updating the tags of all tokens would cost too many requests. For a condition without tokens, such as a
    /// wrong host clock, the board's first tokens get the mark.
    pub fn note_told(&self, mark: u32, tokens: &[String]) {
        self.read(|all| {
            if tokens.is_empty() {
                (0..all.len().min(MARKED)).for_each(|place| self.told.note(place, mark));
            }
            for token in tokens.iter().take(MARKED) {
                if let Some(place) = all.iter().position(|of| of.grant.name.as_str() == token) {
                    self.told.note(place, mark);
                }
            }
        });
    }

    /// Returns the function that a token's task calls with each new state. The function counts the events and publishes
    /// the state.
    pub fn publisher(self: &Arc<Self>, place: usize) -> impl Fn(&State, &Next, &[Event]) + Send + use<> {
        let board = Arc::clone(self);
        move |state, next, events| {
            for event in events {
                board.counts.note(place, event);
            }
            let now = board.clock.now();
            let skew = board.clock.skew().num_seconds();
            let mut is_news = board.skew.swap(skew, Ordering::Relaxed) != skew;
            board.snapshots.send_modify(|all| {
                if let Some(known) = all.get_mut(place) {
                    let before = known.redraw(state, next, now);
                    is_news |= differ(before, known);
                }
            });
            if is_news {
                board.news.send_replace(());
            }
        }
    }

    /// Returns a function for the task that renews an app's credential. The task calls the function with each report.
    /// `places` are the indices of the app's tokens.
    pub fn renewal_publisher(&self, places: Vec<usize>) -> impl Fn(RenewalReport) + Send + use<> {
        let board = self.clone();
        move |report| {
            let report = Arc::new(report);
            let is_news =
                board.read(|all| places.iter().any(|place| all[*place].renewal.as_ref() != Some(&report)));
            if !is_news {
                return;
            }
            board.snapshots.send_modify(|all| {
                for place in &places {
                    all[*place].renewal = Some(Arc::clone(&report));
                }
            });
            board.news.send_replace(());
        }
    }

    /// Replaces the snapshot of one token.
    pub fn publish(&self, place: usize, snapshot: Snapshot) {
        self.snapshots.send_modify(|all| {
            if let Some(known) = all.get_mut(place) {
                *known = snapshot;
            }
        });
        self.news.send_replace(());
    }

    /// Notifies all readers of a change.
    fn tell(&self) {
        self.snapshots.send_modify(|_| {});
        self.news.send_replace(());
    }

    /// Builds the current status.
    pub fn status(&self) -> Status {
        self.drawn(|snapshots, conditions, now| {
            Status::with(snapshots, conditions, now, StatusSource::Daemon)
        })
    }

    /// Calls `draw` with the snapshots, the current conditions and the time.
    pub fn drawn<T>(&self, draw: impl FnOnce(&[Snapshot], Vec<Condition>, Timestamp) -> T) -> T {
        let (skew, now) = (self.clock.skew(), self.clock.now());
        let snapshots = self.snapshots.borrow();
        let mut holding = conditions(&snapshots, skew, now);
        self.date_clock_skew(&mut holding, now);
        holding.extend(condition::untried(&snapshots, self.clock.uptime() - self.since, now));
        if let Some(of) = snapshots.first() {
            holding.extend(self.deliveries.conditions(&of.grant.deployment, now));
        }
        condition::sort(&mut holding);
        draw(&snapshots, holding, now)
    }

    /// Corrects `since` of the condition `ClockSkew`. The snapshots do not say when the host's clock went wrong, so the
    /// board records when Perennial first noticed the wrong clock.
    fn date_clock_skew(&self, holding: &mut [Condition], now: Timestamp) {
        let skewed = holding.iter_mut().find(|told| told.kind == Kind::ClockSkew);
        let mut since = self.skewed_since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(condition) = skewed else {
            *since = None;
            return;
        };
        let first = since.get_or_insert(condition.since);
        // The recorded start is in the future if the host's clock was set back afterwards.
        *first = (*first).min(now);
        condition.since = *first;
    }

    /// Reads the current snapshots.
    pub fn read<T>(&self, look: impl FnOnce(&[Snapshot]) -> T) -> T {
        look(&self.snapshots.borrow())
    }

    /// Subscribes to all later changes.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Subscribes to later changes that may need an alert.
    pub fn subscribe_to_news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Whether the instance is ready: every token has been tried, or waits for its turn, because other tokens use up
    /// the shared limits (`rotation::pace`).
    pub fn is_ready(&self) -> bool {
        self.read(|all| all.iter().all(|of| of.was_tried() || of.in_line))
    }

    /// The counters since the start of the process.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The liveness of the tokens' tasks.
    pub fn pulses(&self) -> &LivenessOfAll {
        &self.pulses
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Whether two snapshots of a token differ. The comparison ignores the time of the next step. For a blocked token, the
/// comparison also ignores the times and the number of the checks, and the failure's trace.
fn differ(mut before: Snapshot, now: &Snapshot) -> bool {
    before.next_step_at = now.next_step_at;
    if let (Some(before), Some(now)) = (&mut before.blocked, &now.blocked) {
        (before.next_check_at, before.again_at, before.checks) =
            (now.next_check_at, now.again_at, now.checks);
        before.failure.trace.clone_from(&now.failure.trace);
    }
    before != *now
}

#[cfg(test)]
mod tests;
