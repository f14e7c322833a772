//! The rule for the redemption of a `strict` token, whose issuer invalidates the stored token at each redemption. So a
//! process marks the version before it redeems the token. The mark tells other processes not to redeem this version.
//! Each redemption ends in one of two ways: the successor is saved, or it is reported as lost.
//!
//! This module is pure. It owns the mark (the tag `redeeming`), the lifetime of a mark, and the texts.
//! `rotate/claiming.rs` carries out the rule.
//!
//! Key Vault cannot write conditionally (docs/azure-facts.md F211). Even so, the rule ensures that two running
//! processes never redeem the same version. The rule relies on one fact: each read that begins after the answer to a
//! write shows that write.
//!
//! 1. A process reads the version. The process stops here if the version has another process's mark.
//! 2. The process writes its own mark. If more than [`SETTLES`] passes from the start of the read in step 1 to the
//!    answer to this write, the process stops.
//! 3. The process waits for [`SETTLES`] and reads again. The process redeems the version only if the version still has
//!    the process's own mark.
//!
//! Suppose that process B overwrites the mark of process A. If B writes before A's read in step 3, this read shows B's
//! mark, and A does not redeem the version. Now suppose that B writes after A's read in step 3. B's read in step 1 did
//! not show A's mark, so this read began before A's wait. B's step 2 ended after A's wait. So B's steps 1 and 2 took
//! longer than [`SETTLES`], and B does not redeem the version.
//!
//! If a process dies, another process replaces its mark. The age of a mark alone does not show that its process has
//! died, because no process can renew its mark during an outage of the vault. So another process must wait twice before
//! it redeems the version. It waits until the old mark has stayed unchanged for `SEEN_FOR`, and then until its own mark
//! has stayed unchanged for `SEEN_FOR`.

use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta};
use uuid::Uuid;

use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::{Timestamp, rfc3339};
use crate::process::text;
use crate::rotation::state::{Phase, State};
use crate::token::managed::ManagedToken;
use crate::token::tags::Tags;
use crate::token::version::{CONTENT_TYPE, MAX_TAGS, NewVersion, Stored, Version, tag};

/// The time limit of step 2, and the wait of step 3, in the list at the top of this file. Normally a read and a write
/// of Key Vault together take about a tenth of this time.
pub const SETTLES: Duration = Duration::from_secs(2);
/// Other processes respect a mark for at least this time after the mark was last written. After that, a process may
/// replace a mark that has stayed unchanged for `SEEN_FOR`. The process that wrote the old mark is then treated as
/// dead, and the successor that it received is treated as lost.
const STANDS: TimeDelta = TimeDelta::minutes(15);
/// How long a process must see an old mark unchanged, in a working vault, before it overwrites the mark. After that,
/// the process's own mark must stay unchanged for the same time. If the old mark's process still holds the successor,
/// that process overwrites the new mark at its next attempt to save.
const SEEN_FOR: TimeDelta = TimeDelta::minutes(5);
/// If a mark is older than this, its process is treated as dead, and another process may replace the mark immediately.
/// The command `rotate` always ends before its mark reaches this age.
const STANDS_AT_MOST: TimeDelta = TimeDelta::hours(6);
/// The interval at which a process that holds a successor renews its mark.
const RENEWED_EVERY: TimeDelta = TimeDelta::minutes(5);
/// The maximum time of a redemption and its save if nothing blocks them.
const SETTLED_WITHIN: TimeDelta = TimeDelta::minutes(1);
/// The interval between checks while another process redeems the token. While this process holds the only copy of the
/// token, this is also the longest interval between attempts to save.
pub const LOOK_EVERY: Duration = Duration::from_secs(65);
/// The number of vault calls from the claim of a version to the end of the save of its successor: read, write a trial
/// version, mark, read, read, write, list, disable, disable.
pub const CALLS_OF_A_REDEMPTION: usize = 9;

/// A redemption in progress, as recorded in the tag `redeeming`. The tag contains the start of the redemption, the
/// last renewal of the mark, the id of the redemption and the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    since: Timestamp,
    said_at: Timestamp,
    by: Uuid,
    command: Box<str>,
}

impl Mark {
    /// Creates the mark for a redemption of `version`. The redemption begins at `now`.
    pub fn new(version: &Version, by: Uuid, command: &str, now: Timestamp) -> Self {
        // The start must not be before the creation of the version. Otherwise `Mark::on` would ignore the mark.
        let since = now.trunc_subsecs(0).max(version.created);
        Self { since, said_at: since, by, command: command.into() }
    }

