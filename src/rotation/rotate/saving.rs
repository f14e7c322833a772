//! Writes a held successor to the vault. A save reads the newest version again and either yields to another writer or
//! writes. After a write, the save lists the versions, restores a buried sign-in, and disables replaced versions.
//!
//! This module owns the order of the calls. `save` interprets the answers.
//!
//! While Perennial holds a successor, it redeems only the versions of other writers. So Perennial notices a revoked
//! grant only after the save. If something blocks the save, Perennial reports this at once.
//!
//! Invariant: a held successor stays in the state until the vault shows it. No failure during the save can lose the
//! successor.

use super::history::Tried;
use super::{Attempt, Proof, Rotator};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, Resource, SecretUpdate, Vault};
use crate::rotation::event::{Event, Stepped};
use crate::rotation::holds::Stake;
use crate::rotation::save::{AfterList, AfterRead};
use crate::rotation::state::{PendingSave, Phase, State};
use crate::rotation::{save, schedule};
use crate::token::rotation_id;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Provenance, Stored, Version, VersionId};

/// The maximum number of passes in one save. If another writer keeps writing, the new token may still be unsaved after
/// these passes. The save then continues after a pause.
const MAX_ROUNDS: usize = 6;

/// The result of one pass of a save.
enum Pass {
    /// The save needs another pass, possibly with a different successor.
    Again,
    /// The vault shows the version that Perennial wrote, and this version buries no sign-in that works.
    Saved(Version),
    /// Another writer's version is the newest one and works. Perennial drops its own successor and continues with that
    /// version.
    LetGo(Version),
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Makes the next attempt to save due at once, because a stop was requested.
    pub fn hurry(&self, mut state: State) -> State {
        state.try_again_at(self.clock.now());
        state
    }

    /// Continues until the held successor is saved or dropped, or until the save must wait.
    pub async fn save(&mut self, mut state: State) -> Stepped {
        let Some(pending) = state.pending() else { return Stepped { state, events: Vec::new() } };
        let mut attempt = Attempt::new(pending.successor.rotation_id);
        attempt.new_version = self.turn.as_mut().and_then(|turn| turn.new_version.take());
        let done = self.try_save(&mut state, &mut attempt).await;
        self.done(state, done, attempt)
    }

    async fn try_save(&mut self, state: &mut State, attempt: &mut Attempt) -> Result<(), Failure> {
        for _ in 0..MAX_ROUNDS {
            let Some(pending) = state.pending() else { return Ok(()) };
            let pass = match pending.written.clone() {
                None => self.bring(state, attempt).await?,
                Some(written) => self.confirm(state, &written, attempt).await?,
            };
            match pass {
                Pass::Again => {}
                Pass::Saved(version) => self.saved(state, version, attempt),
                Pass::LetGo(version) => let_go(state, version),
            }
        }
        if !state.is_unsaved() {
            return Ok(());
        }
        let summary = "another writer keeps writing this secret while Perennial saves the new token";
        Err(Failure::new(Kind::ForeignWriter, Remedy::Retry, FailureSubject::Token, summary))
    }

    /// Reads the newest version again. Writes the successor only if the newest version has the redeemed value or may be
    /// replaced (`save.rs`).
    async fn bring(&mut self, state: &mut State, attempt: &mut Attempt) -> Result<Pass, Failure> {
        let newest = self.read_newest(state, attempt).await?;
        let Some(pending) = state.pending() else { return Ok(Pass::Again) };
        pending.read_at = newest.read_at;
        match save::after_read(pending, &newest) {
            AfterRead::AlreadyThere => pending.written = Some(newest.version.id),
            AfterRead::Write => {
                let withheld = pending.withheld.clone();
                if newest.refresh_token() == pending.successor.redeemed_value {
                    let version = newest.version.clone();
                    let before = std::mem::replace(&mut pending.successor.redeemed, version);
                    state.carry_facts(&before.id, &newest.version.id);
                }
                let hindered = match withheld {
                    Some(failure) => Some(failure),
                    None => self.write(state, &newest.version, attempt).await.err().map(Box::new),
                };
                if let Some(failure) = hindered {
                    Box::pin(self.renew_mark(state, &newest.version, attempt)).await;
                    return Err(*failure);
                }
            }
            AfterRead::Theirs => return self.give_way(state, newest, attempt).await,
        }
        Ok(Pass::Again)
    }

