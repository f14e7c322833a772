//! Implements the port `Directory` with the world's Microsoft Graph.

use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::super::Trouble;
use super::super::entra::IdentityRequest;
use super::super::graph::{KeyEntry, KeyRequest, PasswordRequest};
use super::super::ledger::{Operation, Peer};
use super::errors::{directory_error, issuer_error};
use super::{Actor, proof};
use crate::ports::directory::{
    Caller, CreatedSecret, Directory, DirectoryError, KeyChange, KeyRegistration, ListedKey, ListedSecret,
    NewKey, Registration,
};
use crate::process::clock::Timestamp;
use crate::token::AccessToken;
use crate::token::certificate::thumbprint_of;

/// The scope of an app's own token for Microsoft Graph.
const SCOPE: &str = "https://graph.microsoft.com/.default";

impl Actor {
    async fn enter_graph(&self, operation: Operation, object_id: Uuid) {
        let app = self.world.app_with(object_id);
        self.enter(Peer::Graph, operation, app.as_deref().unwrap_or("unknown")).await;
    }

    fn graph_token(&self, caller: &Caller<'_>, id: Uuid) -> Result<AccessToken, DirectoryError> {
        let correlation_id = id.to_string();
        let token = match *caller {
            Caller::VaultIdentity => self.world.graph_identity_token(&self.name),
            Caller::App { tenant, client_id, proof: shown } => {
                let correlation_id = Some(&*correlation_id);
                let proof = proof(shown);
                let request = IdentityRequest { tenant, client_id, proof, scope: SCOPE, correlation_id };
                self.world.identity_token(&self.name, &request).map(|answer| answer.access_token)
            }
        };
        token.map_err(|trouble| {
            DirectoryError::NoToken(Box::new(issuer_error(trouble, &correlation_id).failure()))
        })
    }
}

impl Actor {
    /// Reads the list of an app's certificates, applies `change`, and writes the list back.
    async fn replace_keys(
        &self,
        token: &AccessToken,
        object_id: Uuid,
        change: impl FnOnce(&mut Vec<KeyEntry>),
    ) -> Result<(), DirectoryError> {
        self.enter_graph(Operation::GetApplication, object_id).await;
        let client_id = self.world.app_with(object_id).unwrap_or_default();
        let app = self.world.registration(&self.name, token.expose(), &client_id);
        let unchanged = |trouble| DirectoryError::Unchanged(Box::new(directory_error(trouble)));
        let kept = app.map_err(unchanged)?.certificates.into_iter().map(|one| one.key_id);
        let mut entries: Vec<KeyEntry> = kept.map(KeyEntry::Kept).collect();
        change(&mut entries);
        self.enter_graph(Operation::ReplaceKeys, object_id).await;
        let replaced = self.world.replace_keys(&self.name, token.expose(), object_id, &entries);
        replaced.map_err(directory_error)
    }
}

impl Directory for Actor {
    async fn registration(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<Registration, DirectoryError> {
        self.enter(Peer::Graph, Operation::GetApplication, client_id).await;
        let token = self.graph_token(caller, id)?;
        let app = self.world.registration(&self.name, token.expose(), client_id).map_err(directory_error)?;
        let listed = app.secrets.iter().map(|secret| ListedSecret {
            key_id: secret.key_id,
            name: secret.name.clone(),
            hint: Some(secret.hint()),
            starts: Some(secret.starts),
            ends: secret.expires,
        });
        Ok(Registration { object_id: app.object_id, secrets: listed.collect() })
    }

    async fn add_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        name: &str,
        ends: Timestamp,
        id: Uuid,
    ) -> Result<CreatedSecret, DirectoryError> {
        self.enter_graph(Operation::AddPassword, object_id).await;
        let token = self.graph_token(caller, id)?;
        let request = PasswordRequest { name: Some(name.to_owned()), starts: None, ends: Some(ends) };
        let added = self.world.add_secret(&self.name, token.expose(), object_id, &request);
        let added = added.map_err(directory_error)?;
        Ok(CreatedSecret { key_id: added.key_id, value: added.value, ends: added.expires.unwrap_or(ends) })
    }

    async fn remove_secret(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        self.enter_graph(Operation::RemovePassword, object_id).await;
        let token = self.graph_token(caller, id)?;
        match self.world.remove_secret(&self.name, token.expose(), object_id, key_id) {
            Err(Trouble::Refused(refused)) if refused.is_missing_secret() => Ok(()),
            removed => removed.map_err(directory_error),
        }
    }

    async fn keys(
        &self,
        caller: &Caller<'_>,
        client_id: &str,
        id: Uuid,
    ) -> Result<KeyRegistration, DirectoryError> {
        self.enter(Peer::Graph, Operation::GetApplication, client_id).await;
        let token = self.graph_token(caller, id)?;
        let app = self.world.registration(&self.name, token.expose(), client_id).map_err(directory_error)?;
        let listed = app.certificates.iter().map(|known| ListedKey {
            key_id: known.key_id,
            name: Some(known.name.clone()),
            thumbprint: Some(thumbprint_of(&known.certificate.der)),
            starts: Some(known.starts),
            ends: Some(known.ends),
        });
        Ok(KeyRegistration { object_id: app.object_id, keys: listed.collect() })
    }

    async fn add_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key: &NewKey<'_>,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<Uuid, DirectoryError> {
        let (der, name) = (key.der.to_vec(), Some(key.name.to_owned()));
        let KeyChange::Proof(proof) = change else {
            let token = self.graph_token(caller, id)?;
            let key_id = self.world.fresh_id();
            let request = KeyRequest { der, name, starts: Some(key.begins), ends: Some(key.ends) };
            let add = |entries: &mut Vec<KeyEntry>| entries.push(KeyEntry::New(key_id, request));
            return self.replace_keys(&token, object_id, add).await.map(|()| key_id);
        };
        self.enter_graph(Operation::AddKey, object_id).await;
        let token = self.graph_token(caller, id)?;
        let proof = proof.expose_secret();
        let request = KeyRequest { der, name, starts: None, ends: None };
        let added = self.world.add_key(&self.name, token.expose(), object_id, &request, proof);
        added.map(|added| added.key_id).map_err(directory_error)
    }

    async fn remove_key(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        key_id: Uuid,
        change: KeyChange<'_>,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        let KeyChange::Proof(proof) = change else {
            let token = self.graph_token(caller, id)?;
            let removed = KeyEntry::Kept(key_id);
            return self
                .replace_keys(&token, object_id, |entries| entries.retain(|one| *one != removed))
                .await;
        };
        self.enter_graph(Operation::RemoveKey, object_id).await;
        let token = self.graph_token(caller, id)?;
        let proof = proof.expose_secret();
        match self.world.remove_key(&self.name, token.expose(), object_id, key_id, proof) {
            Err(Trouble::Refused(refused)) if refused.is_missing_key() => Ok(()),
            removed => removed.map_err(directory_error),
        }
    }
}
