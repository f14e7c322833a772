//! Tests every order of the steps that change the vault or the app, with two instances, a person, a crash and a lost
//! answer.

use chrono::TimeDelta;
use perennial::renewal::certificate::schedule::{CertificateStep, next};
use perennial::renewal::certificate::state::{CertificateState, CertificateTrial};
use perennial::renewal::state::{Accepted, Trial};
use perennial::sandbox::world::{Operation, Peer};
use perennial::token::version::VersionId;

use super::super::orders::{Task, Wrong, every_order, finished, inject, play};
use super::super::policy;
use super::{CertificateScene, WorldCertificateRenewer, certificate_policy, scene_at_rest};

/// The state of the renewal at the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The version in use is due for renewal.
    Due,
    /// The newest version is not registered. Key Vault or a person has created it.
    Unregistered,
    /// Each instance has tested the newest version for long enough.
    Tried,
    /// The newest version has been in use for longer than the grace period.
    Replaced,
}

/// The second participant. The first participant is always an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Other {
    Instance,
    /// The creator of a version: a person or Key Vault itself.
    Creator,
}

fn renewer(scene: &CertificateScene, actor: &str) -> WorldCertificateRenewer {
    scene.renewer(actor, policy(730, 45), true)
}

/// Carries out steps until the next step is a wait or a probe. These tests do not cover probes, so a probe stops the
/// instance, as a crash would.
async fn steps(renewer: WorldCertificateRenewer, mut state: CertificateState) {
    for _ in 0..8 {
        let step = next(&renewer.0.target, &state, renewer.0.clock.uptime());
        if matches!(step, CertificateStep::Wait(_) | CertificateStep::Probe) {
            return;
        }
        renewer.step(&mut state, &step).await;
    }
}

/// Runs the shipped steps of an instance that has probed the newest version for long enough. This instance adds the tag
/// `accepted-at` to the version.
fn settle(scene: &CertificateScene, actor: &str) {
    finished(steps(renewer(scene, actor), tried(scene)));
}

/// The state of an instance that has tested the newest version for long enough.
fn tried(scene: &CertificateScene) -> CertificateState {
    let up = scene.clock.uptime();
    let accepted = Accepted { first: up - TimeDelta::minutes(15), last: up, count: 16 };
    let probes = Trial { accepted: Some(accepted), probed: Some(up) };
    let version = VersionId(scene.newest().id.as_str().into());
    CertificateState {
        trial: Some(CertificateTrial { version, since: up, probes }),
        ..CertificateState::default()
    }
}

fn create_version(scene: &CertificateScene) {
    let policy = certificate_policy(TimeDelta::days(90));
    scene.world.human_creates_certificate(&scene.at, policy).expect("created");
}

fn scene_of(stage: Stage) -> CertificateScene {
    let scene = scene_at_rest(TimeDelta::days(90));
    settle(&scene, "before");
    scene.clock.set_by(TimeDelta::days(1));
    if stage == Stage::Due {
        scene.clock.set_by(TimeDelta::days(50));
        return scene;
    }
    create_version(&scene);
    if stage != Stage::Unregistered {
        finished(steps(renewer(&scene, "before"), CertificateState::default()));
    }
    if stage == Stage::Replaced {
        settle(&scene, "before");
        scene.clock.set_by(TimeDelta::days(8));
    }
    scene
}

fn task(scene: &CertificateScene, stage: Stage, nth: usize) -> Task {
    let begun = if stage == Stage::Tried { tried(scene) } else { CertificateState::default() };
    Box::pin(steps(renewer(scene, &format!("instance-{nth}")), begun))
}

fn other_task(scene: &CertificateScene, stage: Stage, other: Other) -> Task {
    match other {
        Other::Instance => task(scene, stage, 1),
        Other::Creator => {
            let (world, at) = (scene.world.clone(), scene.at.clone());
            Box::pin(async move {
                tokio::task::yield_now().await;
                let policy = certificate_policy(TimeDelta::days(90));
                world.human_creates_certificate(&at, policy).expect("created");
            })
        }
    }
}

