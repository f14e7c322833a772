//! Access tokens: their content, and the world's record of each access token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::json;

use super::super::Inner;
use crate::process::clock::Timestamp;
use crate::token::AccessToken;

/// The record of one issued access token.
pub(in crate::sandbox::world) struct AccessRecord {
    pub(in crate::sandbox::world) audience: String,
    pub(in crate::sandbox::world) tenant: String,
    /// The client id of the app or managed identity, in lower case.
    pub(in crate::sandbox::world) app: String,
    /// The user. `None` for an app's own token.
    pub(in crate::sandbox::world) user: Option<String>,
    pub(in crate::sandbox::world) mfa: bool,
    pub(in crate::sandbox::world) expires: Timestamp,
}

/// The app and the user to whom an access token is issued.
pub(in crate::sandbox::world) struct Bearer<'a> {
    pub(in crate::sandbox::world) tenant: &'a str,
    pub(in crate::sandbox::world) app: &'a str,
    /// The user's object id, and whether the sign-in used MFA. `None` for an app's own token.
    pub(in crate::sandbox::world) user: Option<(&'a str, bool)>,
    pub(in crate::sandbox::world) scope: &'a str,
    pub(in crate::sandbox::world) opaque: bool,
}

impl Inner {
    pub(in crate::sandbox::world) fn access_token(&mut self, bearer: &Bearer<'_>) -> (AccessToken, Duration) {
        let issued = self.time.wall();
        // The lifetime is random between 60 and 90 minutes (docs/azure-facts.md F105).
        let seconds = self.rng.u32(3600..5400);
        let expires = issued + TimeDelta::seconds(i64::from(seconds));
        let audience = audience(bearer.scope).to_owned();
        let upn = bearer.user.and_then(|(oid, _)| self.directory.users.get(oid)).map(|user| user.upn.clone());
        let amr = bearer.user.map(|(_, mfa)| if mfa { vec!["pwd", "mfa"] } else { vec!["pwd"] });
        let payload = json!({
            "aud": audience, "iss": format!("https://sts.windows.net/{}/", bearer.tenant),
            "iat": issued.timestamp(), "nbf": issued.timestamp(), "exp": expires.timestamp(),
            "tid": bearer.tenant, "appid": bearer.app, "appidacr": "1", "ver": "1.0",
            "oid": bearer.user.map(|(oid, _)| oid), "upn": upn, "amr": amr,
            "scp": bearer.user.map(|_| bearer.scope.rsplit('/').next()), "uti": self.fresh_id().to_string(),
        });
        let signature: String = (0..43).map(|_| self.rng.alphanumeric()).collect();
        let text = if bearer.opaque {
            format!("EwB{}{signature}", self.fresh_id().simple())
        } else {
            let part = |json: String| URL_SAFE_NO_PAD.encode(json);
            let header = part(json!({"typ": "JWT", "alg": "RS256"}).to_string());
            format!("{header}.{}.{signature}", part(payload.to_string()))
        };
        // The world searches for expired tokens only when the number of tokens reaches a limit. If the world searched
        // whenever it issues a token, the searches would take most of the processor time.
        if self.access_tokens.len() >= self.sweep_access_tokens_at {
            self.access_tokens.retain(|_, record| record.expires > issued);
            self.sweep_access_tokens_at = 64.max(2 * self.access_tokens.len());
        }
        let record = AccessRecord {
            audience,
            tenant: bearer.tenant.to_owned(),
            app: bearer.app.to_ascii_lowercase(),
            user: bearer.user.map(|(oid, _)| oid.to_owned()),
            mfa: bearer.user.is_some_and(|(_, mfa)| mfa),
            expires,
        };
        self.access_tokens.insert(text.clone(), record);
        (AccessToken::new(text), Duration::from_secs(u64::from(seconds)))
    }

    pub(in crate::sandbox::world) fn access(&self, text: &str) -> Option<&AccessRecord> {
        self.access_tokens.get(text).filter(|record| record.expires > self.time.wall())
    }
}

pub(super) fn audience(scope: &str) -> &str {
    scope.rsplit_once('/').map_or(scope, |(resource, _)| resource)
}
