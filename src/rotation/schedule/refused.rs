//! What a refusal of a version means for later: whether it is final, how it is noted in the tags, and when the
//! version may be redeemed again.
//!
//! Pure. A version of somebody else's may be written over only where the refusal is final.

use chrono::TimeDelta;

use super::{AGAIN_AFTER, LONGEST, RESCUE_AFTER, is_passing};
use crate::ports::diagnosis;
use crate::ports::failure::{Failure, FailureSubject, Kind};
use crate::process::clock::{Timestamp, delta, rfc3339};
use crate::rotation::state::{RefusedVersion, State};
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, Version, VersionId, tag};

/// How long an answer that may pass stands where it names no time itself: a stop tries for 25 seconds.
const STANDS_AT_LEAST: TimeDelta = TimeDelta::seconds(15);
/// How many are remembered.
const REMEMBERED: usize = 8;

/// Whether it is settled that this version is of no use: its grant is known to have ended, or it never was a
/// token. Of the latter somebody else's is left alone for a day, also while a successor is held: it may be a good token in
/// quotes.
pub fn is_final(failure: &Failure, version: &Version, now: Timestamp) -> bool {
    let left_alone = !version.is_ours() && version.created + RESCUE_AFTER > now;
    failure.token_condemned || (failure.never_was_a_token && !left_alone)
}

/// Whether a version is noted to be of no use for good. Neither a policy's mark nor one of the first version of
/// Perennial, which noted no codes, says so; nor does one that is older than the version: a tool has copied it. Each
/// process tries a version with such a mark once more. The first version also hands a code on to a sign-in that it stores, and
/// may note another refusal beside it: the code counts only with the kind that it belongs to.
pub fn is_known_dead(version: &Version) -> bool {
    let final_code = version.tags.get(tag::REFUSED_CODE).is_some_and(diagnosis::is_final_mark);
    let its_kind = version.tags.get(tag::REFUSED_KIND) == Some(Kind::LoginRequired.as_str());
    final_code && its_kind && version.time(tag::REFUSED_AT).is_some_and(|at| at >= version.created)
}

/// The version's tags with the refusal noted on them. None where they say so already, or have no room. The code
/// makes the mark final, and is left out where there is no room for it.
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

/// What the issuer last said of this version, while that stands: then it is not redeemed again.
pub fn standing<'a>(state: &'a State, version: &Version, now: Timestamp) -> Option<&'a Failure> {
    let refused = state.refused.iter().find(|refused| refused.id == version.id)?;
    // Before anything is written over it, it is asked for anew.
    let stands = stands(refused, now) && !is_final(&refused.failure, version, now);
    stands.then_some(&refused.failure)
}

/// Remembers that a version was redeemed in vain, unless that is final: then its tags say so.
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

/// What is remembered of this version was said of it below a version of ours.
pub fn remember_buried(state: &mut State, id: &VersionId) {
    for refused in state.refused.iter_mut().filter(|refused| refused.id == *id) {
        refused.is_buried = true;
    }
}

/// It was redeemed, or is gone.
pub fn forget(state: &mut State, version: &Version) {
    state.refused.retain(|refused| refused.id != version.id);
}

/// Whether a version was redeemed in vain so long ago that it may be redeemed again: policies are lifted, and accounts
/// enabled. An answer that may pass ends no later attempt, not even where it came after a refusal of the same version.
pub fn may_ask_again(state: &State, now: Timestamp) -> bool {
    state.refused.iter().any(|refused| !stands(refused, now))
}

/// Somebody says that something has changed: what was settled is asked for again. A peer that wants to be left
/// alone still is.
pub fn ask_again(state: &mut State) {
    if state.refused.iter().any(is_settled) {
        state.refused.retain(|refused| !is_settled(refused));
        state.searched = None;
    }
}

fn is_settled(refused: &RefusedVersion) -> bool {
    !is_passing(refused.failure.remedy) && refused.failure.about == FailureSubject::Grant
}

/// A refusal stands for a day, an answer that may pass for as long as the peer asks. So a stop and `rotate`, which try to
/// save every two seconds, redeem the version once or twice.
///
/// By a clock that may be set back: what was said in the future does not stand.
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
