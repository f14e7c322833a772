//! Tests of the whole table: no number is in two rows, and each number in the policy ranges means that a policy blocks
//! the token. Also tests the diagnosis of numbers that the table does not have.

use std::collections::BTreeSet;

use super::*;
use crate::ports::failure::Trace;

fn refusal(error: &str, code: Option<u32>) -> OAuthError {
    OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() }
}

pub(super) const ERRORS: [&str; 12] = [
    "invalid_grant",
    "interaction_required",
    "login_required",
    "consent_required",
    "invalid_client",
    "unauthorized_client",
    "invalid_request",
    "invalid_scope",
    "access_denied",
    "server_error",
    "unreadable",
    "out_of_cheese",
];

#[test]
fn no_number_is_in_two_rows_and_every_row_says_what_it_means() {
    let mut known = BTreeSet::new();
    for row in ROWS {
        assert!(!row.diagnosis.meaning.is_empty() && row.diagnosis.meaning.len() <= 60, "{row:?}");
        for code in row.numbers() {
            assert!(known.insert(code), "{code} is in two rows");
        }
    }
    assert!(known.len() > 2000, "{}", known.len());
}

#[test]
fn only_definite_rejections_that_a_sign_in_fixes_end_a_grant() {
    for row in ROWS.iter().filter(|row| row.diagnosis.ends_grant) {
        assert_eq!(row.diagnosis.kind, Kind::LoginRequired, "{row:?}");
        assert!(row.diagnosis.is_definite && row.diagnosis.remedy != Remedy::Retry, "{row:?}");
    }
}

#[test]
fn every_number_of_a_policy_is_an_operators_under_any_error() {
    for code in (53000..54000).chain(530_000..531_000) {
        for error in ERRORS {
            for status in [400, 401, 429, 500] {
                let found = diagnose(&OAuthError { status, ..refusal(error, Some(code)) });
                assert_eq!(
                    (found.remedy, found.kind),
                    (Remedy::Operator, Kind::PolicyBlocked),
                    "{error} {code}"
                );
                assert!(!found.ends_grant, "{error} {code}");
            }
        }
    }
    for code in [52999, 54001, 529_999, 541_000] {
        assert_eq!(
            diagnose(&refusal("invalid_grant", Some(code))).remedy,
            Remedy::Login,
            "{code} is no policy's"
        );
    }
}

#[test]
fn an_unknown_number_is_classified_by_suberror_then_error_and_confirmed() {
    for (error, suberror, remedy, kind, is_definite) in [
        ("invalid_grant", None, Remedy::Login, Kind::LoginRequired, false),
        ("invalid_grant", Some("bad_token"), Remedy::Login, Kind::LoginRequired, false),
        ("invalid_grant", Some("consent_required"), Remedy::Operator, Kind::PolicyBlocked, true),
        ("invalid_grant", Some("protection_policy_required"), Remedy::Operator, Kind::PolicyBlocked, true),
        ("invalid_grant", Some("user_password_expired"), Remedy::Login, Kind::LoginRequired, false),
        ("invalid_client", None, Remedy::Operator, Kind::AppCredentialRefused, true),
        ("out_of_cheese", None, Remedy::Retry, Kind::UnknownCode, true),
    ] {
        for code in [None, Some(999_999)] {
            let refused = OAuthError { suberror: suberror.map(str::to_owned), ..refusal(error, code) };
            let found = diagnose(&refused);
            assert_eq!(
                (found.remedy, found.kind, found.is_definite),
                (remedy, kind, is_definite),
                "{refused:?}"
            );
            assert!(!found.ends_grant && found.meaning.is_empty(), "{refused:?}");
        }
    }
}

#[test]
fn credentials_not_valid_are_the_clients_only_where_the_error_says_so() {
    assert_eq!(diagnose(&refusal("invalid_client", Some(70002))).kind, Kind::AppCredentialRefused);
    assert_eq!(diagnose(&refusal("invalid_grant", Some(70002))).kind, Kind::LoginRequired);
}

