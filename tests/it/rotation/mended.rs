//! Tests how soon a running daemon notices that a person has fixed a problem, with and without a SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::daemon::Daemon;
use perennial::process::clock::Clock;
use perennial::sandbox::world::{
    Action, Attributes, Distortion, Fault, FaultEffect, Operation, Partner, PartnerCenterRules, Peer, Rules,
    SetRequest, World,
};
use perennial::status::snapshot::TokenState;
use perennial::token::app::CredentialSource;
use perennial::token::managed::Policy;
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use perennial::token::tags::Tags;
use secrecy::ExposeSecret as _;
use tokio::task::LocalSet;

use crate::support::harness;
use crate::support::harness::Scratch;

/// The time limit if the daemon can notice the fix by a check with one call to the vault, or by reading a local file.
/// The daemon repeats such a check every minute.
const A_MINUTE: Duration = Duration::from_secs(70);
/// The time limit if the daemon can notice the fix only by a check with two calls to the vault. Such checks are less
/// frequent, because the daemon may make only 1,500 calls to the vault a day.
const TWO_MINUTES: Duration = Duration::from_secs(135);
/// The time limit if only the next proof shows the fix, such as a new role at Partner Center.
const NEXT_PROOF: Duration = Duration::from_secs(6 * 3600 + 60);
/// The time limit if only the next redemption of a rejected token shows the fix. Perennial redeems such a token once a
/// day (promise 6).
const A_DAY: Duration = Duration::from_secs(24 * 3600 + 60);
/// The time limit after a SIGHUP.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Where the app's id and secret come from.
#[derive(Clone, Copy, PartialEq)]
enum Credential {
    SecretInVault,
    BothInVault,
    SecretInFile,
}
use Credential::{BothInVault, SecretInFile, SecretInVault};

struct Cause {
    name: &'static str,
    credential: Credential,
    breaks: fn(&Scene),
    mends: fn(&Scene),
    noticed_within: Duration,
}

struct Scene {
    world: World,
    partner: Partner,
    daemon: Daemon,
    clock: Clock,
    file: PathBuf,
}

impl Scene {
    fn new(credential: Credential, dir: &Scratch) -> Self {
        let world = World::new(Clock::running(harness::base(), 1.0), 7);
        let partner =
            world.add_partner("contoso", harness::VAULT, Some(harness::base() + TimeDelta::days(400)));
        world.advance(TimeDelta::days(2));
        let clock = Clock::running(world.now(), 1.0);
        let mut grant = harness::grant("contoso", &partner, &Policy::default());
        std::fs::create_dir_all(&dir.0).expect("a directory of our own");
        let file = dir.0.join("app-secret");
        match credential {
            SecretInVault => {}
            BothInVault => {
                let name = SecretName::parse("app-id").expect("a name");
                let app_id = SecretAddress { name, ..partner.app_secret.clone() };
                world.store_app_secret(&app_id, &partner.client_id, None);
                Arc::make_mut(&mut grant.app).client_id = ConfigValue::From(Source::Secret(app_id));
            }
            SecretInFile => {
                std::fs::write(&file, app_secret(&world, &partner)).expect("writable");
                Arc::make_mut(&mut grant.app).credential =
                    CredentialSource::Secret(Source::File(file.clone()));
            }
        }
        let rotator = harness::rotator(&world, clock.clone(), &grant, "run", 1);
        let daemon = Daemon::new(vec![rotator], &clock, |board| board);
        Self { world, partner, daemon, clock, file }
    }

    fn works(&self) -> bool {
        let now = self.clock.now();
        self.daemon.board().read(|all| {
            let nothing_failed = all[0].blocked.is_none() && all[0].outage.is_none();
            nothing_failed && all[0].standing(now) == TokenState::Current
        })
    }

