//! Tests that a file and the environment give a `Config`, or a list of all problems.

mod apps;
mod identity;
mod values;

use std::path::Path;
use std::time::Duration;

use perennial::azure::cloud::CloudName;
use perennial::azure::identity::Identity;
use perennial::config::{Config, ConfigProblems};
use perennial::ports::{SecretRole, VaultError};
use perennial::token::app::CredentialSource;
use perennial::token::managed::Verify;
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use proptest::prelude::*;

const SMALLEST: &str = r#"
    [vault]
    url = "https://contoso.vault.azure.net"
    credential = "azure_cli"

    [[token]]
    name = "partner-center"
    tenant_id = "5f2a1f0e-3b86-4b0e-9f7a-1c1d2e3f4a5b"
    client_id = { secret = "partner-app-id" }
    client_secret = { secret = "partner-app-secret" }
    refresh_token = "partner-refresh-token"
"#;

/// A word that the tests use in every value that must not be shown.
const CANARY: &str = "c4n4ry";

#[test]
fn the_smallest_file_brings_every_default() {
    let config = load(SMALLEST).expect("sound");

    let grant = &config.tokens[0];
    assert_eq!(config.vault.identity, Identity::AzureCli);
    assert_eq!(config.cloud.name, CloudName::Public);
    assert_eq!(config.cloud.authority.as_str(), "https://login.microsoftonline.com/");
    assert_eq!(config.cloud.graph.as_str(), "https://graph.microsoft.com/");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    assert!(config.http.status, "names may be shown on loopback");
    assert_eq!(config.policy.rotate_after, Duration::from_secs(7 * 86_400));
    assert_eq!(grant.policy, config.policy);
    assert_eq!(grant.secret.to_string(), "https://contoso.vault.azure.net/secrets/partner-refresh-token");
    assert_eq!(&*grant.scope, "https://api.partnercenter.microsoft.com/user_impersonation");
    assert_eq!(grant.verify, Verify::PartnerCenter);
    assert!(!grant.strict);
}

#[test]
fn five_mistakes_are_five_lines_and_no_value() {
    let problems = load(include_str!("five_mistakes.toml")).expect_err("five mistakes");

    assert_eq!(
        keys(&problems),
        ["htpp", "policy.rotate_after", "token[0].client_secret", "token[0].name", "vault.url"]
    );
    let shown = problems.to_string();
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.contains("htpp: is not a key; did you mean `http`?"), "{shown}");
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn a_missing_file_is_named() {
    let absent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("absent.toml");

    let missing = Config::load(&absent, std::iter::empty()).expect_err("absent").to_string();
    let folder = Config::load(absent.parent().expect("a folder"), std::iter::empty());

    assert!(missing.contains("absent.toml: not found"), "{missing}");
    assert!(folder.expect_err("a folder").to_string().ends_with(": is not a regular file"));
}

#[test]
fn a_variable_wins_over_the_file_and_is_named_when_wrong() {
    let secret = ("PERENNIAL__VAULT__CREDENTIAL", "client_secret");
    let set = [
        secret,
        ("PERENNIAL__VAULT__TENANT_ID", "contoso.com"),
        ("PERENNIAL__VAULT__CLIENT_ID", "00000000-0000-0000-0000-000000000123"),
        ("PERENNIAL__VAULT__CLIENT_SECRET__CREDENTIAL", "vault-app"),
        ("PERENNIAL__HTTP__LISTEN", "[::]:9464"),
    ];

    let config = load_with(SMALLEST, &set).expect("sound");
    let problems = load_with(SMALLEST, &[("PERENNIAL__HTTP__LISTEN", CANARY)]).expect_err("no address");

    let Identity::ClientSecret { client_secret, .. } = config.vault.identity else {
        panic!("the variable wins")
    };
    assert_eq!(client_secret, Source::Credential("vault-app".into()));
    assert!(!config.http.status, "names are for loopback only");
    assert!(problems.to_string().starts_with("http.listen (PERENNIAL__HTTP__LISTEN): must be"), "{problems}");
}

