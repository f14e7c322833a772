//! Tests of the app's credential: how many calls it costs to read it and to authenticate with it, and how failures are
//! reported.

use std::sync::Arc;

use super::*;
use crate::rotation::rotate::samples::{Peers, certificates, start, stored, unavailable, with};
use crate::rotation::samples::{address, app};
use crate::token::app::RenewPolicy;
use crate::token::managed::ManagedToken;
use crate::token::version::tag;

const GUID: &str = "33333333-3333-4333-8333-333333333333";

fn place() -> Source {
    Source::Secret(address("app-secret"))
}

#[test]
fn a_credential_is_tried_with_the_resource_of_the_tokens_scope() {
    for (scope, own) in [
        (
            "https://api.partnercenter.microsoft.com/user_impersonation",
            "https://api.partnercenter.microsoft.com/.default",
        ),
        ("https://graph.microsoft.com/.default offline_access", "https://graph.microsoft.com/.default"),
        ("api://app/a b", "api://app/.default"),
    ] {
        assert_eq!(own_scope(scope), own);
    }
}

#[tokio::test(start_paused = true)]
async fn each_secret_in_a_vault_costs_a_call() {
    let peers = Peers::new();
    peers.all().certificates = certificates(&[(1, 6)]);
    let local = Source::File("/dev/null/secret".into());
    let from_vault =
        |app: Arc<ManagedApp>| ManagedApp { client_id: ConfigValue::From(place()), ..(*app).clone() };
    for (what, app, calls, proof) in [
        ("a secret", with(CredentialSource::Secret(place())), 1, 0),
        ("an assertion", with(CredentialSource::Assertion(place())), 1, 0),
        ("a key", with(CredentialSource::VaultKey(address("key"))), 1, 1),
        ("an identity", with(CredentialSource::ManagedIdentity("m".into())), 0, 0),
        ("a secret and an id", from_vault(with(CredentialSource::ManagedIdentity("m".into()))).into(), 1, 0),
    ] {
        peers.all().app = vec![stored("a1", GUID, 0)];
        let rotator = peers.rotator(|grant| grant.app = app);

        let (credential, counted) = rotator.read_credential(Uuid::nil()).await.expect(what);

        assert_eq!((counted, peers.calls().len()), (calls, calls), "{what}");
        assert_eq!(credential.calls_to_prove(), proof, "{what}");
        rotator.client_proof(&credential, "tenant", Uuid::nil()).await.expect(what);
        peers.calls();
    }
    let unreadable = peers.rotator(|grant| grant.app = with(CredentialSource::Secret(local)));
    let failure = unreadable.read_credential(Uuid::nil()).await.expect_err("there is no such file");
    assert!(failure.summary.starts_with("the app's credential could not be read: "), "{failure:?}");
    assert_eq!(failure.about, FailureSubject::CredentialSource);
}

#[tokio::test(start_paused = true)]
async fn another_id_or_secret_has_another_fingerprint_and_the_vaults_expiry() {
    let peers = Peers::new();
    let read = async |id: &str, secret: &str| {
        peers.all().app = vec![stored("a1", secret, 0)];
        peers.all().app[0].version.expires = Some(start());
        let app = ManagedApp::with_secret(ConfigValue::Plain(id.into()), place());
        let rotator = peers.rotator(|grant| grant.app = app.into());
        rotator.read_credential(Uuid::nil()).await.expect("it can be read").0
    };
    let credential = read("a", "b").await;
    assert_eq!((credential.expires, credential.created()), (Some(start()), Some(start())));
    let text = format!("{credential:?}");
    assert!(text.contains("client_id: \"a\"") && !text.contains("Secret"), "{text}");

    assert_eq!(read("a", "b").await.fingerprint, credential.fingerprint);
    assert_ne!(read("x", "b").await.fingerprint, credential.fingerprint);
    assert_ne!(read("a", "x").await.fingerprint, credential.fingerprint);
}

