//! Tests the number of requests of a proof, a rotation and a start, and the vault's content after a rotation.

use chrono::TimeDelta;
use futures::future::join_all;
use perennial::cli::azure_clients::AzureRotator;
use perennial::net::calls;
use perennial::net::calls::CallLabels;
use perennial::ports::failure::Kind;
use perennial::process::clock::Timestamp;
use perennial::rotation::state::State;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Partner, Peer, SecretVersion, World};
use perennial::token::secret::{ConfigValue, Source};
use perennial::token::version::{CONTENT_TYPE, tag};

use crate::support::lab::{Lab, grant, settle};

/// A token that Perennial has managed for some weeks.
struct StoredLogin {
    lab: Lab,
    partner: Partner,
    rotator: AzureRotator,
    state: Option<State>,
}

impl StoredLogin {
    async fn new(lab: Lab, partner: Partner, rotator: AzureRotator) -> Self {
        let state = Some(State::unknown(lab.clock.now()));
        let mut kept = Self { lab, partner, rotator, state };
        kept.rest().await;
        for _ in 0..3 {
            kept.pass(TimeDelta::days(8)).await;
        }
        kept
    }

    async fn usual() -> Self {
        let lab = Lab::start().await;
        let partner = lab.sandbox.add_partner("partner", TimeDelta::days(8));
        let rotator = lab.rotator(&grant("partner", &partner));
        Self::new(lab, partner, rotator).await
    }

    async fn rest(&mut self) {
        let state = self.state.take().expect("put back after each use");
        self.state = Some(settle(&mut self.rotator, state).await);
    }

    /// Lets time pass and carries out the due steps. Returns the calls.
    async fn pass(&mut self, span: TimeDelta) -> Vec<(Peer, Operation)> {
        let before = calls_of(self.lab.world()).len();
        self.lab.pass(span);
        self.rest().await;
        let failure = self.state.as_ref().expect("put back after each use").failure();
        assert!(failure.is_none(), "{failure:?}");
        calls_of(self.lab.world()).split_off(before)
    }

    /// Returns all versions, oldest first.
    fn versions(&self) -> Vec<SecretVersion> {
        self.lab.world().versions_of(&self.partner.refresh_token)
    }
}

/// Returns every call so far, except token requests for the vault.
fn calls_of(world: &World) -> Vec<(Peer, Operation)> {
    let all = world.calls_since(Timestamp::MIN_UTC).into_iter();
    all.map(|call| (call.peer, call.operation)).filter(|(_, what)| *what != Operation::Identity).collect()
}

const READ: (Peer, Operation) = (Peer::KeyVault, Operation::Get);
const REDEEM: (Peer, Operation) = (Peer::Entra, Operation::Redeem);
const ASK: (Peer, Operation) = (Peer::PartnerCenter, Operation::Profile);
const WRITE: (Peer, Operation) = (Peer::KeyVault, Operation::Set);
const LIST: (Peer, Operation) = (Peer::KeyVault, Operation::List);
const CHANGE: (Peer, Operation) = (Peer::KeyVault, Operation::Update);

#[tokio::test]
async fn a_proof_is_three_requests_and_one_to_partner_center() {
    let mut kept = StoredLogin::usual().await;

    let calls = kept.pass(TimeDelta::hours(6)).await;

    assert_eq!(calls, [READ, READ, REDEEM, ASK], "token, app secret, redemption, profile");
}

#[tokio::test]
async fn a_day_costs_four_proofs_and_one_tag_update() {
    let mut kept = StoredLogin::usual().await;

    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.extend(kept.pass(TimeDelta::hours(6)).await);
    }

    let of = |what| calls.iter().filter(|call| **call == what).count();
    assert_eq!((of(REDEEM), of(READ), of(ASK)), (8, 16, 8), "two days: {calls:?}");
    assert!(of(CHANGE) <= 2 && calls.len() <= 34, "{calls:?}");
}

#[tokio::test]
async fn a_rotation_is_seven_requests_and_one_to_partner_center() {
    let mut kept = StoredLogin::usual().await;
    let before = kept.versions().len();

    let calls = kept.pass(TimeDelta::days(8)).await;

    assert_eq!(calls, [READ, READ, REDEEM, ASK, READ, WRITE, LIST, CHANGE]);
    assert_eq!(kept.versions().len(), before + 1);
}

#[tokio::test]
async fn an_app_id_in_the_vault_costs_one_more_request() {
    let lab = Lab::start().await;
    let partner = lab.sandbox.add_partner("partner", TimeDelta::days(8));
    let mut grant = grant("partner", &partner);
    let mut app_id = partner.app_secret.clone();
    app_id.name = perennial::token::secret::SecretName::parse("partner-app-id").expect("letters and dashes");
    lab.world().store_app_secret(&app_id, &partner.client_id, None);
    std::sync::Arc::make_mut(&mut grant.app).client_id = ConfigValue::From(Source::Secret(app_id));
    let rotator = lab.rotator(&grant);
    let mut kept = StoredLogin::new(lab, partner, rotator).await;

    let proof = kept.pass(TimeDelta::hours(6)).await;
    let rotation = kept.pass(TimeDelta::days(8)).await;

    assert_eq!(proof, [READ, READ, READ, REDEEM, ASK]);
    assert_eq!(rotation, [READ, READ, READ, REDEEM, ASK, READ, WRITE, LIST, CHANGE]);
}

