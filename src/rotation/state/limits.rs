//! The daily limits of one token, under its policy.

use crate::token::managed::Policy;

/// The largest number of calls per token and day (promise 6, docs/promises.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub redemptions: usize,
    pub partner_center_calls: usize,
    /// This limit does not apply while the vault is checked every minute (`State::is_watching`).
    pub vault_calls: usize,
}

impl Limits {
    /// The usual limits.
    ///
    /// The limit of 24 redemptions a day overrides every other rule. The limit also overrides the shorter waits near
    /// the expiry (`schedule::retry_wait`). So in an outage of Entra, once a third of the 24 redemptions is used, the
    /// remaining redemptions are spread over the day (`Recent::spread_at`). The time between two redemptions is at most
    /// four hours on the first days of the outage, and one hour on later days. These redemptions are frequent enough to
    /// keep promise 1.
    const POLITE: Self = Self { redemptions: 24, partner_center_calls: 12, vault_calls: 60 };

    /// Returns the usual limits, or higher limits if the operator configured more proofs than the usual limits allow.
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

/// The number of vault calls that one step may need at once. The daily limit must not interrupt a step that has begun.
pub const VAULT_CALLS_A_STEP: usize = 8;
