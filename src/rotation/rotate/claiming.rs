//! Claims a `strict` token before its redemption, and removes the mark of the claim afterwards.
//!
//! This module owns the order of the calls. `rotation::strict` owns the rule for a claim. The mark is the tag
//! `redeeming`.

use tokio::time::Instant;

use super::{Attempt, Rotator};
use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject};
use crate::ports::{Issuer, IssuerError, Resource, SecretUpdate, Vault, VaultError};
use crate::rotation::event::Event;
use crate::rotation::holds::Stake;
use crate::rotation::state::State;
use crate::rotation::strict;
use crate::rotation::strict::{Mark, SETTLES};
use crate::token::rotation_id;
use crate::token::tags::Tags;
use crate::token::version::{Stored, Version};

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Claims a version of a `strict` token for one redemption. First tests whether this process may write to the
    /// vault. Then marks the version, and checks that no other process has marked the same version. If an earlier
    /// redemption left a mark on the version, returns that mark. The answer to that redemption is treated as lost.
    ///
    /// A shutdown waits until the claim has ended. Otherwise a mark could stay in the vault, and the next process would
    /// have to wait until this mark expires.
    pub(super) async fn claim(
        &self,
        state: &mut State,
        stored: &Stored,
        attempt: &mut Attempt,
    ) -> Result<Option<Mark>, Failure> {
        if let Some(failure) = strict::wrong_user(&self.grant, &stored.version) {
            return Err(failure);
        }
        let now = self.clock.now();
        if self.timing.room_for_vault_calls(state, strict::CALLS_OF_A_REDEMPTION, now) > now {
            return Err(strict::no_calls_left());
        }
        self.try_to_write(state, stored, attempt).await?;
        self.hold.set(Stake::Successor);
        let began = Instant::now();
        let version = self.read_again(state, &stored.version, attempt).await?;
        let before = strict::may_be_claimed(state, &version, self.clock.now()).map_err(|failure| *failure)?;
        let mark = Mark::new(&version, attempt.id, self.command, self.clock.now());
        let tags = mark.put(&version.tags).ok_or_else(strict::no_room)?;
        self.retag(state, &version, tags, attempt).await.map_err(|error| self.unwritable(state, &error))?;
        let settles = self.clock.real(SETTLES);
        if began.elapsed() > settles {
            // The write of this mark took too long. The write may have overwritten the mark of another process that
            // redeems the token. So this mark permits no redemption.
            state.claim = None;
            return Err(strict::too_slow());
        }
        let contest = strict::is_contest(state, before.as_ref(), &mark, self.clock.now());
        state.claim = Some(attempt.id);
        if contest {
            return Err(strict::elsewhere(before.as_ref().unwrap_or(&mark)));
        }
        tokio::time::sleep(settles).await;
        let version = self.read_again(state, &stored.version, attempt).await?;
        match Mark::on(&version) {
            Some(found) if found == mark => Ok(before),
            Some(other) => Err(strict::elsewhere(&other)),
            // Another program has replaced the tags after the claim, and the mark is gone. The next attempt starts a
            // new claim.
            None => Err(strict::too_slow()),
        }
    }

    /// Fails if the tags show that another process redeems this version. The caller checks this before it reads the
    /// app's credential.
    pub(super) fn may_be_claimed(&self, state: &mut State, version: &Version) -> Result<(), Failure> {
        if !self.grant.strict {
            return Ok(());
        }
        strict::may_be_claimed(state, version, self.clock.now()).map(drop).map_err(|failure| *failure)
    }

    /// Tests whether this process may write, with a write that the vault must reject as invalid. An error other than
    /// this rejection shows a missing permission, a firewall or an outage.
    pub(super) async fn try_to_write(
        &self,
        state: &mut State,
        stored: &Stored,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        let trial = strict::trial(stored, self.timing.expires_at(&stored.version));
        let mut permit = self.new_version_permit(attempt).await;
        state.note_vault_call(self.clock.now());
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        match self.vaults().write(&self.grant.secret, &trial, attempt.id).await {
            Ok(_) | Err(VaultError::Rejected { .. }) => Ok(()),
            Err(error) => Err(self.unwritable(state, &error)),
        }
    }

    /// Tests whether a claim is possible. Only `check_vault` uses this function. Returns `Ok` if both a version and
    /// tags can be written, otherwise the failure that blocks the claim. Also returns whether the test made all of its
    /// three calls: a read, a write of a version, and a write of tags.
    pub(super) async fn may_save(&self, state: &mut State) -> (Result<(), Failure>, bool) {
        let mut attempt = Attempt::new(rotation_id());
        let newest = match self.vaults().newest(&self.grant.secret, attempt.id).await {
            Ok(newest) => newest,
            Err(error) => return (Err(self.unwritable(state, &error)), false),
        };
        if let Err(failure) = self.try_to_write(state, &newest, &mut attempt).await {
            return (Err(failure), false);
        }
        let (version, tags) = (&newest.version, newest.version.tags.clone());
        let updated = self.retag(state, version, tags, &attempt).await;
        (updated.map_err(|error| self.unwritable(state, &error)), true)
    }

    /// Renews the mark on a redeemed version while this process holds the version's successor. `version` is the newest
    /// version, as the caller has just read it.
    pub(super) async fn renew_mark(&self, state: &mut State, version: &Version, attempt: &mut Attempt) {
        let now = self.clock.now();
        let is_spent = state.holds_only_copy()
            && state.pending().is_some_and(|pending| pending.successor.redeemed.id == version.id);
        if !is_spent {
            return;
        }
        // A mark of another process is a mistake, since this process holds the successor. So this process replaces such
        // a mark.
        let known = Mark::on(version).filter(|mark| state.claim.is_some_and(|ours| mark.is_of(ours)));
        if known.as_ref().is_some_and(|mark| !mark.is_to_be_renewed(now)) {
            return;
        }
        let by = state.claim.unwrap_or(attempt.id);
        let mark = known.unwrap_or_else(|| Mark::new(version, by, self.command, now)).renewed(now);
        let Some(tags) = mark.put(&version.tags) else { return };
        if let Err(error) = self.retag(state, version, tags, attempt).await {
            attempt.note(Event::TagsNotUpdated(version.id.clone(), error.to_string()));
        }
    }

    /// Removes the mark from a version whose token is still valid after the issuer's answer.
    pub(super) async fn release(&self, state: &mut State, version: &Version, attempt: &mut Attempt) {
        if state.claim.take().is_none() {
            return;
        }
        if let Err(error) = self.retag(state, version, strict::unmarked(version), attempt).await {
            attempt.note(Event::TagsNotUpdated(version.id.clone(), error.to_string()));
        }
    }

    async fn retag(
        &self,
        state: &mut State,
        version: &Version,
        tags: Tags,
        attempt: &Attempt,
    ) -> Result<(), VaultError> {
        state.note_vault_call(self.clock.now());
        let update = SecretUpdate { enabled: None, tags: Some(tags) };
        self.vaults().update(&self.grant.secret, &version.id, &update, attempt.id).await
    }

    async fn read_again(
        &self,
        state: &mut State,
        version: &Version,
        attempt: &Attempt,
    ) -> Result<Version, Failure> {
        state.note_vault_call(self.clock.now());
        let read = self.vaults().read(&self.grant.secret, &version.id, attempt.id).await;
        read.map(|stored| stored.version).map_err(|error| self.unwritable(state, &error))
    }

    /// Converts the error of a vault call to the failure that blocks a claim. A successful read does not clear this
    /// failure. Only a successful write clears it.
    fn unwritable(&self, state: &State, error: &VaultError) -> Failure {
        Failure { about: FailureSubject::Saving, ..self.own(state, error) }
    }
}

/// Whether an error shows that the redeemed token is still valid. This is so if the issuer rejected the request or
/// returned no successor, or if the request did not reach the issuer.
pub(super) fn leaves_unspent(error: &IssuerError) -> bool {
    match error {
        IssuerError::Refused(_) | IssuerError::NoRefreshToken => true,
        IssuerError::Unavailable { status, .. } => *status == 429,
        IssuerError::NotUnderstood(_) => false,
        IssuerError::Unreachable(why) => !matches!(why, NoResponse::TimedOut | NoResponse::Cut),
    }
}

#[cfg(test)]
mod tests;
