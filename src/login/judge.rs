//! Decides whether the token from a sign-in may be stored. Checks tenant, app, user, scopes, MFA, the token's lifetime,
//! and Partner Center's verdict.
//!
//! This module owns the order of the checks and the text of each rejection. This module compares the user who signs in
//! with the user in the tags of the stored token, so that a sign-in does not replace this user by accident. The option
//! `--replace-user` skips this comparison.

use std::time::Duration;

use super::StepFailure;
use crate::ports::answer::{Fact, Mismatch, Whose};
use crate::ports::failure::Remedy;
use crate::ports::{Acceptance, RefreshResponse, SECOND_FACTOR, answer};
use crate::process::text;
use crate::token::claims::Claims;
use crate::token::managed::{ManagedToken, Verify};

/// The minimum lifetime of an acceptable refresh token. If the redirect URI is registered under the platform `spa`, the
/// refresh token and all its successors expire 24 hours after the sign-in (docs/azure-facts.md F108). All other refresh
/// tokens are valid for weeks.
const SHORT_LIVED: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The values that a response must match.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The configuration of the token.
    pub grant: &'a ManagedToken,
    /// The app's client id, as configured or read from its source.
    pub client_id: &'a str,
    /// The nonce of the authorization request. `None` for a device code and for an imported token.
    pub nonce: Option<&'a str>,
    /// The user of the stored token, if a tag names the user.
    pub user_before: Option<&'a str>,
    /// Whether the operator wants to replace the user.
    pub replace_user: bool,
}

/// Judges a response before Partner Center is called. Returns the tenant and the user, if the response names them.
///
/// # Errors
/// The failure has the remedy Login if another sign-in helps. It has the remedy Operator if the configuration or the
/// app registration must change, and the remedy Retry if the nonce differs.
pub fn judge(expected: &Expected<'_>, answer: &RefreshResponse) -> Result<Whose, StepFailure> {
    let Expected { grant, client_id, .. } = *expected;
    nonce_matches(expected, answer)?;
    let name = sign_in_name(answer);
    let whose = answer::compare(grant, client_id, answer)
        .map_err(|mismatch| not_for_us(&mismatch, grant, client_id, name.as_deref()))?;
    same_user(expected, &whose, name.as_deref())?;
    let claims = answer.access_token.claims().unwrap_or_default();
    covers(grant, client_id, answer, &claims)?;
    if grant.verify == Verify::PartnerCenter && claims.mfa() == Some(false) {
        return Err(no_second_factor(grant));
    }
    if answer.refresh_expires_in.is_some_and(|lasts| lasts < SHORT_LIVED) {
        return Err(super::explain::registered_as_spa(grant, client_id));
    }
    Ok(whose)
}

/// Judges Partner Center's verdict on the access token.
///
/// # Errors
/// The failure has the remedy Login, because a sign-in with another account or with MFA helps.
pub fn judge_acceptance(grant: &ManagedToken, said: &Acceptance) -> Result<(), StepFailure> {
    if answer::is_other_tenant(grant, said.tenant_id.as_deref()) {
        return Err(wrong(Fact::Tenant, grant, "", ""));
    }
    if said.mfa == Some(false) {
        return Err(StepFailure { summary: SECOND_FACTOR.to_owned(), ..no_second_factor(grant) });
    }
    if !said.accepted {
        let summary = format!("Partner Center does not accept the access token (status {})", said.status);
        let action = format!(
            "sign in as a member (not a guest) of tenant {} with a Partner Center role, such as Admin agent, and check that this tenant is the partner tenant",
            grant.tenant_id
        );
        return Err(StepFailure::new(Remedy::Login, summary, action));
    }
    Ok(())
}

/// The user's sign-in name, which is only displayed. Users are compared by their ids.
pub fn sign_in_name(answer: &RefreshResponse) -> Option<String> {
    let of_access = || answer.access_token.claims()?.sign_in_name().map(str::to_owned);
    let of_id = answer.id_claims.as_ref().and_then(|id| id.sign_in_name().map(str::to_owned));
    of_id.or_else(of_access)
}

/// A text with the user's name and id.
pub fn person(oid: &str, name: Option<&str>) -> String {
    name.map_or_else(|| oid.to_owned(), |name| format!("{name} ({oid})"))
}

fn nonce_matches(expected: &Expected<'_>, answer: &RefreshResponse) -> Result<(), StepFailure> {
    let Some(sent) = expected.nonce else { return Ok(()) };
    let told = answer.id_claims.as_ref().and_then(|id| id.nonce.as_deref());
    if told == Some(sent) {
        return Ok(());
    }
    Err(StepFailure::new(
        Remedy::Retry,
        "Entra's ID token does not belong to this sign-in (its nonce differs)",
        "start the sign-in again; if this error returns, look for a proxy that changes or repeats answers",
    ))
}

