//! Evaluates a status document: finds the problems that block tokens, and counts the tokens that are in the state
//! `unknown` or could not be read. This module is pure. A document from a daemon and a document from the vault's tags
//! give the same result.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use crate::ports::failure::Kind;
use crate::status::condition::{Condition, Severity, severity};
use crate::status::document::{Status, TokenStatus};
use crate::status::snapshot::TokenState;
use crate::token::managed::ManagedToken;

impl Status {
    /// The conditions that matter now to a user of these tokens. These are the critical conditions and the conditions
    /// that explain why a token is not `current`. Tokens in the state `off` are ignored.
    pub fn in_the_way(&self) -> impl Iterator<Item = &Condition> {
        let is_hit = |condition: &Condition, token: &TokenStatus| match token.state {
            TokenState::Off => false,
            TokenState::Current => condition.severity == Severity::Critical,
            _ => condition.severity == Severity::Critical || keeps_from_use(condition.kind),
        };
        let tokens: BTreeMap<&str, &TokenStatus> =
            self.tokens.iter().map(|token| (token.name.as_str(), token)).collect();
        self.conditions.iter().filter(move |condition| {
            let mut affected = condition.tokens.iter().filter_map(|name| tokens.get(name.as_str()));
            affected.any(|token| is_hit(condition, token))
        })
    }

    /// The number of tokens whose state is unknown.
    pub fn unknown(&self) -> usize {
        self.tokens.iter().filter(|token| token.state == TokenState::Unknown).count()
    }

    /// The number of tokens that could not be read from the vault.
    pub fn unread(&self) -> usize {
        let unread =
            |kind: &Kind| matches!(kind, Kind::VaultUnreachable | Kind::VaultRefused | Kind::VaultIdentity);
        let is_unread = |token: &&TokenStatus| token.version.is_none() && token.conditions.iter().any(unread);
        self.tokens.iter().filter(is_unread).count()
    }

    /// Whether the document covers exactly these tokens, each in the same vault secret.
    pub fn is_of(&self, tokens: &[ManagedToken]) -> bool {
        let ours: BTreeSet<(&str, String)> =
            tokens.iter().map(|token| (token.name.as_str(), token.secret.to_string())).collect();
        let theirs = self.tokens.iter().map(|token| (token.name.as_str(), token.stored_in.clone()));
        self.tokens.len() == tokens.len() && ours == theirs.collect()
    }

    /// Limits the document to some of its tokens. Conditions that are not about a token are kept.
    #[must_use]
    pub fn narrowed(mut self, to: &[&ManagedToken]) -> Self {
        if to.len() == self.tokens.len() {
            return self;
        }
        self.tokens.retain(|token| to.iter().any(|grant| grant.name.as_str() == token.name));
        let tokens = &self.tokens;
        self.conditions.retain_mut(|condition| {
            if condition.tokens.is_empty() {
                return true;
            }
            condition.tokens.retain(|name| tokens.iter().any(|token| token.name == *name));
            let affected = to.iter().filter_map(|grant| {
                let name = condition.tokens.iter().find(|name| *name == grant.name.as_str())?;
                Some((*grant, tokens.iter().find(|token| token.name == *name)?.runway_seconds))
            });
            let affected: Vec<(&ManagedToken, Option<i64>)> = affected.collect();
            let grave = affected.iter().map(|(grant, left)| {
                let lifetime = TimeDelta::from_std(grant.policy.lifetime).unwrap_or(TimeDelta::MAX);
                severity(condition.kind, left.map(TimeDelta::seconds), lifetime)
            });
            condition.severity = grave.max().unwrap_or(condition.severity);
            condition.runway_seconds = affected.iter().filter_map(|(_, left)| *left).min();
            let mut owners: Vec<String> =
                affected.iter().filter_map(|(grant, _)| grant.owner.clone()).collect();
            owners.sort();
            owners.dedup();
            condition.owners = owners;
            !affected.is_empty()
        });
        self.healthy = self.gravest(None) != Some(Severity::Critical);
        self
    }
}

