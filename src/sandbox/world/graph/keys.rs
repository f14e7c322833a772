//! Microsoft Graph: the certificates of app registrations.
//!
//! Adding or removing a certificate needs a proof: a token that a registered certificate of the app has signed
//! (docs/azure-facts.md F608). A caller that may change the app registration can also replace the whole list of
//! certificates without a proof (F609).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta};
use serde::Deserialize;
use uuid::Uuid;

use super::super::certificate::PublicCertificate;
use super::super::credentials::AppCertificate;
use super::super::directory::App;
use super::super::ledger::Operation;
use super::super::{Inner, Trouble, World};
use super::{GraphRefusal, about};
use crate::process::clock::Timestamp;

/// The audience of a proof: the app id of Azure AD Graph.
const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

/// The longest lifetime of a proof, in seconds.
const PROOF_LIVES: i64 = 600;

/// The validity of a certificate if the request does not name the end of the validity.
const USUAL_VALIDITY: TimeDelta = TimeDelta::days(365);

/// The beginning of Graph's error message if the certificate to remove does not exist.
const NO_KEY: &str = "No key credential found with keyId";

/// A request for a new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// The certificate, in DER form.
    pub der: Vec<u8>,
    /// The display name. The default is the certificate's subject.
    pub name: Option<String>,
    /// The start of the validity. The default is the time of the request, or the certificate's own start if that is
    /// later.
    pub starts: Option<Timestamp>,
    /// The end of the validity. The default is a year after the start (docs/azure-facts.md F609), or the certificate's
    /// own end if that is earlier.
    pub ends: Option<Timestamp>,
}

/// An entry of a list that replaces an app's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEntry {
    /// The registered certificate with this id stays in the list, unchanged.
    Kept(Uuid),
    /// A new certificate, with the id that the caller chose.
    New(Uuid, KeyRequest),
}

#[derive(Deserialize)]
struct ProofHeader {
    alg: String,
    x5t: Option<String>,
}

#[derive(Deserialize)]
struct ProofClaims {
    aud: String,
    iss: String,
    nbf: i64,
    exp: i64,
}

impl GraphRefusal {
    fn bad_key() -> Self {
        Self::new(400, "Request_BadRequest", "Key credential is not valid.")
    }

    fn bad_proof() -> Self {
        Self::new(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
    }

    fn bad_dates() -> Self {
        Self::new(400, "Request_BadRequest", "Key credential end date is invalid.")
    }

    fn missing_key(key_id: Uuid) -> Self {
        Self::new(400, "Request_BadRequest", format!("{NO_KEY} '{key_id}'."))
    }

    /// Whether the request was rejected because the certificate to remove does not exist.
    pub(in crate::sandbox::world) fn is_missing_key(&self) -> bool {
        self.text.starts_with(NO_KEY)
    }
}

impl World {
    /// Adds a certificate to the app registration with this object id. Returns the registered certificate.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection.
    pub fn add_key(
        &self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        request: &KeyRequest,
        proof: &str,
    ) -> Result<AppCertificate, Trouble<GraphRefusal>> {
        self.call(
            |inner| about(actor, Operation::AddKey, inner.app_with(object_id)),
            |inner, _| inner.add_key(access_token, object_id, request, proof),
        )
    }

    /// Removes a certificate from the app registration with this object id.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection. The removal of a certificate that is already gone is rejected.
    pub fn remove_key(
        &self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        key_id: Uuid,
        proof: &str,
    ) -> Result<(), Trouble<GraphRefusal>> {
        self.call(
            |inner| about(actor, Operation::RemoveKey, inner.app_with(object_id)),
            |inner, _| inner.remove_key(access_token, object_id, key_id, proof),
        )
    }

    /// Replaces the list of certificates of the app registration with this object id.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection.
    pub fn replace_keys(
        &self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        entries: &[KeyEntry],
    ) -> Result<(), Trouble<GraphRefusal>> {
        self.call(
            |inner| about(actor, Operation::ReplaceKeys, inner.app_with(object_id)),
            |inner, _| inner.replace_keys(access_token, object_id, entries),
        )
    }
}

impl Inner {
    /// Checks the caller's rights and the proof. Returns the client id of the app.
    fn proved(&self, access_token: &str, object_id: Uuid, proof: &str) -> Result<String, GraphRefusal> {
        // An app needs no app role to add or remove its own certificates. The proof is enough.
        let caller = self.graph_caller(access_token)?;
        let own = self.directory.apps.get(&caller.app).filter(|app| app.object_id == object_id);
        let app = own.map_or_else(|| self.changeable(access_token, object_id), Ok)?;
        if !is_proof(proof, app, self.time.now()) {
            return Err(GraphRefusal::bad_proof());
        }
        Ok(app.client_id.clone())
    }

    fn add_key(
        &mut self,
        access_token: &str,
        object_id: Uuid,
        request: &KeyRequest,
        proof: &str,
    ) -> Result<AppCertificate, GraphRefusal> {
        let client_id = self.proved(access_token, object_id, proof)?;
        let key_id = self.fresh_id();
        let registered = self.key_of(&client_id, key_id, request)?;
        if let Some(app) = self.directory.apps.get_mut(&client_id) {
            app.certificates.push(registered.clone());
        }
        Ok(registered)
    }

