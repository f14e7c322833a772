//! What a clock that was wrong has left in a state, put right.
//!
//! Pure. Each instant of a state has its line here, so that none of them can make a token sleep.

use chrono::TimeDelta;

use super::{AGAIN_AFTER, LONGEST, LONGEST_WATCH, MARK_AGAIN_AFTER, Timing};
use crate::process::clock::{Timestamp, delta};
use crate::rotation::state::{Phase, State};

impl Timing {
    /// Corrects what was noted by a clock that was wrong: nothing that has happened lies after `now`, and no wait is
    /// longer than one of its kind that begins now. `turn` is the longest that a token waits for its first proof.
    pub fn correct(&self, state: &mut State, turn: TimeDelta, now: Timestamp) {
        let State {
            phase,
            newest: _,
            found: _,
            searched: _,
            listed: _,
            proved_at,
            last_rotation_at,
            failing,
            acceptance: _,
            verdict_at,
            verdict_since,
            foreign_rotated_at,
            rescued: _,
            unverified,
            refused,
            unburied_at,
            user_oid: _,
            // The vault's word, or the configuration's.
            app_secret_expires: _,
            credential_read_at,
            credential_used: _,
            mark_after,
            redemptions,
            questions,
            vault_calls,
        } = state;
        match phase {
            Phase::Unproved { due_at } => *due_at = (*due_at).min(now + turn),
            Phase::Waiting { look_at, again_at } => {
                *look_at = (*look_at).min(now + LONGEST_WATCH);
                *again_at = (*again_at).min(now + AGAIN_AFTER);
            }
            Phase::Off { look_at } => *look_at = (*look_at).min(now + LONGEST_WATCH),
            // What is held is redeemed already; when it is written is `failing`'s to say.
            Phase::Current | Phase::Unsaved(_) => {}
        }
        if let Some(failing) = failing {
            failing.since = failing.since.min(now);
            failing.retry_at = failing.retry_at.min(now + delta(LONGEST));
        }
        if let Some((_, since)) = unverified {
            *since = (*since).min(now);
        }
        for refused in refused {
            refused.at = refused.at.min(now);
        }
        let past = [
            proved_at,
            last_rotation_at,
            verdict_at,
            verdict_since,
            foreign_rotated_at,
            unburied_at,
            credential_read_at,
        ];
        for at in past.into_iter().flatten() {
            *at = (*at).min(now);
        }
        *mark_after = mark_after.map(|at| at.min(now + MARK_AGAIN_AFTER));
        for noted in [redemptions, questions, vault_calls] {
            noted.forget_after(now);
        }
    }
}
