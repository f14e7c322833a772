//! Tests that all surfaces agree whether a token can be used. First, `rotate` reports by its exit code and its output
//! whether the token can be used. After that, `status` and `status --monitor` must report the same from the vault's
//! tags, without a daemon.

use chrono::TimeDelta;
use futures::StreamExt as _;
use futures::stream;
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, PartnerCenterRules, Peer, World};
use serde_json::{Value, json};

use super::{Stage, results};
use crate::support::child::{Ended, eventually, get};

/// The state before `rotate`.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// A sign-in that was not redeemed yet, so a rotation is due.
    SignIn,
    /// A token that Perennial has rotated and Partner Center has accepted.
    Good,
    /// A sign-in that has expired.
    PastItsEnd,
}
use Before::{Good, PastItsEnd, SignIn};

struct Situation {
    name: &'static str,
    before: Before,
    trouble: fn(&Stage),
    /// The expected exit code, outcome, kind and remedy of `rotate`.
    rotate: (i32, &'static str, Option<&'static str>, Option<&'static str>),
    /// The expected state, and the expected exit code of `status`.
    status: (&'static str, i32),
    /// The expected exit code of `status --monitor`.
    monitor: i32,
    /// The expected exit code of `rotate --dry-run` after `rotate`.
    rehearsal: i32,
    /// The expected exit code of `verify`.
    verify: i32,
}

fn partner_center_says(world: &World, status: u16, code: &str) {
    let what = FaultEffect::Coded { status, code: code.into(), inner: None, retry_after: None };
    world.inject(Fault::of(Peer::PartnerCenter, what));
}

fn is_down(world: &World, peer: Peer) {
    world.inject(Fault::of(peer, FaultEffect::Status { status: 503, retry_after: None }));
}

fn entra_says(world: &World, code: u32) {
    let (status, error) = (400, "invalid_grant".to_owned());
    let what = FaultEffect::OAuth { status, error, code: Some(code), suberror: None };
    world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem));
}

fn may_not_read(stage: &Stage, secret: &str) {
    let inner = Some("ForbiddenByRbac".into());
    let what = FaultEffect::Coded { status: 403, code: "Forbidden".into(), inner, retry_after: None };
    stage.world().inject(Fault::of(Peer::KeyVault, what).on(Operation::Get).about(secret));
}

fn signs_in_without_a_second_factor(stage: &Stage) {
    stage.world().set_user_mfa(&stage.partner.user_oid, false);
    stage.world().human_signs_in(&stage.partner).expect("signed in");
}

fn nothing(_: &Stage) {}

#[rustfmt::skip]
fn of_partner_center() -> Vec<Situation> {
    vec![
        Situation { name: "healthy", before: Good, trouble: nothing,
            rotate: (0, "proved", None, None),
            status: ("current", 0), monitor: 0, rehearsal: 0, verify: 0 },
        Situation { name: "healthy, rotated", before: SignIn, trouble: nothing,
            rotate: (0, "rotated", None, None),
            status: ("current", 0), monitor: 0, rehearsal: 0, verify: 0 },
        Situation { name: "Partner Center 403", before: Good,
            trouble: |stage| partner_center_says(stage.world(), 403, "2032"),
            rotate: (4, "proved", Some("partner_center_refused"), Some("operator")),
            status: ("partner_center_refused", 4), monitor: 2, rehearsal: 4, verify: 4 },
        Situation { name: "Partner Center 403, rotated", before: SignIn,
            trouble: |stage| partner_center_says(stage.world(), 403, "2032"),
            rotate: (4, "rotated", Some("partner_center_refused"), Some("operator")),
            status: ("partner_center_refused", 4), monitor: 2, rehearsal: 4, verify: 4 },
        Situation { name: "Partner Center 401", before: Good,
            trouble: |stage| partner_center_says(stage.world(), 401, "400"),
            rotate: (4, "proved", Some("partner_center_refused"), Some("operator")),
            status: ("partner_center_refused", 4), monitor: 2, rehearsal: 4, verify: 4 },
        Situation { name: "Partner Center wants a fresher second factor", before: Good,
            trouble: |stage| partner_center_says(stage.world(), 401, "900421"),
            rotate: (3, "proved", Some("mfa_required"), Some("login")),
            status: ("needs_login", 3), monitor: 2, rehearsal: 3, verify: 3 },
        Situation { name: "no second factor", before: SignIn, trouble: signs_in_without_a_second_factor,
            rotate: (3, "rotated", Some("mfa_required"), Some("login")),
            status: ("needs_login", 3), monitor: 2, rehearsal: 3, verify: 3 },
        Situation { name: "no second factor, accepted so far", before: SignIn,
            trouble: |stage| {
                let lenient = PartnerCenterRules { enforce_mfa: false, ..PartnerCenterRules::default() };
                stage.world().set_partner_center(lenient);
                signs_in_without_a_second_factor(stage);
            },
            rotate: (3, "rotated", Some("mfa_required"), Some("login")),
            status: ("needs_login", 3), monitor: 2, rehearsal: 3, verify: 3 },
        Situation { name: "Partner Center has never answered", before: SignIn,
            trouble: |stage| is_down(stage.world(), Peer::PartnerCenter),
            rotate: (1, "rotated", None, Some("retry")),
            status: ("unknown", 0), monitor: 3, rehearsal: 0, verify: 1 },
        Situation { name: "Partner Center is down, and accepted it before", before: Good,
            trouble: |stage| is_down(stage.world(), Peer::PartnerCenter),
            rotate: (0, "proved", None, None),
            status: ("current", 0), monitor: 0, rehearsal: 0, verify: 1 },
    ]
}