/// Checks that later processes bring the newest version into use, and remove the certificates of replaced versions.
fn finish(scene: &CertificateScene, told: &dyn std::fmt::Debug) {
    for _ in 0..3 {
        scene.clock.set_by(TimeDelta::hours(2));
        finished(steps(renewer(scene, "later"), CertificateState::default()));
        scene.check_now(told);
        settle(scene, "later");
        scene.check_now(told);
    }
    let newest = scene.newest();
    assert_eq!(scene.in_use().id, newest.id, "the newest version is not in use: {told:?}");
    assert!(scene.is_accepted(&newest), "{told:?}");
    scene.clock.set_by(TimeDelta::days(9));
    for _ in 0..3 {
        finished(steps(renewer(scene, "last"), CertificateState::default()));
    }
    scene.check_now(told);
    // Entra may still list three certificates: the certificate in use, the other deployment's certificate, and the
    // certificate of a newer version.
    let left = scene.registered().len();
    assert!(left <= 3, "{left} certificates are left: {told:?}");
}

fn walk(stage: Stage, other: Other, wrong: Wrong) -> usize {
    every_order(|prefix| {
        let scene = scene_of(stage);
        let tasks = vec![task(&scene, stage, 0), other_task(&scene, stage, other)];
        inject(&scene.world, wrong);
        let taken = play(tasks, wrong, prefix, |taken| scene.check_now(&(stage, other, wrong, taken)));
        finish(&scene, &(stage, other, wrong, &taken));
        taken
    })
}

#[test]
fn a_person_who_goes_back_to_an_older_version_keeps_its_certificate() {
    let scene = scene_of(Stage::Replaced);
    let (new, old) = (scene.newest(), scene.versions()[1].clone());
    let (renewer, mut state) = (renewer(&scene, "instance"), CertificateState::default());
    for _ in 0..8 {
        let step = next(&renewer.0.target, &state, renewer.0.clock.uptime());
        // The instance has read the vault and the app, and is about to remove the old certificate. At this moment, the
        // person disables the newest version.
        if matches!(step, CertificateStep::Remove(_)) {
            scene.world.switch_version(&scene.at, Some(&VersionId(new.id.as_str().into())), false);
        }
        finished(renewer.step(&mut state, &step));
    }
    assert_eq!(scene.in_use().id, old.id);
    scene.check_now(&"went back");
    scene.clock.set_by(TimeDelta::days(9));
    finished(steps(renewer, CertificateState::default()));
    scene.check_now(&"went back for longer");
    assert!(scene.is_accepted(&old));
}

#[test]
fn every_order_of_two_participants_keeps_the_certificate_in_use() {
    let began = tokio::time::Instant::now();
    let operations = [
        (Peer::KeyVault, Operation::CreateCertificate),
        (Peer::KeyVault, Operation::UpdateCertificate),
        (Peer::Graph, Operation::AddKey),
        (Peer::Graph, Operation::RemoveKey),
    ];
    let lost = operations.map(|(peer, operation)| Wrong::Lost(peer, operation));
    let not_reached = operations.map(|(peer, operation)| Wrong::NotReached(peer, operation));
    let crashes = (1..12).map(Wrong::Crash);
    let mut wrongs: Vec<_> =
        [Wrong::Nothing].into_iter().chain(lost).chain(not_reached).chain(crashes).collect();
    // Each signature takes half a millisecond, so all orders take too long for a normal test run. The test plays all
    // orders only if `PERENNIAL_ALL_ORDERS` is set.
    let plays_all = std::env::var_os("PERENNIAL_ALL_ORDERS").is_some();
    if !plays_all {
        wrongs.retain(|wrong| matches!(wrong, Wrong::Nothing | Wrong::Lost(..) | Wrong::Crash(4 | 7)));
    }
    let mut orders = 0;
    for stage in [Stage::Due, Stage::Unregistered, Stage::Tried, Stage::Replaced] {
        // Two instances have far more possible orders than an instance and a creator. So the test plays the orders of
        // two instances only in the two stages with the fewest steps, and without failures.
        let two = if plays_all && matches!(stage, Stage::Tried | Stage::Replaced) {
            walk(stage, Other::Instance, Wrong::Nothing)
        } else {
            0
        };
        let counted: usize = wrongs.iter().map(|wrong| walk(stage, Other::Creator, *wrong)).sum();
        eprintln!("{stage:?}: {counted} and {two} orders, {:.1?}", began.elapsed());
        orders += counted + two;
    }
    eprintln!("{orders} orders in {:.1?}", began.elapsed());
    assert!(orders > 500, "{orders}");
}
