//! Searches older versions of a secret for a buried sign-in, or for a working predecessor of an invalid value. A
//! sign-in is buried if a rotation has written a newer version that does not descend from the sign-in.
//!
//! This module owns the order of the calls. `save` interprets a list of versions.

use uuid::Uuid;

use super::{Attempt, Rotator};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, Resource, SecretUpdate, Vault, VaultError};
use crate::rotation::event::Event;
use crate::rotation::save::Ties;
use crate::rotation::state::{Inherited, PendingSave, State, Successor};
use crate::rotation::strict::Mark;
use crate::rotation::{save, schedule};
use crate::token::version::{Version, VersionId};

/// The result of the redemption of a version that is not the newest.
pub(super) enum Tried {
    /// The version works.
    Works(Box<Successor>),
    /// The issuer rejects the version or returns no successor for it, but the version may work later.
    MayComeBack,
    /// The version is invalid for good, or disabled.
    Useless,
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// If Perennial wrote the newest version, searches for a sign-in that this version buries. Searches once for each
    /// newest version, and again only if a rejected version may be redeemed again. A process that dies after it writes
    /// a version, and before it lists the versions, may leave a sign-in buried. `tests/it/rotation/interleavings.rs`,
    /// which tests every order of the steps of one save, found this case. The search costs one more request at start-up
    /// and after a rotation by a second instance.
    pub(super) async fn find_buried(
        &self,
        state: &mut State,
        newest: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<PendingSave>, Failure> {
        if newest.redeemed_from().is_none() {
            // If a user signed in while no daemon was running, the marks of delivered alerts are in the tags of an
            // older version. Only a list of the versions shows these tags.
            if state.inherited == Some(Inherited::SignIn)
                && let Err(failure) = self.list(state, state.calls_of_a_rotation(), attempt.id).await
            {
                attempt.note(Event::HistoryUnread(failure.summary));
            }
            return Ok(None);
        }
        let now = self.clock.now();
        if state.searched.as_ref() == Some(&newest.id) && !schedule::may_ask_again(state, now) {
            return Ok(None);
        }
        let versions = match self.list(state, state.calls_of_a_rotation(), attempt.id).await {
            Ok(versions) => versions,
            // A failed search does not prevent the proof. The next proof searches again.
            Err(failure) => {
                attempt.note(Event::HistoryUnread(failure.summary));
                return Ok(None);
            }
        };
        let mut seen = Vec::new();
        while let Some(buried) = save::buried_under(newest, &versions, &seen, Ties::Refused(&state.refused)) {
            let tried = self.redeem_buried(state, buried, (&newest.id, &versions), attempt).await?;
            if let Tried::Works(works) = tried {
                let pending = PendingSave::of(*works);
                return Ok(Some(PendingSave { may_overwrite: Some(newest.id.clone()), seen, ..pending }));
            }
            seen.push(buried.id.clone());
        }
        // A rejected version that this search did not find is no longer buried. The state forgets such a version.
        state.refused.retain(|refused| seen.contains(&refused.id));
        state.searched = Some(newest.id.clone());
        Ok(None)
    }

    /// Lists the versions. Returns a failure if today's limit has no room for the list and the steps after it. In that
    /// case, the list is postponed.
    pub(super) async fn list(
        &self,
        state: &mut State,
        room: usize,
        id: Uuid,
    ) -> Result<Vec<Version>, Failure> {
        let now = self.clock.now();
        if self.timing.room_for_vault_calls(state, room, now) > now {
            let summary =
                "Perennial has reached its daily limit of Key Vault calls, so it lists the versions later";
            return Err(Failure::new(Kind::Overdue, Remedy::Retry, FailureSubject::History, summary));
        }
        let listed = self.vaults().versions(&self.grant.secret, id).await;
        if let Ok(versions) = &listed {
            // A successful list clears only failures of lists, and no other failures.
            state.clear_failures_about(FailureSubject::History);
            state.inherit_from_before_sign_in(versions);
        }
        // Each proof of a `strict` token is a rotation. A long list would raise the number of calls that a rotation
        // needs, and the daily limit would delay these proofs. So the length of the list is not recorded for a `strict`
        // token.
        if let Ok(versions) = &listed
            && !self.grant.strict
        {
            state.listed = versions.len();
        }
        let calls = listed.as_ref().map_or(1, |_| state.calls_of_a_list());
        state.note_vault_calls(calls, now);
        listed.map_err(|error| self.unlisted(state, &error))
    }

    /// Reads and redeems a sign-in that another version buries, and returns the result.
    ///
    /// If the issuer rejects the sign-in but may accept it later, the version that buries the sign-in stays the newest
    /// one. The log reports the rejection. Perennial tries the sign-in again a day later, and at each start-up and each
    /// SIGHUP.
    ///
    /// For a `strict` token, the sign-in may have the mark of a redemption. If the sign-in's successor is in the vault,
    /// the sign-in has been redeemed and is invalid. If not, the answer to the redemption was lost, or another process
    /// holds the successor. In this case, `strict::may_be_claimed` decides whether the sign-in may be redeemed once
    /// more.
    pub(super) async fn redeem_buried(
        &self,
        state: &mut State,
        buried: &Version,
        (under, versions): (&VersionId, &[Version]),
        attempt: &mut Attempt,
    ) -> Result<Tried, Failure> {
        if self.grant.strict && Mark::on(buried).is_some() {
            let has_successor =
                versions.iter().any(|other| other.redeemed_from().as_ref() == Some(&buried.id));
            if has_successor || self.may_be_claimed(state, buried).is_err() {
                return Ok(Tried::Useless);
            }
        }
        let turn = self.redeem_version(state, buried, attempt).await?;
        match turn {
            Tried::Works(_) => {
                state.unburied_at = Some(self.clock.now());
                attempt.note(Event::BuriedSignIn(buried.id.clone(), under.clone()));
            }
            Tried::MayComeBack => {
                attempt.note(Event::BuriedSignInRefused(buried.id.clone(), under.clone()));
            }
            Tried::Useless => {}
        }
        Ok(turn)
    }

    /// Reads and redeems a version that is not the newest. If the issuer rejects the version, records the rejection in
    /// its tags.
    async fn redeem_version(
        &self,
        state: &mut State,
        version: &Version,
        attempt: &mut Attempt,
    ) -> Result<Tried, Failure> {
        state.note_vault_call(self.clock.now());
        let stored = match self.vaults().read(&self.grant.secret, &version.id, attempt.id).await {
            Ok(stored) => stored,
            Err(VaultError::Disabled | VaultError::NotFound) => return Ok(Tried::Useless),
            Err(error) => return Err(self.own(state, &error)),
        };
        let answer = self.redeem_theirs(state, &stored, attempt).await;
        schedule::remember_buried(state, &version.id);
        match answer {
            Ok(proof) => {
                // Without this request, Perennial would not know until the next proof whether Partner Center accepts
                // the restored token.
                self.ask_resource(state, &version.id, &proof.access_token, attempt).await;
                Ok(Tried::Works(Box::new(proof.successor)))
            }
            Err(failure) if failure.token_refused() => {
                self.note_refusal(state, version, &failure, attempt).await;
                let is_final = schedule::is_final(&failure, version, self.clock.now());
                Ok(if is_final { Tried::Useless } else { Tried::MayComeBack })
            }
            // The version works, but the issuer returns no successor that Perennial could write as the newest version.
            Err(failure) if failure.kind == Kind::NoRefreshToken => Ok(Tried::MayComeBack),
            Err(failure) => Err(failure),
        }
    }

    /// If the newest value never was a token, tries the most recent older versions. Returns a save with the successor
    /// of the first version that works. Never replaces a foreign version that is younger than a day. If a version fails
    /// now but may work later, the method tries no version of an older sign-in, and the next attempt tries the failed
    /// version again. If no version can work, a user must sign in, and later attempts do not search again below this
    /// value.
    pub(super) async fn rescue(
        &self,
        state: &mut State,
        useless: &Version,
        failure: &Failure,
        attempt: &mut Attempt,
    ) -> Result<Option<PendingSave>, Failure> {
        let is_final = schedule::is_final(failure, useless, self.clock.now());
        if !is_final || state.rescued.as_ref() == Some(&useless.id) {
            return Ok(None);
        }
        let versions = self.list(state, state.calls_of_a_rotation(), attempt.id).await?;
        let mut may_come_back: Option<&Version> = None;
        for (version, sign_in) in save::predecessors(useless, &versions) {
            let may_follow = |other: &Version| sign_in.id == other.id || sign_in.created > other.created;
            // A marked version of a `strict` token may have been redeemed already. A second redemption would make the
            // issuer revoke all tokens of the sign-in.
            let is_spent = self.grant.strict && Mark::on(version).is_some();
            if is_spent || !may_come_back.is_none_or(may_follow) {
                continue;
            }
            match self.redeem_version(state, version, attempt).await? {
                Tried::Works(works) => {
                    attempt.note(Event::Rescued(version.id.clone(), useless.id.clone()));
                    self.note_refusal(state, useless, failure, attempt).await;
                    let pending = PendingSave::of(*works);
                    return Ok(Some(PendingSave { may_overwrite: Some(useless.id.clone()), ..pending }));
                }
                Tried::MayComeBack => may_come_back = Some(sign_in),
                Tried::Useless => {}
            }
        }
        // If a sign-in may work later, the next attempt tries it again.
        if may_come_back.is_none() {
            state.rescued = Some(useless.id.clone());
        }
        Ok(None)
    }

    /// Records in a version's tags that the issuer rejects the version. If the rejection is final, later processes do
    /// not try the version.
    pub(super) async fn note_refusal(
        &self,
        state: &mut State,
        version: &Version,
        failure: &Failure,
        attempt: &mut Attempt,
    ) {
        let now = self.clock.now();
        let Some(tags) = schedule::refusal_tags(version, failure, now, now) else { return };
        state.note_vault_call(now);
        let update = SecretUpdate { enabled: None, tags: Some(tags) };
        if let Err(error) = self.vaults().update(&self.grant.secret, &version.id, &update, attempt.id).await {
            attempt.note(Event::TagsNotUpdated(version.id.clone(), error.to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
