//! Action texts: each text tells a person what to do about a rejection. A text has one or two sentences. If possible,
//! the text names a command to type or a page to open.
//!
//! This module owns the texts for Entra's rejections. An operator who follows an action must be able to end the
//! condition. So each text names the object to change. A person can type each command as it is: the command contains
//! all dates and sets its own variables. No command has a secret in its argument list.

mod tenants;
mod waits;

use super::network::{intercepted, network};
use super::subject::{CredentialPlace, LoginMethod, Subject};
use crate::ports::advice::Advice;
use crate::token::managed::typed;

/// The app id of Partner Center in every tenant.
const PARTNER_CENTER: &str = "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd";

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
                "check that the token is complete and belongs to app {app}, or sign in instead: {login}"
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
                "find the failed sign-in in {logs}; the log names a conditional access policy for workload identities; change this policy: allow this host's address, or exclude the service principal of app {}",
                self.client_id
            );
        }
        let adapt = format!(
            "find the failed sign-in in {logs}, and change the conditional access policy that the log names: allow the user and this host, or exclude the user"
        );
        match self.way {
            // Microsoft recommends blocking the device code flow by policy (docs/azure-facts.md F137).
            LoginMethod::DeviceCode => format!(
                "many tenants block the device code flow: sign in by browser with `perennial login {name}`; or {adapt}"
            ),
            LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => adapt,
        }
    }

    fn no_client_secret(&self) -> String {
        let name = self.name;
        let app = self.client_id;
        if self.has_foreign_assertion() {
            return self.new_credential();
        }
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
                "find the resource of scope {scope} in {tenant} (Entra admin center, Enterprise applications, filter Application type = All applications); if the resource is disabled, enable it; if the resource is missing, create it (for Partner Center: `az ad sp create --id {PARTNER_CENTER}`); if the tenant's subscription has lapsed, renew it; if this tenant is not the partner tenant, correct {}",
                self.tenant_key()
            ),
            CredentialPlace::Vault { .. } => format!(
                "enable Azure Key Vault's service principal in {tenant}: `az ad sp update --id cfa8b339-82a2-471a-a3c9-0fc0be7a4093 --set accountEnabled=true`; if the service principal is already enabled, check that the tenant's Azure subscription has not lapsed and that name of [cloud] is the cloud of the vault"
            ),
        }
    }

    /// Says what to do about a managed identity, which has no app registration. `None` if the usual text is right.
    fn managed_identity(&self, advice: Advice) -> Option<String> {
        match advice {
            Advice::EnableApp => Some(
                "enable this host's managed identity: Entra admin center, Enterprise applications, filter Application type = Managed identities; the identity's name is in the Azure portal, on the host's page, under Identity"
                    .to_owned(),
            ),
            Advice::Throttled
            | Advice::Outage
            | Advice::Intercepted
            | Advice::Network(_)
            | Advice::LookUp
            | Advice::Support
            | Advice::ChangedByProxy
            | Advice::Request
            | Advice::Cloud
            | Advice::Clock
            | Advice::Resource => None,
            Advice::Policy | Advice::Risk => {
                let words = advice.words(self);
                Some(words.replace(&format!("app {}", self.client_id), "this identity"))
            }
            _ => Some(
                "check that this host's managed identity still exists: Azure portal, the host's page, Identity; if the identity was deleted, assign the host a new identity with the same role on the vault; if the new identity is user-assigned, set client_id of [vault] to its client id"
                    .to_owned(),
            ),
        }
    }

    fn assign(&self) -> String {
        let Self { client_id: app, tenant, .. } = *self;
        if self.is_of_vault() {
            return format!(
                "find the failed sign-in in {}; the log names a resource; assign app {app} a role of this resource: Entra admin center, Enterprise applications, the resource, Users and groups",
                self.sign_in_logs()
            );
        }
        format!(
            "assign the user to the app: Entra admin center, Enterprise applications, {app}, Users and groups, tenant {tenant}"
        )
    }

    fn clock(&self) -> String {
        const SET: &str = "set this host's clock: `timedatectl set-ntp true`";
        if self.has_foreign_assertion() {
            return format!(
                "{SET}; if the clock is right, the assertion is too old: have the issuer create a new assertion"
            );
        }
        SET.to_owned()
    }

    fn federated_credential(&self) -> String {
        let app = self.client_id;
        let (tenant, list) = (self.in_tenant(), self.list_federated());
        format!(
            "in {tenant}, compare issuer, subject and audience of the assertion with the federated credential: {list}; correct what differs (Entra admin center, App registrations, {app}, Certificates & secrets, Federated credentials); this can take 15 minutes to take effect"
        )
    }

    fn tenant(&self) -> String {
        let (tenant, key) = (self.tenant, self.tenant_key());
        if self.is_of_vault() {
            return format!(
                "set {key} (now {tenant}) to the tenant of app {} (Entra admin center, Overview, Tenant ID) and set name of [cloud] to the cloud of this tenant",
                self.client_id
            );
        }
        let then = match self.way {
            LoginMethod::Stored | LoginMethod::Import => "if the error returns, sign in",
            LoginMethod::Code | LoginMethod::DeviceCode => "then start the sign-in again",
        };
        format!(
            "set {key} (now {tenant}) to the id of the partner tenant (Entra admin center, Overview, Tenant ID) and set name of [cloud] to the cloud of this tenant; {then}: {}",
            self.login()
        )
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
            Advice::AppPlatform if self.is_of_vault() => format!(
                "make app {app} a confidential client: set Allow public client flows to No (Entra admin center, App registrations, {app}, Authentication)"
            ),
            Advice::AppPlatform => format!(
                "make app {app} a confidential client: register the redirect URI http://localhost under the platform Web (Entra admin center, App registrations, Authentication), not under Mobile and desktop applications, then sign in: {login}"
            ),
            Advice::RedirectAsWeb => format!(
                "move the redirect URI http://localhost of app {app} to the platform Web (Entra admin center, App registrations, Authentication): tokens of a single-page app expire after 24 hours; then sign in: {login}"
            ),
            _ => format!(
                "register the redirect URI http://localhost for app {app} under the platform Web (Entra admin center, App registrations, Authentication); the port does not matter"
            ),
        }
    }

    fn request(&self) -> String {
        let Self { name, scope, authority, .. } = *self;
        let login = self.login();
        if self.is_of_vault() {
            return format!(
                "exempt {authority} from a proxy that changes requests; also compare client_id and tenant_id of {name} with the app registration"
            );
        }
        match self.way {
            LoginMethod::Stored | LoginMethod::Import => format!(
                "correct the scope of {name} ({scope}), or exempt {authority} from a proxy that changes requests; if neither helps, the stored value is not a refresh token, so sign in: {login}"
            ),
            LoginMethod::Code | LoginMethod::DeviceCode => format!(
                "start the sign-in again: {login}; if the error returns, correct the scope of {name} ({scope}), or exempt {authority} from a proxy that changes requests"
            ),
        }
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
                "add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then have an administrator give consent: {}; if the app has permission and consent, compare {} ({}) with the user's tenant",
                self.consent_page(),
                self.tenant_key(),
                self.tenant
            ),
            _ => {
                format!(
                    "correct the scope of {name} ({scope}): use only scopes that belong to one resource, such as {USUAL}"
                )
            }
        }
    }
}

