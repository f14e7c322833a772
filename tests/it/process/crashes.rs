//! Kills the program with `kill -9` at every step of a rotation, and starts it again. The token must stay valid, and no
//! sign-in may be lost.
//!
//! The sandbox reports each call before and after its effect. At such a report, the test kills the program, which still
//! waits for the answer.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use futures::StreamExt as _;
use futures::stream;
use perennial::sandbox::world::{When, World};
use perennial::token::tags::Tags;

use super::{Stage, is};
use crate::support::child::eventually;

/// What happens before or when the program is killed.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// The token is old enough to be rotated.
    Old,
    /// A user has signed in, so that a sign-in is newer than Perennial's own version.
    SignedIn,
    /// A day ago, a person stored an invalid value.
    Pasted,
    /// When the program is killed, a user signs in.
    SigningIn,
    /// When the program is killed, a tool stores a sign-in with a copy of the newest version's tags.
    Copying,
    /// When the program is killed, a person stores an invalid value.
    Pasting,
    /// When the program is killed, a person replaces the app's secret.
    NewAppSecret,
}

const ALL: [Before; 7] = [
    Before::Old,
    Before::SignedIn,
    Before::Pasted,
    Before::SigningIn,
    Before::Copying,
    Before::Pasting,
    Before::NewAppSecret,
];

/// The test tries to kill the program at each of these steps. Even the longest rotation has fewer steps, so the test
/// covers every step of a rotation.
const STEPS: usize = 22;

/// Finds the moment to kill the program. `at` is the step, `passed` counts the steps so far, and `victim` is the
/// process id. Each call has two steps: one before the call's effect, and one after the effect.
struct Trap {
    at: usize,
    passed: AtomicUsize,
    victim: Mutex<Option<u32>>,
}

impl Trap {
    /// Counts a step. If the program is to be killed at this step, returns the program's process id.
    fn springs(&self) -> Option<u32> {
        let mut victim = self.victim.lock().unwrap_or_else(PoisonError::into_inner);
        let here = victim.is_some() && self.passed.fetch_add(1, Ordering::Relaxed) == self.at;
        if here { victim.take() } else { None }
    }
}

fn kill(pid: u32) {
    let killed = Command::new("sh").args(["-c", "kill -s KILL \"$0\"", &pid.to_string()]).status();
    assert!(killed.expect("a shell").success());
}

const A_DAY: TimeDelta = TimeDelta::minutes(24 * 60 + 1);

/// The number of programs that the test runs and kills concurrently.
const AT_ONCE: usize = 4;

/// Kills the program at a step. Returns whether the step was reached.
async fn dies_at(step: usize, before: Before) -> bool {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let world = stage.world();
    let secret = &stage.partner.refresh_token;
    match before {
        Before::Old | Before::SigningIn | Before::Copying | Before::Pasting | Before::NewAppSecret => {}
        Before::SignedIn | Before::Pasted => {
            // One rotation happens first, so that the vault has a version of Perennial's. When Perennial rotates a
            // later sign-in, Perennial disables this version.
            let done = stage.run_to_end(&["rotate", "one", "--force"]).await;
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            world.advance(TimeDelta::days(2));
        }
    }
    match before {
        Before::SignedIn => drop(world.human_signs_in(&stage.partner)),
        Before::Pasted => {
            world.human_writes(secret, "pasted rubbish", Tags::new());
            // The invalid value is now a day old, so the previous version may replace it.
            world.advance(A_DAY);
        }
        Before::Old | Before::SigningIn | Before::Copying | Before::Pasting | Before::NewAppSecret => {}
    }
    let trap = Arc::new(Trap { at: step, passed: AtomicUsize::new(0), victim: Mutex::new(None) });
    let (sprung, acting, partner) = (Arc::clone(&trap), world.clone(), stage.partner.clone());
    world.tell_calls_to(move |call, _: When| {
        let about_it = call.subject == partner.refresh_token.name.as_str()
            || call.subject == partner.app_secret.name.as_str()
            || call.subject == partner.user_oid;
        let Some(pid) = about_it.then(|| sprung.springs()).flatten() else { return };
        kill(pid);
        match before {
            Before::SigningIn => drop(acting.human_signs_in(&partner)),
            Before::Copying => {
                let copied = acting.newest_version(&partner.refresh_token).expect("there").tags;
                let token = acting.sign_in(&partner.user_oid, &partner.client_id).expect("may sign in");
                acting.human_writes(&partner.refresh_token, token.expose(), copied);
            }
            Before::Pasting => drop(acting.human_writes(&partner.refresh_token, "pasted", Tags::new())),
            Before::NewAppSecret => {
                let ends = Some(acting.now() + TimeDelta::days(180));
                acting.replace_app_secret(&partner.client_id, "n3w~s3cret", ends);
                acting.store_app_secret(&partner.app_secret, "n3w~s3cret", ends);
            }
            Before::Old | Before::SignedIn | Before::Pasted => {}
        }
    });
    let mut daemon = stage.start(&["run"]);
    *trap.victim.lock().expect("nobody panics") = Some(daemon.id());
    let died = eventually(&format!("killed at {step}, or at rest, {before:?}"), || {
        let at_rest = daemon.events(0).iter().any(|event| is(event, "rotated", "one"));
        if daemon.is_running() { at_rest.then_some(false) } else { Some(true) }
    })
    .await;
    *trap.victim.lock().expect("nobody panics") = None;
    drop(daemon);

    world.advance(A_DAY);
    let again = stage.start(&["run"]);
    again
        .logs(0, &format!("proved after it was killed at {step}, {before:?}"), |event| {
            is(event, "proved", "one") || is(event, "rotated", "one")
        })
        .await;
    let stored = eventually(&format!("a living token on top, killed at {step}, {before:?}"), || {
        let stored = world.newest_value(secret)?;
        let sign_in = last_sign_in(world, secret.name.as_str());
        let follows = stored.expose() == sign_in || world.descends_from(stored.expose(), &sign_in);
        (world.is_alive(stored.expose()) && follows).then_some(stored)
    })
    .await;
    assert!(world.newest_version(secret).expect("there").enabled, "{step} {before:?}");
    assert!(!stored.expose().is_empty());
    died
}

/// Returns the token of the last sign-in that a person has stored.
fn last_sign_in(world: &World, secret: &str) -> String {
    let grants = world.grants();
    let writes = world.writes();
    let of_person = writes.iter().rev().find(|write| {
        write.writer == "human"
            && write.secret.name.as_str() == secret
            && grants.iter().any(|grant| grant.token == write.value)
    });
    of_person.expect("there was a first sign-in").value.expose().to_owned()
}

#[tokio::test]
async fn killed_at_every_step_nothing_is_lost() {
    let steps = ALL.into_iter().flat_map(|before| (0..STEPS).map(move |step| dies_at(step, before)));
    let died: Vec<bool> = stream::iter(steps).buffer_unordered(AT_ONCE).collect().await;
    let deaths = died.iter().filter(|died| **died).count();
    eprintln!("killed {deaths} times");
    assert!(deaths >= 100, "killed only {deaths} times");
}
