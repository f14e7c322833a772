//! Simulates many renewals of certificates in random worlds. Entra has eight front ends, which learn of a certificate
//! at different times and sometimes forget it. There are lost answers, outages, crashes, two instances, and a vault
//! that renews certificates itself.
//!
//! `PERENNIAL_CERTIFICATES` sets the number of renewals, and `PERENNIAL_SEED` the first seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Clock;
use perennial::renewal::daemon::keep_renewed;
use perennial::sandbox::world::{CertificateVersion, Fault, FaultEffect, Operation, Peer, When};
use perennial::token::version::tag;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::policy;
use super::super::simulation::{BEFORE, DAYS, Victim};
use super::{CertificateScene, certificate_policy, shown};
use crate::support::harness::base;

/// The validity of a certificate.
const LIFETIME: TimeDelta = TimeDelta::days(20);

/// What happened in all worlds.
#[derive(Debug, Default)]
struct CertificateTotals {
    renewals: usize,
    by_the_vault: usize,
    crashes: usize,
    faults: usize,
    requests: usize,
    refused: usize,
    /// The number of worlds in which Graph rejects every signed proof for a change of certificates.
    worlds_without_proof: usize,
    /// The rejected requests of another program. This program uses the newest version, and sends as many requests as
    /// Perennial's token.
    refused_others: usize,
}

type Shared = Rc<RefCell<CertificateTotals>>;

fn keep_instance(
    scene: &Arc<CertificateScene>,
    seed: u64,
    name: &'static str,
    crashes: bool,
    totals: &Shared,
) {
    let (scene, totals) = (Arc::clone(scene), Rc::clone(totals));
    let mut rng = fastrand::Rng::with_seed(seed ^ name.len() as u64);
    let signs_in_vault = rng.bool();
    let victim = Victim::default();
    if crashes {
        let of_hook = victim.clone();
        scene.world.tell_calls_to(move |call, when| {
            if when == When::After && call.actor == name {
                of_hook.count();
            }
        });
    }
    tokio::task::spawn_local(async move {
        let (_reload, reloads) = watch::channel(0);
        loop {
            let renewer = scene.renewer(name, policy(730, BEFORE), signs_in_vault);
            let task = tokio::spawn(keep_renewed(renewer, CancellationToken::new(), reloads.clone(), |_| {}));
            victim.arm(task.abort_handle(), crashes.then(|| rng.usize(1..400)));
            let _ended = task.await;
            totals.borrow_mut().crashes += 1;
            tokio::time::sleep(Duration::from_secs(60 * rng.u64(1..600))).await;
        }
    });
}

/// Runs two readers. A token of Perennial uses the newest version that has the tag `accepted-at`. Another program uses
/// the newest version, even without this tag. Both readers authenticate often while a version is new.
fn keep_readers(scene: &Arc<CertificateScene>, seed: u64, totals: &Shared) {
    let (scene, totals) = (Arc::clone(scene), Rc::clone(totals));
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x63);
    tokio::task::spawn_local(async move {
        loop {
            let is_new = scene.world.now() - scene.newest().created < TimeDelta::hours(3);
            let minutes = if is_new { rng.u64(3..20) } else { rng.u64(240..720) };
            tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
            let (used, newest) = (scene.is_accepted(&scene.in_use()), scene.is_accepted(&scene.newest()));
            let mut totals = totals.borrow_mut();
            totals.requests += 1;
            totals.refused += usize::from(!used);
            totals.refused_others += usize::from(!newest);
            if !used {
                eprintln!("seed {seed}: the version in use is refused at {}", scene.world.now());
            }
        }
    });
}

fn any_fault(rng: &mut fastrand::Rng) -> Fault {
    let (peer, operations) = match rng.u8(0..3) {
        0 => (
            Peer::Graph,
            [Operation::GetApplication, Operation::AddKey, Operation::RemoveKey, Operation::ReplaceKeys],
        ),
        1 => (
            Peer::KeyVault,
            [
                Operation::GetCertificate,
                Operation::CreateCertificate,
                Operation::UpdateCertificate,
                Operation::ListCertificateVersions,
            ],
        ),
        _ => (Peer::Entra, [Operation::Identity; 4]),
    };
    let what = match rng.u8(0..4) {
        0 => FaultEffect::Status { status: 503, retry_after: None },
        1 => FaultEffect::Status { status: 429, retry_after: Some(Duration::from_secs(rng.u64(1..600))) },
        _ => FaultEffect::Transport(NoResponse::TimedOut),
    };
    let fault = Fault::of(peer, what).on(operations[rng.usize(0..4)]);
    let fault = if rng.bool() { fault.after_effect() } else { fault };
    if rng.bool() { fault.times(rng.u32(1..5)) } else { fault }
}

