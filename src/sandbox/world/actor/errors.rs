//! Converts the world's rejections and faults to the errors of the ports. The adapters convert real answers in the same
//! way.

use std::time::Duration;

use super::super::Trouble;
use super::super::entra::EntraRefusal;
use super::super::fault::FaultEffect;
use super::super::graph::GraphRefusal;
use super::super::vault::VaultRefusal;
use crate::net::no_response::NoResponse;
use crate::ports::directory::DirectoryError;
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;
use crate::ports::{Forbidden, IssuerError, VaultError};

pub(super) fn issuer_error(trouble: Trouble<EntraRefusal>, correlation_id: &str) -> IssuerError {
    let what = match trouble {
        Trouble::Refused(refused) => return IssuerError::Refused(refused.refusal),
        Trouble::Fault(what) => what,
    };
    match what {
        FaultEffect::Transport(transport) => IssuerError::Unreachable(transport),
        FaultEffect::Status { status, retry_after } | FaultEffect::Coded { status, retry_after, .. } => {
            IssuerError::Unavailable { status, retry_after }
        }
        FaultEffect::Verbatim { status, .. } | FaultEffect::Hostile { status, .. } if status >= 300 => {
            IssuerError::Unavailable { status, retry_after: None }
        }
        FaultEffect::OAuth { status, error, code, suberror } => IssuerError::Refused(Box::new(OAuthError {
            status,
            error,
            suberror,
            trace: Trace { correlation_id: Some(correlation_id.to_owned()), ..Trace::of(code) },
            ..OAuthError::default()
        })),
        FaultEffect::Garbage
        | FaultEffect::Verbatim { .. }
        | FaultEffect::Hostile { .. }
        | FaultEffect::Distort(_)
        | FaultEffect::Delay(_) => IssuerError::NotUnderstood("not a token answer"),
    }
}

pub(super) fn no_identity(what: &FaultEffect) -> VaultError {
    let (why, transient) = match what {
        FaultEffect::Transport(transport) => (transport.to_string(), true),
        FaultEffect::Status { status, .. }
        | FaultEffect::Coded { status, .. }
        | FaultEffect::Verbatim { status, .. }
        | FaultEffect::Hostile { status, .. } => {
            (format!("status {status}"), *status == 429 || *status >= 500)
        }
        FaultEffect::OAuth { error, code, .. } => (format!("{error} {}", code.unwrap_or_default()), false),
        FaultEffect::Garbage | FaultEffect::Distort(_) | FaultEffect::Delay(_) => {
            ("not a token answer".to_owned(), true)
        }
    };
    VaultError::no_identity(why, transient)
}

pub(super) fn vault_error(trouble: Trouble<VaultRefusal>) -> VaultError {
    match trouble {
        Trouble::Refused(refused) if refused.status == 0 => VaultError::Unreachable(NoResponse::NameUnknown),
        Trouble::Refused(refused) => {
            let action = refused.action.map(|action| action.as_str().to_owned());
            match coded(refused.status, refused.inner.unwrap_or(refused.code), None) {
                VaultError::Forbidden(Forbidden::Rbac { .. }) => {
                    VaultError::Forbidden(Forbidden::Rbac { action, caller: None })
                }
                VaultError::Forbidden(Forbidden::Firewall { .. }) => {
                    VaultError::Forbidden(Forbidden::Firewall { address: refused.address })
                }
                error => error,
            }
        }
        Trouble::Fault(FaultEffect::Transport(transport)) => VaultError::Unreachable(transport),
        Trouble::Fault(FaultEffect::Status { status, retry_after }) => bare_status(status, retry_after),
        Trouble::Fault(
            FaultEffect::Verbatim { status: 200..=299, .. } | FaultEffect::Hostile { status: 200..=299, .. },
        ) => VaultError::NotUnderstood,
        Trouble::Fault(
            FaultEffect::OAuth { status, .. }
            | FaultEffect::Verbatim { status, .. }
            | FaultEffect::Hostile { status, .. },
        ) => bare_status(status, None),
        Trouble::Fault(FaultEffect::Coded { status, code, inner, retry_after }) => {
            coded(status, inner.as_deref().unwrap_or(&code), retry_after)
        }
        Trouble::Fault(FaultEffect::Garbage | FaultEffect::Distort(_) | FaultEffect::Delay(_)) => {
            VaultError::NotUnderstood
        }
    }
}

