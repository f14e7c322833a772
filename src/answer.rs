//! The check of a redemption's answer: is it for the tenant, the app and the user that are configured?
//!
//! Pure. What cannot be read is not held against the answer: Entra calls access tokens opaque.

use crate::failure::About;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::failure::Remedy;
use crate::ports::Redeemed;
use crate::token::Grant;

/// Refuses an answer for anybody else; says whose it is, where that can be read.
///
/// # Errors
/// Operator: the configuration or the sign-in is for the wrong tenant, app or user.
pub fn check(grant: &Grant, client_id: &str, answer: &Redeemed) -> Result<Option<String>, Failure> {
    let claims = answer.access_token.claims().unwrap_or_default();
    let wrong = |what: &str| {
        let summary = format!(
            "the issuer answered with a token for another {what} than the one configured; nothing was written"
        );
        Failure::new(Kind::WrongIdentity, Remedy::Operator, About::Grant, summary)
    };
    // A verified domain may stand for the tenant's GUID; only two GUIDs can be compared.
    if uuid::Uuid::try_parse(&grant.tenant_id).is_ok() && differs(&grant.tenant_id, claims.tid.as_deref()) {
        return Err(wrong("tenant"));
    }
    if differs(client_id, claims.appid.as_deref()) {
        return Err(wrong("app"));
    }
    if grant.user_oid.as_deref().is_some_and(|pinned| differs(pinned, claims.oid.as_deref())) {
        return Err(wrong("user"));
    }
    Ok(claims.oid)
}

fn differs(configured: &str, answered: Option<&str>) -> bool {
    answered.is_some_and(|answered| !answered.eq_ignore_ascii_case(configured))
}
