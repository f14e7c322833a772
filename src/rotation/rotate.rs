//! The steps that change the world for one token: prove, save, look, mark.
//!
//! Owns the order of reads, redemptions and writes. Knows nothing of timing (`schedule`), of what a
//! list of versions means (`save`), or of Azure.
//!
//! Invariant: once a redemption that is to be saved has returned, its successor is in `Phase::Unsaved`
//! until the vault shows it, short of the process ending.

use std::sync::Arc;

use chrono::TimeDelta;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::ports::failure::{About, Failure, Kind, Remedy, Trace};
use crate::ports::{Asked, Change, Issuer, Redeemed, Resource, Vault, VaultError};
use crate::process::clock::{Clock, Timestamp};
use crate::rotation::holds::Hold;
use crate::rotation::schedule;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::{Found, Held, Phase, State};
use crate::token::managed::{Grant, Verify};
use crate::token::tags::Tags;
use crate::token::version::{Stored, Version};
use crate::token::{AccessToken, rotation_id};

mod history;
mod looking;
mod redeeming;
mod saving;

pub(crate) use self::redeeming::Credential;

/// Carries out the steps for one token.
#[derive(Debug)]
pub struct Rotator<I, V, R> {
    /// The authorization server.
    pub issuer: I,
    /// The vaults.
    pub vault: V,
    /// The service that accepts the access token.
    pub resource: R,
    /// The time.
    pub clock: Clock,
    /// The token, as configured.
    pub grant: Arc<Grant>,
    /// When it is due.
    pub timing: Timing,
    /// The command this runs under, for the `managed-by` tag.
    pub command: &'static str,
    /// Chance, for jitter.
    pub rng: fastrand::Rng,
    /// Whether a stop has to wait for this token.
    pub hold: Hold,
}

/// What one step needs to redeem: ids for the records, and the app's credential, read once.
struct Attempt {
    id: Uuid,
    credential: Option<Credential>,
}

/// A redemption whose answer is for the right tenant, app and user.
struct Proof {
    redeemed: Redeemed,
    client_id: String,
    user_oid: Option<String>,
    issued_at: Timestamp,
}

impl Attempt {
    fn new() -> Self {
        Self { id: rotation_id(), credential: None }
    }
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Carries out one step. A failure ends up in the state, and nothing is ever lost by it.
    pub async fn step(&mut self, state: State, next: Next) -> State {
        let state = match next {
            Next::Prove => self.prove(state, false).await,
            Next::Save => self.save(state).await,
            Next::Look => self.look(state).await,
            Next::Mark(tags) => self.mark(state, tags).await,
            Next::Wait(_) => state,
        };
        self.hold.set(state.stake());
        state
    }

    /// Reads, redeems and checks the newest version. Leads to `Phase::Unsaved` when a rotation is due,
    /// or when it is forced.
    pub async fn prove(&mut self, mut state: State, force: bool) -> State {
        let state = match self.try_prove(&mut state, force).await {
            Ok(()) => state,
            Err(failure) if failure.kind == Kind::TurnedOff => self.turned_off(state, failure),
            Err(failure) => self.failed(state, failure),
        };
        self.hold.set(state.stake());
        state
    }

    async fn try_prove(&mut self, state: &mut State, force: bool) -> Result<(), Failure> {
        let attempt = &mut Attempt::new();
        // A rotation that nobody expected may be too much for today; then it waits, before anything is held.
        let now = self.clock.now();
        let room = self.timing.room_for_vault_calls(state, state.calls_of_a_rotation(), now) <= now;
        let newest = self.read_newest(state, attempt.id).await?;
        if let Some(held) = self.find_buried(state, &newest.version, attempt).await? {
            state.phase = Phase::Unsaved(Box::new(held));
            state.failing = None;
            return Ok(());
        }
        let proof = match self.redeem(state, &newest, attempt).await {
            Ok(proof) => proof,
            Err(failure) if failure.never_was_a_token => {
                match self.rescue(state, &newest.version, &failure, attempt).await? {
                    Some(held) => {
                        state.phase = Phase::Unsaved(Box::new(held));
                        return Ok(());
                    }
                    None => return Err(failure),
                }
            }
            Err(failure) => return Err(failure),
        };
        let now = proof.issued_at;
        info!(event = "proved", token = %self.grant.name, version = %newest.version.id, rotation_id = %attempt.id);
        state.proved_at = Some(now);
        state.failing = None;
        let due = room && self.timing.rotation_is_due(&newest.version, state, now);
        let access_token = proof.redeemed.access_token.clone();
        state.phase = if force || self.grant.strict || due {
            Phase::Unsaved(Box::new(Self::hold(&newest, proof, attempt.id)))
        } else {
            Phase::Current
        };
        self.hold.set(state.stake());
        self.ask_resource(state, &access_token, attempt.id).await;
        Ok(())
    }

    /// Reads the newest version and does nothing with it: for a rehearsal.
    pub async fn peek(&mut self, mut state: State) -> State {
        match self.read_newest(&mut state, rotation_id()).await {
            Ok(_) => state,
            Err(failure) if failure.kind == Kind::TurnedOff => self.turned_off(state, failure),
            Err(failure) => self.failed(state, failure),
        }
    }

    /// Looks at everything, when it is this token's turn: a person has said that something changed (SIGHUP).
    pub fn poke(&self, mut state: State, turn: TimeDelta) -> State {
        let due_at = self.clock.now() + turn;
        schedule::ask_again(&mut state);
        if let Some(failing) = &mut state.failing {
            failing.retry_at = due_at;
        }
        if !state.is_unsaved() {
            state.phase = Phase::Unproved { due_at };
        }
        state
    }

