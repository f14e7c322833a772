//! One task per token: decide, wait for its turn, carry out one step, publish, wait; and a graceful stop.
//!
//! Owns the loop and nothing else. Waits are cancelled, and at a stop a step that holds nothing; no other step is.

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

/// No wait is longer, so that a suspended host or a stepped clock is noticed without special code.
/// Waking costs a few comparisons. Part of promise 4 (docs/promises.md).
const LOOK_EVERY: Duration = Duration::from_secs(4 * 60);

/// How a token's task is told to stop, and to look now.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Stop, once nothing is unsaved.
    pub stop: CancellationToken,
    /// Look now: any change of it. Its sender must outlive the tasks.
    pub reload: watch::Receiver<u64>,
    /// What the sinks have been told.
    pub told: Told,
}

/// Keeps one token alive until it is told to stop; then goes on only while a successor is unsaved. A step that holds
/// nothing is given up then: whatever hangs, a stop does not wait for it.
///
/// `publish` is called with each new state, with what comes next, and with what has happened since the last call; `pulse` beats at each turn of the loop:
/// before each step, and at least each `LOOK_EVERY` while it waits for a time or for its turn. Returns the last state, or nothing where a step was
/// given up.
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
            // The host slept, or its clock was set: what time it is only the vault can say.
            if jumped.host != before.host {
                state = rotator.reload(state);
            }
            // What a sign-in ended is known once the versions were listed.
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
                // Taken and not cleared: a waiting task keeps no room for them.
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
                // Boxed: a waiting task keeps the state and not the room for a step.
                step => {
                    if !Box::pin(in_turn(&mut rotator, &mut state, &step, &stop, &pulse, &publish)).await {
                        continue;
                    }
                    // It may have waited for long: what was asked meanwhile is done with this turn.
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
                            // The waits that a step begins are begun by the time as it has corrected it.
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

/// Waits until it is the token's turn for a step, showing life, and publishes once that it waits. Says whether it is: a
/// stop ends the wait where nothing is held.
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

/// Proves a token once. A `strict` one is tried for the grace while nothing is redeemed and what hinders it may pass: another
/// process redeems it, or the vault is down. For commands, which end.
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

/// The state of a command that gives up the only copy of a token: that is a loss, which only a sign-in cures.
pub fn own_up<I, V, R>(rotator: &Rotator<I, V, R>, mut state: State) -> State {
    let now = rotator.clock.now();
    match strict::lost(&mut state, now) {
        Some(lost) => rotator.timing.after_failure(state, lost, now, 0.0),
        None => state,
    }
}

/// Notes in the version's tags what a command found out, where they do not say so yet.
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

/// Tries to save what is held, for the grace at most, and only while `wanted` holds of the state. The only copy of a token
/// it tries to save until a stop is asked for, and for the grace after that. For commands, which end.
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
