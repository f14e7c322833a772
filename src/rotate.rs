//! The steps that change the world for one token: prove, save, look, mark.
//!
//! Owns the order of reads, redemptions and writes. Knows nothing of timing (`schedule`), of what a
//! list of versions means (`save`), or of Azure.
//!
//! Invariant: once a redemption that is to be saved has returned, its successor is in `Phase::Unsaved`
//! until the vault shows it, short of the process ending.

use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use tracing::debug;
use tracing::error;
use tracing::info;
use tracing::warn;
use uuid::Uuid;

use crate::answer;
use crate::clock::Clock;
use crate::failure::About;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::failure::Remedy;
use crate::ports::Asked;
use crate::ports::Change;
use crate::ports::Issuer;
use crate::ports::IssuerError;
use crate::ports::Redeemed;
use crate::ports::Redemption;
use crate::ports::Resource;
use crate::ports::Vault;
use crate::ports::VaultError;
use crate::refusal::Class;
use crate::save;
use crate::save::Ties;
use crate::schedule;
use crate::schedule::Next;
use crate::schedule::Timing;
use crate::source;
use crate::state::Held;
use crate::state::Phase;
use crate::state::QUESTIONS_A_DAY;
use crate::state::REDEMPTIONS_A_DAY;
use crate::state::State;
use crate::token::Grant;
use crate::token::Setting;
use crate::token::Source;
use crate::token::Timestamp;
use crate::token::Verify;
use crate::token::rotation_id;
use crate::version::Stored;
use crate::version::Tags;
use crate::version::Version;
use crate::version::rfc3339;
use crate::version::tag;

mod saving;

/// A secret made moments ago works on some of Entra's front ends and not yet on others
/// (reference/azure.md §6.3); until it is this old, a refusal of it is a matter of waiting.
const CREDENTIAL_SETTLES: TimeDelta = TimeDelta::minutes(10);

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
    pub grant: Grant,
    /// When it is due.
    pub timing: Timing,
    /// The command this runs under, for the `managed-by` tag.
    pub command: &'static str,
    /// Chance, for jitter.
    pub rng: fastrand::Rng,
}

/// What one step needs to redeem: ids for the records, and the app's credential, read once.
struct Attempt {
    id: Uuid,
    credential: Option<Credential>,
}

