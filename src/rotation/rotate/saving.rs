//! Bringing a held successor into the vault: re-read, give way or write, list, lift what was buried,
//! retire what has served.
//!
//! Owns the order of calls; `save` owns what the answers mean.

use tracing::{info, warn};

use super::history::Turn;
use super::{Attempt, Rotator};
use crate::ports::failure::{About, Failure, Kind, Remedy};
use crate::ports::{Change, Issuer, Resource, Vault};
use crate::rotation::holds::Stake;
use crate::rotation::save::{AfterList, AfterRead};
use crate::rotation::state::{Held, Phase, State};
use crate::rotation::{save, schedule};
use crate::token::rotation_id;
use crate::token::version::{Provenance, Stored, Version, VersionId, compose};

/// A save that gives way more often than this is racing a writer in a loop: it rests first.
const MAX_ROUNDS: usize = 6;

/// Where one pass over a held successor led.
enum Pass {
    /// Go on with this one.
    Again(Box<Held>),
    /// The vault shows our version, and nothing is buried.
    Saved(Box<Held>, Version),
    /// Somebody else's version works and is the chain; ours is let go.
    LetGo(Version),
}

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// What is held is tried again at once: a stop has been asked for.
    pub fn hurry(&self, mut state: State) -> State {
        if let Some(failing) = &mut state.failing {
            failing.retry_at = self.clock.now();
        }
        state
    }

    /// Goes on saving the held successor until it is saved, given way, or must wait.
    pub async fn save(&mut self, mut state: State) -> State {
        let Phase::Unsaved(held) = state.phase.clone() else { return state };
        let mut held = held;
        let attempt = &mut Attempt { id: held.rotation_id, credential: None };
        for _ in 0..MAX_ROUNDS {
            // The state always holds the latest successor: a failure below must not lose it.
            state.phase = Phase::Unsaved(held.clone());
            let pass = match held.written.clone() {
                None => self.bring(&mut state, held, attempt).await,
                Some(written) => self.confirm(&mut state, held, &written, attempt).await,
            };
            match pass {
                Ok(Pass::Again(next)) => held = next,
                Ok(Pass::Saved(held, version)) => return self.saved(state, &held, version),
                Ok(Pass::LetGo(version)) => return let_go(state, version),
                Err(failure) => return self.unsaved(state, failure),
            }
        }
        state.phase = Phase::Unsaved(held);
        let summary = "somebody else keeps writing this secret while its successor is being saved";
        let about = About::Token;
        let failure = Failure::new(Kind::ForeignWriter, Remedy::Retry, about, summary);
        self.unsaved(state, failure)
    }

    /// Rule 1: re-read; write only over what was redeemed or is settled to be of no use.
    async fn bring(
        &mut self,
        state: &mut State,
        mut held: Box<Held>,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let newest = self.read_newest(state, attempt.id).await?;
        held.read_at = newest.read_at;
        match save::after_read(&held, &newest) {
            AfterRead::AlreadyThere => {
                held.written = Some(newest.version.id.clone());
            }
            AfterRead::Write => {
                if newest.refresh_token() == held.from_value {
                    held.from = newest.version.clone();
                }
                held.written = Some(self.write(state, &held, &newest.version).await?);
            }
            AfterRead::Theirs => return self.give_way(state, held, newest, attempt).await,
        }
        Ok(Pass::Again(held))
    }

    async fn write(&self, state: &mut State, held: &Held, newest: &Version) -> Result<VersionId, Failure> {
        // Foreign tags come from what is on top now; where the token comes from is `held.from`.
        let mut from = held.from.clone();
        from.tags = newest.tags.iter().chain(held.from.tags.iter()).collect();
        let provenance = Provenance {
            command: self.command,
            issued_at: held.issued_at,
            tenant_id: &self.grant.tenant_id,
            client_id: &held.client_id,
            user_oid: held.user_oid.as_deref(),
            redeemed_from: Some(&from),
            verdict: state.heard_since(held.issued_at).map(|noted| (noted.word(), noted.at)),
            replaces: None,
            rotation_id: held.rotation_id,
        };
        let (new, dropped) = compose(held.successor.clone(), self.timing.policy().lifetime, &provenance);
        if !dropped.is_empty() {
            warn!(event = "tags_dropped", token = %self.grant.name, tags = dropped.join(","),
                "these tags do not fit beside Perennial's and are left out of the new version");
        }
        state.note_vault_call(self.clock.now());
        let written = self.vault.write(&self.grant.secret, &new, held.rotation_id).await;
        let version = written.map_err(|error| self.own(&error))?;
        Ok(version.id)
    }

    /// Theirs is redeemed before ours is written: if it works it is the chain, and only if it is known to be
    /// of no use for good may ours be written over it.
    async fn give_way(
        &mut self,
        state: &mut State,
        mut held: Box<Held>,
        theirs: Stored,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        match self.redeem_theirs(state, &theirs, attempt).await {
            Ok(proof) => {
                let now = proof.issued_at;
                info!(event = "gave_way", token = %self.grant.name, version = %theirs.version.id,
                    "somebody else's version works and is kept");
                state.proved_at = Some(now);
                self.ask_resource(state, &proof.redeemed.access_token, attempt.id).await;
                let due = self.grant.strict || self.timing.rotation_is_due(&theirs.version, state, now);
                if due {
                    attempt.id = rotation_id();
                    return Ok(Pass::Again(Box::new(Self::hold(&theirs, proof, attempt.id))));
                }
                Ok(Pass::LetGo(theirs.version))
            }
            Err(failure) if schedule::is_final(&failure, &theirs.version, self.clock.now()) => {
                self.note_refusal(state, &theirs.version, &failure, attempt.id).await;
                held.dead.push(theirs.version.id);
                Ok(Pass::Again(held))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Rules 2 and 3: list; lift a buried sign-in; else retire what has served.
    async fn confirm(
        &mut self,
        state: &mut State,
        mut held: Box<Held>,
        written: &VersionId,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let versions = self.list(state, state.calls_of_a_save(), attempt.id).await?;
        let retire = match save::after_list(&held, &versions) {
            AfterList::NotSeen => {
                held.written = None;
                state.phase = Phase::Unsaved(held);
                let summary = "the vault acknowledged the new version but does not show it";
                let about = About::Token;
                return Err(Failure::new(Kind::Unsaved, Remedy::Retry, about, summary));
            }
            AfterList::Buried(buried) => {
                // Its chain has been on top: within this save it is not put there again, not even where a copy
                // of its tags from the same second makes a sign-in of it.
                let ours = versions.iter().find(|version| version.id == *written);
                held.seen.push(written.clone());
                held.seen.extend(ours.map(|ours| save::sign_in_of(ours, &versions).id.clone()));
                return self.lift(state, held, &buried, written, attempt).await;
            }
            AfterList::Settled { retire } => retire,
        };
        // The vault shows the successor: what is left to do is tidying up.
        self.hold.set(Stake::Nothing);
        for old in &retire {
            state.note_vault_call(self.clock.now());
            let change = Change { enabled: Some(false), tags: None };
            if let Err(error) = self.vault.update(&self.grant.secret, old, &change, attempt.id).await {
                warn!(event = "retire_failed", token = %self.grant.name, version = %old, reason = %error,
                    "an old version could not be disabled; the next rotation tries again");
            }
        }
        let ours = versions.into_iter().find(|version| version.id == *written);
        Ok(Pass::Saved(held, ours.expect("settled means that it was found in this list")))
    }

    /// Puts the successor of a buried sign-in on top of the version that buries it.
    async fn lift(
        &mut self,
        state: &mut State,
        mut held: Box<Held>,
        buried: &Version,
        written: &VersionId,
        attempt: &mut Attempt,
    ) -> Result<Pass, Failure> {
        let Turn::Works(works) = self.redeem_buried(state, buried, written, attempt).await? else {
            held.seen.push(buried.id.clone());
            return Ok(Pass::Again(held));
        };
        let (stored, proof) = *works;
        attempt.id = rotation_id();
        let mut next = Self::hold(&stored, proof, attempt.id);
        next.over = Some(written.clone());
        next.dead = held.dead;
        next.seen = held.seen;
        Ok(Pass::Again(Box::new(next)))
    }

    fn saved(&self, mut state: State, held: &Held, version: Version) -> State {
        info!(event = "rotated", token = %self.grant.name, from = %held.from.id, to = %version.id,
            rotation_id = %held.rotation_id);
        let now = self.clock.now();
        if !held.from.is_ours() {
            state.foreign_rotated_at = Some(now);
        }
        state.last_rotation_at = Some(now);
        state.proved_at = Some(held.issued_at);
        state.searched = Some(version.id.clone());
        state.newest = Some(version);
        state.failing = None;
        state.phase = Phase::Current;
        state
    }

    fn unsaved(&mut self, state: State, failure: Failure) -> State {
        if failure.kind == Kind::TurnedOff {
            self.turned_off(state, failure)
        } else {
            self.failed(state, failure)
        }
    }
}

fn let_go(mut state: State, theirs: Version) -> State {
    state.newest = Some(theirs);
    state.failing = None;
    state.phase = Phase::Current;
    state
}
