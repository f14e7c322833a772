//! The expected results for Entra's codes (docs/azure-facts.md F124): for each code with each possible error, who must
//! act, and which condition opens.

use std::time::Duration;

use perennial::ports::failure::{Kind, Remedy};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::Row;

type Codes = (&'static [u32], &'static [&'static str], Remedy, Kind);

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
    // The grant has ended.
    (&[50173, 700_082, 70008, 70043], GRANT, Remedy::Login, Kind::LoginRequired),
    (&[70000, 700_003, 54005, 50089, 50133, 50132], GRANT, Remedy::Login, Kind::LoginRequired),
    (&[50085, 50135, 50144, 50055, 50056, 50126], GRANT, Remedy::Login, Kind::LoginRequired),
    (&[9_002_341, 135_011, 50155, 50140, 50199], GRANT, Remedy::Login, Kind::LoginRequired),
    (&[65004], &["access_denied"], Remedy::Login, Kind::LoginRequired),
    (
        &[50058, 700_020, 16000],
        &["interaction_required", "login_required"],
        Remedy::Login,
        Kind::LoginRequired,
    ),
    (&[70018], &["bad_verification_code"], Remedy::Login, Kind::LoginRequired),
    (&[70019, 70020, 90119, 90120], &["expired_token"], Remedy::Login, Kind::LoginRequired),
    (&[9_002_313], ANY, Remedy::Login, Kind::LoginRequired),
    (&[700_084], GRANT, Remedy::Operator, Kind::LoginRequired),
    // The user's account is disabled or locked.
    (&[50057, 50053], GRANT, Remedy::Operator, Kind::AccountDisabled),
    (&[50034, 51004, 90072, 50177], GRANT, Remedy::Operator, Kind::WrongIdentity),
    (&[50020, 50014], ANY, Remedy::Operator, Kind::WrongIdentity),
    (&[7_000_012, 700_007, 700_005], GRANT, Remedy::Operator, Kind::WrongIdentity),
    // A policy of the tenant blocks the token.
    (&[50076, 50078, 50079, 50072, 50074], ASKED, Remedy::Login, Kind::MfaRequired),
    (&[50158], &["interaction_required"], Remedy::Login, Kind::MfaRequired),
    (&[53000, 53001, 53002, 53004, 53009, 53010], ASKED, Remedy::Operator, Kind::PolicyBlocked),
    (&[50005, 50097, 50131], ASKED, Remedy::Operator, Kind::PolicyBlocked),
    (&[53003, 530_032, 530_035, 530_034, 53011], BLOCKED, Remedy::Operator, Kind::PolicyBlocked),
    (&[500_212, 500_213, 500_021, 500_022], BLOCKED, Remedy::Operator, Kind::PolicyBlocked),
    // These codes are in the ranges that Microsoft uses for policies, but the table of F124 does not list them.
    (&[53005, 53999, 530_003, 530_036, 530_084, 530_999], ANY_POLICY, Remedy::Operator, Kind::PolicyBlocked),
    // A consent or an assignment is missing.
    (&[50105], &["access_denied"], Remedy::Operator, Kind::PolicyBlocked),
    (&[65001], ASKED, Remedy::Operator, Kind::PolicyBlocked),
    (&[90094, 90095, 90099], ANY, Remedy::Operator, Kind::PolicyBlocked),
    // The registration, scope, tenant, cloud or request is wrong.
    (&[65002, 65005, 650_056, 650_057, 650_052, 650_054], ANY, Remedy::Operator, Kind::AppMisconfigured),
    (
        &[50194, 9_001_023, 901_002, 900_144, 90013, 90014, 90023],
        REQUEST,
        Remedy::Operator,
        Kind::AppMisconfigured,
    ),
    (&[90100, 50011, 70004, 9_002_325, 9_002_327, 90009], REQUEST, Remedy::Operator, Kind::AppMisconfigured),
    (
        &[90019, 50059, 50128, 90038, 900_439, 900_382, 900_023],
        REQUEST,
        Remedy::Operator,
        Kind::AppMisconfigured,
    ),
    (&[900_432, 90002], REQUEST, Remedy::Operator, Kind::AppMisconfigured),
    (&[50147, 50148, 501_481, 501_491], ANY, Remedy::Operator, Kind::AppMisconfigured),
    (&[5_000_224, 5_000_225], GRANT, Remedy::Operator, Kind::AppMisconfigured),
    (
        &[90010, 90124, 90130, 900_021, 9_002_332, 90043, 90051, 900_433],
        REQUEST,
        Remedy::Operator,
        Kind::AppMisconfigured,
    ),
    (
        &[9_002_331, 9_002_346, 50146, 501_461, 500_113, 900_971],
        REQUEST,
        Remedy::Operator,
        Kind::AppMisconfigured,
    ),
    (&[650_053, 650_055], CLIENT, Remedy::Operator, Kind::AppMisconfigured),
    (&[90008, 90093, 650_051], GRANT, Remedy::Operator, Kind::PolicyBlocked),
    (&[500_341, 16003, 50178, 500_201, 500_208, 90027], GRANT, Remedy::Operator, Kind::WrongIdentity),
    (&[500_571], GRANT, Remedy::Operator, Kind::AccountDisabled),
    (&[50002, 50021, 50127, 90123, 54000, 501_051, 1_000_104], GRANT, Remedy::Operator, Kind::PolicyBlocked),
    (&[500_121], GRANT, Remedy::Login, Kind::MfaRequired),
    (&[50129, 50187, 70044, 700_081], GRANT, Remedy::Login, Kind::LoginRequired),
    // A proxy changed the request.
    (&[90056, 900_561, 9_002_326, 1_002_016], REQUEST, Remedy::Operator, Kind::AppMisconfigured),
    (&[500_011, 500_014, 50001], &["invalid_resource"], Remedy::Operator, Kind::AppMisconfigured),
    (
        &[70011, 28002, 28003, 700_022, 700_023, 1_002_012],
        &["invalid_scope"],
        Remedy::Operator,
        Kind::AppMisconfigured,
    ),
    (&[70003], &["unsupported_grant_type"], Remedy::Operator, Kind::AppMisconfigured),
    // The app's credential or the app is rejected.
    (
        &[7_000_218, 700_025, 7_000_229, 900_491, 1_000_502, 7_000_214],
        CLIENT,
        Remedy::Operator,
        Kind::AppCredentialRefused,
    ),
    (&[700_016, 700_011, 700_038], UNAUTHORIZED, Remedy::Operator, Kind::AppCredentialRefused),
    (&[70001, 7_000_112], UNAUTHORIZED, Remedy::Operator, Kind::AppCredentialRefused),
    (&[7_000_215, 7_000_222, 70002, 700_027, 700_024], CLIENT, Remedy::Operator, Kind::AppCredentialRefused),
    (&[700_030, 50012, 70021, 70025, 700_213, 700_229], CLIENT, Remedy::Operator, Kind::AppCredentialRefused),
    (
        &[50013, 50027, 50048],
        &["invalid_client", "invalid_grant"],
        Remedy::Operator,
        Kind::AppCredentialRefused,
    ),
    (&[500_133], GRANT, Remedy::Operator, Kind::AppCredentialRefused),
    // The failure is transient.
    (&[50196], GRANT, Remedy::Retry, Kind::EntraThrottled),
    (&[90055, 50088], FAULTY, Remedy::Retry, Kind::EntraThrottled),
    (&[90033, 90024, 90006, 90012, 50033, 90090], FAULTY, Remedy::Retry, Kind::EntraUnreachable),
    (&[90091, 50087, 50000, 50134], FAULTY, Remedy::Retry, Kind::EntraUnreachable),
    (
        &[90036, 90092, 50086, 70012],
        &["server_error", "invalid_grant"],
        Remedy::Retry,
        Kind::EntraUnreachable,
    ),
];

/// The expected results for answers with no code or an unknown code. Perennial classifies such an answer by its OAuth
/// error alone.
const BY_ERROR: &[(&str, Remedy, Kind)] = &[
    ("invalid_grant", Remedy::Login, Kind::LoginRequired),
    ("interaction_required", Remedy::Login, Kind::LoginRequired),
    ("login_required", Remedy::Login, Kind::LoginRequired),
    ("consent_required", Remedy::Operator, Kind::PolicyBlocked),
    ("invalid_client", Remedy::Operator, Kind::AppCredentialRefused),
    ("unauthorized_client", Remedy::Operator, Kind::AppCredentialRefused),
    ("invalid_request", Remedy::Operator, Kind::AppMisconfigured),
    ("unsupported_grant_type", Remedy::Operator, Kind::AppMisconfigured),
    ("unsupported_response_type", Remedy::Operator, Kind::AppMisconfigured),
    ("invalid_scope", Remedy::Operator, Kind::AppMisconfigured),
    ("invalid_resource", Remedy::Operator, Kind::AppMisconfigured),
    ("invalid_target", Remedy::Operator, Kind::AppMisconfigured),
    ("access_denied", Remedy::Operator, Kind::PolicyBlocked),
    ("temporarily_unavailable", Remedy::Retry, Kind::EntraUnreachable),
    ("server_error", Remedy::Retry, Kind::EntraUnreachable),
    ("out_of_cheese", Remedy::Retry, Kind::UnknownCode),
];

/// Returns a row for each code with each of its errors. Also returns two rows for each error: one without a code, and
/// one with an unknown code.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (codes, errors, remedy, kind) in TABLE {
        for code in *codes {
            rows.extend(errors.iter().map(|error| row(error, Some(*code), *remedy, *kind, true)));
        }
    }
    for (error, remedy, kind) in BY_ERROR {
        rows.extend([None, Some(130_500)].map(|code| row(error, code, *remedy, *kind, false)));
    }
    rows
}

