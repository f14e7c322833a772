//! Tests tokens of a strict issuer, which revokes all tokens of a sign-in if one of them is redeemed twice. The tests
//! use a small simulated world.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::daemon::Daemon;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::process::clock::{Clock, Timestamp};
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Partner, Peer, Rules, World};
use perennial::status::condition::{Condition, Severity};
use perennial::status::snapshot::TokenState;
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::tags::Tags;
use tokio::task::LocalSet;

use crate::support::harness;

mod buried;

const SECOND: Duration = Duration::from_secs(1);
/// The time within which the daemon must notice that a person has fixed a problem.
const A_MINUTE: Duration = Duration::from_secs(70);

struct Scene {
    world: World,
    partner: Partner,
    grant: ManagedToken,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(Clock::running(harness::base(), 1.0), 7);
        world.set_strict(true);
        let partner =
            world.add_partner("contoso", harness::VAULT, Some(harness::base() + TimeDelta::days(400)));
        world.advance(TimeDelta::days(2));
        let mut grant = harness::grant("contoso", &partner, &Policy::default());
        grant.strict = true;
        Self { world, partner, grant }
    }

    /// Starts one instance of the daemon. `seed` determines the daemon's random numbers.
    fn daemon(&self, actor: &str, seed: u64) -> Daemon {
        let clock = Clock::running(self.world.now(), 1.0);
        let rotator = harness::rotator(&self.world, clock.clone(), &self.grant, actor, seed);
        Daemon::new(vec![rotator], &clock, |board| board)
    }

    fn allow(&self, action: Action, allowed: bool) {
        self.world.change_vault(harness::VAULT, |vault| {
            if allowed {
                vault.allowed.insert(action);
            } else {
                vault.allowed.remove(&action);
            }
        });
    }

    /// Clears all faults, and restores the rights to the vault.
    fn heal(&self) {
        self.world.clear_faults(None);
        self.allow(Action::SetSecret, true);
        self.allow(Action::Update, true);
    }

    fn redemptions(&self) -> usize {
        self.world.count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC)
    }

    fn versions(&self) -> usize {
        self.world.versions_of(&self.partner.refresh_token).len()
    }

    fn is_alive(&self) -> bool {
        self.world
            .newest_value(&self.partner.refresh_token)
            .is_some_and(|it| self.world.is_alive(it.expose()))
    }

    /// Starts an instance. Between its redemption and its write, the instance loses the right to write.
    async fn holding(&self) -> Daemon {
        let name = self.partner.refresh_token.name.as_str();
        let slow = FaultEffect::Delay(SECOND);
        self.world.inject(Fault::of(Peer::KeyVault, slow).on(Operation::Set).about(name));
        let daemon = self.daemon("holder", 1);
        until("redeemed", 60 * SECOND, || self.redemptions() == 1).await;
        self.allow(Action::SetSecret, false);
        self.world.clear_faults(None);
        until("held", 60 * SECOND, || kinds(&daemon).contains(&Kind::VaultRefused)).await;
        daemon
    }
}

fn conditions(daemon: &Daemon) -> Vec<Condition> {
    daemon.board().status().conditions
}

fn kinds(daemon: &Daemon) -> Vec<Kind> {
    conditions(daemon).iter().map(|condition| condition.kind).collect()
}

fn standing(daemon: &Daemon) -> TokenState {
    let now = daemon.board().clock().now();
    daemon.board().read(|all| all[0].standing(now))
}

fn works(daemon: &Daemon) -> bool {
    standing(daemon) == TokenState::Current
        && daemon.board().read(|all| all[0].blocked.is_none() && all[0].outage.is_none())
}

/// Waits until `done` returns true. Returns the duration of the wait, to within a tenth of a second.
async fn until(what: &str, longest: Duration, done: impl Fn() -> bool) -> Duration {
    let began = tokio::time::Instant::now();
    while !done() {
        assert!(began.elapsed() <= longest, "in {longest:?} it did not come to this: {what}");
        tokio::time::sleep(SECOND / 10).await;
    }
    began.elapsed()
}

fn play(story: impl AsyncFnOnce(Scene)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), story(Scene::new()));
}

