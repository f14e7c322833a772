//! Tests that every surface describes a situation in the same way: the page, `/status`, `/health`, metrics, `status`,
//! `status --monitor`, `rotate`, log and message. This test also writes the table in `docs/surfaces.md`.

mod agree;
mod message;
mod stories;

use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt as _;
use futures::stream;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, Peer};
use serde_json::Value;

use self::agree::Row;
use super::Stage;
use super::alarm::add_sinks;
use crate::support::child::{Child, Ended, get};
use crate::support::inbox::Inbox;

const DOCUMENTED: &str = include_str!("../../../docs/surfaces.md");
const MESSAGES: &str = include_str!("../../../docs/messages.md");

/// The state before the failure.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// The daemon has rotated the token, and Partner Center has accepted it.
    Good,
    /// The daemon has not been started yet.
    SignIn,
    /// The daemon has not been started yet, and the sign-in has expired.
    PastItsEnd,
}
use Before::{Good, PastItsEnd, SignIn};

struct Situation {
    name: &'static str,
    before: Before,
    trouble: fn(&Stage),
    /// The conditions that open in this situation, the gravest first.
    kinds: &'static [&'static str],
}

fn answers(stage: &Stage, peer: Peer, status: u16) {
    stage.world().inject(Fault::of(peer, FaultEffect::Status { status, retry_after: None }));
}

fn forbids(stage: &Stage, operation: Operation) {
    let inner = Some("ForbiddenByRbac".into());
    let what = FaultEffect::Coded { status: 403, code: "Forbidden".into(), inner, retry_after: None };
    let secret = stage.partner.refresh_token.name.as_str();
    stage.world().inject(Fault::of(Peer::KeyVault, what).on(operation).about(secret));
}

fn store_app_secret_ending(stage: &Stage, after: Option<TimeDelta>) {
    let (world, at) = (stage.world(), &stage.partner.app_secret);
    let value = world.newest_value(at).expect("stored");
    world.store_app_secret(at, value.expose(), after.map(|after| world.now() + after));
}

fn refuses(stage: &Stage, error: &str, code: u32) {
    let what = FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
    stage.world().inject(Fault::of(Peer::Entra, what).on(Operation::Redeem));
}

fn distorts(stage: &Stage, distortion: Distortion) {
    stage.world().inject(Fault::of(Peer::Entra, FaultEffect::Distort(distortion)).on(Operation::Redeem));
}

fn returns_the_same_token(stage: &Stage) {
    distorts(stage, Distortion::SameRefreshToken);
}

#[rustfmt::skip]
const SITUATIONS: [Situation; 25] = [
    Situation { name: "current", before: Good, kinds: &[], trouble: |_| {} },
    Situation { name: "never signed in", before: SignIn, kinds: &["never_signed_in"],
        trouble: |stage| {
            stage.world().human_deletes(&stage.partner.refresh_token);
            stage.world().human_purges(&stage.partner.refresh_token);
        } },
    Situation { name: "revoked", before: Good, kinds: &["login_required"],
        trouble: |stage| stage.world().revoke_user(&stage.partner.user_oid) },
    Situation { name: "expired", before: PastItsEnd, kinds: &["token_expired"], trouble: |_| {} },
    Situation { name: "no second factor", before: SignIn, kinds: &["mfa_required"],
        trouble: |stage| {
            stage.world().set_user_mfa(&stage.partner.user_oid, false);
            stage.world().human_signs_in(&stage.partner).expect("signed in");
        } },
    Situation { name: "account disabled", before: Good, kinds: &["account_disabled"],
        trouble: |stage| stage.world().disable_user(&stage.partner.user_oid, true) },
    Situation { name: "app secret expired", before: Good, kinds: &["app_credential_refused"],
        trouble: |stage| stage.world().expire_app_secret(&stage.partner.client_id) },
    Situation { name: "app secret expires in ten days", before: Good, kinds: &["app_secret_expiring"],
        trouble: |stage| store_app_secret_ending(stage, Some(TimeDelta::days(10))) },
    Situation { name: "Partner Center refuses", before: Good, kinds: &["partner_center_refused"],
        trouble: |stage| {
            let what = FaultEffect::Coded { status: 403, code: "2032".into(), inner: None, retry_after: None };
            stage.world().inject(Fault::of(Peer::PartnerCenter, what));
        } },
    Situation { name: "vault denies access", before: Good, kinds: &["vault_refused"],
        trouble: |stage| forbids(stage, Operation::Get) },
    Situation { name: "vault unreachable", before: Good, kinds: &["vault_unreachable"],
        trouble: |stage| answers(stage, Peer::KeyVault, 503) },
    Situation { name: "Entra unreachable", before: Good, kinds: &["entra_unreachable"],
        trouble: |stage| answers(stage, Peer::Entra, 503) },
    Situation { name: "Entra throttles", before: Good, kinds: &["entra_throttled"],
        trouble: |stage| answers(stage, Peer::Entra, 429) },
    Situation { name: "unsaved successor", before: SignIn, kinds: &["vault_refused", "unsaved"],
        trouble: |stage| forbids(stage, Operation::Set) },
    Situation { name: "turned off", before: Good, kinds: &["turned_off"],
        trouble: |stage| stage.world().switch_version(&stage.partner.refresh_token, None, false) },
    Situation { name: "secret deleted", before: Good, kinds: &["secret_deleted"],
        trouble: |stage| stage.world().human_deletes(&stage.partner.refresh_token) },
    Situation { name: "foreign writer", before: Good, kinds: &["foreign_writer"],
        trouble: |stage| { stage.world().human_signs_in(&stage.partner).expect("may sign in"); } },
    Situation { name: "issuer returns the same refresh token", before: SignIn, kinds: &["same_refresh_token"],
        trouble: returns_the_same_token },
    Situation { name: "issuer returns no refresh token", before: SignIn, kinds: &["no_refresh_token"],
        trouble: |stage| distorts(stage, Distortion::NoRefreshToken) },
    Situation { name: "answer for another tenant", before: Good, kinds: &["wrong_identity"],
        trouble: |stage| distorts(stage, Distortion::OtherTenant) },
    Situation { name: "answer without an identity", before: Good, kinds: &["identity_unverified"],
        trouble: |stage| distorts(stage, Distortion::NoIdentity) },
    Situation { name: "conditional access", before: Good, kinds: &["policy_blocked"],
        trouble: |stage| refuses(stage, "invalid_grant", 53003) },
    Situation { name: "app misconfigured", before: Good, kinds: &["app_misconfigured"],
        trouble: |stage| refuses(stage, "invalid_scope", 70011) },
    Situation { name: "unknown code", before: Good, kinds: &["unknown_code"],
        trouble: |stage| refuses(stage, "out_of_cheese", 999_999) },
    Situation { name: "app secret without an expiry date", before: Good, kinds: &["app_secret_expiry_unknown"],
        trouble: |stage| store_app_secret_ending(stage, None) },
];

