//! Decides when Perennial records the verdict on the newest version in the tag `verdict`. The next process reads the
//! tag. The verdict is `usable` or the kind of a condition.
//!
//! The tag contains one word and one time. For `usable`, this is the time of the verdict. For a kind of condition, this
//! is the start of the condition. So `status --monitor` can report the result of an earlier `rotate`, and after a
//! restart Perennial continues the same incident. If the verdict stays `usable`, it is recorded at most daily. A
//! condition is recorded when its kind changes. A rotation writes the verdict with the new version and needs no further
//! request.
//!
//! A rejection by the issuer has tags of its own. Only those tags can show that a version is invalid for good
//! (`refused`). When Perennial writes those tags, it removes the tag `verdict`. So the verdict needs no additional
//! place among the 15 tags of a version.

use super::MARK_EVERY;
use crate::ports::failure::{FailureSubject, Kind};
use crate::rotation::state::{Blocked, Facts, Noted};
use crate::token::tags::Tags;
use crate::token::version::{Version, tag, verdict};

/// Returns the verdict on a version that the issuer has just redeemed. If Partner Center did not answer, its last
/// verdict stays. A recorded failure to redeem the version is removed, because it is over.
pub(super) fn after_proof(version: &Version, facts: &Facts) -> Option<Noted> {
    let before = || Noted::on(version).filter(|noted| noted.is_partner_centers());
    // An acceptance that is older than the version is not recorded, because the next process would not trust it.
    let is_believed = |noted: &Noted| noted.kind.is_some() || version.is_noted_on_it(noted.at);
    facts.heard_since(version.issued_at()).filter(is_believed).or_else(before)
}

/// Whether the verdict is to be recorded: it differs from the version's tag, or its time differs by a day or more.
pub(super) fn is_news(verdict: Option<Noted>, version: &Version) -> bool {
    match (verdict, Noted::on(version)) {
        // If a wrong clock has recorded a time that is a day or more in the future, the verdict is also recorded again.
        (Some(new), Some(old)) if new.kind == old.kind => (new.at - old.at).abs() >= MARK_EVERY,
        (None, None) => false,
        _ => true,
    }
}

/// Returns the kind of failure that blocks a version, if the version's tag lacks this kind. Returns `None` for a
/// rejected grant, which has tags of its own. If the app's credential cannot be read, the failure is recorded only if a
/// vault denied access. The next process notices an unreadable file or environment variable itself.
pub(super) fn of_failure(version: &Version, blocked: &Blocked) -> Option<Noted> {
    let failure = &blocked.failure;
    let kind = match (failure.kind, failure.about) {
        (Kind::AppCredentialRefused, FailureSubject::AppCredential)
        | (Kind::VaultRefused, FailureSubject::CredentialSource)
        | (Kind::NoRefreshToken, _) => failure.kind,
        _ => return None,
    };
    let known = Noted::on(version).is_some_and(|noted| noted.kind == Some(kind));
    let news = !version.is_refused() && !known;
    news.then_some(Noted { kind: Some(kind), at: blocked.since })
}

