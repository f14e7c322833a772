//! Going back in a secret's history: to a sign-in that was buried, to a predecessor of a useless value.
//!
//! Owns the order of calls; `save` owns what a list of versions means.

use tracing::debug;
use tracing::warn;
use uuid::Uuid;

use super::Attempt;
use super::Proof;
use super::Rotator;
use super::unusable_value;
use crate::failure::About;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::failure::Remedy;
use crate::ports::Change;
use crate::ports::Issuer;
use crate::ports::Resource;
use crate::ports::Vault;
use crate::ports::VaultError;
use crate::save;
use crate::save::Ties;
use crate::schedule;
use crate::state::Found;
use crate::state::Held;
use crate::state::State;
use crate::version::Stored;
use crate::version::Version;
use crate::version::rfc3339;
use crate::version::tag;

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Searches the history of a version of ours that this process has not searched before: another
    /// process may have died between its write and its list.
    pub(super) async fn find_buried(
        &self,
        state: &mut State,
        newest: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<Held>, Failure> {
        if newest.redeemed_from().is_none() {
            if state.found == Some(Found::SignIn) {
                self.find_ended(state, newest, attempt.id).await;
            }
            return Ok(None);
        }
        if state.searched.as_ref() == Some(&newest.id) {
            return Ok(None);
        }
        let versions = match self.list(state, state.calls_of_a_rotation(), attempt.id).await {
            Ok(versions) => versions,
            // No reason not to prove what is there; the next proof searches again.
            Err(failure) => {
                warn!(event = "history_unread", token = %self.grant.name, reason = failure.summary,
                    "the versions could not be listed, so a buried sign-in would not be noticed");
                return Ok(None);
            }
        };
        let mut dead = Vec::new();
        while let Some(buried) = save::buried_under(newest, &versions, &dead, Ties::Never) {
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

    /// Lists the versions, unless today has no room for this many calls, those of the list and of what follows from
    /// it: a list can be waited for.
    pub(super) async fn list(
        &self,
        state: &mut State,
        room: usize,
        id: Uuid,
    ) -> Result<Vec<Version>, Failure> {
        let now = self.clock.now();
        if self.timing.room_for_vault_calls(state, room, now) > now {
            let summary = "today's calls to the vault are used up: a long list of versions has to wait";
            return Err(Failure::new(Kind::Overdue, Remedy::Retry { after: None }, About::History, summary));
        }
        let listed = self.vault.versions(&self.grant.secret, id).await;
        // What kept them from being listed is over, and nothing else is.
        if listed.is_ok() && state.failing.as_ref().is_some_and(|known| known.failure.about == About::History)
        {
            state.failing = None;
        }
        // Each proof of a strict token is a rotation: if that waited for its list, it would be proved ever more rarely.
        if let Ok(versions) = &listed
            && !self.grant.strict
        {
            state.listed = versions.len();
        }
        let calls = listed.as_ref().map_or(1, |_| state.calls_of_a_list());
        state.note_vault_calls(calls, now);
        listed.map_err(|error| self.unlisted(&error))
    }

    /// Reads and redeems a version that is not the newest; `None`, and a mark on it, if it is of no use.
    pub(super) async fn redeem_version(
        &self,
        state: &mut State,
        version: &Version,
        attempt: &mut Attempt,
    ) -> Result<Option<(Stored, Proof)>, Failure> {
        state.note_vault_call(self.clock.now());
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
            // It works, but brings no successor that could be put on top.
            Err(failure) if failure.kind == Kind::NoRefreshToken => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Tries the youngest predecessors of a value that is no usable token at all, once for each such
    /// value, and never over a foreign version younger than a day.
    pub(super) async fn rescue(
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
        let versions = self.list(state, state.calls_of_a_rotation(), attempt.id).await?;
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
    pub(super) async fn note_dead(&self, state: &mut State, version: &Version, failure: &Failure, id: Uuid) {
        let now = self.clock.now();
        let mut tags = version.tags.clone();
        tags.insert(tag::REFUSED_AT, &rfc3339(now));
        tags.insert(tag::REFUSED_KIND, failure.kind.as_str());
        tags.remove(tag::VERDICT);
        state.note_vault_call(now);
        let change = Change { enabled: None, tags: Some(tags) };
        if let Err(error) = self.vault.update(&self.grant.secret, &version.id, &change, id).await {
            debug!(event = "mark_failed", token = %self.grant.name, version = %version.id, reason = %error);
        }
    }

    /// Looks what a sign-in ended that was made while no daemon was there: it stands on the version before.
    async fn find_ended(&self, state: &mut State, sign_in: &Version, id: Uuid) {
        match self.list(state, state.calls_of_a_rotation(), id).await {
            Ok(versions) => state.found = Found::before(sign_in, &versions),
            // The next proof looks again.
            Err(failure) => {
                debug!(event = "history_unread", token = %self.grant.name, reason = failure.summary);
            }
        }
    }

    pub(super) fn report_buried(&self, state: &mut State, buried: &Version, under: &Version) {
        state.unburied_at = Some(self.clock.now());
        warn!(event = "buried_sign_in", token = %self.grant.name, version = %buried.id, under = %under.id,
            "a sign-in was written over by a rotation in flight; it works and is put back on top");
    }
}
