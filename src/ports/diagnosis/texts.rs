//! Action texts for people. Each text has one or two sentences and names a command to type or a page to open.
//!
//! This module owns the texts for Entra's rejections. An operator who follows an action must be able to end the
//! condition. So each text names the object, and its commands contain the dates and set the variables that they use. No
//! command has a secret in its argument list.

use super::network::{intercepted, network};
use super::subject::{CredentialPlace, LoginMethod, Subject};
use crate::ports::advice::Advice;
use crate::token::managed::typed;

impl Subject<'_> {
    fn sign_in(&self) -> String {
        let login = self.login();
        match self.way {
            LoginMethod::Import => format!("sign in instead: {login}"),
            LoginMethod::Code | LoginMethod::DeviceCode | LoginMethod::Stored => {
                format!("sign in again: {login}")
            }
        }
    }

    fn stored_value(&self) -> String {
        let login = self.login();
        let app = self.client_id;
        match self.way {
            LoginMethod::Import => format!(
                "check that the token was copied whole and belongs to app {app}, or sign in instead: {login}"
            ),
            LoginMethod::Code | LoginMethod::DeviceCode => format!("start the sign-in again: {login}"),
            LoginMethod::Stored => {
                format!("the stored value is not a working refresh token; sign in again: {login}")
            }
        }
    }

    fn enable_account(&self) -> String {
        let (tenant, login) = (self.tenant, self.login());
        let enable = match self.user_oid {
            Some(oid) => {
                format!(
                    "enable the account in tenant {tenant}: `az ad user update --id {oid} --account-enabled true`"
                )
            }
            None => format!("enable the user's account: Entra admin center, Users, tenant {tenant}"),
        };
        format!(
            "{enable}; if the user's sessions were revoked too, Perennial then asks for a sign-in: {login}"
        )
    }

    fn policy(&self) -> String {
        let (name, logs) = (self.name, self.sign_in_logs());
        if let CredentialPlace::Vault { .. } = self.place {
            return format!(
                "find the failed sign-in in {logs}, and change the conditional access policy for workload identities that the log names: allow this host's address, or exclude the service principal of app {}",
                self.client_id
            );
        }
        let adapt = format!(
            "find the failed sign-in in {logs}, and change the conditional access policy that the log names: allow the user and this host, or exclude the user"
        );
        match self.way {
            // Microsoft recommends blocking the device code flow by policy (docs/azure-facts.md F137).
            LoginMethod::DeviceCode => format!(
                "many tenants block the device code flow: sign in by browser, `perennial login {name}`; or {adapt}"
            ),
            LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => adapt,
        }
    }

    fn no_client_secret(&self) -> String {
        let name = self.name;
        let app = self.client_id;
        match self.way {
            LoginMethod::DeviceCode => format!(
                "allow the device code flow for app {app} (Entra admin center, App registrations, Authentication, Allow public client flows), or sign in by browser: `perennial login {name}`"
            ),
            LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => {
                format!("store a client secret of the app: {}", self.new_client_secret())
            }
        }
    }

    fn resource(&self) -> String {
        let (scope, tenant) = (self.scope, self.in_tenant());
        match self.place {
            CredentialPlace::App { .. } => format!(
                "enable the resource of scope {scope} in {tenant} if it is disabled or missing (Entra admin center, Enterprise applications, filter Application type = All applications), or renew the tenant's lapsed subscription; if this tenant is not the partner tenant, correct {}",
                self.tenant_key()
            ),
            CredentialPlace::Vault { .. } => format!(
                "enable Azure Key Vault's service principal in {tenant}: `az ad sp update --id cfa8b339-82a2-471a-a3c9-0fc0be7a4093 --set accountEnabled=true`; if it is enabled, check whether the tenant's Azure subscription has lapsed"
            ),
        }
    }

    fn compare_app_id(&self) -> String {
        let Self { client_id: app, tenant, .. } = *self;
        format!(
            "compare {} ({app}) and {} ({tenant}) with the app registration: `az ad app show --id {app}`; correct what differs, or restore the app (Entra admin center, App registrations, Deleted applications)",
            self.client_id_key(),
            self.tenant_key()
        )
    }

    /// Says how to register the redirect URI.
    fn redirect_uri(&self, advice: Advice) -> String {
        let (app, login) = (self.client_id, self.login());
        match advice {
            Advice::AppPlatform => format!(
                "make app {app} a confidential client: register the redirect URI http://localhost under the platform Web (Entra admin center, App registrations, Authentication), not under Mobile and desktop applications, then sign in: {login}"
            ),
            Advice::RedirectAsWeb => format!(
                "move the redirect URI http://localhost of app {app} to the platform Web (Entra admin center, App registrations, Authentication): tokens of a single-page app expire after 24 hours; then sign in: {login}"
            ),
            _ => format!(
                "register the redirect URI http://localhost for app {app}, platform Web (Entra admin center, App registrations, Authentication); the port does not matter"
            ),
        }
    }

    fn throttled(&self) -> String {
        format!(
            "wait: Perennial retries automatically; if the throttling lasts, find what else signs in as {}: {}",
            self.who(),
            self.sign_in_logs()
        )
    }

    /// Says how to correct the scope.
    fn scope(&self, advice: Advice) -> String {
        const USUAL: &str = "https://api.partnercenter.microsoft.com/user_impersonation";
        let (name, app, scope) = (self.name, self.client_id, self.scope);
        let exempt = format!("exempt {} from a proxy that changes requests", self.authority);
        match advice {
            Advice::TokenForItself => format!(
                "compare {} ({app}) with scope of {name} ({scope}): the app must be your own app, and the scope must be a scope of Partner Center, such as {USUAL}; if both are right, {exempt}",
                self.client_id_key()
            ),
            Advice::DefaultScope => {
                let resource = scope.rsplit_once('/').map_or(scope, |(resource, _)| resource);
                format!("set scope of {name} to {resource}/.default; if the error returns, {exempt}")
            }
            _ if scope == USUAL => format!(
                "add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then have an administrator consent: {}; if the app has permission and consent, compare {} ({}) with the user's tenant",
                self.consent_page(),
                self.tenant_key(),
                self.tenant
            ),
            _ => {
                format!("correct scope of {name} ({scope}): use scopes of one resource only, such as {USUAL}")
            }
        }
    }

    fn outage(&self) -> String {
        format!(
            "wait for the end of the outage: Perennial retries automatically; see https://azure.status.microsoft, and if no outage is shown there, check the proxy and network between this host and {}",
            self.authority
        )
    }

    fn look_up(&self) -> String {
        match self.trace.code {
            Some(code) => format!(
                "look the code up: {}/error?code={code}; Perennial retries automatically",
                self.entra()
            ),
            None => format!(
                "look the failed sign-in up: {}; Perennial retries automatically",
                self.sign_in_logs()
            ),
        }
    }
}

