//! The rules that make a save safe, although Key Vault has no compare-and-swap (promises 2 and 3, docs/promises.md).
//!
//! Owns the meaning of a repeated read and of a list while Perennial holds a successor. Pure: `rotate` acts on the
//! result.
//!
//! The basic rule: *the newest version descends from the newest sign-in that is not known to be dead.* A sign-in is a
//! version that did not come from a redemption. A person, a script or `login` wrote this version. Each version of a
//! rotation points at the version that was redeemed for it. So the pointers lead from any version to its sign-in.
//!
//! The rule covers the whole list, not only the versions between the redeemed one and the written one. A search of that
//! range fails in two cases. The search misses a sign-in if another writer has rotated on top of the write that buried
//! the sign-in. The search also mistakes an older write of Perennial for a sign-in when a buried sign-in is restored.
//! Key Vault cannot write conditionally (docs/azure-facts.md F211). With conditional writes, the list would not be
//! needed.
//!
//! Invariants: Perennial writes nothing while the newest value is another writer's and untried. Perennial disables only
//! its own versions, and only if they are strictly older than the redeemed one.

use std::cmp::Ordering;

use crate::process::clock::Timestamp;
use crate::rotation::schedule::is_known_dead;
use crate::rotation::state::{PendingSave, RefusedVersion};
use crate::token::version::{Stored, Version, VersionId, tag};

/// The number of versions that one save disables. A backlog takes several saves.
pub const RETIRED_A_SAVE: usize = 2;

/// What the newest version means for a held successor, before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRead {
    /// The version holds the redeemed value or may be replaced. Write the successor.
    Write,
    /// The version is the held successor itself. The answer to an earlier write was lost.
    AlreadyThere,
    /// The version is another writer's. Redeem this version before the successor is written.
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

/// What the list of versions means for a written successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterList {
    /// The vault does not show the written version, so it counts as not written (docs/azure-facts.md F217).
    NotSeen,
    /// The write buried this sign-in or its descendant. Redeem this version and put its successor on top.
    Buried(Version),
    /// The successor is safe.
    Settled {
        /// The versions that are no longer needed and are to be disabled.
        retire: Vec<VersionId>,
    },
}

/// Reads the list of versions after a write.
pub fn after_list(pending: &PendingSave, versions: &[Version]) -> AfterList {
    let Some(ours) = pending.written.as_ref().and_then(|id| find(versions, id)) else {
        return AfterList::NotSeen;
    };
    // The vault's times are whole seconds. A sign-in of the same second as the redeemed version may be older or newer.
    // The order is known only if that second was over at the last read of the newest version. An attempt with a sign-in
    // costs one redemption. A missed sign-in would be lost. If two sign-ins share a second, either may end on top,
    // since both are good.
    let redeemed = &pending.successor.redeemed.id;
    let known = [pending.dead.as_slice(), pending.seen.as_slice(), std::slice::from_ref(redeemed)].concat();
    match buried_under(ours, versions, &known, Ties::Since(pending.read_at)) {
        Some(version) => AfterList::Buried(version.clone()),
        None => AfterList::Settled { retire: retired(redeemed, ours, versions) },
    }
}

/// Which sign-ins of the same second count as newer than the version on top.
#[derive(Clone, Copy, Debug)]
pub enum Ties<'a> {
    /// Sign-ins of this second or later count as newer. `None` makes all of them count. Used only while the tried
    /// sign-ins are known.
    Since(Option<Timestamp>),
    /// Only sign-ins that were rejected below Perennial's version count as newer. The given entries or a sign-in's tags
    /// show the rejection. Rejected sign-ins are retried until they work. Without this rule, each new process would
    /// retry all others at its start.
    Refused(&'a [RefusedVersion]),
}

/// Returns the youngest usable version of the newest sign-in that `newest` does not descend from. Returns `None` if
/// that sign-in is older than the sign-in of `newest`. `known` are versions that need no further check.
///
/// The check at start-up uses this function too. An earlier process may have died between its write and its list, and
/// may have left a sign-in buried. Only this check finds that sign-in.
///
/// A disabled sign-in does not count. A user may enable it later, but it is not the newest version then. So only the
/// list after the next save finds and restores it (simulation, seed 866).
pub fn buried_under<'a>(
    newest: &Version,
    versions: &'a [Version],
    known: &[VersionId],
    ties: Ties<'_>,
) -> Option<&'a Version> {
    // If another version is on top of this one, the other version is the newest. A later step proves that version.
    if versions.iter().any(|version| version.enabled && version.created > newest.created) {
        return None;
    }
    // Among versions of one second, Perennial's own version precedes any copy of its tags. At start-up, the newest
    // version came last.
    let place = Place { of: &newest.id, first: matches!(ties, Ties::Since(_)) };
    let own = root_of(newest, versions, place);
    let may_be_later = |version: &Version, sign_in: &Version| match ties {
        Ties::Since(at) => at.is_none_or(|at| sign_in.created.timestamp() >= at.timestamp()),
        // A marked sign-in counts only if the version on top has no mark. If both are marked, the version on top has
        // worked since then. Without this rule, the two would replace each other forever.
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

/// Returns the sign-in that a version of Perennial descends from.
pub fn sign_in_of<'a>(ours: &'a Version, versions: &'a [Version]) -> &'a Version {
    root_of(ours, versions, Place { of: &ours.id, first: true })
}

/// The order of one version among the versions of its second. A list does not show this order.
///
/// A tool may copy the tags of Perennial's version within the second of the write. If the ids alone decided, the copy
/// could pass for Perennial's version. Then the real sign-in in the copy could pass for buried. A test killed a process
/// between its write and its list, and showed this.
#[derive(Clone, Copy)]
struct Place<'a> {
    of: &'a VersionId,
    /// Whether the version comes before all others of its second. If false, it comes after them.
    first: bool,
}

impl Place<'_> {
    /// Whether `one` may be older than `other`.
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

/// Returns the sign-in that a version descends from. A version that came from no redemption is its own sign-in.
fn root_of<'a>(version: &'a Version, versions: &'a [Version], place: Place<'_>) -> &'a Version {
    let mut at = version;
    // No chain is longer than the list. So a loop of pointers also ends here.
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

/// Whether Perennial wrote the tags together with this version. A tool that copies tags to its own version also copies
/// the rotation id. Perennial never uses one rotation id for two values. If each of two versions may be the copy of the
/// other, both count as sign-ins. Then neither seems to bury the other.
fn is_genuine(version: &Version, versions: &[Version], place: Place<'_>) -> bool {
    let id = version.tags.get(tag::ROTATION_ID);
    let copied_from = |other: &Version| {
        other.id != version.id && other.tags.get(tag::ROTATION_ID) == id && place.may_precede(other, version)
    };
    version.is_ours() && id.is_some() && !versions.iter().any(copied_from)
}

/// Returns Perennial's own versions that are strictly older than the redeemed one. The redeemed version stays, since
/// other writers may still hold it. Versions of its second also stay, since their order is unknown.
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

/// Returns the youngest enabled versions below an invalid one, each with its sign-in. Leaves out versions that are
/// known to be dead.
pub fn predecessors<'a>(useless: &Version, versions: &'a [Version]) -> Vec<(&'a Version, &'a Version)> {
    /// The number of chains that are tried. An ended grant invalidates its whole chain. Two chains survive one bad
    /// write.
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
