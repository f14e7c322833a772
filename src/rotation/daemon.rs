//! One task per token: decide, wait for its turn, carry out one step, publish, wait; and a graceful stop.
//!
//! Owns the loop and nothing else. A stop cancels waits, and a step that holds nothing. No other step is cancelled.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ports::{Issuer, Resource, Vault};
use crate::process::clock::delta;
use crate::rotation::event::Event;
use crate::rotation::grace::{Grace, PAUSE};
use crate::rotation::liveness::Liveness;
use crate::rotation::rotate::Rotator;
use crate::rotation::schedule::Next;
use crate::rotation::state::{Inherited, State};
use crate::rotation::strict;
use crate::rotation::told::Told;

/// The longest wait, so that a suspended host or a changed clock is noticed without special code. Waking costs a few
/// comparisons. Part of promise 4 (docs/promises.md).
const LOOK_EVERY: Duration = Duration::from_secs(4 * 60);

/// The signals to a token's task: stop, and check now.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Stops the task, once nothing is unsaved.
    pub stop: CancellationToken,
    /// Any change makes the task check now. Its sender must outlive the tasks.
    pub reload: watch::Receiver<u64>,
    /// The marks of delivered alerts.
    pub told: Told,
}

/// Keeps one token alive until it is stopped; then continues only while a successor is unsaved. A stop cancels a step
/// that holds nothing, so it does not wait for a service that hangs.
///
/// `publish` is called with each new state, with what comes next, and with the events since the last call. `pulse`
/// beats at each turn of the loop: before each step, and at least each `LOOK_EVERY` while it waits for a time or for
/// its turn. Returns the last state, or `None` if a step was cancelled.
///
/// Not an `async fn`, which would hold its arguments twice for as long as the task lives.
pub fn keep<I, V, R>(
    mut rotator: Rotator<I, V, R>,
    mut state: State,
    signals: Signals,
    pulse: Liveness,
    publish: impl Fn(&State, &Next, &[Event]),
) -> impl Future<Output = Option<State>>
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    let Signals { stop, mut reload, told } = signals;
    async move {
        let mut is_news = true;
        let mut has_inherited = false;
        let mut events = Vec::new();
        let mut jumps = rotator.clock.jumps();
        let mut jumped = *jumps.borrow();
        while !stop.is_cancelled() || state.is_unsaved() {
            pulse.beat();
            let now = rotator.clock.now();
            let before = std::mem::replace(&mut jumped, *jumps.borrow_and_update());
            state.shift_waits(jumped.corrected - before.corrected);
            rotator.timing.correct(&mut state, now);
            is_news |= jumped != before;
            // The host slept, or its clock was set: only the vault knows the time now.
            if jumped.host != before.host {
                state = rotator.reload(state);
            }
            // The incidents that a sign-in ended are known once the versions were listed.
            if !has_inherited && state.newest.is_some() && state.inherited != Some(Inherited::SignIn) {
                has_inherited = true;
                if let Some(Inherited::Told(found)) = &state.inherited {
                    told.inherit(found);
                }
            }
            let newest = state.newest.as_ref().filter(|_| has_inherited);
            state.told = newest.and_then(|newest| told.on(&newest.tags));
            let next = rotator.timing.next(&state, now);
            if matches!(next, Next::Wait(_)) {
                rotator.turn = None;
                state.in_line = false;
            }
            if is_news {
                // Taken, not cleared, so that a waiting task keeps no memory for them.
                publish(&state, &next, &std::mem::take(&mut events));
            }
            is_news = true;
            match next {
                Next::Wait(at) if stop.is_cancelled() => {
                    rotator.clock.sleep_until(at.min(now + delta(PAUSE)), LOOK_EVERY).await;
                    state = rotator.hurry(state);
                }
                Next::Wait(at) => tokio::select! {
                    () = rotator.clock.sleep_until(at, LOOK_EVERY) => is_news = at <= rotator.clock.now(),
                    Ok(()) = reload.changed() => state = rotator.reload(state),
                    Ok(()) = jumps.changed() => {}
                    () = told.changed() => {}
                    () = stop.cancelled() => {}
                },
                // Boxed: a waiting task keeps memory for the state, but not for a step.
                step => {
                    if !Box::pin(in_turn(&mut rotator, &mut state, &step, &stop, &pulse, &publish)).await {
                        continue;
                    }
                    // The wait may have been long: this turn also answers requests that came meanwhile.
                    if reload.has_changed().unwrap_or_default() {
                        reload.mark_unchanged();
                        state = rotator.reload(state);
                        continue;
                    }
                    let (hold, token) = (rotator.hold.clone(), rotator.grant.name.clone());
                    tokio::select! {
                        biased;
                        done = Box::pin(rotator.step(state, step)) => {
                            for event in &done.events {
                                event.log(&token);
                            }
                            (state, events) = (done.state, done.events);
                            // The waits that a step begins already use the time that it has corrected.
                            jumped.corrected = jumps.borrow().corrected;
                        }
                        () = hold.may_end(&stop) => return None,
                    }
                }
            }
        }
        Some(state)
    }
}

