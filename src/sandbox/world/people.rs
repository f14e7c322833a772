//! Actions of people: sign in, paste a token, disable or delete a user, revoke a user's sessions, replace an app's
//! secret. Other functions of this module read the world's state. The ledger records no call for a function of this
//! module.

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use super::World;
use super::vault::{
    Attributes, CertificatePolicy, CertificateRequest, CertificateVersion, SecretVersion, SetRequest,
    VaultRefusal,
};
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::secret::{SecretAddress, SecretName};
use crate::token::tags::Tags;
use crate::token::version::{Version, VersionId};

/// The name that the ledger records for writes by people.
pub const HUMAN: &str = "human";

/// A partner, as `World::add_partner` creates it.
#[derive(Clone, Debug)]
pub struct Partner {
    /// The id of the tenant.
    pub tenant_id: String,
    /// The client id of the app.
    pub client_id: String,
    /// The object id of the user who signed in.
    pub user_oid: String,
    /// The address of the vault secret that contains the refresh token. The vault secret is called
    /// `NAME-refresh-token`.
    pub refresh_token: SecretAddress,
    /// The address of the vault secret that contains the app's secret. The vault secret is called `NAME-app-secret`.
    pub app_secret: SecretAddress,
}

impl World {
    /// Creates a tenant, a user with MFA and an app. Signs the user in, and stores the refresh token and the app's
    /// secret in the vault. Creates the vault if it does not exist.
    ///
    /// # Panics
    /// Panics if `name` contains characters other than letters, digits and dashes, or is too long for a secret's name.
    pub fn add_partner(&self, name: &str, vault: &str, app_secret_expires: Option<Timestamp>) -> Partner {
        if !self.has_vault(vault) {
            self.add_vault(vault);
        }
        let (tenant_id, client_id) = (self.fresh_id().to_string(), self.fresh_id().to_string());
        let secret = format!("{}~{}", &self.fresh_id().simple().to_string()[..8], self.fresh_id().simple());
        self.add_tenant(&tenant_id, &format!("{name}.onmicrosoft.com"));
        self.add_app(&tenant_id, &client_id, &secret, app_secret_expires);
        let user_oid = self.add_user(&tenant_id, &format!("integration@{name}.onmicrosoft.com"), true);
        let address = |what: &str| SecretAddress {
            vault: vault.into(),
            name: SecretName::parse(&format!("{name}-{what}")).expect("letters, digits and dashes"),
        };
        let partner = Partner {
            tenant_id,
            client_id,
            user_oid,
            refresh_token: address("refresh-token"),
            app_secret: address("app-secret"),
        };
        self.store_app_secret(&partner.app_secret, &secret, app_secret_expires);
        self.human_signs_in(&partner);
        self.lock().partners.push(partner.clone());
        partner
    }

    /// Returns the partners, oldest first.
    pub fn partners(&self) -> Vec<Partner> {
        self.lock().partners.clone()
    }

    /// Makes a user sign in and store the token. Returns `None` if the world has no such user or app.
    pub fn human_signs_in(&self, partner: &Partner) -> Option<RefreshToken> {
        let token = self.sign_in(&partner.user_oid, &partner.client_id)?;
        self.human_writes(&partner.refresh_token, token.expose(), Tags::new());
        Some(token)
    }

    /// Makes a person write a value to a vault secret. Returns `None` if the secret is deleted or the vault does not
    /// exist.
    pub fn human_writes(&self, at: &SecretAddress, value: &str, tags: Tags) -> Option<VersionId> {
        let attributes = Attributes::default();
        self.put(at, SetRequest { value: value.into(), attributes, content_type: None, tags })
    }

    fn put(&self, at: &SecretAddress, new: SetRequest) -> Option<VersionId> {
        let mut inner = self.lock();
        let mut vault = inner.vaults.remove(&*at.vault)?;
        let written = inner.make_version(&mut vault, at, new);
        inner.vaults.insert(at.vault.to_string(), vault);
        let version = written.ok()?;
        inner.note_write(HUMAN, at, &version);
        Some(VersionId(version.id.into()))
    }

