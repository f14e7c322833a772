//! The rules that make a save safe, although Key Vault has no compare-and-swap (promises 2 and 3, docs/promises.md).
//!
//! This module decides what a repeated read or a list of the versions means while Perennial holds a successor. The
//! module is pure: `rotate` acts on the result.
//!
//! The basic rule: *the newest version descends from the newest sign-in that is not known to be dead.* A sign-in is a
//! version that did not come from a redemption. A person, a script or `login` wrote this version. Each version that a
//! rotation wrote points at the version that was redeemed for it (tag `redeemed-from`). So the pointers lead from any
//! version to its sign-in. A sign-in is *buried* if the newest version breaks the rule: the newest version was written
//! after this sign-in and does not descend from it.
//!
//! The rule is checked for all versions that the vault lists. It would not be enough to search the versions between the
//! redeemed version and the written version, for two reasons. First, another writer may rotate the token after a write
//! has buried a sign-in. The search would then miss the sign-in. Second, when Perennial restores a buried sign-in, the
//! version that buried this sign-in lies between the two versions. The search would mistake the version in between for
//! a buried sign-in. The list is needed because Key Vault cannot write conditionally (docs/azure-facts.md F211).
//!
//! Invariants: If the newest value is another writer's, Perennial writes only after it has tried to redeem this value.
//! Perennial disables only its own versions, and only if they are strictly older than the redeemed version.

use std::cmp::Ordering;

use crate::process::clock::Timestamp;
use crate::rotation::schedule::is_known_dead;
use crate::rotation::state::{PendingSave, RefusedVersion};
use crate::token::version::{Stored, Version, VersionId, tag};

/// The maximum number of versions that one save disables. If more versions have to be disabled, later saves disable
/// them.
pub const RETIRED_A_SAVE: usize = 2;

/// What the newest version means for a held successor, before the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRead {
    /// The version contains the redeemed value or may be replaced. The successor is to be written.
    Write,
    /// The version contains the held successor, because the answer to an earlier write was lost.
    AlreadyThere,
    /// The version is another writer's. It is to be redeemed before the successor is written.
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
    /// The list lacks the written version, so Perennial must write the successor again (docs/azure-facts.md F217).
    NotSeen,
    /// The write buried this version, which is a sign-in or a descendant of a sign-in. The version is to be redeemed,
    /// and the version's successor is to become the newest version.
    Buried(Version),
    /// The successor is safe.
    Settled {
        /// The versions that are no longer needed and are to be disabled.
        retire: Vec<VersionId>,
    },
}

/// Decides from the list of versions how a save continues after its write.
pub fn after_list(pending: &PendingSave, versions: &[Version]) -> AfterList {
    let Some(ours) = pending.written.as_ref().and_then(|id| find(versions, id)) else {
        return AfterList::NotSeen;
    };
    // The vault's times are whole seconds. Another sign-in may have the same second as the written version's sign-in.
    // The list does not show which of the two is newer. If that second had ended before the last read of the newest
    // version, the read showed the newer sign-in. If not, Perennial also redeems the other sign-in. This costs only one
    // redemption, but a missed sign-in would be lost. If both sign-ins work, either may become the newest version.
    let redeemed = &pending.successor.redeemed.id;
    let known = [pending.dead.as_slice(), pending.seen.as_slice(), std::slice::from_ref(redeemed)].concat();
    match buried_under(ours, versions, &known, Ties::Since(pending.read_at)) {
        Some(version) => AfterList::Buried(version.clone()),
        None => AfterList::Settled { retire: retired(redeemed, ours, versions) },
    }
}

/// Which sign-ins of the same second count as newer than the sign-in of the newest version.
#[derive(Clone, Copy, Debug)]
pub enum Ties<'a> {
    /// The time of the last read of the newest version. A sign-in counts as newer unless its second had ended before
    /// this time. With `None`, each sign-in counts as newer. Only a save uses this rule, because a save remembers the
    /// sign-ins that it has already redeemed.
    Since(Option<Timestamp>),
    /// A sign-in counts as newer only if the issuer rejected it while it was buried under Perennial's version. An entry
    /// of this slice or the sign-in's tags show this rejection. Perennial redeems such a sign-in again later. If all
    /// sign-ins of the same second counted as newer, each new process would redeem all of them at its start.
    Refused(&'a [RefusedVersion]),
}

