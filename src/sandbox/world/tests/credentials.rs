//! Tests of apps that use another issuer's token as a credential, and of how a new credential reaches Entra's front
//! ends.

use super::*;
use crate::token::AccessToken;

/// The default authority of a world, before a server sets another authority.
pub(super) const AUTHORITY: &str = "https://login.microsoftonline.com";
const EXCHANGE: &str = "api://AzureADTokenExchange";

impl Scene {
    pub(super) fn redeem_with(
        &self,
        tenant: &str,
        proof: AppProof<'_>,
    ) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        let token = self.token();
        let request = RedeemRequest {
            tenant,
            client_id: &self.partner.client_id,
            proof,
            scope: "",
            token: token.expose(),
            correlation_id: None,
        };
        self.world.redeem("one", &request)
    }

    fn answer_to(&self, assertion: &str) -> Option<u32> {
        code_of(&self.redeem_with(&self.partner.tenant_id, AppProof::Assertion(assertion)))
    }
}

/// Returns the code of a rejection.
pub(super) fn code_of<T>(answer: &Result<T, Trouble<EntraRefusal>>) -> Option<u32> {
    match answer {
        Ok(_) => None,
        Err(Trouble::Refused(refused)) => refused.refusal.trace.code,
        Err(Trouble::Fault(_)) => Some(0),
    }
}

#[tokio::test(start_paused = true)]
async fn a_federated_credential_matches_in_all_three_parts() {
    let scene = Scene::new();
    let (world, client) = (&scene.world, &scene.partner.client_id);
    let cluster = "https://cluster.example/";
    world.add_issuer(cluster);
    world.add_issuer("https://other.example/");
    let issue =
        |issuer, subject, audience| world.issue_external(issuer, subject, audience, TimeDelta::hours(1));
    let good = issue(cluster, "system:serviceaccount:a:b", EXCHANGE);

    assert_eq!(scene.answer_to(&good), Some(70025));
    world.add_federated(client, cluster, "system:serviceaccount:a:b", EXCHANGE).expect("an app");
    assert_eq!(scene.answer_to(&good), None);
    let (unsigned, _) = good.rsplit_once('.').expect("a signature");
    for (what, token, code) in [
        ("issuer", issue("https://other.example/", "system:serviceaccount:a:b", EXCHANGE), 700_211),
        ("subject", issue(cluster, "system:serviceaccount:a:B", EXCHANGE), 700_213),
        ("audience", issue(cluster, "system:serviceaccount:a:b", "https://vault.azure.net"), 700_212),
        ("signature", format!("{unsigned}.AAAA"), 50013),
        ("form", format!("{unsigned}.A"), 50027),
    ] {
        assert_eq!(scene.answer_to(&token), Some(code), "{what}");
    }
    // The error may quote the token's subject, since the operator has to compare it with the configured subject.
    let other = issue(cluster, "someone", EXCHANGE);
    let answer = scene.redeem_with(&scene.partner.tenant_id, AppProof::Assertion(&other));
    let Err(Trouble::Refused(refused)) = answer else { panic!("rejected") };
    assert!(refused.text.ends_with("presented assertion subject 'someone'."), "{}", refused.text);

    world.advance(TimeDelta::minutes(64));
    assert_eq!(scene.answer_to(&good), None);
    world.advance(TimeDelta::minutes(1));
    assert_eq!(scene.answer_to(&good), Some(700_024));
    let unknown = "https://unknown.example/";
    world.add_federated(client, unknown, "x", EXCHANGE).expect("an app");
    assert_eq!(scene.answer_to(&issue(unknown, "x", EXCHANGE)), Some(50013));
}