    /// Enables or disables a version. `None` stands for the newest version.
    pub fn switch_version(&self, at: &SecretAddress, version: Option<&VersionId>, enabled: bool) {
        self.change_version(at, version, |version| version.attributes.enabled = enabled);
    }

    /// Changes the newest version's tags.
    pub fn retag(&self, at: &SecretAddress, change: impl FnOnce(&mut Tags)) {
        self.change_version(at, None, |version| change(&mut version.tags));
    }

    fn change_version(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        change: impl FnOnce(&mut SecretVersion),
    ) {
        let mut inner = self.lock();
        let found = inner.vaults.get_mut(&*at.vault).and_then(|vault| vault.live_mut(at).ok());
        let found = found.and_then(|secret| secret.pick_mut(version.map(|id| &*id.0)).ok());
        if let Some(found) = found {
            change(found);
        }
    }

    /// Makes a person delete a secret. The vault keeps the deleted secret (soft delete).
    pub fn human_deletes(&self, at: &SecretAddress) {
        let mut inner = self.lock();
        let now = inner.time.now();
        if let Some(vault) = inner.vaults.get_mut(&*at.vault) {
            vault.mark_deleted(at, Some(now));
        }
    }

    /// Makes a person recover a deleted secret.
    pub fn human_recovers(&self, at: &SecretAddress) {
        if let Some(vault) = self.lock().vaults.get_mut(&*at.vault) {
            vault.mark_deleted(at, None);
        }
    }

    /// Makes a person purge a deleted secret.
    pub fn human_purges(&self, at: &SecretAddress) {
        if let Some(vault) = self.lock().vaults.get_mut(&*at.vault) {
            vault.drop_deleted(at);
        }
    }

    /// Revokes a user's sessions. From then on, Entra rejects all refresh tokens that the user already had. Access
    /// tokens stay valid until they expire.
    pub fn revoke_user(&self, oid: &str) {
        let records = &mut self.lock().grants.records;
        records.iter_mut().filter(|grant| grant.owner.user == oid).for_each(|grant| grant.revoked = true);
    }

    /// Disables or enables a user's account.
    pub fn disable_user(&self, oid: &str, disabled: bool) {
        if let Some(user) = self.lock().directory.users.get_mut(oid) {
            user.disabled = disabled;
        }
    }

    /// Deletes a user's account.
    pub fn delete_user(&self, oid: &str) {
        if let Some(user) = self.lock().directory.users.get_mut(oid) {
            user.deleted = true;
        }
    }

    /// Sets whether a user's future sign-ins use MFA.
    pub fn set_user_mfa(&self, oid: &str, mfa: bool) {
        if let Some(user) = self.lock().directory.users.get_mut(oid) {
            user.mfa = mfa;
        }
    }

    /// Replaces all of an app's secrets in Entra by one new secret. The vault keeps its copy of the old secret.
    pub fn replace_app_secret(&self, client_id: &str, value: &str, expires: Option<Timestamp>) {
        self.change_app(client_id, |app| app.secrets.clear());
        self.add_app_secret(client_id, value, expires);
    }

    /// Makes an app's secrets expire now.
    pub fn expire_app_secret(&self, client_id: &str) {
        let mut inner = self.lock();
        let now = inner.time.now();
        if let Some(app) = inner.directory.apps.get_mut(&client_id.to_ascii_lowercase()) {
            app.secrets.iter_mut().for_each(|secret| secret.expires = Some(now));
        }
    }

    /// Disables or enables an app.
    pub fn disable_app(&self, client_id: &str, disabled: bool) {
        if let Some(app) = self.lock().directory.apps.get_mut(&client_id.to_ascii_lowercase()) {
            app.disabled = disabled;
        }
    }

    /// Makes a person store an app's secret and the secret's expiry in a vault.
    pub fn store_app_secret(&self, at: &SecretAddress, value: &str, expires: Option<Timestamp>) {
        let attributes = Attributes { expires, ..Attributes::default() };
        self.put(at, SetRequest { value: value.into(), attributes, content_type: None, tags: Tags::new() });
    }

