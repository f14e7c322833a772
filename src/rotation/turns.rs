//! Turns: the order in which a process's tokens use the shared limits of `pace`. Tokens that hold a successor take
//! precedence.
//!
//! A token's task waits here for its turn before the task begins a step. In the queue for a limit, only the first token
//! asks for a permit. So even ten thousand waiting tokens need little processor time.
//!
//! This module measures time with `Clock::uptime`, because a correction of the host's clock does not change the uptime.
//! The uptime stops while the host sleeps, and runs faster in the demo.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Line, Notify};
use tokio::time::error::Elapsed;

use super::pace::{Limited, Redeemer, Usage};
use crate::process::clock::Clock;

/// How long a token waits before it asks for a permit again, if the time of the next free permit is unknown. A returned
/// permit wakes only the tokens that wait for the same limit. But redemptions of unknown users also count against the
/// limit of each known user of the app. So the return of one permit can free a permit of another limit, whose waiting
/// tokens are not woken.
const AGAIN: Duration = Duration::from_secs(1);

/// The turns of one process. Cloning is cheap, and all clones share the same limits. The default value has no limits.
#[derive(Clone, Debug, Default)]
pub struct Turns(Option<Arc<TurnsState>>);

#[derive(Debug)]
struct TurnsState {
    clock: Clock,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    usage: Usage,
    /// One queue for each limit at which tokens wait.
    queues: BTreeMap<Limited, Arc<Queue>>,
}

/// The tokens that wait for one limit.
#[derive(Debug, Default)]
struct Queue {
    urgent: Line<()>,
    ordinary: Line<()>,
    /// The number of waiting tokens whose request is urgent.
    hurried: AtomicUsize,
    freed: Notify,
}

/// A permit for one request or step. Dropping the permit gives it back.
#[derive(Debug)]
pub struct Permit {
    turns: Arc<TurnsState>,
    what: Limited,
    was_used: bool,
}

/// The redemption and the new version for which a step needs permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The user and app of the redemption, if the step redeems a token.
    pub redemption: Option<Redeemer>,
    /// The vault that receives a new version, if the step writes one.
    pub new_version: Option<u64>,
}

/// A token's permits for its steps. The token gives them back when none of its steps is due.
#[derive(Debug, Default)]
pub struct Turn {
    step: Option<Permit>,
    vault: Option<Permit>,
    /// The permit for the redemption, if the turn has one.
    pub redemption: Option<Permit>,
    /// The permit for the new version, if the turn has one.
    pub new_version: Option<Permit>,
}

impl Turn {
    /// Whether the turn has all permits for these needs.
    pub fn covers(&self, needs: Needs) -> bool {
        let has = |permit: &Option<Permit>, what: Option<Limited>| {
            what.is_none_or(|what| permit.as_ref().is_some_and(|permit| permit.what == what))
        };
        has(&self.redemption, needs.redemption.map(Limited::Redemptions))
            && has(&self.new_version, needs.new_version.map(Limited::NewVersions))
    }
}

impl Turns {
    /// Creates the turns of a process. `clock` measures the time.
    pub fn new(clock: Clock) -> Self {
        Self(Some(Arc::new(TurnsState { clock, shared: Mutex::default() })))
    }

    /// Adds the permits for a step. Takes the permits with the longest waits first. All tokens need a permit of
    /// `Limited::Steps`. So this function takes that permit last, and does not hold it during the other waits.
    pub async fn complete(&self, mut turn: Turn, needs: Needs, vault: u64, urgent: bool) -> Turn {
        if self.0.is_none() || (turn.step.is_some() && turn.covers(needs)) {
            return turn;
        }
        (turn.step, turn.vault) = (None, None);
        if let Some(redeemer) = needs.redemption
            && !turn.covers(Needs { new_version: None, ..needs })
        {
            turn.redemption = self.take(Limited::Redemptions(redeemer), urgent).await;
        }
        // The turn has the permit for the redemption now, so only the permit for the new version can be missing.
        if let Some(vault) = needs.new_version
            && !turn.covers(needs)
        {
            turn.new_version = self.take(Limited::NewVersions(vault), urgent).await;
        }
        turn.vault = self.take(Limited::Vault(vault), urgent).await;
        turn.step = self.take(Limited::Steps, urgent).await;
        turn
    }

    /// Adds further permits if they are free now. Returns whether all of them were free.
    pub fn add_at_once(&self, turn: &mut Turn, needs: Needs) -> bool {
        let Some(turns) = &self.0 else { return true };
        if let Some(redeemer) = needs.redemption
            && !turn.covers(Needs { new_version: None, ..needs })
        {
            turn.redemption = turns.take_at_once(Limited::Redemptions(redeemer));
        }
        if let Some(vault) = needs.new_version
            && !turn.covers(Needs { redemption: None, ..needs })
        {
            turn.new_version = turns.take_at_once(Limited::NewVersions(vault));
        }
        turn.covers(needs)
    }

