//! Tests of the action texts: each text names the object to change, by the name in the configuration or on the admin
//! page.

mod every_advice;

use std::path::PathBuf;

use super::*;
use crate::net::no_response::{NoResponse, TlsFault};
use crate::ports::failure::Trace;
use crate::process::clock::Timestamp;
use crate::token::app::CredentialSource;
use crate::token::secret::{SecretAddress, SecretName, Source};

static UNTRACED: Trace = Trace { code: None, trace_id: None, correlation_id: None };

/// The place for an identity that `[vault]` configures without a secret or a certificate.
const VAULT: CredentialPlace<'static> = CredentialPlace::Vault { client_secret: None, certificate: None };

pub(in crate::ports::diagnosis) fn address(name: &str) -> SecretAddress {
    SecretAddress {
        vault: "https://contoso.vault.azure.net".into(),
        name: SecretName::parse(name).expect("a name"),
    }
}

pub(in crate::ports::diagnosis) fn of_app(credential: &CredentialSource) -> CredentialPlace<'_> {
    CredentialPlace::App { credential, now: Timestamp::UNIX_EPOCH }
}

/// Creates the subject for a rejection of the stored token `partner-center`.
pub(in crate::ports::diagnosis) fn subject(place: CredentialPlace<'_>) -> Subject<'_> {
    Subject {
        name: "partner-center",
        tenant: "contoso.com",
        client_id: "APP",
        authority: "https://login.microsoftonline.com/",
        command: "perennial",
        scope: "https://api.partnercenter.microsoft.com/user_impersonation",
        way: LoginMethod::Stored,
        place,
        user_oid: None,
        trace: &UNTRACED,
    }
}

fn secret() -> CredentialSource {
    CredentialSource::Secret(Source::Env("APP_SECRET".into()))
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn an_action_repeats_the_method_of_the_sign_in() {
    use LoginMethod as Way;
    let secret = secret();
    for (advice, way, told) in [
        (Advice::SignIn, Way::Stored, "sign in again: `perennial login partner-center`"),
        (Advice::SignIn, Way::Code, "sign in again: `perennial login partner-center`"),
        (Advice::SignIn, Way::DeviceCode, "sign in again: `perennial login partner-center --device-code`"),
        (Advice::SignIn, Way::Import, "sign in instead: `perennial login partner-center`"),
        (Advice::StoredValue, Way::Stored, "the stored value is not a working refresh token"),
        (Advice::StoredValue, Way::Import, "check that the token is complete and belongs to app APP"),
        (Advice::StoredValue, Way::Code, "start the sign-in again"),
        (Advice::StoredValue, Way::DeviceCode, "start the sign-in again"),
        (Advice::Policy, Way::Stored, "find the failed sign-in in Entra admin center"),
        (Advice::Policy, Way::DeviceCode, "many tenants block the device code flow: sign in by browser"),
        (Advice::NoClientSecret, Way::Stored, "store a client secret of the app: `az ad app credential"),
        (Advice::NoClientSecret, Way::DeviceCode, "allow the device code flow for app APP"),
    ] {
        let text = advice.text(&Subject { way, ..subject(of_app(&secret)) });

        assert!(text.starts_with(told), "{advice:?}, {way:?}: {text}");
    }
}

/// Entra's page has a tab for each kind of sign-in, and lists each sign-in in only one tab.
#[test]
fn a_failed_sign_in_is_looked_up_in_the_tab_that_lists_it() {
    let traced = Trace { correlation_id: Some("c0ffee".into()), ..Trace::default() };
    let secret = secret();
    let (app, silent) = (of_app(&secret), "User sign-ins (non-interactive)");
    for (place, way, tenant, trace, told) in [
        (app, LoginMethod::Stored, "t", &UNTRACED, format!("{silent}, tenant t, filter by app APP")),
        (
            app,
            LoginMethod::Import,
            "t",
            &traced,
            format!("{silent}, tenant t, filter by correlation id c0ffee"),
        ),
        (
            app,
            LoginMethod::Code,
            "t",
            &UNTRACED,
            "User sign-ins (interactive), tenant t, filter by".to_owned(),
        ),
        (app, LoginMethod::DeviceCode, "t", &UNTRACED, "User sign-ins (interactive), tenant t".to_owned()),
        (
            VAULT,
            LoginMethod::Stored,
            "t",
            &UNTRACED,
            "Service principal sign-ins, tenant t, filter by".to_owned(),
        ),
        (
            VAULT,
            LoginMethod::Stored,
            "",
            &UNTRACED,
            "sign-ins, the tenant of this identity, filter by".to_owned(),
        ),
    ] {
        let text = Subject { tenant, way, trace, ..subject(place) }.sign_in_logs();

        contains(&text, &["Entra admin center, Sign-in logs, ", &told]);
    }
}

#[test]
fn a_rejected_identity_of_the_vault_is_not_taken_for_a_token() {
    let secret = secret();
    let names = |advice: Advice, of_token: &[&str], of_vault: &[&str]| {
        contains(&advice.text(&subject(of_app(&secret))), of_token);
        contains(&advice.text(&subject(VAULT)), of_vault);
    };

    names(
        Advice::AppId,
        &["client_id of partner-center (APP)", "tenant_id of partner-center (contoso.com)", "--id APP`"],
        &["client_id of [vault] (APP)", "tenant_id of [vault] (contoso.com)", "--id APP`"],
    );
    names(Advice::Cloud, &["or correct tenant_id of partner-center"], &["or correct tenant_id of [vault]"]);
    names(
        Advice::Throttled,
        &["signs in as the user and app of partner-center: Entra admin center, Sign-in logs"],
        &["signs in as the app of [vault]: Entra admin center, Sign-in logs"],
    );
    names(
        Advice::Resource,
        &["the resource of scope https://api.partnercenter", "tenant contoso.com", "correct tenant_id of"],
        &["Azure Key Vault's service principal in tenant contoso.com", "az ad sp update --id cfa8b339"],
    );
    names(
        Advice::Policy,
        &["change the conditional access policy that the log names: allow the user"],
        &["policy for workload identities", "exclude the service principal of app APP"],
    );
}

#[test]
fn each_action_names_what_a_person_must_change() {
    let secret = secret();
    let consent = "https://login.microsoftonline.com/contoso.com/adminconsent?client_id=APP";
    let login = "`perennial login partner-center`";
    let replace = "`perennial login partner-center --replace-user`";
    let scope = "scope https://api.partnercenter.microsoft.com/user_impersonation";
    let rows: &[(Advice, &[&str])] = &[
        (Advice::SignInFrequency, &[login, "excludes the user from that policy", "Sign-in logs"]),
        (Advice::SecondFactor, &["sign in with a second factor", login]),
        (Advice::NewPassword, &["set a new password", login]),
        (Advice::StartAgain, &["start the sign-in again", login]),
        (Advice::AcceptConsent, &["accept the consent", login]),
        (Advice::Device, &["on a device that the tenant accepts", login]),
        (Advice::EnableAccount, &["enable the user's account", "tenant contoso.com", login]),
        (Advice::UnblockAccount, &["remove the block", "Sign-in logs"]),
        (Advice::AssignUser, &["assign the user to the app", "APP, Users and groups, tenant contoso.com"]),
        (Advice::AccountOrTenant, &["tenant_id of partner-center (contoso.com)", "Deleted users", replace]),
        (Advice::Risk, &["Risky users, tenant contoso.com", "Sign-in logs"]),
        (Advice::Consent, &["have an administrator give consent", consent, scope]),
        (Advice::Permission, &["add the permission for", "to app APP", scope, consent]),
        (Advice::ClientSecret, &["create a new client secret", "credential reset --id APP"]),
        (
            Advice::EnableApp,
            &["`az ad sp update --id APP --set accountEnabled=true` (in tenant contoso.com)"],
        ),
        (Advice::ServicePrincipal, &["in tenant contoso.com: `az ad sp create --id APP`", consent]),
        (Advice::AppPlatform, &["make app APP a confidential client", "not under Mobile", login]),
        (Advice::RedirectAsWeb, &["move the redirect URI http://localhost of app APP", "24 hours", login]),
        (Advice::RedirectUri, &["register the redirect URI http://localhost for app APP", "platform Web"]),
        (Advice::Assertion, &["certificate that Perennial signs with", "APP", "15 minutes"]),
        (
            Advice::FederatedCredential,
            &["in tenant contoso.com", "federated-credential list --id APP`", "15 minutes"],
        ),
        (Advice::Clock, &["`timedatectl set-ntp true`"]),
        (Advice::Tenant, &["tenant_id of partner-center (now contoso.com)", "name of [cloud]", login]),
        (Advice::Cloud, &["name of [cloud] to the cloud of tenant contoso.com"]),
        (
            Advice::Request,
            &["correct the scope of partner-center", "https://login.microsoftonline.com/", login],
        ),
        (
            Advice::PersonalAccount,
            &["personal Microsoft account", "work account of tenant contoso.com", replace],
        ),
        (Advice::Outage, &["https://azure.status.microsoft", "and https://login.microsoftonline.com/"]),
        (Advice::Network(NoResponse::Proxy), &["HTTPS_PROXY", "https://login.microsoftonline.com/"]),
        (Advice::Intercepted, &["in place of https://login.microsoftonline.com/", "proxy"]),
    ];
    for (advice, parts) in rows {
        contains(&advice.text(&subject(of_app(&secret))), parts);
    }
}

#[test]
fn an_action_contains_the_identifiers_that_are_known() {
    let secret = secret();
    let traced = Trace { code: Some(90092), trace_id: Some("0badc0de".into()), ..Trace::default() };
    let unknown = subject(of_app(&secret));
    let known = Subject { user_oid: Some("OID"), trace: &traced, ..unknown };

    contains(&Advice::EnableAccount.text(&known), &["az ad user update --id OID --account-enabled true"]);
    assert!(Advice::Support.text(&known).ends_with("the trace id 0badc0de"));
    assert!(Advice::Support.text(&unknown).ends_with("the trace id"));
    let page = "https://login.microsoftonline.com/error?code=90092; Perennial retries";
    contains(&Advice::LookUp.text(&known), &[page]);
    contains(&Advice::LookUp.text(&unknown), &["Sign-in logs", "by app APP", "Perennial retries"]);
}

#[test]
fn a_scope_is_corrected_only_if_it_is_not_partner_centers() {
    let secret = secret();
    let usual = subject(of_app(&secret));
    let odd = Subject { scope: "https://api.example/a/b", ..usual };

    contains(
        &Advice::Scope.text(&usual),
        &[
            "add the permission for scope https://api.partnercenter",
            "adminconsent",
            "tenant_id of partner-center",
        ],
    );
    contains(&Advice::Scope.text(&odd), &["correct the scope of partner-center (https://api.example/a/b)"]);
    let itself = Advice::TokenForItself.text(&odd);
    contains(
        &itself,
        &["client_id of partner-center (APP)", "(https://api.example/a/b)", "exempt https://login"],
    );
    let default = |of: &Subject<'_>| Advice::DefaultScope.text(of);
    contains(&default(&odd), &["to https://api.example/a/.default;", "exempt https://login"]);
    let plain = default(&Subject { scope: "openid", ..usual });
    contains(&plain, &["set scope of partner-center to openid/.default"]);
}

#[test]
fn commands_start_with_the_command_of_this_deployment() {
    let secret = secret();
    let here = Subject { command: "docker exec -it p perennial", ..subject(of_app(&secret)) };

    let text = Advice::SignIn.text(&here);

    assert_eq!(text, "sign in again: `docker exec -it p perennial login partner-center`");
}

#[test]
fn a_new_client_secret_goes_where_the_old_one_is_read() {
    let in_vault = CredentialSource::Secret(Source::Secret(address("app-secret")));
    let (file, env) = (Source::File(PathBuf::from("/etc/secret")), Source::Env("APP_SECRET".into()));
    let systemd = Source::Credential("app-secret".into());
    let of = |place: CredentialPlace<'_>| subject(place).new_client_secret();
    let app = |source: &Source| of(of_app(&CredentialSource::Secret(source.clone())));
    let vault = |source| of(CredentialPlace::Vault { client_secret: source, certificate: None });

    // The expected date is 180 days after the current time, which is 1970-01-01 in this test.
    contains(
        &of(of_app(&in_vault)),
        &[
            "credential reset --id APP --append --display-name perennial --end-date 1970-06-30 ",
            "--vault-name contoso --name app-secret --expires 1970-06-30T00:00:00Z",
        ],
    );
    for text in [app(&file), vault(Some(&file))] {
        contains(&text, &["--id APP", "--years 1", "prints the value; store it in the file /etc/secret"]);
    }
    contains(&app(&env), &["set the environment variable APP_SECRET to this value and restart"]);
    contains(&app(&systemd), &["store it as the systemd credential app-secret and restart"]);
    contains(&vault(None), &["at the configured place (client_secret of [vault])"]);
    let identity = CredentialSource::ManagedIdentity("id".into());
    contains(&of(of_app(&identity)), &["at the configured place (client_secret of partner-center)"]);
}

#[test]
fn each_reason_for_a_missing_answer_says_what_to_check() {
    let tls = NoResponse::Tls;
    for (why, told) in [
        (NoResponse::NameUnknown, "check DNS on this host and the spelling of the host name: HOST cannot"),
        (NoResponse::Lookup, "check DNS on this host"),
        (NoResponse::Connect, "check the network, firewall and proxy between this host and HOST"),
        (NoResponse::TimedOut, "check the network, firewall and proxy"),
        (NoResponse::Cut, "check the network, firewall and proxy"),
        (NoResponse::Proxy, "check the proxy (HTTPS_PROXY, NO_PROXY): it refused to connect to HOST"),
        (tls(TlsFault::Handshake), "check the server at HOST: the server must speak TLS"),
        (tls(TlsFault::UnknownIssuer), "check the certificate of HOST; if a proxy inspects TLS"),
        (tls(TlsFault::Certificate), "check the certificate of HOST; if a proxy inspects TLS"),
        (tls(TlsFault::OtherName), "HOST shows the certificate of another host"),
        (tls(TlsFault::Authority), "give the server at HOST its own certificate"),
        (tls(TlsFault::NotInTime), "set this host's clock: `timedatectl set-ntp true`"),
    ] {
        let text = network(why, "HOST", "AGAIN");

        assert!(text.starts_with(told), "{why:?}: {text}");
    }
}