#[test]
fn tokens_do_not_come_from_the_environment() {
    let problems = load_with(SMALLEST, &[("PERENNIAL__TOKEN__REFRESH_TOKEN", CANARY)]).expect_err("a token");

    assert_eq!(keys(&problems), ["PERENNIAL__TOKEN__REFRESH_TOKEN"]);
    assert!(!problems.to_string().contains(CANARY));
}

#[test]
fn two_tokens_on_one_secret_are_refused_whatever_the_case() {
    let second = with_token(
        "refresh_token = \"PARTNER-Refresh-Token\"\nvault_url = \"https://CONTOSO.vault.azure.net/\"",
    );

    let problems = load(&second).expect_err("one secret");

    assert_eq!(keys(&problems), ["token[1].refresh_token"]);
}

#[test]
fn a_token_that_is_read_as_another_secret_is_refused() {
    let second = with_token("refresh_token = \"partner-app-SECRET\"");

    let problems = load(&second).expect_err("it would be written over");

    assert_eq!(keys(&problems), ["token[0].client_secret"]);
}

#[test]
fn the_same_secret_name_in_another_vault_is_another_secret() {
    let second = with_token(
        "refresh_token = \"partner-refresh-token\"\nvault_url = \"https://other.vault.azure.net\"",
    );

    assert_eq!(load(&second).expect("sound").tokens.len(), 2);
}

#[test]
fn a_collision_shows_even_where_the_token_has_other_mistakes() {
    let second = with_token("refresh_token = \"partner-refresh-token\"\nuser_oid = \"c4n4ry\"");

    assert_eq!(keys(&load(&second).expect_err("two")), ["token[1].refresh_token", "token[1].user_oid"]);
}

#[test]
fn names_differ_by_more_than_case() {
    let second = with_token("refresh_token = \"b\"").replace("second", "Partner-Center");

    assert_eq!(keys(&load(&second).expect_err("one name")), ["token[1].name"]);
}

#[test]
fn a_refresh_token_comes_from_a_vault_and_nowhere_else() {
    for from in ["{ env = \"c4n4ry\" }", "{ file = \"c4n4ry\" }", "\"0.c4n4ry_.pasted\""] {
        let text = SMALLEST.replace("\"partner-refresh-token\"", from);

        let problems = load(&text).expect_err("not a secret's name");

        assert_eq!(keys(&problems), ["token[0].refresh_token"]);
        assert!(!problems.to_string().contains(CANARY), "{problems}");
    }
}

#[test]
fn a_source_has_exactly_one_key() {
    let replaced = |with: &str| SMALLEST.replace("{ secret = \"partner-app-secret\" }", with);
    let refused = [
        ("{}", "token[0].client_secret"),
        ("{ secret = \"a\", file = \"b\" }", "token[0].client_secret"),
        ("{ sercet = \"a\" }", "token[0].client_secret.sercet"),
        ("{ secret = \"../a\" }", "token[0].client_secret.secret"),
        ("{ secret = \"a\", vault = \"contoso\" }", "token[0].client_secret.vault"),
        ("{ file = \"a\", vault = \"https://x.vault.azure.net\" }", "token[0].client_secret.vault"),
        ("{ file = \"\" }", "token[0].client_secret.file"),
        ("7", "token[0].client_secret"),
    ];

    for (source, key) in refused {
        assert_eq!(keys(&load(&replaced(source)).expect_err(source)), [key], "{source}");
    }
    let far = load(&replaced("{ secret = \"a\", vault = \"https://far.vault.azure.net\" }")).expect("sound");
    let CredentialSource::Secret(Source::Secret(address)) = &far.tokens[0].app.credential else {
        panic!("a vault secret")
    };
    assert_eq!(&*address.vault, "https://far.vault.azure.net");
}

