//! Finds the tags that the newest version still lacks. These tags record a rejection, a proof, a verdict and delivered
//! alerts.
//!
//! This module is pure. The modules `refused` and `verdict` define the tags for rejections and verdicts.

use chrono::SubsecRound as _;

use super::{MARK_EVERY, Timing, refusal_tags, verdict};
use crate::process::clock::{Timestamp, rfc3339};
use crate::rotation::state::{Phase, State, VAULT_CALLS_A_STEP};
use crate::rotation::told::Marks;
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, Version, tag};

impl Timing {
    /// Returns the newest version's tags with the marks of delivered alerts. Returns `None` if the version already has
    /// these marks, or if the daily limit leaves too few calls for a whole step. Also returns `None` while a successor
    /// is unsaved or the vault cannot accept the write.
    pub(super) fn told_tags(&self, state: &State, now: Timestamp) -> Option<Tags> {
        let (version, told) = (state.newest.as_ref()?, state.told.as_ref()?);
        if *told == Marks::on(&version.tags) || state.mark_after.is_some_and(|at| at > now) {
            return None;
        }
        let has_room = self.room_for_vault_calls(state, VAULT_CALLS_A_STEP, now) <= now;
        if state.is_unsaved() || state.vault_is_away() || !has_room {
            return None;
        }
        let mut tags = version.tags.clone();
        told.put(&mut tags);
        (tags.len() <= MAX_TAGS).then_some(tags)
    }
}

/// Returns the newest version's tags, completed with the missing records. Returns `None` if no record is missing or
/// the tags cannot be written now.
///
/// A proof is recorded at most daily. A rejection or a verdict is recorded when it changes.
pub(super) fn wanted_tags(state: &State, now: Timestamp) -> Option<Tags> {
    let version = state.newest.as_ref()?;
    if state.mark_after.is_some_and(|at| at > now) {
        return None;
    }
    let tags = match (&state.phase, &state.blocked) {
        (Phase::Unsaved(_), _) => return None,
        (_, Some(blocked)) if state.is_off() || !blocked.is_confirmed => return None,
        (_, Some(blocked)) if blocked.version.as_ref() != Some(&version.id) => return None,
        (_, Some(blocked)) if blocked.failure.token_refused() => {
            refusal_tags(version, &blocked.failure, blocked.since, now)?
        }
        (_, Some(blocked)) => {
            let mut tags = version.tags.clone();
            verdict::put(&mut tags, Some(verdict::of_failure(version, blocked)?));
            tags
        }
        (Phase::Current, None) if state.outage.is_none() => proof_tags(version, state)?,
        (Phase::Current | Phase::Unproved { .. }, None) => return None,
    };
    (tags.len() <= MAX_TAGS).then_some(tags)
}

fn proof_tags(version: &Version, state: &State) -> Option<Tags> {
    let facts = state.known()?;
    let proved_at = facts.proved_at?;
    // If a successor was saved late, its proof is older than its version. Later processes would not trust a record of
    // this proof, so only the next proof is recorded.
    let outdated = version.is_noted_on_it(proved_at)
        && version.proved_at().is_none_or(|at| {
            // The first proof of a sign-in is recorded at once. The record tells the next process that a daemon has
            // proved the sign-in.
            let first = version.redeemed_from().is_none() && !version.is_proved_since();
            at + MARK_EVERY <= proved_at || (first && at < proved_at.trunc_subsecs(0))
        });
    let user = match (&facts.user_oid, version.tags.get(tag::USER_OID)) {
        (Some(user), Some(noted)) if !user.eq_ignore_ascii_case(noted) => Some(user),
        _ => None,
    };
    let verdict = verdict::after_proof(version, facts);
    if !outdated && !version.is_refused() && user.is_none() && !verdict::is_news(verdict, version) {
        return None;
    }
    let mut tags = version.tags.clone();
    tags.insert(tag::PROVED_AT, &rfc3339(proved_at));
    tags.remove(tag::REFUSED_AT);
    tags.remove(tag::REFUSED_KIND);
    verdict::put(&mut tags, verdict);
    tags.remove(tag::REFUSED_CODE);
    if let Some(user) = user {
        tags.insert(tag::USER_OID, user);
    }
    Some(tags)
}