/// A token, its daemon and a sink.
struct Scene {
    stage: Stage,
    inbox: Inbox,
    daemon: Option<Child>,
    address: String,
}

impl Scene {
    async fn set(situation: &Situation) -> Self {
        let age = if situation.before == PastItsEnd { 100 } else { 2 };
        let stage = Stage::set(TimeDelta::days(age)).await;
        let (tokens, strict) = (&[("one", &stage.partner)], false);
        let request = ConfigRequest { tokens, rotate_after: None, prove_every: None, strict };
        stage.sandbox.write_config(&stage.dir.0, &request).expect("a directory of our own");
        let inbox = Inbox::open().await;
        add_sinks(&stage, &[("chat", "", inbox.url("/"))]);
        if situation.before != Good {
            (situation.trouble)(&stage);
        }
        let daemon = stage.start(&["run"]);
        let address = daemon.address().await;
        let scene = Self { stage, inbox, daemon: Some(daemon), address };
        if situation.before == Good {
            let is_good = |token: &Value| {
                token["partner_center_accepts"] == true && token["last_rotation_at"].is_string()
            };
            scene.until("rotated and accepted", is_good).await;
            (situation.trouble)(&scene.stage);
        }
        scene
    }

    fn document(&self) -> Value {
        let answer = get(&self.address, "/status");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head and a body").1).expect("JSON")
    }

    /// Makes the daemon check again until `is_so` returns true for the token's status. Returns the document.
    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let daemon = self.daemon.as_ref().expect("it runs");
        for looks in 1..3_000 {
            let document = self.document();
            if is_so(&document["tokens"][0]) {
                return document;
            }
            if looks % 100 == 0 && looks <= 500 {
                daemon.signal("HUP");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not come to this: {what}: {}\n{:.4000}", self.document(), daemon.told());
    }

    /// Returns the first message that contains both texts.
    async fn letter(&self, title: &str, who: &str) -> Option<String> {
        for _ in 0..600 {
            let mut letters = self.inbox.letters().into_iter().map(|letter| letter.body);
            if let Some(told) = letters.find(|body| body.contains(title) && body.contains(who)) {
                return Some(told);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn ended(&self, args: &[&str]) -> Ended {
        let listen = [("PERENNIAL__HTTP__LISTEN", self.address.as_str())];
        Child::start(&self.stage.config, args, &listen).ended(&args.join(" ")).await
    }
}

/// Creates a situation and compares the surfaces. Returns the table's row, the message, and the differences.
async fn check(situation: &Situation) -> (String, String, Vec<String>) {
    let mut scene = Scene::set(situation).await;
    if situation.before == Good {
        scene.daemon.as_ref().expect("it runs").signal("HUP");
    }
    let holds = |token: &Value| {
        let kinds = token["conditions"].as_array().expect("a list");
        let is_settled = token["state"] != "unsaved" || situation.kinds.contains(&"unsaved");
        is_settled
            && kinds.len() == situation.kinds.len()
            && situation.kinds.iter().all(|kind| kinds.contains(&(*kind).into()))
    };
    let document = scene.until(situation.name, holds).await;
    let mut row = Row::of(situation, &document);
    row.endpoints(&scene, &document);
    row.commands(&scene).await;
    let daemon = scene.daemon.take().expect("it runs");
    row.told(&scene, &daemon).await;
    drop(daemon);
    row.pass(&scene).await;
    (format!("| {} |", row.cells.join(" | ")), row.message, row.wrong)
}

#[tokio::test]
async fn every_surface_reports_each_situation_alike() {
    let checks = SITUATIONS.iter().map(async |situation| check(situation).await);
    let all: Vec<(String, String, Vec<String>)> = stream::iter(checks).buffered(4).collect().await;
    let table = all.iter().map(|(row, ..)| row.as_str()).collect::<Vec<_>>().join("\n");
    let wrong: Vec<&str> = all.iter().flat_map(|(.., wrong)| wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "\n{}\n{table}", wrong.join("\n"));
    assert!(DOCUMENTED.contains(&table), "docs/surfaces.md says otherwise:\n{table}");
    let mut messages = String::new();
    for section in all.iter().flat_map(|(_, message, _)| message.split_inclusive("```\n\n")) {
        let (heading, _) = section.split_once('\n').expect("a heading");
        if !messages.contains(&format!("{heading}\n")) {
            messages.push_str(section);
        }
    }
    assert!(MESSAGES.contains(messages.trim_end()), "docs/messages.md says otherwise:\n{messages}");
}