    /// Reads the mark on a version. Ignores a mark that is older than the version: a tool has copied such a mark from
    /// an older version.
    pub fn on(version: &Version) -> Option<Self> {
        let mut words = version.tags.get(tag::REDEEMING)?.splitn(4, ' ');
        let mut time = || words.next()?.parse::<Timestamp>().ok();
        let (since, said_at) = (time()?, time()?);
        let by = words.next()?.parse().ok()?;
        let command = text::shown(words.next()?).into();
        (since >= version.created).then_some(Self { since, said_at, by, command })
    }

    /// Returns the same mark with a new time of renewal.
    #[must_use]
    pub fn renewed(self, now: Timestamp) -> Self {
        Self { said_at: now.trunc_subsecs(0), ..self }
    }

    pub fn is_to_be_renewed(&self, now: Timestamp) -> bool {
        now - self.said_at >= RENEWED_EVERY
    }

    /// Whether the redemption with the id `by` wrote the mark.
    pub fn is_of(&self, by: Uuid) -> bool {
        self.by == by
    }

    /// Whether a process that has seen this mark since `seen_since` must still wait. A wrong clock may have dated the
    /// mark in the future. A mark from one hour in the future counts as one hour old.
    fn stands(&self, seen_since: Timestamp, now: Timestamp) -> bool {
        let age = (now - self.said_at).abs();
        age < STANDS || (now - seen_since < SEEN_FOR && age < STANDS_AT_MOST)
    }

    /// Returns a version's tags with the mark. If the version has no room for another tag, the mark replaces a tag
    /// that Perennial writes again later. Returns `None` if foreign tags leave no room.
    pub fn put(&self, tags: &Tags) -> Option<Tags> {
        let mut tags = tags.clone();
        let Self { since, said_at, by, command } = self;
        let said = format!("{} {} {by} {command}", rfc3339(*since), rfc3339(*said_at));
        tags.insert(tag::REDEEMING, &said);
        for spare in [tag::VERDICT, tag::REFUSED_CODE, tag::PROVED_AT] {
            if tags.len() > MAX_TAGS {
                tags.remove(spare);
            }
        }
        (tags.len() <= MAX_TAGS).then_some(tags)
    }
}

/// Returns a version's tags without the mark.
pub fn unmarked(version: &Version) -> Tags {
    let mut tags = version.tags.clone();
    tags.remove(tag::REDEEMING);
    tags
}

/// Checks whether a version that was just read may be redeemed now. Returns the mark that an earlier redemption left on
/// this version, if there is one. The answer to the earlier redemption is treated as lost.
///
/// # Errors
/// Returns a failure if another process redeems the version or holds its successor.
pub fn may_be_claimed(
    state: &mut State,
    version: &Version,
    now: Timestamp,
) -> Result<Option<Mark>, Box<Failure>> {
    let Some(mark) = Mark::on(version) else { return Ok(None) };
    if state.claim.is_some_and(|ours| mark.is_of(ours)) {
        let is_contested = |seen: &(Mark, Timestamp)| seen.0 == mark && now - seen.1 < SEEN_FOR;
        let contested = state.sighted.as_deref().is_some_and(is_contested);
        return if contested { Err(Box::new(elsewhere(&mark))) } else { Ok(Some(mark)) };
    }
    let seen = state.sighted.take().filter(|seen| seen.0 == mark);
    let seen = seen.unwrap_or_else(|| Box::new((mark, now)));
    let (mark, since) = &**state.sighted.insert(seen);
    if mark.stands(*since, now) { Err(Box::new(elsewhere(mark))) } else { Ok(Some(mark.clone())) }
}

/// Whether the previous mark may still belong to a process that holds the successor. In that case, this process must
/// not redeem the version until its own mark has stayed unchanged for `SEEN_FOR` after `now`.
pub fn is_contest(state: &mut State, before: Option<&Mark>, ours: &Mark, now: Timestamp) -> bool {
    let contest = before.is_some_and(|before| {
        !state.claim.is_some_and(|known| before.is_of(known)) && now - before.said_at < STANDS_AT_MOST
    });
    state.sighted = contest.then(|| Box::new((ours.clone(), now)));
    contest
}

/// Returns the failure for a version that another process redeems.
pub fn elsewhere(mark: &Mark) -> Failure {
    let Mark { since, command, .. } = mark;
    let summary = format!(
        "another process (`{command}`) has been redeeming this token since {}, and has not saved the new token yet",
        rfc3339(*since)
    );
    let action = format!(
        "keep that process running and find out why it cannot save; if that process has ended, do nothing: Perennial redeems the token {} minutes after that process last wrote its tag `redeeming`",
        (STANDS + SEEN_FOR).num_minutes()
    );
    let failure = Failure::new(Kind::Unsaved, Remedy::Retry, FailureSubject::Grant, summary);
    Failure { action: Some(action.into()), ..failure }
}

