//! The operations on Key Vault's keys: reading the public half, and signing a digest.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding,
};
use secrecy::ExposeSecret as _;

use super::super::super::World;
use super::super::super::ledger::Operation;
use super::super::{Action, VaultAnswer, VaultRefusal};
use super::{CertificateVersion, VersionKey};
use crate::token::secret::SecretAddress;

/// A signature algorithm: its padding and its hash.
type Scheme = (&'static dyn RsaEncoding, &'static digest::Algorithm);

impl World {
    /// Reads the public half of a key. Without a version id, reads the newest version. A disabled version can also be
    /// read.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn get_key(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
    ) -> VaultAnswer<CertificateVersion> {
        self.vault_call(actor, Operation::GetKey, at, |vault, _| {
            vault.allow(Action::ReadKey)?;
            let secret = vault.managed_secret(at, "KeyNotFound", "key")?;
            secret.certificate(version).map_err(|_| absent(at))
        })
    }

    /// Signs a digest with a version of a key. Without a version id, signs with the newest version. The algorithm is
    /// `PS256`, `PS384`, `PS512`, `RS256`, `RS384` or `RS512`.
    ///
    /// # Errors
    /// Returns an injected fault, or the vault's rejection.
    pub fn sign(
        &self,
        actor: &str,
        at: &SecretAddress,
        version: Option<&str>,
        algorithm: &str,
        digest: &[u8],
    ) -> VaultAnswer<KeySignature> {
        self.vault_call(actor, Operation::Sign, at, |vault, inner| {
            vault.allow(Action::SignWithKey)?;
            let secret = vault.managed_secret(at, "KeyNotFound", "key")?;
            let found = secret.certificate(version).map_err(|_| absent(at))?;
            if !found.attributes.enabled {
                return Err(VaultRefusal::disabled_object("sign", "key", "KeyDisabled"));
            }
            let key = secret.backing.as_ref().and_then(|backing| backing.keys.get(&found.id));
            let key = key.ok_or_else(|| absent(at))?;
            let bytes = key.sign(algorithm, digest)?;
            let now = inner.time.now();
            if now < key.certificate.not_before || key.certificate.not_after <= now {
                return Err(VaultRefusal::outside_validity());
            }
            Ok(KeySignature { version: found.id, bytes })
        })
    }
}

/// A signature, and the version of the key that made the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySignature {
    /// The version's id: 32 hex digits.
    pub version: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

impl VersionKey {
    fn sign(&self, algorithm: &str, digest: &[u8]) -> Result<Vec<u8>, VaultRefusal> {
        let (padding, hash) = scheme(algorithm).ok_or_else(|| {
            VaultRefusal::bad_parameter(format!(
                "The algorithm '{algorithm}' is not supported for an RSA key."
            ))
        })?;
        let digest = Digest::import_less_safe(digest, hash).map_err(|_| {
            let text = format!("The digest for '{algorithm}' must have {} bytes.", hash.output_len());
            VaultRefusal::bad_parameter(text)
        })?;
        let failed = || VaultRefusal::new(500, "InternalServerError", None, "the key cannot sign");
        let pair = rsa::KeyPair::from_pkcs8(self.private.expose_secret()).map_err(|_| failed())?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign_digest(padding, &digest, &mut signature).map_err(|_| failed())?;
        Ok(signature)
    }
}

fn scheme(algorithm: &str) -> Option<Scheme> {
    Some(match algorithm {
        "PS256" => (&RSA_PSS_SHA256, &digest::SHA256),
        "PS384" => (&RSA_PSS_SHA384, &digest::SHA384),
        "PS512" => (&RSA_PSS_SHA512, &digest::SHA512),
        "RS256" => (&RSA_PKCS1_SHA256, &digest::SHA256),
        "RS384" => (&RSA_PKCS1_SHA384, &digest::SHA384),
        "RS512" => (&RSA_PKCS1_SHA512, &digest::SHA512),
        _ => return None,
    })
}

fn absent(at: &SecretAddress) -> VaultRefusal {
    VaultRefusal::absent("KeyNotFound", "key", at.name.as_str())
}