    /// Returns the time until the token works (if `works` is true) or fails. Returns `None` after more than a day.
    async fn until(&self, works: bool) -> Option<Duration> {
        let began = tokio::time::Instant::now();
        while self.works() != works {
            let passed = began.elapsed();
            if passed > A_DAY {
                return None;
            }
            let by_the_minute = passed <= TWO_MINUTES;
            tokio::time::sleep(Duration::from_secs(if by_the_minute { 1 } else { 20 })).await;
        }
        Some(began.elapsed())
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

    fn store_a_wrong_app_secret(&self) {
        // The app's other secrets are removed, because the daemon would otherwise use an older version that still
        // works.
        self.world.change_app(&self.partner.client_id, |app| app.secrets.clear());
        self.world.store_app_secret(&self.partner.app_secret, "not~the~secret", None);
    }

    fn make_a_new_app_secret(&self) {
        let value = format!("new~{}", self.world.fresh_id().simple());
        self.world.add_app_secret(&self.partner.client_id, &value, None);
        self.world.store_app_secret(&self.partner.app_secret, &value, None);
    }

    fn block(&self, blocked: bool) {
        self.world.set_rules(&self.partner.tenant_id, Rules { blocked, ..Rules::default() });
    }

    fn return_no_refresh_token(&self) {
        let none = FaultEffect::Distort(Distortion::NoRefreshToken);
        self.world.inject(Fault::of(Peer::Entra, none).on(Operation::Redeem));
    }

    fn sign_in(&self) {
        self.world.human_signs_in(&self.partner).expect("may sign in");
    }
}

fn app_secret(world: &World, partner: &Partner) -> String {
    let versions = world.versions_of(&partner.app_secret);
    versions[0].value.expose_secret().to_owned()
}

#[rustfmt::skip]
fn of_the_grant() -> Vec<Cause> {
    vec![
        Cause { name: "sessions revoked, signed in", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.revoke_user(&scene.partner.user_oid),
            mends: Scene::sign_in },
        Cause { name: "not a token, signed in", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| {
                let (value, attributes) = ("no token at all".into(), Attributes::default());
                let new = SetRequest { value, attributes, content_type: None, tags: Tags::new() };
                scene.world.set_secret("somebody", &scene.partner.refresh_token, new).expect("written");
            },
            mends: Scene::sign_in },
        Cause { name: "no refresh token, signed in", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: Scene::return_no_refresh_token,
            mends: |scene| {
                scene.world.clear_faults(None);
                scene.sign_in();
            } },
        Cause { name: "second factor required, signed in with one", credential: SecretInVault,
            noticed_within: A_MINUTE,
            breaks: |scene| {
                scene.world.set_user_mfa(&scene.partner.user_oid, false);
                scene.sign_in();
                let rules = Rules { require_mfa: true, ..Rules::default() };
                scene.world.set_rules(&scene.partner.tenant_id, rules);
            },
            mends: |scene| {
                scene.world.set_user_mfa(&scene.partner.user_oid, true);
                scene.sign_in();
            } },
        // For the following causes, only a redemption shows that the problem is fixed.
        Cause { name: "policy lifted", credential: SecretInVault, noticed_within: A_DAY,
            breaks: |scene| scene.block(true),
            mends: |scene| scene.block(false) },
        Cause { name: "account enabled", credential: SecretInVault, noticed_within: A_DAY,
            breaks: |scene| scene.world.disable_user(&scene.partner.user_oid, true),
            mends: |scene| scene.world.disable_user(&scene.partner.user_oid, false) },
        Cause { name: "no refresh token, consent given", credential: SecretInVault, noticed_within: A_DAY,
            breaks: Scene::return_no_refresh_token,
            mends: |scene| scene.world.clear_faults(None) },
        Cause { name: "role at Partner Center given", credential: SecretInVault, noticed_within: NEXT_PROOF,
            breaks: |scene| {
                let forbidden = PartnerCenterRules { forbidden: true, ..PartnerCenterRules::default() };
                scene.world.set_partner_center(forbidden);
            },
            mends: |scene| scene.world.set_partner_center(PartnerCenterRules::default()) },
        Cause { name: "Partner Center wants a second factor, signed in with one", credential: SecretInVault,
            noticed_within: NEXT_PROOF,
            breaks: |scene| {
                scene.world.set_user_mfa(&scene.partner.user_oid, false);
                scene.sign_in();
            },
            mends: |scene| {
                scene.world.set_user_mfa(&scene.partner.user_oid, true);
                scene.sign_in();
            } },
    ]
}

#[rustfmt::skip]
fn of_the_app() -> Vec<Cause> {
    vec![
        Cause { name: "app secret expired, replaced", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.expire_app_secret(&scene.partner.client_id),
            mends: Scene::make_a_new_app_secret },
        Cause { name: "wrong app secret, replaced", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| {
                scene.store_a_wrong_app_secret();
                scene.world.advance(TimeDelta::minutes(20));
            },
            mends: Scene::make_a_new_app_secret },
        Cause { name: "wrong app secret of moments ago, replaced", credential: SecretInVault,
            noticed_within: A_MINUTE,
            breaks: Scene::store_a_wrong_app_secret,
            mends: Scene::make_a_new_app_secret },
        Cause { name: "app secret expired, replaced, id in the vault too", credential: BothInVault,
            noticed_within: TWO_MINUTES,
            breaks: |scene| scene.world.expire_app_secret(&scene.partner.client_id),
            mends: Scene::make_a_new_app_secret },
        Cause { name: "wrong app secret of moments ago, replaced, id in the vault too",
            credential: BothInVault, noticed_within: TWO_MINUTES,
            breaks: Scene::store_a_wrong_app_secret,
            mends: Scene::make_a_new_app_secret },
        Cause { name: "app secret deleted, recovered", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.human_deletes(&scene.partner.app_secret),
            mends: |scene| scene.world.human_recovers(&scene.partner.app_secret) },
        Cause { name: "app secret disabled, enabled", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.switch_version(&scene.partner.app_secret, None, false),
            mends: |scene| scene.world.switch_version(&scene.partner.app_secret, None, true) },
        Cause { name: "wrong app secret in a file, replaced", credential: SecretInFile,
            noticed_within: A_MINUTE,
            breaks: |scene| std::fs::write(&scene.file, "not~the~secret").expect("writable"),
            mends: |scene| {
                std::fs::write(&scene.file, app_secret(&scene.world, &scene.partner)).expect("writable");
            } },
        Cause { name: "file of the app secret missing, put back", credential: SecretInFile,
            noticed_within: A_MINUTE,
            breaks: |scene| std::fs::remove_file(&scene.file).expect("there"),
            mends: |scene| {
                std::fs::write(&scene.file, app_secret(&scene.world, &scene.partner)).expect("writable");
            } },
        // For the following causes, only a redemption shows that the problem is fixed.
        Cause { name: "app enabled", credential: SecretInVault, noticed_within: A_DAY,
            breaks: |scene| scene.world.disable_app(&scene.partner.client_id, true),
            mends: |scene| scene.world.disable_app(&scene.partner.client_id, false) },
        Cause { name: "app restored", credential: SecretInVault, noticed_within: A_DAY,
            breaks: |scene| scene.world.withdraw_consent(&scene.partner.tenant_id, &scene.partner.client_id),
            mends: |scene| scene.world.consent(&scene.partner.tenant_id, &scene.partner.client_id) },
    ]
}

#[rustfmt::skip]
fn of_the_vault() -> Vec<Cause> {
    vec![
        Cause { name: "role to read given", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.allow(Action::GetSecret, false),
            mends: |scene| scene.allow(Action::GetSecret, true) },
        // An attempt to save makes two calls, so the longer time limit applies.
        Cause { name: "role to write given", credential: SecretInVault, noticed_within: TWO_MINUTES,
            breaks: |scene| {
                scene.allow(Action::SetSecret, false);
                scene.world.advance(TimeDelta::days(9));
            },
            mends: |scene| scene.allow(Action::SetSecret, true) },
        Cause { name: "role to list given", credential: SecretInVault, noticed_within: TWO_MINUTES,
            breaks: |scene| {
                scene.allow(Action::ReadMetadata, false);
                scene.world.advance(TimeDelta::days(9));
            },
            mends: |scene| scene.allow(Action::ReadMetadata, true) },
        Cause { name: "firewall opened", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.change_vault(harness::VAULT, |vault| {
                vault.firewall_refuses = Some("192.0.2.7".to_owned());
            }),
            mends: |scene| scene.world.change_vault(harness::VAULT, |vault| vault.firewall_refuses = None) },
        Cause { name: "secret deleted, recovered", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.human_deletes(&scene.partner.refresh_token),
            mends: |scene| scene.world.human_recovers(&scene.partner.refresh_token) },
        Cause { name: "secret purged, signed in", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| {
                scene.world.human_deletes(&scene.partner.refresh_token);
                scene.world.human_purges(&scene.partner.refresh_token);
            },
            mends: Scene::sign_in },
        // The simulated client requests an access token for each call, so it uses a new secret immediately. The
        // shipped client keeps the secret in memory. After a rejection, it reads the secret again, at most once a
        // minute (azure::key_vault::tests::a_replaced_secret_is_used_in_the_same_call).
        Cause { name: "vault's identity refused, given a new secret", credential: SecretInVault,
            noticed_within: A_MINUTE,
            breaks: |scene| {
                let (error, code) = ("invalid_client".to_owned(), Some(7_000_222));
                let expired = FaultEffect::OAuth { status: 401, error, code, suberror: None };
                scene.world.inject(Fault::of(Peer::Entra, expired).on(Operation::Identity));
            },
            mends: |scene| scene.world.clear_faults(None) },
        Cause { name: "version disabled, enabled", credential: SecretInVault, noticed_within: A_MINUTE,
            breaks: |scene| scene.world.switch_version(&scene.partner.refresh_token, None, false),
            mends: |scene| scene.world.switch_version(&scene.partner.refresh_token, None, true) },
    ]
}

/// Returns the time until the daemon notices a fix. `after` is the time between the failure and the fix.
fn noticed(cause: &Cause, after: Duration, reload: bool) -> Result<Duration, &'static str> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let dir = Scratch::new();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), async {
        let scene = Scene::new(cause.credential, &dir);
        tokio::time::sleep(Duration::from_secs(60)).await;
        if !scene.works() {
            return Err("does not work at first");
        }
        (cause.breaks)(&scene);
        scene.daemon.reload();
        scene.until(false).await.ok_or("does not break")?;
        tokio::time::sleep(after).await;
        if scene.works() {
            return Err("mends itself");
        }
        (cause.mends)(&scene);
        if reload {
            scene.daemon.reload();
        }
        scene.until(true).await.ok_or("is never noticed")
    })
}