struct Credential {
    client_id: String,
    secret: SecretString,
    secret_created: Option<Timestamp>,
    secret_expires: Option<Timestamp>,
    fingerprint: u64,
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
        match next {
            Next::Prove => self.prove(state, false).await,
            Next::Save => self.save(state).await,
            Next::Look => self.look(state).await,
            Next::Mark(tags) => self.mark(state, tags).await,
            Next::Wait(_) => state,
        }
    }

    /// Reads, redeems and checks the newest version. Leads to `Phase::Unsaved` when a rotation is due,
    /// or when it is forced.
    pub async fn prove(&mut self, mut state: State, force: bool) -> State {
        match self.try_prove(&mut state, force).await {
            Ok(()) => state,
            Err(failure) if failure.kind == Kind::TurnedOff => self.turned_off(state, failure),
            Err(failure) => self.failed(state, failure),
        }
    }

    async fn try_prove(&mut self, state: &mut State, force: bool) -> Result<(), Failure> {
        let attempt = &mut Attempt::new();
        let newest = self.read_newest(state, attempt.id).await?;
        if let Some(held) = self.find_buried(state, &newest.version, attempt).await? {
            state.phase = Phase::Unsaved(Box::new(held));
            state.failing = None;
            return Ok(());
        }
        let proof = match self.redeem(state, &newest, attempt).await {
            Ok(proof) => proof,
            Err(failure) if failure.never_was_a_token => {
                match self.rescue(state, &newest.version, attempt).await? {
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
        self.ask_resource(state, &proof.redeemed, attempt.id).await;
        let due = force || self.grant.strict || self.timing.rotation_is_due(&newest.version, state, now);
        state.phase = if due {
            Phase::Unsaved(Box::new(Self::hold(&newest, proof, attempt.id)))
        } else {
            Phase::Current
        };
        Ok(())
    }

    /// Looks whether a person has acted: one vault call, or a local read.
    pub async fn look(&mut self, mut state: State) -> State {
        let now = self.clock.now();
        let id = rotation_id();
        let failing = state.failing.clone();
        let about = failing.as_ref().map_or(About::Token, |failing| failing.failure.about);
        // The credential is what was refused, but a person may as well sign in anew: every tenth look.
        let turn = failing.as_ref().map_or(0, |failing| failing.attempts % 10);
        let changed = match about {
            About::AppCredential | About::CredentialSource if turn != 0 => {
                self.credential_changed(&state, about, id).await
            }
            About::AppCredential | About::CredentialSource | About::Token | About::Grant => {
                self.token_changed(&state, id).await
            }
        };
        if let Some(failing) = &mut state.failing {
            failing.attempts = failing.attempts.wrapping_add(1);
        }
        let look_at = now + schedule::WATCH_EVERY;
        match &mut state.phase {
            _ if changed => {
                info!(event = "change_noticed", token = %self.grant.name);
                if let Some(failing) = &mut state.failing {
                    failing.retry_at = now;
                }
                state.phase = Phase::Unproved { due_at: now };
            }
            Phase::Waiting { look_at: at, .. } | Phase::Off { look_at: at } => *at = look_at,
            Phase::Unproved { .. } | Phase::Current | Phase::Unsaved(_) => {}
        }
        state
    }

    /// Looks at everything now: a person has said that something changed (SIGHUP).
    pub fn poke(&self, mut state: State) -> State {
        let now = self.clock.now();
        if let Some(failing) = &mut state.failing {
            failing.retry_at = now;
        }
        if !state.is_unsaved() {
            state.phase = Phase::Unproved { due_at: now };
        }
        state
    }

    async fn token_changed(&self, state: &State, id: Uuid) -> bool {
        let unread = state.failing.as_ref().is_some_and(|failing| failing.failure.about == About::Token);
        match self.vault.newest(&self.grant.secret, id).await {
            // After a refusal a new version is news; after a vault that refused, any answer is.
            Ok(stored) => unread || state.newest.as_ref().map(|v| &v.id) != Some(&stored.version.id),
            Err(VaultError::Disabled) => !matches!(state.phase, Phase::Off { .. }),
            Err(_) => false,
        }
    }

    async fn credential_changed(&self, state: &State, about: About, id: Uuid) -> bool {
        let unread = about == About::CredentialSource;
        match self.read_credential(id).await {
            Ok((credential, _)) => unread || Some(credential.fingerprint) != state.credential_used,
            Err(_) => false,
        }
    }

    /// Writes tags to the newest version, without which nothing is lost but a memory.
    async fn mark(&mut self, mut state: State, tags: Tags) -> State {
        let now = self.clock.now();
        let Some(version) = &mut state.newest else { return state };
        state.vault_calls.note(now);
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
        state.vault_calls.note(self.clock.now());
        let newest = self.vault.newest(&self.grant.secret, id).await.map_err(|error| self.own(&error))?;
        if let Some(vault_time) = newest.read_at {
            self.clock.observe(vault_time);
        }
        if state.newest.as_ref().is_none_or(|known| known.id != newest.version.id) {
            debug!(event = "version_seen", token = %self.grant.name, version = %newest.version.id);
        }
        state.newest = Some(newest.version.clone());
        Ok(newest)
    }

    /// Redeems one stored value, within politeness, and checks whose it is.
    async fn redeem(
        &self,
        state: &mut State,
        stored: &Stored,
        attempt: &mut Attempt,
    ) -> Result<Proof, Failure> {
        let token = stored.refresh_token();
        if !token.is_plausible() {
            return Err(unusable_value());
        }
        if attempt.credential.is_none() {
            let read = self.read_credential(attempt.id).await;
            let calls = read.as_ref().map_or(1, |(_, calls)| *calls);
            (0..calls).for_each(|_| state.vault_calls.note(self.clock.now()));
            attempt.credential = Some(read?.0);
        }
        let credential = attempt.credential.as_ref().expect("read just now");
        state.credential_used = Some(credential.fingerprint);
        state.app_secret_expires = credential.secret_expires.or(self.grant.app_secret_expires);
        let now = self.clock.now();
        if state.redemptions.room_at(REDEMPTIONS_A_DAY, 1, now) > now {
            return Err(budget_spent());
        }
        state.redemptions.note(now);
        let what = Redemption {
            tenant: &self.grant.tenant_id,
            client_id: &credential.client_id,
            client_secret: &credential.secret,
            scope: &self.grant.scope,
            token: &token,
            rotation_id: attempt.id,
        };
        let redeemed = self.issuer.redeem(&what).await.map_err(|error| self.refused(&error, credential))?;
        let user_oid = answer::check(&self.grant, &credential.client_id, &redeemed)?;
        let noted = stored.version.tags.get(tag::USER_OID);
        if let (Some(user), Some(noted)) = (&user_oid, noted)
            && !user.eq_ignore_ascii_case(noted)
        {
            warn!(event = "user_changed", token = %self.grant.name, version = %stored.version.id,
                "the token belongs to another user than its tag says; the tag is corrected");
        }
        if user_oid.is_some() {
            state.user_oid.clone_from(&user_oid);
        }
        let client_id = credential.client_id.clone();
        Ok(Proof { redeemed, client_id, user_oid, issued_at: self.clock.now() })
    }

    fn refused(&self, error: &IssuerError, credential: &Credential) -> Failure {
        let failure = error.failure();
        let fresh = credential.secret_created.is_some_and(|at| at + CREDENTIAL_SETTLES > self.clock.now());
        match error {
            IssuerError::Refused(refusal) if fresh && refusal.class() == Class::ClientCredential => {
                Failure { remedy: Remedy::Retry { after: None }, ..failure }
            }
            _ => failure,
        }
    }

    /// Reads the app's id and secret; also says how many vault calls that took.
    async fn read_credential(&self, id: Uuid) -> Result<(Credential, usize), Failure> {
        let mut calls = 0;
        let client_id = match &self.grant.client_id {
            Setting::Plain(value) => value.clone(),
            Setting::From(source) => {
                let (value, version) = self.read_source(source, id).await?;
                calls += usize::from(version.is_some());
                value.expose_secret().to_owned()
            }
        };
        let (secret, version) = self.read_source(&self.grant.client_secret, id).await?;
        calls += usize::from(version.is_some());
        let mut hasher = DefaultHasher::new();
        (&client_id, secret.expose_secret()).hash(&mut hasher);
        let credential = Credential {
            client_id,
            secret,
            secret_created: version.as_ref().map(|version| version.created),
            secret_expires: version.and_then(|version| version.expires),
            fingerprint: hasher.finish(),
        };
        Ok((credential, calls))
    }

    async fn read_source(&self, from: &Source, id: Uuid) -> Result<(SecretString, Option<Version>), Failure> {
        match from {
            Source::Secret(address) => match self.vault.newest(address, id).await {
                Ok(stored) => Ok((stored.value, Some(stored.version))),
                Err(error) => Err(error.failure(Asked::Source, address)),
            },
            local => source::read_local(local).map(|value| (value, None)).map_err(|error| {
                let summary = format!("the app's credential could not be read: {error}");
                Failure::new(Kind::AppCredentialRefused, Remedy::Operator, About::CredentialSource, summary)
            }),
        }
    }

    /// Asks the resource about the access token. Its answer is published and never stands in the way.
    async fn ask_resource(&self, state: &mut State, redeemed: &Redeemed, id: Uuid) {
        let now = self.clock.now();
        let polite = state.questions.room_at(QUESTIONS_A_DAY, 1, now) <= now;
        if self.grant.verify == Verify::Nothing || !polite {
            return;
        }
        state.questions.note(now);
        match self.resource.accepts(&redeemed.access_token, id).await {
            Ok(acceptance) => {
                if !acceptance.accepted {
                    warn!(event = "partner_center_refused", token = %self.grant.name, status = acceptance.status,
                        mfa = ?acceptance.mfa, "Partner Center does not accept the access token");
                }
                state.acceptance = Some(acceptance);
            }
            Err(error) => {
                debug!(event = "partner_center_unknown", token = %self.grant.name, reason = %error);
                state.acceptance = None;
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
            written: None,
            dead: Vec::new(),
            lifted: Vec::new(),
            client_id: proof.client_id,
            user_oid: proof.user_oid,
            rotation_id: id,
        }
    }

    /// Searches the history of a version of ours that this process has not searched before: another
    /// process may have died between its write and its list.
    async fn find_buried(
        &self,
        state: &mut State,
        newest: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<Held>, Failure> {
        if newest.redeemed_from().is_none() || state.searched.as_ref() == Some(&newest.id) {
            return Ok(None);
        }
        state.vault_calls.note(self.clock.now());
        let versions =
            self.vault.versions(&self.grant.secret, attempt.id).await.map_err(|error| self.own(&error))?;
        let mut dead = Vec::new();
        while let Some(buried) = save::buried_under(newest, &versions, &dead, Ties::DoNot) {
            match self.redeem_version(state, buried, attempt).await? {
                Some((stored, proof)) => {
                    self.report_buried(state, buried, newest);
                    let held = Self::hold(&stored, proof, attempt.id);
                    return Ok(Some(Held { over: Some(newest.id.clone()), dead, ..held }));
                }
                None => dead.push(buried.id.clone()),
            }
        }
        state.searched = Some(newest.id.clone());
        Ok(None)
    }

    /// Reads and redeems a version that is not the newest; `None`, and a mark on it, if it is of no use.
    async fn redeem_version(
        &self,
        state: &mut State,
        version: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<(Stored, Proof)>, Failure> {
        state.vault_calls.note(self.clock.now());
        let stored = match self.vault.read(&self.grant.secret, &version.id, attempt.id).await {
            Ok(stored) => stored,
            Err(VaultError::Disabled | VaultError::NotFound) => return Ok(None),
            Err(error) => return Err(self.own(&error)),
        };
        match self.redeem(state, &stored, attempt).await {
            Ok(proof) => Ok(Some((stored, proof))),
            Err(failure) if failure.token_refused() => {
                self.note_dead(state, version, &failure, attempt.id).await;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Tries the youngest predecessors of a value that is no usable token at all, once for each such
    /// value, and never over a foreign version younger than a day.
    async fn rescue(
        &self,
        state: &mut State,
        useless: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<Held>, Failure> {
        let now = self.clock.now();
        let too_young = !useless.is_ours() && useless.created + schedule::RESCUE_AFTER > now;
        if too_young || state.rescued.as_ref() == Some(&useless.id) {
            return Ok(None);
        }
        state.vault_calls.note(now);
        let versions =
            self.vault.versions(&self.grant.secret, attempt.id).await.map_err(|error| self.own(&error))?;
        for version in save::predecessors(useless, &versions) {
            if let Some((stored, proof)) = self.redeem_version(state, version, attempt).await? {
                warn!(event = "rescued", token = %self.grant.name, version = %version.id, useless = %useless.id,
                    "the newest version is no usable token; its predecessor works and is put on top");
                self.note_dead(state, useless, &unusable_value(), attempt.id).await;
                let held = Self::hold(&stored, proof, attempt.id);
                return Ok(Some(Held { over: Some(useless.id.clone()), ..held }));
            }
        }
        state.rescued = Some(useless.id.clone());
        Ok(None)
    }

    /// Notes on a version that it is dead, so that no later process tries it again.
    async fn note_dead(&self, state: &mut State, version: &Version, failure: &Failure, id: Uuid) {
        let now = self.clock.now();
        let mut tags = version.tags.clone();
        tags.insert(tag::REFUSED_AT.into(), rfc3339(now));
        tags.insert(tag::REFUSED_KIND.into(), failure.kind.as_str().into());
        state.vault_calls.note(now);
        let change = Change { enabled: None, tags: Some(tags) };
        if let Err(error) = self.vault.update(&self.grant.secret, &version.id, &change, id).await {
            debug!(event = "mark_failed", token = %self.grant.name, version = %version.id, reason = %error);
        }
    }

    fn report_buried(&self, state: &mut State, buried: &Version, under: &Version) {
        state.unburied_at = Some(self.clock.now());
        warn!(event = "buried_sign_in", token = %self.grant.name, version = %buried.id, under = %under.id,
            "a sign-in was written over by a rotation in flight; it works and is put back on top");
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
        let (code, trace_id) = (failure.code, failure.trace_id.as_deref());
        let correlation_id = failure.correlation_id.as_deref();
        // The first time is news to a person who must act; that it still holds is not.
        let is_new = state.failing.as_ref().is_none_or(|failing| failing.failure.kind != failure.kind);
        if is_new && !matches!(failure.remedy, Remedy::Retry { .. }) {
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
}

fn unusable_value() -> Failure {
    let summary = "the stored value is not a refresh token: empty, more than one word, or quoted";
    let failure = Failure::new(Kind::LoginRequired, Remedy::Operator, About::Grant, summary);
    Failure { token_condemned: true, never_was_a_token: true, ..failure }
}

fn budget_spent() -> Failure {
    let summary = "today's redemptions of this token are used up";
    Failure::new(Kind::Overdue, Remedy::Retry { after: None }, About::Grant, summary)
}
