//! Tests a person's action at every step of a rotation, over HTTPS and through the shipped adapters. After any action
//! at any step, the vault must contain a valid token that descends from the last sign-in.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use perennial::cli::azure_clients::AzureRotator;
use perennial::rotation::state::State;
use perennial::sandbox::world::{Call, Fault, FaultEffect, Operation, Partner, Peer, When, World};
use perennial::token::managed::ManagedToken;
use perennial::token::tags::Tags;

use crate::support::lab::{Lab, grant, settle};

/// A person's action, and the person's later reaction.
struct Deed {
    name: &'static str,
    act: fn(&World, &Partner),
    later: fn(&World, &Partner),
}

fn nothing(_: &World, _: &Partner) {}

fn sign_in(world: &World, partner: &Partner) {
    world.human_signs_in(partner).expect("may sign in");
}

fn paste(world: &World, partner: &Partner) {
    world.human_writes(&partner.refresh_token, "pasted rubbish", Tags::new());
}

fn recover(world: &World, partner: &Partner) {
    world.human_recovers(&partner.refresh_token);
}

/// Makes a user sign in. After this sign-in, Entra rejects every redemption of the user's tokens.
fn sign_in_refused(world: &World, partner: &Partner, code: u32) {
    sign_in(world, partner);
    let error = "invalid_grant".to_owned();
    let what = FaultEffect::OAuth { status: 400, error, code: Some(code), suberror: None };
    world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&partner.user_oid));
}

fn allow(world: &World, _: &Partner) {
    world.clear_faults(None);
}

const DEEDS: [Deed; 14] = [
    Deed { name: "signs in", act: sign_in, later: nothing },
    Deed {
        name: "signs in twice",
        act: |world, partner| {
            sign_in(world, partner);
            // A second must pass, because the vault's times are whole seconds. If two versions have the same time, a
            // list does not show which version is newer.
            world.advance(TimeDelta::seconds(1));
            sign_in(world, partner);
        },
        later: nothing,
    },
    Deed { name: "pastes rubbish", act: paste, later: nothing },
    Deed {
        name: "signs in, then pastes rubbish",
        act: |world, partner| {
            sign_in(world, partner);
            paste(world, partner);
        },
        later: nothing,
    },
    Deed {
        name: "deletes the secret, and recovers it later",
        act: |world, partner| world.human_deletes(&partner.refresh_token),
        later: recover,
    },
    Deed {
        name: "deletes and recovers it",
        act: |world, partner| {
            world.human_deletes(&partner.refresh_token);
            recover(world, partner);
        },
        later: nothing,
    },
    Deed {
        name: "purges it, and signs in later",
        act: |world, partner| {
            world.human_deletes(&partner.refresh_token);
            world.human_purges(&partner.refresh_token);
        },
        later: sign_in,
    },
    Deed {
        name: "switches it off, and on later",
        act: |world, partner| world.switch_version(&partner.refresh_token, None, false),
        later: |world, partner| {
            for version in world.versions_of(&partner.refresh_token) {
                let id = perennial::token::version::VersionId(version.id.as_str().into());
                world.switch_version(&partner.refresh_token, Some(&id), true);
            }
        },
    },
    Deed {
        name: "restores the oldest version",
        act: |world, partner| {
            let versions = world.versions_of(&partner.refresh_token);
            let Some(oldest) = versions.first() else { return };
            let value = secrecy::ExposeSecret::expose_secret(&oldest.value).to_owned();
            world.human_writes(&partner.refresh_token, &value, Tags::new());
        },
        later: nothing,
    },
    Deed {
        name: "replaces the app's secret",
        act: |world, partner| {
            let ends = Some(world.now() + TimeDelta::days(180));
            world.expire_app_secret(&partner.client_id);
            world.replace_app_secret(&partner.client_id, "n3w~s3cret", ends);
            world.store_app_secret(&partner.app_secret, "n3w~s3cret", ends);
        },
        later: nothing,
    },
    Deed {
        name: "copies the newest version's tags to a sign-in",
        act: |world, partner| {
            let newest = world.newest_version(&partner.refresh_token);
            let copied = newest.map(|version| version.tags).unwrap_or_default();
            let token = world.sign_in(&partner.user_oid, &partner.client_id).expect("may sign in");
            world.human_writes(&partner.refresh_token, token.expose(), copied);
        },
        later: nothing,
    },
    Deed {
        name: "revokes all sessions, and signs in later",
        act: |world, partner| world.revoke_user(&partner.user_oid),
        later: sign_in,
    },
    Deed {
        name: "signs in under a policy that is lifted later",
        act: |world, partner| sign_in_refused(world, partner, 530_003),
        later: allow,
    },
    Deed {
        name: "signs in and is refused for a while by a code that nobody knows",
        act: |world, partner| sign_in_refused(world, partner, 999_999),
        later: allow,
    },
];

