//! The loop of one app's renewal: it decides, carries out one step, publishes the state, and waits.
//!
//! A stop request ends the loop at once, because the old secret still works. If a new secret is not saved yet, the loop
//! first removes this secret, unless Entra answers too late.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::directory::Directory;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::ports::{Issuer, Vault};
use crate::renewal::look::Reason;
use crate::renewal::renewer::Renewer;
use crate::renewal::schedule::RenewalStep;
use crate::renewal::state::{RenewalAttempt, RenewalState};

/// The longest wait of the loop. Since no wait is longer, the loop soon notices that the host was suspended, without
/// special code.
const WAKE_EVERY: TimeDelta = TimeDelta::minutes(4);

/// The longest time that a stop waits for the removal of a new secret.
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// Renews an app's client secret whenever it is due, until a stop request. Calls `publish` with each new state. Each
/// change of `reload` makes the task read the vault and the app registration at once.
pub async fn keep_renewed<I, V, D>(
    renewer: Renewer<I, V, D>,
    stop: CancellationToken,
    mut reload: watch::Receiver<u64>,
    publish: impl Fn(&RenewalState),
) where
    I: Issuer + Sync,
    V: Vault + Sync,
    D: Directory + Sync,
{
    let mut state = RenewalState::default();
    while !stop.is_cancelled() {
        let up = renewer.clock.uptime();
        let next = renewer.target.next(&state, up);
        publish(&state);
        match next {
            RenewalStep::Wait(until) => {
                let span = (until - up).min(WAKE_EVERY).to_std().unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(renewer.clock.real(span)) => {}
                    Ok(()) = reload.changed() => state.hurry(),
                    () = stop.cancelled() => {}
                }
            }
            next => tokio::select! {
                () = Box::pin(renewer.step(&mut state, &next)) => {}
                () = stop.cancelled() => {}
            },
        }
    }
    withdraw(&renewer, &mut state).await;
}

/// Renews an app's client secret now, even if it is not due. The renewal takes a quarter of an hour or more. A stop
/// request ends the renewal, and the old secret stays in use.
///
/// # Errors
/// Returns why no new secret was saved in the vault.
pub async fn renew_now<I, V, D>(renewer: &Renewer<I, V, D>, stop: &CancellationToken) -> Result<(), Failure>
where
    I: Issuer + Sync,
    V: Vault + Sync,
    D: Directory + Sync,
{
    let mut state = RenewalState::default();
    loop {
        let up = renewer.clock.uptime();
        let next = renewer.target.next(&state, up);
        let is_trying = state.attempt.is_some();
        match &next {
            RenewalStep::Wait(until) if is_trying && !stop.is_cancelled() => {
                let span = (*until - up).to_std().unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(renewer.clock.real(span)) => {}
                    () = stop.cancelled() => {}
                }
            }
            next => Box::pin(renewer.step(&mut state, next)).await,
        }
        if next == RenewalStep::Save && state.attempt.is_none() {
            return Ok(());
        }
        let failed = state.troubles.values().next().map(|trouble| trouble.failure.clone());
        if stop.is_cancelled()
            || (state.attempt.is_none() && (failed.is_some() || matches!(next, RenewalStep::Wait(_))))
        {
            withdraw(renewer, &mut state).await;
            return Err(failed.unwrap_or_else(stopped));
        }
    }
}

fn stopped() -> Failure {
    let summary = "the renewal was stopped before the new client secret was saved";
    Failure::new(Kind::AppCredentialRenewalFailed, Remedy::Operator, FailureSubject::AppCredential, summary)
}

/// Removes a new secret that is not saved yet, unless Entra answers too late.
async fn withdraw<I, V, D>(renewer: &Renewer<I, V, D>, state: &mut RenewalState)
where
    I: Issuer + Sync,
    V: Vault + Sync,
    D: Directory + Sync,
{
    if let Some(RenewalAttempt::New(new)) = &state.attempt
        && !new.was_sent
    {
        let removal = RenewalStep::Remove(new.key_id, Reason::NotSaved);
        // If the removal fails, the secret is an orphan, which a later process removes.
        let _in_time = tokio::time::timeout(REMOVED_WITHIN, Box::pin(renewer.step(state, &removal))).await;
    }
}
