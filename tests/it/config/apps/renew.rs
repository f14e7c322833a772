//! Tests `renew` of an `[[app]]`: the defaults, and the reported key of each mistake.

use chrono::TimeDelta;
use perennial::token::app::{RenewIdentity, RenewPolicy};

use super::{ID, SMALLEST, load, refused, shared};

const SECRET: &str = "client_secret = { secret = \"partner-app-secret\" }";

/// Returns a file with a token whose app has this credential and this `renew`.
fn app(credential: &str, renew: &str) -> String {
    shared(&format!("name = \"shared\"\nclient_id = \"{ID}\"\n{credential}\nrenew = {renew}"))
}

fn policy(renew: &str) -> RenewPolicy {
    load(&app(SECRET, renew)).expect(renew).tokens[0].app.renew.clone().expect("renewal is on")
}

#[test]
fn renewal_is_off_unless_configured() {
    let without = app(SECRET, "{}").replace("renew = {}", "");

    assert_eq!(load(&without).expect("sound").tokens[0].app.renew, None);
    assert_eq!(load(SMALLEST).expect("sound").tokens[0].app.renew, None);
}

#[test]
fn an_empty_renew_takes_all_defaults() {
    let default = policy("{}");

    assert_eq!(default, RenewPolicy::default());
    assert_eq!(default.lifetime, TimeDelta::days(180));
    assert_eq!(default.before, TimeDelta::days(45));
    assert_eq!(default.identity, RenewIdentity::Vault);
    assert!(default.known.is_empty());
}

#[test]
fn every_key_of_renew_is_read() {
    let upper = ID.to_uppercase();
    let all = policy(&format!(
        "{{ lifetime = \"90d\", before = \"30d\", identity = \"app\", known = [\"{upper}\", \" Pipeline \"] }}"
    ));

    assert_eq!(all.lifetime, TimeDelta::days(90));
    assert_eq!(all.before, TimeDelta::days(30));
    assert_eq!(all.identity, RenewIdentity::App);
    assert_eq!(all.known, [ID.into(), "Pipeline".into()], "key ids in lower case");
    assert_eq!(policy("{ lifetime = \"9d\", before = \"8d\" }").before, TimeDelta::days(8));
    assert_eq!(policy("{ lifetime = \"730d\", before = \"729d\" }").lifetime, TimeDelta::days(730));
}

#[test]
fn mistakes_in_renew_name_their_key() {
    let long = format!("{{ known = [\"{}\"] }}", "x".repeat(121));
    for (renew, key, says) in [
        ("\"180d\"", "", "must be a table of keys"),
        ("true", "", "must be a table of keys"),
        ("{ lifetim = \"180d\" }", ".lifetim", "did you mean `lifetime`?"),
        ("{ lifetime = 180 }", ".lifetime", "must be text in quotes"),
        ("{ lifetime = \"180\" }", ".lifetime", "must be a number with a unit"),
        ("{ lifetime = \"7d\" }", ".lifetime", "must be between 8d and 730d"),
        ("{ lifetime = \"731d\" }", ".lifetime", "must be between 8d and 730d"),
        ("{ lifetime = \"500000000000y\" }", ".lifetime", "must be"),
        ("{ lifetime = \"290000000000y\" }", ".lifetime", "must be between 8d and 730d"),
        ("{ before = \"7d\" }", ".before", "must be at least 8d"),
        ("{ before = \"180d\" }", ".before", "1d shorter than `lifetime`"),
        ("{ lifetime = \"30d\" }", ".before", "the default is 45d"),
        ("{ lifetime = \"8d\", before = \"8d\" }", ".before", "1d shorter than `lifetime`"),
        ("{ before = 7 }", ".before", "must be text in quotes"),
        ("{ identity = \"me\" }", ".identity", "must be `vault` or `app`"),
        ("{ known = \"x\" }", ".known", "must be a list of at least one text"),
        ("{ known = [] }", ".known", "at least one"),
        ("{ known = [7] }", ".known", "must be a list of at least one text"),
        ("{ known = [\"a\\u0007\"] }", ".known", "must be a list of at least one text"),
        (&long, ".known", "at most 120 characters"),
    ] {
        refused(&app(SECRET, renew), &format!("app[0].renew{key}"), says);
    }
}

#[test]
fn all_mistakes_in_renew_are_reported_together() {
    let text = app(SECRET, "{ lifetime = \"1d\", identity = \"me\", known = [] }");
    let problems = load(&text).expect_err("three mistakes");

    assert_eq!(
        super::keys(&problems),
        ["app[0].renew.identity", "app[0].renew.known", "app[0].renew.lifetime"]
    );
}

