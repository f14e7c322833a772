//! Tests apps without a client secret: the shipped commands with each kind of credential, over HTTPS.

use chrono::TimeDelta;
use perennial::sandbox::world::{CertificatePolicy, ContentType, Fault, FaultEffect, Operation, Peer};
use perennial::token::secret::{SecretAddress, SecretName};
use perennial::token::tags::Tags;
use serde_json::Value;

use super::identities::Env;
use super::{Stage, failed_with, is, leaks};
use crate::support::child::{Child, Ended, eventually};

const IDENTITY: &str = "1dea0000-0000-4000-8000-000000000001";
const AUDIENCE: &str = "api://AzureADTokenExchange";
const ISSUER: &str = "https://oidc.example.com/cluster";

/// The line in the configuration for each credential that is not a client secret.
const KINDS: [&str; 7] = [
    "client_certificate = { key = \"app-certificate\" }",
    "client_certificate = { secret = \"app-certificate\" }",
    "client_certificate = { secret = \"app-pem\" }",
    "client_certificate = { file = \"DIR/app.pem\" }",
    "client_certificate = { file = \"DIR/app.pfx\" }",
    "client_assertion = { managed_identity = \"1dea0000-0000-4000-8000-000000000001\" }",
    "client_assertion = { file = \"DIR/assertion\" }",
];

impl Stage {
    /// Creates a certificate with this name and content type, and registers it at the app. Returns the value of the
    /// vault secret that Key Vault keeps for the certificate.
    fn certificate(&self, name: &str, content_type: ContentType, exportable: bool) -> String {
        let policy = CertificatePolicy { exportable, content_type, ..CertificatePolicy::default() };
        let made = self.makes_a_certificate(name, policy);
        self.world().add_certificate(&self.partner.client_id, &made).expect("a certificate");
        self.world().newest_value(&self.in_vault(name)).expect("stored").expose().to_owned()
    }

    /// Returns the address of the vault object with this name.
    pub(super) fn in_vault(&self, name: &str) -> SecretAddress {
        SecretAddress { name: SecretName::parse(name).expect("a name"), ..self.partner.app_secret.clone() }
    }

    /// Creates a version of a certificate. Returns the certificate in DER form.
    pub(super) fn makes_a_certificate(&self, name: &str, policy: CertificatePolicy) -> Vec<u8> {
        let at = self.in_vault(name);
        self.world().create_certificate("a person", &at, policy, Tags::new()).expect("allowed");
        self.world().get_certificate("a person", &at, None).expect("made just now").certificate.der
    }

    /// Configures another credential for token `one`.
    pub(super) fn replaces_the_secret(&self, line: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let secret = lines.iter().position(|line| line.starts_with("client_secret = { secret = \"one"));
        line.clone_into(&mut lines[secret.expect("the first token's")]);
        std::fs::write(&self.config, lines.join("\n")).expect("our own file");
    }

    /// Gives the app of token `one` this credential instead of its secret. Returns the environment that the program
    /// needs.
    async fn equipped(&self, line: &str) -> Env {
        let world = self.world();
        world.change_app(&self.partner.client_id, |app| app.secrets.clear());
        let exportable = !line.contains("key =");
        let pfx = self.certificate("app-certificate", ContentType::Pkcs12, exportable);
        let pem = self.certificate("app-pem", ContentType::Pem, true);
        let file =
            |name: &str, content: &[u8]| std::fs::write(self.dir.0.join(name), content).expect("our own");
        file("app.pem", pem.as_bytes());
        file(
            "app.pfx",
            &base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pfx).expect("base64"),
        );
        let principal = world.add_managed_identity(&self.partner.tenant_id, IDENTITY);
        let issuer = world.issuer_of(&self.partner.tenant_id);
        world.add_federated(&self.partner.client_id, &issuer, &principal, AUDIENCE).expect("an app");
        world.add_issuer(ISSUER);
        world
            .add_federated(&self.partner.client_id, ISSUER, "system:serviceaccount:a:b", AUDIENCE)
            .expect("an app");
        let assertion =
            world.issue_external(ISSUER, "system:serviceaccount:a:b", AUDIENCE, TimeDelta::hours(1));
        file("assertion", assertion.as_bytes());
        self.replaces_the_secret(&line.replace("DIR", &self.dir.0.display().to_string()));
        self.app_service().await
    }

    fn with(&self, env: &Env, args: &[&str]) -> Child {
        let mut env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
        env.push(("RUST_LOG", "trace"));
        Child::start(&self.config, args, &env)
    }

    async fn ends_well(&self, env: &Env, args: &[&str]) -> Ended {
        let ended = self.with(env, args).ended(&args.join(" ")).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended
    }

    /// Runs `login` with a device code and signs in.
    async fn signs_in(&self, env: &Env) -> Ended {
        self.world().set_device_interval(std::time::Duration::from_secs(1));
        let login = self.with(env, &["login", "one", "--device-code"]);
        let code =
            eventually("a code", || self.world().device_codes().last().map(|(code, _)| code.clone())).await;
        let page = format!("{}/devicelogin", self.sandbox.origin);
        self.browser().press(&page, &[("code", &code), ("user", &self.partner.user_oid)]).await;
        login.ended("login").await
    }
}

