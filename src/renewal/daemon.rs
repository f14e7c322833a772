//! The loop of one app's renewal. Each pass decides the next step, publishes the state, and carries out the step or
//! waits.
//!
//! A stop request ends the loop at once, because the old secret still works. At this time, Entra may list a new secret
//! that is not in the vault yet. Perennial then tries for at most `REMOVED_WITHIN` to remove this secret at Entra.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ports::certificate_store::CertificateStore;
use crate::ports::directory::Directory;
use crate::ports::failure::{Failure, Remedy};
use crate::ports::{Issuer, Vault};
use crate::process::clock::Clock;
use crate::renewal::certificate::renewer::CertificateRenewer;
use crate::renewal::certificate::schedule::{self as certificate, CertificateStep};
use crate::renewal::certificate::state::CertificateState;
use crate::renewal::health::{RenewalHealth, RenewalTrouble, failure};
use crate::renewal::look::Reason;
use crate::renewal::renewer::Renewer;
use crate::renewal::schedule::RenewalStep;
use crate::renewal::state::{RenewalAttempt, RenewalState};

/// The longest wait of the loop. Since the longest wait is short, the loop soon notices that the host was suspended.
const WAKE_EVERY: TimeDelta = TimeDelta::minutes(4);

/// The longest time for the removal of a new secret after a stop request.
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// The operations with which the loop renews one credential.
pub trait Renewal {
    type State: Default + Send;
    type Step: PartialEq + Send + Sync;

    fn clock(&self) -> &Clock;

    /// Decides the next step at the uptime `up`.
    fn next(&self, state: &Self::State, up: TimeDelta) -> Self::Step;

    /// Returns the uptime until which a step waits. `None` if the step is not a wait.
    fn waits_until(step: &Self::Step) -> Option<TimeDelta>;

    /// Carries out one step. A failure is recorded in the state.
    fn carry_out(&self, state: &mut Self::State, step: &Self::Step) -> impl Future<Output = ()> + Send;

    /// Ends the wait after a failure, and makes the next step a look.
    fn hurry(state: &mut Self::State);

    /// When the renewal stops, removes a new credential that must not stay at Entra. Gives up if Entra does not answer
    /// in time.
    fn withdraw(&self, state: &mut Self::State) -> impl Future<Output = ()> + Send;

    fn health(state: &Self::State) -> &RenewalHealth;

    /// Whether a new credential has been requested or created and is not in use yet.
    fn is_under_way(state: &Self::State) -> bool;

    /// Whether the new credential can be used after this step.
    fn is_done_by(step: &Self::Step, state: &Self::State) -> bool;
}