#[test]
fn a_missing_right_shows_before_the_token_is_redeemed() {
    for (missing, noticed_within) in [(Action::SetSecret, A_MINUTE), (Action::Update, 2 * A_MINUTE)] {
        play(async |scene| {
            scene.allow(missing, false);
            let daemon = scene.daemon("run", 1);
            tokio::time::sleep(600 * SECOND).await;
            assert_eq!(scene.redemptions(), 0, "{missing:?}");
            assert_eq!(kinds(&daemon), [Kind::VaultRefused], "{missing:?}");

            scene.allow(missing, true);

            until("noticed", noticed_within, || works(&daemon)).await;
            assert!(scene.is_alive());
            assert_eq!((scene.redemptions(), scene.versions()), (1, 2), "a trial leaves no version");
        });
    }
}

#[test]
fn while_a_successor_is_held_the_token_is_critical_and_has_no_time_left() {
    play(async |scene| {
        let daemon = scene.holding().await;
        for _ in 0..4 {
            tokio::time::sleep(600 * SECOND).await;
            assert_eq!(standing(&daemon), TokenState::Unsaved);
            let status = daemon.board().status();
            assert!(!status.healthy);
            let told = |kind| status.conditions.iter().find(|it| it.kind == kind).expect("it is told");
            for kind in [Kind::Unsaved, Kind::VaultRefused] {
                let told = told(kind);
                assert_eq!((told.severity, told.runway_seconds), (Severity::Critical, Some(0)), "{kind:?}");
            }
            let unsaved = told(Kind::Unsaved);
            assert!(unsaved.summary.contains("the stored token no longer works"), "{}", unsaved.summary);
            assert!(unsaved.action.contains("`perennial login contoso`"), "{}", unsaved.action);
        }
        assert_eq!(scene.redemptions(), 1);
        let since = scene.world.now() - TimeDelta::hours(1);
        let calls = scene.world.count_calls(Peer::KeyVault, None, since);
        assert!(calls <= 130, "{calls} in an hour, of 3,100 a day");
    });
}

#[test]
fn a_held_successor_is_saved_within_70_seconds_of_the_fix() {
    let down = || Fault::of(Peer::KeyVault, FaultEffect::Status { status: 503, retry_after: None });
    for after in [1, 20, 100, 3_000, 3_033, 30_000] {
        play(async |scene| {
            let daemon = scene.holding().await;
            tokio::time::sleep(after * SECOND).await;
            scene.allow(Action::SetSecret, true);
            until("the right is noticed", A_MINUTE, || works(&daemon)).await;
            assert!(scene.is_alive());
        });
        play(async |scene| {
            let daemon = scene.holding().await;
            scene.allow(Action::SetSecret, true);
            scene.world.inject(down());
            tokio::time::sleep((200 + after) * SECOND).await;
            assert_eq!(standing(&daemon), TokenState::Unsaved);
            scene.world.clear_faults(None);
            until("the vault is noticed", A_MINUTE, || works(&daemon)).await;
            assert!(scene.is_alive());
        });
    }
}