#[test]
fn each_error_and_suberror_without_a_number_has_one_meaning() {
    use {Kind as K, Remedy as R};
    let of = |error: &str, suberror: Option<&str>, status| {
        let refused = OAuthError { status, suberror: suberror.map(str::to_owned), ..refusal(error, None) };
        let found = diagnose(&refused);
        (found.remedy, found.kind, found.advice, found.is_definite)
    };
    for (error, remedy, kind, advice, is_definite) in [
        ("invalid_grant", R::Login, K::LoginRequired, Advice::SignIn, false),
        ("interaction_required", R::Login, K::LoginRequired, Advice::SignIn, false),
        ("login_required", R::Login, K::LoginRequired, Advice::SignIn, false),
        ("user_password_expired", R::Login, K::LoginRequired, Advice::NewPassword, false),
        ("expired_token", R::Login, K::LoginRequired, Advice::StartAgain, true),
        ("bad_verification_code", R::Login, K::LoginRequired, Advice::StartAgain, true),
        ("authorization_declined", R::Login, K::LoginRequired, Advice::StartAgain, true),
        ("consent_required", R::Operator, K::PolicyBlocked, Advice::Consent, true),
        ("access_denied", R::Operator, K::PolicyBlocked, Advice::Policy, true),
        ("invalid_client", R::Operator, K::AppCredentialRefused, Advice::ClientSecret, true),
        ("unauthorized_client", R::Operator, K::AppCredentialRefused, Advice::AppId, true),
        ("invalid_scope", R::Operator, K::AppMisconfigured, Advice::Scope, true),
        ("invalid_resource", R::Operator, K::AppMisconfigured, Advice::Resource, true),
        ("invalid_target", R::Operator, K::AppMisconfigured, Advice::Resource, true),
        ("invalid_tenant", R::Operator, K::AppMisconfigured, Advice::Tenant, true),
        ("invalid_request", R::Operator, K::AppMisconfigured, Advice::Request, true),
        ("unsupported_grant_type", R::Operator, K::AppMisconfigured, Advice::Request, true),
        ("unsupported_response_type", R::Operator, K::AppMisconfigured, Advice::Request, true),
        ("temporarily_unavailable", R::Retry, K::EntraUnreachable, Advice::Outage, true),
        ("server_error", R::Retry, K::EntraUnreachable, Advice::Outage, true),
        ("out_of_cheese", R::Retry, K::UnknownCode, Advice::LookUp, true),
    ] {
        assert_eq!(of(error, None, 400), (remedy, kind, advice, is_definite), "{error}");
        assert_eq!(of(error, None, 429).1, K::EntraThrottled, "{error}");
    }
    for (status, kind) in [(499, K::UnknownCode), (500, K::EntraUnreachable), (503, K::EntraUnreachable)] {
        assert_eq!(of("out_of_cheese", None, status).1, kind, "{status}");
    }
    for (suberror, remedy, kind, advice, is_definite) in [
        ("consent_required", R::Operator, K::PolicyBlocked, Advice::Consent, true),
        ("protection_policy_required", R::Operator, K::PolicyBlocked, Advice::Policy, true),
        ("user_password_expired", R::Login, K::LoginRequired, Advice::NewPassword, false),
        ("device_authentication_failed", R::Login, K::LoginRequired, Advice::Device, false),
        ("client_mismatch", R::Operator, K::WrongIdentity, Advice::AppId, true),
        ("bad_token", R::Login, K::LoginRequired, Advice::SignIn, false),
    ] {
        let found = of("invalid_grant", Some(suberror), 400);
        assert_eq!(found, (remedy, kind, advice, is_definite), "{suberror}");
    }
}

#[test]
fn a_longer_number_means_what_its_first_five_digits_mean() {
    for (code, remedy, kind, advice) in [
        (500_342, Remedy::Operator, Kind::WrongIdentity, Advice::AccountOrTenant),
        (500_579, Remedy::Operator, Kind::AccountDisabled, Advice::EnableAccount),
        (650_055, Remedy::Operator, Kind::AppMisconfigured, Advice::Permission),
        (501_051, Remedy::Operator, Kind::PolicyBlocked, Advice::AssignUser),
        (900_029, Remedy::Operator, Kind::AppMisconfigured, Advice::Tenant),
        (7_000_821, Remedy::Login, Kind::LoginRequired, Advice::SignIn),
        // Except for 500_019, the first five digits of the numbers below are too general or in no row.
        (700_099, Remedy::Login, Kind::LoginRequired, Advice::SignIn),
        (500_019, Remedy::Operator, Kind::AppMisconfigured, Advice::Resource),
        (500_129, Remedy::Login, Kind::LoginRequired, Advice::SignIn),
        (999_999, Remedy::Login, Kind::LoginRequired, Advice::SignIn),
        (12_345_678, Remedy::Login, Kind::LoginRequired, Advice::SignIn),
    ] {
        let found = diagnose(&refusal("invalid_grant", Some(code)));

        assert_eq!((found.remedy, found.kind, found.advice), (remedy, kind, advice), "{code}");
        assert!(found.meaning.is_empty(), "the number itself is unknown: {code}");
    }
    // Number 70008 ends a grant. An unknown longer number that begins with 70008 does not.
    let found = diagnose(&refusal("invalid_grant", Some(700_089)));
    assert!(!found.ends_grant && found.remedy == Remedy::Login);
}

#[test]
fn the_text_of_an_older_number_decides() {
    for (code, text, newer_code) in [
        (70001, "Application 'x' was not found in the directory y.", Some(700_016)),
        (70001, "Application is disabled.", None),
        (
            90023,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed",
            Some(9_002_327),
        ),
        (
            90023,
            "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type",
            Some(9_002_326),
        ),
        (
            70002,
            "The request body must contain the following parameter: 'client_secret or client_assertion'.",
            Some(7_000_218),
        ),
        (70002, "Error validating credentials.", None),
        (50012, "Client assertion is not within its valid time range.", Some(700_024)),
        (50012, "Client assertion contains an invalid signature.", Some(700_027)),
        (50012, "Invalid client secret is provided.", None),
        (70000, "User account is found to be in service abuse mode.", Some(50053)),
        (700_016, "was not found in the directory", None),
    ] {
        assert_eq!(newer(code, text), newer_code, "{code} {text}");
        assert!(newer_code.is_none_or(is_known), "{newer_code:?}");
        let told = OAuthError { newer_code, ..refusal("invalid_client", Some(code)) };
        let expected = newer_code.unwrap_or(code);
        assert_eq!(diagnose(&told), diagnose(&refusal("invalid_client", Some(expected))), "{code} {text}");
    }
}
