//! A rotator with peers in memory, for unit tests of the steps. Each step shows its calls and its events.

use super::Rotator;
use super::samples::{Peers, start};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::event::{Event, Stepped};
use crate::rotation::schedule::Next;
use crate::rotation::state::State;
use crate::token::managed::ManagedToken;

/// A rotator and the state of its token. After each step, `step` checks that the daily limits count each call to the
/// vault.
pub(crate) struct Lab<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) rotator: Rotator<&'a Peers, &'a Peers, &'a Peers>,
    pub(crate) state: State,
    /// The calls of the last step.
    pub(crate) calls: Vec<String>,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(peers: &'a Peers, change: impl FnOnce(&mut ManagedToken)) -> Self {
        let rotator = peers.rotator(change);
        Self { peers, rotator, state: State::unknown(start()), calls: Vec::new() }
    }

    /// Carries out one step. Returns the names of its events.
    pub(crate) async fn step(&mut self, next: Next) -> Vec<String> {
        let now = self.rotator.clock.now();
        let before = counted(&self.state, now);
        let state = std::mem::replace(&mut self.state, State::unknown(now));
        let Stepped { state, events } = self.rotator.step(state, next).await;
        self.state = state;
        self.calls = self.peers.calls();
        let others = ["redeem", "authenticate", "ask"];
        let to_vault = self.calls.iter().filter(|call| !others.iter().any(|other| call.starts_with(other)));
        let counted = counted(&self.state, self.rotator.clock.now()) - before;
        assert_eq!(counted, to_vault.count(), "counted of {:?}", self.calls);
        events.iter().map(name).collect()
    }

    /// The kind of the open failure.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.state.failure().map(|failure| failure.kind)
    }

    /// The held successor's value.
    pub(crate) fn held(&mut self) -> Option<String> {
        self.state.pending().map(|pending| pending.successor.token.expose().to_owned())
    }
}

/// Returns the number of vault calls that the daily limits count now.
fn counted(state: &State, now: Timestamp) -> usize {
    let is_full = |limit: &usize| state.vault_calls.room_at(*limit + 1, 1, now) > now;
    let has_room = |calls: &usize| state.watch.room_at(*calls, now) <= now;
    (0..1_000).take_while(is_full).count() + 87 - (1..=87).take_while(has_room).count()
}

fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.chars().take_while(|char| char.is_alphanumeric()).collect()
}
