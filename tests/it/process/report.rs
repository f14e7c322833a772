//! Tests that the file of `check --report` contains no secret and no name.

use std::os::unix::fs::PermissionsExt as _;

use chrono::TimeDelta;
use serde_json::Value;

use super::Stage;
use super::leaks::{leaks, secrets};

#[tokio::test]
async fn a_report_has_the_steps_and_no_secret_and_no_name() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let text = text.replacen(
        "[[token]]",
        "[alerts]\ninstance = \"secret-host\"\n\n[[token]]\nowner = \"Ops & Söhne\"",
        1,
    );
    std::fs::write(&stage.config, text).expect("our own file");
    let path = stage.dir.0.join("report.json");
    let file = path.display().to_string();
    // An operator copied a part of the token into a tag. The report must not show this tag's value.
    let planted = stage.stored().expose().to_owned();
    stage.world().retag(&stage.partner.refresh_token, |tags| tags.insert("planted", &planted[..40]));

    let daemon = stage.start(&["run"]);
    let listen = daemon.address().await;
    let args = ["check", "--report", &file];
    let env = [
        ("PERENNIAL__HTTP__LISTEN", listen.as_str()),
        ("HTTPS_PROXY", ""),
        ("AZURE_CLIENT_SECRET", "c4n4ry"),
    ];
    let ended = crate::support::child::Child::start(&stage.config, &args, &env).ended("checked").await;

    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("Read it before you send it"), "{}", ended.stderr);
    assert_eq!(std::fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("written");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["step"] == "redeem" && step["token"] == "token-1"), "{text}");
    assert_eq!(report["configuration"]["tokens"][0]["name"], "token-1", "{text}");
    assert_eq!(report["daemon"]["status"]["tokens"][0]["name"], "token-1", "{text}");
    assert!(report["host"]["variables"].as_array().expect("a list").contains(&"AZURE_CLIENT_SECRET".into()));
    assert_eq!(leaks(&text, &secrets(&stage)), Vec::<String>::new(), "{text}");
    let user = stage.world().user(&stage.partner.user_oid).expect("there");
    for name in [
        "\"one\"",
        "one-refresh-token",
        "one-app-secret",
        &stage.partner.tenant_id,
        &stage.partner.client_id,
        &stage.partner.user_oid,
        &user.upn,
        "localhost",
        "secret-host",
        "Söhne",
        "c4n4ry",
        "planted",
    ] {
        assert!(!text.contains(name), "{name}: {text}");
    }
    let again = stage.run_to_end(&args).await;
    assert_eq!(again.code, Some(2), "a file is not written over: {}", again.stderr);
}

#[tokio::test]
async fn a_wrong_configuration_can_be_reported_too() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    std::fs::write(&stage.config, "[vault]\nurl = \"c4n4ry\"\nodd = \"c4n4ry\"\n").expect("our own file");
    let path = stage.dir.0.join("report.json");

    let ended = stage.run_to_end(&["check", "--report", &path.display().to_string()]).await;

    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    let text = std::fs::read_to_string(&path).expect("written");
    assert!(text.contains("\"vault.odd\"") && !text.contains("c4n4ry"), "{text}");
}
