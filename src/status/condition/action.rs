//! Action texts for each kind of condition. Most texts name a command to type or a page to open.
//!
//! This module is pure. Each action must be short enough that a message shows the whole action (`alert::forms`).
//! Operators may read the message on a phone at night.

use crate::ports::advice::Advice;
use crate::ports::diagnosis::Subject;
use crate::ports::failure::{FailureSubject, Kind, Trace};
use crate::process::clock::Timestamp;
use crate::status::snapshot::Snapshot;
use crate::token::app::CredentialSource;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// The action for a wrong host clock.
pub(super) const CLOCK: &str =
    "set this host's clock: `timedatectl set-ntp true`; until then, Perennial uses the vault's time";

/// The action for an alert sink to which delivery fails.
pub(crate) fn of_sink(name: &str) -> String {
    format!(
        "check the address or key of [[alert]] {name}, and the network between this host and this address; `perennial check --alerts` sends a test message"
    )
}

/// The action if Partner Center rejects an access token. If `is_audience` is true, the token's configured scope is
/// wrong. Otherwise the user may lack a role, or may have signed in without MFA.
pub(crate) fn partner_center_refused(grant: &ManagedToken, is_audience: bool) -> String {
    let ManagedToken { name, tenant_id, scope, .. } = grant;
    if is_audience {
        return format!(
            "set scope of {name} (now {scope}) to https://api.partnercenter.microsoft.com/user_impersonation, and restart Perennial"
        );
    }
    format!(
        "give the user of {name} the Partner Center role Admin agent in partner tenant {tenant_id} (Partner Center, Settings, User management); if the wrong user signed in, run `perennial login {name} --replace-user`; if the user already has the role, sign in with a second factor: `perennial login {name}`"
    )
}

/// The action for a new refresh token that is held in memory and not saved.
fn unsaved(grant: &ManagedToken) -> String {
    let ManagedToken { name, secret, strict, .. } = grant;
    let lost = if *strict {
        format!("; if this process has ended, sign in: `perennial login {name}`")
    } else {
        String::new()
    };
    format!("restore write access to {secret}; keep this process running until the new token is saved{lost}")
}

/// The action for a condition of a token.
pub(crate) fn of(kind: Kind, of: &Snapshot, now: Timestamp) -> String {
    let action = by_kind(kind, of, now);
    match kind {
        // Only a redemption shows that an operator has fixed the problem, and Perennial redeems a blocked token only
        // once a day. So the action names a command that redeems the token at once.
        Kind::PolicyBlocked | Kind::AccountDisabled | Kind::AppMisconfigured => format!(
            "{action}; Perennial retries daily, and immediately after `perennial rotate {}`",
            of.grant.name
        ),
        _ => action,
    }
}

fn by_kind(kind: Kind, of: &Snapshot, now: Timestamp) -> String {
    let ManagedToken { name, secret, .. } = &*of.grant;
    let failure = of.failure_of(kind);
    let untraced = Trace::default();
    let trace = failure.map_or(&untraced, |failure| &failure.trace);
    let app = of.client_id().unwrap_or("CLIENT_ID");
    let subject = Subject { user_oid: of.user_oid.as_deref(), ..Subject::of(&of.grant, app, trace, now) };
    let picked_up = "Perennial uses the new token within about a minute";
    let stated = failure.and_then(|failure| failure.action.as_deref());
    let of_vault = || match stated {
        Some(action) => action.to_owned(),
        None => format!("find out what Key Vault denies: `perennial check {name}`"),
    };
    match (failure.and_then(|failure| failure.advice), kind) {
        (Some(advice), Kind::LoginRequired | Kind::MfaRequired) => {
            format!("{}; {picked_up}", advice.text(&subject))
        }
        (Some(advice), _) => advice.text(&subject),
        // A process that has not seen the secret before cannot distinguish a deleted secret from a secret that never
        // existed. If the secret was deleted, it must be recovered first, because a deleted secret blocks every write.
        (None, Kind::NeverSignedIn) => format!(
            "sign in with a second factor: `perennial login {name}`; if the token's secret was deleted, recover the secret instead: `az keyvault secret recover --vault-name {} --name {}`; {picked_up}",
            secret.vault_name(),
            secret.name.as_str()
        ),
        (None, Kind::LoginRequired | Kind::TokenExpired | Kind::UnknownCode) => {
            format!("sign in with a second factor: `perennial login {name}`; {picked_up}")
        }
        (None, Kind::MfaRequired) => format!(
            "register MFA for the user and require it, then use a private browser window to sign in: `perennial login {name}`; Perennial uses the new token at the next proof, or immediately if you send SIGHUP to the daemon"
        ),
        (None, Kind::PolicyBlocked) => Advice::Policy.text(&subject),
        (None, Kind::AccountDisabled) => Advice::EnableAccount.text(&subject),
        (None, Kind::AppCredentialRefused)
            if failure.is_some_and(|failure| {
                failure.about == FailureSubject::CredentialSource || failure.action.is_some()
            }) =>
        {
            let again = || {
                format!(
                    "check that client_id and {} of {name} can be read: `perennial check {name}`",
                    of.grant.app.credential.key()
                )
            };
            stated.map_or_else(again, str::to_owned)
        }
        // If Perennial has read the rejection from the vault's tags, Entra's error code is unknown.
        (None, Kind::AppCredentialRefused | Kind::AppMisconfigured) => {
            format!("find out Entra's error code and what to do: `perennial check {name}`")
        }
        (None, Kind::AppSecretExpiring) => expiring(of, &subject),
        (None, Kind::AppSecretExpiryUnknown) => expiry_unknown(of, app),
        (None, Kind::AppCertificateUnregistered) => unregistered(of, &subject),
        (None, Kind::AppCredentialRenewalFailed) => {
            stated.map_or_else(|| compare_credentials(of, app), str::to_owned)
        }
        (None, Kind::AppCredentialUnknown) => unknown_credential(of, app),
        // If Perennial got no access token for Key Vault, the failure itself states the action.
        (None, Kind::EntraUnreachable) => stated.map_or_else(|| Advice::Outage.text(&subject), str::to_owned),
        (None, Kind::EntraThrottled) => {
            stated.map_or_else(|| Advice::Throttled.text(&subject), str::to_owned)
        }
        (None, Kind::VaultUnreachable | Kind::VaultRefused | Kind::SecretDeleted | Kind::VaultIdentity) => {
            of_vault()
        }
        (None, Kind::Unsaved) => stated.map_or_else(|| unsaved(&of.grant), str::to_owned),
        (None, Kind::Overdue) => "see the other conditions and the log for the cause of the delay".into(),
        (None, Kind::WrongIdentity) => format!(
            "compare tenant_id, client_id and user_oid of {name} with the tenant, app and user of the token in {secret}; if the wrong account signed in, sign in again: `perennial login {name} --replace-user`"
        ),
        (None, Kind::IdentityUnverified) => format!(
            "find out which user the token belongs to: `perennial verify {name}`; set authority of [cloud] to Entra's address; if scope of {name} has `openid`, add `profile` to scope; meanwhile, Perennial still rotates {name}"
        ),
        (None, Kind::NoRefreshToken) => format!(
            "grant consent to offline_access for app {app}, then sign in: `perennial login {name}`; Perennial keeps the stored token until then"
        ),
        (None, Kind::SameRefreshToken) => format!(
            "set authority of [cloud] to Entra's address: Entra always returns a new refresh token; until then, Perennial proves {name} but cannot rotate the token; to test {name} now: `perennial verify {name}`"
        ),
        (None, Kind::PartnerCenterRefused) => partner_center_refused(&of.grant, of.is_audience_rejected()),
        (None, Kind::ForeignWriter) => format!(
            "find who else writes {secret}, and stop this writer; to list the versions, type `az keyvault secret list-versions --vault-name {} --name {}`; Perennial did not write the versions without the tag managed-by",
            secret.vault_name(),
            secret.name.as_str()
        ),
        (None, Kind::BuriedSignIn) => {
            format!(
                "if the state of {name} is current, do nothing; to avoid further overwrites, store a new version of {secret} only after a sign-in"
            )
        }
        (None, Kind::TurnedOff) => {
            format!(
                "{}; if someone disabled this version on purpose, do nothing: Perennial does not redeem a disabled version",
                of_vault()
            )
        }
        (None, Kind::ClockSkew) => CLOCK.into(),
        (None, Kind::AlertUndeliverable) => of_sink(name.as_str()),
    }
}

