//! Replaces the list of an app's certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Graph, GraphRequest, answers};
use crate::ports::directory::{Caller, DirectoryError, NewKey};

impl Graph {
    /// Reads the list of the app's certificates, changes the list, and replaces the list at Graph. Entries that
    /// `change` does not touch are sent back as they were read (docs/azure-facts.md F609). Sends nothing if `change`
    /// returns false.
    ///
    /// # Errors
    /// Returns `Unchanged` if the list cannot be read, or Graph's error if the list cannot be replaced.
    pub(super) async fn replace_keys(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        known: &[Uuid],
        change: impl FnOnce(&mut Vec<Value>) -> bool,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        let read = self.key_list(caller, object_id, known, id).await;
        let mut keys = read.map_err(|error| DirectoryError::Unchanged(Box::new(error)))?;
        if !change(&mut keys) {
            return Ok(());
        }
        let url = self.cloud.graph.with_path(&["v1.0", "applications", &object_id.to_string()]);
        let body = Some(json!({"keyCredentials": keys}));
        let replace = GraphRequest { operation: "replace_keys", method: Method::PATCH, url, body };
        self.call(caller, &replace, id).await.map(drop)
    }

    /// Reads the list of the app's certificates. Returns an error if a certificate in `known` is missing from the list.
    async fn key_list(
        &self,
        caller: &Caller<'_>,
        object_id: Uuid,
        known: &[Uuid],
        id: Uuid,
    ) -> Result<Vec<Value>, DirectoryError> {
        let mut url = self.cloud.graph.with_path(&["v1.0", "applications", &object_id.to_string()]);
        url.set_query(Some("$select=id,keyCredentials"));
        let read = GraphRequest { operation: "application", method: Method::GET, url, body: None };
        let keys = answers::raw_keys(&self.call(caller, &read, id).await?.answer, object_id)?;
        if !known.iter().all(|known| keys.iter().any(|key| answers::is_key(key, *known))) {
            return Err(DirectoryError::NotUnderstood(
                "it lacks a certificate that an earlier answer listed",
            ));
        }
        Ok(keys)
    }
}

/// Returns a new certificate in the form that Graph's requests need.
pub(super) fn entry(key: &NewKey<'_>) -> Value {
    json!({
        "type": "AsymmetricX509Cert", "usage": "Verify",
        "key": STANDARD.encode(key.der), "displayName": key.name,
    })
}