#[tokio::test(start_paused = true)]
async fn a_managed_identity_proves_an_app_and_opens_the_vault() {
    let scene = Scene::new();
    let Scene { world, partner } = &scene;
    let token = |client: Option<&str>, resource| {
        let answer = world.managed_identity_token("host", client, resource);
        answer.map(|answer| answer.access_token.expose().to_owned())
    };
    let refusal = |client, resource| match token(client, resource) {
        Err(Trouble::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(None, EXCHANGE), HostRefusal::NoSuchIdentity);
    let principal = world.add_managed_identity(&partner.tenant_id, "Identity-One");
    let own = token(None, EXCHANGE).expect("the only one");
    assert_eq!(scene.answer_to(&own), Some(70025));
    let issuer = world.issuer_of(&partner.tenant_id);
    assert_eq!(issuer, format!("{AUTHORITY}/{}/v2.0", partner.tenant_id));
    world.add_federated(&partner.client_id, &issuer, &principal, EXCHANGE).expect("an app");
    assert_eq!(scene.answer_to(&own), None);
    assert!(world.secret_texts().iter().any(|text| text.expose_secret() == own));
    // The same assertion is valid in every tenant.
    world.add_customer(&partner.tenant_id, "customer", "fabrikam.example", &[&partner.client_id]);
    assert_eq!(code_of(&scene.redeem_with("customer", AppProof::Assertion(&own))), None);

    let for_vault = token(Some("IDENTITY-one"), "https://vault.azure.net").expect("a token");
    assert!(world.opens_vault(&for_vault) && !world.opens_vault(&own));
    assert_eq!(scene.answer_to(&for_vault), Some(700_212));
    let claims = AccessToken::new(for_vault.clone()).claims().expect("readable");
    assert_eq!(
        (claims.oid.as_deref(), claims.tid.as_deref()),
        (Some(&*principal), Some(&*partner.tenant_id))
    );

    let second = world.add_managed_identity(&partner.tenant_id, "identity-two");
    assert_ne!(principal, second);
    assert_eq!(refusal(None, EXCHANGE), HostRefusal::Ambiguous);
    assert_eq!(refusal(Some("identity-three"), EXCHANGE), HostRefusal::NoSuchIdentity);
    assert_eq!(refusal(Some("identity-two"), "https://nothing.example"), HostRefusal::NoSuchResource);
    let other = token(Some("identity-two"), EXCHANGE).expect("a token");
    assert_eq!(scene.answer_to(&other), Some(700_213));
    world.advance(TimeDelta::hours(25));
    assert_eq!(scene.answer_to(&own), Some(700_024));
    assert!(!world.opens_vault(&for_vault));
}

#[tokio::test(start_paused = true)]
async fn a_new_credential_reaches_one_front_end_after_the_other() {
    let scene = Scene::new();
    let (world, client) = (&scene.world, scene.partner.client_id.clone());
    world.set_loop_limit(false);
    world.set_propagation(TimeDelta::minutes(4));
    world.add_app_secret(&client, "fresh", None);
    world.add_issuer("https://cluster.example/");
    world.add_federated(&client, "https://cluster.example/", "a", EXCHANGE).expect("an app");
    let old = scene.app_secret();
    let token = world.issue_external("https://cluster.example/", "a", EXCHANGE, TimeDelta::hours(1));
    let accepted = |proof| {
        let answers = (0..64).map(|_| code_of(&scene.redeem_with(&scene.partner.tenant_id, proof)));
        let answers: Vec<_> = answers.collect();
        answers.iter().filter(|code| code.is_none()).count()
    };

    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push((accepted(AppProof::Secret("fresh")), accepted(AppProof::Assertion(&token))));
        assert_eq!(accepted(AppProof::Secret(old.expose_secret())), 64);
        world.advance(TimeDelta::minutes(1));
    }

    assert_eq!(counts[0], (0, 0), "nobody knows it at once");
    assert!(counts.iter().any(|(secret, _)| (1..64).contains(secret)), "{counts:?}");
    assert!(counts.iter().any(|(_, federated)| (1..64).contains(federated)), "{counts:?}");
    assert_eq!((accepted(AppProof::Secret("fresh")), accepted(AppProof::Assertion(&token))), (64, 64));
    assert_eq!(world.refusal_of_app(&scene.partner.tenant_id, &client, "fresh"), None);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_all_front_ends_know_draw_nothing_at_random() {
    let (one, two) = (Scene::new(), Scene::new());
    for scene in [&one, &two] {
        scene.world.add_app_secret(&scene.partner.client_id, "fresh", None);
    }
    one.world.set_propagation(TimeDelta::minutes(4));

    for scene in [&one, &two] {
        assert!(scene.redeem_with(&scene.partner.tenant_id, AppProof::Secret("fresh")).is_ok());
    }

    assert_eq!(one.world.fresh_id(), two.world.fresh_id());
    one.world.add_app_secret(&one.partner.client_id, "next", None);
    two.world.add_app_secret(&two.partner.client_id, "next", None);
    assert_ne!(one.world.fresh_id(), two.world.fresh_id());
}

/// The simulation of propagation must not change the results of existing seeds. So the world draws random numbers for
/// the propagation of credentials only if a test sets a propagation time or calls `set_flapping`.
#[tokio::test(start_paused = true)]
async fn a_partner_draws_its_ids_and_tokens_and_nothing_else() {
    let scene = Scene::new();
    let mut rng = fastrand::Rng::with_seed(7);
    // A partner needs six random ids: two for the app's secret, and one each for the tenant, the client, the user, and
    // the vault's version of the app's secret.
    for _ in 0..6 {
        rng.u128(..);
    }
    let token: String = (0..180).map(|_| rng.alphanumeric()).collect();
    let version = rng.u128(..);

    assert_eq!(scene.token().expose(), format!("0.AX{token}"));
    let stored = scene.world.newest_version(&scene.partner.refresh_token).expect("stored");
    assert_eq!(&*stored.id.0, format!("{version:032x}"));
    scene.redeem(&scene.token()).await.expect("a successor");
    let token: String = (0..180).map(|_| rng.alphanumeric()).collect();
    let newest = scene.world.grants().pop().expect("a successor").token;
    assert_eq!(newest.expose(), format!("0.AX{token}"));
}
