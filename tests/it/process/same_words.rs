//! Tests that every command reports the same rejection with the same action and the same exit code.

use chrono::TimeDelta;
use futures::StreamExt as _;
use futures::stream;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::Stage;

struct Refusal {
    name: &'static str,
    cause: fn(&Stage),
    code: i32,
    cure: &'static str,
}

fn entra_says(stage: &Stage, error: &str, code: u32) {
    let what = FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
    stage.world().inject(Fault::of(Peer::Entra, what).on(Operation::Redeem));
}

fn answers(stage: &Stage, peer: Peer, operation: Operation, status: u16, body: &str) {
    let (content_type, body) = ("text/html", body.to_owned());
    let what = FaultEffect::Verbatim { status, content_type, retry_after: None, body };
    stage.world().inject(Fault::of(peer, what).on(operation));
}

#[rustfmt::skip]
const REFUSALS: &[Refusal] = &[
    Refusal { name: "account disabled", code: 4, cure: "if the user's sessions were revoked too",
        cause: |stage| stage.world().disable_user(&stage.partner.user_oid, true) },
    Refusal { name: "app disabled", code: 4, cure: "--set accountEnabled=true`",
        cause: |stage| stage.world().disable_app(&stage.partner.client_id, true) },
    Refusal { name: "app deleted", code: 4, cure: "restore the app (Entra admin center",
        cause: |stage| stage.world().withdraw_consent(&stage.partner.tenant_id, &stage.partner.client_id) },
    Refusal { name: "public client", code: 4, cure: "under the platform Web",
        cause: |stage| entra_says(stage, "invalid_client", 700_025) },
    Refusal { name: "single-page app", code: 4, cure: "to the platform Web",
        cause: |stage| entra_says(stage, "invalid_grant", 700_084) },
    Refusal { name: "redirect of a single-page app", code: 4, cure: "to the platform Web",
        cause: |stage| entra_says(stage, "invalid_request", 9_002_327) },
    Refusal { name: "no such resource", code: 4, cure: "find the resource of scope",
        cause: |stage| entra_says(stage, "invalid_resource", 500_011) },
    Refusal { name: "no permission", code: 4, cure: "add the permission for scope",
        cause: |stage| entra_says(stage, "invalid_request", 650_057) },
    Refusal { name: "another tenant", code: 4, cure: "set tenant_id of one (now ",
        cause: |stage| entra_says(stage, "invalid_grant", 7_000_012) },
    Refusal { name: "a second factor", code: 3, cure: "sign in with a second factor: `perennial login one`",
        cause: |stage| entra_says(stage, "interaction_required", 50079) },
    Refusal { name: "no token", code: 3, cure: "sign in again: `perennial login one`",
        cause: |stage| entra_says(stage, "invalid_grant", 9_002_313) },
    Refusal { name: "asked too often", code: 1, cure: "if the throttling lasts, find what else signs in",
        cause: |stage| entra_says(stage, "invalid_grant", 50196) },
    Refusal { name: "Entra 429", code: 1, cure: "if the throttling lasts, find what else signs in",
        cause: |stage| answers(stage, Peer::Entra, Operation::Redeem, 429, "") },
    Refusal { name: "Entra 503", code: 1, cure: "see https://azure.status.microsoft",
        cause: |stage| answers(stage, Peer::Entra, Operation::Redeem, 503, "") },
    Refusal { name: "a proxy's page", code: 1, cure: "exempt the real server from blocking",
        cause: |stage| answers(stage, Peer::Entra, Operation::Redeem, 403, "<html>Blocked</html>") },
    Refusal { name: "Key Vault 429", code: 1, cure: "if the throttling lasts, find what else calls the vault",
        cause: |stage| answers(stage, Peer::KeyVault, Operation::Get, 429, "") },
    Refusal { name: "Key Vault 503", code: 1, cure: "see https://azure.status.microsoft, and check the proxy",
        cause: |stage| answers(stage, Peer::KeyVault, Operation::Get, 503, "") },
];

/// Returns the differences between the reports of the commands.
async fn check(refusal: &Refusal) -> Vec<String> {
    let stage = Stage::set(TimeDelta::days(2)).await;
    (refusal.cause)(&stage);

    let mut wrong = Vec::new();
    for command in [&["access-token", "one"][..], &["verify", "one"], &["check", "one"], &["rotate", "one"]] {
        let ended = stage.run_to_end(command).await;
        let told = format!("{}{}", ended.stdout, ended.stderr);
        if ended.code != Some(refusal.code) || !told.contains(refusal.cure) {
            wrong.push(format!("{}: {command:?} ends with {:?}: {told}", refusal.name, ended.code));
        }
    }
    // `status` knows only the tags in the vault, and the tags do not contain the rejection's code. `status` must not
    // guess that the client secret is the cause, because none of these rejections has this cause.
    let status = stage.run_to_end(&["status", "one"]).await.stdout;
    if status.contains("client secret") {
        wrong.push(format!("{}: {status}", refusal.name));
    }
    wrong
}

#[tokio::test]
async fn every_command_reports_the_same_action_and_exit_code() {
    let checks = REFUSALS.iter().map(async |refusal| check(refusal).await);
    let wrong = stream::iter(checks).buffer_unordered(4).collect::<Vec<_>>().await.concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
