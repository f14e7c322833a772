//! Entra's codes, as docs/azure-facts.md F124 has them: each code under each error it may come with, its
//! class, and the condition that an operator sees.

use std::time::Duration;

use perennial::ports::failure::{Kind, Remedy, Trace};
use perennial::ports::oauth_error::{Class, OAuthError};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::Row;

type Codes = (&'static [u32], &'static [&'static str], Class, Kind);

const GRANT: &[&str] = &["invalid_grant"];
const ASKED: &[&str] = &["invalid_grant", "interaction_required"];
const BLOCKED: &[&str] = &["invalid_grant", "access_denied", "interaction_required"];
const ANY_POLICY: &[&str] =
    &["invalid_grant", "access_denied", "interaction_required", "unauthorized_client"];
const CLIENT: &[&str] = &["invalid_client"];
const UNAUTHORIZED: &[&str] = &["unauthorized_client"];
const REQUEST: &[&str] = &["invalid_request"];
const ANY: &[&str] = &["invalid_grant", "invalid_request"];
const FAULTY: &[&str] = &["temporarily_unavailable", "server_error", "invalid_grant"];

const TABLE: &[Codes] = &[
    // The grant is over.
    (&[50173, 700_082, 70008, 70043], GRANT, Class::ReauthRequired, Kind::LoginRequired),
    (&[70000, 700_003, 54005, 50089, 50133, 50132], GRANT, Class::ReauthRequired, Kind::LoginRequired),
    (&[50085, 50135, 50144, 50055, 50056, 50126], GRANT, Class::ReauthRequired, Kind::LoginRequired),
    (&[9_002_341, 135_011, 50140, 50199], GRANT, Class::ReauthRequired, Kind::LoginRequired),
    (&[65004], &["access_denied"], Class::ReauthRequired, Kind::LoginRequired),
    (
        &[50058, 700_020],
        &["interaction_required", "login_required"],
        Class::ReauthRequired,
        Kind::LoginRequired,
    ),
    (&[70018], &["bad_verification_code"], Class::ReauthRequired, Kind::LoginRequired),
    (&[70019, 70020, 90119, 90120], &["expired_token"], Class::ReauthRequired, Kind::LoginRequired),
    (&[50057], GRANT, Class::ReauthRequired, Kind::AccountDisabled),
    // What is stored does not fit: a sign-in cures it, an operator has to look why.
    (&[700_084, 700_007, 700_005], GRANT, Class::Configuration, Kind::LoginRequired),
    (&[9_002_313], ANY, Class::Configuration, Kind::LoginRequired),
    // Rules of the tenant.
    (&[50076, 50078, 50079, 50072, 50074], ASKED, Class::Policy, Kind::MfaRequired),
    (&[50158], &["interaction_required"], Class::Policy, Kind::MfaRequired),
    (&[53000, 53001, 53002, 53004, 53009, 53010], ASKED, Class::Policy, Kind::PolicyBlocked),
    (&[50005, 50097, 50131], ASKED, Class::Policy, Kind::PolicyBlocked),
    (&[53003, 530_032, 530_035, 530_034, 53011], BLOCKED, Class::Policy, Kind::PolicyBlocked),
    (&[500_212, 500_213, 500_021, 500_022], BLOCKED, Class::Policy, Kind::PolicyBlocked),
    (&[50053], GRANT, Class::Policy, Kind::PolicyBlocked),
    // Numbers that no list names yet are a policy's all the same.
    (&[53005, 53999, 530_003, 530_036, 530_084, 530_999], ANY_POLICY, Class::Policy, Kind::PolicyBlocked),
    // Set up wrongly: whose account, which tenant.
    (&[50034, 51004, 90072], GRANT, Class::Configuration, Kind::WrongIdentity),
    (&[50020, 16000, 50014], ANY, Class::Configuration, Kind::WrongIdentity),
    (&[90002], REQUEST, Class::Configuration, Kind::WrongIdentity),
    (&[7_000_012], GRANT, Class::Configuration, Kind::WrongIdentity),
    // Set up wrongly: consent, scope, request.
    (&[50105], &["access_denied"], Class::Configuration, Kind::PolicyBlocked),
    (&[65001], ASKED, Class::Configuration, Kind::PolicyBlocked),
    (&[65002, 65005, 650_056, 650_057, 650_052, 650_054], ANY, Class::Configuration, Kind::PolicyBlocked),
    (&[90094, 90095, 90099], ANY, Class::Configuration, Kind::PolicyBlocked),
    (&[50194, 9_001_023, 901_002, 900_144, 90014, 90023], REQUEST, Class::Configuration, Kind::PolicyBlocked),
    (&[90100, 50011, 70004, 9_002_325, 9_002_327], REQUEST, Class::Configuration, Kind::PolicyBlocked),
    (&[90019, 50059, 50128, 90038, 900_439, 900_382], REQUEST, Class::Configuration, Kind::PolicyBlocked),
    (&[900_432], REQUEST, Class::Configuration, Kind::PolicyBlocked),
    (&[50147, 501_481, 501_491], ANY, Class::Configuration, Kind::PolicyBlocked),
    (&[500_011, 50001], &["invalid_resource"], Class::Configuration, Kind::PolicyBlocked),
    (&[70011, 28002, 28003, 700_022, 700_023], &["invalid_scope"], Class::Configuration, Kind::PolicyBlocked),
    (&[70003], &["unsupported_grant_type"], Class::Configuration, Kind::PolicyBlocked),
    (&[700_229], ANY, Class::Configuration, Kind::PolicyBlocked),
    (&[90036, 90092, 50086], &["server_error", "invalid_grant"], Class::Configuration, Kind::PolicyBlocked),
    // The app.
    (&[7_000_218, 700_025, 7_000_229], CLIENT, Class::Configuration, Kind::AppCredentialRefused),
    (&[700_016, 700_011, 700_038], UNAUTHORIZED, Class::Configuration, Kind::AppCredentialRefused),
    (&[70001, 7_000_112], UNAUTHORIZED, Class::Configuration, Kind::AppCredentialRefused),
    (
        &[7_000_215, 7_000_222, 70002, 700_027, 700_024],
        CLIENT,
        Class::ClientCredential,
        Kind::AppCredentialRefused,
    ),
    (&[700_030, 50012, 70021, 700_213], CLIENT, Class::ClientCredential, Kind::AppCredentialRefused),
    (
        &[50013, 50027, 50048],
        &["invalid_client", "invalid_grant"],
        Class::ClientCredential,
        Kind::AppCredentialRefused,
    ),
    (&[500_133], GRANT, Class::ClientCredential, Kind::AppCredentialRefused),
    // It may pass.
    (&[50196], GRANT, Class::Throttled, Kind::EntraUnreachable),
    (&[90055, 50088], FAULTY, Class::Throttled, Kind::EntraUnreachable),
    (&[90033, 90024, 90006, 90012, 50033, 90090], FAULTY, Class::Transient, Kind::EntraUnreachable),
    (&[90091, 50087, 50000, 5_000_224, 50134], FAULTY, Class::Transient, Kind::EntraUnreachable),
];

/// Codes that nobody knows: the error alone decides (§2.2).
const BY_ERROR: &[(&str, Class, Kind)] = &[
    ("invalid_grant", Class::ReauthRequired, Kind::LoginRequired),
    ("interaction_required", Class::ReauthRequired, Kind::LoginRequired),
    ("login_required", Class::ReauthRequired, Kind::LoginRequired),
    ("consent_required", Class::ReauthRequired, Kind::LoginRequired),
    ("invalid_client", Class::ClientCredential, Kind::AppCredentialRefused),
    ("unauthorized_client", Class::Configuration, Kind::AppCredentialRefused),
    ("invalid_request", Class::Configuration, Kind::PolicyBlocked),
    ("unsupported_grant_type", Class::Configuration, Kind::PolicyBlocked),
    ("unsupported_response_type", Class::Configuration, Kind::PolicyBlocked),
    ("invalid_scope", Class::Configuration, Kind::PolicyBlocked),
    ("invalid_resource", Class::Configuration, Kind::PolicyBlocked),
    ("invalid_target", Class::Configuration, Kind::PolicyBlocked),
    ("access_denied", Class::Policy, Kind::PolicyBlocked),
    ("temporarily_unavailable", Class::Transient, Kind::EntraUnreachable),
    ("server_error", Class::Transient, Kind::EntraUnreachable),
    ("out_of_cheese", Class::Unknown, Kind::EntraUnreachable),
];

/// Every code under each of its errors, and every error without a code and with one that nobody knows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (codes, errors, class, kind) in TABLE {
        for code in *codes {
            rows.extend(errors.iter().map(|error| row(error, Some(*code), *class, *kind)));
        }
    }
    for (error, class, kind) in BY_ERROR {
        rows.extend([None, Some(130_500)].map(|code| row(error, code, *class, *kind)));
    }
    rows
}

