//! Tests that `init` writes a configuration that passes `check`, and that it does not overwrite an existing
//! configuration.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use perennial::sandbox::world::Action;
use perennial::token::secret::{SecretAddress, SecretName};
use perennial::token::tags::Tags;

use super::Stage;
use crate::support::child::{Child, Ended, eventually};

impl Stage {
    /// Runs a command with the environment of a pod. The configuration has no `[cloud]`, so environment variables set
    /// the keys of `[cloud]`.
    async fn in_a_pod(&self, config: &Path, args: &[&str]) -> Ended {
        self.start_in_a_pod(config, args, Child::start).ended(&args.join(" ")).await
    }

    fn start_in_a_pod(
        &self,
        config: &Path,
        args: &[&str],
        start: impl Fn(&Path, &[&str], &[(&str, &str)]) -> Child,
    ) -> Child {
        let pod = std::fs::read_to_string(self.dir.0.join("workload-identity.env")).expect("written");
        let mut env: Vec<(&str, &str)> =
            pod.lines().map(|line| line.split_once('=').expect("a variable")).collect();
        let ca = self.dir.0.join("ca.pem").display().to_string();
        let origin = &*self.sandbox.origin;
        env.push(("PERENNIAL__CLOUD__AUTHORITY", origin));
        env.push(("PERENNIAL__CLOUD__PARTNER_CENTER", origin));
        env.push(("PERENNIAL__CLOUD__CA_FILE", &ca));
        start(config, args, &env)
    }

    fn new_file(&self) -> PathBuf {
        self.dir.0.join("new/perennial.toml")
    }

    fn store(&self, name: &str, value: &str) {
        let name = SecretName::parse(name).expect("a name");
        let at = SecretAddress { vault: (&*self.sandbox.origin).into(), name };
        self.world().human_writes(&at, value, Tags::default()).expect("stored");
    }
}

#[tokio::test]
async fn init_completes_flags_from_the_vault_and_the_file_passes_check() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (file, vault) = (stage.new_file(), stage.sandbox.origin.to_string());
    let flags = ["init", "--vault", &vault, "--tenant", &stage.partner.tenant_id];

    let missing = stage.in_a_pod(&file, &flags).await;
    assert_eq!((missing.code, file.exists()), (Some(2), false), "{}", missing.stderr);
    assert!(missing.stderr.contains("--client-id"), "{}", missing.stderr);
    let written =
        stage.in_a_pod(&file, &[&flags[..], &["--client-id", &stage.partner.client_id]].concat()).await;
    let checked = stage.in_a_pod(&file, &["check", "--write"]).await;

    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let next = &written.stdout;
    assert!(
        ["perennial check", "perennial login partner-center", "perennial run"]
            .iter()
            .all(|it| next.contains(it))
    );
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("refresh_token = \"one-refresh-token\""), "{text}");
    assert!(text.contains("client_secret = { secret = \"one-app-secret\" }"), "{text}");
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("workload_identity"), "{}", checked.stdout);
    let mode = |path: &Path| std::fs::metadata(path).expect("written").permissions().mode() & 0o777;
    let for_the_daemon = (mode(&file), mode(file.parent().expect("a directory")));
    assert_eq!(for_the_daemon, (0o644, 0o755), "which runs as another user");
}

#[tokio::test]
async fn cipps_names_are_known() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let secret = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    stage.store("ApplicationID", &stage.partner.client_id);
    stage.store("ApplicationSecret", secret.expose());
    stage.store("TenantID", &stage.partner.tenant_id);
    stage.store("RefreshToken", stage.stored().expose());
    let file = stage.new_file();

    let written = stage.in_a_pod(&file, &["init", "--vault", &stage.sandbox.origin, "--from", "cipp"]).await;
    let checked = stage.in_a_pod(&file, &["check"]).await;

    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("client_id = { secret = \"ApplicationID\" }"), "{text}");
    assert!(
        text.contains(&stage.partner.tenant_id) && text.contains("refresh_token = \"RefreshToken\""),
        "{text}"
    );
    assert!(!text.contains(secret.expose()) && !written.stderr.contains(secret.expose()));
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
}

