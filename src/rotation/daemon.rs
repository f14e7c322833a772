//! The loop of one token's task. The loop decides, waits for its turn, carries out one step, publishes the state, and
//! waits. A stop ends the loop in order.
//!
//! Owns the loop and nothing else. A stop cancels waits, and cancels a step whose loss costs nothing. No other step is
//! cancelled.

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

/// The longest wait of the loop. Short waits notice a suspended host or a changed clock without special code. One
/// wake-up costs a few comparisons. Part of promise 4 (docs/promises.md).
const LOOK_EVERY: Duration = Duration::from_secs(4 * 60);

/// The signals to a token's task: to stop, and to check the token now.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Stops the task once no successor is unsaved.
    pub stop: CancellationToken,
    /// Each change of this value makes the task check the token now. The sender must outlive the tasks.
    pub reload: watch::Receiver<u64>,
    /// The marks of the alerts that sinks have received about this token.
    pub told: Told,
}

/// Keeps one token alive until a stop. After the stop, the task continues only while a successor is unsaved. A stop
/// cancels a step that holds neither a successor nor an answer. So a stop does not wait for a service that hangs.
///
/// The loop calls `publish` with each new state, the next step, and the events since the last call. The loop calls
/// `pulse` before each step, and at least each `LOOK_EVERY` during a wait. Returns the last state, or `None` if the
/// stop cancelled a step.
///
/// This is not an `async fn`. An `async fn` would store its arguments twice for as long as the task lives.
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
            // The host slept, or its clock was set. Only the vault knows the time now.
            if jumped.host != before.host {
                state = rotator.reload(state);
            }
            // A list of the versions shows which incidents a sign-in ended.
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
                // `take` frees the memory of the events. `clear` would keep the memory while the task waits.
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
                // The step is boxed, so that a waiting task keeps memory for the state but not for a step.
                step => {
                    if !Box::pin(in_turn(&mut rotator, &mut state, &step, &stop, &pulse, &publish)).await {
                        continue;
                    }
                    // The wait may have been long. This turn also answers reload requests that came during the wait.
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
                            // A step may correct the time. The waits that the step begins already use the corrected
                            // time.
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

/// Waits for the token's turn and keeps its pulse beating. Publishes once that the token waits. Returns false if a stop
/// ended the wait. A stop ends the wait only if the token holds nothing.
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

/// Proves a token once. Only commands use this. Retries a `strict` token within the grace period if nothing was
/// redeemed and the obstacle is transient. Transient obstacles are another process that redeems the token, and an
/// unreachable vault.
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

/// Returns the state after a command has dropped the only copy of a token. The token is lost, and only a new sign-in
/// replaces it.
pub fn own_up<I, V, R>(rotator: &Rotator<I, V, R>, mut state: State) -> State {
    let now = rotator.clock.now();
    match strict::lost(&mut state, now) {
        Some(lost) => rotator.timing.after_failure(state, lost, now, 0.0),
        None => state,
    }
}

/// Writes a command's findings into the version's tags, unless the tags already hold these findings.
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

/// Tries to save the held successor for at most the grace period, and only while `wanted` returns true for the state.
/// Retries the only copy of a token until a stop, and then for the grace period. Only commands use this.
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