fn not_for_us(mismatch: &Mismatch, grant: &ManagedToken, client_id: &str, name: Option<&str>) -> StepFailure {
    if mismatch.is_odd {
        let what = mismatch.fact.as_str();
        return StepFailure::new(
            Remedy::Operator,
            format!(
                "Entra's answer names the {what} in a form that Perennial cannot compare with the configuration"
            ),
            "check the value of authority in [cloud]: perhaps another server answered instead of Entra",
        );
    }
    wrong(mismatch.fact, grant, client_id, &person(&shown(mismatch.user_oid.as_deref()), name))
}

fn wrong(fact: Fact, grant: &ManagedToken, client_id: &str, who: &str) -> StepFailure {
    let name = &grant.name;
    let tenant = &grant.tenant_id;
    match fact {
        Fact::Tenant => StepFailure::new(
            Remedy::Login,
            format!("the account that signed in does not belong to tenant {tenant}"),
            format!(
                "sign in with an account of tenant {tenant} (--login-hint can suggest the account), or correct tenant_id of {name}"
            ),
        ),
        Fact::App => StepFailure::new(
            Remedy::Operator,
            format!("the tokens are not for app {client_id}"),
            format!(
                "compare client_id and {} of {name}: both must belong to one app",
                grant.app.credential.key()
            ),
        ),
        Fact::User => StepFailure::new(
            Remedy::Login,
            format!(
                "user {who} signed in, but user_oid of {name} allows only {}",
                grant.user_oid.as_deref().unwrap_or("another"),
            ),
            "sign in as the allowed user, or change user_oid in the configuration",
        ),
    }
}

fn shown(oid: Option<&str>) -> String {
    answer::object_id(oid).unwrap_or_else(|| "(unknown)".to_owned())
}

/// Checks that the user who signed in is the user in the tags of the stored token, unless the operator wants to replace
/// this user. If the configuration requires a user, the response must name a user.
fn same_user(expected: &Expected<'_>, whose: &Whose, sign_in_name: Option<&str>) -> Result<(), StepFailure> {
    let name = &expected.grant.name;
    let now = whose.user_oid.as_deref();
    if let (Some(pinned), None) = (&expected.grant.user_oid, now) {
        return Err(StepFailure::new(
            Remedy::Operator,
            format!(
                "Entra's answer does not say which user signed in, but user_oid of {name} allows only {pinned}"
            ),
            format!(
                "if scope of {name} has `openid`, add `profile` to scope; or remove user_oid from the configuration"
            ),
        ));
    }
    let Some(before) = expected.user_before.filter(|_| !expected.replace_user) else { return Ok(()) };
    let theirs = text::guid(before)
        .map_or_else(|| "another user, according to its tag user-oid".to_owned(), |id| format!("user {id}"));
    let summary = match now {
        Some(now) if before.eq_ignore_ascii_case(now) => return Ok(()),
        Some(now) => {
            let who = person(now, sign_in_name);
            format!("user {who} signed in, but the token in the vault belongs to {theirs}")
        }
        None => "Entra's answer does not say which user signed in, so Perennial cannot compare this user with the user of the token in the vault"
            .to_owned(),
    };
    Err(StepFailure::new(
        Remedy::Login,
        summary,
        format!(
            "sign in as the user of the stored token; to replace this user, run `perennial login {name} --replace-user`"
        ),
    ))
}

/// Checks that the granted scopes include the scopes that each redemption requests. `.default` stands for all consented
/// scopes, so it is not checked. If the response names no scopes, the check passes.
fn covers(
    grant: &ManagedToken,
    client_id: &str,
    answer: &RefreshResponse,
    claims: &Claims,
) -> Result<(), StepFailure> {
    let Some(granted) = answer.scope.as_deref() else { return Ok(()) };
    let held = |word: &str| {
        let named = granted.split_ascii_whitespace().any(|scope| scope.eq_ignore_ascii_case(word));
        let short = word.rsplit('/').next().unwrap_or(word);
        let mut in_claims = claims.scp.as_deref().unwrap_or_default().split_ascii_whitespace();
        named || in_claims.any(|scope| scope.eq_ignore_ascii_case(short))
    };
    let of_the_protocol = ["offline_access", "openid", "profile", "email"];
    let asked = grant.scope.split_ascii_whitespace();
    let missing: Vec<&str> = asked
        .filter(|word| !of_the_protocol.contains(word) && !word.ends_with("/.default") && !held(word))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StepFailure::new(
        Remedy::Operator,
        format!("the sign-in does not cover the scope {}", missing.join(" ")),
        format!(
            "add the missing scope to app {client_id} as a delegated permission (Entra admin center, App registrations, API permissions), grant admin consent, and sign in again"
        ),
    ))
}

fn no_second_factor(grant: &ManagedToken) -> StepFailure {
    let name = &grant.name;
    StepFailure::new(
        Remedy::Login,
        "the sign-in used no second factor (no `mfa` in amr): Partner Center rejects every call with a token from such a sign-in (900421), and MFA cannot be added to a refresh token later",
        format!(
            "register MFA for this user and require it with a Conditional Access policy or security defaults (a federated provider must send the MFA claim), then sign in: `perennial login {name}`, in a private browser window"
        ),
    )
}

#[cfg(test)]
mod tests;