/// Writes the verdict into a version's tags. Without a verdict, removes the tag.
pub(super) fn put(tags: &mut Tags, noted: Option<Noted>) {
    match noted {
        Some(noted) => tags.insert(tag::VERDICT, &verdict(noted.word(), noted.at)),
        None => tags.remove(tag::VERDICT),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::ports::Acceptance;
    use crate::ports::failure::{Failure, Remedy};
    use crate::process::clock::{Timestamp, rfc3339};
    use crate::rotation::samples;
    use crate::rotation::schedule::{Next, Timing};
    use crate::rotation::state::State;
    use crate::token::managed::{Policy, TokenName};

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
    }

    fn hours(count: i64) -> TimeDelta {
        TimeDelta::hours(count)
    }

    /// Returns a version that Perennial wrote a day ago and proved an hour ago. The version's tags have this verdict.
    fn noted(verdict: Option<(&str, Timestamp)>) -> Version {
        let mut version = samples::version("v", now() - hours(24));
        version.tags.insert(tag::MANAGED_BY, "perennial");
        version.tags.insert(tag::PROVED_AT, &rfc3339(now() - hours(1)));
        if let Some((word, at)) = verdict {
            version.tags.insert(tag::VERDICT, &super::verdict(word, at));
        }
        version
    }

    fn proved(newest: Version, said: Option<(bool, Timestamp)>) -> State {
        let version = newest.id.clone();
        let mut state = samples::proved(newest, now());
        if let Some((accepted, at)) = said {
            let said = Acceptance {
                accepted,
                mfa: None,
                tenant_id: None,
                company: None,
                is_audience: false,
                status: 200,
            };
            state.hear(&version, said, at);
        }
        state
    }

    /// Returns the verdict that would be written to the tags. Returns an empty text if the verdict would be removed,
    /// and `None` if no tag would be written.
    fn written(state: &State) -> Option<String> {
        let timing = Timing::new(&Policy::default().into(), &TokenName::new("a"), 0.0);
        match timing.next(state, now()) {
            Next::UpdateTags(tags) => Some(tags.get(tag::VERDICT).unwrap_or_default().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_verdict_is_recorded_when_it_changes_and_an_acceptance_daily() {
        let (before, refused) = (now() - hours(40), "partner_center_refused");
        let is_late = now() - hours(24);
        let usable = Some(format!("usable {}", rfc3339(now())));
        let (yes, no) = (Some((true, now())), Some((false, now())));
        let no_since = |at| Some(format!("{refused} {}", rfc3339(at)));
        for (what, on_it, said, wanted) in [
            ("a first yes", None, yes, usable.clone()),
            ("a yes again", Some(("usable", now() - hours(23))), yes, None),
            ("a yes a day later", Some(("usable", is_late)), yes, usable.clone()),
            (
                "a yes noted by a clock that was wrong",
                Some(("usable", now() + hours(30))),
                yes,
                usable.clone(),
            ),
            ("a yes noted exactly a day ahead", Some(("usable", now() + hours(24))), yes, usable.clone()),
            ("a yes noted a little ahead", Some(("usable", now() + hours(23))), yes, None),
            ("a no just after a yes", Some(("usable", now())), no, no_since(now())),
            ("a yes just after a no", Some((refused, now())), yes, usable.clone()),
            ("a first no", Some(("usable", is_late)), no, no_since(now())),
            ("a no again", Some((refused, before)), no, None),
            ("a yes after a no", Some((refused, before)), yes, usable.clone()),
            ("silence", None, None, None),
            ("silence after a no", Some((refused, before)), None, None),
            ("silence after a yes", Some(("usable", before)), None, None),
            (
                "an app secret that works again",
                Some(("app_credential_refused", before)),
                None,
                Some(String::new()),
            ),
            ("a word nobody knows", Some(("out_of_cheese", before)), yes, usable.clone()),
            ("what was said of the token before it", None, Some((true, now() - hours(25))), None),
        ] {
            assert_eq!(written(&proved(noted(on_it), said)), wanted, "{what}");
        }
    }

    #[test]
    fn an_obstacle_is_recorded_once_and_never_as_a_rejected_grant() {
        let since = now() - hours(2);
        let operator = Remedy::Operator;
        let retry = Remedy::Retry;
        let refused = (Kind::AppCredentialRefused, operator, FailureSubject::AppCredential);
        let usable = Some(("usable", since));
        for (what, on_it, (kind, remedy, about), is_noted) in [
            ("the app's secret", usable, refused, true),
            ("again", Some(("app_credential_refused", since)), refused, false),
            (
                "one made moments ago",
                usable,
                (Kind::AppCredentialRefused, retry, FailureSubject::AppCredential),
                false,
            ),
            ("a role on it", usable, (Kind::VaultRefused, operator, FailureSubject::CredentialSource), true),
            (
                "a file",
                usable,
                (Kind::AppCredentialRefused, operator, FailureSubject::CredentialSource),
                false,
            ),
            ("a role on the token", usable, (Kind::VaultRefused, operator, FailureSubject::Token), false),
            ("no successor", usable, (Kind::NoRefreshToken, operator, FailureSubject::Grant), true),
        ] {
            let failure = Failure::new(kind, remedy, about, "as told");
            let unproved = State { newest: Some(noted(on_it)), ..State::unknown(now()) };
            let state = samples::failed(unproved, failure, since, 1);

            let wanted = is_noted.then(|| format!("{} {}", kind.as_str(), rfc3339(since)));
            assert_eq!(written(&state), wanted, "{what}");
        }
    }

    #[test]
    fn a_rejected_grant_replaces_the_verdict() {
        let failure = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "as told");
        let unproved = State { newest: Some(noted(Some(("usable", now())))), ..State::unknown(now()) };
        let state = samples::failed(unproved, failure, now(), 1);

        assert_eq!(written(&state), Some(String::new()));
    }
}
