//! The state of an app's renewal. The state is only in memory and is lost at a restart. A secret that was created but
//! not saved before the restart is then an orphan, and Perennial removes it a day after its creation.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use secrecy::SecretString;
use uuid::Uuid;

use crate::ports::client::CredentialVerdict;
use crate::process::clock::Timestamp;
use crate::renewal::health::RenewalHealth;
use crate::renewal::look::{CredentialLook, Reason};
use crate::renewal::times::{SETTLED_AFTER, SETTLED_PROBES};

/// The state of one app's renewal.
#[derive(Debug, Default)]
pub struct RenewalState {
    /// The last look that succeeded.
    pub look: Option<CredentialLook>,
    /// Whether the last look is out of date, because something has changed since then.
    pub must_look: bool,
    /// The secret that is being created, tried or removed.
    pub attempt: Option<RenewalAttempt>,
    /// The uptimes at which this process created secrets.
    pub created: Vec<TimeDelta>,
    /// The secrets that the first look found at Entra.
    pub first_seen: Option<BTreeSet<Uuid>>,
    /// What fails now.
    pub health: RenewalHealth,
}

/// A new secret that is not in the vault.
#[derive(Debug)]
pub enum RenewalAttempt {
    /// Perennial requested the creation of a secret, and the answer was lost.
    Lost {
        /// The display name of the secret.
        name: String,
        /// The uptime at the request.
        up: TimeDelta,
    },
    /// The secret is tried, and then saved.
    New(Box<NewSecret>),
    /// The secret must be removed.
    Unwanted {
        /// Entra's id of the secret.
        key_id: Uuid,
        /// Why the secret must be removed.
        reason: Reason,
    },
}

/// A new secret, whose value exists only here until it is saved.
#[derive(Debug)]
pub struct NewSecret {
    /// Entra's id of the secret.
    pub key_id: Uuid,
    /// The secret's value.
    pub value: SecretString,
    /// The secret's expiry.
    pub ends: Timestamp,
    /// The uptime at the secret's creation.
    pub up: TimeDelta,
    /// The time of the last look before the creation.
    pub since: Timestamp,
    /// The probes of this secret.
    pub trial: Trial,
    /// Whether the vault may have saved the secret without Perennial's knowledge. For example, the vault's answer to a
    /// save was lost.
    pub was_sent: bool,
}

/// The probes of a new credential at Entra.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    /// The probes that Entra has accepted since the last rejection. A probe is a request that tries the credential.
    pub accepted: Option<Accepted>,
    /// The uptime at the last probe.
    pub probed: Option<TimeDelta>,
}

/// Accepted probes in a row.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The uptime at the first of these probes.
    pub first: TimeDelta,
    /// The uptime at the last of these probes.
    pub last: TimeDelta,
    /// The number of these probes.
    pub count: u32,
}

impl RenewalAttempt {
    /// Whether the attempt is about this secret.
    pub fn is_of(&self, key: Uuid) -> bool {
        match self {
            Self::Lost { .. } => false,
            Self::New(new) => new.key_id == key,
            Self::Unwanted { key_id, .. } => *key_id == key,
        }
    }
}

impl Trial {
    /// Whether Entra has accepted the credential for long enough.
    pub fn is_settled(&self) -> bool {
        self.accepted.is_some_and(|all| all.count >= SETTLED_PROBES && all.last - all.first >= SETTLED_AFTER)
    }

    /// Records the result of a probe at the uptime `up`. Only a rejection discards the accepted probes.
    pub fn note(&mut self, verdict: CredentialVerdict, up: TimeDelta) {
        self.probed = Some(up);
        match verdict {
            CredentialVerdict::Accepted => {
                let before = self.accepted.unwrap_or(Accepted { first: up, last: up, count: 0 });
                self.accepted = Some(Accepted { last: up, count: before.count + 1, ..before });
            }
            CredentialVerdict::Rejected => self.accepted = None,
            CredentialVerdict::NoAnswer | CredentialVerdict::Untested => {}
        }
    }
}