    /// Writes tags to the newest version, without which nothing is lost but a memory.
    async fn mark(&mut self, mut state: State, tags: Tags) -> State {
        let now = self.clock.now();
        state.note_vault_call(now);
        let Some(version) = &mut state.newest else { return state };
        let change = Change { enabled: None, tags: Some(tags.clone()) };
        match self.vault.update(&self.grant.secret, &version.id, &change, rotation_id()).await {
            Ok(()) => version.tags = tags,
            Err(error) => {
                warn!(event = "mark_failed", token = %self.grant.name, version = %version.id, reason = %error,
                    "what was found out about this version could not be noted in its tags");
                state.mark_after = Some(now + schedule::MARK_AGAIN_AFTER);
            }
        }
        state
    }

    async fn read_newest(&self, state: &mut State, id: Uuid) -> Result<Stored, Failure> {
        state.note_vault_call(self.clock.now());
        let newest = self.vault.newest(&self.grant.secret, id).await.map_err(|error| self.own(&error))?;
        if let Some(vault_time) = newest.read_at {
            self.clock.observe(vault_time);
        }
        if state.newest.as_ref().is_none_or(|known| known.id != newest.version.id) {
            debug!(event = "version_seen", token = %self.grant.name, version = %newest.version.id);
        }
        match &state.newest {
            None => state.found = Found::on(&newest.version),
            // Somebody was asked to sign in: whoever wrote it is no foreign writer.
            Some(known) if known.id != newest.version.id && awaits_login(state) => {
                state.foreign_rotated_at = None;
            }
            Some(_) => {}
        }
        // What was proved is not what is there now.
        let is_other = |known: &Version| known.id != newest.version.id;
        if state.newest.as_ref().is_some_and(is_other) && !state.is_unsaved() {
            state.proved_at = None;
        }
        state.newest = Some(newest.version.clone());
        // That it can be read settles what kept it from being read, and neither a list that is refused nor what keeps
        // a successor from being written.
        if !state.is_unsaved()
            && state.failing.as_ref().is_some_and(|known| known.failure.about == About::Token)
        {
            state.failing = None;
        }
        Ok(newest)
    }

    /// Asks the resource about the access token. Its answer is published and never stands in the way.
    async fn ask_resource(&self, state: &mut State, access_token: &AccessToken, id: Uuid) {
        let now = self.clock.now();
        let polite = state.questions.room_at(self.timing.limits().questions, 1, now) <= now;
        if self.grant.verify == Verify::Nothing || !polite {
            return;
        }
        state.questions.note(now);
        match self.resource.accepts(access_token, id).await {
            Ok(acceptance) => {
                if !acceptance.accepted {
                    warn!(event = "partner_center_refused", token = %self.grant.name, status = acceptance.status,
                        mfa = ?acceptance.mfa, "Partner Center does not accept the access token");
                }
                state.hear(acceptance, now);
            }
            Err(error) => {
                debug!(event = "partner_center_unknown", token = %self.grant.name, reason = %error);
            }
        }
    }

    fn hold(from: &Stored, proof: Proof, id: Uuid) -> Held {
        Held {
            successor: proof.redeemed.refresh_token,
            issued_at: proof.issued_at,
            from: from.version.clone(),
            from_value: from.refresh_token(),
            over: None,
            read_at: None,
            written: None,
            dead: Vec::new(),
            seen: Vec::new(),
            client_id: proof.client_id,
            user_oid: proof.user_oid,
            rotation_id: id,
        }
    }

    fn turned_off(&self, mut state: State, failure: Failure) -> State {
        let now = self.clock.now();
        let look_at = now + schedule::WATCH_EVERY;
        let sample = 0.0;
        if !matches!(state.phase, Phase::Off { .. }) {
            warn!(event = "turned_off", token = %self.grant.name, "the newest version is disabled: nothing is redeemed");
        }
        let since = state.failing.as_ref().is_some_and(|failing| failing.failure.kind == Kind::TurnedOff);
        if !since {
            state.failing = None;
        }
        let mut state = self.timing.after_failure(state, failure, now, sample);
        if !state.is_unsaved() {
            state.phase = Phase::Off { look_at };
        }
        state
    }

    fn failed(&mut self, state: State, failure: Failure) -> State {
        let now = self.clock.now();
        let attempts = state.failing.as_ref().map_or(0, |failing| failing.attempts);
        let (kind, remedy) = (failure.kind.as_str(), failure.remedy.as_str());
        let (token, summary) = (&self.grant.name, &failure.summary);
        let Trace { code, trace_id, correlation_id } = &failure.trace;
        let (trace_id, correlation_id) = (trace_id.as_deref(), correlation_id.as_deref());
        // The first time is news to a person who must act; that it still holds is not.
        let is_new = state.failing.as_ref().is_none_or(|failing| failing.failure.kind != failure.kind);
        if is_new && !matches!(failure.remedy, Remedy::Retry) {
            error!(event = "attempt_failed", %token, kind, remedy, attempts, code, trace_id, correlation_id, "{summary}");
        } else {
            warn!(event = "attempt_failed", %token, kind, remedy, attempts, code, trace_id, correlation_id, "{summary}");
        }
        let sample = self.rng.f64();
        self.timing.after_failure(state, failure, now, sample)
    }

    fn own(&self, error: &VaultError) -> Failure {
        error.failure(Asked::Own, &self.grant.secret)
    }

    fn unlisted(&self, error: &VaultError) -> Failure {
        Failure { about: About::History, ..self.own(error) }
    }
}

fn awaits_login(state: &State) -> bool {
    state.failing.as_ref().is_some_and(|failing| failing.failure.remedy == Remedy::Login)
}
