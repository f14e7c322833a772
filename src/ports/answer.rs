//! Whether an answer of the issuer is for the configured tenant, app and user. Pure.
//!
//! The ID token and the access token both count. An access token belongs to its resource and may become opaque, so
//! each redemption asks for an ID token too (`login::scopes`). One rule holds for tenant, app and user:
//!
//! - One token names another value: the answer is rejected. Saving a foreign token is worse than stopping with an
//!   alert.
//! - One token names the right value: it matches.
//! - A claim is present in a form that cannot be compared: the answer is rejected.
//! - Neither token names a value, or none is configured and the two tokens disagree: unverified. The condition
//!   `identity_unverified` reports it, and the successor is saved all the same, since a token that is not rotated dies.

use std::fmt;

use crate::ports::RefreshResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::text;
use crate::token::claims::Claim;
use crate::token::managed::ManagedToken;

/// The facts that are compared with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The tenant.
    Tenant,
    /// The app.
    App,
    /// The user pinned by `user_oid`.
    User,
}

impl Fact {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::App => "app",
            Self::User => "user",
        }
    }
}

/// Why an answer does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The fact that differs.
    pub fact: Fact,
    /// Whether the claim has a form that cannot be compared.
    pub is_odd: bool,
    /// The user in the answer instead of the pinned one, if it is an object id.
    pub user_oid: Option<String>,
}

/// Tenant and user of an answer that matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The tenant's id, if it is a GUID.
    pub tenant_id: Option<String>,
    /// The user's object id, if it is one.
    pub user_oid: Option<String>,
    /// The facts that could not be compared.
    pub unverified: Unverified,
}

/// Facts that could not be compared with the configuration: neither token names one, or the two disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unverified {
    /// The tenant.
    pub tenant: bool,
    /// The app.
    pub app: bool,
    /// The user.
    pub user: bool,
}

impl Unverified {
    /// Whether there is any.
    pub fn is_any(self) -> bool {
        self.tenant || self.app || self.user
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.tenant, Fact::Tenant), (self.app, Fact::App), (self.user, Fact::User)];
        let words: Vec<&str> = all.iter().filter(|(is, _)| *is).map(|(_, fact)| fact.as_str()).collect();
        f.write_str(&words.join(" and "))
    }
}

/// Rejects an answer for another tenant, app or user. Returns tenant and user, if the answer names them.
///
/// # Errors
/// Operator: the configuration or the sign-in is for the wrong tenant, app or user.
pub fn check(grant: &ManagedToken, client_id: &str, answer: &RefreshResponse) -> Result<Whose, Failure> {
    compare(grant, client_id, answer).map_err(|mismatch| {
        let what = mismatch.fact.as_str();
        let summary = if mismatch.is_odd {
            format!(
                "the issuer's answer names its {what} in a form that cannot be compared with the configured one; nothing was written"
            )
        } else {
            format!(
                "the issuer answered with a token for another {what} than the one configured; nothing was written"
            )
        };
        Failure::new(Kind::WrongIdentity, Remedy::Operator, FailureSubject::Grant, summary)
    })
}

/// Compares the tokens of an answer with the configuration.
///
/// # Errors
/// The first difference, in the order tenant, app, user.
pub fn compare(grant: &ManagedToken, client_id: &str, answer: &RefreshResponse) -> Result<Whose, Mismatch> {
    let id = answer.id_claims.clone().unwrap_or_default();
    let access = answer.access_token.claims().unwrap_or_default();
    let (tenants, users) = ([&id.tid, &access.tid], [&id.oid, &access.oid]);
    let audience = audience(&id.aud, client_id);
    let apps = [&audience, &id.azp, &access.azp, &access.appid];
    let mut unverified = Unverified::default();
    for (fact, said, is_unverified) in [
        (Fact::Tenant, said(tenant(grant), &tenants), &mut unverified.tenant),
        (Fact::App, said(Some(client_id), &apps), &mut unverified.app),
        (Fact::User, said(grant.user_oid.as_deref(), &users), &mut unverified.user),
    ] {
        match said {
            Said::Same => {}
            Said::Nothing => *is_unverified = true,
            Said::Other | Said::Odd => {
                let stranger = users.iter().filter_map(|user| object_id(user.as_deref()));
                let pinned = grant.user_oid.as_deref().unwrap_or_default();
                let user_oid = stranger.into_iter().find(|user| !user.eq_ignore_ascii_case(pinned));
                return Err(Mismatch { fact, is_odd: said == Said::Odd, user_oid });
            }
        }
    }
    let guid = |claims: [&Claim; 2]| claims.into_iter().find_map(|claim| object_id(claim.as_deref()));
    // If two claims disagree, neither is shown or stored.
    let tenant_id = guid(tenants).filter(|_| !unverified.tenant);
    let user_oid = guid(users).filter(|_| !unverified.user);
    Ok(Whose { tenant_id, user_oid, unverified })
}

/// The combined result of all claims about one fact.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Same,
    Other,
    Odd,
    Nothing,
}

fn said(configured: Option<&str>, claims: &[&Claim]) -> Said {
    let mut texts = claims.iter().filter_map(|claim| claim.as_deref());
    let Some(configured) = configured else {
        // Nothing is configured, so any value is accepted; two that disagree count as none.
        let first = texts.next().unwrap_or_default();
        return if texts.all(|text| text.eq_ignore_ascii_case(first)) { Said::Same } else { Said::Nothing };
    };
    match texts.next() {
        Some(first) if texts.chain([first]).all(|text| text.eq_ignore_ascii_case(configured)) => Said::Same,
        Some(_) => Said::Other,
        None if claims.iter().all(|claim| **claim == Claim::Absent) => Said::Nothing,
        None => Said::Odd,
    }
}

/// The app that an ID token is for. Several may be named (`OpenID` Connect Core 2).
fn audience(aud: &Claim, client_id: &str) -> Claim {
    match aud {
        Claim::List(apps) => {
            let ours = apps.iter().find(|app| app.eq_ignore_ascii_case(client_id));
            ours.or(apps.first()).cloned().map_or(Claim::Odd, Claim::Text)
        }
        aud => aud.clone(),
    }
}

/// The configured tenant, if it can be compared: a verified domain may stand for the tenant's GUID.
fn tenant(grant: &ManagedToken) -> Option<&str> {
    Some(grant.tenant_id.as_str()).filter(|tenant| uuid::Uuid::try_parse(tenant).is_ok())
}

/// The user's object id, if it has that form. It is shown and written into a tag, and any other text could be a
/// secret.
pub fn object_id(claimed: Option<&str>) -> Option<String> {
    claimed.and_then(text::guid)
}

/// Whether a tenant differs from the configured one, if both can be compared.
pub fn is_other_tenant(grant: &ManagedToken, answered: Option<&str>) -> bool {
    let configured = tenant(grant);
    configured.zip(answered).is_some_and(|(configured, answered)| !answered.eq_ignore_ascii_case(configured))
}
