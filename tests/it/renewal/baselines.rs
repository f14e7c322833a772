//! Tests two simple ways to renew a client secret, in the same random worlds as the simulation. Neither way waits until
//! Entra accepts the new secret reliably.
//!
//! The two ways follow descriptions of other programs (docs/azure-facts.md F604). The test does not run those programs.
//! The test counts how often the readers of a secret are rejected. The result shows the benefit of Perennial's waits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::Vault as _;
use perennial::ports::directory::{Caller, Directory as _};
use perennial::process::clock::Timestamp;
use perennial::renewal::look::prefix;
use perennial::sandbox::world::{Actor, Partner, World};
use perennial::token::secret::SecretAddress;
use perennial::token::tags::Tags;
use perennial::token::version::NewVersion;
use uuid::Uuid;

use super::orphans;
use super::simulation::{BEFORE, DAYS, LIFETIME, Simulation, Totals};

/// One id for all calls, since the test does not use the ids.
const ID: Uuid = Uuid::nil();

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Assumes that the secret with the latest expiry is in use. Saves a new secret immediately, removes it if the save
    /// fails, and waits seven days after a failure.
    LatestEnd,
    /// Saves a new secret immediately, and then removes the old secret.
    RemoveFirst,
}

/// Makes one renewal pass in one of the two ways. Returns an error if the pass failed.
async fn pass(way: Way, actor: &Actor, partner: &Partner, old: &mut Option<Uuid>) -> Result<(), ()> {
    let (at, caller) = (&partner.app_secret, Caller::VaultIdentity);
    let world = actor.world();
    let app = actor.registration(&caller, &partner.client_id, ID).await.map_err(drop)?;
    let held = actor.newest(at, ID).await.map_err(drop)?.version;
    let end = match way {
        Way::LatestEnd => app.secrets.iter().filter_map(|one| one.ends).max(),
        Way::RemoveFirst => held.expires,
    };
    if end.is_some_and(|end| end - TimeDelta::days(BEFORE) > world.now()) {
        return Ok(());
    }
    let name = format!("{}baseline", prefix(at));
    let ends = world.now() + TimeDelta::days(LIFETIME);
    let new = actor.add_secret(&caller, app.object_id, &name, ends, ID).await.map_err(drop)?;
    let version = NewVersion { value: new.value, content_type: None, expires: ends, tags: Tags::new() };
    if actor.write(at, &version, ID).await.is_err() {
        if way == Way::LatestEnd {
            actor.remove_secret(&caller, app.object_id, new.key_id, ID).await.map_err(drop)?;
        }
        return Err(());
    }
    if let Some(old) = old.replace(new.key_id).filter(|_| way == Way::RemoveFirst) {
        actor.remove_secret(&caller, app.object_id, old, ID).await.map_err(drop)?;
    }
    Ok(())
}

async fn keep(way: Way, world: World, partner: Partner) {
    let actor = world.as_actor("baseline");
    let first = world.app_secrets(&partner.client_id).into_iter().find(|one| one.name.is_none());
    let mut old = first.map(|one| one.key_id);
    loop {
        let failed = pass(way, &actor, &partner, &mut old).await.is_err();
        let days = if failed && way == Way::LatestEnd { 7 } else { 1 };
        tokio::time::sleep(Duration::from_secs(days * 24 * 3600)).await;
    }
}

/// The results of one way of renewal in all worlds.
#[derive(Debug, Default)]
struct Outcome {
    renewals: usize,
    requests: usize,
    refused: usize,
    left_behind: usize,
}

fn run(way: Way, worlds: u64, has_other_secrets: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 1..=worlds {
        let totals = Rc::new(RefCell::new(Totals::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let in_world = async {
            let simulation = Simulation::new(seed, Rc::clone(&totals));
            let (world, partner) = (simulation.world.clone(), simulation.partner.clone());
            if !has_other_secrets {
                world.change_app(&partner.client_id, |app| app.secrets.retain(|one| one.name.is_none()));
            }
            simulation.keep_readers(partner.app_secret.clone(), false);
            simulation.keep_faults();
            tokio::task::spawn_local(keep(way, world.clone(), partner.clone()));
            let ends: Timestamp = world.now() + TimeDelta::days(DAYS);
            while world.now() < ends {
                tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
                world.forget_calls_before(world.now());
            }
            let at: &SecretAddress = &partner.app_secret;
            (world.versions_of(at).len() - 1, orphans(&world, &partner, at).len())
        };
        let (renewals, left) = tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), in_world);
        let totals = totals.borrow();
        outcome.renewals += renewals;
        outcome.requests += totals.requests;
        outcome.refused += totals.refused;
        outcome.left_behind += left;
    }
    outcome
}

/// The environment variable `PERENNIAL_WORLDS` sets the number of worlds. Each world lasts 200 days.
#[test]
fn other_ways_to_renew_lose_requests() {
    let worlds = std::env::var("PERENNIAL_WORLDS").map_or(2, |text| text.parse().expect("a number"));
    for (way, has_other_secrets) in
        [(Way::LatestEnd, true), (Way::LatestEnd, false), (Way::RemoveFirst, true)]
    {
        let outcome = run(way, worlds, has_other_secrets);
        eprintln!("{way:?}, other secrets on the app: {has_other_secrets}: {outcome:?} in {worlds} worlds");
        assert!(outcome.refused > 0, "{way:?}: {outcome:?}");
    }
}