    /// Checks a new certificate against the app's policy.
    fn key_of(
        &mut self,
        client_id: &str,
        key_id: Uuid,
        request: &KeyRequest,
    ) -> Result<AppCertificate, GraphRefusal> {
        let certificate = PublicCertificate::read(&request.der).ok_or_else(GraphRefusal::bad_key)?;
        let policy = self.directory.apps.get(client_id).map(|app| app.policy).unwrap_or_default();
        // Graph's error code for a forbidden self-signed certificate is not documented. The world uses the code for a
        // forbidden secret (docs/azure-facts.md F605).
        if policy.forbids_self_signed && certificate.is_self_signed {
            return Err(GraphRefusal::forbidden_type());
        }
        let lives = certificate.not_after - certificate.not_before;
        if policy.longest_certificate.is_some_and(|longest| lives > longest) {
            let text = "Credential lifetime exceeds the max value allowed as per assigned policy.";
            return Err(GraphRefusal::new(400, "CredentialInvalidLifetimeAsPerAppPolicy", text));
        }
        let starts = request.starts.unwrap_or(self.time.now().max(certificate.not_before));
        let ends = request.ends.unwrap_or((starts + USUAL_VALIDITY).min(certificate.not_after));
        if starts < certificate.not_before || ends > certificate.not_after || starts >= ends {
            return Err(GraphRefusal::bad_dates());
        }
        Ok(AppCertificate {
            key_id,
            name: request.name.clone().unwrap_or_else(|| certificate.subject.clone()),
            certificate,
            starts,
            ends,
            propagation: self.propagation(),
            removal: None,
        })
    }

    fn replace_keys(
        &mut self,
        access_token: &str,
        object_id: Uuid,
        entries: &[KeyEntry],
    ) -> Result<(), GraphRefusal> {
        let app = self.changeable(access_token, object_id)?;
        let client_id = app.client_id.clone();
        let listed = app.certificates.iter().filter(|one| one.is_listed());
        let listed: BTreeSet<Uuid> = listed.map(|one| one.key_id).collect();
        let mut kept = BTreeSet::new();
        let mut added = Vec::new();
        for entry in entries {
            match entry {
                KeyEntry::Kept(key_id) if listed.contains(key_id) => {
                    kept.insert(*key_id);
                }
                KeyEntry::New(key_id, request) if !listed.contains(key_id) => {
                    added.push(self.key_of(&client_id, *key_id, request)?);
                }
                KeyEntry::Kept(_) | KeyEntry::New(..) => return Err(GraphRefusal::bad_key()),
            }
        }
        let removal = self.propagation();
        if let Some(app) = self.directory.apps.get_mut(&client_id) {
            let listed = app.certificates.iter_mut().filter(|one| one.is_listed());
            for gone in listed.filter(|one| !kept.contains(&one.key_id)) {
                gone.removal = Some(removal.clone());
            }
            app.certificates.extend(added);
        }
        Ok(())
    }

    fn remove_key(
        &mut self,
        access_token: &str,
        object_id: Uuid,
        key_id: Uuid,
        proof: &str,
    ) -> Result<(), GraphRefusal> {
        let client_id = self.proved(access_token, object_id, proof)?;
        let removal = self.propagation();
        let app = self.directory.apps.get_mut(&client_id);
        let mut listed = app.into_iter().flat_map(|app| &mut app.certificates).filter(|one| one.is_listed());
        let found = listed.find(|one| one.key_id == key_id);
        found.ok_or_else(|| GraphRefusal::missing_key(key_id))?.removal = Some(removal);
        Ok(())
    }
}

/// Whether a text is a proof for this app. A registered certificate of the app must have signed the proof, and this
/// certificate must be valid now.
fn is_proof(text: &str, app: &App, now: Timestamp) -> bool {
    let Some((signed, signature)) = text.rsplit_once('.') else { return false };
    let Some((header, claims)) = signed.split_once('.') else { return false };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let (Some(header), Some(claims), Some(signature)) =
        (decoded(header), decoded(claims), decoded(signature))
    else {
        return false;
    };
    let (Ok(header), Ok(claims)) =
        (serde_json::from_slice::<ProofHeader>(&header), serde_json::from_slice::<ProofClaims>(&claims))
    else {
        return false;
    };
    let time = |seconds| DateTime::from_timestamp(seconds, 0);
    let in_time = time(claims.nbf).is_some_and(|from| from <= now + TimeDelta::minutes(5))
        && time(claims.exp).is_some_and(|until| until > now)
        && claims.exp.saturating_sub(claims.nbf) <= PROOF_LIVES;
    let signs = |one: &AppCertificate| {
        let known = &one.certificate;
        let is_named = header.x5t.as_ref().is_none_or(|hash| *hash == known.x5t());
        one.is_listed()
            && one.starts <= now
            && now < one.ends
            && is_named
            && known.verifies(&header.alg, signed.as_bytes(), &signature)
    };
    header.alg == "RS256"
        && claims.aud == PROOF_AUDIENCE
        && claims.iss.eq_ignore_ascii_case(&app.object_id.to_string())
        && in_time
        && app.certificates.iter().any(signs)
}
