//! Tests that `check` runs its steps, names what is missing, and writes only with `--write`.

use chrono::TimeDelta;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use serde_json::Value;

use super::{Stage, results};
use crate::support::child::Ended;

fn outcome(ended: &Ended, step: &str) -> String {
    let steps = results(ended);
    let found = steps.iter().find(|it| it["step"] == step);
    found.map_or_else(|| "absent".to_owned(), |it| it["outcome"].as_str().expect("a word").to_owned())
}

fn failed(ended: &Ended) -> Vec<Value> {
    results(ended).into_iter().filter(|step| step["outcome"] == "failed").collect()
}

#[tokio::test]
async fn with_everything_right_each_step_is_ok_and_nothing_is_written() {
    let stage = Stage::set(TimeDelta::days(80)).await;

    let json = stage.run_to_end(&["check", "--json"]).await;
    let text = stage.run_to_end(&["check"]).await;

    assert_eq!((json.code, text.code), (Some(0), Some(0)), "{}{}", json.stdout, json.stderr);
    for step in ["configuration", "identity", "read", "list", "app credential", "redeem", "partner center"] {
        assert_eq!(outcome(&json, step), "ok", "{step}");
    }
    for step in ["update", "write"] {
        assert_eq!(outcome(&json, step), "not_tried", "{step}");
    }
    assert!(text.stdout.contains("ok         identity        one: client_secret"), "{}", text.stdout);
    assert_eq!(stage.changes(), 0);
}

#[tokio::test]
async fn write_proves_by_one_rotation_that_writing_is_allowed() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let before = stage.stored();

    let ended = stage.run_to_end(&["check", "one", "--write", "--json"]).await;

    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!((outcome(&ended, "update"), outcome(&ended, "write")), ("ok".into(), "ok".into()));
    assert_eq!(stage.versions(), 2);
    assert!(stage.world().descends_from(stage.stored().expose(), before.expose()));
    let newest = stage.world().newest_version(&stage.partner.refresh_token).expect("stored");
    assert_eq!(
        newest.tags.get("managed-by"),
        Some(concat!("perennial/", env!("CARGO_PKG_VERSION"), " check"))
    );
}

#[tokio::test]
async fn each_missing_role_is_named_by_its_data_action() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let before = stage.stored();
    let change = |allow: bool, action| {
        stage.world().change_vault(&stage.sandbox.origin, |vault| {
            if allow {
                vault.allowed.insert(action)
            } else {
                vault.allowed.remove(&action)
            };
        });
    };

    for (action, step) in [
        (Action::GetSecret, "read"),
        (Action::ReadMetadata, "list"),
        (Action::Update, "update"),
        (Action::SetSecret, "write"),
    ] {
        change(false, action);
        let ended = stage.run_to_end(&["check", "one", "--write", "--json"]).await;
        change(true, action);

        assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
        let failed = failed(&ended);
        let first = failed.iter().find(|it| it["step"] == step).expect(step);
        let told = first["summary"].as_str().expect("text");
        let cure = first["action"].as_str().expect("text");
        assert!(told.contains(action.as_str()), "{told}");
        assert!(
            cure.contains("az role assignment create --role \"Perennial Secret Rotator\" --assignee 0"),
            "{cure}"
        );
        let app = failed.iter().find(|it| it["step"] == "app credential");
        assert_eq!(app.is_some(), action == Action::GetSecret);
        assert!(
            app.is_none_or(|it| it["action"].to_string().contains("--role \\\"Key Vault Secrets User")),
            "{app:?}"
        );
        assert!(failed.iter().all(|it| it.to_string().contains(action.as_str())), "{failed:?}");
    }
    assert!(stage.world().descends_from(stage.stored().expose(), before.expose()));
    assert_eq!(stage.run_to_end(&["check", "one", "--write"]).await.code, Some(0), "with all of them");
}

#[tokio::test]
async fn check_distinguishes_identity_app_secret_sign_in_and_consent() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let told = async |args: &[&str]| {
        let ended = stage.run_to_end(&[&["check", "one", "--json"], args].concat()).await;
        let [failed] = failed(&ended).try_into().expect(&ended.stdout);
        let text = |key: &str| failed[key].as_str().expect("text").to_owned();
        (ended.code, text("step"), text("action"))
    };

    let no_consent =
        FaultEffect::OAuth { status: 400, error: "invalid_grant".into(), code: Some(65001), suberror: None };
    stage.world().inject(Fault::of(Peer::Entra, no_consent).on(Operation::Redeem));
    let (code, step, cure) = told(&[]).await;
    assert_eq!((code, step.as_str()), (Some(4), "redeem"));
    assert!(cure.contains("/adminconsent?client_id="), "{cure}");
    stage.world().clear_faults(None);

    stage.world().human_deletes(&stage.partner.app_secret);
    let (code, step, cure) = told(&["--no-redeem"]).await;
    assert_eq!((code, step.as_str()), (Some(4), "app credential"));
    assert!(cure.contains("az keyvault secret set"), "{cure}");
    stage.world().human_recovers(&stage.partner.app_secret);

    stage.world().revoke_user(&stage.partner.user_oid);
    let (code, step, cure) = told(&[]).await;
    assert_eq!((code, step.as_str()), (Some(3), "redeem"));
    assert!(cure.contains("perennial login one"), "{cure}");

    std::fs::write(stage.dir.0.join("vault-client-secret"), "wrong").expect("our own file");
    let (code, step, _) = told(&[]).await;
    assert_eq!((code, step.as_str()), (Some(4), "identity"));
    assert_eq!(stage.changes(), 0);
}

#[tokio::test]
async fn the_firewall_is_named_with_the_address_that_it_refuses() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.firewall_refuses = Some("192.0.2.7".into());
    });

    let ended = stage.run_to_end(&["check", "one"]).await;

    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("az keyvault network-rule add --name localhost --ip-address 192.0.2.7"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn a_token_of_a_strict_issuer_is_redeemed_only_to_write_its_successor() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    stage.make_strict();

    let ended = stage.run_to_end(&["check", "one", "--json"]).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert_eq!(
        (outcome(&ended, "redeem"), outcome(&ended, "write")),
        ("not_tried".into(), "not_tried".into())
    );
    assert_eq!((stage.redemptions(), stage.changes()), (0, 0));
    let reads = stage.world().calls_since(perennial::process::clock::Timestamp::MIN_UTC);
    assert!(reads.iter().any(|call| call.operation == Operation::List));
}
