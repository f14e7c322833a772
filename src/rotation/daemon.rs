//! The loop of one token's task. The loop decides the next step, waits for its turn, carries out the step, and
//! publishes the state.
//!
//! This module owns only the loop. A stop request cancels a wait or a step only if the cancellation loses no token.

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

/// The longest wait of the loop. After each wait, the loop reads the clock. So the loop soon notices that the host
/// slept or that its clock was set. A wake-up is cheap, so the limit can be short. Promise 4 (docs/promises.md) depends
/// on this limit.
const LOOK_EVERY: Duration = Duration::from_secs(4 * 60);

/// The signals to a token's task. They request a stop or a check of the token, and tell the task which alerts were
/// delivered.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Requests that the task stops as soon as it holds no unsaved successor.
    pub stop: CancellationToken,
    /// Each change of this value makes the task check the token now.
    pub reload: watch::Receiver<u64>,
    /// The alerts about this token that sinks have received, as marks for the tag `told`.
    pub told: Told,
}

/// Runs the loop of one token until a stop request. After the stop request, the task continues only while a successor
/// is unsaved. The stop request cancels a running step, unless the step holds a successor. If the step waits for the
/// answer to a redemption, the answer has one more second to arrive (`Hold::may_end`). So a service that does not
/// answer cannot delay the stop for long.
///
/// The loop calls `publish` with each new state, the next step, and the events since the last call. The loop calls
/// `pulse` before each step. During a wait, it calls `pulse` at least once in `LOOK_EVERY`. Returns the last state, or
/// `None` if the stop request canceled a step.
///
/// This function is not an `async fn`, because the future of an `async fn` would store each argument twice until the
/// task ends.
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
            // The host slept, or its clock was set. Until the next answer of the vault, the current time is uncertain.
            // So the task checks the token at once.
            if jumped.host != before.host {
                state = rotator.reload(state);
            }
            // If the newest version is a sign-in, the marks of delivered alerts are on an older version. So the task
            // copies these marks only after it has listed the versions (`Inherited::SignIn`).
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
                // The future of the step is boxed. So a task that waits needs no memory for this future.
                step => {
                    if !Box::pin(in_turn(&mut rotator, &mut state, &step, &stop, &pulse, &publish)).await {
                        continue;
                    }
                    // Reload requests may have arrived during the wait for the turn. So the loop decides again, and its
                    // next step also serves these requests.
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
                            // A step may correct the clock. After the correction, the step sets its waits in the
                            // corrected time. So the next pass of the loop must not shift these waits.
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

/// Waits for the token's turn. If the step cannot begin at once, publishes the token's state once, and records signs of
/// life during the wait. Returns false if a stop request ended the wait. A stop request ends the wait only if the task
/// holds no successor.
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

/// Proves a token for a command. If a transient failure prevents the redemption of a `strict` token, tries again within
/// the grace period. Examples of such failures are an unreachable vault and another process that redeems the token.
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

/// Returns the state after a command has dropped the only copy of a token. This token is lost, so the state requests a
/// new sign-in.
pub fn own_up<I, V, R>(rotator: &Rotator<I, V, R>, mut state: State) -> State {
    let now = rotator.clock.now();
    match strict::lost(&mut state, now) {
        Some(lost) => rotator.timing.after_failure(state, lost, now, 0.0),
        None => state,
    }
}

/// Writes a command's findings into the version's tags, unless the tags already contain these findings.
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
/// If the successor is the only copy of the token, tries until a stop request, and then for the grace period. Only
/// commands use this function.
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
