//! What unit tests begin with: a token, a version and a successor of which each test changes what matters.

use uuid::Uuid;

use crate::process::clock::Timestamp;
use crate::rotation::state::Held;
use crate::token::RefreshToken;
use crate::token::managed::{Grant, Policy, TokenName, Verify};
use crate::token::secret::{SecretAddress, SecretName, Setting, Source};
use crate::token::tags::Tags;
use crate::token::version::{Version, VersionId};

/// A place in a vault.
pub(crate) fn address(name: &str) -> SecretAddress {
    SecretAddress {
        vault: "https://contoso.vault.azure.net".into(),
        name: SecretName::parse(name).expect("a name"),
    }
}

/// A token under the usual policy, about which nobody is asked.
pub(crate) fn grant(name: &str) -> Grant {
    Grant {
        name: TokenName::new(name),
        tenant_id: "tenant".into(),
        client_id: Setting::Plain("app".into()),
        client_secret: Source::Env("SECRET".into()),
        secret: address("token"),
        scope: "s".into(),
        verify: Verify::Nothing,
        user_oid: None,
        owner: None,
        app_secret_expires: None,
        strict: false,
        policy: Policy::default(),
    }
}

/// What a person or a script wrote.
pub(crate) fn version(id: &str, created: Timestamp) -> Version {
    Version { id: VersionId(id.into()), created, enabled: true, expires: None, tags: Tags::new() }
}

/// A successor of that version, of which the vault knows nothing yet.
pub(crate) fn held(from: Version, issued_at: Timestamp) -> Held {
    Held {
        successor: RefreshToken::new("successor"),
        issued_at,
        from,
        from_value: RefreshToken::new("redeemed"),
        over: None,
        read_at: None,
        written: None,
        dead: Vec::new(),
        seen: Vec::new(),
        client_id: "app".into(),
        user_oid: None,
        rotation_id: Uuid::nil(),
    }
}
