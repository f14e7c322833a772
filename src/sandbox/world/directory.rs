//! Entra's directory: tenants, their policies, users and apps.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::World;
use super::credentials::{
    AcceptedAssertion, AppCertificate, AppSecret, FederatedCredential, ManagedIdentity,
};
use super::entra::codes::Refuse;
use super::graph::{CredentialPolicy, GraphRole, object_id_of};
use crate::process::clock::Timestamp;

/// A tenant of Entra.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The tenant's GUID.
    pub id: String,
    /// A verified domain of the tenant. Requests may name the tenant by this domain instead of the GUID.
    pub domain: String,
    /// The client ids of the apps to which the tenant has consented.
    pub apps: BTreeSet<String>,
    /// The partner tenant whose users may act in this tenant. Only a customer's tenant has such a partner tenant.
    pub partner: Option<String>,
    /// The tenant's conditional access policies.
    pub rules: Rules,
    /// The object ids of invited users from other tenants.
    pub guests: BTreeSet<String>,
    /// The users' consents: pairs of object id and client id.
    pub consents: BTreeSet<(String, String)>,
}

/// A tenant's policies for sign-ins and redemptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether Entra rejects a sign-in without MFA (50076). Entra then also rejects the tokens of earlier sign-ins
    /// without MFA.
    pub require_mfa: bool,
    /// Whether every sign-in and every redemption is rejected (53003).
    pub blocked: bool,
}

/// A user of Entra.
#[derive(Clone, Debug)]
pub struct User {
    /// The user's object id.
    pub oid: String,
    /// The user's sign-in name.
    pub upn: String,
    /// The id of the user's home tenant.
    pub tenant: String,
    /// Whether the user's sign-ins use MFA.
    pub mfa: bool,
    /// Whether the account is disabled.
    pub disabled: bool,
    /// Whether the account is deleted.
    pub deleted: bool,
}

/// An app registration.
#[derive(Clone, Debug)]
pub struct App {
    /// The app's client id.
    pub client_id: String,
    /// The object id of the app registration. The world computes it from the client id.
    pub object_id: Uuid,
    /// The id of the app's home tenant.
    pub tenant: String,
    /// The ids of the registration's owners, in lower case. An owner is an app (client id) or a managed identity
    /// (client id or principal id).
    pub owners: BTreeSet<String>,
    /// The limits for new credentials.
    pub policy: CredentialPolicy,
    /// The app's secrets, including removed secrets.
    pub secrets: Vec<AppSecret>,
    /// The public halves of the app's certificates.
    pub certificates: Vec<AppCertificate>,
    /// The app's federated credentials.
    pub federated: Vec<FederatedCredential>,
    /// Texts that Entra accepts as assertions of the app. Entra checks only the expiry of such a text.
    pub assertions: Vec<AcceptedAssertion>,
    /// Whether the app is disabled.
    pub disabled: bool,
    /// The app's redirect URIs.
    pub redirects: Vec<Redirect>,
    /// Whether the app may send requests without a credential ("Allow public client flows").
    pub public_flows: bool,
    /// The state of the consent to the app.
    pub consent: Consent,
}

/// A registered redirect URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub uri: String,
    /// The platform of the URI. The platform decides whether the app must send its credential with an authorization
    /// code.
    pub platform: Platform,
}

/// The platforms of a redirect URI (docs/azure-facts.md F135).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// The app's credential is required to exchange a code.
    Web,
    /// A code is exchanged without a credential. A request with a credential is rejected.
    PublicClient,
    /// Only a script in a browser can exchange a code. The refresh token lasts a day.
    Spa,
}

/// The state of the consent to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// An administrator has consented for all users.
    Given,
    /// Each user is asked for consent.
    Asked,
    /// Only an administrator can consent.
    AdminOnly,
}

#[derive(Default)]
pub(super) struct EntraDirectory {
    pub(super) tenants: BTreeMap<String, Tenant>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) apps: BTreeMap<String, App>,
    /// The managed identities, by client id.
    pub(super) identities: BTreeMap<String, ManagedIdentity>,
    /// Whether a second redemption of a token revokes all tokens from the same sign-in. The real Entra does not do
    /// this.
    pub(super) strict: bool,
    /// Whether Entra accepts many redemptions for one user and app within minutes.
    pub(super) loops_allowed: bool,
    /// The app roles at Microsoft Graph, by client id or principal id in lower case.
    pub(super) graph_roles: BTreeMap<String, BTreeSet<GraphRole>>,
    /// The tenant and the principal of an identity. Actors call Microsoft Graph with this identity.
    pub(super) graph_identity: Option<(String, String)>,
    /// The number of app secrets that people have added. The id of each new secret depends on this number.
    pub(super) secrets_added: u64,
}

impl EntraDirectory {
    pub(super) fn tenant(&self, id_or_domain: &str) -> Option<&Tenant> {
        self.tenants.get(id_or_domain).or_else(|| {
            self.tenants.values().find(|tenant| {
                tenant.domain.eq_ignore_ascii_case(id_or_domain)
                    || tenant.id.eq_ignore_ascii_case(id_or_domain)
            })
        })
    }

    pub(super) fn app_in(&self, tenant: &Tenant, client_id: &str) -> Result<&App, Refuse> {
        let app = self.apps.get(&client_id.to_ascii_lowercase());
        let app = app.filter(|app| tenant.apps.contains(&app.client_id)).ok_or(Refuse(700_016))?;
        if app.disabled { Err(Refuse(7_000_112)) } else { Ok(app) }
    }
}