#[tokio::test]
async fn a_start_costs_one_challenge_for_any_number_of_tokens() {
    let lab = Lab::start().await;

    let states = prove_twenty(&lab).await;

    assert!(states.iter().all(|state| state.proved_at().is_some()));
    let calls = lab.calls.durations();
    let count = |peer, operation, code: &str| {
        calls.get(&CallLabels::new(peer, operation, code)).map_or(0, |durations| durations.count())
    };
    assert_eq!(count(calls::CallTarget::KeyVault, "get", "401"), 1, "challenges: {calls:?}");
    assert_eq!(count(calls::CallTarget::Entra, "vault_token", "200"), 1, "tokens for the vault: {calls:?}");
    assert_eq!(count(calls::CallTarget::KeyVault, "get", "200"), 40, "{calls:?}");
    assert_eq!(lab.world().count_calls(Peer::Entra, Some(Operation::Identity), Timestamp::MIN_UTC), 1);
}

#[tokio::test]
async fn a_start_without_an_identity_costs_one_request_for_any_number_of_tokens() {
    let lab = Lab::start().await;
    let down = FaultEffect::Status { status: 503, retry_after: None };
    lab.world().inject(Fault::of(Peer::Entra, down).on(Operation::Identity));

    let states = prove_twenty(&lab).await;

    let kinds = states.iter().filter_map(|state| Some(state.failure()?.kind));
    assert_eq!(kinds.filter(|kind| *kind == Kind::EntraUnreachable).count(), 20);
    assert_eq!(lab.world().count_calls(Peer::Entra, Some(Operation::Identity), Timestamp::MIN_UTC), 1);
    assert!(calls_of(lab.world()).is_empty());
}

async fn prove_twenty(lab: &Lab) -> Vec<State> {
    let started = |nth: i32| {
        let name = format!("partner-{nth}");
        let partner = lab.sandbox.add_partner(&name, TimeDelta::days(1));
        lab.rotator(&grant(&name, &partner))
    };
    let rotators: Vec<AzureRotator> = (0..20).map(started).collect();
    let now = lab.clock.now();
    let proofs =
        rotators.into_iter().map(async |mut rotator| rotator.prove(State::unknown(now), false).await.state);
    join_all(proofs).await
}

#[tokio::test]
async fn a_version_records_its_origin_and_expiry() {
    let lab = Lab::start().await;
    let partner = lab.sandbox.add_partner("partner", TimeDelta::days(8));
    lab.world().retag(&partner.refresh_token, |tags| {
        tags.insert("cost-centre", "4711");
        tags.insert("file-encoding", "utf-8");
    });
    let mut rotator = lab.rotator(&grant("partner", &partner));

    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;

    assert!(state.failure().is_none(), "{:?}", state.failure());
    let versions = lab.world().versions_of(&partner.refresh_token);
    let [old, new] = versions.as_slice() else { panic!("{} versions", versions.len()) };
    let written = lab.world().newest_version(&partner.refresh_token).expect("stored");
    let time = |name| written.time(name).expect("a time");
    let lasts = TimeDelta::from_std(rotator.grant.policy.lifetime).expect("days");
    assert_eq!(new.content_type.as_deref(), Some(CONTENT_TYPE));
    assert_eq!(new.attributes.expires, Some(time(tag::ISSUED_AT) + lasts));
    assert!((lab.clock.now() - time(tag::ISSUED_AT)).abs() < TimeDelta::minutes(1));
    assert_eq!(time(tag::PROVED_AT), time(tag::ISSUED_AT));
    assert_eq!(time(tag::SIGNED_IN_AT), old.created);
    let id = new.tags.get(tag::ROTATION_ID).expect("an id");
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
    let by = format!("perennial/{} run", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        (tag::MANAGED_BY, by.as_str()),
        (tag::TENANT_ID, &partner.tenant_id),
        (tag::CLIENT_ID, &partner.client_id),
        (tag::USER_OID, &partner.user_oid),
        (tag::REDEEMED_FROM, &old.id),
        ("cost-centre", "4711"),
        ("file-encoding", "utf-8"),
    ] {
        assert_eq!(new.tags.get(name), Some(value), "{name}");
    }
    assert!(new.tags.get(tag::VERDICT).is_some_and(|noted| noted.starts_with("usable ")), "{:?}", new.tags);
    assert_eq!(new.tags.len(), 12, "{:?}", new.tags);
    assert_eq!(old.content_type, None, "the predecessor is left as it was");
    assert!(old.attributes.enabled && !old.tags.contains(tag::MANAGED_BY));
}

#[tokio::test]
async fn the_predecessor_stays_and_older_versions_are_disabled() {
    let mut kept = StoredLogin::usual().await;

    for _ in 0..3 {
        kept.pass(TimeDelta::days(8)).await;
        let versions = kept.versions();
        let enabled: Vec<bool> = versions.iter().map(|version| version.attributes.enabled).collect();
        let (signed_in, ours) = enabled.split_first().expect("the sign-in");
        let (old, last_two) = ours.split_at(ours.len() - 2);

        assert!(*signed_in, "what a person wrote is left to people");
        assert_eq!(last_two, [true, true], "the redeemed one and its successor");
        assert!(old.iter().all(|enabled| !enabled), "{enabled:?}");
    }
}
