//! Tests of the real program as a child process against the sandbox: signals, exit codes, and output.

mod access_token;
mod actions;
mod adversity;
mod alarm;
mod asked_first;
mod budgets;
mod check;
mod commands;
mod compiled;
mod crashes;
mod credentials;
mod deaf_hosts;
mod demo;
mod faces;
mod fleet;
mod hostile_bodies;
mod http;
mod identities;
mod init;
mod leaks;
mod login;
mod network;
mod policies;
mod preload;
mod renewal;
mod renewal_certificates;
mod report;
mod same_words;
mod standing;
mod stops;
mod strict;
mod surfaces;
mod unknown_names;
mod usable;
mod verify;
mod wrong_clock;
mod wrong_config;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::server::{ConfigRequest, Sandbox};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Partner, Peer, World};
use perennial::token::RefreshToken;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::child::{Child, Ended, eventually};
use crate::support::harness::Scratch;
use crate::support::lab;

/// A sandbox, and a configuration for the program.
struct Stage {
    sandbox: Sandbox,
    partner: Partner,
    other: Partner,
    config: PathBuf,
    dir: Scratch,
}

impl Stage {
    /// Creates a stage with two tokens, `one` and `other`, whose sign-ins have this age.
    async fn set(age: TimeDelta) -> Self {
        let sandbox = lab::any_sandbox().await;
        let partner = sandbox.add_partner("one", age);
        let other = sandbox.add_partner("other", age);
        let dir = Scratch::new();
        let request = ConfigRequest {
            tokens: &[("one", &partner), ("other", &other)],
            rotate_after: None,
            prove_every: Some(Duration::from_secs(10)),
            strict: false,
        };
        let config = sandbox.write_config(&dir.0, &request).expect("a directory of our own").config;
        Self { sandbox, partner, other, config, dir }
    }

    fn world(&self) -> &World {
        self.sandbox.world()
    }

    fn start(&self, args: &[&str]) -> Child {
        Child::start(&self.config, args, &[])
    }

    async fn run_to_end(&self, args: &[&str]) -> Ended {
        self.start(args).ended(&args.join(" ")).await
    }

    fn stored(&self) -> RefreshToken {
        self.world().newest_value(&self.partner.refresh_token).expect("stored")
    }

    fn versions(&self) -> usize {
        self.world().versions_of(&self.partner.refresh_token).len()
    }

    /// Starts the daemon and waits until it has rotated both tokens.
    async fn daemon(&self) -> (Child, usize) {
        let daemon = self.start(&["run"]);
        let mut place = 0;
        for name in ["one", "other"] {
            place = place.max(daemon.logs(0, "taken over", |event| is(event, "rotated", name)).await);
        }
        (daemon, place)
    }
}

fn is(event: &Value, what: &str, token: &str) -> bool {
    event["event"] == what && event["token"] == token
}

fn failed_with(event: &Value, kind: &str) -> bool {
    is(event, "attempt_failed", "one") && event["kind"] == kind
}

fn results(ended: &Ended) -> Vec<Value> {
    serde_json::from_str(&ended.stdout).expect("a list")
}

#[tokio::test]
async fn the_daemon_rotates_at_its_age_and_stops_on_sigterm() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let (daemon, place) = stage.daemon().await;
    let taken_over = stage.stored();

    stage.world().advance(TimeDelta::days(8));
    daemon.logs(place, "rotated by itself", |event| is(event, "rotated", "one")).await;
    assert_eq!(stage.versions(), 3);
    assert!(stage.world().descends_from(stage.stored().expose(), taken_over.expose()));

    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "logs are no result");
}

