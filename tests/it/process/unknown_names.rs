//! Names that no resolver knows: told with who can mend it, waited for, and taken up once they are there.

use std::process::Command;

use chrono::TimeDelta;

use super::Stage;
use super::child::Child;
use super::is;

/// Runs the program where only these files are asked for a host's address.
const ON_ITS_OWN: &str =
    "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/nsswitch.conf && exec \"$2\" run";

impl Stage {
    /// Has the configuration know everything by its number, but for the address of one key.
    fn name_only(&self, key: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let line = |line: &str| {
            if line.starts_with(&format!("{key} =")) {
                line.to_owned()
            } else {
                line.replace("//localhost:", "//127.0.0.1:")
            }
        };
        let text: Vec<String> = text.lines().map(line).collect();
        assert!(text.iter().any(|line| line.contains("//localhost:")), "{key} is not in {text:?}");
        std::fs::write(&self.config, text.join("\n")).expect("our own file");
    }
}

async fn is_told_and_waited_for(key: &str, kind: &str, remedy: &str, by_host: bool) {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let env = if by_host { stage.app_service().await } else { Vec::new() };
    if by_host {
        stage.identify("");
    }
    stage.name_only(key);
    let (hosts, order) = (stage.dir.0.join("hosts"), stage.dir.0.join("nsswitch.conf"));
    std::fs::write(&hosts, "").expect("our own file");
    std::fs::write(&order, "hosts: files\n").expect("our own file");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", ON_ITS_OWN]).arg(&hosts).arg(order);
    command.arg(env!("CARGO_BIN_EXE_perennial")).envs(env);

    let mut daemon = Child::of(command, &stage.config);

    let unknown = |event: &serde_json::Value| {
        is(event, "attempt_failed", "one")
            && event["kind"] == kind
            && event["remedy"] == remedy
            && event.to_string().contains("the host name does not exist")
    };
    let place = daemon.logs(0, "that the name does not exist", unknown).await;
    daemon.signal("HUP");
    let place = daemon.logs(place, "the same once more", unknown).await;
    assert!(daemon.is_running());
    std::fs::write(&hosts, "127.0.0.1 localhost\n").expect("our own file");
    daemon.signal("HUP");
    daemon.logs(place, "taken up", |event| is(event, "rotated", "one")).await;
}

#[tokio::test]
async fn a_vault_whose_name_is_not_known() {
    is_told_and_waited_for("url", "vault_refused", "operator", false).await;
}

#[tokio::test]
async fn an_issuer_whose_name_is_not_known() {
    is_told_and_waited_for("authority", "entra_unreachable", "retry", true).await;
}

/// The identity that opens the vault is the issuer's to prove.
#[tokio::test]
async fn an_identitys_issuer_whose_name_is_not_known() {
    is_told_and_waited_for("authority", "vault_identity", "operator", false).await;
}