/// Returns `Unavailable` for every status. An answer without Key Vault's error body comes from a gateway. Even a 404
/// from a gateway does not mean that the secret is missing.
fn bare_status(status: u16, retry_after: Option<Duration>) -> VaultError {
    VaultError::Unavailable { status, retry_after }
}

fn coded(status: u16, code: &str, retry_after: Option<Duration>) -> VaultError {
    match (status, code) {
        (403, "SecretDisabled") => VaultError::Disabled,
        (403, "ForbiddenByRbac") => VaultError::Forbidden(Forbidden::Rbac { action: None, caller: None }),
        (403, "ForbiddenByPolicy") => VaultError::Forbidden(Forbidden::Policy { caller: None }),
        (403, "ForbiddenByFirewall") => VaultError::Forbidden(Forbidden::Firewall { address: None }),
        (403, "ForbiddenByConnection") => VaultError::Forbidden(Forbidden::Connection),
        (404, _) => VaultError::NotFound,
        (409, "ObjectIsDeletedButRecoverable") => VaultError::Deleted,
        (401, _) => VaultError::Unauthorized { akv: None },
        (403, code) => VaultError::Forbidden(Forbidden::Other { code: code.to_owned() }),
        (409, _) => VaultError::InTransition,
        (408 | 429, _) => bare_status(status, retry_after),
        (400..=499, code) => VaultError::Rejected { status, code: code.to_owned(), is_about_name: false },
        _ => VaultError::Unavailable { status, retry_after },
    }
}

pub(super) fn directory_error(trouble: Trouble<GraphRefusal>) -> DirectoryError {
    let unavailable = |status, retry_after| DirectoryError::Unavailable { status, retry_after };
    match trouble {
        Trouble::Refused(refused) => {
            DirectoryError::Refused { status: refused.status, code: refused.code.to_owned() }
        }
        Trouble::Fault(FaultEffect::Transport(transport)) => DirectoryError::Unreachable(transport),
        Trouble::Fault(FaultEffect::Coded { status, code, retry_after, .. }) => match status {
            429 | 500.. => unavailable(status, retry_after),
            status => DirectoryError::Refused { status, code },
        },
        Trouble::Fault(FaultEffect::Status { status, retry_after }) => unavailable(status, retry_after),
        // Microsoft Graph never sends answers of these forms. Another server, for example a proxy, sends such answers.
        Trouble::Fault(
            FaultEffect::OAuth { status, .. }
            | FaultEffect::Verbatim { status: status @ 300.., .. }
            | FaultEffect::Hostile { status: status @ 300.., .. },
        ) => unavailable(status, None),
        Trouble::Fault(
            FaultEffect::Garbage
            | FaultEffect::Verbatim { .. }
            | FaultEffect::Hostile { .. }
            | FaultEffect::Distort(_)
            | FaultEffect::Delay(_),
        ) => DirectoryError::NotUnderstood("not an answer of Microsoft Graph"),
    }
}

pub(super) fn status_of(what: &FaultEffect) -> u16 {
    match what {
        FaultEffect::Status { status, .. }
        | FaultEffect::OAuth { status, .. }
        | FaultEffect::Coded { status, .. }
        | FaultEffect::Verbatim { status, .. }
        | FaultEffect::Hostile { status, .. } => *status,
        FaultEffect::Garbage
        | FaultEffect::Distort(_)
        | FaultEffect::Delay(_)
        | FaultEffect::Transport(_) => 200,
    }
}
