//! Tests the real program with a strict issuer, which revokes all tokens of a sign-in if one of them is redeemed twice.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use serde_json::Value;

use super::{Stage, failed_with, is, results};
use crate::support::child::{Child, Ended, eventually};

impl Stage {
    async fn strict() -> Self {
        let stage = Self::set(TimeDelta::days(2)).await;
        stage.make_strict();
        stage.world().set_strict(true);
        stage
    }

    fn may_write(&self, allowed: bool) {
        self.world().change_vault(&self.sandbox.origin, |vault| {
            if allowed {
                vault.allowed.insert(Action::SetSecret);
            } else {
                vault.allowed.remove(&Action::SetSecret);
            }
        });
    }

    /// Starts a command. After the command's redemption and before its write, the command loses the right to write.
    async fn holding(&self, args: &[&str]) -> Child {
        let name = self.partner.refresh_token.name.as_str();
        let slow = FaultEffect::Delay(Duration::from_millis(500));
        self.world().inject(Fault::of(Peer::KeyVault, slow).on(Operation::Set).about(name));
        let held = Child::start(&self.config, args, &[("PERENNIAL__POLICY__PROVE_EVERY", "6h")]);
        let redeemed = || {
            self.world().count_calls_where(perennial::process::clock::Timestamp::MIN_UTC, |call| {
                call.operation == Operation::Redeem && call.subject == self.partner.user_oid
            })
        };
        eventually("redeemed", || (redeemed() == 1).then_some(())).await;
        self.may_write(false);
        self.world().clear_faults(None);
        held.logs(0, "it is denied", |event| failed_with(event, "vault_refused")).await;
        held
    }

    fn is_alive(&self) -> bool {
        self.world().is_alive(self.stored().expose())
    }
}

fn step(ended: &Ended, name: &str) -> Value {
    results(ended).into_iter().find(|step| step["step"] == name).expect(name)
}

#[tokio::test]
async fn rotate_redeems_nothing_while_it_may_not_write() {
    let stage = Stage::strict().await;
    stage.may_write(false);

    let ended = stage.run_to_end(&["rotate", "one", "--json"]).await;

    assert_eq!((ended.code, stage.redemptions()), (Some(4), 0), "{}", ended.stdout);
    let result = &results(&ended)[0];
    assert_eq!((&result["kind"], &result["outcome"]), (&"vault_refused".into(), &"failed".into()));
    stage.may_write(true);
    let again = stage.run_to_end(&["rotate", "one"]).await;
    assert_eq!((again.code, stage.is_alive()), (Some(0), true), "{}", again.stdout);
    assert_eq!(stage.versions(), 2);
}

#[tokio::test]
async fn rotate_holds_a_successor_until_it_is_saved() {
    let stage = Stage::strict().await;
    let held = stage.holding(&["rotate", "one", "--json"]).await;

    stage.may_write(true);

    let ended = held.ended("saved").await;
    assert_eq!((ended.code, stage.is_alive()), (Some(0), true), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(results(&ended)[0]["outcome"], "rotated");
}

#[tokio::test]
async fn rotate_interrupted_with_a_held_successor_reports_the_loss() {
    let stage = Stage::strict().await;
    let held = stage.holding(&["rotate", "one", "--json"]).await;

    held.signal("INT");

    let ended = held.ended("given up").await;
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let result = &results(&ended)[0];
    assert_eq!(result["kind"], "login_required");
    assert!(result["summary"].to_string().contains("is lost"), "{result}");
    assert!(result["action"].to_string().contains("perennial login one"), "{result}");
    let status = stage.run_to_end(&["status", "one"]).await.stdout;
    assert!(status.contains("needs_login"), "{status}");
}

#[tokio::test]
async fn rotate_beside_a_daemon_that_holds_a_successor_leaves_the_spent_token_alone() {
    let stage = Stage::strict().await;
    let daemon = stage.holding(&["run"]).await;
    let before = stage.redemptions();

    let ended = stage.run_to_end(&["rotate", "one", "--force", "--json"]).await;

    assert_eq!((ended.code, stage.redemptions()), (Some(1), before), "{}", ended.stdout);
    let result = &results(&ended)[0];
    assert_eq!(result["kind"], "unsaved");
    assert!(result["summary"].to_string().contains("`run`"), "{result}");
    stage.world().advance(TimeDelta::minutes(2));
    let monitored = stage.run_to_end(&["status", "one", "--monitor"]).await;
    assert_eq!(monitored.code, Some(2), "{}", monitored.stdout);
    stage.may_write(true);
    daemon.signal("HUP");
    daemon.logs(0, "saved", |event| is(event, "rotated", "one")).await;
    assert!(stage.is_alive());
}

#[tokio::test]
async fn check_write_never_succeeds_with_the_write_untried() {
    let stage = Stage::strict().await;
    let check = async |args: &[&str]| stage.run_to_end(&[&["check", "one", "--json"], args].concat()).await;

    let plain = check(&[]).await;
    assert_eq!((plain.code, step(&plain, "redeem")["outcome"].as_str()), (Some(0), Some("not_tried")));
    assert_eq!((stage.redemptions(), stage.changes()), (0, 0));

    stage.may_write(false);
    let denied = check(&["--write"]).await;
    assert_eq!((denied.code, step(&denied, "write")["outcome"].as_str()), (Some(4), Some("failed")));
    assert_eq!(stage.redemptions(), 0);
    stage.may_write(true);

    let allowed = check(&["--write"]).await;
    assert_eq!(allowed.code, Some(0), "{}", allowed.stdout);
    for name in ["redeem", "partner center", "update", "write"] {
        assert_eq!(step(&allowed, name)["outcome"], "ok", "{name}: {}", allowed.stdout);
    }
    assert!(stage.is_alive());

    stage.world().change_app(&stage.partner.client_id, |app| app.secrets.clear());
    stage.world().store_app_secret(&stage.partner.app_secret, "not~the~secret", None);
    let refused = check(&["--write"]).await;
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    assert_eq!(step(&refused, "redeem")["outcome"], "failed", "{}", refused.stdout);
}

#[tokio::test]
async fn check_finds_invalid_values_and_dead_tokens() {
    let stage = Stage::strict().await;
    let other = &stage.other;

    stage.world().revoke_user(&stage.partner.user_oid);
    let dead = stage.run_to_end(&["check", "one", "--write", "--json"]).await;
    assert_eq!((dead.code, step(&dead, "redeem")["outcome"].as_str()), (Some(3), Some("failed")));
    let noted = stage.run_to_end(&["check", "one", "--json"]).await;
    assert_eq!((noted.code, step(&noted, "redeem")["outcome"].as_str()), (Some(3), Some("failed")));

    stage.world().human_writes(&other.refresh_token, "two words", perennial::token::tags::Tags::new());
    let words = stage.run_to_end(&["check", "other", "--json"]).await;
    assert_eq!((words.code, step(&words, "redeem")["outcome"].as_str()), (Some(4), Some("failed")));
}
