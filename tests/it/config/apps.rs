//! Tests `[[app]]` and the credentials of an app: the valid forms, and the reported key of each mistake.

mod renew;

use std::path::Path;

use perennial::config::{Config, ConfigProblems};
use perennial::token::app::CredentialSource;
use perennial::token::secret::{SecretAddress, SecretName, Source};

use super::{SMALLEST, keys, load};

const CLIENT_SECRET: &str = "client_secret = { secret = \"partner-app-secret\" }";
const ID: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";

/// Returns the smallest configuration, with `lines` instead of the client secret.
fn with(lines: &str) -> String {
    SMALLEST.replace(CLIENT_SECRET, lines)
}

/// Returns the smallest configuration, with an `[[app]]` that the token uses.
fn shared(app: &str) -> String {
    let token = SMALLEST.replace("client_id = { secret = \"partner-app-id\" }", "app = \"shared\"");
    format!("{}\n[[app]]\n{app}", token.replace(CLIENT_SECRET, ""))
}

fn at(vault: &str, name: &str) -> SecretAddress {
    SecretAddress { vault: vault.into(), name: SecretName::parse(name).expect("a name") }
}

#[test]
fn an_app_has_one_credential_of_five_kinds() {
    let here = "https://contoso.vault.azure.net";
    for (line, credential) in [
        ("client_secret = { env = \"X\" }", CredentialSource::Secret(Source::Env("X".into()))),
        (
            "client_certificate = { secret = \"app\" }",
            CredentialSource::Certificate(Source::Secret(at(here, "app"))),
        ),
        (
            "client_certificate = { file = \"/etc/app.pem\" }",
            CredentialSource::Certificate(Source::File("/etc/app.pem".into())),
        ),
        (
            "client_certificate = { credential = \"app\" }",
            CredentialSource::Certificate(Source::Credential("app".into())),
        ),
        ("client_certificate = { key = \"app\" }", CredentialSource::VaultKey(at(here, "app"))),
        (
            "client_certificate = { key = \"app\", vault = \"https://keys.vault.azure.net/\" }",
            CredentialSource::VaultKey(at("https://keys.vault.azure.net", "app")),
        ),
        (
            &format!("client_assertion = {{ managed_identity = \"{ID}\" }}"),
            CredentialSource::ManagedIdentity(ID.into()),
        ),
        (
            "client_assertion = { file = \"/run/token\" }",
            CredentialSource::Assertion(Source::File("/run/token".into())),
        ),
    ] {
        let in_token = load(&with(line)).expect(line);
        let in_app = load(&shared(&format!("name = \"shared\"\nclient_id = \"{ID}\"\n{line}"))).expect(line);

        assert_eq!(in_token.tokens[0].app.credential, credential, "{line}");
        assert_eq!(in_app.tokens[0].app.credential, credential, "{line}");
    }
}

#[test]
fn tokens_share_an_app_by_its_name_in_any_case() {
    let app = format!(
        "name = \"Shared\"\ntenant_id = \"fabrikam.com\"\nclient_id = \"{ID}\"\nobject_id = \"{ID}\"\n\
         client_certificate = {{ key = \"app\" }}"
    );
    let second =
        "\n[[token]]\nname = \"two\"\ntenant_id = \"contoso.com\"\napp = \"SHARED\"\nrefresh_token = \"two\"";
    let config = load(&(shared(&app) + second)).expect("sound");

    let [one, two] = &config.tokens[..] else { panic!("two tokens") };
    assert!(std::sync::Arc::ptr_eq(&one.app, &two.app));
    assert_eq!(one.app.home_tenant.as_deref(), Some("fabrikam.com"));
    assert_eq!(one.app.object_id.as_deref(), Some(ID));
    assert_eq!(one.app.name.as_deref(), Some("Shared"));
}