#[test]
fn the_vaults_own_credential_cannot_be_in_the_vault() {
    let text = SMALLEST.replace(
        "credential = \"azure_cli\"",
        "credential = \"client_secret\"\ntenant_id = \"common\"\nclient_secret = { secret = \"x\" }",
    );

    let problems = load(&text).expect_err("a circle");

    assert_eq!(keys(&problems), ["vault.client_id", "vault.client_secret", "vault.tenant_id"]);
}

#[test]
fn a_policy_leaves_room_for_failures() {
    let policy = |text: &str| load(&format!("{SMALLEST}\n[policy]\n{text}"));
    let refused = [
        ("rotate_after = \"31d\"", "policy.rotate_after"),
        ("prove_every = \"9s\"", "policy.prove_every"),
        ("prove_every = \"31d\"", "policy.prove_every"),
        ("lifetime = \"20d\"", "policy.rotate_after"),
        ("lifetime = \"99999999d\"", "policy.lifetime"),
        ("rotate_after = 7", "policy.rotate_after"),
    ];

    for (text, key) in refused {
        assert_eq!(keys(&policy(text).expect_err(text)), [key], "{text}");
    }
    assert!(policy("rotate_after = \"30d\"").is_ok());
    assert!(policy("rotate_after = \"1m\"\nprove_every = \"10s\"").is_ok(), "what the sandbox asks for");
}

#[test]
fn another_cloud_brings_its_own_hosts() {
    let config = load(&format!("{SMALLEST}\n[cloud]\nname = \"china\"")).expect("sound");

    assert_eq!(config.cloud.authority.as_str(), "https://login.partner.microsoftonline.cn/");
    assert_eq!(
        &*config.tokens[0].scope,
        "https://partner.partnercenterapi.microsoftonline.cn/user_impersonation"
    );
    assert_eq!(config.tokens[0].verify, Verify::PartnerCenter);
    assert_eq!(config.cloud.name.vault_audience().as_str(), "https://vault.azure.cn/");
}

#[test]
fn plain_http_is_rejected_everywhere() {
    let text = format!(
        "{SMALLEST}\n[cloud]\nauthority = \"http://localhost\"\npartner_center = \"http://localhost\""
    );

    assert_eq!(keys(&load(&text).expect_err("plain")), ["cloud.authority", "cloud.partner_center"]);
}

#[test]
fn a_scope_of_another_app_is_not_shown_to_partner_center() {
    let graph = SMALLEST.to_owned() + "\nscope = \"https://graph.microsoft.com/User.Read\"";

    assert_eq!(load(&graph).expect("sound").tokens[0].verify, Verify::Nothing);
}

#[test]
fn optional_keys_are_read() {
    let more = r#"
        owner = "Ops, ext. 12"
        user_oid = "5F2A1F0E-3B86-4B0E-9F7A-1C1D2E3F4A5B"
        app_secret_expires = 2027-03-31
        verify = "none"
        strict = true
    "#;
    let text =
        SMALLEST.replace("{ secret = \"partner-app-id\" }", "\"5F2A1F0E-3B86-4B0E-9F7A-1C1D2E3F4A5B\"");

    let config = load(&format!("{text}{more}")).expect("sound");

    let grant = &config.tokens[0];
    assert_eq!(grant.owner.as_deref(), Some("Ops, ext. 12"));
    assert_eq!(grant.user_oid.as_deref(), Some("5f2a1f0e-3b86-4b0e-9f7a-1c1d2e3f4a5b"));
    assert_eq!(grant.app.client_id, ConfigValue::Plain("5f2a1f0e-3b86-4b0e-9f7a-1c1d2e3f4a5b".into()));
    assert_eq!(grant.app_secret_expires, Some("2027-03-31T00:00:00Z".parse().expect("a time")));
    assert_eq!(grant.verify, Verify::Nothing);
    assert!(grant.strict);
}