#[rustfmt::skip]
fn of_the_grant() -> Vec<Situation> {
    vec![
        Situation { name: "expired", before: PastItsEnd, trouble: nothing,
            rotate: (3, "failed", Some("token_expired"), Some("login")),
            status: ("expired", 3), monitor: 2, rehearsal: 3, verify: 3 },
        Situation { name: "expired, and Entra is down", before: PastItsEnd,
            trouble: |stage| is_down(stage.world(), Peer::Entra),
            rotate: (3, "failed", Some("token_expired"), Some("login")),
            status: ("expired", 3), monitor: 2, rehearsal: 3, verify: 1 },
        Situation { name: "expired, with an app secret that has expired too", before: PastItsEnd,
            trouble: |stage| stage.world().expire_app_secret(&stage.partner.client_id),
            rotate: (3, "failed", Some("token_expired"), Some("login")),
            status: ("expired", 3), monitor: 2, rehearsal: 3, verify: 4 },
        Situation { name: "revoked", before: Good,
            trouble: |stage| stage.world().revoke_user(&stage.partner.user_oid),
            rotate: (3, "failed", Some("login_required"), Some("login")),
            status: ("needs_login", 3), monitor: 2, rehearsal: 3, verify: 3 },
        Situation { name: "blocked by a policy", before: Good,
            trouble: |stage| entra_says(stage.world(), 53003),
            rotate: (4, "failed", Some("policy_blocked"), Some("operator")),
            status: ("needs_operator", 4), monitor: 2, rehearsal: 4, verify: 4 },
        Situation { name: "account disabled", before: Good,
            trouble: |stage| stage.world().disable_user(&stage.partner.user_oid, true),
            rotate: (4, "failed", Some("account_disabled"), Some("operator")),
            status: ("needs_operator", 4), monitor: 2, rehearsal: 4, verify: 4 },
    ]
}

#[rustfmt::skip]
fn of_everything_else() -> Vec<Situation> {
    vec![
        Situation { name: "app secret expired", before: Good,
            trouble: |stage| stage.world().expire_app_secret(&stage.partner.client_id),
            rotate: (4, "failed", Some("app_credential_refused"), Some("operator")),
            status: ("needs_operator", 4), monitor: 2, rehearsal: 4, verify: 4 },
        Situation { name: "app secret cannot be read", before: Good,
            trouble: |stage| may_not_read(stage, stage.partner.app_secret.name.as_str()),
            rotate: (4, "failed", Some("vault_refused"), Some("operator")),
            status: ("needs_operator", 4), monitor: 1, rehearsal: 4, verify: 4 },
        Situation { name: "no successor", before: Good,
            trouble: |stage| {
                let none = FaultEffect::Distort(Distortion::NoRefreshToken);
                stage.world().inject(Fault::of(Peer::Entra, none).on(Operation::Redeem));
            },
            rotate: (4, "failed", Some("no_refresh_token"), Some("operator")),
            status: ("needs_operator", 4), monitor: 1, rehearsal: 4, verify: 4 },
        Situation { name: "Entra is down", before: Good,
            trouble: |stage| is_down(stage.world(), Peer::Entra),
            rotate: (1, "failed", Some("entra_unreachable"), Some("retry")),
            status: ("current", 0), monitor: 0, rehearsal: 0, verify: 1 },
        Situation { name: "off", before: Good,
            trouble: |stage| stage.world().switch_version(&stage.partner.refresh_token, None, false),
            rotate: (0, "off", Some("turned_off"), Some("operator")),
            status: ("off", 0), monitor: 1, rehearsal: 0, verify: 4 },
        Situation { name: "the vault may not be read", before: Good,
            trouble: |stage| may_not_read(stage, stage.partner.refresh_token.name.as_str()),
            rotate: (4, "failed", Some("vault_refused"), Some("operator")),
            status: ("needs_operator", 4), monitor: 3, rehearsal: 4, verify: 4 },
        Situation { name: "the vault is down", before: Good,
            trouble: |stage| is_down(stage.world(), Peer::KeyVault),
            rotate: (1, "failed", Some("vault_unreachable"), Some("retry")),
            status: ("unknown", 1), monitor: 3, rehearsal: 1, verify: 1 },
        Situation { name: "there is no such secret", before: Good,
            trouble: |stage| {
                stage.world().human_deletes(&stage.partner.refresh_token);
                stage.world().human_purges(&stage.partner.refresh_token);
            },
            rotate: (3, "failed", Some("never_signed_in"), Some("login")),
            status: ("needs_login", 3), monitor: 2, rehearsal: 3, verify: 3 },
    ]
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr))
}