#[tokio::test]
async fn on_a_terminal_each_answer_is_checked_as_it_is_given() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (file, vault) = (stage.new_file(), stage.sandbox.origin.to_string());
    let mut init = stage.start_in_a_pod(&file, &["init"], Child::start_on_terminal);

    let mut asked = 0;
    for (prompt, wrong, right) in [
        ("The vault's address (such as https://", "contoso", vault.as_str()),
        ("The app's client id (such as ", "00000000-0000-0000-0000-000000000000", &stage.partner.client_id),
        (
            "The tenant's id or domain (such as contoso.onmicrosoft.com)",
            "common",
            "  'contoso.onmicrosoft.com' ",
        ),
        ("The name of the vault secret with the app's secret [one-app-secret]", "two words", ""),
        ("The name of the vault secret for the refresh token [one-refresh-token]", "a/b", "mine"),
    ] {
        eventually(prompt, || init.told()[asked..].contains(prompt).then_some(())).await;
        asked = init.told().len();
        init.types(wrong);
        eventually("it is refused", || init.told()[asked..].contains("The value ").then_some(())).await;
        let told = init.told();
        assert!(
            told[asked..].contains("The value must be")
                || told[asked..].contains("The value is a placeholder"),
            "{told}"
        );
        init.types(right);
    }
    let ended = init.ended("written").await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = std::fs::read_to_string(&file).expect("written");
    for line in [
        format!("url = {vault:?}"),
        "tenant_id = \"contoso.onmicrosoft.com\"".to_owned(),
        format!("client_id = {:?}", stage.partner.client_id),
        "client_secret = { secret = \"one-app-secret\" }".to_owned(),
        "refresh_token = \"mine\"".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn an_existing_file_is_kept_without_force() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let before = std::fs::read_to_string(&stage.config).expect("written");
    let vault = "https://contoso.vault.azure.net";
    let all = [
        "init",
        "--vault",
        vault,
        "--tenant",
        "contoso.example",
        "--client-id",
        "00000000-0000-0000-0000-000000000001",
        "--app-secret",
        "a",
        "--refresh-token",
        "b",
    ];

    let kept = stage.run_to_end(&all).await;
    assert_eq!(kept.code, Some(2));
    assert_eq!(std::fs::read_to_string(&stage.config).expect("kept"), before);
    let wrong = stage.in_a_pod(&stage.new_file(), &[&all[..], &["--name", "no name"]].concat()).await;
    assert_eq!((wrong.code, stage.new_file().exists()), (Some(2), false), "{}", wrong.stderr);
    let forced = stage.run_to_end(&[&all[..], &["--force"]].concat()).await;

    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert!(std::fs::read_to_string(&stage.config).expect("there").contains(vault));
    assert!(
        stage.world().calls_since(perennial::process::clock::Timestamp::MIN_UTC).is_empty(),
        "all was said"
    );
}

#[tokio::test]
async fn without_the_right_to_list_flags_suffice() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let (file, vault) = (stage.new_file(), stage.sandbox.origin.to_string());
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.remove(&Action::ReadMetadata);
    });

    for (given, missing) in [
        (&["--client-id", &*stage.partner.client_id][..], "--tenant, --app-secret, --refresh-token;"),
        (&["--from", "cipp"], "--tenant;"),
    ] {
        let refused = stage.in_a_pod(&file, &[&["init", "--vault", &vault], given].concat()).await;

        assert_eq!((refused.code, file.exists()), (Some(4), false), "{}", refused.stderr);
        assert!(
            refused
                .stderr
                .contains(&format!("pass the missing values with {missing} or run `init` as a user who")),
            "{}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("role assignment"), "{}", refused.stderr);
    }
}
