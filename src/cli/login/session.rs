//! The steps that all sign-in methods (browser, device code, import) share: the checks before the sign-in, and the
//! write to the vault after the sign-in.

use serde::Serialize;
use uuid::Uuid;

use super::Prompter;
use crate::cli::azure_clients::AzureRotator;
use crate::login::judge::Expected;
use crate::login::{StepFailure, explain, judge};
use crate::ports::Resource as _;
use crate::ports::Vault as _;
use crate::ports::client::ClientProof;
use crate::ports::diagnosis::{LoginMethod, Subject};
use crate::ports::failure::{Failure, Remedy, Trace};
use crate::ports::{Acceptance, IssuerError, RefreshResponse, ResourceError, SecretRole, VaultError};
use crate::process::clock::rfc3339;
use crate::process::text;
use crate::rotation::grace::Grace;
use crate::rotation::rotate::AppCredential;
use crate::token::managed::{ManagedToken, Verify};
use crate::token::rotation_id;
use crate::token::version::{NewVersion, Provenance, Stored, USABLE, Version, VersionId, tag};

/// An empty trace, which is only a placeholder. `explain::of` replaces it with the trace of Entra's rejection.
static UNTRACED: Trace = Trace { code: None, trace_id: None, correlation_id: None };

/// A sign-in in progress.
pub(super) struct LoginSession {
    pub(super) rotator: AzureRotator,
    pub(super) voice: Prompter,
    /// The id of this sign-in. Every request contains this id, and the stored version has it in the tag `rotation-id`.
    pub(super) id: Uuid,
    credential: AppCredential,
    replace_user: bool,
}

/// The version that a sign-in has stored.
#[derive(Debug, Serialize)]
pub(super) struct StoredLogin {
    pub(super) name: String,
    pub(super) version: VersionId,
    pub(super) user_oid: Option<String>,
    /// The user's sign-in name, which Entra's answer contains.
    pub(super) user_name: Option<String>,
    pub(super) company: Option<String>,
    pub(super) signed_in_at: String,
    pub(super) expires_at: String,
    pub(super) partner_center_accepts: Option<bool>,
}

/// What the vault contained before the sign-in.
#[derive(Default)]
struct Before {
    newest: Option<Version>,
    off: bool,
}

impl LoginSession {
    /// Begins a sign-in if the app's credential and the vault can be read. Without this check, the user might sign in
    /// although Perennial cannot store the token.
    pub(super) async fn open(
        rotator: AzureRotator,
        voice: Prompter,
        replace_user: bool,
    ) -> Result<Self, StepFailure> {
        let id = rotation_id();
        let credential = rotator.accepted_credential(id).await;
        let credential = credential.map_err(|failure| not_read(&failure, &rotator.grant))?;
        let desk = Self { rotator, voice, id, credential, replace_user };
        if desk.before().await?.off {
            voice.say(
                "turned_off",
                "The newest version in Key Vault is disabled, so Perennial does not rotate the token. A sign-in starts rotation again.",
            );
        }
        Ok(desk)
    }

    /// Redeems the stored token, and returns the claims challenge if Entra's rejection contains one. The challenge says
    /// what a policy requires from the next sign-in. Does not redeem a `strict` token, or a token whose tags record no
    /// rejection. Errors are ignored, because the sign-in can continue without a challenge.
    pub(super) async fn challenge(&self) -> Option<String> {
        let stored = self.rotator.vault.newest(&self.grant().secret, self.id).await.ok()?;
        if self.grant().strict || !stored.version.is_refused() {
            return None;
        }
        let proof = self.proof().await.ok()?;
        match self.rotator.exchange(&stored.refresh_token(), self.client_id(), &proof, self.id).await {
            Err(IssuerError::Refused(refusal)) => refusal.claims,
            Ok(_) | Err(_) => None,
        }
    }

    pub(super) fn grant(&self) -> &ManagedToken {
        &self.rotator.grant
    }

    pub(super) fn client_id(&self) -> &str {
        &self.credential.client_id
    }

