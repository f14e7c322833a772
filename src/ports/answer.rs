//! Checks whether the issuer's response is for the configured tenant, app and user. This module is pure.
//!
//! Both the ID token and the access token are checked. Only the resource needs to read an access token, so Microsoft
//! may make access tokens unreadable for Perennial. Therefore each redemption also requests an ID token
//! (`login::scopes`). The following rules apply to each of three facts: tenant, app and user:
//!
//! - If a token names a value that differs from the configured value, the response is rejected. Saving a token of
//!   another tenant, app or user is worse than stopping with an alert.
//! - If at least one token names the configured value, and neither token names a different value, the response matches.
//! - If a value is configured, but the tokens name the fact only in claims that Perennial cannot compare, such as a
//!   number in place of a text, the response is rejected.
//! - If a value is configured, but neither token names the fact, the fact is unverified. If no value is configured, but
//!   the two tokens disagree, the fact is also unverified. The condition `identity_unverified` reports an unverified
//!   fact. Perennial saves the new refresh token nevertheless, because a token that is never rotated expires.

use std::fmt;

use crate::ports::RefreshResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::text;
use crate::token::claims::Claim;
use crate::token::managed::ManagedToken;

/// A fact that is compared with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The tenant that issued the token.
    Tenant,
    /// The app to which the token was issued.
    App,
    /// The user of the token (`user_oid` in the configuration).
    User,
}

impl Fact {
    /// The name of the fact in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::App => "app",
            Self::User => "user",
        }
    }
}

/// Why a response does not match the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The fact that differs.
    pub fact: Fact,
    /// Whether the claim has a form that cannot be compared.
    pub is_odd: bool,
    /// The user's object id in the response, if this id is a GUID that differs from the configured id.
    pub user_oid: Option<String>,
}

/// The tenant and user of a matching response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The tenant's id, if the claim is a GUID.
    pub tenant_id: Option<String>,
    /// The user's object id, if the claim is a GUID.
    pub user_oid: Option<String>,
    /// The facts that the response does not confirm.
    pub unverified: Unverified,
}

/// The facts that the response does not confirm, because neither token names them or the two tokens disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unverified {
    /// Whether the tenant is unverified.
    pub tenant: bool,
    /// Whether the app is unverified.
    pub app: bool,
    /// Whether the user is unverified.
    pub user: bool,
}

impl Unverified {
    /// Whether at least one fact is unverified.
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

/// Rejects a response for another tenant, app or user. Returns the tenant and the user, if the response names them.
///
/// # Errors
/// The configuration or the sign-in is for the wrong tenant, app or user. An operator must fix the cause.
pub fn check(grant: &ManagedToken, client_id: &str, answer: &RefreshResponse) -> Result<Whose, Failure> {
    compare(grant, client_id, answer).map_err(|mismatch| {
        let what = mismatch.fact.as_str();
        let summary = if mismatch.is_odd {
            format!(
                "Entra's answer names the {what} in a form that Perennial cannot compare with the configuration; nothing was written"
            )
        } else {
            format!(
                "Entra's token is not for the configured {what}; nothing was written"
            )
        };
        Failure::new(Kind::WrongIdentity, Remedy::Operator, FailureSubject::Grant, summary)
    })
}

/// Compares the tokens of a response with the configuration.
///
/// # Errors
/// Returns the first difference, in the order tenant, app, user.
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
    // If two claims disagree, Perennial shows and stores neither of them.
    let tenant_id = guid(tenants).filter(|_| !unverified.tenant);
    let user_oid = guid(users).filter(|_| !unverified.user);
    Ok(Whose { tenant_id, user_oid, unverified })
}

/// The combined result of comparing all claims about one fact.
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
        // Without a configured value, any value is accepted. If two claims disagree, the tokens are treated as if they
        // did not name the fact.
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

/// The app for which an ID token was issued. The audience may name several apps (`OpenID` Connect Core 2). If
/// `client_id` is one of the apps, returns `client_id`. Otherwise returns the first app.
fn audience(aud: &Claim, client_id: &str) -> Claim {
    match aud {
        Claim::List(apps) => {
            let ours = apps.iter().find(|app| app.eq_ignore_ascii_case(client_id));
            ours.or(apps.first()).cloned().map_or(Claim::Odd, Claim::Text)
        }
        aud => aud.clone(),
    }
}

/// The configured tenant, if it is a GUID. A verified domain cannot be compared with the tenant's GUID.
fn tenant(grant: &ManagedToken) -> Option<&str> {
    Some(grant.tenant_id.as_str()).filter(|tenant| uuid::Uuid::try_parse(tenant).is_ok())
}

/// Returns an object id, or `None` if the text is not a GUID. Perennial shows the id and writes the id into a tag.
/// Text that is not a GUID could be a secret.
pub fn object_id(claimed: Option<&str>) -> Option<String> {
    claimed.and_then(text::guid)
}

/// Whether a tenant differs from the configured tenant. Returns false if the tenants cannot be compared.
pub fn is_other_tenant(grant: &ManagedToken, answered: Option<&str>) -> bool {
    let configured = tenant(grant);
    configured.zip(answered).is_some_and(|(configured, answered)| !answered.eq_ignore_ascii_case(configured))
}
