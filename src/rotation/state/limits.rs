//! The daily limits of one token, under its policy.

use crate::token::managed::Policy;

/// The maximum per token and day (promise 6, docs/promises.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Redemptions.
    pub redemptions: usize,
    /// Requests to Partner Center.
    pub partner_center_calls: usize,
    /// Vault calls while no person must act.
    pub vault_calls: usize,
}

impl Limits {
    /// The limits under any policy.
    ///
    /// 24 redemptions a day win over every other rule, also over the shorter waits near the expiry
    /// (`schedule::retry_wait`). In an outage of Entra they are therefore spread over the day once a third is used
    /// (`Recent::spread_at`): gaps are at most four hours on the first days, and an hour from then on. Promise 1
    /// relies on no more.
    const POLITE: Self = Self { redemptions: 24, partner_center_calls: 12, vault_calls: 60 };

    /// The usual limits, or higher ones if the operator configured more proofs than fit.
    pub fn of(policy: &Policy) -> Self {
        const DAY_SECONDS: u64 = 86_400;
        let proofs = usize::try_from(DAY_SECONDS / policy.prove_every.as_secs().max(1)).unwrap_or(usize::MAX);
        let rotations =
            usize::try_from(DAY_SECONDS / policy.rotate_after.as_secs().max(1)).unwrap_or(usize::MAX);
        let steps = proofs.saturating_add(rotations);
        if steps < Self::POLITE.partner_center_calls {
            return Self::POLITE;
        }
        Self {
            redemptions: Self::POLITE.redemptions.max(2 * steps),
            partner_center_calls: Self::POLITE.partner_center_calls.max(2 * steps),
            vault_calls: Self::POLITE.vault_calls.max(VAULT_CALLS_A_STEP * steps),
        }
    }
}

/// The calls that a step may need at once, so that the limit does not stop it half-way.
pub const VAULT_CALLS_A_STEP: usize = 8;