    /// Returns the client secret or assertion with which the next request authenticates the app.
    pub(super) async fn proof(&self) -> Result<ClientProof, StepFailure> {
        let proof = self.rotator.client_proof(&self.credential, &self.grant().tenant_id, self.id).await;
        proof.map_err(|failure| not_read(&failure, self.grant()))
    }

    /// Explains why the issuer returned no tokens.
    pub(super) fn explain(&self, error: &IssuerError, way: LoginMethod) -> StepFailure {
        explain::of(error, &self.subject(way))
    }

    pub(super) fn subject(&self, way: LoginMethod) -> Subject<'_> {
        Subject { way, ..Subject::of(self.grant(), self.client_id(), &UNTRACED, self.rotator.clock.now()) }
    }

    /// Judges an answer. Stores the refresh token of the answer if all checks pass.
    pub(super) async fn keep(
        &self,
        answer: RefreshResponse,
        nonce: Option<&str>,
    ) -> Result<StoredLogin, StepFailure> {
        self.voice.say("checking", "Signed in. Checking tenant, app, user, scope and second factor …");
        // The vault is read again, because minutes may have passed since the first read.
        let before = self.before().await?;
        let tags = before.newest.as_ref().map(|version| &version.tags);
        let expected = Expected {
            grant: self.grant(),
            client_id: self.client_id(),
            nonce,
            user_before: tags.and_then(|tags| tags.get(tag::USER_OID)),
            replace_user: self.replace_user,
        };
        let whose = judge::judge(&expected, &answer)?;
        let user_name = judge::sign_in_name(&answer);
        if whose.unverified.is_any() {
            let text = format!(
                "Entra's answer does not name the {0}, so Perennial could not verify the {0}.",
                whose.unverified
            );
            self.voice.say("identity_unverified", &text);
        }
        let user_oid = whose.user_oid;
        let acceptance = self.ask_partner_center(&answer).await?;
        let issued_at = self.rotator.clock.now();
        let provenance = Provenance {
            command: self.rotator.command,
            issued_at,
            tenant_id: &self.grant().tenant_id,
            client_id: self.client_id(),
            user_oid: user_oid.as_deref(),
            signed_in_at: issued_at,
            redeemed_from: None,
            verdict: acceptance.as_ref().map(|_| (USABLE, issued_at)),
            foreign: tags.cloned().unwrap_or_default(),
            rotation_id: self.id,
        };
        let lifetime = self.rotator.timing.policy().lifetime;
        let (new, dropped) = NewVersion::compose(&answer.refresh_token, lifetime, &provenance);
        if !dropped.is_empty() {
            let text = format!(
                "Perennial did not copy these tags, because the new version has no room for more tags: {}",
                dropped.join(", ")
            );
            self.voice.say("tags_dropped", &text);
        }
        self.voice.say("storing", &format!("Storing the token as {} …", self.grant().secret));
        let version = self.store(&new, before.newest.as_ref().map(|version| &version.id)).await?;
        Ok(StoredLogin {
            name: self.grant().name.to_string(),
            version,
            user_oid,
            user_name,
            company: acceptance.as_ref().and_then(|said| said.company.clone()),
            signed_in_at: rfc3339(issued_at),
            expires_at: rfc3339(new.expires),
            partner_center_accepts: acceptance.map(|said| said.accepted),
        })
    }

    async fn before(&self) -> Result<Before, StepFailure> {
        let at = &self.grant().secret;
        match self.rotator.vault.newest(at, self.id).await {
            Ok(stored) => {
                if let Some(vault_time) = stored.read_at {
                    self.rotator.clock.observe(vault_time);
                }
                Ok(Before { newest: Some(stored.version), off: false })
            }
            Err(VaultError::NotFound) => Ok(Before::default()),
            // A disabled version cannot be read, so its tags come from the list of versions.
            Err(VaultError::Disabled) => {
                let listed = self.rotator.vault.versions(at, self.id).await;
                let versions = listed.map_err(|error| self.vault_refused(&error))?;
                let newest = versions.into_iter().max_by_key(|version| version.created);
                Ok(Before { newest, off: true })
            }
            Err(error) => Err(self.vault_refused(&error)),
        }
    }

    async fn ask_partner_center(&self, answer: &RefreshResponse) -> Result<Option<Acceptance>, StepFailure> {
        if self.grant().verify == Verify::Nothing {
            return Ok(None);
        }
        self.voice.say("asking", "Asking Partner Center whether it accepts the access token …");
        let token = &answer.access_token;
        let grace = Grace::begin();
        loop {
            match self.rotator.resource.accepts(token, self.id).await {
                Ok(said) => return judge::judge_acceptance(self.grant(), &said).map(|()| Some(said)),
                Err(error) if !grace.allows_another().await => return Err(no_verdict(&error)),
                Err(_) => {}
            }
        }
    }

    /// Writes the version and reads it back. Retries until the vault returns the written version or the grace period is
    /// over. A retry repeats the write only if the write has failed.
    async fn store(&self, new: &NewVersion, before: Option<&VersionId>) -> Result<VersionId, StepFailure> {
        let at = &self.grant().secret;
        let grace = Grace::begin();
        let mut written = false;
        loop {
            let mut error = None;
            if !written {
                error = self.rotator.vault.write(at, new, self.id).await.err();
                written = error.is_none();
            }
            let passes =
                |error: &VaultError| matches!(error.failure(SecretRole::Own, at).remedy, Remedy::Retry);
            if let Some(error) = error.as_ref().filter(|error| !passes(error)) {
                return Err(self.vault_refused(error));
            }
            // The version is read even if the answer to the write was lost, since the version may have been written.
            let read = match self.rotator.vault.newest(at, self.id).await {
                Ok(stored) if stored.has_value(&new.value) => return Ok(stored.version.id),
                // For a moment, the vault may still return the previous version. If the vault returns neither the
                // written nor the previous version, another program wrote the returned version.
                Ok(stored) if written && before != Some(&stored.version.id) => {
                    return Err(overtaken(&stored));
                }
                Ok(_) => VaultError::NotUnderstood,
                Err(error) => error,
            };
            if !grace.allows_another().await {
                return Err(self.vault_refused(&error.unwrap_or(read)));
            }
        }
    }

    fn vault_refused(&self, error: &VaultError) -> StepFailure {
        let at = &self.grant().secret;
        let failure = error.failure(SecretRole::Own, at);
        let summary = format!("no sign-in was stored: {}", failure.summary);
        if *error != VaultError::Deleted {
            let first = failure.action.map(|action| format!("{action}; then ")).unwrap_or_default();
            return StepFailure::new(failure.remedy, summary, format!("{first}run the command again"));
        }
        let (name, vault) = (at.name.as_str(), at.vault_name());
        let action = format!(
            "recover the secret: `az keyvault secret recover --vault-name {vault} --name {name}`; or, if purge protection is off and you do not need the secret's old versions, purge the secret: `az keyvault secret purge --vault-name {vault} --name {name}`; then run `perennial login {}` again",
            self.grant().name
        );
        StepFailure::new(Remedy::Operator, summary, action)
    }
}

fn not_read(failure: &Failure, grant: &ManagedToken) -> StepFailure {
    let action = failure.action.clone().map(String::from);
    let key = grant.app.credential.key();
    let action = action
        .unwrap_or_else(|| format!("make client_id and {key} of {} readable by this process", grant.name));
    StepFailure::new(failure.remedy, failure.summary.clone(), format!("{action}; then run the command again"))
}

fn no_verdict(error: &ResourceError) -> StepFailure {
    let summary = format!(
        "{error}; Perennial does not know whether Partner Center accepts the token, so nothing was stored"
    );
    StepFailure::new(Remedy::Retry, summary, "sign in again when Partner Center answers")
}

fn overtaken(stored: &Stored) -> StepFailure {
    let by = stored.version.tags.get(tag::MANAGED_BY);
    let by = by.map_or_else(|| "another writer".to_owned(), text::shown);
    StepFailure::new(
        Remedy::Retry,
        format!(
            "the sign-in was stored, but {by} immediately overwrote it with version {}",
            stored.version.id
        ),
        "a running daemon restores the sign-in automatically: check this with `perennial status`; if the sign-in is not restored, sign in again",
    )
}