#[test]
fn only_a_credential_in_a_vault_can_be_renewed() {
    for (credential, says) in [
        ("client_secret = { file = \"/x\" }", "needs a client secret in a vault"),
        ("client_secret = { env = \"X\" }", "needs a client secret in a vault"),
        ("client_secret = { credential = \"x\" }", "needs a client secret in a vault"),
        ("client_certificate = { file = \"/x\" }", "needs a certificate in a vault"),
        ("client_certificate = { env = \"X\" }", "needs a certificate in a vault"),
        ("client_certificate = { credential = \"x\" }", "needs a certificate in a vault"),
        ("client_assertion = { file = \"/x\" }", "is only for client secrets"),
        (&format!("client_assertion = {{ managed_identity = \"{ID}\" }}"), "is only for client secrets"),
    ] {
        refused(&app(credential, "{}"), "app[0].renew", says);
    }
}

#[test]
fn a_certificate_is_renewed_with_the_validity_that_its_policy_sets() {
    for credential in ["client_certificate = { key = \"app\" }", "client_certificate = { secret = \"app\" }"]
    {
        let renewed = load(&app(credential, "{ before = \"200d\" }")).expect(credential);
        let policy = renewed.tokens[0].app.renew.clone().expect("renewal is on");
        assert_eq!(policy.before, TimeDelta::days(200));
        let says = "is only for client secrets";
        refused(&app(credential, "{ lifetime = \"90d\" }"), "app[0].renew.lifetime", says);
    }
}

#[test]
fn a_token_with_its_own_app_cannot_renew() {
    let text = SMALLEST.replace(SECRET, &format!("{SECRET}\nrenew = {{}}"));

    refused(
        &text,
        "token[0].renew",
        "is a key of [[app]]: move client_id, the credential and `renew` to an [[app]]",
    );
}

const OTHER_ID: &str = "11111111-1b4c-4a5e-8a6f-0123456789ab";

/// Returns a file with an app whose secret Perennial renews, and with a second app and its token.
fn two(second: &str) -> String {
    let token =
        "\n[[token]]\nname = \"two\"\ntenant_id = \"contoso.com\"\napp = \"two\"\nrefresh_token = \"two\"";
    app(SECRET, "{}") + token + "\n[[app]]\nname = \"two\"\n" + second
}

#[test]
fn a_renewed_secret_belongs_to_one_app() {
    let same = SECRET.replace("partner-app-secret", "Partner-App-SECRET");
    refused(
        &two(&format!("client_id = \"{OTHER_ID}\"\n{same}")),
        "app[1].client_secret",
        "is also app[0].client_secret: Perennial renews this secret for an app with another client_id, so use another secret",
    );
    refused(
        &two(&format!("client_id = \"{OTHER_ID}\"\n{same}\nrenew = {{}}")),
        "app[1].client_secret",
        "for an app with another client_id",
    );
    refused(
        &two(&format!("client_id = \"{ID}\"\n{same}\nrenew = {{}}")),
        "app[1].client_secret",
        "merge the two [[app]] into one",
    );
    let in_token = app(SECRET, "{}")
        + "\n[[token]]\nname = \"two\"\ntenant_id = \"contoso.com\"\nrefresh_token = \"two\"\n"
        + &format!("client_id = \"{OTHER_ID}\"\n{SECRET}");
    refused(&in_token, "token[1].client_secret", "for an app with another client_id");
}

#[test]
fn other_apps_may_read_their_own_secrets_and_the_same_app_its_renewed_one() {
    for second in [
        format!("client_id = \"{OTHER_ID}\"\nclient_secret = {{ secret = \"another\" }}\nrenew = {{}}"),
        format!("client_id = \"{OTHER_ID}\"\nclient_secret = {{ env = \"X\" }}"),
        format!("client_id = \"{ID}\"\n{SECRET}"),
    ] {
        let config = load(&two(&second));
        assert!(config.is_ok(), "{second}: {config:?}");
    }
}

#[test]
fn an_id_from_the_same_vault_secret_is_the_same_id() {
    let from = |name: &str| format!("client_id = {{ secret = \"{name}\" }}");
    let text = two(&format!("{}\n{SECRET}", from("APP-id"))).replacen(
        &format!("client_id = \"{ID}\""),
        &from("app-id"),
        1,
    );

    assert!(load(&text).is_ok(), "{:?}", load(&text));
}
