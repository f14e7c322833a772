//! The later effects of a rejected version: whether the rejection is final, its record in the tags, and when the
//! version may be redeemed again.
//!
//! Pure. A foreign version may be replaced only if its rejection is final.

use chrono::TimeDelta;

use super::{AGAIN_AFTER, LONGEST, RESCUE_AFTER, is_passing};
use crate::ports::diagnosis;
use crate::ports::failure::{Failure, FailureSubject, Kind};
use crate::process::clock::{Timestamp, delta, rfc3339};
use crate::rotation::state::{RefusedVersion, State};
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, Version, VersionId, tag};

/// The shortest time that an answer that may pass holds if it names no time itself: a stop tries for 25 seconds.
const STANDS_AT_LEAST: TimeDelta = TimeDelta::seconds(15);
/// The number of remembered versions.
const REMEMBERED: usize = 8;

/// Whether this version is invalid for good: its grant is known to have ended, or it never was a token. A foreign
/// version of the latter kind is kept for a day, also while a successor is held: it may be a good token in quotes.
pub fn is_final(failure: &Failure, version: &Version, now: Timestamp) -> bool {
    let left_alone = !version.is_ours() && version.created + RESCUE_AFTER > now;
    failure.token_condemned || (failure.never_was_a_token && !left_alone)
}

/// Whether a version's tags say that it is invalid for good. A policy's mark does not, nor does a mark of Perennial's
/// first version, which recorded no codes, nor a mark that is older than the version, which a tool has copied. Each
/// process tries a version with such a mark once more. The first version also passes a code on to a sign-in that it
/// stores, and may record another rejection beside it: the code counts only with the kind that it belongs to.
pub fn is_known_dead(version: &Version) -> bool {
    let final_code = version.tags.get(tag::REFUSED_CODE).is_some_and(diagnosis::is_final_mark);
    let its_kind = version.tags.get(tag::REFUSED_KIND) == Some(Kind::LoginRequired.as_str());
    final_code && its_kind && version.time(tag::REFUSED_AT).is_some_and(|at| at >= version.created)
}

/// The version's tags with the rejection. `None` if they have it already, or have no room. The code makes the mark
/// final, and is left out without room for it.
pub fn refusal_tags(version: &Version, failure: &Failure, since: Timestamp, now: Timestamp) -> Option<Tags> {
    let mut tags = version.tags.clone();
    tags.insert(tag::REFUSED_AT, &rfc3339(since.max(version.created)));
    tags.insert(tag::REFUSED_KIND, failure.kind.as_str());
    tags.remove(tag::REFUSED_CODE);
    tags.remove(tag::VERDICT);
    tags.remove(tag::REDEEMING);
    if is_final(failure, version, now) && tags.len() < MAX_TAGS {
        tags.insert(tag::REFUSED_CODE, &diagnosis::mark_of(failure.trace.code));
    }
    let noted = Version { tags, ..version.clone() };
    let same = |name| version.tags.get(name) == noted.tags.get(name);
    let is_noted = version.is_refused()
        && same(tag::REFUSED_KIND)
        && same(tag::REFUSED_CODE)
        && is_known_dead(version) == is_known_dead(&noted);
    (!is_noted && noted.tags.len() <= MAX_TAGS).then_some(noted.tags)
}

/// The issuer's last answer about this version, while it holds: then the version is not redeemed again.
pub fn standing<'a>(state: &'a State, version: &Version, now: Timestamp) -> Option<&'a Failure> {
    let refused = state.refused.iter().find(|refused| refused.id == version.id)?;
    // The version is redeemed once more before it is replaced.
    let stands = stands(refused, now) && !is_final(&refused.failure, version, now);
    stands.then_some(&refused.failure)
}

/// Remembers a rejected version, unless the rejection is final: then its tags say so.
pub fn remember(state: &mut State, version: &Version, failure: &Failure, now: Timestamp) {
    forget(state, version);
    let asked = matches!(failure.about, FailureSubject::Grant | FailureSubject::AppCredential);
    if asked && !is_final(failure, version, now) {
        state.refused.truncate(REMEMBERED - 1);
        let refused =
            RefusedVersion { id: version.id.clone(), at: now, failure: failure.clone(), is_buried: false };
        state.refused.insert(0, refused);
    }
}

/// Records that this version was rejected below a version of ours.
pub fn remember_buried(state: &mut State, id: &VersionId) {
    for refused in state.refused.iter_mut().filter(|refused| refused.id == *id) {
        refused.is_buried = true;
    }
}

/// The version was redeemed, or is gone.
pub fn forget(state: &mut State, version: &Version) {
    state.refused.retain(|refused| refused.id != version.id);
}

/// Whether a version was rejected so long ago that it may be redeemed again: policies change, and accounts are
/// enabled. An answer that may pass prevents no later attempt, even after a rejection of the same version.
pub fn may_ask_again(state: &State, now: Timestamp) -> bool {
    state.refused.iter().any(|refused| !stands(refused, now))
}

/// A person reports a change, so rejected versions are redeemed again. A pause that a peer asked for still holds.
pub fn ask_again(state: &mut State) {
    if state.refused.iter().any(is_settled) {
        state.refused.retain(|refused| !is_settled(refused));
        state.searched = None;
    }
}

fn is_settled(refused: &RefusedVersion) -> bool {
    !is_passing(refused.failure.remedy) && refused.failure.about == FailureSubject::Grant
}

/// A rejection holds for a day, an answer that may pass for as long as the peer asks. So a stop and `rotate`, which
/// try to save every two seconds, redeem the version once or twice.
///
/// The clock may be set back: an answer from the future does not hold.
fn stands(refused: &RefusedVersion, now: Timestamp) -> bool {
    let lasts = match refused.failure.retry_after {
        _ if is_settled(refused) => AGAIN_AFTER,
        Some(after) => delta(after.min(LONGEST)).max(STANDS_AT_LEAST),
        None => STANDS_AT_LEAST,
    };
    (refused.at..refused.at + lasts).contains(&now)
}

#[cfg(test)]
mod tests;