fn keep_faults(scene: &Arc<CertificateScene>, seed: u64, renews_itself: bool, totals: &Shared) {
    let (scene, totals) = (Arc::clone(scene), Rc::clone(totals));
    let mut rng = fastrand::Rng::with_seed(seed ^ 7);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60 * rng.u64(30..2000))).await;
            let until = scene.world.now() + TimeDelta::minutes(rng.i64(1..300));
            scene.world.inject(any_fault(&mut rng).until(until));
            totals.borrow_mut().faults += 1;
            // In some worlds, Key Vault itself renews a certificate that is older than nine days.
            if renews_itself && scene.world.now() - scene.newest().created > TimeDelta::days(9) {
                let policy = certificate_policy(LIFETIME);
                scene.world.human_creates_certificate(&scene.at, policy).expect("created");
                totals.borrow_mut().by_the_vault += 1;
            }
        }
    });
}

async fn run(seed: u64, totals: Shared) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = Clock::running(base(), 1.0);
    let scene = Arc::new(CertificateScene::new(clock, seed, LIFETIME));
    scene.world.set_propagation(TimeDelta::seconds(rng.i64(0..=600)));
    if rng.bool() {
        scene.world.set_flapping(0.05, TimeDelta::minutes(10));
    }
    let crashes = rng.bool();
    keep_instance(&scene, seed, "one", crashes, &totals);
    if rng.bool() {
        keep_instance(&scene, seed, "second", false, &totals);
    }
    keep_readers(&scene, seed, &totals);
    keep_faults(&scene, seed, rng.bool(), &totals);
    // In a quarter of the worlds, Graph rejects every signed proof for a change of certificates. So Perennial replaces
    // the whole list of certificates with each change.
    if rng.u8(0..4) == 0 {
        let code = "Authentication_MissingOrMalformed".to_owned();
        let what = FaultEffect::Coded { status: 401, code, inner: None, retry_after: None };
        for operation in [Operation::AddKey, Operation::RemoveKey] {
            scene.world.inject(Fault::of(Peer::Graph, what.clone()).on(operation));
        }
        totals.borrow_mut().worlds_without_proof += 1;
    }
    let ends = scene.world.now() + TimeDelta::days(DAYS);
    while scene.world.now() < ends {
        tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
        scene.check_now(&seed);
        check_left(&scene, seed);
        scene.world.forget_calls_before(scene.world.now());
    }
    totals.borrow_mut().renewals += scene.versions().len() - 1;
}

/// Checks that Entra does not list a replaced certificate whose grace period ended more than four days ago.
fn check_left(scene: &CertificateScene, seed: u64) {
    let now = scene.world.now();
    let (registered, all) = (scene.registered(), scene.versions());
    let replaced = all.iter().enumerate().filter(|(place, _)| {
        all[..*place]
            .iter()
            .filter_map(|newer| shown(newer).accepted_at())
            .any(|at| at + TimeDelta::days(7 + 4) < now)
    });
    let registration =
        |one: &CertificateVersion| registered.iter().find(|known| known.certificate == one.certificate);
    let left: Vec<_> =
        replaced.filter(|(_, one)| registration(one).is_some()).map(|(_, one)| one.created).collect();
    let told = |one: &CertificateVersion| {
        let name = registration(one).map(|known| known.name.clone());
        format!("{} {:?} {name:?}", one.created, one.tags.get(tag::ACCEPTED_AT))
    };
    let told: Vec<String> = all.iter().map(told).collect();
    assert!(left.is_empty(), "seed {seed}: certificates are left at {now}: {left:?} of {told:#?}");
}

#[test]
fn renewals_of_certificates_lose_no_redemption() {
    let number =
        |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (wanted, first) = (number("PERENNIAL_CERTIFICATES", 60), number("PERENNIAL_SEED", 1) as u64);
    let totals = Shared::default();
    let began = tokio::time::Instant::now();
    let mut seed = first;
    while totals.borrow().renewals < wanted {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let totals = Rc::clone(&totals);
        let world = async move { run(seed, totals).await };
        tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), world);
        seed += 1;
    }
    eprintln!("seeds {first} to {}: {:?} in {:.1?}", seed - 1, totals.borrow(), began.elapsed());
    assert_eq!(totals.borrow().refused, 0);
}
