//! Tests the renewal of a certificate over HTTPS, with the shipped commands and adapters against the sandbox.

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::renewal::certificate::renewer::CertificateRenewer;
use perennial::renewal::daemon::renew_now;
use perennial::sandbox::world::{
    Action, AppCertificate, Call, CallOutcome, CertificatePolicy, CredentialPolicy, Fault, FaultEffect,
    GraphRole, Operation, Peer,
};
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::renewal::SPEED;

const NAME: &str = "app-certificate";

impl Stage {
    /// Creates a stage whose token `one` authenticates with a registered certificate of this kind. Perennial renews
    /// this certificate.
    async fn with_renewed_certificate(kind: &str) -> Self {
        let stage = Self::set(TimeDelta::days(1)).await;
        let exportable = kind == "secret";
        let made =
            stage.makes_a_certificate(NAME, CertificatePolicy { exportable, ..CertificatePolicy::default() });
        stage.world().add_certificate(&stage.partner.client_id, &made).expect("a certificate");
        stage.world().change_app(&stage.partner.client_id, |app| app.secrets.clear());
        stage.renews("{}");
        let text = std::fs::read_to_string(&stage.config).expect("written");
        let credential = format!("client_certificate = {{ {kind} = \"{NAME}\" }}");
        let is_secret = |line: &&str| line.starts_with("client_secret = { secret = \"one");
        let lines: Vec<&str> =
            text.lines().map(|line| if is_secret(&line) { credential.as_str() } else { line }).collect();
        std::fs::write(&stage.config, lines.join("\n")).expect("our own file");
        stage.grants_the_right();
        // The simulated services need the same clock speed as the renewer, because Entra checks the time of each
        // signature.
        stage.world().set_speed(SPEED);
        stage
    }

    fn certificates(&self) -> Vec<AppCertificate> {
        let app = self.world().apps().into_iter().find(|app| app.client_id == self.partner.client_id);
        app.expect("the app").certificates.into_iter().filter(AppCertificate::is_listed).collect()
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_over_https_and_used_by_the_token() {
    for kind in ["key", "secret"] {
        let stage = Stage::with_renewed_certificate(kind).await;
        let renewer = CertificateRenewer(stage.renewer());

        // The first call adds the tag `accepted-at` to the version in use. The second call creates the next version.
        renew_now(&renewer, &CancellationToken::new()).await.expect("marked");
        renew_now(&renewer, &CancellationToken::new()).await.expect("renewed");

        let (keys, created) = (stage.certificates(), stage.graph_calls(Some(Operation::AddKey)));
        assert_eq!((keys.len(), created), (2, 1), "{kind}");
        let newest = stage.world().certificate_of(&stage.in_vault(NAME), None).expect("created");
        let new = keys.iter().find(|key| key.certificate == newest.certificate).expect("registered");
        assert!(new.name.starts_with("perennial ") && new.name.contains("/app-certificate "), "{}", new.name);
        assert!(newest.tags.get("accepted-at").is_some(), "{:?}", newest.tags);
        let rotated = stage.run_to_end(&["rotate", "one", "--force"]).await;
        assert_eq!(rotated.code, Some(0), "{kind}: {}", rotated.stderr);
        let told = stage.credential().await;
        let all = told["entra"]["certificates"].as_array().expect("a list");
        let held = all.iter().find(|one| one["standing"] == "held").expect("held");
        assert_eq!(held["key_id"], *new.key_id.to_string());
        assert!(all.iter().any(|one| one["standing"] == "superseded"), "{all:?}");
    }
}

#[tokio::test]
async fn a_version_that_key_vault_created_is_registered_before_a_token_uses_it() {
    let stage = Stage::with_renewed_certificate("key").await;
    let renewer = CertificateRenewer(stage.renewer());
    renew_now(&renewer, &CancellationToken::new()).await.expect("marked");
    stage.makes_a_certificate(NAME, CertificatePolicy::default());

    let rotated = stage.run_to_end(&["rotate", "one", "--force"]).await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let is_refusal =
        |call: &Call| call.peer == Peer::Entra && matches!(call.outcome, CallOutcome::Refused(_));
    let refused = stage.world().count_calls_where(Timestamp::MIN_UTC, is_refusal);
    assert_eq!(refused, 0, "the token used the version that Entra knows");
    let told = stage.run_to_end(&["credential", "app"]).await;
    assert!(told.stdout.contains("registers version"), "{}", told.stdout);

    renew_now(&renewer, &CancellationToken::new()).await.expect("registered and tried");
    assert_eq!(stage.certificates().len(), 2);
}

#[tokio::test]
async fn a_missing_right_in_the_vault_or_at_entra_is_told() {
    let stage = Stage::with_renewed_certificate("key").await;
    let checked = stage.run_to_end(&["check"]).await;
    assert!(
        checked.stdout.contains("renew the app's certificate; the daemon begins the renewal on 20"),
        "{}",
        checked.stdout
    );
    stage.world().set_graph_roles(&stage.sandbox.vault_identity.client_id, &[]);
    let checked = stage.run_to_end(&["check"]).await;
    assert!(checked.stdout.contains("FAILED     renewal"), "{}", checked.stdout);
    stage.grants_the_right();

    let renewer = CertificateRenewer(stage.renewer());
    renew_now(&renewer, &CancellationToken::new()).await.expect("marked");
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.remove(&Action::CreateCertificate);
    });
    let failure = renew_now(&renewer, &CancellationToken::new()).await.expect_err("forbidden");
    let action = failure.action.as_deref().unwrap_or_default();
    assert!(action.contains("Key Vault Certificates Officer"), "{action}");
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.insert(Action::CreateCertificate);
    });
    renew_now(&renewer, &CancellationToken::new()).await.expect("renewed");
}