/// Returns the surfaces that report this situation wrongly.
async fn check(situation: &Situation) -> Vec<String> {
    let age = if situation.before == PastItsEnd { 100 } else { 2 };
    let stage = Stage::set(TimeDelta::days(age)).await;
    if situation.before == Good {
        assert_eq!(stage.run_to_end(&["rotate", "one"]).await.code, Some(0));
    }
    (situation.trouble)(&stage);

    let rotated = stage.run_to_end(&["rotate", "one", "--json"]).await;
    let status = stage.run_to_end(&["status", "one", "--json"]).await;
    let monitor = stage.run_to_end(&["status", "one", "--monitor"]).await;
    let rehearsed = stage.run_to_end(&["rotate", "one", "--dry-run", "--json"]).await;
    let verified = stage.run_to_end(&["verify", "one"]).await;

    let mut wrong = Vec::new();
    let mut expect = |what: &str, found: Value, wanted: Value| {
        if found != wanted {
            wrong.push(format!("{}: {what} is {found}, not {wanted}", situation.name));
        }
    };
    let (code, outcome, kind, remedy) = situation.rotate;
    let (standing, status_code) = situation.status;
    let result = &results(&rotated)[0];
    let found = json!([rotated.code, result["outcome"], result["kind"], result["remedy"]]);
    expect("rotate", found, json!([code, outcome, kind, remedy]));
    for told in ["summary", "action"] {
        expect(told, result[told].is_string().into(), remedy.is_some().into());
    }
    expect("status", status.code.into(), status_code.into());
    let status = json_of(&status);
    expect("state", status["tokens"][0]["state"].clone(), standing.into());
    expect("monitor", monitor.code.into(), situation.monitor.into());
    expect("rehearsal", rehearsed.code.into(), situation.rehearsal.into());
    expect("verify", verified.code.into(), situation.verify.into());
    if situation.monitor == 2 {
        let first = &status["conditions"][0];
        expect("condition", json!([first["kind"], first["severity"]]), json!([kind, "critical"]));
        let rehearsed = &results(&rehearsed)[0];
        expect("rehearsed", json!([rehearsed["kind"], rehearsed["remedy"]]), json!([kind, remedy]));
    }
    wrong
}

#[tokio::test]
async fn every_surface_reports_whether_a_token_can_be_used() {
    let situations = of_partner_center().into_iter().chain(of_the_grant()).chain(of_everything_else());
    let checks = situations.map(async |situation| check(&situation).await);
    let wrong = stream::iter(checks).buffer_unordered(4).collect::<Vec<_>>().await.concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn of_many_tokens_the_gravest_is_the_exit_code() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let no_role = FaultEffect::Coded { status: 403, code: "2032".into(), inner: None, retry_after: None };
    stage.world().inject(Fault::of(Peer::PartnerCenter, no_role).about(&stage.other.user_oid));

    let refused = stage.run_to_end(&["rotate", "--json"]).await;
    stage.world().revoke_user(&stage.partner.user_oid);
    let both = stage.run_to_end(&["rotate", "--json"]).await;

    assert_eq!((refused.code, both.code), (Some(4), Some(3)), "what only a sign-in cures comes first");
    let kinds = |ended: &Ended| results(ended).iter().map(|one| one["kind"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&refused), [Value::Null, "partner_center_refused".into()]);
    assert_eq!(kinds(&both), ["login_required", "partner_center_refused"]);
    assert_eq!(stage.run_to_end(&["status"]).await.code, Some(3));
}