/// Returns the delays between the failure and the fix. For each of eleven checks, one delay ends soon after the check,
/// and another delay ends shortly before the next check. If only a redemption shows the fix, there is only one delay.
fn moments(cause: &Cause) -> Vec<Duration> {
    let apart = if cause.credential == BothInVault { 130 } else { 65 };
    let seconds = if cause.noticed_within > TWO_MINUTES {
        vec![400]
    } else {
        (0..11).flat_map(|nth| [apart * nth + 2, apart * (nth + 1) - 15]).collect()
    };
    seconds.into_iter().map(Duration::from_secs).collect()
}

#[test]
fn a_fixed_cause_is_noticed_in_time_and_at_once_after_a_sighup() {
    let mut late = Vec::new();
    for cause in of_the_grant().into_iter().chain(of_the_app()).chain(of_the_vault()) {
        let slowest = moments(&cause).into_iter().map(|after| noticed(&cause, after, false));
        let slowest = slowest.reduce(|one, other| Ok(one?.max(other?))).expect("a moment");
        if slowest.is_ok_and(|took| took <= cause.noticed_within) {
            let told = noticed(&cause, Duration::from_secs(400), true);
            if told.is_ok_and(|took| took <= AT_ONCE) {
                continue;
            }
            late.push(format!("{}: after a SIGHUP {told:?}", cause.name));
        } else {
            late.push(format!("{}: {slowest:?}, not {:?}", cause.name, cause.noticed_within));
        }
    }
    assert!(late.is_empty(), "\n{}", late.join("\n"));
}
