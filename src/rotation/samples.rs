//! Sample tokens, versions and successors for unit tests. Each test changes only the fields that it needs.

use uuid::Uuid;

use std::sync::Arc;

use crate::ports::failure::{Failure, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::state::{Blocked, Facts, Outage, PendingSave, Phase, State, Successor};
use crate::token::RefreshToken;
use crate::token::app::ManagedApp;
use crate::token::managed::{Deployment, ManagedToken, Policy, TokenName, Verify};
use crate::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use crate::token::tags::Tags;
use crate::token::version::{Version, VersionId};

/// Returns an address in a vault.
pub(crate) fn address(name: &str) -> SecretAddress {
    SecretAddress {
        vault: "https://contoso.vault.azure.net".into(),
        name: SecretName::parse(name).expect("a name"),
    }
}

/// Returns an app whose client secret is read from this source.
pub(crate) fn app(client_secret: Source) -> Arc<ManagedApp> {
    Arc::new(ManagedApp::with_secret(ConfigValue::Plain("app".into()), client_secret))
}

/// Returns a token under the default policy, without checks by Partner Center.
pub(crate) fn grant(name: &str) -> ManagedToken {
    ManagedToken {
        deployment: Arc::new(Deployment::new(
            "https://login.microsoftonline.com/",
            "host",
            &address("token").to_string(),
        )),
        name: TokenName::new(name),
        tenant_id: "tenant".into(),
        app: app(Source::Env("SECRET".into())),
        secret: address("token"),
        scope: "s".into(),
        verify: Verify::Nothing,
        user_oid: None,
        owner: None,
        app_secret_expires: None,
        strict: false,
        policy: Policy::default().into(),
    }
}

/// Returns a version that a person or a script has written.
pub(crate) fn version(id: &str, created: Timestamp) -> Version {
    Version { id: VersionId(id.into()), created, enabled: true, expires: None, tags: Tags::new() }
}

/// Returns an unsaved successor of the version `redeemed`.
pub(crate) fn pending(redeemed: Version, issued_at: Timestamp) -> PendingSave {
    PendingSave::of(Successor {
        token: RefreshToken::new("successor"),
        issued_at,
        client_id: "app".into(),
        user_oid: None,
        redeemed,
        redeemed_value: RefreshToken::new("redeemed"),
        rotation_id: Uuid::nil(),
        is_only_copy: false,
    })
}

/// Returns the state after a proof: the issuer redeemed the newest version at this time.
pub(crate) fn proved(newest: Version, proved_at: Timestamp) -> State {
    let facts = Facts { proved_at: Some(proved_at), ..Facts::of(newest.id.clone()) };
    State {
        phase: Phase::Current,
        newest: Some(newest),
        facts: Some(Box::new(facts)),
        ..State::unknown(proved_at)
    }
}

/// Returns `state` with a failure that began at `since`. A transient failure becomes an outage with this number of
/// attempts. Any other failure blocks the token until a person acts.
pub(crate) fn failed(state: State, failure: Failure, since: Timestamp, attempts: u32) -> State {
    if failure.remedy == Remedy::Retry {
        let outage = Outage { failure, since, attempts, retry_at: since };
        return State { outage: Some(Box::new(outage)), ..state };
    }
    let version = state.newest.as_ref().map(|newest| newest.id.clone());
    let blocked = Blocked {
        failure,
        since,
        version,
        next_check_at: since,
        again_at: since,
        checks: 0,
        is_confirmed: true,
    };
    let phase = match state.phase {
        Phase::Current => Phase::Unproved { due_at: since },
        other => other,
    };
    State { phase, blocked: Some(Box::new(blocked)), ..state }
}
