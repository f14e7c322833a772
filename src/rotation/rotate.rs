//! Carries out the steps that call services for one token: prove, save, check the vault, update tags.
//!
//! This module owns the order of reads, redemptions and writes. `schedule` decides when a step is due, `save`
//! interprets a list of versions, and `azure` owns the protocols.
//!
//! Invariant: after a redemption whose successor must be saved, the successor is in `Phase::Unsaved` until the vault
//! shows it. The successor is lost only if the process exits before that.

use std::sync::Arc;

use uuid::Uuid;

use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, Resource, SecretRole, SecretUpdate, Vault, VaultError};
use crate::process::clock::Clock;
use crate::rotation::event::{Event, Stepped};
use crate::rotation::holds::Hold;
use crate::rotation::schedule;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::{Inherited, PendingSave, Phase, State, Successor};
use crate::rotation::turns::{Permit, Turn, Turns};
use crate::token::managed::{ManagedToken, Verify};
use crate::token::tags::Tags;
use crate::token::version::{Stored, VersionId};
use crate::token::{AccessToken, rotation_id};

mod accepted;
mod history;
mod checking;
mod claiming;
mod credential;
mod redeeming;
mod saving;
mod turn;
#[cfg(test)]
mod lab;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub(crate) use self::credential::{AppCredential, own_scope, read_client_id};

/// Carries out the steps for one token.
#[derive(Debug)]
pub struct Rotator<I, V, R> {
    /// The authorization server that redeems the tokens.
    pub issuer: I,
    /// The vaults that hold the tokens and the app secrets.
    pub vault: V,
    /// The service that accepts the access token.
    pub resource: R,
    pub clock: Clock,
    /// The configuration of the token.
    pub grant: Arc<ManagedToken>,
    /// The times of the token's rotations and proofs.
    pub timing: Timing,
    /// The name of the running command, for the `managed-by` tag.
    pub command: &'static str,
    /// The source of randomness for jitter.
    pub rng: fastrand::Rng,
    /// The stake of this token: what would be lost if the process stopped now.
    pub hold: Hold,
    /// The limits that this token shares with other tokens. By default, there are no limits.
    pub turns: Turns,
    /// The permits for the token's current step.
    pub turn: Option<Box<Turn>>,
}

/// The context of one step: the id for the logs, the app's credential, the permits, and the events. The credential is
/// read once per step.
struct Attempt {
    id: Uuid,
    credential: Option<AppCredential>,
    /// Whether this step has already tried older versions of the app's credential.
    fell_back: bool,
    redemption: Option<Permit>,
    new_version: Option<Permit>,
    events: Vec<Event>,
}

/// A redemption whose answer is for the right tenant, app and user.
struct Proof {
    successor: Successor,
    access_token: AccessToken,
}

impl Attempt {
    fn new(id: Uuid) -> Self {
        Self {
            id,
            credential: None,
            fell_back: false,
            redemption: None,
            new_version: None,
            events: Vec::new(),
        }
    }