/// The next step is due in some hours. If a stop waited for this step, the stop would take the whole grace period and
/// return another exit code.
#[tokio::test]
async fn a_stop_does_not_wait_for_the_next_step() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let daemon = Child::start(&stage.config, &["run"], &[("PERENNIAL__POLICY__PROVE_EVERY", "6h")]);
    for name in ["one", "other"] {
        daemon.logs(0, "proved", |event| is(event, "proved", name)).await;
    }

    daemon.signal("TERM");

    let ended = daemon.ended("stopped").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn rotate_force_rotates_now_and_says_so_in_json() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let before = stage.stored();

    let forced = stage.run_to_end(&["rotate", "one", "--force", "--json"]).await;
    let again = stage.run_to_end(&["rotate", "one", "--json"]).await;
    let redeemed = stage.world().count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC);
    let rehearsed = stage.run_to_end(&["rotate", "--dry-run", "--json"]).await;

    assert_eq!((forced.code, again.code, rehearsed.code), (Some(0), Some(0), Some(0)), "{}", forced.stderr);
    let newest = stage.world().newest_version(&stage.partner.refresh_token).expect("stored");
    let [result] = results(&forced).try_into().expect("one");
    assert_eq!((&result["name"], &result["outcome"]), (&"one".into(), &"rotated".into()));
    assert_eq!((&result["state"], &result["version"]), (&"current".into(), &(*newest.id.0).into()));
    assert_eq!((&result["partner_center_accepts"], &result["kind"]), (&true.into(), &Value::Null));
    assert_eq!(results(&again)[0]["outcome"], "proved");
    assert!(stage.world().descends_from(stage.stored().expose(), before.expose()));
    assert_eq!(stage.versions(), 2);
    let outcomes: Vec<Value> = results(&rehearsed).iter().map(|result| result["outcome"].clone()).collect();
    assert_eq!(outcomes, ["would_prove", "would_rotate"]);
    let since = stage.world().count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC);
    assert_eq!((redeemed, since), (2, 2), "a rehearsal redeems nothing");
}

#[tokio::test]
async fn a_pass_that_is_stopped_ends_what_it_has_begun() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let before = stage.stored();
    let victim = Arc::new(AtomicU32::new(0));
    let to = Arc::clone(&victim);
    stage.world().tell_calls_to(move |call, _| {
        let pid = to.load(Ordering::Relaxed).to_string();
        if call.operation == Operation::Redeem && pid != "0" {
            let told = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status();
            assert!(told.expect("a shell").success());
        }
    });
    let pass = stage.start(&["rotate", "one"]);
    victim.store(pass.id(), Ordering::Relaxed);

    let ended = pass.ended("stopped").await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(stage.world().descends_from(stage.stored().expose(), before.expose()));
    assert_eq!(stage.versions(), 2, "its successor was saved");
}

#[tokio::test]
async fn the_exit_code_says_who_must_act() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let code = async |args: &[&str]| stage.run_to_end(args).await.code;

    let down = FaultEffect::Status { status: 503, retry_after: None };
    stage.world().inject(Fault::of(Peer::Entra, down));
    assert_eq!(code(&["rotate"]).await, Some(1), "Entra is down");
    stage.world().clear_faults(None);
    stage.world().expire_app_secret(&stage.other.client_id);
    assert_eq!(code(&["rotate"]).await, Some(4), "an app secret has expired");
    stage.world().revoke_user(&stage.partner.user_oid);
    let signed_out = stage.run_to_end(&["rotate", "one"]).await;
    assert_eq!(signed_out.code, Some(3), "a user was signed out");
    assert!(
        signed_out.stdout.contains("\n  -> sign in again: `perennial login one`"),
        "{}",
        signed_out.stdout
    );
    let rehearsed = stage.run_to_end(&["rotate", "one", "--dry-run"]).await;
    assert!(rehearsed.stdout.starts_with("one: refused_would_prove: Entra rejected this version"));
    assert!(rehearsed.stdout.contains("`perennial login one`"), "{}", rehearsed.stdout);
    assert_eq!((rehearsed.code, rehearsed.stdout.contains("good until")), (Some(3), false));
    let status = stage.run_to_end(&["status", "one"]).await.stdout;
    let row = status.lines().nth(1).expect("a row");
    assert!(row.contains("needs_login") && row.ends_with("-        -"), "nothing is left to come: {status}");
    assert_eq!(code(&["rotate", "other"]).await, Some(4));
    assert_eq!(code(&["rotate", "--json"]).await, Some(3), "what only a sign-in cures comes first");
    stage.world().human_signs_in(&stage.partner).expect("signed in");
    assert_eq!(code(&["rotate", "one"]).await, Some(0), "the cure");
}

