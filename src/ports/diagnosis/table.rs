//! The table of Entra's error numbers and their meanings (docs/azure-facts.md F110, F124, F135, F136).
//!
//! The order of the rows in `ROWS` does not matter, because each number is in only one row.

use std::ops::RangeInclusive;

use super::Diagnosis;
use crate::ports::advice::Advice;
use crate::ports::failure::{Kind, Remedy};

/// A table row: numbers with the same meaning.
#[derive(Clone, Debug)]
pub struct Row {
    /// The numbers.
    pub codes: &'static [u32],
    /// Further numbers, as ranges.
    pub ranges: &'static [RangeInclusive<u32>],
    /// The meaning of these numbers.
    pub diagnosis: Diagnosis,
}

/// The number for "Credentials not valid". Entra rejects either the client's credential or the grant. In older
/// responses, this number comes first and the number of the specific reason follows.
pub const CREDENTIALS: u32 = 70002;
/// Numbers that say no more than the OAuth error. The least specific number comes first. These numbers mean that the
/// credential or the grant was rejected, or that the token could not be issued.
pub const GENERAL: [u32; 3] = [CREDENTIALS, 70000, 50000];
/// Numbers that are too general for `by_family`, like the numbers in `GENERAL`. A longer number that begins with one of
/// these numbers has another cause.
pub const VAGUE: [u32; 3] = [50012, 70001, 90023];
/// The number for a request or a value that cannot be parsed (docs/azure-facts.md F110, F124).
pub const UNREADABLE: u32 = 9_002_313;
/// The number for too many identical requests (docs/azure-facts.md F126).
pub const LOOP: u32 = 50196;

/// Older answers use general numbers, and only the text names the cause (docs/azure-facts.md F144). Each row has an
/// older number, a phrase of the text, and the newer number for this cause.
const OLDER: &[(u32, &str, u32)] = &[
    (70001, "was not found in the directory", 700_016),
    // The order of these two rows matters: a text with the first phrase also contains the second phrase.
    (90023, "cross-origin token redemption is", 9_002_326),
    (90023, "'single-page application'", 9_002_327),
    (CREDENTIALS, "client_secret or client_assertion", 7_000_218),
    (CREDENTIALS, "'client_assertion' or 'client_secret'", 7_000_218),
    (90014, "client_secret or client_assertion", 7_000_218),
    (90014, "'client_assertion' or 'client_secret'", 7_000_218),
    (70000, "abuse mode", 50053),
    (50012, "not within its valid time range", 700_024),
    (50012, "assertion", 700_027),
];

/// Returns the newer number from the first row of `OLDER` that has this number and whose phrase is in the description.
pub fn newer(code: u32, description: &str) -> Option<u32> {
    let mut older = OLDER.iter().filter(|(old, ..)| *old == code).peekable();
    older.peek()?;
    let description = description.to_ascii_lowercase();
    older.find(|(_, phrase, _)| description.contains(phrase)).map(|(.., new)| *new)
}

type Codes = &'static [u32];

const fn row(codes: Codes, remedy: Remedy, kind: Kind, advice: Advice, meaning: &'static str) -> Row {
    let diagnosis = Diagnosis { remedy, kind, advice, meaning, ends_grant: false, is_definite: true };
    Row { codes, ranges: &[], diagnosis }
}

/// Creates a row for numbers whose cause only a sign-in can remove.
const fn login(codes: Codes, advice: Advice, meaning: &'static str) -> Row {
    row(codes, Remedy::Login, Kind::LoginRequired, advice, meaning)
}

/// Creates a row for numbers whose cause an operator of the tenant must remove.
const fn operator(codes: Codes, kind: Kind, advice: Advice, meaning: &'static str) -> Row {
    row(codes, Remedy::Operator, kind, advice, meaning)
}

const fn retry(codes: Codes, kind: Kind, advice: Advice, meaning: &'static str) -> Row {
    row(codes, Remedy::Retry, kind, advice, meaning)
}

impl Row {
    /// Whether the row has this number.
    pub fn has(&self, code: u32) -> bool {
        self.codes.contains(&code) || self.ranges.iter().any(|range| range.contains(&code))
    }