    /// Waits for a permit in the order of the requests. An urgent request takes precedence over the others. Returns
    /// `None` if there are no limits.
    pub async fn take(&self, what: Limited, urgent: bool) -> Option<Permit> {
        let turns = self.0.as_ref()?;
        if let Some(permit) = turns.take_at_once(what) {
            return Some(permit);
        }
        Some(turns.take_in_line(what, urgent).await)
    }

    /// Waits at most `span` for a permit. The request takes precedence over all requests that are not urgent.
    ///
    /// # Errors
    /// Returns an error if no permit became free in time.
    pub async fn take_within(&self, span: Duration, what: Limited) -> Result<Option<Permit>, Elapsed> {
        let Some(turns) = &self.0 else { return Ok(None) };
        if let Some(permit) = turns.take_at_once(what) {
            return Ok(Some(permit));
        }
        tokio::time::timeout(turns.clock.real(span), turns.take_in_line(what, true)).await.map(Some)
    }

    /// Counts requests that were sent without a permit.
    pub fn note(&self, what: Limited, count: usize) {
        if let Some(turns) = &self.0 {
            turns.lock().usage.note(what, count, turns.now());
        }
    }

    /// For `span`, gives permits only to urgent requests, because the service has asked for a pause.
    pub fn pause(&self, what: Limited, span: Duration) {
        if let Some(turns) = &self.0 {
            turns.lock().usage.pause(what, turns.now().saturating_add(span));
        }
    }
}

impl TurnsState {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // If another thread has panicked, the lock is still usable, because each statement leaves the value consistent.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.uptime().to_std().unwrap_or_default()
    }

    /// Takes a permit if one is free and no other token waits for this limit.
    fn take_at_once(self: &Arc<Self>, what: Limited) -> Option<Permit> {
        let mut shared = self.lock();
        if shared.queues.contains_key(&what) {
            return None;
        }
        shared.usage.take(what, false, self.now()).ok().map(|()| self.permit(what))
    }

    fn permit(self: &Arc<Self>, what: Limited) -> Permit {
        Permit { turns: self.clone(), what, was_used: false }
    }

    async fn take_in_line(self: &Arc<Self>, what: Limited, urgent: bool) -> Permit {
        let place = self.stand(what, urgent);
        let line = if urgent { &place.queue.urgent } else { &place.queue.ordinary };
        let _first = line.lock().await;
        loop {
            let mut freed = std::pin::pin!(place.queue.freed.notified());
            // The token registers for returned permits before it looks for a free permit. So the token also notices a
            // permit that is returned just before the wait begins.
            freed.as_mut().enable();
            let wait = match self.look(what, urgent, &place.queue) {
                Ok(permit) => return permit,
                Err(wait) => wait,
            };
            let _again = tokio::time::timeout(self.clock.real(wait), freed).await;
        }
    }

    /// Takes a permit if one is free and no other token takes precedence. Otherwise returns how long to wait.
    fn look(self: &Arc<Self>, what: Limited, urgent: bool, queue: &Queue) -> Result<Permit, Duration> {
        if !urgent && queue.hurried.load(Ordering::Relaxed) > 0 {
            return Err(AGAIN);
        }
        let now = self.now();
        let taken = self.lock().usage.take(what, urgent, now);
        match taken {
            Ok(()) => Ok(self.permit(what)),
            Err(Some(at)) => Err(at.saturating_sub(now)),
            Err(None) => Err(AGAIN),
        }
    }

    fn stand(self: &Arc<Self>, what: Limited, urgent: bool) -> Waiting {
        let queue = self.lock().queues.entry(what).or_default().clone();
        if urgent {
            queue.hurried.fetch_add(1, Ordering::Relaxed);
        }
        Waiting { turns: self.clone(), what, urgent, queue }
    }
}

/// A place in a queue. When this value is dropped, the token leaves the queue.
struct Waiting {
    turns: Arc<TurnsState>,
    what: Limited,
    urgent: bool,
    queue: Arc<Queue>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.urgent {
            self.queue.hurried.fetch_sub(1, Ordering::Relaxed);
            self.queue.freed.notify_waiters();
        }
        let mut shared = self.turns.lock();
        // The map holds one reference to the queue, this value holds one, and each other waiting token holds one. If
        // there are only two references, no other token waits, so the queue is removed.
        if Arc::strong_count(&self.queue) == 2 {
            shared.queues.remove(&self.what);
        }
    }
}

impl Permit {
    /// Whether the permit belongs to this limit.
    pub fn is(&self, what: Limited) -> bool {
        self.what == what
    }

    /// Marks the permit as used. Callers do this just before they send the request. A permit that is returned unused no
    /// longer counts against the limit.
    pub fn begin(&mut self) {
        self.was_used = true;
    }

    /// Moves the permit to the limit of the user that the answer names. The permit was taken for an unknown user.
    pub fn belongs_to(&mut self, user_oid: &str) {
        let Limited::Redemptions(redeemer) = self.what else { return };
        let to = Limited::Redemptions(redeemer.with_user(user_oid));
        self.turns.lock().usage.carry(self.what, to);
        self.what = to;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shared = self.turns.lock();
        shared.usage.give_back(self.what, self.was_used, self.turns.now());
        if let Some(queue) = shared.queues.get(&self.what) {
            queue.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
