//! The issuer's side of a sign-in: authorization codes and device codes.
//!
//! Owns the requests and the parsing of their answers; `login` judges them.
//!
//! These are methods of `Entra` and no port: only `login` needs them, and the daemon's `Issuer` keeps one operation.
//! Tests run them against the sandbox over HTTPS.

use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Entra, printable, redeemed, seconds, success};
use crate::login::DeviceCode;
use crate::ports::{IssuerError, RefreshResponse};

/// Entra's device codes last 15 minutes and are polled every 5 seconds (docs/azure-facts.md F136).
const DEVICE_CODE_LASTS: u64 = 15 * 60;

/// See `DEVICE_CODE_LASTS`.
const DEVICE_CODE_INTERVAL: u64 = 5;

/// The grant of RFC 8628, 3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An authorization code to exchange. It works once.
#[derive(Debug)]
pub struct CodeExchange<'a> {
    /// Tenant: GUID or verified domain.
    pub tenant: &'a str,
    /// App.
    pub client_id: &'a str,
    /// The app's secret.
    pub client_secret: &'a SecretString,
    /// As in the authorization request.
    pub scope: &'a str,
    /// As in the authorization request.
    pub redirect_uri: &'a str,
    /// The code.
    pub code: &'a SecretString,
    /// The PKCE verifier of the challenge.
    pub verifier: &'a SecretString,
    /// Sent as the client request id.
    pub id: Uuid,
}

/// One poll: has the user signed in on the other device?
#[derive(Debug)]
pub struct DevicePoll<'a> {
    /// Tenant: GUID or verified domain.
    pub tenant: &'a str,
    /// App.
    pub client_id: &'a str,
    /// The app's secret: the grant must belong to the confidential app that redeems it later.
    pub client_secret: &'a SecretString,
    /// The issued device code.
    pub device_code: &'a SecretString,
    /// Sent as the client request id.
    pub id: Uuid,
}

impl Entra {
    /// The authority, with a trailing slash.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The address at which a browser begins the sign-in.
    pub fn authorize_endpoint(&self, tenant: &str) -> Url {
        self.authority.with_path(&[tenant, "oauth2", "v2.0", "authorize"])
    }

    /// Exchanges an authorization code for tokens. Must not be repeated: a code works once.
    ///
    /// # Errors
    /// As `Issuer::redeem`.
    pub async fn exchange_code(&self, what: &CodeExchange<'_>) -> Result<RefreshResponse, IssuerError> {
        let (secret, code) = (what.client_secret.expose_secret(), what.code.expose_secret());
        let verifier = what.verifier.expose_secret();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", what.client_id),
            ("client_secret", secret),
            ("code", code),
            ("redirect_uri", what.redirect_uri),
            ("code_verifier", verifier),
            ("scope", what.scope),
        ];
        let answer = self.post((what.tenant, "token"), "sign_in", what.id, &form).await?;
        let secrets = [secret, code, verifier];
        redeemed(success(&answer, &secrets)?, &secrets)
    }

    /// Requests a code that the user types on another device.
    ///
    /// # Errors
    /// As `Issuer::redeem`.
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
    /// As `Issuer::redeem`; `login::polling` says what an error means.
    pub async fn poll_device_code(&self, what: &DevicePoll<'_>) -> Result<RefreshResponse, IssuerError> {
        let (secret, code) = (what.client_secret.expose_secret(), what.device_code.expose_secret());
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("client_id", what.client_id),
            ("client_secret", secret),
            ("device_code", code),
        ];
        let answer = self.post((what.tenant, "token"), "sign_in", what.id, &form).await?;
        let secrets = [secret, code];
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
    /// Code and address are shown to the user: both must be printable, and the address must be HTTPS.
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
