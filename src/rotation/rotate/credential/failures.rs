//! Failures to read the app's id or credential.

use crate::ports::VaultError;
use crate::ports::diagnosis::Subject;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::process::clock::Timestamp;
use crate::token::app::ManagedApp;
use crate::token::local_secret;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// The failure to read a client secret. If the vault has an empty or unusable value, the action says how to replace it.
pub(super) fn no_secret(
    failure: Failure,
    source: &Source,
    token: &ManagedToken,
    client_id: &str,
    now: Timestamp,
) -> Failure {
    if !matches!(source, Source::Secret(_)) || failure.action.is_some() {
        return failure;
    }
    let trace = Trace::default();
    let action = Subject::of(token, client_id, &trace, now).new_credential();
    Failure { action: Some(action.into()), ..failure }
}

pub(super) fn no_app_id(source: &Source, app: &ManagedApp, name: &str) -> Failure {
    let key = app.credential.key();
    let place = local_secret::place(source);
    let summary = format!("{place} must contain the client_id of {name}, but its value is not a GUID");
    let action = format!(
        "store the app's client id in {place}; if client_id of {name} and {key} name the same source by mistake, correct client_id"
    );
    Failure { action: Some(action.into()), ..unreadable(summary) }
}

pub(super) fn no_host_assertion(identity: &str, error: &VaultError) -> Failure {
    let summary = match error {
        VaultError::NoIdentity { why, .. } => why.clone(),
        other => other.to_string(),
    };
    let is_transient = matches!(error, VaultError::NoIdentity { transient: true, .. });
    let remedy = if is_transient { Remedy::Retry } else { Remedy::Operator };
    let summary = format!("managed identity {identity} got no token: {summary}");
    let action = format!(
        "assign the user-assigned managed identity {identity} to this host (Azure portal, the host's page, Identity, User assigned), or correct managed_identity in the configuration"
    );
    Failure {
        action: Some(action.into()),
        ..Failure::new(Kind::AppCredentialRefused, remedy, FailureSubject::CredentialSource, summary)
    }
}

pub(super) fn unreadable(summary: String) -> Failure {
    Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::CredentialSource, summary)
}