#[tokio::test]
async fn an_app_secret_made_moments_ago_is_given_time() {
    let stage = Stage::set(TimeDelta::zero()).await;
    stage.world().expire_app_secret(&stage.partner.client_id);

    let ended = stage.run_to_end(&["rotate", "one", "--json"]).await;

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let result = &results(&ended)[0];
    assert_eq!((&result["kind"], &result["remedy"]), (&"app_credential_refused".into(), &"retry".into()));
}

#[tokio::test]
async fn an_unknown_name_is_wrong_use_and_sends_nothing() {
    let stage = Stage::set(TimeDelta::zero()).await;

    let ended = stage.run_to_end(&["rotate", "one", "nosuch"]).await;

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("nosuch") && ended.stderr.contains("one, other"), "{}", ended.stderr);
    assert!(stage.world().calls_since(Timestamp::MIN_UTC).is_empty());
}

#[tokio::test]
async fn a_vault_that_cannot_be_reached_at_the_start_is_waited_for() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    // The socket reserves the port, but does not listen yet. Until it listens, every connection fails.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let there = format!("https://localhost:{}", socket.local_addr().expect("bound").port());
    let config = std::fs::read_to_string(&stage.config).expect("written");
    std::fs::write(&stage.config, config.replace(&*stage.sandbox.origin, &there)).expect("writable");
    let mut daemon = stage.start(&["run"]);
    daemon.logs(0, "nobody there", |event| failed_with(event, "vault_unreachable")).await;
    assert!(daemon.is_running());

    let listener = socket.listen(64).expect("nobody else has it");
    let behind = stage.sandbox.addr;
    let forwarding = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(behind).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });

    daemon.logs(0, "tried again", |event| is(event, "rotated", "one")).await;
    assert!(daemon.is_running());
    assert_eq!(stage.versions(), 2);
    forwarding.abort();
}

#[tokio::test]
async fn a_sighup_checks_at_once() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let (daemon, place) = stage.daemon().await;

    stage.world().revoke_user(&stage.partner.user_oid);
    daemon.signal("HUP");
    let place = daemon.logs(place, "the refusal", |event| failed_with(event, "login_required")).await;
    stage.world().human_signs_in(&stage.partner).expect("signed in");
    let signed_in = stage.world().newest_version(&stage.partner.refresh_token).expect("stored").id;
    daemon.signal("HUP");
    let proved = |event: &Value| is(event, "proved", "one") && event["version"] == *signed_in.0;

    // Without a signal, the daemon looks for a new sign-in once a minute. This test waits for less than a minute.
    daemon.logs(place, "the sign-in is taken up", proved).await;
}

#[tokio::test]
async fn a_stop_waits_for_a_successor_that_is_not_saved_yet() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let before = stage.stored();
    let secret = stage.partner.refresh_token.name.as_str().to_owned();
    let no_role = FaultEffect::Coded {
        status: 403,
        code: "Forbidden".into(),
        inner: Some("ForbiddenByRbac".into()),
        retry_after: None,
    };
    stage.world().inject(Fault::of(Peer::KeyVault, no_role).on(Operation::Set).about(&secret));
    let mut daemon = stage.start(&["run"]);
    daemon.logs(0, "Key Vault denies", |event| failed_with(event, "vault_refused")).await;
    let tries = || {
        stage.world().count_calls_where(Timestamp::MIN_UTC, |call| {
            call.operation == Operation::Set && call.subject == secret
        })
    };
    let before_the_stop = tries();

    daemon.signal("TERM");
    eventually("it tries again while it stops", || (tries() > before_the_stop + 1).then_some(())).await;
    assert!(daemon.is_running(), "it holds the only copy");
    assert_eq!(stage.stored(), before);
    stage.world().clear_faults(None);

    let ended = daemon.ended("stopped").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(stage.versions(), 2, "written once");
    assert!(stage.world().descends_from(stage.stored().expose(), before.expose()));
}