    async fn write(&self, state: &mut State, newest: &Version, attempt: &mut Attempt) -> Result<(), Failure> {
        let mut permit = self.new_version_permit(attempt).await;
        state.note_vault_call(self.clock.now());
        let Phase::Unsaved(pending) = &state.phase else { return Ok(()) };
        let successor = &pending.successor;
        let facts = state.facts.as_ref().filter(|facts| facts.version == successor.redeemed.id);
        let verdict = facts.and_then(|facts| facts.heard_since(successor.issued_at));
        // The new version gets the foreign tags of both the redeemed version and the version that is the newest now.
        let mut foreign: Tags = newest.tags.iter().chain(successor.redeemed.tags.iter()).collect();
        // The new version also gets the marks of recently delivered alerts, since both older versions may still lack
        // these marks.
        if let Some(told) = &state.told {
            told.put(&mut foreign);
        }
        let (new, dropped) = NewVersion::compose(
            &successor.token,
            self.timing.policy().lifetime,
            &Provenance {
                command: self.command,
                issued_at: successor.issued_at,
                signed_in_at: successor.redeemed.signed_in_at(),
                tenant_id: &self.grant.tenant_id,
                client_id: &successor.client_id,
                user_oid: successor.user_oid.as_deref(),
                redeemed_from: Some(&successor.redeemed.id),
                verdict: verdict.map(|noted| (noted.word(), noted.at)),
                foreign,
                rotation_id: successor.rotation_id,
            },
        );
        if !dropped.is_empty() {
            attempt.note(Event::TagsDropped(dropped.join(",")));
        }
        if let Some(permit) = &mut permit {
            permit.begin();
        }
        let written = self.vaults().write(&self.grant.secret, &new, successor.rotation_id).await;
        let written = written.map_err(|error| self.own(state, &error))?;
        if let Some(pending) = state.pending() {
            pending.written = Some(written.id);
        }
        Ok(())
    }

