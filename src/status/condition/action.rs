//! What to do about each kind of condition: a sentence or two, with the command to type or the page to open.
//!
//! Pure. Read at night and on a phone: an action fits whole into every message (`alert::forms`).

use crate::ports::failure::{FailureSubject, Kind};
use crate::status::snapshot::Snapshot;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// About this host's clock.
pub(super) const CLOCK: &str =
    "set this host's clock: `timedatectl set-ntp true`; until then the vault's time is used";

/// About an alert sink.
pub(crate) fn of_sink(name: &str) -> String {
    format!(
        "check the address or key that [[alert]] {name} is given, and the network on the way to it: `perennial check --alerts` sends a test"
    )
}

/// About a token whose access token Partner Center rejects, second factor and all.
pub(crate) fn partner_center_refused(grant: &ManagedToken) -> String {
    let ManagedToken { name, tenant_id, .. } = grant;
    format!(
        "check that the user of {name} has a Partner Center role and that tenant {tenant_id} is the partner tenant; where it is the wrong user, run `perennial login {name} --replace-user`"
    )
}

/// What to do about a token's condition.
pub(crate) fn of(kind: Kind, of: &Snapshot) -> String {
    let ManagedToken { name, secret, tenant_id, .. } = &*of.grant;
    let app = of.client_id().unwrap_or("CLIENT_ID");
    let failure = of.failure_of(kind);
    let stated = failure.and_then(|failure| failure.action.clone()).map(String::from);
    let of_vault = |stated: Option<String>| {
        stated.unwrap_or_else(|| format!("see what the vault refuses: `perennial check {name}`"))
    };
    match kind {
        Kind::NeverSignedIn | Kind::LoginRequired => format!(
            "run `perennial login {name}` and sign in with a second factor; {name} goes on within about a minute, at once after a SIGHUP"
        ),
        Kind::MfaRequired => format!(
            "have MFA registered and demanded for the user, then run `perennial login {name}` in a private browser window; {name} goes on within about a minute, at once after a SIGHUP"
        ),
        Kind::PolicyBlocked => {
            let by = failure.and_then(|failure| failure.trace.correlation_id.as_ref());
            let by = by.map_or_else(|| format!("app {app}"), |id| format!("correlation id {id}"));
            format!(
                "find the refusal in Entra admin centre, Sign-in logs, non-interactive, tenant {tenant_id}, by {by}, and adapt the policy, the consent or the scope; it is tried daily by itself, at once after a SIGHUP"
            )
        }
        Kind::AccountDisabled => {
            let how = match &of.user_oid {
                Some(oid) => format!("`az ad user update --id {oid} --account-enabled true`"),
                None => format!("Entra admin centre, Users, tenant {tenant_id}"),
            };
            format!(
                "enable the account: {how}; nobody has to sign in again, it is tried daily by itself, at once after a SIGHUP"
            )
        }
        Kind::AppCredentialRefused
            if failure.is_some_and(|failure| failure.about == FailureSubject::CredentialSource) =>
        {
            stated.unwrap_or_else(|| {
                format!(
                    "see that client_id and client_secret of {name} can be read: `perennial check {name}`"
                )
            })
        }
        Kind::AppCredentialRefused => {
            format!("make a new client secret and store its value, not its id: {}", new_app_secret(of, app))
        }
        Kind::AppSecretExpiring => {
            format!("make a new client secret and store it before then: {}", new_app_secret(of, app))
        }
        Kind::AppSecretExpiryUnknown => {
            let note = match &of.grant.client_secret {
                Source::Secret(at) => format!(
                    "`az keyvault secret set-attributes --vault-name {} --name {} --expires END`, or ",
                    at.vault_name(),
                    at.name.as_str()
                ),
                Source::File(_) | Source::Env(_) | Source::Credential(_) => String::new(),
            };
            format!(
                "note the end that `az ad app credential list --id {app}` shows: {note}app_secret_expires of {name} in the configuration"
            )
        }
        Kind::EntraUnreachable => format!(
            "check the network and proxy on the way to Entra: `perennial check {name}` shows which step fails; it is tried again by itself"
        ),
        Kind::VaultUnreachable => format!(
            "check the network on the way to {}: `perennial check {name}` shows which step fails; it is tried again by itself",
            secret.vault
        ),
        Kind::VaultRefused => of_vault(stated),
        Kind::VaultIdentity => format!(
            "check [vault] credential in the configuration: the identity this process runs under got no accepted token; `perennial check {name}`, as the same user on the same host, tries it"
        ),
        Kind::Unsaved => {
            format!("give back write access to {secret}; keep this process running until it is saved")
        }
        Kind::Overdue => {
            "read the other conditions and the log: something keeps this step from being done".into()
        }
        Kind::WrongIdentity => format!(
            "compare tenant_id, client_id and user_oid of {name} with the account that signed in to {secret}; where the account is the wrong one, run `perennial login {name}`"
        ),
        Kind::IdentityUnverified => format!(
            "see whose the token is: `perennial verify {name}`; where scope of {name} names `openid`, add `profile` to it, and let [cloud] authority be Entra's; {name} is rotated meanwhile"
        ),
        Kind::NoRefreshToken => format!(
            "add offline_access to the consent of app {app}, then run `perennial login {name}`; the stored token is kept meanwhile"
        ),
        Kind::PartnerCenterRefused => partner_center_refused(&of.grant),
        Kind::ForeignWriter => format!(
            "find who else writes {secret} and stop it: `az keyvault secret list-versions --vault-name {} --name {}` shows the versions without managed-by",
            secret.vault_name(),
            secret.name.as_str()
        ),
        Kind::BuriedSignIn => format!("nothing, if {name} is current; write to {secret} only to sign in"),
        Kind::TurnedOff => format!("{}; or leave it: off is what was asked for", of_vault(stated)),
        Kind::ClockSkew => CLOCK.into(),
        Kind::AlertUndeliverable => of_sink(name.as_str()),
    }
}

/// Where the app's secret is in a vault, one line makes it and stores it; a value may begin with a dash.
fn new_app_secret(of: &Snapshot, app: &str) -> String {
    match &of.grant.client_secret {
        Source::Secret(at) => format!(
            "`az keyvault secret set --vault-name {} --name {} --output none --expires END --value=\"$(az ad app credential reset --id {app} --append --display-name perennial --end-date END --query password --output tsv)\"`, both END as 2027-01-31T00:00:00Z",
            at.vault_name(),
            at.name.as_str()
        ),
        Source::File(_) | Source::Env(_) | Source::Credential(_) => format!(
            "`az ad app credential reset --id {app} --append --display-name perennial` shows it, and it goes where client_secret of {} is read",
            of.grant.name
        ),
    }
}
