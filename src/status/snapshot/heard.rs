//! Partner Center's last verdict on a token. Either this process or the previous process received the verdict.

use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::state::{Noted, Verdict};

/// Partner Center's last verdict on a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// When Partner Center last gave this verdict.
    pub(super) at: Option<Timestamp>,
    /// Whether Partner Center accepts the access token.
    pub(super) accepted: Option<bool>,
    /// Whether the user's sign-in meets Partner Center's MFA requirement. `None` if unknown.
    pub(super) mfa: Option<bool>,
    /// Whether Partner Center rejects the access token's audience. False if the verdict comes from the vault's tags.
    pub(super) is_audience: bool,
    /// When Partner Center first gave this verdict.
    pub(super) since: Option<Timestamp>,
}

impl Heard {
    /// Uses this process's verdict. If this process has no verdict, uses the previous process's verdict from the vault.
    /// An acceptance that is older than `counts_from` does not count. A rejection does not expire. Only an acceptance
    /// clears a rejection.
    pub(super) fn of(verdict: Option<&Verdict>, noted: Option<Noted>, counts_from: Timestamp) -> Self {
        match (verdict, noted) {
            (Some(Verdict { acceptance, at, since }), _) => {
                let stands = acceptance.objection().is_some() || *at >= counts_from;
                Self {
                    at: Some(*at),
                    accepted: stands.then_some(acceptance.accepted),
                    mfa: acceptance.mfa.filter(|_| stands),
                    is_audience: acceptance.is_audience,
                    since: Some(*since),
                }
            }
            (None, Some(Noted { kind, at })) => Self {
                at: Some(at),
                accepted: match kind {
                    None => (at >= counts_from).then_some(true),
                    Some(Kind::MfaRequired) => None,
                    Some(_) => Some(false),
                },
                mfa: (kind == Some(Kind::MfaRequired)).then_some(false),
                is_audience: false,
                since: Some(at),
            },
            (None, None) => Self::default(),
        }
    }
}
