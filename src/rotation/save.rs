//! The rules that make a save safe in a vault without compare-and-swap (promises 2 and 3, docs/promises.md).
//!
//! Owns the meaning of a re-read and of a list while a successor is held. Pure: `rotate` acts on it.
//!
//! The basic rule: *the newest version descends from the newest sign-in that is not known to be dead.* A sign-in is a
//! version that did not come from a redemption: a person, a script or `login` wrote it. Every version that Perennial
//! writes in a rotation points at the version it was redeemed from, so the pointers lead from any version to its
//! sign-in.
//!
//! The rule covers the whole list, not only the versions between the redeemed one and ours. A search between the two
//! misses a sign-in once another writer has rotated on top of the write that buried it. It also mistakes our own older
//! write for a sign-in when a buried one is restored. Key Vault cannot write conditionally (docs/azure-facts.md F211).
//! If it could, the list would not be needed.
//!
//! Invariants: nothing is written while the newest value is another writer's and untried; only our own versions that
//! are strictly older than the redeemed one are disabled.

use std::cmp::Ordering;

use crate::process::clock::Timestamp;
use crate::rotation::schedule::is_known_dead;
use crate::rotation::state::{PendingSave, RefusedVersion};
use crate::token::version::{Stored, Version, VersionId, tag};

/// Versions disabled after one save; a backlog takes several saves.
pub const RETIRED_A_SAVE: usize = 2;

/// The meaning of the newest version for a held successor, before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRead {
    /// It holds the redeemed value, or may be replaced: write.
    Write,
    /// It is our own successor; the answer to an earlier write was lost.
    AlreadyThere,
    /// It is another writer's: it is tried before ours is written.
    Theirs,
}

/// Compares the newest version with the held successor.
pub fn after_read(pending: &PendingSave, newest: &Stored) -> AfterRead {
    let value = newest.refresh_token();
    let id = &newest.version.id;
    let PendingSave { successor, may_overwrite, dead, .. } = pending;
    if value == successor.token {
        AfterRead::AlreadyThere
    } else if value == successor.redeemed_value || may_overwrite.as_ref() == Some(id) || dead.contains(id) {
        AfterRead::Write
    } else {
        AfterRead::Theirs
    }
}

/// The meaning of the list of versions for a written successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterList {
    /// The vault does not show our version: it counts as not written (docs/azure-facts.md F217).
    NotSeen,
    /// Our write buried this sign-in, or its descendant: it must be redeemed, and its successor put on top.
    Buried(Version),
    /// The successor is safe, and these versions are no longer needed.
    Settled {
        /// To be disabled.
        retire: Vec<VersionId>,
    },
}

/// Reads the list of versions after a write.
pub fn after_list(pending: &PendingSave, versions: &[Version]) -> AfterList {
    let Some(ours) = pending.written.as_ref().and_then(|id| find(versions, id)) else {
        return AfterList::NotSeen;
    };
    // Times are whole seconds. A sign-in of the same second as the redeemed version may be older or newer, unless that
    // second was over at the last read of the newest version. Trying it costs one redemption; missing it would cost
    // the sign-in. Of two sign-ins of one second either may end on top: both are good.
    let redeemed = &pending.successor.redeemed.id;
    let known = [pending.dead.as_slice(), pending.seen.as_slice(), std::slice::from_ref(redeemed)].concat();
    match buried_under(ours, versions, &known, Ties::Since(pending.read_at)) {
        Some(version) => AfterList::Buried(version.clone()),
        None => AfterList::Settled { retire: retired(redeemed, ours, versions) },
    }
}

/// Whether sign-ins of the same second count as newer.
#[derive(Clone, Copy, Debug)]
pub enum Ties<'a> {
    /// Those of this second and later do; all, if it is `None`. Only while the tried ones are known.
    Since(Option<Timestamp>),
    /// Only those that were rejected below our version, by these entries or by their tags: they are retried until they
    /// work. A new process would otherwise retry all others at each start.
    Refused(&'a [RefusedVersion]),
}

