//! Redeems one stored value: reads the app's credential, respects the daily limits, and checks the answer.

use chrono::TimeDelta;
use uuid::Uuid;

use super::claiming::leaves_unspent;
use super::{AppCredential, Attempt, Proof, Rotator};
use crate::ports::advice::Advice;
use crate::ports::answer::{Unverified, Whose};
use crate::ports::client::{ClientProof, CredentialVerdict};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, Vault, answer};
use crate::process::clock::Timestamp;
use crate::rotation::event::Event;
use crate::rotation::holds::Stake;
use crate::rotation::pace::{Limited, Redeemer};
use crate::rotation::schedule;
use crate::rotation::state::{Facts, PendingSave, Phase, State, Successor};
use crate::rotation::strict;
use crate::token::RefreshToken;
use crate::token::version::{Stored, tag};

/// The age below which an app credential is new. If Entra rejects a new credential, Perennial waits, because the new
/// credential does not reach all of Entra's servers at once (docs/azure-facts.md F115).
const CREDENTIAL_SETTLES: TimeDelta = TimeDelta::minutes(15);

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
            Box::pin(self.take_credential(state, attempt)).await?;
        }
        let now = self.clock.now();
        if state.redemptions.room_at(self.timing.limits().redemptions, 1, now) > now {
            return Err(budget_spent());
        }
        let whom = Redeemer::of(&self.grant, Some(&stored.version), state.facts.as_deref());
        let mut permit = self.redemption_permit(whom, attempt).await?;
        let unanswered =
            if self.grant.strict { Box::pin(self.claim(state, stored, attempt)).await? } else { None };
        let proof = Box::pin(self.prove_client(state, attempt)).await?;
        state.redemptions.note(self.clock.now());
        // If the process already holds an unsaved successor, canceling this step would lose that successor. If the
        // token is `strict`, the redemption invalidates the token in the vault. Canceling the step would then lose the
        // new token, the only valid one.
        let may_be_spent = self.grant.strict || state.is_unsaved();
        self.hold.set(if may_be_spent { Stake::Successor } else { Stake::Answer });
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        let credential = attempt.credential.as_ref().expect("read above");
        let mut redeemed = self.exchange(&redeemed_value, &credential.client_id, &proof, attempt.id).await;
        if CredentialVerdict::of(&redeemed) == CredentialVerdict::Rejected
            && Box::pin(self.fall_back(state, attempt)).await
        {
            let proof = Box::pin(self.prove_client(state, attempt)).await?;
            let credential = attempt.credential.as_ref().expect("fell back to it");
            state.redemptions.note(self.clock.now());
            self.turns.note(Limited::Redemptions(whom), 1);
            redeemed = self.exchange(&redeemed_value, &credential.client_id, &proof, attempt.id).await;
        }
        let credential = attempt.credential.as_ref().expect("read above");
        self.hold.set(if redeemed.is_ok() { Stake::Successor } else { state.stake() });
        let redeemed = match redeemed {
            Ok(redeemed) => redeemed,
            Err(error) => {
                let mut failure = self.refused(&error, credential, state.credential_read_at);
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
        // user.
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

    /// Sends one redemption with the app's client id and the app's client secret or assertion (`proof`). The caller
    /// checks the limits and counts the request.
    pub(crate) async fn exchange(
        &self,
        token: &RefreshToken,
        client_id: &str,
        proof: &ClientProof,
        id: Uuid,
    ) -> Result<RefreshResponse, IssuerError> {
        let request = RefreshRequest {
            tenant: &self.grant.tenant_id,
            client_id,
            proof,
            scope: &self.grant.scope,
            token,
            rotation_id: id,
        };
        self.issuer.redeem(&request).await
    }

    /// Redeems another writer's version, unless the issuer's last answer about this version is still valid. A stopping
    /// process and the command `rotate` attempt to save every two seconds. Without this rule, each attempt would redeem
    /// the version.
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

    /// Returns the failure for a rejection. If the credential is so new that Entra may not know it yet, the remedy is a
    /// retry. The age of a credential in a vault is the age of its version. The age of a federated credential outside a
    /// vault counts from the time when this process first read the credential. Any other credential outside a vault has
    /// no known age, and is never treated as new.
    pub(crate) fn refused(
        &self,
        error: &IssuerError,
        credential: &AppCredential,
        first_read_at: Option<Timestamp>,
    ) -> Failure {
        let failure = error.failure();
        let federated = failure.advice == Some(Advice::FederatedCredential);
        let begun_at = credential.created().or(first_read_at.filter(|_| federated));
        match error {
            IssuerError::Refused(_) => unless_fresh(failure, begun_at, self.clock.now()),
            _ => failure,
        }
    }
}

/// Turns a rejection of the credential into a retry while the credential is new, because Entra may not know the
/// credential yet. This one rejection then opens no condition. `begun_at` is the time at which the credential was
/// created or first read.
fn unless_fresh(failure: Failure, begun_at: Option<Timestamp>, now: Timestamp) -> Failure {
    let is_fresh = begun_at.is_some_and(|at| at + CREDENTIAL_SETTLES > now);
    if is_fresh && failure.advice.is_some_and(Advice::may_be_propagation) {
        return Failure { remedy: Remedy::Retry, is_definite: false, ..failure };
    }
    failure
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

fn unusable_value() -> Failure {
    let summary =
        "the stored value is not a refresh token: it is empty, has more than one word, or is quoted";
    let failure = Failure::new(Kind::LoginRequired, Remedy::Operator, FailureSubject::Grant, summary);
    Failure { never_was_a_token: true, ..failure }
}

fn budget_spent() -> Failure {
    let summary = "Perennial has reached its daily limit of redemptions for this token";
    Failure::new(Kind::Overdue, Remedy::Retry, FailureSubject::Grant, summary)
}

#[cfg(test)]
mod tests;