impl World {
    /// Adds a tenant that is not a customer's tenant.
    pub fn add_tenant(&self, id: &str, domain: &str) {
        self.put_tenant(id, domain, None);
    }

    /// Adds a customer's tenant and its consent to `apps`. Through these apps, the partner's users may act in the
    /// customer's tenant.
    pub fn add_customer(&self, partner: &str, id: &str, domain: &str, apps: &[&str]) {
        self.put_tenant(id, domain, Some(partner));
        for app in apps {
            self.consent(id, app);
        }
    }

    fn put_tenant(&self, id: &str, domain: &str, partner: Option<&str>) {
        let tenant = Tenant {
            id: id.to_owned(),
            domain: domain.to_owned(),
            apps: BTreeSet::new(),
            partner: partner.map(str::to_owned),
            rules: Rules::default(),
            guests: BTreeSet::new(),
            consents: BTreeSet::new(),
        };
        self.lock().directory.tenants.insert(id.to_owned(), tenant);
    }

    /// Records a tenant's consent to an app.
    pub fn consent(&self, tenant: &str, client_id: &str) {
        if let Some(tenant) = self.lock().directory.tenants.get_mut(tenant) {
            tenant.apps.insert(client_id.to_ascii_lowercase());
        }
    }

    pub fn withdraw_consent(&self, tenant: &str, client_id: &str) {
        if let Some(tenant) = self.lock().directory.tenants.get_mut(tenant) {
            tenant.apps.remove(&client_id.to_ascii_lowercase());
        }
    }

    /// Adds a user. Returns the user's object id.
    pub fn add_user(&self, tenant: &str, upn: &str, mfa: bool) -> String {
        let mut inner = self.lock();
        let oid = inner.fresh_id().to_string();
        let (upn, tenant) = (upn.to_owned(), tenant.to_owned());
        let user = User { oid: oid.clone(), upn, tenant, mfa, disabled: false, deleted: false };
        inner.directory.users.insert(oid.clone(), user);
        oid
    }

    /// Adds an app with a secret that expires at `expires`.
    pub fn add_app(&self, tenant: &str, client_id: &str, secret: &str, expires: Option<Timestamp>) {
        let client_id = client_id.to_ascii_lowercase();
        let app = App {
            client_id: client_id.clone(),
            object_id: object_id_of(&client_id),
            tenant: tenant.to_owned(),
            owners: BTreeSet::new(),
            policy: CredentialPolicy::default(),
            secrets: Vec::new(),
            certificates: Vec::new(),
            federated: Vec::new(),
            assertions: Vec::new(),
            disabled: false,
            redirects: vec![Redirect { uri: "http://localhost".to_owned(), platform: Platform::Web }],
            public_flows: false,
            consent: Consent::Given,
        };
        self.lock().directory.apps.insert(client_id.clone(), app);
        self.consent(tenant, &client_id);
        self.add_app_secret(&client_id, secret, expires);
    }

    /// Changes an app's registration.
    pub fn change_app(&self, client_id: &str, change: impl FnOnce(&mut App)) {
        if let Some(app) = self.lock().directory.apps.get_mut(&client_id.to_ascii_lowercase()) {
            change(app);
        }
    }

    /// Invites a user of another tenant.
    pub fn invite(&self, tenant: &str, oid: &str) {
        if let Some(tenant) = self.lock().directory.tenants.get_mut(tenant) {
            tenant.guests.insert(oid.to_owned());
        }
    }

    /// Sets a tenant's rules.
    pub fn set_rules(&self, tenant: &str, rules: Rules) {
        if let Some(tenant) = self.lock().directory.tenants.get_mut(tenant) {
            tenant.rules = rules;
        }
    }

    /// Sets whether a second redemption of a token revokes all tokens from the same sign-in. A strict issuer does this
    /// (RFC 9700, 4.14), but the real Entra does not.
    pub fn set_strict(&self, strict: bool) {
        self.lock().directory.strict = strict;
    }

    /// Sets whether many redemptions for one user and app within minutes are rejected as a loop (50196). By default,
    /// such redemptions are rejected.
    pub fn set_loop_limit(&self, on: bool) {
        self.lock().directory.loops_allowed = !on;
    }

    /// Returns the tenant with that id or domain.
    pub fn find_tenant(&self, id_or_domain: &str) -> Option<Tenant> {
        self.lock().directory.tenant(id_or_domain).cloned()
    }

    /// Returns all tenants of the world.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.lock().directory.tenants.values().cloned().collect()
    }

    /// Returns all users of the world.
    pub fn users(&self) -> Vec<User> {
        self.lock().directory.users.values().cloned().collect()
    }

    /// Returns the user with that object id or sign-in name.
    pub fn user(&self, oid_or_upn: &str) -> Option<User> {
        let inner = self.lock();
        let users = &inner.directory.users;
        let by_name = || users.values().find(|user| user.upn.eq_ignore_ascii_case(oid_or_upn));
        users.get(oid_or_upn).or_else(by_name).cloned()
    }

    /// Returns all apps of the world.
    pub fn apps(&self) -> Vec<App> {
        self.lock().directory.apps.values().cloned().collect()
    }
}