#[test]
fn an_action_names_a_command_as_it_is_typed_here() {
    let file = |command: &str| {
        let alerts = format!("[alerts]\ncommand = {command:?}\n");
        load(&format!("{SMALLEST}\n{alerts}"))
    };
    let typed =
        |command: &str| file(command).expect("valid").tokens[0].deployment.typed("`perennial check a`");

    assert_eq!(typed("docker exec -it perennial perennial"), "`docker exec -it perennial perennial check a`");
    assert_eq!(load(SMALLEST).expect("valid").tokens[0].deployment.command, "perennial");
    for wrong in ["a`b", " ", "two\nlines"] {
        let told = file(wrong).expect_err(wrong).to_string();
        assert!(told.contains("alerts.command"), "{told}");
    }
}

#[test]
fn a_missing_vault_is_reported_once_for_all_tokens() {
    let text = with_token("refresh_token = \"b\"").replace("url = \"https://contoso.vault.azure.net\"", "");

    let problems = load(&text).expect_err("no vault");

    assert_eq!(problems.to_string(), "vault.url: is missing, and so is token[0].vault_url");
}

#[test]
fn problems_of_an_empty_file_name_the_required_keys() {
    assert_eq!(keys(&load("").expect_err("empty")), ["token"]);
    assert_eq!(keys(&load("token = 1\nvault = \"c4n4ry\"").expect_err("wrong kinds")), ["token", "vault"]);
}

#[test]
fn a_name_that_the_merging_crate_takes_for_a_path_does_no_harm() {
    let problems = load("\"token[9223372036854775807]\" = 1").expect_err("no key");

    assert_eq!(problems.to_string(), "\"token[9223372036854775807]\": is not a key");
}

proptest! {
    #[test]
    fn no_file_causes_a_panic_or_a_leak(text in "[a-z\\[\\]{}=.\"'# \n0-9\\\\\u{e9}\u{1b}]{0,40}", at in 0usize..40) {
        let at = text.char_indices().map(|(i, _)| i).nth(at).unwrap_or(text.len());
        let text = format!("{}= \"{CANARY}\"{}", &text[..at], &text[at..]);

        assert_silent(load(&text))?;
    }

    #[test]
    fn no_value_of_any_key_causes_a_panic_or_a_leak(
        values in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..12),
        variables in proptest::collection::vec(("(VAULT|CLOUD|POLICY|HTTP|TOKEN|X|)(__[A-Z_]{0,9}){0,3}", ".{0,8}"), 0..4),
    ) {
        let mut sections: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
        let all: Vec<(&str, &str)> =
            perennial::config::KEYS.iter().flat_map(|(s, keys)| keys.iter().map(move |k| (*s, *k))).collect();
        for (index, value) in values {
            let (section, key) = *index.get(&all);
            sections.entry(section).or_default().push(format!("{key} = {value}"));
        }
        let mut text = String::new();
        for (section, mut lines) in sections {
            lines.sort();
            lines.dedup_by_key(|line| line.split(' ').next().map(ToOwned::to_owned));
            let head = if section == "token" { "[[token]]".into() } else { format!("[{section}]") };
            text.extend([&head, "\n", &lines.join("\n"), "\n"]);
        }
        let variables: Vec<(String, String)> =
            variables.into_iter().map(|(k, v)| (format!("PERENNIAL__{k}"), format!("{v}{CANARY}"))).collect();

        assert_silent(Config::parse(Path::new("perennial.toml"), &text, variables.into_iter()))?;
    }
}

