//! Tests the renewal of certificates, with the shipped steps over the simulated world.
//!
//! A certificate has two kinds of readers. A token of Perennial uses the newest version with the tag `accepted-at`. A
//! script uses the newest version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use perennial::process::clock::Clock;
use perennial::renewal::certificate::renewer::CertificateRenewer;
use perennial::renewal::renewer::Renewer;
use perennial::sandbox::world::{
    Actor, AppCertificate, AppProof, CertificatePolicy, CertificateVersion, IdentityRequest, Partner,
    Trouble, World,
};
use perennial::token::app::{CredentialSource, ManagedApp, RenewPolicy};
use perennial::token::certificate::{Assertion, CertificateFacts, digest_of};
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use perennial::token::version::{Version, VersionId};
use uuid::Uuid;

use super::{SCOPE, partner_in, renewer};
use crate::support::harness::{VAULT, base};

mod orders;
mod simulation;

pub(super) type WorldCertificateRenewer = CertificateRenewer<Actor, Actor, Actor>;

/// A partner whose app has two certificates. Perennial renews one certificate. Another deployment owns the second
/// certificate, which must stay.
pub(super) struct CertificateScene {
    pub(super) world: World,
    clock: Clock,
    partner: Partner,
    at: SecretAddress,
    /// The certificate of another deployment.
    other: AppCertificate,
}

fn certificate_address(name: &str) -> SecretAddress {
    SecretAddress { vault: VAULT.into(), name: SecretName::parse(name).expect("a name") }
}

fn certificate_policy(lifetime: TimeDelta) -> CertificatePolicy {
    CertificatePolicy { lifetime, ..CertificatePolicy::default() }
}

impl CertificateScene {
    pub(super) fn new(clock: Clock, seed: u64, lifetime: TimeDelta) -> Self {
        let world = World::new(clock.clone(), seed);
        world.share_certificate_keys();
        let partner = partner_in(&world, TimeDelta::days(300));
        let (at, other) = (certificate_address("app-certificate"), certificate_address("other-certificate"));
        for (at, lifetime) in [(&at, lifetime), (&other, TimeDelta::days(3000))] {
            world.human_creates_certificate(at, certificate_policy(lifetime)).expect("created");
            let der = world.certificate_of(at, None).expect("created").certificate.der;
            world.add_certificate(&partner.client_id, &der).expect("registered");
        }
        let app = world.apps().into_iter().find(|app| app.client_id == partner.client_id);
        let other = app.expect("the app exists").certificates.last().expect("registered").clone();
        Self { world, clock, partner, at, other }
    }

    pub(super) fn renewer(
        &self,
        actor: &str,
        policy: RenewPolicy,
        signs_in_vault: bool,
    ) -> WorldCertificateRenewer {
        let (at, partner) = (&self.at, &self.partner);
        let credential = if signs_in_vault {
            CredentialSource::VaultKey(at.clone())
        } else {
            CredentialSource::Certificate(Source::Secret(at.clone()))
        };
        let client_id = ConfigValue::Plain(partner.client_id.clone());
        let app = ManagedApp { credential, ..ManagedApp::with_secret(client_id, Source::Secret(at.clone())) };
        let renewer = renewer(&self.world, &self.clock, partner, at, actor, policy);
        CertificateRenewer(Renewer { app: Arc::new(app), ..renewer })
    }

    fn registered(&self) -> Vec<AppCertificate> {
        let app = self.world.apps().into_iter().find(|app| app.client_id == self.partner.client_id);
        let all = app.expect("the app exists").certificates;
        all.into_iter().filter(AppCertificate::is_listed).collect()
    }

    /// All versions, newest first.
    fn versions(&self) -> Vec<CertificateVersion> {
        let mut all: Vec<_> = self
            .world
            .versions_of(&self.at)
            .iter()
            .filter_map(|version| self.world.certificate_of(&self.at, Some(&version.id)))
            .collect();
        // Versions created in the same second have the same `created`. So the id says which version is the newest.
        let newest = self.newest().id;
        all.sort_by_key(|version| (version.id != newest, std::cmp::Reverse(version.created)));
        all
    }

    /// The version that a token of Perennial uses.
    pub(super) fn in_use(&self) -> CertificateVersion {
        let (all, now) = (self.versions(), self.world.now());
        all.iter().find(|one| shown(one).is_accepted(now)).unwrap_or(&all[0]).clone()
    }

    pub(super) fn newest(&self) -> CertificateVersion {
        self.world.certificate_of(&self.at, None).expect("the certificate exists")
    }

    /// Whether Entra accepts an assertion that a version signs now.
    fn is_accepted(&self, version: &CertificateVersion) -> bool {
        let facts = CertificateFacts::of_der(&version.certificate.der).expect("a certificate");
        let tenant = &self.partner.tenant_id;
        let audience = format!("{}/{tenant}/oauth2/v2.0/token", self.world.authority());
        let claims = Assertion {
            thumbprint: &facts.thumbprint,
            audience: &audience,
            client_id: &self.partner.client_id,
            now: self.world.now(),
            id: Uuid::new_v4(),
        };
        let input = claims.signing_input();
        let signed = self.world.sign("reader", &self.at, Some(&version.id), "PS256", &digest_of(&input));
        // If the vault does not sign, Entra's answer is unknown. The version then counts as accepted.
        let Ok(signed) = signed else { return true };
        let assertion = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signed.bytes));
        let answer = self.world.identity_token(
            "reader",
            &IdentityRequest {
                tenant,
                client_id: &self.partner.client_id,
                proof: AppProof::Assertion(&assertion),
                scope: SCOPE,
                correlation_id: None,
            },
        );
        !matches!(answer, Err(Trouble::Refused(_)))
    }

    /// Checks a rule that must hold at every moment: Entra lists the certificate in use and the other deployment's
    /// certificate.
    fn check_now(&self, told: &dyn std::fmt::Debug) {
        let all = self.registered();
        let in_use = self.in_use();
        let lists = |one: &CertificateVersion| all.iter().any(|known| known.certificate == one.certificate);
        assert!(lists(&in_use), "Entra does not list the certificate in use: {told:?}");
        assert!(
            all.iter().any(|known| known.key_id == self.other.key_id),
            "another deployment's certificate was removed: {told:?}"
        );
    }
}

fn shown(version: &CertificateVersion) -> Version {
    Version {
        id: VersionId(version.id.as_str().into()),
        created: version.created,
        enabled: version.attributes.enabled,
        expires: version.attributes.expires,
        tags: version.tags.clone(),
    }
}

fn scene_at_rest(lifetime: TimeDelta) -> CertificateScene {
    CertificateScene::new(Clock::running(base(), 0.0), 7, lifetime)
}
