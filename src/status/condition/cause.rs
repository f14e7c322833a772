//! What conditions come from, as their ids and their texts name it.

use crate::ports::failure::Kind;
use crate::status::snapshot::Snapshot;

/// The host that this process runs on.
pub(super) const HOST: &str = "host";

/// The app of a token: those that share it share what is wrong with its credential.
pub(super) fn app(of: &Snapshot) -> String {
    format!("app:{}", of.client_id().unwrap_or(of.grant.name.as_str()))
}

pub(super) fn own(of: &Snapshot) -> String {
    format!("token:{}", of.grant.name)
}

pub(super) fn issuer(of: &Snapshot) -> String {
    format!("issuer:{}", of.grant.deployment.authority)
}

pub(super) fn vault(url: &str) -> String {
    format!("vault:{url}")
}

/// What a condition of this kind that affects this token may come from.
pub fn causes(kind: Kind, of: &Snapshot) -> Vec<String> {
    match kind {
        Kind::EntraUnreachable | Kind::EntraThrottled => vec![issuer(of)],
        Kind::VaultUnreachable | Kind::VaultIdentity => {
            of.grant.vaults().into_iter().map(|url| vault(&url)).collect()
        }
        Kind::AppSecretExpiring | Kind::AppSecretExpiryUnknown => vec![app(of)],
        Kind::VaultRefused
        | Kind::AppCredentialRefused
        | Kind::AppMisconfigured
        | Kind::UnknownCode
        | Kind::Overdue => vec![own(of), app(of)],
        Kind::ClockSkew => vec![HOST.to_owned()],
        // It comes from a sink, of which a token knows nothing.
        Kind::AlertUndeliverable => Vec::new(),
        _ => vec![own(of)],
    }
}
