//! Lets only one caller at a time use a cold vault. A vault is cold until it has accepted this process's access token.
//!
//! A call to a cold vault also needs a request for the challenge and a request for an access token. Without this
//! module, ten simultaneous callers would each send these two requests.
//!
//! Invariant: if the first call fails, all callers that wait for this call get the same error, and send no calls of
//! their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::ports::VaultError;

/// The gate of one vault's client. The gate is closed until a call shows that the vault has accepted this process's
/// access token.
#[derive(Debug, Default)]
pub(super) struct WarmUp {
    open: AtomicBool,
    /// The last failure. A caller of a cold vault holds this lock during its call.
    turn: Mutex<Option<VaultError>>,
    failures: AtomicU64,
}

impl WarmUp {
    /// Makes a call. While the gate is closed, only one call runs at a time. A caller that waited for a failed call
    /// gets the same failure and makes no call.
    pub(super) async fn through<T>(
        &self,
        call: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        if self.open.load(Ordering::Acquire) {
            return call.await;
        }
        let failures = self.failures.load(Ordering::Acquire);
        let mut turn = self.turn.lock().await;
        if self.open.load(Ordering::Acquire) {
            drop(turn);
            return call.await;
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(error) = &*turn
        {
            return Err(error.clone());
        }
        let answer = call.await;
        match &answer {
            Err(error) if !shows_acceptance(error) => {
                *turn = Some(error.clone());
                self.failures.fetch_add(1, Ordering::Release);
            }
            _ => self.open.store(true, Ordering::Release),
        }
        answer
    }
}

/// Whether this error shows that the vault accepted the access token.
fn shows_acceptance(error: &VaultError) -> bool {
    match error {
        VaultError::Forbidden(_)
        | VaultError::Disabled
        | VaultError::NotFound
        | VaultError::Deleted
        | VaultError::InTransition
        | VaultError::Rejected { .. } => true,
        VaultError::Unreachable(_)
        | VaultError::Unavailable { .. }
        | VaultError::NoIdentity { .. }
        | VaultError::Unauthorized { .. }
        | VaultError::NotUnderstood => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;

    #[tokio::test]
    async fn callers_of_a_cold_vault_wait_for_the_first() {
        let gate = WarmUp::default();
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let call = || async {
            most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            assert!(gate.open.load(Ordering::Relaxed) || under_way.load(Ordering::Relaxed) == 1);
            tokio::task::yield_now().await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        };

        let answers = join_all((0..10).map(|_| gate.through(call()))).await;

        assert!(answers.iter().all(Result::is_ok));
        assert!(most.load(Ordering::Relaxed) > 1, "once it is warm they go together");
    }

    #[tokio::test]
    async fn a_silent_vault_is_asked_once_for_all_waiting_callers() {
        let gate = WarmUp::default();
        let asked = AtomicUsize::new(0);
        let call = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err::<(), _>(VaultError::Unauthorized { akv: None })
        };

        let answers = join_all((0..10).map(|_| gate.through(call()))).await;

        assert!(answers.iter().all(|answer| *answer == Err(VaultError::Unauthorized { akv: None })));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        gate.through(call()).await.expect_err("the next who comes asks again");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_rejection_after_authentication_opens_the_gate() {
        let gate = WarmUp::default();

        gate.through(async { Err::<(), _>(VaultError::NotFound) }).await.expect_err("not found");

        assert!(gate.open.load(Ordering::Relaxed));
    }
}