    fn note(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Carries out one step. A failure is recorded in the state, and no token is lost.
    pub async fn step(&mut self, mut state: State, next: Next) -> Stepped {
        state.in_line = false;
        let stepped = match next {
            Next::Prove => self.prove(state, false).await,
            Next::Save => self.save(state).await,
            Next::CheckVault => self.check_vault(state).await,
            Next::UpdateTags(tags) => self.update_tags(state, tags).await,
            Next::Wait(_) => Stepped { state, events: Vec::new() },
        };
        self.hold.set(stepped.state.stake());
        stepped
    }

    /// Reads, redeems and checks the newest version. After a successful redemption, the new state has the phase
    /// `Phase::Unsaved` if a rotation is due or forced, or if the token is `strict`. If the step needs more permits
    /// than the token has taken, the step redeems nothing, and the token waits for its turn (`State::in_line`).
    pub async fn prove(&mut self, mut state: State, force: bool) -> Stepped {
        let mut attempt = Attempt::new(rotation_id());
        state.in_line = false;
        let done = self.try_prove(&mut state, force, &mut attempt).await;
        self.done(state, done, attempt)
    }

    /// Only reads the newest version and redeems nothing, for a dry run.
    pub async fn peek(&mut self, mut state: State) -> Stepped {
        let mut attempt = Attempt::new(rotation_id());
        let done = self.read_newest(&mut state, &mut attempt).await.map(|_| ());
        self.done(state, done, attempt)
    }

    fn done(&mut self, mut state: State, done: Result<(), Failure>, mut attempt: Attempt) -> Stepped {
        if let Err(failure) = done {
            state = self.failed(state, failure, &mut attempt);
        }
        self.hold.set(state.stake());
        Stepped { state, events: attempt.events }
    }

    async fn try_prove(
        &mut self,
        state: &mut State,
        force: bool,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        // If today's limit of vault calls leaves no room for a rotation that is due, the step only proves the token.
        let now = self.clock.now();
        let room = self.timing.room_for_vault_calls(state, state.calls_of_a_rotation(), now) <= now;
        let newest = self.read_newest(state, attempt).await?;
        if !self.may_go_on(state, force, attempt) {
            return Ok(());
        }
        self.may_be_claimed(state, &newest.version)?;
        if let Some(buried) = self.find_buried(state, &newest.version, attempt).await? {
            state.phase = Phase::Unsaved(Box::new(buried));
            state.clear_failures();
            return Ok(());
        }
        let Proof { successor, access_token } = match self.redeem(state, &newest, attempt).await {
            Ok(proof) => proof,
            Err(failure) if failure.never_was_a_token => {
                match self.rescue(state, &newest.version, &failure, attempt).await {
                    Ok(Some(rescued)) => state.phase = Phase::Unsaved(Box::new(rescued)),
                    Ok(None) => return Err(failure),
                    Err(hindered) => {
                        self.settle(state, failure, &hindered, attempt);
                        return Err(hindered);
                    }
                }
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let (version, now) = (&newest.version, successor.issued_at);
        attempt.note(Event::Proved(version.id.clone(), attempt.id));
        state.facts_of(&version.id).proved_at = Some(now);
        state.clear_failures();
        let due = room && self.timing.rotation_is_due(version, state, now);
        let is_same = successor.token == successor.redeemed_value;
        let facts = state.facts_of(&version.id);
        facts.same_token_at = is_same.then_some(facts.same_token_at.unwrap_or(now));
        // If the issuer returns the redeemed token itself, there is no successor to save.
        if is_same {
            self.release(state, version, attempt).await;
        }
        state.phase = if !is_same && (force || self.grant.strict || due) {
            Phase::Unsaved(Box::new(PendingSave::of(successor)))
        } else {
            Phase::Current
        };
        self.hold.set(state.stake());
        self.ask_resource(state, &version.id, &access_token, attempt).await;
        Ok(())
    }

    /// `certain` is the definite failure of the newest version. `hindered` is the failure that interrupted the search
    /// for a working older version. If `hindered` is transient, records `certain`, so that `hindered` does not hide
    /// `certain`.
    fn settle(&mut self, state: &mut State, certain: Failure, hindered: &Failure, attempt: &mut Attempt) {
        let is_known = state.blocked.as_ref().is_some_and(|blocked| blocked.is_confirmed);
        if hindered.remedy == Remedy::Retry && !is_known {
            let known = std::mem::replace(state, State::unknown(self.clock.now()));
            *state = self.failed(known, certain, attempt);
        }
    }

    /// Makes a proof or a save due now, because of a SIGHUP or a jump of the host's clock.
    pub fn reload(&self, mut state: State) -> State {
        let due_at = self.clock.now();
        schedule::ask_again(&mut state);
        state.try_again_at(due_at);
        if !state.is_unsaved() {
            state.phase = Phase::Unproved { due_at };
        }
        state
    }

    /// Writes tags to the newest version. If the write fails, the next attempt is `MARK_AGAIN_AFTER` later.
    async fn update_tags(&mut self, mut state: State, tags: Tags) -> Stepped {
        let now = self.clock.now();
        let mut events = Vec::new();
        state.note_vault_call(now);
        if let Some(version) = &mut state.newest {
            let update = SecretUpdate { enabled: None, tags: Some(tags.clone()) };
            match self.vaults().update(&self.grant.secret, &version.id, &update, rotation_id()).await {
                Ok(()) => version.tags = tags,
                Err(error) => {
                    events.push(Event::TagsNotUpdated(version.id.clone(), error.to_string()));
                    state.mark_after = Some(now + schedule::MARK_AGAIN_AFTER);
                }
            }
        }
        Stepped { state, events }
    }

    async fn read_newest(&self, state: &mut State, attempt: &mut Attempt) -> Result<Stored, Failure> {
        state.note_vault_call(self.clock.now());
        let newest = self.vaults().newest(&self.grant.secret, attempt.id).await;
        if let (Err(_), Some(sighted)) = (&newest, &mut state.sighted) {
            // This process waits until a mark has stayed unchanged for a time. During an outage of the vault, a mark
            // also stays unchanged, because no process can write. So a failed read starts the wait again.
            sighted.1 = self.clock.now();
        }
        let newest = newest.map_err(|error| self.own(state, &error))?;
        if let Some(vault_time) = newest.read_at {
            self.clock.observe(vault_time);
        }
        let version = &newest.version;
        match &state.newest {
            Some(known) if known.id == version.id => {}
            Some(_) => {
                attempt.note(Event::VersionSeen(version.id.clone()));
                // If Perennial has requested a sign-in or a fix, Perennial expects a new version. So the writer of this
                // version does not count as a foreign writer.
                if state.awaits_sign_in() {
                    state.foreign_rotated_at = None;
                } else if !version.is_ours() {
                    state.note_foreign_version(self.clock.now());
                }
            }
            None => {
                attempt.note(Event::VersionSeen(version.id.clone()));
                state.inherited = Inherited::on(version);
            }
        }
        state.newest = Some(version.clone());
        // A successful read clears read failures. Save failures stay.
        if !state.is_unsaved() {
            state.clear_failures_about(FailureSubject::Token);
        }
        Ok(newest)
    }

    /// Asks Partner Center whether it accepts a version's access token. The answer is recorded in the state and never
    /// blocks a rotation.
    async fn ask_resource(
        &self,
        state: &mut State,
        version: &VersionId,
        access_token: &AccessToken,
        attempt: &mut Attempt,
    ) {
        let now = self.clock.now();
        let limit = self.timing.limits().partner_center_calls;
        let polite = state.partner_center_calls.room_at(limit, 1, now) <= now;
        if self.grant.verify == Verify::Nothing || !polite {
            return;
        }
        state.partner_center_calls.note(now);
        match self.resource.accepts(access_token, attempt.id).await {
            Ok(acceptance) => {
                if !acceptance.accepted {
                    attempt.note(Event::PartnerCenterRefused(Box::new(acceptance.clone())));
                }
                state.hear(version, acceptance, now);
            }
            Err(error) => attempt.note(Event::PartnerCenterUnknown(error.to_string())),
        }
    }

    fn failed(&mut self, state: State, failure: Failure, attempt: &mut Attempt) -> State {
        let (saving, was_off) = (state.is_unsaved(), state.is_off());
        let is_new = state.failure().is_none_or(|known| known.kind != failure.kind);
        let told = Box::new(failure.clone());
        let state = self.timing.after_failure(state, failure, self.clock.now(), self.rng.f64());
        if state.is_off() && !was_off {
            attempt.note(Event::TurnedOff);
        }
        let attempts = state.outage.as_ref().map(|outage| outage.attempts);
        attempt.note(Event::Failed { failure: told, is_new, attempts, saving });
        state
    }

    /// Converts an error from reading the token's own secret to a failure. If the secret is missing but existed before,
    /// it was deleted. During the retention period, Key Vault can recover a deleted secret.
    fn own(&self, state: &State, error: &VaultError) -> Failure {
        if *error != VaultError::NotFound || state.newest.is_none() {
            return error.failure(SecretRole::Own, &self.grant.secret);
        }
        let (vault, name) = (self.grant.secret.vault_name(), self.grant.secret.name.as_str());
        let action = format!(
            "recover the secret: `az keyvault secret recover --vault-name {vault} --name {name}`; if the secret was purged, sign in: `perennial login {}`",
            self.grant.name
        );
        let summary = format!("the token's secret was deleted ({})", self.grant.secret);
        let failure = Failure::new(Kind::SecretDeleted, Remedy::Operator, FailureSubject::Token, summary);
        Failure { action: Some(action.into()), ..failure }
    }

    fn unlisted(&self, state: &State, error: &VaultError) -> Failure {
        Failure { about: FailureSubject::History, ..self.own(state, error) }
    }
}
