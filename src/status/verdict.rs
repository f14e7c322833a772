//! What a status document means for whoever asked: what stands in the way, and what is not known. Pure: the same
//! document has the same verdict, whether a daemon drew it or the vault's notes.

use chrono::TimeDelta;

use crate::ports::failure::Kind;
use crate::status::condition::{Condition, Severity, severity};
use crate::status::document::{Status, TokenStatus};
use crate::status::snapshot::TokenState;
use crate::token::managed::ManagedToken;

impl Status {
    /// What somebody has to know who needs these tokens now: what is critical, and what keeps a token from being current. A
    /// token that is off is off because somebody asked for it.
    pub fn in_the_way(&self) -> impl Iterator<Item = &Condition> {
        let is_hit = |condition: &Condition, token: &TokenStatus| match token.state {
            TokenState::Off => false,
            TokenState::Current => condition.severity == Severity::Critical,
            _ => condition.severity == Severity::Critical || keeps_from_use(condition.kind),
        };
        self.conditions.iter().filter(move |condition| {
            let mut affected = self.tokens.iter().filter(|token| condition.tokens.contains(&token.name));
            affected.any(|token| is_hit(condition, token))
        })
    }

    /// How many tokens are not known to work.
    pub fn unknown(&self) -> usize {
        self.tokens.iter().filter(|token| token.state == TokenState::Unknown).count()
    }

    /// How many tokens could not be read, so that nothing is known of them.
    pub fn unread(&self) -> usize {
        let unread =
            |kind: &Kind| matches!(kind, Kind::VaultUnreachable | Kind::VaultRefused | Kind::VaultIdentity);
        let is_unread = |token: &&TokenStatus| token.version.is_none() && token.conditions.iter().any(unread);
        self.tokens.iter().filter(is_unread).count()
    }

    /// Whether it is about these tokens and no others, each in the same vault secret.
    pub fn is_of(&self, tokens: &[ManagedToken]) -> bool {
        let is_one = |token: &TokenStatus| {
            let mut known = tokens.iter();
            known
                .any(|known| known.name.as_str() == token.name && known.secret.to_string() == token.stored_in)
        };
        self.tokens.len() == tokens.len() && self.tokens.iter().all(is_one)
    }

    /// The same drawn from some of its tokens alone, with the conditions of no token in particular.
    #[must_use]
    pub fn narrowed(mut self, to: &[&ManagedToken]) -> Self {
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

/// Whether such a condition says why a token is not current. The others are advice, or say only that something is late.
fn keeps_from_use(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::AppSecretExpiring
            | Kind::AppSecretExpiryUnknown
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
