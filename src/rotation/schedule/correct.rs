//! Corrects the times that a wrong clock has left in a state.
//!
//! This module is pure. The function `correct` names each field of a state, so that the compiler reports a new field
//! that `correct` omits. An uncorrected time far in the future would delay the steps of the token.

use super::{AGAIN_AFTER, LONGEST, LONGEST_WATCH, MARK_AGAIN_AFTER, Timing};
use crate::process::clock::{Timestamp, delta};
use crate::rotation::state::{Blocked, Facts, ForeignWriter, OlderCredential, Outage, Phase, State, Verdict};

impl Timing {
    /// Corrects times that came from a wrong clock. Afterwards, no past event is later than `now`, and no wait is
    /// longer than a wait of the same kind that begins now.
    pub fn correct(&self, state: &mut State, now: Timestamp) {
        let State {
            phase,
            newest: _,
            facts,
            inherited: _,
            told: _,
            searched: _,
            listed: _,
            last_rotation_at,
            blocked,
            outage,
            foreign_rotated_at,
            foreign_writer,
            rescued: _,
            refused,
            unburied_at,
            // This time comes from the vault or the configuration, so a wrong clock does not change it.
            app_secret_expires: _,
            credential_read_at,
            credential_used: _,
            identity_expiry: _,
            older_credential,
            older_tried,
            claim: _,
            sighted,
            in_line: _,
            mark_after,
            redemptions,
            partner_center_calls,
            vault_calls,
            watch,
        } = state;
        let longest = match phase {
            Phase::Unsaved(_) => delta(LONGEST),
            Phase::Unproved { .. } | Phase::Current => AGAIN_AFTER,
        };
        if let Phase::Unproved { due_at } = phase {
            // An early proof does no harm. If the token has a failure, this time has no effect, because the times of
            // the failure apply.
            *due_at = (*due_at).min(now);
        }
        if let Some(Blocked {
            failure: _,
            since,
            version: _,
            next_check_at,
            again_at,
            checks: _,
            is_confirmed: _,
        }) = blocked.as_deref_mut()
        {
            *since = (*since).min(now);
            *next_check_at = (*next_check_at).min(now + LONGEST_WATCH);
            *again_at = (*again_at).min(now + longest);
        }
        if let Some(Outage { failure: _, since, attempts: _, retry_at }) = outage.as_deref_mut() {
            *since = (*since).min(now);
            *retry_at = (*retry_at).min(now + delta(LONGEST));
        }
        if let Some(Facts { version: _, proved_at, user_oid: _, unverified, verdict, same_token_at }) =
            facts.as_deref_mut()
        {
            *proved_at = proved_at.map(|at| at.min(now));
            *same_token_at = same_token_at.map(|at| at.min(now));
            if let Some((_, since)) = unverified {
                *since = (*since).min(now);
            }
            if let Some(Verdict { acceptance: _, at, since }) = verdict {
                (*at, *since) = ((*at).min(now), (*since).min(now));
            }
        }
        if let Some(sighted) = sighted {
            sighted.1 = sighted.1.min(now);
        }
        for refused in refused {
            refused.at = refused.at.min(now);
        }
        if let Some(OlderCredential { tried_at, .. }) = older_credential.as_deref_mut() {
            *tried_at = (*tried_at).min(now);
        }
        if let Some((_, tried_at)) = older_tried.as_deref_mut() {
            *tried_at = (*tried_at).min(now);
        }
        let past = [last_rotation_at, foreign_rotated_at, unburied_at, credential_read_at];
        for at in past.into_iter().flatten() {
            *at = (*at).min(now);
        }
        if let Some(ForeignWriter { since, seen_at }) = foreign_writer {
            (*since, *seen_at) = ((*since).min(now), (*seen_at).min(now));
        }
        *mark_after = mark_after.map(|at| at.min(now + MARK_AGAIN_AFTER));
        for noted in [redemptions, partner_center_calls, vault_calls] {
            noted.forget_after(now);
        }
        watch.correct(now);
    }
}

#[cfg(test)]
mod tests;
