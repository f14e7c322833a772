//! The check of a redemption's answer: is it for the tenant, the app and the user that are configured?
//!
//! Pure. What cannot be read is not held against the answer: Entra calls access tokens opaque.

use crate::failure::About;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::failure::Remedy;
use crate::ports::Redeemed;
use crate::text;
use crate::token::Claims;
use crate::token::Grant;

/// In what an answer differs from what is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Another tenant.
    Tenant,
    /// Another app.
    App,
    /// Another user than the one pinned by `user_oid`.
    User,
}

impl Other {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::App => "app",
            Self::User => "user",
        }
    }
}

/// Refuses an answer for anybody else; says whose it is, where that can be read.
///
/// # Errors
/// Operator: the configuration or the sign-in is for the wrong tenant, app or user.
pub fn check(grant: &Grant, client_id: &str, answer: &Redeemed) -> Result<Option<String>, Failure> {
    let claims = answer.access_token.claims().unwrap_or_default();
    compare(grant, client_id, &claims).map_err(|other| {
        let what = other.as_str();
        let summary = format!(
            "the issuer answered with a token for another {what} than the one configured; nothing was written"
        );
        Failure::new(Kind::WrongIdentity, Remedy::Operator, About::Grant, summary)
    })?;
    Ok(object_id(claims.oid.as_deref()))
}

/// The user's object id, if it is one: it is shown, and written into a tag, and what is none could be anything, a
/// token included.
pub fn object_id(claimed: Option<&str>) -> Option<String> {
    claimed.and_then(text::guid)
}

/// Compares what a token says about itself with what is configured.
///
/// # Errors
/// The first difference, in the order tenant, app, user.
pub fn compare(grant: &Grant, client_id: &str, claims: &Claims) -> Result<(), Other> {
    if is_other_tenant(grant, claims.tid.as_deref()) {
        return Err(Other::Tenant);
    }
    if differs(client_id, claims.appid.as_deref()) {
        return Err(Other::App);
    }
    if grant.user_oid.as_deref().is_some_and(|pinned| differs(pinned, claims.oid.as_deref())) {
        return Err(Other::User);
    }
    Ok(())
}

/// Whether a tenant is another than the configured one. A verified domain may stand for the tenant's GUID;
/// only two GUIDs can be compared.
pub fn is_other_tenant(grant: &Grant, answered: Option<&str>) -> bool {
    uuid::Uuid::try_parse(&grant.tenant_id).is_ok() && differs(&grant.tenant_id, answered)
}

fn differs(configured: &str, answered: Option<&str>) -> bool {
    answered.is_some_and(|answered| !answered.eq_ignore_ascii_case(configured))
}
