//! Tests how the program authenticates to Key Vault, according to configuration keys and the environment.

use std::path::Path;

use perennial::azure::identity::{Identity, IdentityHost};
use perennial::config::Config;

use super::{SMALLEST, load};

#[test]
fn a_misspelled_credential_is_reported_with_all_valid_ones() {
    let slip = load(&SMALLEST.replace("azure_cli", "azurecli")).expect_err("a slip").to_string();

    assert_eq!(
        slip,
        "vault.credential: must be `auto`, `workload_identity`, `managed_identity`, `client_secret`, \
         `client_certificate`, `client_assertion` or `azure_cli`"
    );
}

const POD: [(&str, &str); 3] = [
    ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
    ("AZURE_TENANT_ID", "contoso.example"),
    ("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000001"),
];
const APP_SERVICE: [(&str, &str); 2] =
    [("IDENTITY_ENDPOINT", "http://localhost:42356/msi/token"), ("IDENTITY_HEADER", "x")];

fn identity(lines: &str, env: &[(&str, &str)]) -> Result<Identity, String> {
    let text = SMALLEST.replace("credential = \"azure_cli\"", lines);
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::parse(Path::new("perennial.toml"), &text, env);
    config.map(|config| config.vault.identity).map_err(|problems| problems.to_string())
}

#[test]
fn the_environment_supplies_values_without_a_key() {
    let pod = Identity::WorkloadIdentity {
        tenant_id: "contoso.example".into(),
        client_id: "00000000-0000-0000-0000-000000000001".into(),
        token_file: "/var/run/token".into(),
    };
    let service = Identity::ManagedIdentity {
        client_id: None,
        host: IdentityHost::AppService("http://localhost:42356/msi/token".into()),
    };
    let both: Vec<_> = POD.into_iter().chain(APP_SERVICE).collect();

    assert_eq!(identity("", &POD), Ok(pod.clone()));
    assert_eq!(identity("", &both), Ok(pod), "workload identity comes first");
    assert_eq!(identity("", &APP_SERVICE), Ok(service.clone()));
    assert_eq!(identity("credential = \"managed_identity\"", &both), Ok(service));
    assert_eq!(identity("credential = \"auto\"", &[]), Ok(Identity::Unnamed { client_id: None }));
    let imds = Identity::ManagedIdentity { client_id: None, host: IdentityHost::Imds };
    assert_eq!(identity("credential = \"managed_identity\"", &[]), Ok(imds));
}

#[test]
fn a_missing_value_of_an_identity_names_key_and_variable() {
    for (lines, env, says) in [
        (
            "credential = \"workload_identity\"",
            &POD[1..],
            "vault.credential: needs the variable AZURE_FEDERATED_TOKEN_FILE",
        ),
        (
            "",
            &POD[..1],
            "vault.tenant_id: is missing, and so is AZURE_TENANT_ID in the environment\nvault.client_id:",
        ),
        (
            "client_secret = { env = \"X\" }",
            &[],
            "vault.client_secret: is ignored by `credential = \"auto\"`",
        ),
        ("credential = \"managed_identity\"\ntenant_id = \"x\"", &[], "vault.tenant_id: is ignored by"),
        ("", &[("IDENTITY_ENDPOINT", "http://x"), ("IMDS_ENDPOINT", "http://x")], "Azure Arc"),
        ("", &[("MSI_ENDPOINT", "http://x")], "Cloud Shell or Azure ML"),
        (
            "",
            &[
                ("IDENTITY_ENDPOINT", "https://x"),
                ("IDENTITY_HEADER", "x"),
                ("IDENTITY_SERVER_THUMBPRINT", "x"),
            ],
            "Service Fabric",
        ),
    ] {
        let problems = identity(lines, env).expect_err(says);

        assert!(problems.contains(says), "{problems}");
    }
}
