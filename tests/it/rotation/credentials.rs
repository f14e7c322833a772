//! Tests apps that have no client secret. These apps use a certificate, a key in the vault, or a federated credential.

use std::sync::Arc;

use chrono::TimeDelta;
use perennial::alert::rules::EventKind::{Opened, Resolved};
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{
    Action, CertificatePolicy, ContentType, Fault, FaultEffect, Operation, Partner, Peer, World,
};
use perennial::status::snapshot::TokenState;
use perennial::token::app::CredentialSource;
use perennial::token::managed::ManagedToken;
use perennial::token::secret::{SecretAddress, SecretName, Source};
use perennial::token::tags::Tags;

use crate::support::harness::VAULT;
use crate::support::town::{DAY, HOUR, MINUTE, Town, in_town, pass};

const HUMAN: &str = "a person";
const IDENTITY: &str = "1dea0000-0000-4000-8000-000000000001";
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Returns the address of the app's certificate in the vault.
fn at() -> SecretAddress {
    SecretAddress { vault: VAULT.into(), name: SecretName::parse("app-certificate").expect("a name") }
}

/// Creates a version of the certificate. Returns the certificate in DER form.
fn make(world: &World, policy: CertificatePolicy) -> Vec<u8> {
    world.create_certificate(HUMAN, &at(), policy, Tags::new()).expect("allowed");
    world.get_certificate(HUMAN, &at(), None).expect("made just now").certificate.der
}

fn register(world: &World, partner: &Partner, der: &[u8]) {
    world.add_certificate(&partner.client_id, der).expect("a certificate");
}

/// Configures `credential` for the app, and removes the app's client secrets.
fn only(world: &World, partner: &Partner, grant: &mut ManagedToken, credential: CredentialSource) {
    world.change_app(&partner.client_id, |app| app.secrets.clear());
    Arc::make_mut(&mut grant.app).credential = credential;
}

fn in_vault(world: &World, partner: &Partner, grant: &mut ManagedToken) {
    let policy = CertificatePolicy { exportable: false, ..CertificatePolicy::default() };
    register(world, partner, &make(world, policy));
    only(world, partner, grant, CredentialSource::VaultKey(at()));
}

fn exported(world: &World, partner: &Partner, grant: &mut ManagedToken, content_type: ContentType) {
    register(
        world,
        partner,
        &make(world, CertificatePolicy { content_type, ..CertificatePolicy::default() }),
    );
    only(world, partner, grant, CredentialSource::Certificate(Source::Secret(at())));
}

fn of_host(world: &World, partner: &Partner, grant: &mut ManagedToken) {
    let principal = world.add_managed_identity(&partner.tenant_id, IDENTITY);
    let issuer = world.issuer_of(&partner.tenant_id);
    world.add_federated(&partner.client_id, &issuer, &principal, AUDIENCE).expect("an app");
    only(world, partner, grant, CredentialSource::ManagedIdentity(IDENTITY.into()));
}

fn redemptions(world: &World) -> usize {
    world.count_calls(Peer::Entra, Some(Operation::Redeem), harness_start())
}

fn harness_start() -> perennial::process::clock::Timestamp {
    crate::support::harness::base()
}

/// Runs the daemon for fifteen days, with one restart. The daemon must prove and rotate the token, and no condition may
/// be open at the end.
async fn lives(town: &Town) {
    let (world, partner) = (&town.world, &town.partners[0]);
    let first = world.newest_value(&partner.refresh_token).expect("stored");
    town.start();
    pass(DAY * 7).await;
    town.stop();
    town.start();
    pass(DAY * 8).await;

    assert_eq!(town.state(), TokenState::Current);
    assert_eq!(town.holding(), []);
    let last = world.newest_value(&partner.refresh_token).expect("stored");
    assert!(last.expose() != first.expose() && world.descends_from(last.expose(), first.expose()));
    assert!(redemptions(world) > 55, "{}", redemptions(world));
    assert_eq!(world.repeated_assertions(), 0, "each request has an assertion of its own");
}

#[test]
fn a_token_lives_with_each_credential_that_is_no_secret() {
    in_town(1, in_vault, &async |town| lives(town).await);
    in_town(1, |world, partner, grant| exported(world, partner, grant, ContentType::Pem), &async |town| {
        lives(town).await;
    });
    in_town(1, |world, partner, grant| exported(world, partner, grant, ContentType::Pkcs12), &async |town| {
        lives(town).await;
    });
    in_town(1, of_host, &async |town| lives(town).await);
}

#[test]
fn a_renewed_certificate_that_entra_does_not_know_is_a_condition_and_no_outage() {
    in_town(1, in_vault, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(DAY).await;
        let renewed = make(world, CertificatePolicy::default());
        let before = redemptions(world);
        pass(DAY).await;

        assert_eq!(town.state(), TokenState::Current);
        assert!(redemptions(world) >= before + 4, "proofs go on");
        assert_eq!(town.chat.of(Kind::AppCertificateUnregistered), [Opened]);
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), []);
        town.stop();
        town.start();
        pass(DAY).await;
        let opened =
            town.chat.of(Kind::AppCertificateUnregistered).iter().filter(|told| **told == Opened).count();
        assert_eq!((town.state(), opened), (TokenState::Current, 1));

        register(world, partner, &renewed);
        pass(HOUR * 7).await;

        assert_eq!(town.chat.of(Kind::AppCertificateUnregistered).last(), Some(&Resolved));
        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn an_outage_of_entra_does_not_end_the_use_of_an_older_version() {
    in_town(1, in_vault, &async |town| {
        let world = &town.world;
        town.start();
        pass(DAY).await;
        make(world, CertificatePolicy::default());
        pass(DAY).await;
        assert_eq!(town.chat.of(Kind::AppCertificateUnregistered), [Opened]);
        let down = FaultEffect::Transport(NoResponse::TimedOut);
        world.inject(Fault::of(Peer::Entra, down.clone()));
        world.inject(Fault::of(Peer::Entra, down).on(Operation::Identity));
        pass(HOUR * 8).await;
        world.clear_faults(Some(Peer::Entra));
        pass(HOUR * 2).await;

        assert_eq!(town.state(), TokenState::Current);
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), []);
    });
}