/// Returns the failure for a daily limit that leaves too few vault calls for a redemption and its save.
pub fn no_calls_left() -> Failure {
    let summary = "Perennial has reached its daily limit of Key Vault calls, so it redeems this token later";
    Failure::new(Kind::Overdue, Remedy::Retry, FailureSubject::Saving, summary)
}

/// Returns a failure and its start if another process has been redeeming the version for too long. The limit is
/// `SETTLED_WITHIN`. Only commands that redeem nothing use this function.
pub fn unsettled(version: &Version, now: Timestamp) -> Option<(Failure, Timestamp)> {
    let mark = Mark::on(version).filter(|mark| now - mark.since >= SETTLED_WITHIN)?;
    Some((elsewhere(&mark), mark.since))
}

/// Whether a failure means that another process redeems the version.
pub fn is_elsewhere(failure: &Failure) -> bool {
    failure.kind == Kind::Unsaved && failure.about == FailureSubject::Grant
}

/// Returns the failure for a vault that took too long for a safe claim.
pub fn too_slow() -> Failure {
    let summary =
        "Key Vault answers too slowly, so Perennial cannot be sure that no other process redeems this token";
    Failure::new(Kind::VaultUnreachable, Remedy::Retry, FailureSubject::Saving, summary)
}

/// Returns the failure for foreign tags that leave no room for the mark.
pub fn no_room() -> Failure {
    let summary =
        format!("the newest version has {MAX_TAGS} tags, so it has no room for the tag that Perennial needs");
    let failure = Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::Saving, summary);
    let action = "remove a tag of another program from the newest version of the secret";
    Failure { action: Some(action.into()), ..failure }
}

/// Returns a new version that Key Vault rejects because it has too many tags (docs/azure-facts.md F207). If this
/// process has no permission to write, Key Vault returns another error before it checks the tags. So this request tests
/// the permission, but writes nothing. If a vault accepted the request nevertheless, the new version would contain the
/// same token.
pub fn trial(stored: &Stored, expires: Timestamp) -> NewVersion {
    let mut tags = unmarked(&stored.version);
    for nth in 0..=MAX_TAGS {
        tags.insert(&format!("trial-{nth}"), "");
    }
    NewVersion { value: stored.value.clone(), content_type: Some(CONTENT_TYPE), expires, tags }
}

/// Returns a failure if the user in the version's tag differs from the user in the configuration. This check runs
/// before the redemption, which would invalidate the token. A tag can be wrong, so Perennial also checks the user in
/// the issuer's answer.
pub fn wrong_user(grant: &ManagedToken, version: &Version) -> Option<Failure> {
    let (wanted, noted) = (grant.user_oid.as_deref()?, version.tags.get(tag::USER_OID)?);
    let differs = version.is_ours() && !wanted.eq_ignore_ascii_case(noted);
    differs.then(|| {
        let summary = "the newest version's tag user-oid differs from user_oid in the configuration, so Perennial did not redeem the token";
        Failure::new(Kind::WrongIdentity, Remedy::Operator, FailureSubject::Grant, summary)
    })
}

/// Adds two facts to the failure about an answer that does not match the configuration: the stored token no longer
/// works, and the successor is only in memory.
pub fn withheld(failure: Failure) -> Failure {
    let summary = format!(
        "{}; the stored token no longer works, and the new token is held in memory only: the new token is lost if this process ends",
        failure.summary
    );
    Failure { summary, ..failure }
}

/// Adds the cause to the failure about a rejected version that has the mark of an earlier redemption. That redemption
/// invalidated the version, and the answer with the new token was lost.
pub fn lost_answer(failure: Failure, mark: &Mark) -> Failure {
    if failure.remedy != Remedy::Login {
        return failure;
    }
    let Mark { since, command, .. } = mark;
    let summary = format!(
        "{}; `{command}` redeemed the stored token at {}, and the answer with the new token was lost",
        failure.summary,
        rfc3339(*since)
    );
    // The mark shows that an earlier redemption began. So a single rejection proves that the token is invalid.
    Failure { summary, is_definite: true, ..failure }
}

/// Returns the failure for a command that ends while it holds the only copy of a token. The token is then lost. Returns
/// `None` if the command holds no such token.
pub fn lost(state: &mut State, now: Timestamp) -> Option<Failure> {
    if !state.holds_only_copy() {
        return None;
    }
    let why = state.failure().map_or_else(String::new, |failure| format!(" ({})", failure.summary));
    state.phase = Phase::Unproved { due_at: now };
    let summary =
        format!("the new token could not be saved and is lost{why}; the stored token no longer works");
    Some(Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, summary))
}

#[cfg(test)]
mod tests;