    /// All numbers of the row.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.codes.iter().copied().chain(self.ranges.iter().cloned().flatten())
    }

    /// Adds ranges of numbers to the row.
    const fn and(self, ranges: &'static [RangeInclusive<u32>]) -> Self {
        Self { ranges, ..self }
    }

    /// Records that the row's numbers mean the end of the grant.
    const fn ends_grant(self) -> Self {
        Self { diagnosis: Diagnosis { ends_grant: true, ..self.diagnosis }, ..self }
    }

    /// Records that a first rejection with one of the row's numbers does not open a condition yet. Entra sometimes
    /// rejects a token with such a number, and redeems the same token a minute later.
    const fn unconfirmed(self) -> Self {
        Self { diagnosis: Diagnosis { is_definite: false, ..self.diagnosis }, ..self }
    }
}

use Advice as A;
use Kind as K;

/// All rows of the table.
pub const ROWS: &[Row] = &[
    // Numbers that mean the end of the grant. If an operator can undo the cause of a number (account, device, consent,
    // app), the number is not in this group. Number 70043 is not in this group, because its cause is a policy. Number
    // 70000 is too general for this group.
    login(&[50173], A::SignIn, "sessions revoked or password reset").ends_grant(),
    login(&[50133], A::SignIn, "session ended by a password change").ends_grant(),
    login(&[70008], A::SignIn, "token expired or revoked").ends_grant(),
    login(&[700_082], A::SignIn, "token unused for 90 days").ends_grant(),
    operator(&[700_084], K::LoginRequired, A::RedirectAsWeb, "single-page app token, expired after a day")
        .ends_grant(),
    // The user must sign in.
    login(&[70000], A::SignIn, "grant not accepted").unconfirmed(),
    login(&[70043, 70044], A::SignInFrequency, "sign-in frequency exceeded"),
    login(&[700_081], A::SignIn, "token has reached its maximum lifetime"),
    login(&[50132], A::SignIn, "session expired or revoked"),
    login(&[50089], A::SignIn, "sign-in expired"),
    login(&[50055, 50144], A::NewPassword, "password expired"),
    login(&[50135], A::NewPassword, "password change required, account at risk"),
    login(&[50056, 50064, 50126], A::NewPassword, "password missing or wrong"),
    login(&[], A::NewPassword, "change of the password failed").and(&[120_000..=120_021]),
    login(&[50085], A::SignIn, "sign-in at another identity provider required"),
    login(
        &[
            16000, 16001, 16002, 50058, 50136, 50139, 50143, 50168, 50180, 51006, 140_000, 140_001, 160_021,
            700_020,
        ],
        A::SignIn,
        "no usable session",
    ),
    login(&[50125, 50140, 50199, 9_002_341], A::SignIn, "sign-in needs an answer from the user"),
    login(&[65004], A::AcceptConsent, "consent declined"),
    login(&[54005], A::StartAgain, "code already used"),
    login(&[70018, 70019, 70020, 90119, 90120], A::StartAgain, "code wrong, expired or already used"),
    login(
        &[50099, 50129, 50155, 50187, 130_004, 130_005, 130_006, 130_007, 130_008, 135_010, 135_011, 700_003],
        A::Device,
        "device disabled or not accepted",
    ),
    login(&[9_002_313], A::StoredValue, "stored value or request malformed"),
    row(
        &[50072, 50074, 50076, 50079, 50158, 500_121],
        Remedy::Login,
        K::MfaRequired,
        A::SecondFactor,
        "second factor required",
    ),
    row(&[50078], Remedy::Login, K::MfaRequired, A::SignInFrequency, "second factor too old for a policy"),
    // An operator must fix the user's account.
    operator(&[50057, 500_571], K::AccountDisabled, A::EnableAccount, "account disabled"),
    operator(&[50053], K::AccountDisabled, A::UnblockAccount, "account locked or IP address blocked"),
    operator(
        &[16003, 50034, 51004, 90125, 90126, 500_341],
        K::WrongIdentity,
        A::AccountOrTenant,
        "account not in this tenant",
    ),
    operator(
        &[50014, 50020, 50177, 50178, 90072, 90084],
        K::WrongIdentity,
        A::AccountOrTenant,
        "account is not a full member of this tenant",
    ),
    operator(
        &[90027, 500_201, 500_207, 500_208],
        K::WrongIdentity,
        A::WorkAccount,
        "personal account instead of a work account",
    ),
    operator(&[50105], K::PolicyBlocked, A::AssignUser, "user not assigned to the app"),
    // A policy blocks the token. Some ranges contain only numbers about policies. The table lists these ranges in full,
    // because Microsoft keeps adding numbers to them.
    operator(&[53004, 53011, 530_034], K::PolicyBlocked, A::Risk, "blocked because of risk"),
    operator(&[53003], K::PolicyBlocked, A::Policy, "blocked by conditional access"),
    operator(&[53000, 53001, 530_003, 530_033], K::PolicyBlocked, A::Policy, "managed device required"),
    operator(&[53002], K::PolicyBlocked, A::Policy, "blocked by a policy of the tenant").and(&[
        53005..=53010,
        53012..=53999,
        530_000..=530_002,
        530_004..=530_032,
        530_035..=530_999,
    ]),
    operator(&[50005, 50097, 50127, 50131], K::PolicyBlocked, A::Policy, "device or location not allowed"),
    operator(&[50015, 54000], K::PolicyBlocked, A::LookUp, "blocked because of the user's age"),
    operator(&[80012], K::PolicyBlocked, A::LookUp, "outside the user's sign-in hours"),
    operator(&[50161, 50170], K::PolicyBlocked, A::Policy, "external MFA provider misconfigured"),
    operator(
        &[50002, 50021, 500_021, 500_022],
        K::PolicyBlocked,
        A::TenantRestrictions,
        "blocked by tenant restrictions that a proxy sets",
    ),
    operator(
        &[500_212, 500_213],
        K::PolicyBlocked,
        A::CrossTenantAccess,
        "blocked by a cross-tenant access policy",
    ),
    operator(
        &[1_000_104],
        K::PolicyBlocked,
        A::CrossTenantAccess,
        "guest whose home tenant does not allow this cloud",
    ),
    operator(
        &[20001, 20012, 20033, 40009, 40015, 90123],
        K::PolicyBlocked,
        A::IdentityProvider,
        "denied by the user's identity provider",
    ),
    // Consent of an administrator or user is missing.
    operator(
        &[65001, 90008, 90093, 90094, 90095, 650_051],
        K::PolicyBlocked,
        A::Consent,
        "no consent for the app",
    ),
    operator(&[90099], K::PolicyBlocked, A::Consent, "app not authorized in the customer's tenant"),
    operator(
        &[65005, 650_056, 650_057],
        K::AppMisconfigured,
        A::Permission,
        "permission missing in the app registration",
    ),
    operator(&[65002], K::AppMisconfigured, A::AppId, "client_id names a Microsoft app"),
    // Entra rejects the app's credential.
    operator(&[7_000_215], K::AppCredentialRefused, A::ClientSecret, "wrong client secret"),
    operator(&[7_000_222], K::AppCredentialRefused, A::ClientSecret, "client secret expired"),
    operator(&[CREDENTIALS, 50012], K::AppCredentialRefused, A::ClientSecret, "client secret not accepted"),
    operator(&[7_000_218], K::AppCredentialRefused, A::NoClientSecret, "no client secret sent"),
    operator(&[700_025], K::AppCredentialRefused, A::AppPlatform, "app is a public client"),
    operator(
        &[50013, 50027, 50048, 700_021, 700_027, 700_030, 900_384, 1_000_502, 7_000_213, 7_000_214],
        K::AppCredentialRefused,
        A::Assertion,
        "client assertion not accepted",
    ),
    operator(&[500_133, 700_024], K::AppCredentialRefused, A::Clock, "assertion expired or not valid yet"),
    operator(
        &[
            70021, 70025, 700_211, 700_212, 700_213, 700_222, 700_226, 700_227, 700_229, 700_236, 700_237,
            700_238, 7_002_121, 7_002_137, 7_002_138, 7_002_381,
        ],
        K::AppCredentialRefused,
        A::FederatedCredential,
        "no federated credential matches",
    ),
    // The app is missing, disabled or not the app of the token.
    operator(&[700_011, 700_016, 700_038], K::AppCredentialRefused, A::AppId, "app not found in this tenant"),
    operator(&[70001, 7_000_112], K::AppCredentialRefused, A::EnableApp, "app disabled"),
    operator(&[1_000_031], K::AppCredentialRefused, A::EnableApp, "app not accessible in this tenant"),
    operator(
        &[900_491, 7_000_229],
        K::AppCredentialRefused,
        A::ServicePrincipal,
        "app has no service principal in this tenant",
    ),
    operator(&[700_007], K::WrongIdentity, A::AppId, "token was issued to another app"),
    operator(&[700_005, 7_000_012], K::WrongIdentity, A::Tenant, "token was issued by another tenant"),
    // The registration, scope, tenant or cloud is wrong.
    operator(
        &[28002, 28003, 70011, 650_053, 700_022, 700_023, 901_002],
        K::AppMisconfigured,
        A::Scope,
        "scope not valid",
    ),
    operator(&[90009], K::AppMisconfigured, A::TokenForItself, "app asks for a token for itself"),
    operator(&[1_002_012], K::AppMisconfigured, A::DefaultScope, "scope not valid for an app-only token"),
    operator(
        &[50001, 500_011, 650_052, 650_054],
        K::AppMisconfigured,
        A::Resource,
        "resource not in this tenant",
    ),
    operator(&[500_014], K::AppMisconfigured, A::Resource, "resource disabled in this tenant"),
    operator(
        &[50029, 50059, 50128, 50169, 90002, 90019, 900_021, 900_023],
        K::AppMisconfigured,
        A::Tenant,
        "tenant not found",
    ),
    operator(
        &[50194, 90010, 90124, 90130, 9_001_023, 9_002_332],
        K::AppMisconfigured,
        A::Tenant,
        "app requires a tenant-specific endpoint",
    ),
    operator(
        &[50049, 90038, 90043, 90044, 90051, 900_382, 900_432, 900_433, 900_439],
        K::AppMisconfigured,
        A::Cloud,
        "tenant is in another cloud",
    ),
    operator(&[5_000_224, 5_000_225], K::AppMisconfigured, A::BlockedTenant, "tenant blocked or deleted"),
    operator(
        &[9_002_331, 9_002_346],
        K::AppMisconfigured,
        A::AccountTypes,
        "app is for personal accounts only",
    ),
    operator(
        &[50003, 50146, 501_461],
        K::AppMisconfigured,
        A::ClaimsMapping,
        "claims mapping of the app needs a signing key",
    ),
    operator(
        &[50011, 70004, 500_113, 900_971],
        K::AppMisconfigured,
        A::RedirectUri,
        "redirect URI not registered",
    ),
    operator(
        &[9_002_325, 9_002_327],
        K::AppMisconfigured,
        A::RedirectAsWeb,
        "redirect URI registered for a single-page app",
    ),
    operator(
        &[
            50050, 50147, 50148, 70003, 70005, 70007, 90004, 90005, 90007, 90013, 90015, 90023, 90100, 90101,
            90102, 90107, 90117, 90121, 165_900, 501_481, 501_491,
        ],
        K::AppMisconfigured,
        A::Request,
        "request not understood",
    ),
    // Something between this host and Entra changes the requests or cannot speak a current TLS version. Perennial is
    // not the cause: it sends POST requests without `Origin` and speaks TLS 1.2 or later.
    operator(
        &[90056, 900_561, 9_002_326],
        K::AppMisconfigured,
        A::ChangedByProxy,
        "request changed on its way to Entra",
    ),
    operator(
        &[90014, 900_144],
        K::AppMisconfigured,
        A::ChangedByProxy,
        "part of the request missing on arrival",
    ),
    operator(
        &[1_002_016],
        K::AppMisconfigured,
        A::ChangedByProxy,
        "outdated TLS version on the way to Entra",
    ),
    // The failure is usually temporary.
    retry(&[50196], K::EntraThrottled, A::Throttled, "same request too often"),
    retry(&[50088, 90055], K::EntraThrottled, A::Throttled, "too many requests"),
    retry(
        &[40008, 40010, 50000, 50033, 50087, 50134, 90006, 90012, 90024, 90033, 90090, 90091],
        K::EntraUnreachable,
        A::Outage,
        "fault at Entra",
    ),
    retry(
        &[80001, 80002, 80005, 80007, 80014],
        K::EntraUnreachable,
        A::Outage,
        "on-premises authentication agent unavailable",
    ),
    retry(&[50166], K::EntraUnreachable, A::Outage, "no answer from an external identity provider"),
    retry(&[70012], K::EntraUnreachable, A::PersonalAccount, "fault in sign-in of personal accounts"),
    retry(
        &[50007, 50086, 90036, 90085, 90092],
        K::EntraUnreachable,
        A::Support,
        "fault at Entra that only Microsoft can fix",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `unconfirmed` and `ends_grant` each set one field of a row and leave the other fields unchanged.
    #[test]
    fn a_row_is_unconfirmed_or_ends_the_grant_only_where_it_says_so() {
        let plain = login(&[1], A::SignIn, "x");

        assert!(plain.diagnosis.is_definite && !plain.diagnosis.ends_grant);
        let unconfirmed = login(&[1], A::SignIn, "x").unconfirmed().diagnosis;
        assert!(!unconfirmed.is_definite && !unconfirmed.ends_grant && unconfirmed.remedy == Remedy::Login);
        let ends = login(&[1], A::SignIn, "x").ends_grant().diagnosis;
        assert!(ends.is_definite && ends.ends_grant && ends.remedy == Remedy::Login);
    }
}