/// Whether a condition of this kind explains why a token is not `current`.
fn keeps_from_use(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::AppSecretExpiring
            | Kind::AppSecretExpiryUnknown
            | Kind::AppCredentialRenewalFailed
            | Kind::AppCredentialUnknown
            | Kind::IdentityUnverified
            | Kind::SameRefreshToken
            | Kind::ForeignWriter
            | Kind::BuriedSignIn
            | Kind::TurnedOff
            | Kind::Overdue
            | Kind::ClockSkew
            | Kind::AlertUndeliverable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::failure::{Failure, FailureSubject, Remedy};
    use crate::process::clock::Timestamp;
    use crate::rotation::samples;
    use crate::rotation::state::State;
    use crate::status::condition::Cause;
    use crate::status::document::StatusSource;
    use crate::status::samples::snapshot;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
    }

    fn grant(name: &str) -> ManagedToken {
        ManagedToken {
            secret: samples::address(name),
            owner: Some(format!("owner of {name}")),
            ..samples::grant(name)
        }
    }

    /// Creates the status during an outage of Entra. One token has five days left, and another token has 80 days left.
    fn outage() -> Status {
        let drawn = |name, age| {
            let proved = samples::proved(samples::version("v", now() - TimeDelta::days(age)), now());
            let about = FailureSubject::Grant;
            let failure = Failure::new(Kind::EntraUnreachable, Remedy::Retry, about, "as told");
            snapshot(grant(name), &samples::failed(proved, failure, now(), 3), now(), now())
        };
        let all = [drawn("late", 85), drawn("early", 10)];
        Status::of(&all, TimeDelta::zero(), now(), StatusSource::Daemon)
    }

    #[test]
    fn a_status_of_some_tokens_is_drawn_from_those_alone() {
        let told = |names: &[&str]| {
            let grants: Vec<ManagedToken> = names.iter().map(|name| grant(name)).collect();
            let status = outage().narrowed(&grants.iter().collect::<Vec<_>>());
            let [only] = status.conditions.try_into().expect("one outage");
            (status.healthy, only.severity, only.tokens, only.owners, only.runway_seconds)
        };
        let days = |days| Some(TimeDelta::days(days).num_seconds());
        let whole = outage().conditions.remove(0);

        assert_eq!((whole.severity, whole.tokens.len()), (Severity::Critical, 2));
        let (healthy, severity, tokens, owners, left) = told(&["early"]);
        assert_eq!((healthy, severity, left), (true, Severity::Warning, days(80)));
        assert_eq!((tokens, owners), (vec!["early".to_owned()], vec!["owner of early".to_owned()]));
        let (healthy, severity, tokens, owners, left) = told(&["late", "early"]);
        assert_eq!((healthy, severity, left), (false, Severity::Critical, days(5)));
        assert_eq!((tokens, owners), (whole.tokens, whole.owners));
    }

    #[test]
    fn a_document_of_other_tokens_or_other_vaults_is_not_ours() {
        let elsewhere = ManagedToken { secret: samples::address("another"), ..grant("late") };

        assert!(outage().is_of(&[grant("early"), grant("late")]), "in whichever order");
        assert!(!outage().is_of(&[grant("late")]), "one fewer");
        assert!(!outage().is_of(&[elsewhere, grant("early")]), "the same names in another place");
    }

    #[test]
    fn a_served_document_is_read_back_and_anything_else_is_rejected() {
        let served = serde_json::to_vec(&outage()).expect("JSON");
        let read = Status::parse(&served).expect("its own form");

        assert_eq!(serde_json::to_vec(&read).expect("JSON"), served);
        let mut of_the_vault = outage();
        of_the_vault.source = StatusSource::Vault;
        for other in [&b"<html>"[..], b"{}", b"", &serde_json::to_vec(&of_the_vault).expect("JSON")] {
            assert!(Status::parse(other).is_none());
        }
    }
    /// Cases: a token's state, its condition, and whether a user of the token must know about the condition.
    #[test]
    fn a_user_must_know_what_keeps_a_token_from_use() {
        let failed = |state, kind, remedy| {
            samples::failed(state, Failure::new(kind, remedy, FailureSubject::Grant, "as told"), now(), 3)
        };
        let proved = || samples::proved(samples::version("v", now()), now());
        let unknown = || State::unknown(now());
        let retry = Remedy::Retry;
        for (what, state, told, is_hit) in [
            (
                "works in an outage",
                failed(proved(), Kind::EntraUnreachable, retry),
                Kind::EntraUnreachable,
                false,
            ),
            (
                "unknown in an outage",
                failed(unknown(), Kind::EntraUnreachable, retry),
                Kind::EntraUnreachable,
                true,
            ),
            ("must sign in", failed(proved(), Kind::LoginRequired, Remedy::Login), Kind::LoginRequired, true),
            ("off", failed(proved(), Kind::TurnedOff, Remedy::Operator), Kind::TurnedOff, false),
        ] {
            let of = snapshot(grant("a"), &state, now(), now());
            let status = Status::of(&[of], TimeDelta::zero(), now(), StatusSource::Daemon);
            assert!(status.conditions.iter().any(|condition| condition.kind == told), "{what}");
            assert_eq!(status.in_the_way().any(|condition| condition.kind == told), is_hit, "{what}");
        }
    }

    #[test]
    fn a_condition_is_in_the_way_of_the_tokens_that_it_affects() {
        let cause = |name: &str| Cause::token(&samples::address(name));
        let of = |kind, severity, tokens: &[&str]| Condition {
            tokens: tokens.iter().map(|name| (*name).to_owned()).collect(),
            ..Condition::new(kind, &cause("x"), (severity, Remedy::Operator), now())
        };
        let (mild, grave) = (Severity::Warning, Severity::Critical);
        let current = samples::proved(samples::version("v", now()), now());
        let off = Failure::new(Kind::TurnedOff, Remedy::Operator, FailureSubject::Token, "as told");
        let off = samples::failed(State::unknown(now()), off, now(), 1);
        let all = [("current", current), ("unknown", State::unknown(now())), ("off", off)]
            .map(|(name, state)| snapshot(grant(name), &state, now(), now()));
        for (condition, is_hit) in [
            (of(Kind::EntraUnreachable, mild, &["current"]), false),
            (of(Kind::EntraUnreachable, grave, &["current"]), true),
            (of(Kind::EntraUnreachable, mild, &["unknown"]), true),
            (of(Kind::EntraUnreachable, mild, &["current", "unknown"]), true),
            (of(Kind::Overdue, mild, &["unknown"]), false),
            (of(Kind::Overdue, grave, &["unknown"]), true),
            (of(Kind::EntraUnreachable, grave, &["off"]), false),
            (of(Kind::ClockSkew, grave, &[]), false),
            (of(Kind::EntraUnreachable, grave, &["another"]), false),
        ] {
            let what = format!("{condition:?}");
            let status = Status::with(&all, vec![condition], now(), StatusSource::Daemon);
            assert_eq!(status.in_the_way().count(), usize::from(is_hit), "{what}");
        }
    }

    #[test]
    fn tokens_without_an_answer_of_the_vault_are_counted_as_unread() {
        let failed = |state, kind| {
            let failure = Failure::new(kind, Remedy::Operator, FailureSubject::Token, "as told");
            samples::failed(state, failure, now(), 1)
        };
        let read = || samples::proved(samples::version("v", now()), now());
        let all = [
            ("a", read()),
            ("b", failed(read(), Kind::VaultRefused)),
            ("c", failed(State::unknown(now()), Kind::VaultRefused)),
            ("d", failed(State::unknown(now()), Kind::VaultIdentity)),
            ("e", failed(State::unknown(now()), Kind::NeverSignedIn)),
            ("f", State::unknown(now())),
            ("g", State::unknown(now())),
            ("h", State::unknown(now())),
        ]
        .map(|(name, state)| snapshot(grant(name), &state, now(), now()));

        let status = Status::of(&all, TimeDelta::zero(), now(), StatusSource::Vault);

        assert_eq!((status.unread(), status.unknown()), (2, 3));
        let none = Status::of(&[], TimeDelta::zero(), now(), StatusSource::Vault);
        assert_eq!((none.unread(), none.unknown()), (0, 0));
    }

    #[test]
    fn a_condition_without_a_token_stays_in_a_status_of_some_tokens() {
        let mut status = outage();
        let cause = Cause::host(&samples::grant("a").deployment);
        let skew = (Severity::Warning, Remedy::Operator);
        status.conditions.push(Condition::new(Kind::ClockSkew, &cause, skew, now()));
        let kinds = |of: &Status| of.conditions.iter().map(|told| told.kind).collect::<Vec<_>>();

        let (early, none) = (status.clone().narrowed(&[&grant("early")]), status.clone().narrowed(&[]));

        assert_eq!(kinds(&early), [Kind::EntraUnreachable, Kind::ClockSkew]);
        let names: Vec<&str> = early.tokens.iter().map(|token| token.name.as_str()).collect();
        assert_eq!((names, none.tokens.len()), (vec!["early"], 0));
        assert_eq!(kinds(&none), [Kind::ClockSkew]);
        assert!(!status.healthy && none.healthy);
    }

    #[test]
    fn a_document_of_a_token_twice_is_not_ours() {
        let mut status = outage();
        status.tokens.push(status.tokens[0].clone());

        assert!(!status.is_of(&[grant("late"), grant("early")]));
    }
}