/// Finds the newest sign-in from which `newest` does not descend, and returns the youngest usable version of that
/// sign-in's chain. Returns `None` if that sign-in is older than the sign-in of `newest`. The search skips the versions
/// in `known`.
///
/// The check at start-up also uses this function. A process that dies after it writes a version, and before it lists
/// the versions, may leave a sign-in buried. Without the check at start-up, such a sign-in would stay buried until the
/// next save.
///
/// The search skips a disabled sign-in. If a user enables this sign-in later, the newest version stays the same, and
/// Perennial does not search below it again. So Perennial finds and restores the sign-in only after the next save or at
/// the next start-up (simulation, seed 866).
pub fn buried_under<'a>(
    newest: &Version,
    versions: &'a [Version],
    known: &[VersionId],
    ties: Ties<'_>,
) -> Option<&'a Version> {
    // If the list shows a newer version than `newest`, there is no search now. A later step reads and proves that newer
    // version.
    if versions.iter().any(|version| version.enabled && version.created > newest.created) {
        return None;
    }
    // The list does not show the order of versions of the same second. After a write by this process, the written
    // version counts as the first of its second, since other versions with its tags are copies. At start-up, the newest
    // version counts as the last of its second.
    let place = Place { of: &newest.id, first: matches!(ties, Ties::Since(_)) };
    let own = root_of(newest, versions, place);
    let may_be_later = |version: &Version, sign_in: &Version| match ties {
        Ties::Since(at) => at.is_none_or(|at| sign_in.created.timestamp() >= at.timestamp()),
        // A sign-in that is marked as rejected counts as newer only if the sign-in of the newest version is not marked.
        // If both are marked, the sign-in of the newest version has worked after its rejection, since the newest
        // version descends from this sign-in. Without this rule, the chains of two such sign-ins would replace each
        // other again and again.
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

/// Returns the sign-in from which a version that Perennial wrote descends.
pub fn sign_in_of<'a>(ours: &'a Version, versions: &'a [Version]) -> &'a Version {
    root_of(ours, versions, Place { of: &ours.id, first: true })
}

/// The position of one version among the versions of the same second. A list does not show this position.
///
/// Another tool may write a sign-in in the same second in which Perennial writes a version. The sign-in may have a copy
/// of that version's tags. Without the position, Perennial could mistake the sign-in for its own version, or for a
/// buried sign-in. A test that killed a process between its write and its list showed this mistake.
#[derive(Clone, Copy)]
struct Place<'a> {
    of: &'a VersionId,
    /// Whether the version comes before all others of its second. If false, the version comes after them.
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

/// Returns the sign-in from which a version descends. A version that did not come from a redemption is a sign-in
/// itself, and is returned.
fn root_of<'a>(version: &'a Version, versions: &'a [Version], place: Place<'_>) -> &'a Version {
    let mut at = version;
    // No chain has more versions than the list. This limit also ends the search if the versions' tags form a loop.
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
/// the rotation id. Perennial never uses one rotation id for two values, so one of two versions with the same id is a
/// copy. If Perennial cannot tell which version is the copy, both count as sign-ins.
fn is_genuine(version: &Version, versions: &[Version], place: Place<'_>) -> bool {
    let id = version.tags.get(tag::ROTATION_ID);
    let copied_from = |other: &Version| {
        other.id != version.id && other.tags.get(tag::ROTATION_ID) == id && place.may_precede(other, version)
    };
    version.is_ours() && id.is_some() && !versions.iter().any(copied_from)
}

/// Returns the versions to disable: Perennial's own versions that are strictly older than the redeemed one. The
/// redeemed version stays enabled, since other programs may still use it. Other versions of the same second also stay
/// enabled, since their order is unknown.
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

/// Returns the youngest enabled versions that are older than an invalid version or have the same second, each with its
/// sign-in. Leaves out versions that are known to be dead.
pub fn predecessors<'a>(useless: &Version, versions: &'a [Version]) -> Vec<(&'a Version, &'a Version)> {
    /// The maximum number of versions to return.
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
