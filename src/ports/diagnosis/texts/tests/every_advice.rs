//! Tests of rules that apply to the texts of all variants of `Advice`.

use super::*;
use crate::ports::diagnosis::ROWS;

const ALL: &[Advice] = &[
    Advice::SignIn,
    Advice::SignInFrequency,
    Advice::SecondFactor,
    Advice::NewPassword,
    Advice::StartAgain,
    Advice::AcceptConsent,
    Advice::Device,
    Advice::StoredValue,
    Advice::EnableAccount,
    Advice::UnblockAccount,
    Advice::AssignUser,
    Advice::AccountOrTenant,
    Advice::WorkAccount,
    Advice::Policy,
    Advice::TenantRestrictions,
    Advice::CrossTenantAccess,
    Advice::IdentityProvider,
    Advice::Consent,
    Advice::Permission,
    Advice::ClientSecret,
    Advice::NoClientSecret,
    Advice::AppId,
    Advice::EnableApp,
    Advice::ServicePrincipal,
    Advice::AppPlatform,
    Advice::RedirectAsWeb,
    Advice::RedirectUri,
    Advice::Assertion,
    Advice::FederatedCredential,
    Advice::Clock,
    Advice::Tenant,
    Advice::Cloud,
    Advice::BlockedTenant,
    Advice::AccountTypes,
    Advice::ClaimsMapping,
    Advice::Scope,
    Advice::TokenForItself,
    Advice::DefaultScope,
    Advice::Resource,
    Advice::Request,
    Advice::ChangedByProxy,
    Advice::Support,
    Advice::Throttled,
    Advice::PersonalAccount,
    Advice::Outage,
    Advice::LookUp,
    Advice::Intercepted,
];

/// The identity of `[vault]` is an app. It cannot sign in like a user, and it has nothing to do with Partner Center.
#[test]
fn an_action_for_the_identity_of_the_vault_never_speaks_of_a_sign_in_by_a_user() {
    let file = Source::File("/key.pem".into());
    let (secret, certificate) = ((Some(&file), None), (None, Some(&file)));
    for (client_secret, certificate) in [secret, certificate, (None, None)] {
        for advice in ALL {
            let place = CredentialPlace::Vault { client_secret, certificate };
            let text = advice.for_an_app().text(&Subject {
                name: "[vault]",
                scope: "https://vault.azure.net/.default",
                ..subject(place)
            });

            for word in ["perennial login", "partner", "the user", "redirect"] {
                assert!(!text.contains(word), "{advice:?}: {text}");
            }
            let says_secret = text.contains("new client secret") || text.contains("certificate that");
            assert!(!says_secret || client_secret.is_some() || certificate.is_some(), "{advice:?}: {text}");
        }
    }
}

/// The daemon does not retry a failed sign-in, and the failure is not about a stored token.
#[test]
fn an_action_of_a_sign_in_says_what_the_person_does_next() {
    let secret = CredentialSource::Secret(Source::File("/secret".into()));
    for advice in ALL {
        for way in [LoginMethod::Code, LoginMethod::DeviceCode] {
            let text = advice.text(&Subject { way, ..subject(of_app(&secret)) });

            assert!(!text.contains("retries automatically"), "{advice:?}: {text}");
            assert!(!text.contains("the stored value"), "{advice:?}: {text}");
            assert!(text.contains("`perennial login partner-center"), "{advice:?}: {text}");
        }
    }
}

#[test]
fn an_unknown_number_is_always_looked_up() {
    let secret = CredentialSource::Secret(Source::File("/secret".into()));
    let trace = Trace::of(99_999);
    let text = |advice: Advice| advice.text(&Subject { trace: &trace, ..subject(of_app(&secret)) });
    let page = "/error?code=99999";
    for advice in ALL {
        let waits = matches!(advice, Advice::Throttled | Advice::Outage | Advice::Intercepted);
        assert_eq!(text(*advice).contains(page), !waits, "{advice:?}");
    }
    assert!(text(Advice::SignIn).starts_with("sign in again"));
    assert!(text(Advice::ClientSecret).starts_with("look the code up: "));
    let known = Trace::of(ROWS[0].codes[0]);
    assert!(!Advice::SignIn.text(&Subject { trace: &known, ..subject(of_app(&secret)) }).contains("/error"));
    // If the response has no AADSTS number, the code of the trace is the HTTP status.
    let status = Trace::of(407);
    assert!(!Advice::SignIn.text(&Subject { trace: &status, ..subject(of_app(&secret)) }).contains("/error"));
}

/// A managed identity has no app registration, no secret, and no tenant in the configuration.
#[test]
fn an_action_for_a_managed_identity_names_what_exists() {
    for advice in ALL {
        let of = Subject {
            name: "[vault]",
            tenant: "",
            client_id: "CLIENT_ID",
            scope: "https://vault.azure.net/.default",
            ..subject(VAULT)
        };
        let text = advice.for_an_app().text(&of);

        for word in ["tenant  ", "tenant )", "()", "client secret"] {
            assert!(!text.contains(word), "{advice:?}: {text}");
        }
        assert!(!text.ends_with("tenant "), "{advice:?}: {text}");
    }
}
