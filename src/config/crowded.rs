//! Checks whether Entra's limits allow Perennial to redeem every token once in each `prove_every`.
//!
//! If not, the result is a warning, not an error: Perennial still proves each token, but later than configured.

use std::collections::BTreeMap;

use crate::rotation::pace::{Redeemer, redeemable_within};
use crate::token::managed::{ManagedToken, Policy};
use crate::token::secret::ConfigValue;

/// A warning about a valid setting that cannot have its full effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// What the setting causes, and why.
    pub summary: String,
    /// What a person can do.
    pub action: String,
}

/// Returns one warning for each pair of user and app that has too many tokens. For each app, all tokens without
/// `user_oid` count as tokens of one user.
pub(super) fn crowded(tokens: &[ManagedToken], policy: &Policy) -> Vec<ConfigWarning> {
    let mut crowds: BTreeMap<Redeemer, (usize, &ManagedToken)> = BTreeMap::new();
    for token in tokens {
        crowds.entry(Redeemer::of(token, None, None)).or_insert((0, token)).0 += 1;
    }
    let most = redeemable_within(policy.prove_every);
    let too_many = crowds.into_values().filter(|(count, _)| *count > most);
    too_many.map(|(count, token)| warning(count, most, token, policy)).collect()
}

fn warning(count: usize, most: usize, token: &ManagedToken, policy: &Policy) -> ConfigWarning {
    let app = match &token.app.client_id {
        ConfigValue::Plain(id) => format!("app {id}"),
        ConfigValue::From(_) => format!("the app of {}", token.name),
    };
    let (whose, apart) = match &token.user_oid {
        Some(user) if count == 1 => (format!("belongs to user {user}"), ""),
        Some(user) => (format!("belong to user {user}"), ""),
        None => (
            "may belong to one user".to_owned(),
            "; if these tokens belong to several users, set user_oid of each token",
        ),
    };
    let tokens = if count == 1 { "one token".to_owned() } else { format!("{count} tokens") };
    let every = humantime::format_duration(policy.prove_every);
    ConfigWarning {
        summary: format!(
            "{tokens} of {app} in tenant {} {whose}. Entra allows about {most} redemptions in {every} for one user and app, and rejects further redemptions as a loop (AADSTS50196). Perennial stays within this limit, so proofs will be late",
            token.tenant_id
        ),
        action: format!("raise prove_every of [policy], or sign in with more than one user{apart}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::token::app::ManagedApp;
    use crate::token::managed::{Deployment, TokenName, Verify};
    use crate::token::secret::{SecretAddress, SecretName, Source};

    fn token(nth: usize, user_oid: Option<String>) -> ManagedToken {
        let secret = SecretAddress {
            vault: "https://contoso.vault.azure.net".into(),
            name: SecretName::parse(&format!("t{nth}")).expect("a name"),
        };
        ManagedToken {
            deployment: std::sync::Arc::new(Deployment::new("https://x/", "host", "s")),
            name: TokenName::new(&format!("t{nth}")),
            tenant_id: "contoso.com".into(),
            app: ManagedApp::with_secret(ConfigValue::Plain("app".into()), Source::Env("S".into())).into(),
            secret,
            scope: "s".into(),
            verify: Verify::Nothing,
            user_oid,
            owner: None,
            app_secret_expires: None,
            strict: false,
            policy: Policy::default().into(),
        }
    }

    #[test]
    fn more_tokens_of_one_user_than_the_loop_rule_allows_cause_a_warning() {
        let policy = Policy::default();
        let crowd = |count, user: &dyn Fn(usize) -> Option<String>| -> Vec<ManagedToken> {
            (0..count).map(|nth| token(nth, user(nth))).collect()
        };

        assert_eq!(crowded(&crowd(1_008, &|_| None), &policy), []);
        assert_eq!(crowded(&crowd(1_009, &|_| None), &policy).len(), 1);
        assert_eq!(crowded(&crowd(1_009, &|_| Some("one".into())), &policy).len(), 1);
        assert_eq!(crowded(&crowd(1_009, &|nth| Some(format!("{nth}"))), &policy), []);
        let daily = Policy { prove_every: Duration::from_secs(24 * 3600), ..policy };
        assert_eq!(crowded(&crowd(1_009, &|_| None), &daily), []);
    }
}