fn unregistered(of: &Snapshot, subject: &Subject<'_>) -> String {
    match of.grant.app.credential {
        CredentialSource::Secret(_) => subject.new_credential(),
        _ => format!(
            "{}; Perennial uses the older version until Entra accepts the newest version; until then, other programs that read the newest version fail",
            subject.register_certificate()
        ),
    }
}

fn unknown_credential(of: &Snapshot, app: &str) -> String {
    let is_certificate = of.grant.app.credential.is_certificate();
    let (noun, flag) = if is_certificate { ("certificate", " --cert") } else { ("secret", "") };
    format!(
        "find out who made the {noun}: Entra admin center, Audit logs, activity \"Update application – Certificates and secrets management\"; if no one knows this {noun}, remove it: `az ad app credential delete --id {app}{flag} --key-id {}`; if another program needs this {noun}, add its key id to the list `known` in `renew`",
        stranger(of)
    )
}

/// The action for a failed renewal, if the failure itself states no action.
fn compare_credentials(of: &Snapshot, app: &str) -> String {
    let is_certificate = of.grant.app.credential.is_certificate();
    let (noun, flag) = if is_certificate { ("certificates", " --cert") } else { ("secrets", "") };
    format!("compare the app's {noun} with the vault: `az ad app credential list --id {app}{flag}`")
}

/// The key id of the first entry in the renewal report's list `strangers`. If the list is empty, a placeholder.
fn stranger(of: &Snapshot) -> String {
    let first = of.renewal.as_ref().and_then(|renewal| renewal.strangers.first());
    first.map_or_else(|| "KEY_ID".to_owned(), |one| one.key_id.to_string())
}

/// The action for an app credential that expires soon.
fn expiring(of: &Snapshot, subject: &Subject<'_>) -> String {
    match of.grant.app.credential {
        CredentialSource::Secret(_) => format!(
            "before the secret expires, create a new client secret in tenant {} and store it: {}",
            of.grant.tenant_id,
            subject.new_client_secret()
        ),
        _ => format!("before the credential expires, {}", subject.new_credential()),
    }
}

/// The action if neither the vault nor the configuration says when the app's secret expires.
fn expiry_unknown(of: &Snapshot, app: &str) -> String {
    let name = &of.grant.name;
    let ends = format!("az ad app credential list --id {app} --query 'max([].endDateTime)' --output tsv");
    match &of.grant.app.credential {
        // `--expires` of the Azure CLI accepts only whole seconds.
        CredentialSource::Secret(Source::Secret(at)) => format!(
            "store the expiry of the app's secret (if the app has several secrets, the latest expiry): `az keyvault secret set-attributes --vault-name {} --name {} --expires \"$({ends} | cut -c1-19)Z\"`; or set app_secret_expires of {name} in the configuration",
            at.vault_name(),
            at.name.as_str()
        ),
        _ => format!("set app_secret_expires of {name} in the configuration to the date that `{ends}` shows"),
    }
}

#[cfg(test)]
mod tests;