impl Advice {
    /// The action text for this advice and subject.
    pub fn text(self, of: &Subject<'_>) -> String {
        typed(&self.words(of), of.command)
    }

    fn words(self, of: &Subject<'_>) -> String {
        let Subject { name, tenant, client_id: app, scope, .. } = *of;
        let login = of.login();
        match self {
            Self::SignIn => of.sign_in(),
            Self::SignInFrequency => format!(
                "sign in again, with a second factor: {login}; a policy limits how long a sign-in lasts, so this problem returns until an administrator excludes the user from that policy; find the name of this policy in {}",
                of.sign_in_logs()
            ),
            Self::SecondFactor => {
                format!("sign in with a second factor: {login}; the user must have MFA registered")
            }
            Self::NewPassword => format!("have the user set a new password, then sign in: {login}"),
            Self::StartAgain => format!("start the sign-in again: {login}"),
            Self::AcceptConsent => format!("sign in again and accept the consent: {login}"),
            Self::Device => format!(
                "sign in by browser on a device that the tenant accepts: `perennial login {name}`; or exclude the user from the policy that requires a device, then sign in"
            ),
            Self::StoredValue => of.stored_value(),
            Self::EnableAccount => of.enable_account(),
            Self::UnblockAccount => format!(
                "find out why the account is locked ({}), and unblock the account or the IP address",
                of.sign_in_logs()
            ),
            Self::AssignUser => format!(
                "assign the user to the app: Entra admin center, Enterprise applications, {app}, Users and groups, tenant {tenant}"
            ),
            Self::AccountOrTenant => format!(
                "compare {} ({tenant}) with the user's own tenant; if the account was deleted, restore it (Entra admin center, Users, Deleted users, within 30 days); if the account is the wrong account or a guest in this tenant, sign in with a member account: `perennial login {name} --replace-user`",
                of.tenant_key()
            ),
            Self::Policy => of.policy(),
            Self::Risk => format!(
                "investigate the user's risk and dismiss or remediate it: Entra admin center, Risky users, tenant {tenant}, or the user's home tenant if that differs; details: {}",
                of.sign_in_logs()
            ),
            Self::Consent => format!(
                "have an administrator consent for the app: {}; if that does not help, add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then consent again",
                of.consent_page()
            ),
            Self::Permission => format!(
                "add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then have an administrator consent: {}",
                of.consent_page()
            ),
            Self::ClientSecret => of.new_credential(),
            Self::NoClientSecret => of.no_client_secret(),
            Self::AppId => of.compare_app_id(),
            Self::EnableApp => {
                format!(
                    "enable the app: `az ad sp update --id {app} --set accountEnabled=true`, in tenant {tenant}"
                )
            }
            Self::ServicePrincipal => format!(
                "create the app's service principal in tenant {tenant}: `az ad sp create --id {app}`, or have an administrator consent there: {}",
                of.consent_page()
            ),
            Self::AppPlatform | Self::RedirectAsWeb | Self::RedirectUri => of.redirect_uri(self),
            Self::Assertion => {
                format!("{}; a new certificate can take 15 minutes to take effect", of.register_certificate())
            }
            Self::FederatedCredential => format!(
                "in {}, compare issuer, subject and audience of the assertion with the federated credential: `az ad app federated-credential list --id {app}`; correct what differs (Entra admin center, App registrations, {app}, Certificates & secrets, Federated credentials); this can take 15 minutes to take effect",
                of.in_tenant()
            ),
            Self::Clock => "set this host's clock: `timedatectl set-ntp true`".to_owned(),
            Self::Tenant => format!(
                "set {} (now {tenant}) to the id of the partner tenant (Entra admin center, Overview, Tenant ID) and set name of [cloud] to the cloud of this tenant; if the error returns, sign in: {login}",
                of.tenant_key()
            ),
            Self::Cloud => format!(
                "set name of [cloud] to the cloud of tenant {tenant}: public, usgov or china; or correct {}",
                of.tenant_key()
            ),
            Self::Scope | Self::TokenForItself | Self::DefaultScope => of.scope(self),
            Self::Resource => of.resource(),
            Self::Request => format!(
                "correct scope of {name} ({scope}), or exempt {} from a proxy that changes requests; if neither helps, the stored value is not a refresh token, so sign in: {login}",
                of.authority
            ),
            Self::Support => format!(
                "wait: Perennial retries automatically; if the problem lasts, give Microsoft's support the trace id{}",
                known(of.trace.trace_id.as_deref())
            ),
            Self::Throttled => of.throttled(),
            Self::PersonalAccount => format!(
                "wait: Perennial retries automatically; Entra's answer is about a personal Microsoft account; if the problem lasts, sign in with a work account of tenant {tenant}: `perennial login {name} --replace-user`"
            ),
            Self::Outage => of.outage(),
            Self::LookUp => of.look_up(),
            Self::Network(why) => network(why, of.authority),
            Self::Intercepted => intercepted(of.authority),
        }
    }
}

fn known(id: Option<&str>) -> String {
    id.map(|id| format!(" {id}")).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
