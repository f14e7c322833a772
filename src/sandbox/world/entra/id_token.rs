//! ID tokens, for requests whose scope includes `openid`.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::Inner;
use super::super::grants::Owner;

/// The lifetime of an ID token (docs/azure-facts.md F116).
const LIFETIME: TimeDelta = TimeDelta::hours(1);

impl Inner {
    /// Returns the claims of an ID token, if the scope requests one.
    pub(super) fn id_claims(&self, scope: &str, bearer: &Owner, nonce: Option<&str>) -> Option<Value> {
        let asked = |name: &str| scope.split_whitespace().any(|word| word == name);
        if !asked("openid") {
            return None;
        }
        let issued = self.time.wall();
        // The token contains the user's name and object id only if the request has the scope `profile` (Microsoft's
        // page id-token-claims-reference).
        let oid = Some(&bearer.user).filter(|_| asked("profile"));
        let user = oid.and_then(|oid| self.directory.users.get(oid));
        let mut claims = json!({
            "aud": bearer.app, "iat": issued.timestamp(), "nbf": issued.timestamp(),
            "exp": (issued + LIFETIME).timestamp(), "oid": oid, "sub": bearer.user,
            "preferred_username": user.map(|user| &user.upn), "tid": bearer.tenant, "ver": "2.0",
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        Some(claims)
    }
}