#[test]
fn mistakes_in_an_apps_credential_name_their_key() {
    let token = [
        ("", "token[0].client_secret", "is missing"),
        (
            "client_secret = { env = \"X\" }\nclient_certificate = { key = \"app\" }",
            "token[0].client_certificate",
            "cannot be combined with `client_secret`: an app has exactly one credential",
        ),
        (
            "client_certificate = { key = \"app\" }\nclient_assertion = { file = \"/x\" }",
            "token[0].client_assertion",
            "cannot be combined with `client_certificate`",
        ),
        ("client_certificate = \"-----BEGIN\"", "token[0].client_certificate", "must not be written here"),
        ("client_certificate = {}", "token[0].client_certificate", "must name exactly one of"),
        (
            "client_certificate = { key = \"app\", file = \"/x\" }",
            "token[0].client_certificate",
            "must name exactly one of",
        ),
        ("client_certificate = { key = \"../app\" }", "token[0].client_certificate.key", "must be"),
        (
            "client_certificate = { file = \"/x\", vault = \"https://x.vault.azure.net\" }",
            "token[0].client_certificate.vault",
            "is only valid with `secret`",
        ),
        (
            "client_assertion = { managed_identity = \"x\" }",
            "token[0].client_assertion.managed_identity",
            "must be",
        ),
        ("client_assertion = { secret = \"x\" }", "token[0].client_assertion.secret", "is not a key"),
        (
            "client_assertion = { file = \"/x\", env = \"X\" }",
            "token[0].client_assertion",
            "must name exactly one of",
        ),
        (
            "client_certificate = { key = \"partner-refresh-token\" }",
            "token[0].client_certificate",
            "is the vault secret of",
        ),
    ];
    for (lines, key, says) in token {
        refused(&with(lines), key, says);
    }
}

#[test]
fn mistakes_in_apps_name_their_key() {
    let good = format!("name = \"shared\"\nclient_id = \"{ID}\"\nclient_certificate = {{ key = \"app\" }}");
    for (text, key, says) in [
        (shared("name = \"other\"") + &good[15..], "token[0].app", "is not the name of an [[app]]"),
        (shared(&good) + "\n[[app]]\n" + &good, "app[1].name", "is the same name as app[0].name"),
        (SMALLEST.to_owned() + "\n[[app]]\n" + &good, "app[0].name", "is used by no token"),
        (
            shared(&good).replace("app = \"shared\"", "app = \"shared\"\nclient_secret = { env = \"X\" }"),
            "token[0].client_secret",
            "cannot be combined with `app`",
        ),
        (shared(&good.replace(ID, "x")), "app[0].client_id", "must be"),
        (
            shared(&good.replace("client_certificate = { key = \"app\" }", "")),
            "app[0].client_secret",
            "is missing",
        ),
        (format!("app = 7\n{SMALLEST}"), "app", "must be a list"),
    ] {
        refused(&text, key, says);
    }
}

#[test]
fn a_managed_identity_of_an_unsupported_host_is_refused_for_an_app() {
    let text = with(&format!("client_assertion = {{ managed_identity = \"{ID}\" }}"));
    let arc = [("IDENTITY_ENDPOINT", "http://x"), ("IMDS_ENDPOINT", "http://x")];
    let arc = arc.map(|(name, value)| (name.to_owned(), value.to_owned()));

    let problems = Config::parse(Path::new("x.toml"), &text, arc.into_iter()).expect_err("Azure Arc");

    assert_eq!(keys(&problems), ["token[0].client_assertion.managed_identity"]);
    assert!(problems.to_string().contains("Azure Arc"), "{problems}");
}

fn refused(text: &str, key: &str, says: &str) {
    let problems: ConfigProblems = load(text).expect_err(says);

    let found = problems.problems.iter().find(|problem| problem.key == key);
    let found = found.unwrap_or_else(|| panic!("{key} {says}: {problems}"));
    assert!(found.what.contains(says), "{problems}");
}