/// Renews an app's credential whenever it is due, until a stop request. Calls `publish` with each new state. Each
/// change of `reload` makes the task read the vault and the app registration at once.
pub async fn keep_renewed<R: Renewal>(
    renewal: R,
    stop: CancellationToken,
    mut reload: watch::Receiver<u64>,
    publish: impl Fn(&R::State),
) {
    let mut state = R::State::default();
    while !stop.is_cancelled() {
        let up = renewal.clock().uptime();
        let next = renewal.next(&state, up);
        publish(&state);
        if let Some(until) = R::waits_until(&next) {
            let span = (until - up).min(WAKE_EVERY).to_std().unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(renewal.clock().real(span)) => {}
                Ok(()) = reload.changed() => R::hurry(&mut state),
                () = stop.cancelled() => {}
            }
        } else {
            tokio::select! {
                () = Box::pin(renewal.carry_out(&mut state, &next)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    renewal.withdraw(&mut state).await;
}

/// Renews an app's credential now, even if it is not due. The renewal takes a quarter of an hour or more. A stop
/// request ends the renewal, and the old credential stays in use.
///
/// # Errors
/// Returns why Perennial uses no new credential.
pub async fn renew_now<R: Renewal>(renewal: &R, stop: &CancellationToken) -> Result<(), Failure> {
    let mut state = R::State::default();
    loop {
        let up = renewal.clock().uptime();
        let next = renewal.next(&state, up);
        let is_trying = R::is_under_way(&state);
        let waits_until = R::waits_until(&next);
        match waits_until {
            Some(until) if is_trying && !stop.is_cancelled() => {
                let span = (until - up).to_std().unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(renewal.clock().real(span)) => {}
                    () = stop.cancelled() => {}
                }
            }
            _ => Box::pin(renewal.carry_out(&mut state, &next)).await,
        }
        if R::is_done_by(&next, &state) {
            return Ok(());
        }
        let needs_person = |failure: &&Failure| failure.remedy == Remedy::Operator;
        let mut failures = R::health(&state).troubles.values().map(|trouble| &trouble.failure);
        // A failure that only a person can fix ends the command, because waiting does not help.
        let stuck = failures.clone().find(needs_person);
        let is_stuck = stuck.is_some();
        let failed = stuck.or_else(|| failures.next()).cloned();
        let is_over = !R::is_under_way(&state) && (failed.is_some() || waits_until.is_some());
        if stop.is_cancelled() || is_over || is_stuck {
            renewal.withdraw(&mut state).await;
            return Err(failed.unwrap_or_else(stopped));
        }
    }
}

fn stopped() -> Failure {
    failure(Remedy::Operator, "the renewal was stopped before the new credential could be used")
}

impl<I: Issuer + Sync, V: Vault + Sync, D: Directory + Sync> Renewal for Renewer<I, V, D> {
    type State = RenewalState;
    type Step = RenewalStep;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn next(&self, state: &RenewalState, up: TimeDelta) -> RenewalStep {
        self.target.next(state, up)
    }

    fn waits_until(step: &RenewalStep) -> Option<TimeDelta> {
        if let RenewalStep::Wait(until) = step { Some(*until) } else { None }
    }

    async fn carry_out(&self, state: &mut RenewalState, step: &RenewalStep) {
        self.step(state, step).await;
    }

    fn hurry(state: &mut RenewalState) {
        state.hurry();
    }

    async fn withdraw(&self, state: &mut RenewalState) {
        let removal = match &state.attempt {
            Some(RenewalAttempt::New(new)) if !new.was_sent => {
                RenewalStep::Remove(new.key_id, Reason::NotSaved)
            }
            Some(RenewalAttempt::Unwanted { key_id, reason }) => RenewalStep::Remove(*key_id, *reason),
            _ => return,
        };
        // If the removal fails, the secret is an orphan, which a later process removes.
        let _in_time = tokio::time::timeout(REMOVED_WITHIN, Box::pin(self.step(state, &removal))).await;
    }

    fn health(state: &RenewalState) -> &RenewalHealth {
        &state.health
    }

    fn is_under_way(state: &RenewalState) -> bool {
        state.attempt.is_some()
    }

    fn is_done_by(step: &RenewalStep, state: &RenewalState) -> bool {
        *step == RenewalStep::Save && state.attempt.is_none()
    }
}

impl<I, V, D> Renewal for CertificateRenewer<I, V, D>
where
    I: Issuer + Sync,
    V: Vault + CertificateStore + Sync,
    D: Directory + Sync,
{
    type State = CertificateState;
    type Step = CertificateStep;

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn next(&self, state: &CertificateState, up: TimeDelta) -> CertificateStep {
        certificate::next(&self.0.target, state, up)
    }

    fn waits_until(step: &CertificateStep) -> Option<TimeDelta> {
        if let CertificateStep::Wait(until) = step { Some(*until) } else { None }
    }

    async fn carry_out(&self, state: &mut CertificateState, step: &CertificateStep) {
        self.step(state, step).await;
    }

    fn hurry(state: &mut CertificateState) {
        state.hurry();
    }

    /// A new version stays in the vault. The next process continues the renewal with this version.
    async fn withdraw(&self, _: &mut CertificateState) {}

    fn health(state: &CertificateState) -> &RenewalHealth {
        &state.health
    }

    fn is_under_way(state: &CertificateState) -> bool {
        let is_new = state.look.as_ref().is_some_and(|look| look.newest.version.accepted_at().is_none());
        let passes = |trouble: &RenewalTrouble| trouble.failure.remedy == Remedy::Retry;
        match &state.trial {
            Some(_) => state.health.troubles.values().all(passes),
            None => state.health.troubles.is_empty() && (is_new || !state.created.is_empty()),
        }
    }

    fn is_done_by(step: &CertificateStep, state: &CertificateState) -> bool {
        *step == CertificateStep::Mark && state.health.troubles.is_empty()
    }
}
