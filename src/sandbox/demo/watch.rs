//! After each beat of the clock, observes the services and the daemons, prints the changes, and checks the promises.
//!
//! This module converts observed facts to the printed story. The facts come only from the simulated world's ledger and
//! grants, from the status boards, and from the log.

mod checks;

use chrono::TimeDelta;
use serde_json::Value;

use super::promise::{Promise, Promises};
use super::secrecy::Secrets;
use super::stage::{Process, Stage};
use super::told::{News, OpenConditions};
use super::voice::{Tone, Voice, span};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::process::telemetry::Captured;
use crate::sandbox::world::{CallOutcome, HUMAN, Operation, Peer, Write};
use crate::status::condition::{Condition, Severity};
use crate::status::snapshot::{Snapshot, TokenState};
use crate::token::RefreshToken;
use crate::token::version::VersionId;

/// The interval between two runs of the slow checks. One of these checks compares the number of calls with the limits.
const COUNT_EVERY: TimeDelta = TimeDelta::hours(6);

/// The interval at which the output is searched for secrets.
const SEARCH_EVERY: TimeDelta = TimeDelta::days(7);

/// How often each kind of event was observed.
#[derive(Default)]
pub(super) struct DemoCounts {
    pub(super) sign_ins: usize,
    pub(super) rotations: usize,
    pub(super) redemptions: usize,
    pub(super) refused_redemptions: usize,
    pub(super) vault_calls: usize,
    pub(super) questions: usize,
    pub(super) log_lines: usize,
}

/// The observed state at one moment of the story.
struct Scene<'a> {
    stage: &'a Stage,
    daemon: &'a Process,
    second: Option<&'a Process>,
    now: Timestamp,
}

/// What the demo remembers about its observations from one beat to the next.
pub(super) struct Watch {
    pub(super) promises: Promises,
    pub(super) told: OpenConditions,
    pub(super) counts: DemoCounts,
    /// Whether a user's sessions were revoked and no user has signed in since.
    pub(super) revoked: bool,
    /// Whether the daemon has started but has not shown the state `current` yet.
    pub(super) fresh: bool,
    /// Whether a second daemon is running and has already shown the state `current`.
    pub(super) two: bool,
    /// The time of the last successful redemption.
    pub(super) redeemed_at: Option<Timestamp>,
    log: Captured,
    secrets: Secrets,
    /// The output that has not been searched yet.
    shown: String,
    calls_seen: Timestamp,
    writes_seen: usize,
    last_sign_in: Option<RefreshToken>,
    buried_since: Option<Timestamp>,
    dead_since: Option<Timestamp>,
    /// The version that was the newest when the daemon began to hold an unsaved successor. `None` if the daemon holds
    /// no successor.
    held: Option<VersionId>,
    /// The last time at which the token's state required a person to act.
    awaited_at: Option<Timestamp>,
    /// The times at which daemons of the story ended.
    ends: Vec<Timestamp>,
    count_at: Timestamp,
    search_at: Timestamp,
}

impl Watch {
    pub(super) fn new(since: Timestamp, log: Captured) -> Self {
        Self {
            promises: Promises::default(),
            told: OpenConditions::default(),
            counts: DemoCounts::default(),
            revoked: false,
            fresh: true,
            two: false,
            redeemed_at: None,
            log,
            secrets: Secrets::default(),
            shown: String::new(),
            calls_seen: since - TimeDelta::days(1),
            writes_seen: 0,
            last_sign_in: None,
            buried_since: None,
            dead_since: None,
            held: None,
            awaited_at: None,
            ends: Vec::new(),
            count_at: since + COUNT_EVERY,
            search_at: since + SEARCH_EVERY,
        }
    }

    /// Observes the services and the daemons, prints the changes, and runs the checks.
    pub(super) fn look(
        &mut self,
        stage: &Stage,
        daemon: &Process,
        second: Option<&Process>,
        voice: &mut Voice,
    ) {
        let scene = Scene { stage, daemon, second, now: stage.clock.now() };
        self.writes(&scene, voice);
        self.calls(&scene);
        self.conditions(&scene, voice);
        self.states(&scene);
        self.read_log(&scene);
        if scene.now >= self.count_at {
            self.count_at = scene.now + COUNT_EVERY;
            self.now_and_then(&scene);
        }
        self.shown.push_str(&voice.take());
        if scene.now >= self.search_at {
            self.search_at = scene.now + SEARCH_EVERY;
            self.search(&scene);
        }
        self.tell_broken(voice);
    }

    /// Records the end of a daemon.
    pub(super) fn ended(&mut self, at: Timestamp) {
        self.ends.push(at);
    }

    /// Makes the last observation, and searches the remaining output for secrets.
    pub(super) fn finish(&mut self, stage: &Stage, daemon: &Process, voice: &mut Voice) {
        self.search_at = stage.clock.now();
        self.look(stage, daemon, None, voice);
    }