#[tokio::test]
async fn an_expired_token_is_never_shown_as_good() {
    let stage = Stage::set(TimeDelta::days(100)).await;

    let status = stage.run_to_end(&["status", "one"]).await;
    let rehearsed = stage.run_to_end(&["rotate", "one", "--dry-run"]).await;
    let monitor = stage.run_to_end(&["status", "--monitor"]).await;

    assert_eq!((status.code, rehearsed.code, monitor.code), (Some(3), Some(3), Some(2)));
    let row = status.stdout.lines().nth(1).expect("a row");
    assert!(row.starts_with("one    expired  ") && row.ends_with("-        10 d ago"), "{}", status.stdout);
    assert!(rehearsed.stdout.starts_with("one: expired_would_prove: the token expired on "));
    for told in [&status, &rehearsed] {
        assert!(told.stdout.contains("`perennial login one`"), "{}", told.stdout);
        assert!(!told.stdout.contains("good until"), "{}", told.stdout);
    }
    let line = "PERENNIAL CRITICAL - token_expired: ";
    assert!(monitor.stdout.starts_with(line) && monitor.stdout.contains(" runway=0s"), "{}", monitor.stdout);
}

#[tokio::test]
async fn a_rejection_by_partner_center_is_one_incident_until_it_accepts() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    partner_center_says(stage.world(), 403, "2032");
    let since = async || {
        let status = json_of(&stage.run_to_end(&["status", "one", "--json"]).await);
        let told = &status["conditions"][0];
        assert_eq!(told["kind"], "partner_center_refused", "{status}");
        (told["id"].clone(), told["since"].clone())
    };

    let told = stage.run_to_end(&["rotate", "one"]).await;
    assert_eq!(told.code, Some(4));
    assert!(told.stdout.starts_with("one: rotated: Entra redeems the token, but Partner Center rejects"));
    assert!(told.stdout.contains("\n  -> give the user of one the Partner Center role"), "{}", told.stdout);
    let verified = stage.run_to_end(&["verify", "one"]).await;
    let checked = stage.run_to_end(&["check", "one"]).await;
    for told in [&verified, &checked] {
        let action = "give the user of one the Partner Center role Admin agent";
        assert!(told.code == Some(4) && told.stdout.contains(action), "{}", told.stdout);
    }
    let first = since().await;
    assert_eq!(stage.run_to_end(&["rotate", "one", "--force"]).await.code, Some(4));
    assert_eq!(since().await, first, "a successor does not begin it anew");
    is_down(stage.world(), Peer::PartnerCenter);
    assert_eq!(stage.run_to_end(&["rotate", "one"]).await.code, Some(4), "silence does not end it");
    let newest = stage.world().newest_version(&stage.partner.refresh_token).expect("stored");
    assert!(!newest.is_refused(), "Entra redeems it");

    stage.world().clear_faults(None);
    assert_eq!(stage.run_to_end(&["rotate", "one"]).await.code, Some(0));
    let monitor = stage.run_to_end(&["status", "one", "--monitor"]).await;
    assert_eq!(monitor.code, Some(0), "{}", monitor.stdout);
}

#[tokio::test]
async fn an_expired_token_is_reported_during_an_outage() {
    let stage = Stage::set(TimeDelta::days(100)).await;
    is_down(stage.world(), Peer::Entra);
    let daemon = stage.start(&["run"]);
    let address = daemon.address().await;

    let status = eventually("both are read", || {
        let answer = get(&address, "/status");
        let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (status["conditions"].as_array()?.len() == 2).then_some(status)
    });
    let status = status.await;
    let (metrics, page, health) = (get(&address, "/metrics"), get(&address, "/"), get(&address, "/health"));

    assert_eq!(status["healthy"], false);
    for place in 0..2 {
        let (token, condition) = (&status["tokens"][place], &status["conditions"][place]);
        assert_eq!((&token["state"], &token["runway_seconds"]), (&"expired".into(), &0.into()), "{status}");
        assert_eq!(token["conditions"], json!(["token_expired"]));
        let told = (&condition["kind"], &condition["severity"], &condition["remedy"]);
        assert_eq!(told, (&"token_expired".into(), &"critical".into(), &"login".into()));
        let action = condition["action"].as_str().unwrap_or_default();
        assert!(action.contains("`perennial login "), "{action}");
        let summary = condition["summary"].as_str().unwrap_or_default();
        let end = token["expires_at"].as_str().expect("a time");
        assert!(summary.contains("expired on ") && summary.contains(&end[..10]), "{summary}");
    }
    assert!(metrics.contains("\nperennial_tokens{state=\"expired\"} 2\n"), "{metrics}");
    assert!(metrics.contains("\nperennial_tokens{state=\"current\"} 0\n"), "{metrics}");
    assert!(page.contains("Expired") && !page.contains("All is well"), "{page}");
    assert!(health.starts_with("HTTP/1.1 503"), "{health}");
}
