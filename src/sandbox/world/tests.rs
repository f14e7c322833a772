//! Tests of the world's rules through the traits of `crate::ports`. This file tests faults, and rules that all
//! services share.

mod assertions;
mod certificates;
mod credentials;
mod entra;
mod graph;
mod vault;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use super::*;
use crate::net::no_response::NoResponse;
use crate::ports::Issuer as _;
use crate::ports::Resource as _;
use crate::ports::Vault as _;
use crate::ports::client::ClientProof;
use crate::ports::{Forbidden, IssuerError, RefreshRequest, RefreshResponse, SecretUpdate, VaultError};
use crate::token::RefreshToken;
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, VersionId};

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

    async fn redeem(&self, token: &RefreshToken) -> Result<RefreshResponse, IssuerError> {
        self.redeem_as(token, &self.partner.client_id, &self.app_secret()).await
    }

    async fn redeem_as(
        &self,
        token: &RefreshToken,
        client_id: &str,
        client_secret: &SecretString,
    ) -> Result<RefreshResponse, IssuerError> {
        let redemption = RefreshRequest {
            tenant: &self.partner.tenant_id,
            client_id,
            proof: &ClientProof::Secret(client_secret.clone()),
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
        NewVersion { value: text.into(), content_type: None, expires: self.world.now(), tags: Tags::new() }
    }
}

fn refusal_code(result: Result<RefreshResponse, IssuerError>) -> Option<u32> {
    match result {
        Err(IssuerError::Refused(refusal)) => refusal.trace.code,
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_lost_after_its_effect() {
    let scene = Scene::new();
    let cut = FaultEffect::Transport(NoResponse::Cut);
    scene.world.inject(Fault::of(Peer::KeyVault, cut).on(Operation::Set).after_effect().times(1));
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    let since = scene.world.now();

    let lost = vault.write(at, &scene.new_version("0.AXnext"), Uuid::nil()).await;

    assert_eq!(lost, Err(VaultError::Unreachable(NoResponse::Cut)));
    assert_eq!(scene.token().expose(), "0.AXnext");
    assert!(vault.write(at, &scene.new_version("x"), Uuid::nil()).await.is_ok(), "once only");
    assert_eq!(scene.world.count_calls(Peer::KeyVault, Some(Operation::Set), since), 2);
    assert_eq!(scene.world.calls_since(since)[0].outcome, CallOutcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_effect_has_none_and_ends_with_its_time() {
    let scene = Scene::new();
    let token = scene.token();
    let throttled = FaultEffect::Status { status: 429, retry_after: Some(Duration::from_secs(30)) };
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
async fn successes_can_be_altered() {
    let scene = Scene::new();
    let token = scene.token();
    let bend = |distortion| {
        scene.world.inject(Fault::of(Peer::Entra, FaultEffect::Distort(distortion)).times(1));
        scene.redeem(&token)
    };

    assert_eq!(bend(Distortion::NoRefreshToken).await.err(), Some(IssuerError::NoRefreshToken));
    assert_eq!(bend(Distortion::EmptyRefreshToken).await.err(), Some(IssuerError::NoRefreshToken));
    let other = bend(Distortion::OtherTenant).await.expect("an answer");
    let tenants = [other.access_token.claims(), other.id_claims].map(|claims| claims.expect("readable").tid);
    assert!(tenants[0] == tenants[1] && tenants[0].as_deref() != Some(&*scene.partner.tenant_id));
    assert!(!scene.world.descends_from(other.refresh_token.expose(), token.expose()));
    let opaque = bend(Distortion::OpaqueAccessToken).await.expect("an answer");
    assert!(opaque.access_token.claims().is_none() && opaque.id_claims.is_some());
    let nameless = bend(Distortion::NoIdentity).await.expect("an answer");
    assert!(nameless.access_token.claims().is_none() && nameless.id_claims.is_none());
}

#[tokio::test(start_paused = true)]
async fn partner_center_requires_a_fresh_token_with_mfa() {
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
    scene
        .world
        .set_partner_center(PartnerCenterRules { enforce_mfa: false, ..PartnerCenterRules::default() });
    let lenient = actor.accepts(&without, Uuid::nil()).await.expect("a verdict");
    assert!(lenient.accepted && lenient.mfa == Some(false));
    scene.world.advance(TimeDelta::minutes(91));
    let stale = actor.accepts(&with, Uuid::nil()).await.expect("a verdict");
    assert_eq!((stale.accepted, stale.status), (false, 401));
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
    let fault = Fault::of(Peer::Entra, FaultEffect::Transport(NoResponse::TimedOut)).on(Operation::Identity);
    scene.world.inject(fault);

    let refused = scene.world.as_actor("one").newest(&scene.partner.refresh_token, Uuid::nil()).await;

    assert!(matches!(refused.err(), Some(VaultError::NoIdentity { transient: true, .. })));
}