#[tokio::test(start_paused = true)]
async fn an_id_from_a_secret_must_be_a_guid() {
    let peers = Peers::new();
    let app = ManagedApp::with_secret(ConfigValue::From(place()), place());
    let read = async |value| {
        peers.all().app = vec![stored("a1", value, 0)];
        let rotator = peers.rotator(|_| {});
        read_client_id(&rotator.vaults(), &app, "partner", Uuid::nil()).await
    };

    assert_eq!(read(GUID).await, Ok((GUID.to_owned(), 1)));
    let failure = read("a secret by mistake").await.expect_err("it is no GUID");
    assert!(failure.summary.contains("must contain the client_id of partner"), "{failure:?}");
    assert!(!failure.summary.contains("mistake"), "{failure:?}");
    assert!(failure.action.is_some_and(|action| action.contains("client_secret")));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_signs_only_while_it_is_valid() {
    let peers = Peers::new();
    let rotator = peers.rotator(|grant| grant.app = with(CredentialSource::VaultKey(address("key"))));
    for (months, summary) in [
        ((1, 6), None),
        ((1, 3), Some("expired at 2026-03-01 00:00 UTC")),
        ((3, 4), None),
        ((4, 5), Some("is not valid before 2026-04-01 00:00 UTC")),
    ] {
        peers.all().certificates = certificates(&[months]);
        let (credential, _) = rotator.read_credential(Uuid::nil()).await.expect("it can be read");
        assert_eq!(credential.is_exportable, Some(false));

        let proof = rotator.client_proof(&credential, "tenant", Uuid::nil()).await;

        match (proof, summary) {
            (Ok(proof), None) => assert!(proof.expose().ends_with(".YzA"), "the vault's signature"),
            (Err(failure), Some(summary)) => {
                assert!(failure.summary.ends_with(summary), "{failure:?}");
                assert!(failure.is_of_certificate() && failure.action.is_some(), "{failure:?}");
            }
            (proof, summary) => panic!("{proof:?} instead of {summary:?}"),
        }
    }
    peers.all().certificates[0].der = vec![0];
    let failure = rotator.read_credential(Uuid::nil()).await.expect_err("it is no certificate");
    assert!(failure.summary.contains("contains no certificate"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trial_of_the_credential_is_a_request_of_the_app_in_its_home_tenant() {
    let peers = Peers::new();
    for (home, asked) in [(None, "tenant for s/.default"), (Some("home"), "home for s/.default")] {
        let app = ManagedApp { home_tenant: home.map(str::to_owned), ..(*app(place())).clone() };
        let rotator = peers.rotator(|grant| grant.app = app.into());
        let (credential, _) = rotator.read_credential(Uuid::nil()).await.expect("it can be read");

        let verdict = rotator.try_credential(&credential, Uuid::nil()).await;

        assert_eq!(verdict, CredentialVerdict::Accepted);
        assert_eq!(peers.all().sign_in.as_deref(), Some(asked));
    }
    let rotator = peers.rotator(|grant| grant.app = with(CredentialSource::VaultKey(address("key"))));
    for (months, fails, verdict) in [
        ((1, 3), false, CredentialVerdict::Rejected),
        ((1, 4), true, CredentialVerdict::Untested),
        ((1, 4), false, CredentialVerdict::Accepted),
    ] {
        peers.all().certificates = certificates(&[months]);
        let (credential, _) = rotator.read_credential(Uuid::nil()).await.expect("it can be read");
        if fails {
            peers.fail("sign", unavailable());
        }
        assert_eq!(rotator.try_credential(&credential, Uuid::nil()).await, verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_the_newest_accepted_version_and_each_page_of_the_list_is_counted() {
    let peers = Peers::new();
    let renewed = |grant: &mut ManagedToken| {
        let app = (*with(CredentialSource::VaultKey(address("key")))).clone();
        grant.app = ManagedApp { renew: Some(RenewPolicy::default()), ..app }.into();
    };
    let rotator = peers.rotator(renewed);
    for (versions, accepted, disabled, used, counted) in [
        (30, &[29][..], false, Ok("c29"), 2),
        (30, &[10, 28], false, Ok("c28"), 4),
        (24, &[10, 20], true, Ok("c20"), 3),
        (80, &[], false, Ok("c79"), 6),
        (3, &[], true, Err("disabled"), 0),
    ] {
        let mut all = vec![certificates(&[(1, 6)]).remove(0); versions];
        for (nth, one) in all.iter_mut().enumerate() {
            one.version = stored(&format!("c{nth}"), "", i64::try_from(nth).expect("few") - 100).version;
            if accepted.contains(&nth) {
                one.version.tags = [(tag::ACCEPTED_AT, "2026-03-01T00:00:00Z")].into_iter().collect();
            }
        }
        peers.all().certificates = all;
        let reads_of_newest = usize::from(disabled) + usize::from(used.is_err());
        (0..reads_of_newest).for_each(|_| peers.fail("certificate", VaultError::Disabled));

        let read = rotator.read_credential(Uuid::nil()).await;

        match (read, used) {
            (Ok((credential, calls)), Ok(used)) => {
                let version = credential.version.expect("a version").id;
                assert_eq!((&*version.0, calls), (used, counted), "{versions} {accepted:?}");
            }
            (Err(failure), Err(word)) => assert!(failure.summary.contains(word), "{failure:?}"),
            (read, used) => panic!("{read:?} instead of {used:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_for_an_older_certificate_counts_its_signatures() {
    let peers = Peers::new();
    let rotator = peers.rotator(|grant| grant.app = with(CredentialSource::VaultKey(address("key"))));
    peers.all().certificates = certificates(&[(1, 6), (1, 6), (1, 2), (1, 6)]);
    peers.fail("sign c1", unavailable());

    let search = rotator.older_credential("app", &VersionId("c3".into()), Uuid::nil()).await;

    let used = search.found.and_then(|found| found.version).map(|version| version.id);
    assert_eq!(used, Some(VersionId("c0".into())));
    let calls = peers.calls();
    let expected =
        ["certificates", "certificate c2", "certificate c1", "sign c1", "certificate c0", "sign c0"];
    assert_eq!(calls[..6], expected);
    assert_eq!(calls[6..], ["authenticate with YzA"]);
    // The search counts two calls for the expired certificate `c2`, a read and a signature. Only the read takes place.
    assert_eq!((search.calls, search.is_certain), (7, false));
    peers.all().certificates = vec![certificates(&[(1, 2)]).remove(0); 60];
    let search = rotator.older_credential("app", &VersionId("c0".into()), Uuid::nil()).await;
    assert_eq!((search.found.is_none(), search.calls), (true, 3), "a list of three pages");
    let none = peers.rotator(|grant| grant.app = with(CredentialSource::ManagedIdentity("m".into())));
    let search = none.older_credential("app", &VersionId("c3".into()), Uuid::nil()).await;
    assert!(search.found.is_none() && search.calls == 0 && search.is_certain);
}

#[tokio::test(start_paused = true)]
async fn a_missing_identity_of_the_host_is_retried_only_if_it_may_come_back() {
    let peers = Peers::new();
    let rotator = peers.rotator(|grant| grant.app = with(CredentialSource::ManagedIdentity("m".into())));
    let (credential, _) = rotator.read_credential(Uuid::nil()).await.expect("nothing is read");
    for (error, remedy, why) in [
        (VaultError::no_identity("busy", true), Remedy::Retry, "busy"),
        (VaultError::no_identity("not assigned", false), Remedy::Operator, "not assigned"),
        (VaultError::NotFound, Remedy::Operator, "the secret does not exist"),
    ] {
        peers.fail("host", error);
        let proof = rotator.client_proof(&credential, "tenant", Uuid::nil()).await;
        let failure = proof.expect_err("the host has none");
        assert_eq!((failure.remedy, failure.about), (remedy, FailureSubject::CredentialSource));
        assert_eq!(failure.summary, format!("managed identity m got no token: {why}"));
        assert!(failure.action.is_some_and(|action| action.contains("managed identity m to this host")));
    }
}
