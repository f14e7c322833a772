//! Shows the certificate of an app whose certificate Perennial renews.

use super::{AppReport, EntraReport, ListedReport, VersionReport};
use crate::cli::azure_clients::AzureCertificateRenewer;
use crate::process::clock::rfc3339;
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::certificate::schedule::{self, CertificateStep};
use crate::renewal::certificate::state::CertificateState;
use crate::renewal::report::Standing;
use crate::renewal::schedule::Target;
use crate::token::managed::ManagedToken;
use crate::token::rotation_id;

pub(super) async fn with_renewal(
    grant: &ManagedToken,
    renewer: AzureCertificateRenewer,
    forced: bool,
) -> AppReport {
    let mut report = AppReport::of(grant);
    let (client_id, look) = match renewer.look(rotation_id()).await {
        Ok(found) => found,
        Err(failure) => {
            report.fail(grant, failure);
            return report;
        }
    };
    let target = Target { is_forced: forced, ..renewer.0.target };
    let (up, mut state) = (look.up, CertificateState::default());
    state.learn(look, &target);
    let step = schedule::next(&target, &state, up);
    if let Some(trouble) = state.health.troubles.into_values().next() {
        report.fail(grant, trouble.failure);
    }
    let Some(look) = state.look else { return report };
    let first_seen = state.first_seen.unwrap_or_default();
    let strangers = look.strangers(&target.policy, &first_seen).map(|one| one.key_id).collect();
    let listed = |one| ListedReport {
        standing: Standing::of_key(one, &look, &strangers),
        key_id: one.key_id,
        name: one.name.clone(),
        starts_at: one.starts.map(rfc3339),
        ends_at: one.ends.map(rfc3339),
    };
    let ends = look.in_use().version.expires;
    report.client_id = Some(client_id);
    report.newest =
        Some(VersionReport { key_id: look.key_of(&look.newest), ..VersionReport::of(&look.newest.version) });
    report.next = Some(next(&step, &look, &target));
    report.entra = Some(EntraReport {
        object_id: look.object_id,
        secrets: Vec::new(),
        certificates: look.listed.values().map(listed).collect(),
        renews_at: ends.map(|end| rfc3339(end - target.policy.before)),
    });
    report
}

fn next(step: &CertificateStep, look: &CertificateLook, target: &Target) -> String {
    match step {
        CertificateStep::Create => "lets the vault create a new version of the certificate".to_owned(),
        CertificateStep::Register => format!("registers version {} at Entra", look.newest.version.id),
        CertificateStep::Probe | CertificateStep::Mark => {
            format!("tests version {} at Entra for 15 minutes", look.newest.version.id)
        }
        CertificateStep::TryNewest => {
            "tests the newest version at Entra, then removes the previous certificate there".to_owned()
        }
        CertificateStep::Remove(key_id) => {
            format!("removes {key_id} at Entra: a newer certificate has been used for a week")
        }
        CertificateStep::Look | CertificateStep::Wait(_) => match look.newest.version.expires {
            _ if look.is_due(&target.policy, look.at) => {
                "waits until it may create a new version of the certificate".to_owned()
            }
            Some(end) => format!("renews at {}", rfc3339(end - target.policy.before)),
            None => "nothing: the certificate in use does not expire".to_owned(),
        },
    }
}
