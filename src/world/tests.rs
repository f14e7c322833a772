use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use super::*;
use crate::ports::Change;
use crate::ports::Forbidden;
use crate::ports::Issuer as _;
use crate::ports::IssuerError;
use crate::ports::Redeemed;
use crate::ports::Redemption;
use crate::ports::Resource as _;
use crate::ports::Transport;
use crate::ports::Vault as _;
use crate::ports::VaultError;
use crate::token::RefreshToken;
use crate::version::NewVersion;
use crate::version::Tags;
use crate::version::VersionId;

const VAULT: &str = "https://contoso.vault.azure.net";

struct Scene {
    world: World,
    partner: Partner,
}

impl Scene {
    fn new() -> Self {
        let base: Timestamp = "2026-03-01T00:00:00.7Z".parse().expect("a time");
        let world = World::new(Clock::running(base, 1.0), 7);
        let partner = world.add_partner("contoso", VAULT, None);
        Self { world, partner }
    }

    fn token(&self) -> RefreshToken {
        self.world.newest_value(&self.partner.refresh_token).expect("a token is stored")
    }

    fn app_secret(&self) -> SecretString {
        let stored = self.world.newest_value(&self.partner.app_secret).expect("a secret is stored");
        stored.expose().into()
    }

    async fn redeem(&self, token: &RefreshToken) -> Result<Redeemed, IssuerError> {
        self.redeem_as(token, &self.partner.client_id, &self.app_secret()).await
    }

    async fn redeem_as(
        &self,
        token: &RefreshToken,
        client_id: &str,
        client_secret: &SecretString,
    ) -> Result<Redeemed, IssuerError> {
        let redemption = Redemption {
            tenant: &self.partner.tenant_id,
            client_id,
            client_secret,
            scope: "https://api.partnercenter.microsoft.com/user_impersonation offline_access",
            token,
            rotation_id: Uuid::nil(),
        };
        self.world.as_actor("one").redeem(&redemption).await
    }

    async fn code(&self, token: &RefreshToken) -> Option<u32> {
        refusal_code(self.redeem(token).await)
    }

    fn new_version(&self, text: &str) -> NewVersion {
        NewVersion { value: RefreshToken::new(text), expires: self.world.now(), tags: Tags::new() }
    }
}

