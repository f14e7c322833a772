//! Tests that the program prints no secret in any encoding, even with the most verbose options.

mod echoes;
mod kernel;
mod shown;
mod sinks;
mod swapped;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, Peer};
use perennial::token::tags::Tags;
use secrecy::ExposeSecret as _;

use super::{Stage, failed_with, is};
use crate::support::child::Child;

/// Returns a secret in each encoding that headers, forms, JSON or `Debug` output can contain.
fn forms(secret: &str) -> Vec<String> {
    let pairs = reqwest::Url::parse_with_params("x:y", [("z", secret)]).expect("a URL");
    let percent = pairs.query().unwrap_or_default().trim_start_matches("z=").to_owned();
    let bytes = format!("{:?}", secret.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']).to_owned();
    let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_owned(), percent, bytes, hex.concat()];
    // Inside a longer text, a secret has three base64 forms, depending on its position. The search uses all three
    // forms. The letters at both ends depend on the text around the secret, so the search leaves out these letters.
    for before in ["", "x", "xx"] {
        let text = format!("{before}{secret}");
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            all.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    all
}

pub(super) fn leaks(text: &str, secrets: &[String]) -> Vec<String> {
    secrets.iter().flat_map(|secret| forms(secret)).filter(|form| text.contains(form.as_str())).collect()
}

/// Returns every text that must not be printed: all tokens of the issuer, all app secrets, and the secret of the
/// identity for Key Vault.
pub(super) fn secrets(stage: &Stage) -> Vec<String> {
    let tokens = stage.world().grants().into_iter().map(|grant| grant.token.expose().to_owned());
    let of_apps = stage.world().apps().into_iter().flat_map(|app| app.secrets);
    let of_apps = of_apps.map(|secret| secret.value.expose_secret().to_owned());
    let in_vault = stage.world().secrets();
    let in_vault = in_vault.iter().flat_map(|at| stage.world().versions_of(at));
    let in_vault = in_vault.map(|version| version.value.expose_secret().to_owned());
    let vault = stage.sandbox.vault_identity.client_secret.expose_secret().to_owned();
    let mut all: Vec<String> = tokens.chain(of_apps).chain(in_vault).chain([vault]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_leak_would_be_found_in_every_form() {
    let secret = "0.AXn~t_a-real/token+at=all".to_owned();
    for form in forms(&secret) {
        assert!(
            !leaks(&format!("a line with {form} in it"), std::slice::from_ref(&secret)).is_empty(),
            "{form}"
        );
    }
    let basic = STANDARD_NO_PAD.encode(format!("client:{secret}"));
    assert!(!leaks(&basic, &[secret]).is_empty());
}

#[tokio::test]
async fn a_daemon_that_logs_everything_prints_no_secret() {
    for format in ["json", "pretty"] {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let world = stage.world();
        let args = ["run", "--log-format", format];
        let daemon = Child::start(&stage.config, &args, &[("RUST_LOG", "trace")]);
        let at_first = stage.stored();
        super::eventually("rotated", || (stage.stored() != at_first).then_some(())).await;

        let redemptions =
            || world.count_calls(Peer::Entra, Some(Operation::Redeem), chrono::DateTime::UNIX_EPOCH);
        for trouble in [
            FaultEffect::Status { status: 503, retry_after: None },
            FaultEffect::Garbage,
            FaultEffect::OAuth {
                status: 400,
                error: "invalid_grant".into(),
                code: Some(53003),
                suberror: None,
            },
            FaultEffect::Distort(Distortion::OtherTenant),
            FaultEffect::Distort(Distortion::NoRefreshToken),
        ] {
            let before = redemptions();
            world.inject(Fault::of(Peer::Entra, trouble).on(Operation::Redeem));
            daemon.signal("HUP");
            super::eventually("met the trouble", || (redemptions() >= before + 2).then_some(())).await;
            world.clear_faults(None);
        }
        world
            .human_writes(&stage.partner.refresh_token, "\"0.AXquoted~by~mistake\"", Tags::new())
            .expect("written");
        world.expire_app_secret(&stage.other.client_id);
        daemon.signal("HUP");
        if format == "json" {
            daemon.logs(0, "the pasted value", |event| failed_with(event, "login_required")).await;
            let refused = |event: &serde_json::Value| {
                is(event, "attempt_failed", "other") && event["kind"] == "app_credential_refused"
            };
            daemon.logs(0, "the app's end", refused).await;
        }
        daemon.signal("TERM");
        let ended = daemon.ended("stopped").await;

        let printed = ended.stdout + &ended.stderr;
        let failed = if format == "json" { "attempt_failed" } else { "attempt failed" };
        assert!(printed.contains(failed) && printed.contains("rotated"), "{printed}");
        assert_eq!(leaks(&printed, &secrets(&stage)), Vec::<String>::new(), "{printed}");
        // Every readable access token begins with `eyJ`.
        assert!(!printed.contains("eyJ") && !printed.contains("Bearer"), "{printed}");
    }
}

#[tokio::test]
async fn a_pass_that_logs_everything_prints_no_secret() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    stage.world().revoke_user(&stage.other.user_oid);

    for args in [["rotate", "--force", "--json"], ["rotate", "--force", "--log-format=pretty"]] {
        let ended = Child::start(&stage.config, &args, &[("RUST_LOG", "trace")]).ended("one pass").await;

        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        let printed = ended.stdout + &ended.stderr;
        assert!(printed.contains("AADSTS50173") && printed.contains("rotated"), "{printed}");
        assert_eq!(leaks(&printed, &secrets(&stage)), Vec::<String>::new(), "{printed}");
        assert!(!printed.contains("eyJ") && !printed.contains("Bearer"), "{printed}");
    }
}
