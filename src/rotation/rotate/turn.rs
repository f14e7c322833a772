//! A token's turn: the permits for its next step.
//!
//! This module owns which permits a step needs, and when. `pace` owns the limits, and `turns` owns the waiting.
//!
//! A rotation takes the permit for its new version before its redemption. After the redemption, the process holds a
//! successor that it must be able to write at once. For a `strict` token, this successor may be the only valid copy of
//! the token.

use std::time::Duration;

use super::{Attempt, Rotator};
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, Resource, Vault};
use crate::rotation::event::Stepped;
use crate::rotation::pace::{LOOP_SPAN, Limited, Redeemer, hash};
use crate::rotation::paced::Paced;
use crate::rotation::schedule;
use crate::rotation::schedule::Next;
use crate::rotation::state::State;
use crate::rotation::turns::{Needs, Permit};
use crate::token::version::Version;

/// The maximum time that a running step waits for a permit for another redemption. After this time, the redemptions
/// from before the wait no longer count toward the limit.
const FURTHER_WITHIN: Duration = LOOP_SPAN.saturating_add(Duration::from_secs(60));

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Waits until this token has all permits for the step. If the wait is canceled, the token holds no permit.
    pub fn wait_turn(&mut self, state: &State, next: &Next) -> impl Future<Output = ()> + use<'_, I, V, R> {
        let (needs, urgent) = (self.needs(state, next, false), state.is_unsaved());
        self.wait_turn_for(needs, urgent)
    }

    async fn wait_turn_for(&mut self, needs: Needs, urgent: bool) {
        let turn = self.turn.take().unwrap_or_default();
        let turn = self.turns.complete(*turn, needs, hash(&self.grant.secret.vault), urgent).await;
        self.turn = Some(Box::new(turn));
    }

    /// Waits for the token's turn, and then proves the token. The wait has no time limit.
    pub async fn prove_in_turn(&mut self, mut state: State, force: bool) -> Stepped {
        let mut events = Vec::new();
        loop {
            Box::pin(self.wait_turn_for(self.needs(&state, &Next::Prove, force), false)).await;
            let mut stepped = Box::pin(self.prove(state, force)).await;
            events.append(&mut stepped.events);
            if !stepped.state.in_line {
                return Stepped { events, ..stepped };
            }
            state = stepped.state;
        }
    }

    /// Returns the permits that the next step needs for a redemption and for a new version. Each step also needs
    /// permits for the limits `Steps` and `Vault`, which this function leaves out. Before the first read, Perennial
    /// does not know whether a rotation is due. Perennial also does not know the user unless the configuration names
    /// the user. So the step begins without the permits that depend on these facts, and takes them after the read
    /// (`may_go_on`).
    fn needs(&self, state: &State, next: &Next, force: bool) -> Needs {
        if *next != Next::Prove {
            return Needs::default();
        }
        let newest = state.newest.as_ref();
        let is_known = newest.is_some() || self.grant.user_oid.is_some();
        let redeemer = || Redeemer::of(&self.grant, newest, state.facts.as_deref());
        let is_due = |version: &&Version| {
            let may_be = force || self.grant.strict;
            may_be || self.timing.rotation_is_due(version, state, self.clock.now())
        };
        let rotates = newest.filter(|_| !schedule::is_same_token(state)).as_ref().is_some_and(is_due);
        Needs {
            redemption: is_known.then(redeemer),
            new_version: rotates.then(|| hash(&self.grant.secret.vault)),
        }
    }

    /// Whether the token has all permits for the version that was just read, or gets the missing permits at once. If
    /// not, the token waits for its turn again.
    pub(super) fn may_go_on(&mut self, state: &mut State, force: bool, attempt: &mut Attempt) -> bool {
        let needs = self.needs(state, &Next::Prove, force);
        let turn = self.turn.get_or_insert_default();
        state.in_line = !self.turns.add_at_once(turn, needs);
        if !state.in_line {
            attempt.redemption = turn.redemption.take();
        }
        !state.in_line
    }

    /// Returns the permit for one redemption: the step's first permit, or a further one. A token that waits for a
    /// further permit comes before the tokens that have not begun their step.
    pub(super) async fn redemption_permit(
        &self,
        redeemer: Redeemer,
        attempt: &mut Attempt,
    ) -> Result<Option<Permit>, Failure> {
        let what = Limited::Redemptions(redeemer);
        if attempt.redemption.as_ref().is_some_and(|permit| permit.is(what)) {
            return Ok(attempt.redemption.take());
        }
        self.turns.take_within(FURTHER_WITHIN, what).await.map_err(|_| {
            let summary = "Perennial has reached its limit of redemptions for this user and app, so Perennial retries later";
            Failure::new(Kind::EntraThrottled, Remedy::Retry, FailureSubject::Grant, summary)
        })
    }

    pub(super) async fn new_version_permit(&self, attempt: &mut Attempt) -> Option<Permit> {
        match attempt.new_version.take() {
            Some(permit) => Some(permit),
            None => self.turns.take(Limited::NewVersions(hash(&self.grant.secret.vault)), true).await,
        }
    }

    /// Returns the vaults, with their limits applied.
    pub(crate) fn vaults(&self) -> Paced<'_, V> {
        Paced { vault: &self.vault, turns: &self.turns, urgent: self.hold.is_successor() }
    }
}

#[cfg(test)]
mod tests;