#[tokio::test]
async fn every_refusal_of_a_registration_is_told_with_its_action() {
    let stage = Stage::with_renewed_certificate("key").await;
    let renewer = CertificateRenewer(stage.renewer());
    renew_now(&renewer, &CancellationToken::new()).await.expect("marked");
    stage.makes_a_certificate(NAME, CertificatePolicy::default());
    // If Graph rejects the signed `proof` of an `addKey` request, Perennial replaces the whole list of certificates
    // instead. Here, Perennial lacks the permission for this replacement.
    stage.world().set_graph_roles(&stage.sandbox.vault_identity.client_id, &[GraphRole::Read]);
    for (status, code, action) in [
        (403, "Authorization_RequestDenied", "az ad app owner add"),
        (401, "Authentication_MissingOrMalformed", "register the certificate: `az ad app credential reset"),
        (400, "Nobody_KnowsThis", "register the certificate: `az ad app credential reset"),
        (400, "Directory_ResourceSizeExceeded", "remove certificates that no program uses"),
    ] {
        let what = FaultEffect::Coded { status, code: code.into(), inner: None, retry_after: None };
        stage.world().inject(Fault::of(Peer::Graph, what).on(Operation::AddKey).times(1));
        let failure = renew_now(&renewer, &CancellationToken::new()).await.expect_err(code);
        assert!(failure.summary.contains(code), "{code}: {}", failure.summary);
        let told = failure.action.as_deref().unwrap_or_default();
        assert!(told.contains(action), "{code}: {told}");
    }
    stage.grants_the_right();
    let longest_certificate = Some(TimeDelta::days(90));
    let capped = CredentialPolicy { longest_certificate, ..CredentialPolicy::default() };
    stage.world().set_credential_policy(&stage.partner.client_id, capped);
    let failure = renew_now(&renewer, &CancellationToken::new()).await.expect_err("too long");
    let told = failure.action.as_deref().unwrap_or_default();
    assert!(told.contains("set a shorter validity"), "{told}");
    let trusted = CredentialPolicy { forbids_self_signed: true, ..CredentialPolicy::default() };
    stage.world().set_credential_policy(&stage.partner.client_id, trusted);
    let failure = renew_now(&renewer, &CancellationToken::new()).await.expect_err("self-signed");
    let told = failure.action.as_deref().unwrap_or_default();
    assert!(
        told.contains("if the policy names trusted authorities, let one of these authorities issue"),
        "{told}"
    );
    stage.world().set_credential_policy(&stage.partner.client_id, capped);
    stage.makes_a_certificate(
        NAME,
        CertificatePolicy { lifetime: TimeDelta::days(70), ..CertificatePolicy::default() },
    );
    renew_now(&renewer, &CancellationToken::new()).await.expect("registered");
}

#[tokio::test]
async fn without_a_proof_that_entra_accepts_the_list_of_certificates_is_replaced() {
    for is_registered in [true, false] {
        let stage = Stage::with_renewed_certificate("key").await;
        let renewer = CertificateRenewer(stage.renewer());
        renew_now(&renewer, &CancellationToken::new()).await.expect("marked");
        let other = stage.makes_a_certificate("other", CertificatePolicy::default());
        stage.world().add_certificate(&stage.partner.client_id, &other).expect("a certificate");
        // Without dates in the request, Entra would accept the certificate for a year only.
        let lifetime = TimeDelta::days(730);
        stage.makes_a_certificate(NAME, CertificatePolicy { lifetime, ..CertificatePolicy::default() });
        if is_registered {
            for operation in [Operation::AddKey, Operation::RemoveKey] {
                let code = "Authentication_MissingOrMalformed".into();
                let what = FaultEffect::Coded { status: 401, code, inner: None, retry_after: None };
                stage.world().inject(Fault::of(Peer::Graph, what).on(operation));
            }
        } else {
            // A person removed the certificate in use, so Perennial cannot sign a `proof` that Graph accepts.
            stage.world().change_app(&stage.partner.client_id, |app| drop(app.certificates.remove(0)));
        }
        let before = stage.certificates();
        let checked = stage.run_to_end(&["check"]).await.stdout;
        assert!(checked.contains("renew the app's certificate"), "{checked}");
        assert!(!checked.contains("FAILED     renewal"), "{checked}");

        renew_now(&renewer, &CancellationToken::new()).await.expect("registered");

        let after = stage.certificates();
        assert_eq!(after.len(), before.len() + 1, "{is_registered}");
        assert!(before.iter().all(|one| after.iter().any(|kept| kept.key_id == one.key_id)));
        assert_eq!(stage.graph_calls(Some(Operation::ReplaceKeys)), 1);
        let newest = stage.world().certificate_of(&stage.in_vault(NAME), None).expect("created");
        let new = after.iter().find(|key| key.certificate == newest.certificate).expect("registered");
        assert_eq!(new.ends, newest.certificate.not_after);
        let rotated = stage.run_to_end(&["rotate", "one", "--force"]).await;
        assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    }
}