fn refusal_code(result: Result<Redeemed, IssuerError>) -> Option<u32> {
    match result {
        Err(IssuerError::Refused(refusal)) => refusal.code,
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_redemption_leaves_the_old_token_alive_and_the_new_one_descends_from_it() {
    let scene = Scene::new();
    let first = scene.token();

    let redeemed = scene.redeem(&first).await.expect("a successor");

    let next = redeemed.refresh_token.expose();
    assert!(scene.world.is_alive(first.expose()) && scene.world.is_alive(next));
    assert!(scene.world.descends_from(next, first.expose()));
    assert!(!scene.world.descends_from(first.expose(), next));
    let claims = redeemed.access_token.claims().expect("readable");
    assert_eq!(claims.tid.as_deref(), Some(&*scene.partner.tenant_id));
    assert_eq!(claims.oid.as_deref(), Some(&*scene.partner.user_oid));
    assert_eq!(claims.appid.as_deref(), Some(&*scene.partner.client_id));
    assert_eq!(claims.mfa(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_token_dies_ninety_days_after_its_issue() {
    let scene = Scene::new();
    let token = scene.token();
    scene.world.advance(TimeDelta::days(90) - TimeDelta::seconds(1));
    assert!(scene.world.is_alive(token.expose()));

    scene.world.advance(TimeDelta::seconds(1));

    assert_eq!(scene.code(&token).await, Some(700_082));
    assert!(scene.world.is_gone(token.expose()));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_kills_what_was_issued_before_and_nothing_after() {
    let scene = Scene::new();
    let before = scene.token();

    scene.world.revoke_user(&scene.partner.user_oid);
    let after = scene.world.human_signs_in(&scene.partner).expect("signed in");

    assert_eq!(scene.code(&before).await, Some(50173));
    assert!(scene.redeem(&after).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_form_of_the_grant_is_looked_at_before_the_client() {
    let scene = Scene::new();
    let wrong = SecretString::from("wrong");
    let client = scene.partner.client_id.as_str();

    let garbage = scene.redeem_as(&RefreshToken::new("\"0.AXx\""), client, &wrong).await;
    let good = scene.redeem_as(&scene.token(), client, &wrong).await;

    assert_eq!(refusal_code(garbage), Some(9_002_313));
    let Err(IssuerError::Refused(refusal)) = good else { panic!("refused") };
    assert_eq!(
        (refusal.status, refusal.error.as_str(), refusal.code),
        (401, "invalid_client", Some(7_000_215))
    );
    assert_eq!(refusal.correlation_id, Some(Uuid::nil().to_string()));
}

#[tokio::test(start_paused = true)]
async fn an_apps_secret_expires_and_is_replaced_without_harm_to_the_token() {
    let scene = Scene::new();
    let token = scene.token();

    scene.world.expire_app_secret(&scene.partner.client_id);
    assert_eq!(scene.code(&token).await, Some(7_000_222));
    assert!(scene.world.is_alive(token.expose()));

    scene.world.replace_app_secret(&scene.partner.client_id, "fresh", None);
    assert_eq!(scene.code(&token).await, Some(7_000_215));
    scene.world.store_app_secret(&scene.partner.app_secret, "fresh", None);
    assert!(scene.redeem(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_belongs_to_one_app_and_an_unknown_tenant_knows_nobody() {
    let scene = Scene::new();
    scene.world.add_app(&scene.partner.tenant_id, "other-app", "s", None);

    let other = scene.redeem_as(&scene.token(), "other-app", &"s".into()).await;
    let redemption = RedeemRequest {
        tenant: "nowhere.example",
        client_id: &scene.partner.client_id,
        client_secret: "x",
        scope: "",
        token: "x",
        correlation_id: None,
    };
    let nowhere = scene.world.redeem("one", &redemption);

    assert_eq!(refusal_code(other), Some(700_007));
    let Err(Trouble::Refused(refused)) = nowhere else { panic!("refused") };
    assert_eq!(refused.refusal.code, Some(90002));
}

#[tokio::test(start_paused = true)]
async fn accounts_and_policies_refuse_and_heal() {
    let scene = Scene::new();
    let token = scene.token();
    scene.world.disable_user(&scene.partner.user_oid, true);
    assert_eq!(scene.code(&token).await, Some(50057));
    assert!(!scene.world.is_gone(token.expose()));
    scene.world.disable_user(&scene.partner.user_oid, false);

    scene.world.set_rules(&scene.partner.tenant_id, Rules { blocked: true, ..Rules::default() });
    assert_eq!(scene.code(&token).await, Some(53003));

    scene.world.set_rules(&scene.partner.tenant_id, Rules { require_mfa: true, ..Rules::default() });
    assert!(scene.redeem(&token).await.is_ok(), "this sign-in carries a second factor");
    scene.world.set_user_mfa(&scene.partner.user_oid, false);
    let without = scene.world.human_signs_in(&scene.partner).expect("signed in");
    assert_eq!(scene.code(&without).await, Some(50076));
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_stopped_and_forgiven_after_a_pause() {
    let scene = Scene::new();
    let token = scene.token();
    for _ in 0..15 {
        assert!(scene.redeem(&token).await.is_ok());
    }

    assert_eq!(scene.code(&token).await, Some(50196));

    scene.world.advance(TimeDelta::minutes(5));
    assert!(scene.redeem(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_strict_issuer_kills_the_family_when_a_spent_token_comes_back() {
    let scene = Scene::new();
    scene.world.set_strict(true);
    let first = scene.token();
    let second = scene.redeem(&first).await.expect("a successor").refresh_token;
    assert!(!scene.world.is_alive(first.expose()) && scene.world.is_alive(second.expose()));

    assert_eq!(scene.code(&first).await, Some(70000));

    assert!(scene.world.is_gone(second.expose()));
    assert_eq!(scene.code(&second).await, Some(70000));
}

#[tokio::test(start_paused = true)]
async fn a_customers_tenant_takes_the_partners_token_where_the_app_is_consented_to() {
    let scene = Scene::new();
    let partner = &scene.partner;
    scene.world.add_customer(&partner.tenant_id, "customer", "fabrikam.example", &[&partner.client_id]);
    scene.world.add_customer(&partner.tenant_id, "other", "tailspin.example", &[]);
    let (token, secret) = (scene.token(), scene.app_secret());
    let at = |tenant| RedeemRequest {
        tenant,
        client_id: &partner.client_id,
        client_secret: secret.expose_secret(),
        scope: "https://graph.microsoft.com/.default",
        token: token.expose(),
        correlation_id: None,
    };

    let answer = scene.world.redeem("one", &at("fabrikam.example")).expect("a good answer");

    assert_eq!(answer.access_token.claims().and_then(|claims| claims.tid).as_deref(), Some("customer"));
    let Err(Trouble::Refused(refused)) = scene.world.redeem("one", &at("other")) else { panic!("refused") };
    assert_eq!(refused.refusal.code, Some(700_016));
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_lost_after_its_effect() {
    let scene = Scene::new();
    let cut = What::Transport(Transport::Cut);
    scene.world.inject(Fault::of(Peer::KeyVault, cut).on(Operation::Set).after_effect().times(1));
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let since = scene.world.now();

    let lost = vault.write(at, &scene.new_version("0.AXnext"), Uuid::nil()).await;

    assert_eq!(lost, Err(VaultError::Unreachable(Transport::Cut)));
    assert_eq!(scene.token().expose(), "0.AXnext");
    assert!(vault.write(at, &scene.new_version("x"), Uuid::nil()).await.is_ok(), "once only");
    assert_eq!(scene.world.count_calls(Peer::KeyVault, Some(Operation::Set), since), 2);
    assert_eq!(scene.world.calls_since(since)[0].outcome, Outcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_effect_has_none_and_ends_with_its_time() {
    let scene = Scene::new();
    let token = scene.token();
    let throttled = What::Status { status: 429, retry_after: Some(Duration::from_secs(30)) };
    let until = scene.world.now() + TimeDelta::hours(1);
    scene.world.inject(Fault::of(Peer::Entra, throttled).until(until));
    let grants = scene.world.grants().len();

    let refused = scene.redeem(&token).await;

    let expected = IssuerError::Unavailable { status: 429, retry_after: Some(Duration::from_secs(30)) };
    assert_eq!(refused.err(), Some(expected));
    assert_eq!(scene.world.grants().len(), grants);
    scene.world.advance(TimeDelta::hours(1));
    assert!(scene.redeem(&token).await.is_ok());
    assert!(scene.world.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn good_answers_can_be_bent() {
    let scene = Scene::new();
    let token = scene.token();
    let bend = |distortion| {
        scene.world.inject(Fault::of(Peer::Entra, What::Distort(distortion)).times(1));
        scene.redeem(&token)
    };

    assert_eq!(bend(Distortion::NoRefreshToken).await.err(), Some(IssuerError::NoRefreshToken));
    assert_eq!(bend(Distortion::EmptyRefreshToken).await.err(), Some(IssuerError::NoRefreshToken));
    let other = bend(Distortion::OtherTenant).await.expect("an answer");
    assert_ne!(other.access_token.claims().and_then(|c| c.tid), Some(scene.partner.tenant_id.clone()));
    assert!(!scene.world.descends_from(other.refresh_token.expose(), token.expose()));
    let opaque = bend(Distortion::OpaqueAccessToken).await.expect("an answer");
    assert_eq!(opaque.access_token.claims(), None);
}

#[tokio::test(start_paused = true)]
async fn versions_start_blank_and_are_listed_in_no_order() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let tags = Tags::from([("env".to_owned(), "prod".to_owned())]);
    scene.world.human_writes(at, "0.AXtagged", tags);
    for n in 0..30 {
        scene.world.human_writes(at, &format!("0.AX{n}"), Tags::new());
    }
    let since = scene.world.now();

    let newest = vault.newest(at, Uuid::nil()).await.expect("readable");
    let listed = vault.versions(at, Uuid::nil()).await.expect("listed");

    assert_eq!(newest.value.expose_secret(), "0.AX29");
    assert!(newest.version.tags.is_empty() && newest.version.enabled);
    assert_eq!(newest.version.created.timestamp_subsec_millis(), 0);
    assert_eq!(listed.len(), 32);
    assert_ne!(listed.last().map(|version| &version.id), Some(&newest.version.id));
    assert_eq!(scene.world.count_calls(Peer::KeyVault, Some(Operation::List), since), 2, "25 a page");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_version_cannot_be_read_and_can_be_switched_on_again() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let version = scene.world.newest_version(at).expect("a version").id;
    let off = Change { enabled: Some(false), tags: None };
    vault.update(at, &version, &off, Uuid::nil()).await.expect("updated");

    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::Disabled));
    assert_eq!(vault.read(at, &version, Uuid::nil()).await.err(), Some(VaultError::Disabled));

    scene.world.switch_version(at, None, true);
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_name_cannot_be_written_until_it_is_recovered_or_purged() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let new = scene.new_version("0.AXnew");
    scene.world.human_deletes(at);

    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::NotFound));
    assert_eq!(vault.write(at, &new, Uuid::nil()).await.err(), Some(VaultError::Deleted));
    scene.world.human_recovers(at);
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());

    scene.world.human_deletes(at);
    scene.world.human_purges(at);
    assert!(vault.write(at, &new, Uuid::nil()).await.is_ok());
    assert_eq!(vault.versions(at, Uuid::nil()).await.expect("listed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_progress_is_a_transition() {
    let scene = Scene::new();
    let at = &scene.partner.refresh_token;
    scene.world.change_vault(VAULT, |vault| vault.transition = TimeDelta::seconds(20));
    scene.world.delete_secret("human", at).expect("deleted");
    let vault = scene.world.as_actor("one");

    let busy = vault.write(at, &scene.new_version("x"), Uuid::nil()).await;

    assert_eq!(busy, Err(VaultError::InTransition));
    assert!(scene.world.recover_secret("human", at).is_err());
    scene.world.advance(TimeDelta::seconds(20));
    scene.world.recover_secret("human", at).expect("recovered");
    assert_eq!(vault.newest(at, Uuid::nil()).await.err(), Some(VaultError::InTransition));
    scene.world.advance(TimeDelta::seconds(20));
    assert!(vault.newest(at, Uuid::nil()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn roles_and_firewall_say_what_is_missing() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    scene.world.change_vault(VAULT, |vault| {
        vault.allowed.remove(&Action::SetSecret);
    });

    let refused = vault.write(at, &scene.new_version("x"), Uuid::nil()).await;

    let action = Some("Microsoft.KeyVault/vaults/secrets/setSecret/action".to_owned());
    assert_eq!(refused, Err(VaultError::Forbidden(Forbidden::Rbac { action })));
    scene.world.change_vault(VAULT, |vault| vault.firewall_refuses = Some("203.0.113.9".into()));
    let address = Some("203.0.113.9".to_owned());
    let refused = vault.newest(at, Uuid::nil()).await.err();
    assert_eq!(refused, Some(VaultError::Forbidden(Forbidden::Firewall { address })));
    scene.world.remove_vault(VAULT);
    let gone = vault.newest(at, Uuid::nil()).await.err();
    assert_eq!(gone, Some(VaultError::Unreachable(Transport::NameUnknown)));
}

#[tokio::test(start_paused = true)]
async fn bounds_on_values_and_tags_are_key_vaults() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let many: Tags = (0..16).map(|n| (format!("t{n}"), String::new())).collect();

    let large = vault.write(at, &scene.new_version(&"x".repeat(25 * 1024 + 1)), Uuid::nil()).await;
    let tagged = vault.write(at, &NewVersion { tags: many, ..scene.new_version("x") }, Uuid::nil()).await;

    let bad = VaultError::Rejected { status: 400, code: "BadParameter".into() };
    assert_eq!(large, Err(bad.clone()));
    assert_eq!(tagged, Err(bad));
}

#[tokio::test(start_paused = true)]
async fn partner_center_wants_a_fresh_token_with_a_second_factor() {
    let scene = Scene::new();
    let actor = scene.world.as_actor("one");
    let with = scene.redeem(&scene.token()).await.expect("a token").access_token;
    scene.world.set_user_mfa(&scene.partner.user_oid, false);
    let plain = scene.world.human_signs_in(&scene.partner).expect("signed in");
    let without = scene.redeem(&plain).await.expect("a token").access_token;

    let accepted = actor.accepts(&with, Uuid::nil()).await.expect("a verdict");
    let refused = actor.accepts(&without, Uuid::nil()).await.expect("a verdict");

    assert!(accepted.accepted && accepted.mfa == Some(true));
    assert_eq!(accepted.tenant_id.as_ref(), Some(&scene.partner.tenant_id));
    assert_eq!((refused.accepted, refused.mfa, refused.status), (false, Some(false), 401));
    scene.world.set_partner_center(PartnerCenter { enforce_mfa: false, ..PartnerCenter::default() });
    let lenient = actor.accepts(&without, Uuid::nil()).await.expect("a verdict");
    assert!(lenient.accepted && lenient.mfa == Some(false));
    scene.world.advance(TimeDelta::minutes(91));
    let stale = actor.accepts(&with, Uuid::nil()).await.expect("a verdict");
    assert_eq!((stale.accepted, stale.status), (false, 401));
}

#[tokio::test(start_paused = true)]
async fn every_write_has_a_writer() {
    let scene = Scene::new();
    let at = &scene.partner.refresh_token;
    let before = scene.world.writes().len();
    let first = scene.world.human_writes(at, "pasted", Tags::new()).expect("written");
    let by_one = scene.world.as_actor("one").write(at, &scene.new_version("x"), Uuid::nil()).await;

    let writes = scene.world.writes_from(before);

    assert_eq!(writes.iter().map(|write| write.writer.as_str()).collect::<Vec<_>>(), [HUMAN, "one"]);
    assert_eq!(writes[0].version, first);
    assert_eq!(scene.world.writer_of(&by_one.expect("written").id).as_deref(), Some("one"));
    assert_eq!(scene.world.writer_of(&VersionId("none".into())), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_yields_once_and_then_takes_effect() {
    let scene = Scene::new();
    let (one, two) = (scene.world.as_actor("one"), scene.world.as_actor("two"));
    let at = &scene.partner.refresh_token;
    let (a, b) = (scene.new_version("a"), scene.new_version("b"));
    let mut first = pin!(one.write(at, &a, Uuid::nil()));
    let mut second = pin!(two.write(at, &b, Uuid::nil()));
    let mut context = Context::from_waker(Waker::noop());

    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert!(!["a", "b"].contains(&scene.token().expose()));
    assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(scene.token().expose(), "b");
    assert!(matches!(first.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(scene.token().expose(), "a");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_world() {
    let (one, two) = (Scene::new(), Scene::new());

    assert_eq!(one.token(), two.token());
    assert_eq!(
        one.world.newest_version(&one.partner.refresh_token),
        two.world.newest_version(&two.partner.refresh_token)
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_token_of_its_own_an_actor_does_not_reach_the_vault() {
    let scene = Scene::new();
    let fault = Fault::of(Peer::Entra, What::Transport(Transport::TimedOut)).on(Operation::Identity);
    scene.world.inject(fault);

    let refused = scene.world.as_actor("one").newest(&scene.partner.refresh_token, Uuid::nil()).await;

    assert!(matches!(refused.err(), Some(VaultError::NoIdentity { transient: true, .. })));
}