/// The number of steps at which an action is tested. Each call has two steps: one before and one after the call's
/// effect. `STEPS` is slightly higher than the number of steps in a rotation.
const STEPS: usize = 22;

/// An action that happens once, after `left` more steps.
struct Cue {
    left: usize,
    act: fn(&World, &Partner),
}

/// Carries out a rotation as the daemon's loop does, but without waits.
async fn rotate(rotator: &mut AzureRotator, force: bool) -> State {
    let state = State::unknown(rotator.clock.now());
    let state = rotator.prove(state, force).await.state;
    settle(rotator, state).await
}

/// Runs a rotation with an action at this step. Returns the problem at the end, if any, and whether the action happened
/// during the rotation.
async fn meets(lab: &Lab, deed: &Deed, step: usize) -> (Option<String>, bool) {
    let world = lab.world();
    let name = format!("race-{}-{step}", fastrand::u32(..));
    let partner = lab.sandbox.add_partner(&name, TimeDelta::days(20));
    let grant: ManagedToken = grant(&name, &partner);
    // One rotation happens before the test, so that there are versions to restore and to disable.
    rotate(&mut lab.rotator(&grant), true).await;
    lab.pass(TimeDelta::days(8));

    let cue = Arc::new(Mutex::new(Some(Cue { left: step, act: deed.act })));
    let (waiting, scene, who) = (Arc::clone(&cue), world.clone(), partner.clone());
    world.tell_calls_to(move |_: &Call, _: When| {
        let act = {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *waiting {
                Some(Cue { left: 0, act }) => {
                    let act = *act;
                    *waiting = None;
                    act
                }
                Some(cue) => {
                    cue.left -= 1;
                    return;
                }
                None => return,
            }
        };
        act(&scene, &who);
    });
    let mut rotator = lab.rotator(&grant);
    let mut state = rotate(&mut rotator, true).await;
    let done = cue.lock().unwrap_or_else(PoisonError::into_inner).take().is_none();
    world.tell_calls_to(|_, _| ());
    // The same process continues. After a day and a half, the vault must contain a working token.
    (deed.later)(world, &partner);
    for _ in 0..3 {
        lab.pass(TimeDelta::minutes(12 * 60 + 1));
        state = rotator.reload(state);
        state = settle(&mut rotator, state).await;
    }
    // A new process must also end without a failure and without an unsaved successor.
    let fresh = rotate(&mut lab.rotator(&grant), false).await;
    let wrong = wrong_with(world, &partner, &state, &fresh);
    (wrong.map(|what| format!("{} at step {step}: {what}", deed.name)), done)
}

fn wrong_with(world: &World, partner: &Partner, state: &State, fresh: &State) -> Option<String> {
    let Some(stored) = world.newest_value(&partner.refresh_token) else {
        return Some("nothing is stored".into());
    };
    if !world.is_alive(stored.expose()) {
        return Some("what is stored is dead".into());
    }
    let grants = world.grants();
    let last = world.writes().into_iter().rev().find(|write| {
        write.writer == "human"
            && write.secret == partner.refresh_token
            && grants.iter().any(|grant| grant.token == write.value && grant.parent.is_none())
    });
    let last = last.expect("there was a first sign-in").value;
    if stored != last && !world.descends_from(stored.expose(), last.expose()) {
        return Some("a sign-in stays buried".into());
    }
    for (who, state) in [("the process", state), ("a fresh process", fresh)] {
        if let Some(failure) = state.failure() {
            return Some(format!("{who} still says {:?}", failure.kind));
        }
        if state.is_unsaved() {
            return Some(format!("{who} still holds a successor"));
        }
    }
    None
}

#[tokio::test]
async fn the_last_sign_in_wins_after_any_action_at_any_step() {
    let lab = Lab::start().await;
    let (mut wrong, mut met) = (Vec::new(), 0);
    for deed in &DEEDS {
        for step in 0..STEPS {
            let (found, done) = Box::pin(meets(&lab, deed, step)).await;
            wrong.extend(found);
            met += usize::from(done);
        }
    }

    assert!(wrong.is_empty(), "{} of {met}:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{met} races");
    assert!(met >= 150, "only {met} deeds came in between");
}