    fn tell_broken(&mut self, voice: &mut Voice) {
        for (promise, at, why) in self.promises.news() {
            let text = format!("Promise {}, {}: {why}.", promise.number(), promise.text().0);
            voice.dated(at, Tone::Bad, "BROKEN", &text);
        }
    }

    fn writes(&mut self, scene: &Scene<'_>, voice: &mut Voice) {
        let writes = scene.stage.world.writes_from(self.writes_seen);
        self.writes_seen += writes.len();
        for write in writes.iter().filter(|write| write.secret == scene.stage.partner.refresh_token) {
            if write.writer == HUMAN {
                self.counts.sign_ins += 1;
                self.last_sign_in = Some(write.value.clone());
                continue;
            }
            self.counts.rotations += 1;
            self.check_write(scene, write);
            voice.dated(write.at, Tone::Quiet, "rotated", &self.rotation(scene, write));
        }
    }

    fn rotation(&self, scene: &Scene<'_>, write: &Write) -> String {
        let number = self.counts.rotations;
        let grant = scene.stage.world.grant(write.value.expose());
        let dies = grant.map_or(write.at, |grant| grant.issued_at) + TimeDelta::days(90);
        let day = (dies - scene.stage.since).num_days();
        if number == 1 {
            format!("The token was redeemed. Successor no. 1 is in the vault, good until day {day}.")
        } else {
            format!("Successor no. {number} is in the vault, good until day {day}.")
        }
    }

    fn calls(&mut self, scene: &Scene<'_>) {
        let calls = scene.stage.world.calls_since(self.calls_seen);
        if let Some(last) = calls.last() {
            self.calls_seen = last.at + TimeDelta::nanoseconds(1);
        }
        for call in &calls {
            match (call.peer, call.operation) {
                (Peer::Entra, Operation::Redeem) => {
                    self.counts.redemptions += 1;
                    if call.outcome == CallOutcome::Done {
                        self.redeemed_at = Some(call.at);
                    } else {
                        self.counts.refused_redemptions += 1;
                    }
                }
                (Peer::Entra | Peer::Graph, _) => {}
                (Peer::KeyVault, _) => self.counts.vault_calls += 1,
                (Peer::PartnerCenter, _) => self.counts.questions += 1,
            }
        }
    }

    fn conditions(&mut self, scene: &Scene<'_>, voice: &mut Voice) {
        let status = scene.daemon.board().status();
        let standing = standing(scene.daemon, scene.now);
        if self.fresh {
            // The conditions of a new daemon are ignored until the daemon shows the state `current`. Before that, the
            // daemon may not have finished its first check of the token.
            self.fresh = standing != TokenState::Current;
            if self.fresh {
                return;
            }
        }
        let awaits = [TokenState::NeedsLogin, TokenState::NeedsOperator, TokenState::PartnerCenterRefused];
        if awaits.contains(&standing) {
            self.awaited_at = Some(scene.now);
        }
        for news in self.told.compare(&status.conditions, scene.now, &mut self.promises) {
            match news {
                News::Opened(condition) => tell(voice, scene.now, &condition),
                News::Closed { kind, after } => {
                    let text = format!("{}, after {}.", kind.as_str(), span(after));
                    voice.dated(scene.now, Tone::Good, "over", &text);
                }
            }
        }
    }

    /// Reads the log. A log line with the level ERROR may appear only for a kind of condition that the story expects
    /// now.
    fn read_log(&mut self, scene: &Scene<'_>) {
        let log = self.log.take();
        for line in log.lines() {
            self.counts.log_lines += 1;
            if !line.contains("\"level\":\"ERROR\"") {
                continue;
            }
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            let kind = event["kind"].as_str().and_then(Kind::parse);
            let called_for = kind.is_some_and(|kind| self.told.expects(kind));
            self.promises.check(Promise::Told, scene.now, called_for, || {
                format!("the log has an unexpected error: {}", event["message"])
            });
        }
        self.shown.push_str(&log);
    }
}

fn tell(voice: &mut Voice, now: Timestamp, condition: &Condition) {
    let Condition { kind, summary, action, .. } = condition;
    let (tone, head) = match condition.severity {
        Severity::Warning => (Tone::Uneasy, "warning"),
        Severity::Critical => (Tone::Bad, "critical"),
    };
    let text = match condition.severity {
        Severity::Warning => format!("{}: {summary}.", kind.as_str()),
        Severity::Critical => format!("{}: {summary}. What to do: {action}.", kind.as_str()),
    };
    voice.dated(now, tone, head, &text);
}

/// Returns the token's state as a daemon shows it.
pub(super) fn standing(daemon: &Process, now: Timestamp) -> TokenState {
    daemon
        .board()
        .read(|all| all.first().map_or(TokenState::Unknown, |snapshot: &Snapshot| snapshot.standing(now)))
}