/// Waits for the token's turn, with signs of life, and publishes once that it waits. Returns false if a stop ended the
/// wait, which happens only if nothing is held.
async fn in_turn<I, V, R>(
    rotator: &mut Rotator<I, V, R>,
    state: &mut State,
    next: &Next,
    stop: &CancellationToken,
    pulse: &Liveness,
    publish: &impl Fn(&State, &Next, &[Event]),
) -> bool
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    let (clock, held) = (rotator.clock.clone(), state.is_unsaved());
    let mut turn = std::pin::pin!(rotator.wait_turn(state, next));
    tokio::select! {
        biased;
        () = &mut turn => return true,
        () = std::future::ready(()) => {}
    }
    state.in_line = true;
    publish(state, next, &[]);
    loop {
        tokio::select! {
            biased;
            () = &mut turn => return true,
            () = stop.cancelled(), if !held => return false,
            () = tokio::time::sleep(clock.real(LOOK_EVERY)) => pulse.beat(),
        }
    }
}

/// Proves a token once. A `strict` one is retried within the grace period while nothing is redeemed and the obstacle
/// may pass: another process redeems it, or the vault is unreachable. For commands, which end.
pub async fn prove_within_grace<I, V, R>(
    rotator: &mut Rotator<I, V, R>,
    mut state: State,
    force: bool,
) -> State
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    let grace = Grace::begin();
    loop {
        let proved = Box::pin(rotator.prove_in_turn(state, force)).await;
        state = proved.logged(&rotator.grant.name);
        let waits = rotator.grant.strict && state.redemptions.is_empty() && state.outage.is_some();
        if !waits || !grace.allows_another().await {
            return state;
        }
    }
}

/// The state of a command that drops the only copy of a token: the token is lost, and only a sign-in replaces it.
pub fn own_up<I, V, R>(rotator: &Rotator<I, V, R>, mut state: State) -> State {
    let now = rotator.clock.now();
    match strict::lost(&mut state, now) {
        Some(lost) => rotator.timing.after_failure(state, lost, now, 0.0),
        None => state,
    }
}

/// Writes a command's findings into the version's tags, unless they are there.
pub async fn note<I, V, R>(rotator: &mut Rotator<I, V, R>, state: State) -> State
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    match rotator.timing.next(&state, rotator.clock.now()) {
        tags @ Next::UpdateTags(_) => Box::pin(rotator.step(state, tags)).await.logged(&rotator.grant.name),
        _ => state,
    }
}

/// Tries to save the held successor for the grace period at most, and only while `wanted` holds for the state. The
/// only copy of a token is retried until a stop, and for the grace period after it. For commands, which end.
pub async fn save_within_grace<I, V, R>(
    rotator: &mut Rotator<I, V, R>,
    mut state: State,
    stop: &CancellationToken,
    wanted: impl Fn(&State) -> bool,
) -> State
where
    I: Issuer + Sync,
    V: Vault + Sync,
    R: Resource + Sync,
{
    let mut grace = Grace::begin();
    while state.is_unsaved() {
        let stepped = Box::pin(rotator.step(state, Next::Save)).await;
        state = stepped.logged(&rotator.grant.name);
        if !state.is_unsaved() {
            break;
        }
        if state.holds_only_copy() && !stop.is_cancelled() {
            let pause = if Instant::now() < grace.ends_at() { PAUSE } else { strict::LOOK_EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => grace = Grace::begin(),
            }
        } else if !(wanted(&state) || state.holds_only_copy()) || !grace.allows_another().await {
            break;
        }
    }
    state
}

#[cfg(test)]
mod tests;