fn row(error: &str, code: Option<u32>, class: Class, kind: Kind) -> Row {
    let status = if error == "invalid_client" { 401 } else { 400 };
    let what = FaultEffect::OAuth { status, error: error.to_owned(), code, suberror: None };
    let row = Row::faulty(&format!("{error} {code:?}"), Fault::of(Peer::Entra, what).on(Operation::Redeem));
    let row = row.means(kind, remedy(class, code)).asking(pause(code));
    let read =
        OAuthError { status, error: error.to_owned(), trace: Trace::of(code), ..OAuthError::default() }
            .class();
    let row = if read == class { row } else { row.wrong(format!("its class is {class:?}, not {read:?}")) };
    // What the operator is shown names the code.
    let named = code.map_or_else(|| error.to_owned(), |code| format!("{error} (AADSTS{code})"));
    row.saying(&named)
}

/// Entra's loop rule asks for a pause, whatever its answer says.
fn pause(code: Option<u32>) -> Option<Duration> {
    const A_QUARTER_OF_AN_HOUR: Duration = Duration::from_secs(15 * 60);
    (code == Some(50196)).then_some(A_QUARTER_OF_AN_HOUR)
}

/// Who can fix a class.
fn remedy(class: Class, code: Option<u32>) -> Remedy {
    match class {
        // Enabled again, the account's grant works: nobody has to sign in.
        Class::ReauthRequired if code == Some(50057) => Remedy::Operator,
        Class::ReauthRequired => Remedy::Login,
        Class::ClientCredential | Class::Configuration | Class::Policy => Remedy::Operator,
        Class::Throttled | Class::Transient | Class::Unknown => Remedy::Retry,
    }
}