/// The youngest usable version of the newest sign-in that `newest` does not descend from, if that sign-in is newer
/// than its own. `known` are versions that need no further check.
///
/// Also the check at start-up: a process that died between its write and its list may have left a sign-in buried,
/// which only this check finds.
///
/// A disabled sign-in does not count. If a user enables it later, it is not the newest version, so only the list after
/// the next save finds and restores it (simulation, seed 866).
pub fn buried_under<'a>(
    newest: &Version,
    versions: &'a [Version],
    known: &[VersionId],
    ties: Ties<'_>,
) -> Option<&'a Version> {
    // A version on top of it is the newest, and will be proved in its turn.
    if versions.iter().any(|version| version.enabled && version.created > newest.created) {
        return None;
    }
    // Among versions of one second, our own precedes any copy of its tags. At start-up, the newest version came last.
    let place = Place { of: &newest.id, first: matches!(ties, Ties::Since(_)) };
    let own = root_of(newest, versions, place);
    let may_be_later = |version: &Version, sign_in: &Version| match ties {
        Ties::Since(at) => at.is_none_or(|at| sign_in.created.timestamp() >= at.timestamp()),
        // If both are marked, the one on top has worked since: the two would replace each other for ever.
        Ties::Refused(remembered) => {
            let is_marked = sign_in.is_refused() && !own.is_refused();
            is_marked || remembered.iter().any(|refused| refused.is_buried && refused.id == version.id)
        }
    };
    let is_newer = |version: &Version, sign_in: &Version| {
        sign_in.created > own.created || (sign_in.created == own.created && may_be_later(version, sign_in))
    };
    versions
        .iter()
        .filter(|version| version.enabled && !is_known_dead(version) && !known.contains(&version.id))
        .map(|version| (version, root_of(version, versions, place)))
        .filter(|(version, sign_in)| {
            version.id != newest.id
                && sign_in.id != own.id
                && is_newer(version, sign_in)
                && !is_known_dead(sign_in)
                && !known.contains(&sign_in.id)
        })
        .max_by_key(|(version, sign_in)| (sign_in.created, &sign_in.id, version.created))
        .map(|(version, _)| version)
}

/// The sign-in that one of our versions descends from.
pub fn sign_in_of<'a>(ours: &'a Version, versions: &'a [Version]) -> &'a Version {
    root_of(ours, versions, Place { of: &ours.id, first: true })
}

/// The order of one version among those of its second, which a list does not show.
///
/// A tool may copy the tags of our version in the very second in which we wrote it. By the ids alone the copy could
/// pass for ours, and the real sign-in in it for buried. A process that was killed between its write and its list
/// showed this.
#[derive(Clone, Copy)]
struct Place<'a> {
    of: &'a VersionId,
    /// Before all others, or after them.
    first: bool,
}

impl Place<'_> {
    /// Whether `one` may precede `other`.
    fn may_precede(self, one: &Version, other: &Version) -> bool {
        match one.created.cmp(&other.created) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if one.id == *self.of => self.first,
            Ordering::Equal if other.id == *self.of => !self.first,
            Ordering::Equal => true,
        }
    }
}

/// The sign-in that a version descends from: the version itself, if it came from no redemption.
fn root_of<'a>(version: &'a Version, versions: &'a [Version], place: Place<'_>) -> &'a Version {
    let mut at = version;
    // No chain is longer than the list; a loop of pointers ends here too.
    for _ in 0..versions.len() {
        match parent(at, versions, place) {
            Some(parent) => at = parent,
            None => break,
        }
    }
    at
}

fn parent<'a>(version: &Version, versions: &'a [Version], place: Place<'_>) -> Option<&'a Version> {
    let from = find(versions, &version.redeemed_from()?)?;
    (from.created <= version.created && is_genuine(version, versions, place)).then_some(from)
}

/// Whether the tags that mark a version as ours were written with it. A tool that copies tags to its version also
/// copies the rotation id, which we never use for two values. If each of two may be the other's copy, both count as
/// sign-ins, so that neither seems buried by the other.
fn is_genuine(version: &Version, versions: &[Version], place: Place<'_>) -> bool {
    let id = version.tags.get(tag::ROTATION_ID);
    let copied_from = |other: &Version| {
        other.id != version.id && other.tags.get(tag::ROTATION_ID) == id && place.may_precede(other, version)
    };
    version.is_ours() && id.is_some() && !versions.iter().any(copied_from)
}

/// Our own versions that were created strictly before the redeemed one. The redeemed one stays, since other writers
/// may still hold it; so does everything of its second, since the order is unknown.
fn retired(redeemed: &VersionId, ours: &Version, versions: &[Version]) -> Vec<VersionId> {
    let Some(from) = find(versions, redeemed) else { return Vec::new() };
    let place = Place { of: &ours.id, first: true };
    let mut old: Vec<&Version> = versions
        .iter()
        .filter(|version| version.enabled && version.id != ours.id && version.created < from.created)
        .filter(|version| is_genuine(version, versions, place))
        .collect();
    old.sort_by_key(|version| version.created);
    old.iter().take(RETIRED_A_SAVE).map(|version| version.id.clone()).collect()
}

/// The youngest enabled versions below an invalid one that are not known to be dead, each with its sign-in.
pub fn predecessors<'a>(useless: &Version, versions: &'a [Version]) -> Vec<(&'a Version, &'a Version)> {
    /// An ended grant invalidates its whole chain; two chains are tried, to survive one bad write.
    const TRIED: usize = 2;
    let mut old: Vec<&Version> = versions
        .iter()
        .filter(|version| version.id != useless.id && version.created <= useless.created)
        .filter(|version| version.enabled && !is_known_dead(version))
        .collect();
    old.sort_by_key(|version| std::cmp::Reverse(version.created));
    let place = Place { of: &useless.id, first: false };
    old.into_iter().take(TRIED).map(|version| (version, root_of(version, versions, place))).collect()
}

fn find<'a>(versions: &'a [Version], id: &VersionId) -> Option<&'a Version> {
    versions.iter().find(|version| version.id == *id)
}

#[cfg(test)]
mod tests;
