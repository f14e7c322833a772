//! The issuer's side of a sign-in: authorization codes and device codes.
//!
//! This module owns the requests of a sign-in and the parsing of their answers. `login` judges the answers.
//!
//! These requests are methods of `Entra` and not of the port `Issuer`, since only the command `login` needs them. Tests
//! run these methods against the sandbox over HTTPS.

use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Entra, printable, redeemed, seconds, success};
use crate::login::DeviceCode;
use crate::ports::client::ClientProof;
use crate::ports::{IssuerError, RefreshResponse};

/// The lifetime of a device code in seconds, if the answer names no lifetime (docs/azure-facts.md F136).
const DEVICE_CODE_LASTS: u64 = 15 * 60;

/// The interval between two polls in seconds, if the answer names no interval (docs/azure-facts.md F136).
const DEVICE_CODE_INTERVAL: u64 = 5;

/// The grant type for device codes (RFC 8628, 3.4).
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The values for the exchange of an authorization code. A code can be exchanged only once.
#[derive(Debug)]
pub struct CodeExchange<'a> {
    /// The tenant's GUID or verified domain.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential.
    pub proof: &'a ClientProof,
    /// The same scope as in the authorization request.
    pub scope: &'a str,
    /// The same redirect URI as in the authorization request.
    pub redirect_uri: &'a str,
    /// The authorization code.
    pub code: &'a SecretString,
    /// The PKCE verifier that matches the challenge.
    pub verifier: &'a SecretString,
    /// The id that is sent as the client request id.
    pub id: Uuid,
}

/// The values for one poll. A poll asks Entra whether the user has typed the user code and has signed in.
#[derive(Debug)]
pub struct DevicePoll<'a> {
    /// The tenant's GUID or verified domain.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential. A poll sends this credential, as each later redemption of the refresh token does.
    pub proof: &'a ClientProof,
    /// The device code that Entra issued.
    pub device_code: &'a SecretString,
    /// The id that is sent as the client request id.
    pub id: Uuid,
}

impl Entra {
    /// Returns the authority's URL. If the URL has no path, it ends with a slash.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Returns the address at which a browser begins the sign-in.
    pub fn authorize_endpoint(&self, tenant: &str) -> Url {
        self.authority.with_path(&[tenant, "oauth2", "v2.0", "authorize"])
    }

    /// Exchanges an authorization code for tokens. The caller must not repeat the call, since a code can be exchanged
    /// only once.
    ///
    /// # Errors
    /// Returns the same errors as `Issuer::redeem`.
    pub async fn exchange_code(&self, what: &CodeExchange<'_>) -> Result<RefreshResponse, IssuerError> {
        let code = what.code.expose_secret();
        let verifier = what.verifier.expose_secret();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", what.client_id),
            ("code", code),
            ("redirect_uri", what.redirect_uri),
            ("code_verifier", verifier),
            ("scope", what.scope),
        ];
        form.extend(what.proof.fields());
        let answer = self.post((what.tenant, "token"), "sign_in", what.id, &form).await?;
        let secrets = [what.proof.expose(), code, verifier];
        redeemed(success(&answer, &secrets)?, &secrets)
    }

    /// Requests a code that the user types on another device.
    ///
    /// # Errors
    /// Returns the same errors as `Issuer::redeem`.
    pub async fn begin_device_code(
        &self,
        tenant: &str,
        client_id: &str,
        scope: &str,
        id: Uuid,
    ) -> Result<DeviceCode, IssuerError> {
        let form = [("client_id", client_id), ("scope", scope)];
        let answer = self.post((tenant, "devicecode"), "device_code", id, &form).await?;
        let not_one = IssuerError::NotUnderstood("it is not a device code");
        let parsed: DeviceCodeBody =
            serde_json::from_slice(success(&answer, &[])?).map_err(|_| not_one.clone())?;
        parsed.read().ok_or(not_one)
    }

    /// Polls for the user's sign-in.
    ///
    /// # Errors
    /// Returns the same errors as `Issuer::redeem`. `login::polling` decides which errors end the polling.
    pub async fn poll_device_code(&self, what: &DevicePoll<'_>) -> Result<RefreshResponse, IssuerError> {
        let code = what.device_code.expose_secret();
        let mut form =
            vec![("grant_type", DEVICE_GRANT), ("client_id", what.client_id), ("device_code", code)];
        form.extend(what.proof.fields());
        let answer = self.post((what.tenant, "token"), "sign_in", what.id, &form).await?;
        let secrets = [what.proof.expose(), code];
        redeemed(success(&answer, &secrets)?, &secrets)
    }
}

#[derive(Deserialize)]
struct DeviceCodeBody {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    interval: Value,
}

impl DeviceCodeBody {
    /// Checks the answer. The user code and the address are shown to the user, so both must be printable. The address
    /// must be an HTTPS URL.
    fn read(self) -> Option<DeviceCode> {
        let device_code = SecretString::from(self.device_code);
        let of = |value: &Value, usual| Duration::from_secs(seconds(value).unwrap_or(usual));
        let code = printable(&self.user_code).filter(|code| (1..=32).contains(&code.len()))?;
        let page = printable(&self.verification_uri).filter(|page| page.starts_with("https://"))?;
        Some(DeviceCode {
            user_code: code.to_owned(),
            verification_uri: page.to_owned(),
            expires_in: of(&self.expires_in, DEVICE_CODE_LASTS),
            interval: of(&self.interval, DEVICE_CODE_INTERVAL),
            device_code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<DeviceCode> {
        serde_json::from_str::<DeviceCodeBody>(json).ok()?.read()
    }

    #[test]
    fn a_device_code_is_parsed_leniently_and_shown_only_if_printable() {
        let code = read(
            r#"{"device_code":"d","user_code":"ABCD-1234","verification_uri":"https://microsoft.com/devicelogin","expires_in":"900"}"#,
        )
        .expect("a code");

        assert_eq!((code.expires_in, code.interval), (Duration::from_secs(900), Duration::from_secs(5)));
        for odd in [
            r#"{"device_code":"d","user_code":"A\u001b[2J","verification_uri":"https://x"}"#,
            r#"{"device_code":"d","user_code":"A","verification_uri":"http://x"}"#,
            r#"{"device_code":"d","user_code":"","verification_uri":"https://x"}"#,
            r#"{"user_code":"A","verification_uri":"https://x"}"#,
        ] {
            assert!(read(odd).is_none(), "{odd}");
        }
    }
}