    /// Redeems another writer's version that has become the newest version, before Perennial writes its own version. If
    /// the other writer's version works, Perennial drops its own successor and continues with that version. Perennial
    /// replaces that version only if that version is invalid for good.
    async fn give_way(
        &mut self,
        state: &mut State,
        theirs: Stored,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let version = &theirs.version;
        match self.redeem_theirs(state, &theirs, attempt).await {
            Ok(Proof { mut successor, access_token }) => {
                let now = successor.issued_at;
                attempt.note(Event::YieldedToNewerVersion(version.id.clone()));
                state.facts_of(&version.id).proved_at = Some(now);
                self.ask_resource(state, &version.id, &access_token, attempt).await;
                if !self.grant.strict && !self.timing.rotation_is_due(version, state, now) {
                    return Ok(Pass::LetGo(theirs.version));
                }
                attempt.id = rotation_id();
                successor.rotation_id = attempt.id;
                state.phase = Phase::Unsaved(Box::new(PendingSave::of(successor)));
                Ok(Pass::Again)
            }
            Err(failure) if schedule::is_final(&failure, version, self.clock.now()) => {
                self.note_refusal(state, version, &failure, attempt).await;
                if let Some(pending) = state.pending() {
                    pending.dead.push(theirs.version.id);
                }
                Ok(Pass::Again)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Checks the write: lists the versions and restores a buried sign-in. If no buried sign-in is left to try,
    /// disables replaced versions.
    async fn confirm(
        &mut self,
        state: &mut State,
        written: &VersionId,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let versions = self.list(state, state.calls_of_a_save(), attempt.id).await?;
        let Some(pending) = state.pending() else { return Ok(Pass::Again) };
        let retire = match save::after_list(pending, &versions) {
            AfterList::NotSeen => {
                pending.written = None;
                let summary = "Key Vault confirmed the new version, but does not list it";
                return Err(Failure::new(Kind::Unsaved, Remedy::Retry, FailureSubject::Token, summary));
            }
            AfterList::Buried(buried) => {
                // The successor of the buried sign-in may replace the written version. After that, the written version,
                // or the sign-in that it descends from, could look buried. For example, a tool may copy the written
                // version's tags in the same second. The written version then looks like a sign-in. `seen` prevents
                // this save from restoring the written version or its sign-in.
                let ours = versions.iter().find(|version| version.id == *written);
                pending.seen.push(written.clone());
                pending.seen.extend(ours.map(|ours| save::sign_in_of(ours, &versions).id.clone()));
                return self.lift(state, &buried, (written, &versions), attempt).await;
            }
            AfterList::Settled { retire } => retire,
        };
        // The vault shows the successor, so the process may stop now. The remaining calls only disable old versions.
        self.hold.set(Stake::Nothing);
        for old in retire {
            state.note_vault_call(self.clock.now());
            let update = SecretUpdate { enabled: Some(false), tags: None };
            if let Err(error) = self.vaults().update(&self.grant.secret, &old, &update, attempt.id).await {
                attempt.note(Event::RetireFailed(old, error.to_string()));
            }
        }
        let ours = versions.into_iter().find(|version| version.id == *written);
        Ok(Pass::Saved(ours.expect("the list contains the written version")))
    }

    /// Redeems a buried sign-in, and holds the sign-in's successor for the next pass. This successor may replace the
    /// version that buries the sign-in.
    async fn lift(
        &mut self,
        state: &mut State,
        buried: &Version,
        (written, versions): (&VersionId, &[Version]),
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let turn = self.redeem_buried(state, buried, (written, versions), attempt).await?;
        let Some(pending) = state.pending() else { return Ok(Pass::Again) };
        let Tried::Works(mut successor) = turn else {
            pending.seen.push(buried.id.clone());
            return Ok(Pass::Again);
        };
        attempt.id = rotation_id();
        successor.rotation_id = attempt.id;
        let (dead, seen) = (std::mem::take(&mut pending.dead), std::mem::take(&mut pending.seen));
        let next =
            PendingSave { may_overwrite: Some(written.clone()), dead, seen, ..PendingSave::of(*successor) };
        state.phase = Phase::Unsaved(Box::new(next));
        Ok(Pass::Again)
    }

    fn saved(&self, state: &mut State, version: Version, attempt: &mut Attempt) {
        let Some(PendingSave { successor, .. }) = state.pending() else { return };
        let (redeemed, issued_at) = (successor.redeemed.clone(), successor.issued_at);
        let rotated = (redeemed.id.clone(), version.id.clone(), successor.rotation_id);
        attempt.note(Event::Rotated(rotated.0, rotated.1, rotated.2));
        let now = self.clock.now();
        if !redeemed.is_ours() {
            state.foreign_rotated_at = Some(now);
        }
        state.last_rotation_at = Some(now);
        // The facts about the redeemed version come from this rotation, so they also apply to the new version.
        state.carry_facts(&redeemed.id, &version.id);
        state.facts_of(&version.id).proved_at = Some(issued_at);
        state.searched = Some(version.id.clone());
        let_go(state, version);
    }
}

/// Ends the save. After that, no successor is pending, and the state is that of a token whose newest version works.
fn let_go(state: &mut State, newest: Version) {
    state.claim = None;
    state.newest = Some(newest);
    state.clear_failures();
    state.phase = Phase::Current;
}

#[cfg(test)]
mod tests;
