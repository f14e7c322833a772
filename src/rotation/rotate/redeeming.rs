//! Redeems one stored value: reads the app's credential, respects the daily limits, and checks the answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::claiming::leaves_unspent;
use super::{Attempt, Proof, Rotator};
use crate::ports::advice::Advice;
use crate::ports::answer::{Unverified, Whose};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{
    Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, SecretRole, Vault, answer,
};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::rotation::event::Event;
use crate::rotation::holds::Stake;
use crate::rotation::pace::{Limited, Redeemer};
use crate::rotation::schedule;
use crate::rotation::state::{Facts, PendingSave, Phase, State, Successor};
use crate::rotation::strict;
use crate::token::secret::{ConfigValue, Source};
use crate::token::version::{Stored, Version, tag};
use crate::token::{RefreshToken, local_secret};

/// The age below which Perennial waits after a rejection of a new app secret. Some of Entra's servers accept a new
/// secret later than others (docs/azure-facts.md F115).
const CREDENTIAL_SETTLES: TimeDelta = TimeDelta::minutes(15);

/// The app's id and secret. A step reads them once.
pub(crate) struct AppCredential {
    pub(crate) client_id: String,
    pub(crate) secret: SecretString,
    pub(super) secret_created: Option<Timestamp>,
    pub(super) secret_expires: Option<Timestamp>,
    pub(super) fingerprint: u64,
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Redeems one stored value within the daily limits, and checks tenant, app and user.
    pub(super) async fn redeem(
        &self,
        state: &mut State,
        stored: &Stored,
        attempt: &mut Attempt,
    ) -> Result<Proof, Failure> {
        let redeemed_value = stored.refresh_token();
        if !redeemed_value.is_plausible() {
            return Err(unusable_value());
        }
        if attempt.credential.is_none() {
            let read = self.read_credential(attempt.id).await;
            let calls = read.as_ref().map_or(1, |(_, calls)| *calls);
            state.note_vault_calls(calls, self.clock.now());
            attempt.credential = Some(read?.0);
        }
        let credential = attempt.credential.as_ref().expect("read just now");
        state.credential_read_at.get_or_insert(self.clock.now());
        state.credential_used = Some(credential.fingerprint);
        state.app_secret_expires = credential.secret_expires.or(self.grant.app_secret_expires);
        let now = self.clock.now();
        if state.redemptions.room_at(self.timing.limits().redemptions, 1, now) > now {
            return Err(budget_spent());
        }
        let whom = Redeemer::of(&self.grant, Some(&stored.version), state.facts.as_deref());
        let mut permit = self.redemption_permit(whom, attempt).await?;
        let unanswered =
            if self.grant.strict { Box::pin(self.claim(state, stored, attempt)).await? } else { None };
        let credential = attempt.credential.as_ref().expect("read above");
        let now = self.clock.now();
        state.redemptions.note(now);
        // From now on, a strict issuer may have spent the token in the vault.
        let may_be_spent = self.grant.strict || state.is_unsaved();
        self.hold.set(if may_be_spent { Stake::Successor } else { Stake::Answer });
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        let redeemed = self.exchange(&redeemed_value, credential, attempt.id).await;
        self.hold.set(if redeemed.is_ok() { Stake::Successor } else { state.stake() });
        let redeemed = match redeemed {
            Ok(redeemed) => redeemed,
            Err(error) => {
                let mut failure = self.refused(&error, credential);
                if let Some(after) = failure.retry_after {
                    self.turns.pause(Limited::Redemptions(whom), after.min(schedule::LONGEST));
                }
                if leaves_unspent(&error) {
                    self.release(state, &stored.version, attempt).await;
                    failure = unanswered.iter().fold(failure, strict::lost_answer);
                }
                return Err(failure);
            }
        };
        let client_id = credential.client_id.clone();
        let checked = answer::check(&self.grant, &client_id, &redeemed);
        let Whose { user_oid, unverified, .. } = match checked {
            Ok(whose) => whose,
            Err(failure) if self.grant.strict && !state.is_unsaved() => {
                let failure = strict::withheld(failure);
                let successor = self.successor(stored, redeemed.refresh_token, client_id, None, attempt);
                let withheld = Some(Box::new(failure.clone()));
                state.phase =
                    Phase::Unsaved(Box::new(PendingSave { withheld, ..PendingSave::of(successor) }));
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        if let (Some(permit), Some(user)) = (&mut permit, &user_oid) {
            permit.belongs_to(user);
        }
        drop(permit);
        let issued_at = self.clock.now();
        let version = &stored.version;
        let facts = state.facts_of(&version.id);
        note_unverified(facts, unverified, issued_at, attempt);
        let noted = version.tags.get(tag::USER_OID);
        if let (Some(user), Some(noted)) = (&user_oid, noted)
            && !user.eq_ignore_ascii_case(noted)
        {
            attempt.note(Event::UserChanged(version.id.clone()));
        }
        if user_oid.is_some() {
            facts.user_oid.clone_from(&user_oid);
        }
        // The user stays the same along a chain of rotations. An answer that names no user does not erase the known
        // one.
        let user_oid = user_oid.or_else(|| answer::object_id(noted.filter(|_| version.is_ours())));
        let successor = self.successor(stored, redeemed.refresh_token, client_id, user_oid, attempt);
        Ok(Proof { successor: Successor { issued_at, ..successor }, access_token: redeemed.access_token })
    }

    fn successor(
        &self,
        redeemed: &Stored,
        token: RefreshToken,
        client_id: String,
        user_oid: Option<String>,
        attempt: &Attempt,
    ) -> Successor {
        Successor {
            token,
            issued_at: self.clock.now(),
            client_id,
            user_oid,
            redeemed: redeemed.version.clone(),
            redeemed_value: redeemed.refresh_token(),
            rotation_id: attempt.id,
            is_only_copy: self.grant.strict,
        }
    }

    /// Redeems a token once, as this app. The caller checks and counts the request, and keeps the answer.
    pub(crate) async fn exchange(
        &self,
        token: &RefreshToken,
        credential: &AppCredential,
        id: Uuid,
    ) -> Result<RefreshResponse, IssuerError> {
        let request = RefreshRequest {
            tenant: &self.grant.tenant_id,
            client_id: &credential.client_id,
            client_secret: &credential.secret,
            scope: &self.grant.scope,
            token,
            rotation_id: id,
        };
        self.issuer.redeem(&request).await
    }

    /// Redeems another writer's version, unless the issuer's last answer about it still holds. A stop and `rotate` try
    /// to save every two seconds.
    pub(super) async fn redeem_theirs(
        &self,
        state: &mut State,
        theirs: &Stored,
        attempt: &mut Attempt,
    ) -> Result<Proof, Failure> {
        if let Some(failure) = schedule::standing(state, &theirs.version, self.clock.now()) {
            return Err(failure.clone());
        }
        let answer = self.redeem(state, theirs, attempt).await;
        match &answer {
            Ok(_) => schedule::forget(state, &theirs.version),
            Err(failure) => schedule::remember(state, &theirs.version, failure, self.clock.now()),
        }
        answer
    }

    /// Returns the failure for a rejection. If the credential is new, the failure asks Perennial to wait.
    pub(crate) fn refused(&self, error: &IssuerError, credential: &AppCredential) -> Failure {
        let failure = error.failure();
        let fresh = credential.secret_created.is_some_and(|at| at + CREDENTIAL_SETTLES > self.clock.now());
        match error {
            IssuerError::Refused(_) if fresh && failure.advice.is_some_and(Advice::may_be_propagation) => {
                Failure { remedy: Remedy::Retry, is_definite: false, ..failure }
            }
            _ => failure,
        }
    }

    /// Reads the app's id and secret. Also returns the number of vault calls.
    pub(crate) async fn read_credential(&self, id: Uuid) -> Result<(AppCredential, usize), Failure> {
        let mut calls = 0;
        let client_id = match &self.grant.client_id {
            ConfigValue::Plain(value) => value.clone(),
            ConfigValue::From(source) => {
                let (value, version) = self.read_source(source, id).await?;
                calls += usize::from(version.is_some());
                // The app's id is shown and sent unencrypted. The check keeps a secret in its place from leaking.
                text::guid(value.expose_secret()).ok_or_else(|| self.no_app_id(source))?
            }
        };
        let (secret, version) = self.read_source(&self.grant.client_secret, id).await?;
        calls += usize::from(version.is_some());
        let mut hasher = DefaultHasher::new();
        (&client_id, secret.expose_secret()).hash(&mut hasher);
        let credential = AppCredential {
            client_id,
            secret,
            secret_created: version.as_ref().map(|version| version.created),
            secret_expires: version.and_then(|version| version.expires),
            fingerprint: hasher.finish(),
        };
        Ok((credential, calls))
    }

    async fn read_source(&self, from: &Source, id: Uuid) -> Result<(SecretString, Option<Version>), Failure> {
        let read = match from {
            Source::Secret(address) => match self.vaults().newest(address, id).await {
                Ok(Stored { value, version, .. }) => {
                    local_secret::usable(value.expose_secret().as_bytes(), &local_secret::place(from))
                        .map(|value| (value, Some(version)))
                }
                Err(error) => return Err(error.failure(SecretRole::Source, address)),
            },
            local => local_secret::read_local(local).map(|value| (value, None)),
        };
        read.map_err(|error| unreadable(format!("the app's credential could not be read: {error}")))
    }

    fn no_app_id(&self, source: &Source) -> Failure {
        let name = &self.grant.name;
        let summary =
            format!("{} must hold the client_id of {name}, and holds no GUID", local_secret::place(source));
        let action = format!(
            "store the app's (client) id there, or correct client_id of {name}: perhaps it names the place of client_secret"
        );
        Failure { action: Some(action.into()), ..unreadable(summary) }
    }
}

fn note_unverified(facts: &mut Facts, unverified: Unverified, now: Timestamp, attempt: &mut Attempt) {
    let known = facts.unverified.take();
    if !unverified.is_any() {
        return;
    }
    if known.is_none_or(|(known, _)| known != unverified) {
        attempt.note(Event::IdentityUnverified(unverified));
    }
    facts.unverified = Some((unverified, known.map_or(now, |(_, since)| since)));
}

fn unreadable(summary: String) -> Failure {
    Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::CredentialSource, summary)
}

fn unusable_value() -> Failure {
    let summary = "the stored value is not a refresh token: empty, more than one word, or quoted";
    let failure = Failure::new(Kind::LoginRequired, Remedy::Operator, FailureSubject::Grant, summary);
    Failure { never_was_a_token: true, ..failure }
}

fn budget_spent() -> Failure {
    let summary = "daily redemption limit reached for this token";
    Failure::new(Kind::Overdue, Remedy::Retry, FailureSubject::Grant, summary)
}