#[test]
fn an_older_version_of_a_secret_works_while_the_newest_is_wrong() {
    in_town(1, |_, _, _| {}, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(DAY).await;
        world.store_app_secret(&partner.app_secret, "not~the~secret", None);
        pass(DAY).await;

        assert_eq!(town.state(), TokenState::Current);
        assert_eq!(town.chat.of(Kind::AppCertificateUnregistered), [Opened]);
        world.expire_app_secret(&partner.client_id);
        pass(HOUR * 7).await;

        assert_eq!(town.chat.of(Kind::AppCertificateUnregistered), [Opened, Resolved]);
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), [Opened], "neither version works any more");
        assert_eq!(town.state(), TokenState::NeedsOperator);
    });
}

#[test]
fn a_certificate_that_expires_is_reported_before_and_after() {
    let short = |world: &World, partner: &Partner, grant: &mut ManagedToken| {
        let policy = CertificatePolicy { lifetime: TimeDelta::days(35), ..CertificatePolicy::default() };
        register(world, partner, &make(world, policy));
        only(world, partner, grant, CredentialSource::VaultKey(at()));
    };
    in_town(1, short, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(DAY).await;
        assert_eq!(town.holding(), []);
        pass(DAY * 6).await;
        assert_eq!(town.chat.of(Kind::AppSecretExpiring).first(), Some(&Opened));
        pass(DAY * 30).await;
        assert_eq!(town.state(), TokenState::NeedsOperator);
        assert_eq!(town.chat.of(Kind::AppCredentialRefused).first(), Some(&Opened));

        register(world, partner, &make(world, CertificatePolicy::default()));
        pass(MINUTE * 3).await;

        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn a_registration_at_entra_is_noticed_although_nothing_changes_in_the_vault() {
    let unregistered = |world: &World, partner: &Partner, grant: &mut ManagedToken| {
        make(world, CertificatePolicy::default());
        only(world, partner, grant, CredentialSource::VaultKey(at()));
    };
    in_town(1, unregistered, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(MINUTE * 14).await;
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), [], "a new certificate takes its time");
        pass(MINUTE * 5).await;
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), [Opened]);
        let before = redemptions(world);
        pass(HOUR).await;
        assert_eq!(redemptions(world), before, "it is tried without a redemption");

        let der = world.get_certificate(HUMAN, &at(), None).expect("there").certificate.der;
        register(world, partner, &der);
        pass(MINUTE * 3).await;

        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn a_missing_right_to_sign_is_named_and_its_return_is_noticed() {
    in_town(1, in_vault, &async |town| {
        let world = &town.world;
        world.change_vault(VAULT, |vault| {
            vault.allowed.remove(&Action::SignWithKey);
        });
        town.start();
        pass(HOUR).await;
        assert_eq!(town.holding(), [(Kind::VaultRefused, format!("vault:{VAULT}"))]);
        let action = town.with(|daemon, _| {
            daemon.board().drawn(|_, conditions, _| conditions.into_iter().next().map(|of| of.action))
        });
        assert!(action.is_some_and(|action| action.contains("Perennial Key Signer")));

        world.change_vault(VAULT, |vault| {
            vault.allowed.insert(Action::SignWithKey);
        });
        pass(MINUTE * 3).await;

        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn a_federated_credential_has_fifteen_minutes_to_reach_entra() {
    let alone = |world: &World, partner: &Partner, grant: &mut ManagedToken| {
        world.add_managed_identity(&partner.tenant_id, IDENTITY);
        only(world, partner, grant, CredentialSource::ManagedIdentity(IDENTITY.into()));
    };
    in_town(1, alone, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(MINUTE * 14).await;
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), []);
        pass(MINUTE * 20).await;
        assert_eq!(town.chat.of(Kind::AppCredentialRefused), [Opened]);

        let principal = world.managed_identities()[0].principal_id.clone();
        let issuer = world.issuer_of(&partner.tenant_id);
        world.add_federated(&partner.client_id, &issuer, &principal, AUDIENCE).expect("an app");
        pass(MINUTE * 3).await;

        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn a_certificate_that_reaches_the_front_ends_one_by_one_costs_no_alert() {
    in_town(1, in_vault, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(DAY).await;
        world.set_propagation(TimeDelta::minutes(10));
        for _ in 0..8 {
            register(world, partner, &make(world, CertificatePolicy::default()));
            town.with(|daemon, _| daemon.reload());
            pass(HOUR).await;
        }

        assert_eq!(town.state(), TokenState::Current);
        assert_eq!(town.chat.told.borrow().as_slice(), []);
    });
}