fn row(error: &str, code: Option<u32>, remedy: Remedy, kind: Kind, known: bool) -> Row {
    let status = if error == "invalid_client" { 401 } else { 400 };
    let what = FaultEffect::OAuth { status, error: error.to_owned(), code, suberror: None };
    let fault = Fault::of(Peer::Entra, what).on(Operation::Redeem);
    let row = Row::faulty(&format!("{error} {code:?}"), fault).means(kind, remedy).asking(pause(code));
    let is_definite = known && code != Some(70000) || remedy != Remedy::Login;
    let row = if is_definite { row } else { row.unconfirmed() };
    // The text for the operator must contain the code, and say whether the code is unknown.
    let named = match code {
        Some(code) if known => format!("{error}, AADSTS{code} ("),
        Some(code) => format!("{error}, AADSTS{code} (a code that Perennial does not know)"),
        None => error.to_owned(),
    };
    row.saying(&named)
}

/// Returns the pause after Entra has detected a loop of redemptions. Perennial makes this pause even if the answer
/// requests no pause.
fn pause(code: Option<u32>) -> Option<Duration> {
    const A_QUARTER_OF_AN_HOUR: Duration = Duration::from_secs(15 * 60);
    (code == Some(50196)).then_some(A_QUARTER_OF_AN_HOUR)
}