    /// Makes new certificates reuse a few keys of 2048 bits, since a simulation may need thousands of certificates, and
    /// the creation of a new key is slow. The certificates still differ from each other.
    pub fn share_certificate_keys(&self) {
        self.lock().shares_keys = true;
    }

    /// Makes a person create a certificate in the vault.
    ///
    /// # Errors
    /// Returns an error if the vault does not exist, the name is in use, or the policy is not valid.
    pub fn human_creates_certificate(
        &self,
        at: &SecretAddress,
        policy: CertificatePolicy,
    ) -> Result<CertificateRequest, VaultRefusal> {
        let mut inner = self.lock();
        let mut vault = inner.vaults.remove(&*at.vault).ok_or_else(VaultRefusal::no_vault)?;
        let made = inner.request_certificate(&mut vault, HUMAN, at, (policy, Tags::new()));
        inner.vaults.insert(at.vault.to_string(), vault);
        made
    }

    /// Returns a version of a certificate, even if the version is disabled. If `version` is `None`, returns the newest
    /// version. Returns `None` if the version does not exist.
    pub fn certificate_of(&self, at: &SecretAddress, version: Option<&str>) -> Option<CertificateVersion> {
        self.lock().vaults.get(&*at.vault)?.certificate(at, version).ok()
    }

    /// Returns the newest version's value, even if the version is disabled. Returns `None` if there is no version or
    /// the secret is deleted.
    pub fn newest_value(&self, at: &SecretAddress) -> Option<RefreshToken> {
        let inner = self.lock();
        let version = inner.vaults.get(&*at.vault)?.newest(at)?;
        Some(RefreshToken::new(version.value.expose_secret()))
    }

    /// Returns the newest version without its value.
    pub fn newest_version(&self, at: &SecretAddress) -> Option<Version> {
        Some(bare(self.lock().vaults.get(&*at.vault)?.newest(at)?))
    }

    /// Returns all versions of a secret with their values, oldest first.
    pub fn versions_of(&self, at: &SecretAddress) -> Vec<SecretVersion> {
        let inner = self.lock();
        let secret = inner.vaults.get(&*at.vault).and_then(|vault| vault.live(at).ok());
        secret.map(|secret| secret.all().to_vec()).unwrap_or_default()
    }

    /// Returns the secret texts of the world: issued tokens of all kinds, codes, apps' secrets, and the vaults' values.
    /// Expired access tokens and expired assertions may be missing.
    pub fn secret_texts(&self) -> Vec<SecretString> {
        let inner = self.lock();
        let tokens = inner.grants.records.iter().map(|grant| grant.token.expose().into());
        let access = inner.access_tokens.keys().map(|text| text.as_str().into());
        let apps =
            inner.directory.apps.values().flat_map(|app| &app.secrets).map(|known| known.value.clone());
        let stored = inner.vaults.values().flat_map(|vault| vault.values().cloned());
        let codes = inner.sign_ins.texts().chain(inner.devices.texts()).map(SecretString::from);
        let assertions = inner.assertions.texts().map(SecretString::from);
        tokens.chain(access).chain(assertions).chain(apps).chain(stored).chain(codes).collect()
    }

    /// Returns the addresses of all secrets that are not deleted.
    pub fn secrets(&self) -> Vec<SecretAddress> {
        let inner = self.lock();
        let all = inner.vaults.iter().flat_map(|(url, vault)| {
            vault.names().filter_map(|name| {
                Some(SecretAddress { vault: url.as_str().into(), name: SecretName::parse(name)? })
            })
        });
        all.collect()
    }
}

/// Returns a version without its value.
pub(super) fn bare(version: &SecretVersion) -> Version {
    Version {
        id: VersionId(version.id.as_str().into()),
        created: version.created,
        enabled: version.attributes.enabled,
        expires: version.attributes.expires,
        tags: version.tags.clone(),
    }
}