#[tokio::test]
async fn every_command_works_with_each_credential_and_prints_none() {
    for line in KINDS {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let env = stage.equipped(line).await;
        let mut printed = String::new();

        let checked = stage.ends_well(&env, &["check", "one", "--write", "--json"]).await;
        let steps: Vec<Value> = serde_json::from_str(&checked.stdout).expect("a list");
        assert!(
            steps.iter().any(|step| step["step"] == "app credential" && step["outcome"] == "ok"),
            "{line}"
        );
        printed += &(checked.stdout + &checked.stderr);
        for args in [&["verify", "one"][..], &["rotate", "one", "--force"], &["status", "one"]] {
            let ended = stage.ends_well(&env, args).await;
            printed += &(ended.stdout + &ended.stderr);
        }
        let token = stage.ends_well(&env, &["access-token", "one"]).await;
        assert!(token.stdout.starts_with("eyJ"), "{line}");
        printed += &token.stderr;
        let login = stage.signs_in(&env).await;
        assert_eq!(login.code, Some(0), "{line}: {}{}", login.stdout, login.stderr);
        printed += &(login.stdout + &login.stderr);

        assert_eq!(stage.world().repeated_assertions(), 0, "{line}");
        assert_eq!(leaks::leaks(&printed, &leaks::secrets(&stage)), Vec::<String>::new(), "{line}");
        assert!(!printed.contains("PRIVATE KEY"), "{line}");
        // Assertions and access tokens both begin with `eyJ`.
        assert!(!printed.contains("eyJ"), "{line}: {printed}");
    }
}

#[tokio::test]
async fn the_daemon_lives_through_an_outage_and_a_restart_with_each_credential() {
    for line in [KINDS[0], KINDS[2], KINDS[5], KINDS[6]] {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let env = stage.equipped(line).await;
        let daemon = stage.with(&env, &["run"]);
        let place = daemon.logs(0, line, |event| is(event, "rotated", "one")).await;
        let (status, retry_after) = (503, None);
        let down = Fault::of(Peer::Entra, FaultEffect::Status { status, retry_after });
        stage.world().inject(down.on(Operation::Redeem).about(&stage.partner.user_oid).times(2));
        let place = daemon.logs(place, line, |event| failed_with(event, "entra_unreachable")).await;
        daemon.logs(place, line, |event| is(event, "proved", "one")).await;
        daemon.signal("TERM");
        assert_eq!(daemon.ended(line).await.code, Some(0), "{line}");

        let again = stage.with(&env, &["run"]);
        again.logs(0, line, |event| is(event, "proved", "one")).await;
    }
}

#[tokio::test]
async fn check_says_whether_the_private_key_can_leave_the_vault() {
    for (exportable, says) in
        [(true, "its private key is exportable"), (false, "its private key cannot leave the vault")]
    {
        let stage = Stage::set(TimeDelta::days(1)).await;
        let env = stage.equipped(KINDS[0]).await;
        if exportable {
            stage.certificate("app-certificate", ContentType::Pkcs12, true);
        }

        let checked = stage.ends_well(&env, &["check", "one"]).await;

        assert!(checked.stdout.contains(says), "{}", checked.stdout);
    }
}

#[tokio::test]
async fn the_requests_of_a_rotation_are_few_with_each_credential() {
    for (line, calls) in [(KINDS[0], 2), (KINDS[1], 1), (KINDS[3], 0), (KINDS[5], 0), (KINDS[6], 0)] {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let env = stage.equipped(line).await;
        let since = chrono::DateTime::UNIX_EPOCH;
        let count = |peer| stage.world().count_calls(peer, None, since);
        let before = (count(Peer::Entra), count(Peer::KeyVault));

        stage.ends_well(&env, &["rotate", "one", "--force"]).await;

        // Entra gets one token request for the vault and one redemption. If the app's credential is the host's
        // identity, Entra also gets one token request for this identity.
        let of_host = usize::from(line == KINDS[5]);
        assert_eq!(count(Peer::Entra) - before.0, 2 + of_host, "{line}");
        // The five calls are: read, list, read again, write, and list again.
        assert_eq!(count(Peer::KeyVault) - before.1, 5 + calls, "{line}");
    }
}
