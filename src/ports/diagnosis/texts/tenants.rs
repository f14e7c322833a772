//! Action texts about the access between tenants, and about a tenant or an app registration that does not allow the
//! sign-in.

use super::super::subject::Subject;
use crate::ports::advice::Advice;

impl Subject<'_> {
    /// Says how to give access to a user of another tenant or identity provider.
    pub(super) fn access_between_tenants(&self, advice: Advice) -> String {
        let Self { name, tenant, authority, .. } = *self;
        match advice {
            Advice::TenantRestrictions => format!(
                "add tenant {tenant} to the header Restrict-Access-To-Tenants that the proxy sends (tenant restrictions), or let this host reach {authority} without this proxy"
            ),
            Advice::CrossTenantAccess => format!(
                "allow this app and user in the cross-tenant access settings (Entra admin center, External Identities): outbound in the user's home tenant, inbound in tenant {tenant}; if these tenants are in different clouds, also enable the other cloud in the Microsoft cloud settings; or sign in with a member account of tenant {tenant}: `perennial login {name} --replace-user`"
            ),
            _ => format!(
                "find the failed sign-in in {}; have the administrator of the user's identity provider fix the error that the log names",
                self.sign_in_logs()
            ),
        }
    }

    /// Says what to change in the tenant or in the app registration.
    pub(super) fn registration(&self, advice: Advice) -> String {
        let Self { tenant, client_id: app, .. } = *self;
        match advice {
            Advice::BlockedTenant => format!(
                "tenant {tenant} was deleted, or blocked for inactivity: have its administrator or Microsoft's support reactivate it (https://aka.ms/TenantLifecycle), or correct {}",
                self.tenant_key()
            ),
            Advice::AccountTypes => format!(
                "correct {} if it is wrong; otherwise allow work accounts for app {app}: `az ad app update --id {app} --sign-in-audience AzureADMyOrg`",
                self.client_id_key()
            ),
            _ => format!(
                "remove the claims mapping of app {app} (Entra admin center, Enterprise applications, {app}, Single sign-on, Attributes & Claims); or, if only this tenant uses the app, set acceptMappedClaims to true in the app's manifest (App registrations, {app}, Manifest)"
            ),
        }
    }

    pub(super) fn enable_app(&self) -> String {
        let (app, tenant) = (self.client_id, self.tenant);
        format!(
            "enable the app: `az ad sp update --id {app} --set accountEnabled=true` (in tenant {tenant}); if the app is already enabled, have an administrator give consent: {}",
            self.consent_page()
        )
    }
}