#[test]
fn a_second_instance_leaves_a_spent_token_alone() {
    play(async |scene| {
        let holder = scene.holding().await;
        let second = scene.daemon("second", 2);
        tokio::time::sleep(2 * 3600 * SECOND).await;
        assert_eq!(scene.redemptions(), 1);
        let waits = conditions(&second);
        let waits = waits.iter().find(|it| it.kind == Kind::Unsaved).expect("it says what it waits for");
        assert_eq!((waits.severity, waits.runway_seconds), (Severity::Critical, Some(0)));
        assert!(waits.summary.contains("`run`"), "{}", waits.summary);

        scene.allow(Action::SetSecret, true);

        until("saved", A_MINUTE, || works(&holder)).await;
        until("noticed", A_MINUTE, || works(&second)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn two_instances_that_start_at_once_lose_nothing() {
    let milliseconds = Duration::from_millis;
    for (latency, updates_take) in [(0, 0), (20, 0), (100, 400), (300, 1_500), (50, 2_500), (700, 1_900)] {
        for apart in [0, 1, 30, 150, 1_000, 1_999, 2_100] {
            play(async |scene| {
                scene.world.set_latency(milliseconds(latency));
                let slow = Fault::of(Peer::KeyVault, FaultEffect::Delay(milliseconds(updates_take)));
                scene.world.inject(slow.on(Operation::Update).times(1));
                let first = scene.daemon("first", 1);
                tokio::time::sleep(milliseconds(apart)).await;
                let second = scene.daemon("second", 2);

                // This wait includes the retries of an instance that writes its mark (tag `redeeming`) too late.
                tokio::time::sleep(1_800 * SECOND).await;

                assert!(scene.is_alive(), "{latency} {updates_take} {apart}");
                assert!(works(&first) && works(&second), "{latency} {updates_take} {apart}");
            });
        }
    }
}

#[test]
fn a_wrong_user_in_the_tags_is_found_before_a_redemption() {
    play(async |mut scene| {
        let daemon = scene.daemon("run", 1);
        until("rotated", 60 * SECOND, || works(&daemon)).await;
        drop(daemon);
        scene.grant.user_oid = Some("00000000-0000-0000-0000-00000000abcd".into());

        let daemon = scene.daemon("run", 2);
        until("told", 60 * SECOND, || kinds(&daemon) == [Kind::WrongIdentity]).await;
        tokio::time::sleep(3600 * SECOND).await;
        drop(daemon);

        assert_eq!(scene.redemptions(), 1);
        scene.grant.user_oid = Some(scene.partner.user_oid.clone());
        let daemon = scene.daemon("run", 3);
        until("corrected", 60 * SECOND, || works(&daemon)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn the_successor_of_a_wrong_user_is_held_until_a_sign_in() {
    play(async |mut scene| {
        let tenant = scene.partner.tenant_id.clone();
        scene.grant.user_oid = Some(scene.world.add_user(&tenant, "right@contoso.com", true));
        let daemon = scene.daemon("run", 1);
        until("told", 60 * SECOND, || kinds(&daemon).contains(&Kind::WrongIdentity)).await;
        tokio::time::sleep(3600 * SECOND).await;
        assert_eq!((standing(&daemon), scene.redemptions()), (TokenState::Unsaved, 1));
        assert_eq!(scene.versions(), 1, "nothing of a wrong user is written");
        let all = conditions(&daemon);
        let told = all.iter().find(|it| it.kind == Kind::WrongIdentity).expect("told");
        assert_eq!((told.severity, told.runway_seconds), (Severity::Critical, Some(0)));
        assert!(told.summary.contains("the new token is held"), "{}", told.summary);

        let right = scene.grant.user_oid.clone().expect("set above");
        let signed_in = scene.world.sign_in(&right, &scene.partner.client_id).expect("known");
        scene
            .world
            .human_writes(&scene.partner.refresh_token, signed_in.expose(), Tags::new())
            .expect("kept");

        until("noticed", A_MINUTE, || works(&daemon)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn a_lost_answer_is_reported_as_a_loss() {
    play(async |scene| {
        let lost = Fault::of(Peer::Entra, FaultEffect::Transport(NoResponse::TimedOut)).on(Operation::Redeem);
        scene.world.inject(lost.after_effect().times(1));
        let daemon = scene.daemon("run", 1);

        until("told", 120 * SECOND, || !kinds(&daemon).is_empty()).await;

        let told = conditions(&daemon).remove(0);
        assert_eq!((told.kind, told.severity), (Kind::LoginRequired, Severity::Critical), "{}", told.summary);
        assert!(told.summary.contains("with the new token was lost"), "{}", told.summary);
        scene.world.human_signs_in(&scene.partner).expect("may sign in");
        until("noticed", A_MINUTE, || works(&daemon)).await;
    });
}

#[test]
fn a_request_that_was_never_sent_loses_nothing() {
    play(async |scene| {
        let down = Fault::of(Peer::Entra, FaultEffect::Status { status: 503, retry_after: None });
        scene.world.inject(down.times(3));
        let daemon = scene.daemon("run", 1);
        until("redeemed", 600 * SECOND, || works(&daemon)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn the_mark_of_a_dead_process_is_respected_for_a_limited_time() {
    play(async |scene| {
        let marked = || scene.world.versions_of(&scene.partner.refresh_token)[0].tags.contains("redeeming");
        // The instance dies after it has written its mark and before it redeems the token.
        let daemon = scene.daemon("dies", 1);
        until("marked", 60 * SECOND, marked).await;
        drop(daemon);
        assert_eq!(scene.redemptions(), 0);

        let next = scene.daemon("next", 2);
        tokio::time::sleep(600 * SECOND).await;
        assert_eq!(scene.redemptions(), 0);
        until("redeemed", 600 * SECOND + 2 * A_MINUTE, || works(&next)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn a_late_mark_over_another_one_permits_no_redemption() {
    for after in (600..730).step_by(7) {
        play(async |scene| {
            let late = Fault::of(Peer::KeyVault, FaultEffect::Delay(10 * SECOND));
            scene.world.inject(late.on(Operation::Update).times(1));
            let late = scene.daemon("late", 2);
            tokio::time::sleep(SECOND).await;
            let holder = scene.holding().await;
            tokio::time::sleep(after * SECOND).await;

            scene.allow(Action::SetSecret, true);

            until("saved", A_MINUTE, || works(&holder)).await;
            until("noticed", 2 * A_MINUTE, || works(&late)).await;
            assert!(scene.is_alive(), "{after}");
        });
    }
}

#[test]
fn a_spent_predecessor_is_not_tried_below_an_invalid_value() {
    play(async |scene| {
        let daemon = scene.daemon("run", 1);
        until("rotated", 60 * SECOND, || works(&daemon)).await;
        let good = scene.world.newest_value(&scene.partner.refresh_token).expect("stored");
        let blocked = |blocked| Rules { blocked, ..Rules::default() };
        scene.world.set_rules(&scene.partner.tenant_id, blocked(true));
        scene.world.human_writes(&scene.partner.refresh_token, "no token at all", Tags::new()).expect("kept");

        tokio::time::sleep(30 * 3600 * SECOND).await;
        assert!(scene.redemptions() > 1, "it was tried");
        assert_eq!(scene.world.refusal_of(good.expose()), Some(53003), "its family lives");

        scene.world.set_rules(&scene.partner.tenant_id, blocked(false));
        until("rescued", 30 * 3600 * SECOND, || works(&daemon)).await;
        assert!(scene.is_alive());
    });
}

#[test]
fn two_instances_lose_nothing_under_any_vault_failure() {
    for seed in 0..40 {
        play(async |scene| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let daemons = [scene.daemon("first", 2 * seed), scene.daemon("second", 2 * seed + 1)];
            let of_vault = |what| Fault::of(Peer::KeyVault, what);
            let calls =
                [Operation::Get, Operation::GetVersion, Operation::Set, Operation::Update, Operation::List];
            for _ in 0..40 {
                let call = calls[rng.usize(..calls.len())];
                match rng.u32(..6) {
                    0 => scene.allow(Action::SetSecret, false),
                    1 => scene.allow(Action::Update, false),
                    2 => scene.world.inject(of_vault(FaultEffect::Status { status: 503, retry_after: None })),
                    3 => scene
                        .world
                        .inject(of_vault(FaultEffect::Delay(rng.u32(..6) * SECOND)).on(call).times(2)),
                    4 => {
                        let cut = of_vault(FaultEffect::Transport(NoResponse::Cut));
                        scene.world.inject(cut.on(call).after_effect().times(1));
                    }
                    _ => daemons.iter().for_each(Daemon::reload),
                }
                let longest = [3, 30, 300, 4_000][rng.usize(..4)];
                tokio::time::sleep(rng.u32(..longest) * SECOND).await;
                if rng.bool() {
                    scene.heal();
                    tokio::time::sleep(rng.u32(..longest) * SECOND).await;
                }
            }
            scene.heal();
            // The daemons may have reached the daily limit of calls. So the test waits for more than a day.
            tokio::time::sleep(30 * 3600 * SECOND).await;
            let told = daemons.each_ref().map(conditions);
            assert!(scene.is_alive(), "{seed} {told:?}");
            assert!(daemons.iter().all(works), "{seed} {told:?}");
        });
    }
}