/// Generates TOML values with the canary in every text.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -!#-\\[\\]-~\u{e9}]{0,12}".prop_map(|text| format!("\"{text}{CANARY}\"")),
        Just(format!("\"https://{CANARY}.vault.azure.net\"")),
        Just(format!("\"http://u:{CANARY}@x/{CANARY}?{CANARY}\"")),
        Just(format!("{{ secret = \"{CANARY}\", file = \"{CANARY}\" }}")),
        Just(format!("{{ env = \"{CANARY}\" }}")),
        Just(format!("[\"{CANARY}\"]")),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        Just("1e999".to_owned()),
        Just("99999999999999999999999".to_owned()),
        Just("2027-03-31T00:00:00Z".to_owned()),
    ]
}

fn assert_silent(result: Result<Config, ConfigProblems>) -> Result<(), TestCaseError> {
    if let Err(problems) = result {
        prop_assert!(!problems.problems.is_empty());
        let shown = format!("{problems}\n{problems:?}");
        prop_assert!(!shown.contains(CANARY), "{}", shown);
    }
    Ok(())
}

fn load(text: &str) -> Result<Config, ConfigProblems> {
    load_with(text, &[])
}

fn load_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigProblems> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::parse(Path::new("perennial.toml"), text, env)
}

/// Returns the smallest configuration with a second token.
fn with_token(more: &str) -> String {
    format!(
        "{SMALLEST}
        [[token]]
        name = \"second\"
        tenant_id = \"contoso.com\"
        client_id = \"5f2a1f0e-3b86-4b0e-9f7a-1c1d2e3f4a5b\"
        client_secret = {{ env = \"APP_SECRET\" }}
        {more}"
    )
}

/// Returns the keys that have problems, in alphabetical order.
fn keys(problems: &ConfigProblems) -> Vec<&str> {
    let mut keys: Vec<&str> = problems.problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_us_government_has_its_own_entra_and_vaults_and_the_public_partner_center() {
    let config = load(&format!("{SMALLEST}\n[cloud]\nname = \"usgov\"")).expect("sound");

    assert_eq!(config.cloud.authority.as_str(), "https://login.microsoftonline.us/");
    assert_eq!(config.cloud.name.vault_audience().as_str(), "https://vault.usgovcloudapi.net/");
    assert_eq!(config.cloud.graph.as_str(), "https://graph.microsoft.us/");
    assert_eq!(config.cloud.partner_center.as_str(), "https://api.partnercenter.microsoft.com/");
    assert_eq!(&*config.tokens[0].scope, "https://api.partnercenter.microsoft.com/user_impersonation");
}

#[test]
fn graph_has_an_address_for_emulators() {
    let graph = |line: &str| load(&format!("{SMALLEST}\n[cloud]\nname = \"china\"\n{line}"));

    let china = graph("").expect("sound");
    assert_eq!(china.cloud.graph.as_str(), "https://microsoftgraph.chinacloudapi.cn/");
    let own = graph("graph = \"https://localhost:8443/graph\"").expect("sound");
    assert_eq!(own.cloud.graph.as_str(), "https://localhost:8443/graph");
    assert_eq!(own.cloud.name.graph(), china.cloud.graph, "the audience stays");
    assert_eq!(keys(&graph("graph = \"http://c4n4ry\"").expect_err("no TLS")), ["cloud.graph"]);
}

#[test]
fn a_cloud_that_an_action_names_can_be_configured() {
    for host in ["vault.azure.net", "vault.usgovcloudapi.net", "vault.azure.cn"] {
        let at = SecretAddress {
            vault: format!("https://contoso.{host}").into(),
            name: SecretName::parse("pc-token").expect("a name"),
        };
        let refused = VaultError::Unauthorized { akv: Some(10022) }.failure(SecretRole::Own, &at);
        let action = refused.action.expect("an action");
        let (name, _) = action
            .strip_prefix("set name of [cloud] to ")
            .and_then(|rest| rest.split_once(','))
            .expect("it names a cloud");

        let config = load(&format!("{SMALLEST}\n[cloud]\nname = \"{name}\"")).expect("accepted");

        assert!(config.cloud.name.vault_audience().as_str().ends_with(&format!("{host}/")), "{name}");
    }
}
