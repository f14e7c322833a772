//! Tests that `access-token` prints only one token and writes nothing to the vault.

use chrono::TimeDelta;
use perennial::process::clock::{Clock, Timestamp};
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use perennial::token::AccessToken;
use perennial::token::claims::Claims;
use serde_json::Value;

use super::{Stage, leaks};
use crate::support::child::{Child, Ended};

impl Stage {
    /// Returns the number of calls that have changed the vault.
    pub(super) fn changes(&self) -> usize {
        let changing = [Operation::Set, Operation::Update, Operation::Delete];
        let calls = self.world().calls_since(Timestamp::MIN_UTC);
        calls.iter().filter(|call| changing.contains(&call.operation)).count()
    }

    pub(super) fn redemptions(&self) -> usize {
        self.world().count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC)
    }

    /// Sets `strict = true` for each token, since the issuer of a `strict` token invalidates redeemed tokens.
    pub(super) fn make_strict(&self) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let strict = text.replace("\nrefresh_token = ", "\nstrict = true\nrefresh_token = ");
        std::fs::write(&self.config, strict).expect("our own file");
    }

    async fn access_token(&self, args: &[&str]) -> Ended {
        let args = [&["access-token", "one"], args].concat();
        Child::start(&self.config, &args, &[("RUST_LOG", "trace")]).ended("access-token").await
    }
}

fn claims(token: &str) -> Claims {
    AccessToken::new(token).claims().expect("a token of the stand-in's")
}

#[tokio::test]
async fn one_token_is_printed_and_nothing_else() {
    let stage = Stage::set(TimeDelta::days(80)).await;

    let bare = stage.access_token(&[]).await;
    let header = stage.access_token(&["--header"]).await;
    let json = stage.access_token(&["--json"]).await;

    let token = bare.stdout.strip_suffix('\n').expect("a newline at the end");
    assert!(!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()), "one word");
    let claims = claims(token);
    assert_eq!(claims.tid.as_deref(), Some(stage.partner.tenant_id.as_str()));
    assert_eq!(claims.appid.as_deref(), Some(stage.partner.client_id.as_str()));
    assert_eq!(claims.oid.as_deref(), Some(stage.partner.user_oid.as_str()));
    assert_eq!((claims.mfa(), claims.scp.as_deref()), (Some(true), Some("user_impersonation")));
    let line = header.stdout.strip_suffix('\n').expect("a newline at the end");
    assert!(line.starts_with("Authorization: Bearer ey") && !line.contains('\n'));
    let object: Value = serde_json::from_str(&json.stdout).expect("an object");
    assert_eq!(
        (&object["token_type"], object.as_object().map(serde_json::Map::len)),
        (&"Bearer".into(), Some(3))
    );
    let left = object["expires_on"].as_i64().expect("a number") - Clock::host().now().timestamp();
    assert!((0..=2 * 60 * 60).contains(&left), "{left}");
    for ended in [&bare, &header, &json] {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut secrets = leaks::secrets(&stage);
        secrets.push(token.to_owned());
        assert_eq!(leaks::leaks(&ended.stderr, &secrets), Vec::<String>::new());
        assert!(!ended.stderr.contains("eyJ"), "{}", ended.stderr);
    }
    assert_eq!((stage.redemptions(), stage.changes(), stage.versions()), (3, 0, 1));
}

#[tokio::test]
async fn a_scope_option_is_requested() {
    let stage = Stage::set(TimeDelta::days(1)).await;

    let ended = stage.access_token(&["--scope", "https://graph.microsoft.com/User.Read"]).await;
    let elsewhere = stage.access_token(&["--tenant", "nowhere.onmicrosoft.com"]).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(claims(ended.stdout.trim()).scp.as_deref(), Some("User.Read"));
    assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (Some(4), ""), "{}", elsewhere.stderr);
}

#[tokio::test]
async fn command_line_mistakes_are_named_as_typed() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let customer = "11111111-2222-3333-4444-555555555555";
    stage.world().add_customer(&stage.partner.tenant_id, customer, "customer.onmicrosoft.com", &[]);

    for (args, code, told) in [
        (["--tenant", "nosuch.onmicrosoft.com"], "AADSTS90002", "set --tenant (now nosuch.onmicrosoft.com)"),
        (["--tenant", customer], "AADSTS700016", "and --tenant (11111111-2222-3333-4444-555555555555)"),
        (["--scope", "x y"], "AADSTS70011", "correct --scope (x y)"),
        (["--scope", "https://nosuch.example/x"], "AADSTS500011", "of --scope https://nosuch.example/x in"),
    ] {
        let ended = stage.access_token(&args).await;

        assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(code) && ended.stderr.contains(told), "{args:?}: {}", ended.stderr);
        let key = if args[0] == "--tenant" { "tenant_id of one" } else { "scope of one" };
        assert!(!ended.stderr.contains(key), "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_customers_tenant_works_after_consent_to_the_app() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let customer = "11111111-2222-3333-4444-555555555555";
    let app = stage.partner.client_id.as_str();
    stage.world().add_customer(&stage.partner.tenant_id, customer, "customer.onmicrosoft.com", &[app]);

    let ended = stage.access_token(&["--tenant", customer]).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(claims(ended.stdout.trim()).tid.as_deref(), Some(customer));
}

#[tokio::test]
async fn without_a_token_stdout_is_empty_and_the_exit_code_says_who_must_act() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let none = async |args: &[&str]| {
        let ended = stage.access_token(args).await;
        assert_eq!(ended.stdout, "");
        ended.code
    };

    stage.world().inject(Fault::of(Peer::Entra, FaultEffect::Status { status: 503, retry_after: None }));
    assert_eq!(none(&[]).await, Some(1), "it may pass");
    stage.world().clear_faults(None);
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.remove(&Action::GetSecret);
    });
    assert_eq!(none(&[]).await, Some(4), "a role is missing");
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.insert(Action::GetSecret);
    });
    stage.world().revoke_user(&stage.partner.user_oid);
    assert_eq!(none(&[]).await, Some(3), "a person must sign in");
    assert_eq!(none(&["--json", "--header"]).await, Some(2), "one or the other");
    stage.make_strict();
    let redeemed = stage.redemptions();
    assert_eq!(none(&[]).await, Some(4), "its issuer kills what is spent");
    assert_eq!(stage.redemptions(), redeemed);
    std::fs::write(&stage.config, "[vault").expect("our own file");
    assert_eq!(none(&[]).await, Some(78));
}

#[tokio::test]
async fn a_token_of_another_user_is_not_printed() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let pinned = text.replacen(
        "\nrefresh_token = ",
        "\nuser_oid = \"00000000-0000-0000-0000-00000000abcd\"\nrefresh_token = ",
        1,
    );
    std::fs::write(&stage.config, pinned).expect("our own file");

    let ended = stage.access_token(&[]).await;

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    assert!(ended.stderr.contains("not for the configured user"), "{}", ended.stderr);
}
