//! The state of a certificate's renewal. The state is only in memory and is lost at a restart. After a restart, the
//! first look shows what is left to do.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::health::RenewalHealth;
use crate::renewal::state::Trial;
use crate::token::version::VersionId;

/// The state of the renewal of one app's certificate.
#[derive(Debug, Default)]
pub struct CertificateState {
    /// The last look that succeeded.
    pub look: Option<CertificateLook>,
    /// Whether the last look is out of date, because something has changed since then.
    pub must_look: bool,
    /// The uptimes at which this process requested new versions from the vault.
    pub created: Vec<TimeDelta>,
    /// The last version that this process registered, and the uptime at the request. Entra's answer to this request may
    /// have been lost.
    pub registered: Option<(VersionId, TimeDelta)>,
    /// The probes of the newest version.
    pub trial: Option<CertificateTrial>,
    /// The certificates that the first look found at Entra.
    pub first_seen: Option<BTreeSet<Uuid>>,
    /// What fails now.
    pub health: RenewalHealth,
}

/// The probes of a version that some of Entra's servers may not accept yet.
#[derive(Clone, Debug)]
pub struct CertificateTrial {
    /// The version.
    pub version: VersionId,
    /// The uptime at the first probe, or at the last report that Entra does not accept the version.
    pub since: TimeDelta,
    pub probes: Trial,
}

impl CertificateState {
    /// Returns the number of versions that this process requested within a day before the uptime `up`.
    pub fn created_today(&self, up: TimeDelta) -> usize {
        self.created.iter().filter(|at| **at + TimeDelta::days(1) > up).count()
    }

    /// Returns the probes of a version.
    pub fn trial_of(&self, version: &VersionId) -> Option<&CertificateTrial> {
        self.trial.as_ref().filter(|trial| trial.version == *version)
    }

    /// Ends the wait after a failure, and makes the next step a look.
    pub fn hurry(&mut self) {
        self.health.backoff = None;
        self.must_look = true;
    }
}
