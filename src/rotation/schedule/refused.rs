//! The effects of a rejected version: whether the rejection is final, how the tags record it, and when the version may
//! be redeemed again.
//!
//! This module is pure. A foreign version may be replaced only if its rejection is final.

use chrono::TimeDelta;

use super::{AGAIN_AFTER, LONGEST, RESCUE_AFTER, is_passing};
use crate::ports::diagnosis;
use crate::ports::failure::{Failure, FailureSubject, Kind};
use crate::process::clock::{Timestamp, delta, rfc3339};
use crate::rotation::state::{RefusedVersion, State};
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, Version, VersionId, tag};

/// After a transient failure, at least this much time passes before the version is redeemed again. A stopping process
/// tries to save for 25 seconds, so it redeems the version at most twice.
const STANDS_AT_LEAST: TimeDelta = TimeDelta::seconds(15);
/// The number of rejected versions that a process remembers.
const REMEMBERED: usize = 8;

/// Whether this version is invalid for good: its grant is known to have ended, or its value never was a token. If the
/// value of a foreign version never was a token, the version counts as invalid for good only a day after its creation,
/// even while Perennial holds a successor. Such a value may be a working token in quotes, and a person can still remove
/// the quotes.
pub fn is_final(failure: &Failure, version: &Version, now: Timestamp) -> bool {
    let left_alone = !version.is_ours() && version.created + RESCUE_AFTER > now;
    failure.token_condemned || (failure.never_was_a_token && !left_alone)
}

/// Whether a version's tags show that the version is invalid for good. The tags must have the code of a final
/// rejection, the kind `login_required`, and a time that is not before the creation of the version. An earlier time
/// means that a tool copied the tags from another version.
///
/// The first version of Perennial (docs/upgrading.md) recorded no codes. So if the tags have a rejection without a
/// code, each process redeems the secret's version once more. The first version of Perennial treats the tag with the
/// code like a foreign tag, and can copy it to a new sign-in. It can then record a rejection of another kind beside the
/// code. So a code shows a final rejection only together with the kind `login_required`.
pub fn is_known_dead(version: &Version) -> bool {
    let final_code = version.tags.get(tag::REFUSED_CODE).is_some_and(diagnosis::is_final_mark);
    let its_kind = version.tags.get(tag::REFUSED_KIND) == Some(Kind::LoginRequired.as_str());
    final_code && its_kind && version.time(tag::REFUSED_AT).is_some_and(|at| at >= version.created)
}

/// Returns the version's tags with the rejection. Returns `None` if the tags already record the same rejection or have
/// no room for the record. The code in the tags makes the rejection final for later processes. If there is no room for
/// the code, the code is left out.
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

/// Returns the issuer's last answer about this version, if this answer is still valid. While the answer is valid, the
/// version is not redeemed again.
pub fn standing<'a>(state: &'a State, version: &Version, now: Timestamp) -> Option<&'a Failure> {
    let refused = state.refused.iter().find(|refused| refused.id == version.id)?;
    // If the rejection has become final in the meantime, the version is checked once more before another version
    // replaces it.
    let stands = stands(refused, now) && !is_final(&refused.failure, version, now);
    stands.then_some(&refused.failure)
}

/// Remembers a rejected version. A final rejection is not remembered here, because it is recorded in the version's
/// tags.
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

/// Records that this rejected version was not the newest one, but buried under a version that Perennial wrote.
pub fn remember_buried(state: &mut State, id: &VersionId) {
    for refused in state.refused.iter_mut().filter(|refused| refused.id == *id) {
        refused.is_buried = true;
    }
}

/// Forgets the rejection of a version, because the version has been redeemed or a newer answer replaces the rejection.
pub fn forget(state: &mut State, version: &Version) {
    state.refused.retain(|refused| refused.id != version.id);
}

/// Whether at least one remembered version may be redeemed again. A version that was rejected a day ago may be redeemed
/// again, because an account may have been enabled or a policy may have changed. After a transient failure, the version
/// may be redeemed again sooner.
pub fn may_ask_again(state: &State, now: Timestamp) -> bool {
    state.refused.iter().any(|refused| !stands(refused, now))
}

/// Makes all rejected versions due for a redemption, after a SIGHUP or a jump of the host's clock. A version with a
/// transient failure still waits as long as the peer requested.
pub fn ask_again(state: &mut State) {
    if state.refused.iter().any(is_settled) {
        state.refused.retain(|refused| !is_settled(refused));
        state.searched = None;
    }
}

fn is_settled(refused: &RefusedVersion) -> bool {
    !is_passing(refused.failure.remedy) && refused.failure.about == FailureSubject::Grant
}

/// Whether an answer is still valid. A rejection is valid for a day. A transient failure is valid for the time that the
/// peer requested, and at least for `STANDS_AT_LEAST`. A stopping process and the command `rotate` attempt to save
/// every two seconds. With this rule, they redeem the version only once or twice.
///
/// An answer with a time in the future is not valid. Such a time was recorded before the clock was set back.
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