impl Advice {
    /// The action text for this advice and subject.
    pub fn text(self, of: &Subject<'_>) -> String {
        let words = if of.is_managed_identity() { of.managed_identity(self) } else { None };
        let words = of.then_again(words.unwrap_or_else(|| self.words(of)));
        let text = match (self, of.page_of_unknown()) {
            (Self::LookUp | Self::Throttled | Self::Outage | Self::Intercepted | Self::Network(_), _)
            | (_, None) => words,
            (Self::SignIn, Some(page)) => format!("{words}; if this does not help, look the code up: {page}"),
            (_, Some(page)) => format!("look the code up: {page}; if the page does not help, {words}"),
        };
        typed(&text, of.command)
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
                "find out why Entra blocks the account or the IP address ({}), and remove the block",
                of.sign_in_logs()
            ),
            Self::AssignUser => of.assign(),
            Self::AccountOrTenant => format!(
                "compare {} ({tenant}) with the user's own tenant; if the account was deleted in the last 30 days, restore it (Entra admin center, Users, Deleted users); if the account is the wrong account or a guest in this tenant, sign in with a member account: `perennial login {name} --replace-user`",
                of.tenant_key()
            ),
            Self::WorkAccount => format!(
                "sign in with a work account of tenant {tenant}: `perennial login {name} --replace-user`"
            ),
            Self::Policy => of.policy(),
            Self::TenantRestrictions | Self::CrossTenantAccess | Self::IdentityProvider => {
                of.access_between_tenants(self)
            }
            Self::Risk if of.is_of_vault() => format!(
                "investigate the risk of app {app} and dismiss or remediate it: Entra admin center, Risky workload identities, {}; details: {}",
                of.in_tenant(),
                of.sign_in_logs()
            ),
            Self::Risk => format!(
                "investigate the user's risk and dismiss or remediate it: Entra admin center, Risky users, tenant {tenant} (for a guest, the user's home tenant); details: {}",
                of.sign_in_logs()
            ),
            Self::Consent => format!(
                "have an administrator give consent for the app: {}; if the error returns, add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then have an administrator give consent again",
                of.consent_page()
            ),
            Self::Permission => format!(
                "add the permission for scope {scope} to app {app} (Entra admin center, App registrations, API permissions), then have an administrator give consent: {}",
                of.consent_page()
            ),
            Self::ClientSecret => of.new_credential(),
            Self::NoClientSecret => of.no_client_secret(),
            Self::AppId => of.compare_app_id(),
            Self::EnableApp => of.enable_app(),
            Self::ServicePrincipal => format!(
                "create the app's service principal in tenant {tenant}: `az ad sp create --id {app}`, or have an administrator of this tenant give consent: {}",
                of.consent_page()
            ),
            Self::AppPlatform | Self::RedirectAsWeb | Self::RedirectUri => of.redirect_uri(self),
            Self::Assertion if of.has_foreign_assertion() => format!(
                "check that the issuer signs the assertion with a valid key or certificate; {}",
                of.federated_credential()
            ),
            Self::Assertion => {
                format!("{}; a new certificate can take 15 minutes to take effect", of.register_certificate())
            }
            Self::FederatedCredential => of.federated_credential(),
            Self::Clock => of.clock(),
            Self::Tenant => of.tenant(),
            Self::Cloud => format!(
                "set name of [cloud] to the cloud of tenant {tenant}: public, usgov or china; or correct {}",
                of.tenant_key()
            ),
            Self::BlockedTenant | Self::AccountTypes | Self::ClaimsMapping => of.registration(self),
            Self::Scope | Self::TokenForItself | Self::DefaultScope => of.scope(self),
            Self::Resource => of.resource(),
            Self::Request => of.request(),
            Self::ChangedByProxy => format!(
                "exempt {} from the proxy or web filter between this host and Entra: the proxy or filter changes requests or speaks an outdated version of TLS",
                of.authority
            ),
            Self::Support => format!(
                "wait: {}; if the problem lasts, give Microsoft's support the trace id{}",
                of.again(),
                known(of.trace.trace_id.as_deref())
            ),
            Self::Throttled => of.throttled(),
            Self::PersonalAccount => format!(
                "wait: {}; Entra's answer is about a personal Microsoft account; if the problem lasts, sign in with a work account of tenant {tenant}: `perennial login {name} --replace-user`",
                of.again()
            ),
            Self::Outage => of.outage(),
            Self::LookUp => of.look_up(),
            Self::Network(why) => network(why, of.authority, &of.again()),
            Self::Intercepted => intercepted(of.authority),
        }
    }
}

fn known(id: Option<&str>) -> String {
    id.map(|id| format!(" {id}")).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
