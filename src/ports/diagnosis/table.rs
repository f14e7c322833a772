//! The table of Entra's error numbers and their meanings (docs/azure-facts.md F110, F124, F135, F136).
//!
//! The order of the rows does not matter, because each number is in only one row.

use std::ops::RangeInclusive;

use super::Diagnosis;
use crate::ports::advice::Advice;
use crate::ports::failure::{Kind, Remedy};

/// A table row: numbers with the same meaning.
#[derive(Clone, Debug)]
pub struct Row {
    /// The numbers, as a list of ranges.
    pub codes: &'static [RangeInclusive<u32>],
    /// The meaning of these numbers.
    pub diagnosis: Diagnosis,
}

/// The number for "Credentials not valid", which concerns the client or the grant. In older responses, this number
/// comes first and the number of the specific reason follows.
pub const CREDENTIALS: u32 = 70002;
/// Numbers that say no more than the OAuth error. The least specific number comes first. These numbers mean that the
/// credential or the grant was rejected, or that the token could not be issued.
pub const GENERAL: [u32; 3] = [CREDENTIALS, 70000, 50000];
/// The number for a request or a value that cannot be parsed (docs/azure-facts.md F110, F124).
pub const UNREADABLE: u32 = 9_002_313;
/// The number for too many identical requests (docs/azure-facts.md F126).
pub const LOOP: u32 = 50196;

type Codes = &'static [RangeInclusive<u32>];

const fn row(codes: Codes, remedy: Remedy, kind: Kind, advice: Advice, meaning: &'static str) -> Row {
    let diagnosis = Diagnosis { remedy, kind, advice, meaning, ends_grant: false, is_definite: true };
    Row { codes, diagnosis }
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
    /// Marks the row's numbers as an end of the grant.
    const fn ends_grant(self) -> Self {
        Self { diagnosis: Diagnosis { ends_grant: true, ..self.diagnosis }, ..self }
    }

    /// Marks the row as unconfirmed: a second rejection must confirm the first. Entra has been seen to send such a
    /// number for a token and to redeem the same token a minute later.
    const fn unconfirmed(self) -> Self {
        Self { diagnosis: Diagnosis { is_definite: false, ..self.diagnosis }, ..self }
    }
}

use Advice as A;
use Kind as K;

/// All rows of the table.
pub const ROWS: &[Row] = &[
    // Numbers that mean the end of the grant. Number 70043 is not in this group, because a sign-in frequency is a
    // policy. Number 70000 is too general for this group. This group has no numbers whose cause an operator can undo
    // (account, device, consent, app).
    login(&[50173..=50173], A::SignIn, "sessions revoked or password reset").ends_grant(),
    login(&[50133..=50133], A::SignIn, "session ended by a password change").ends_grant(),
    login(&[70008..=70008], A::SignIn, "token expired or revoked").ends_grant(),
    login(&[700_082..=700_082], A::SignIn, "token unused for 90 days").ends_grant(),
    operator(
        &[700_084..=700_084],
        K::LoginRequired,
        A::RedirectAsWeb,
        "single-page app token, expired after a day",
    )
    .ends_grant(),
    // The user must sign in.
    login(&[70000..=70000], A::SignIn, "grant not accepted").unconfirmed(),
    login(&[70043..=70043], A::SignInFrequency, "sign-in frequency exceeded"),
    login(&[50089..=50089], A::SignIn, "sign-in expired"),
    login(&[50132..=50132], A::NewPassword, "password expired or changed"),
    login(&[50055..=50055, 50144..=50144], A::NewPassword, "password expired"),
    login(&[50135..=50135], A::NewPassword, "password change required, account at risk"),
    login(&[50056..=50056, 50126..=50126], A::NewPassword, "password missing or wrong"),
    login(&[50085..=50085], A::SignIn, "sign-in at another identity provider required"),
    login(&[16000..=16000, 50058..=50058, 700_020..=700_020], A::SignIn, "no usable session"),
    login(
        &[50140..=50140, 50199..=50199, 9_002_341..=9_002_341],
        A::SignIn,
        "sign-in needs an answer from the user",
    ),
    login(&[65004..=65004], A::AcceptConsent, "consent declined"),
    login(&[54005..=54005], A::StartAgain, "code already used"),
    login(&[70018..=70020, 90119..=90120], A::StartAgain, "code wrong, expired or used"),
    login(
        &[700_003..=700_003, 135_011..=135_011, 50155..=50155],
        A::Device,
        "device disabled or not accepted",
    ),
    login(&[9_002_313..=9_002_313], A::StoredValue, "stored value or request malformed"),
    row(
        &[50072..=50072, 50074..=50074, 50076..=50076, 50079..=50079, 50158..=50158],
        Remedy::Login,
        K::MfaRequired,
        A::SecondFactor,
        "second factor required",
    ),
    row(
        &[50078..=50078],
        Remedy::Login,
        K::MfaRequired,
        A::SignInFrequency,
        "second factor too old for a policy",
    ),
    // An operator must fix the user's account.
    operator(&[50057..=50057], K::AccountDisabled, A::EnableAccount, "account disabled"),
    operator(&[50053..=50053], K::AccountDisabled, A::UnblockAccount, "account locked or IP address blocked"),
    operator(
        &[50034..=50034, 51004..=51004],
        K::WrongIdentity,
        A::AccountOrTenant,
        "account not in this tenant",
    ),
    operator(
        &[50014..=50014, 50020..=50020, 50177..=50177, 90072..=90072],
        K::WrongIdentity,
        A::AccountOrTenant,
        "account is not a full member of this tenant",
    ),
    operator(&[50105..=50105], K::PolicyBlocked, A::AssignUser, "user not assigned to the app"),
    // A policy blocks the token. The numbers of policies are in ranges of their own. The table lists whole ranges,
    // because Microsoft keeps adding numbers to them.
    operator(
        &[53004..=53004, 53011..=53011, 530_034..=530_034],
        K::PolicyBlocked,
        A::Risk,
        "blocked because of risk",
    ),
    operator(&[53003..=53003], K::PolicyBlocked, A::Policy, "blocked by conditional access"),
    operator(
        &[53000..=53001, 530_003..=530_003, 530_033..=530_033],
        K::PolicyBlocked,
        A::Policy,
        "managed device required",
    ),
    operator(
        &[
            53002..=53002,
            53005..=53010,
            53012..=53999,
            530_000..=530_002,
            530_004..=530_032,
            530_035..=530_999,
        ],
        K::PolicyBlocked,
        A::Policy,
        "blocked by a policy of the tenant",
    ),
    operator(
        &[50005..=50005, 50097..=50097, 50131..=50131],
        K::PolicyBlocked,
        A::Policy,
        "device or location not allowed",
    ),
    operator(
        &[500_021..=500_022],
        K::PolicyBlocked,
        A::Policy,
        "blocked by tenant restrictions that a proxy sets",
    ),
    operator(&[500_212..=500_213], K::PolicyBlocked, A::Policy, "blocked by a cross-tenant access policy"),
    // Consent of an administrator or user is missing.
    operator(&[65001..=65001, 90094..=90095], K::PolicyBlocked, A::Consent, "no consent for the app"),
    operator(&[90099..=90099], K::PolicyBlocked, A::Consent, "app not authorized in the customer's tenant"),
    operator(
        &[65005..=65005, 650_056..=650_057],
        K::AppMisconfigured,
        A::Permission,
        "permission missing in the app registration",
    ),
    operator(&[65002..=65002], K::AppMisconfigured, A::AppId, "client_id names a Microsoft app"),
    // Entra rejects the app's credential.
    operator(&[7_000_215..=7_000_215], K::AppCredentialRefused, A::ClientSecret, "wrong client secret"),
    operator(&[7_000_222..=7_000_222], K::AppCredentialRefused, A::ClientSecret, "client secret expired"),
    operator(
        &[CREDENTIALS..=CREDENTIALS, 50012..=50012],
        K::AppCredentialRefused,
        A::ClientSecret,
        "client secret not accepted",
    ),
    operator(&[7_000_218..=7_000_218], K::AppCredentialRefused, A::NoClientSecret, "no client secret sent"),
    operator(&[700_025..=700_025], K::AppCredentialRefused, A::AppPlatform, "app is a public client"),
    operator(
        &[
            50013..=50013,
            50027..=50027,
            50048..=50048,
            700_021..=700_021,
            700_027..=700_027,
            700_030..=700_030,
        ],
        K::AppCredentialRefused,
        A::Assertion,
        "client assertion not accepted",
    ),
    operator(
        &[500_133..=500_133, 700_024..=700_024],
        K::AppCredentialRefused,
        A::Clock,
        "assertion expired or not valid yet",
    ),
    operator(
        &[
            70021..=70021,
            70025..=70025,
            700_211..=700_213,
            700_222..=700_222,
            700_226..=700_227,
            700_229..=700_229,
            700_236..=700_238,
            7_002_121..=7_002_121,
            7_002_137..=7_002_138,
            7_002_381..=7_002_381,
        ],
        K::AppCredentialRefused,
        A::FederatedCredential,
        "no federated credential matches",
    ),
    // The app is missing, disabled or not the app of the token.
    operator(
        &[700_011..=700_011, 700_016..=700_016, 700_038..=700_038],
        K::AppCredentialRefused,
        A::AppId,
        "no such app in this tenant",
    ),
    operator(&[70001..=70001, 7_000_112..=7_000_112], K::AppCredentialRefused, A::EnableApp, "app disabled"),
    operator(
        &[7_000_229..=7_000_229],
        K::AppCredentialRefused,
        A::ServicePrincipal,
        "app has no service principal in this tenant",
    ),
    operator(&[700_007..=700_007], K::WrongIdentity, A::AppId, "token was issued to another app"),
    operator(
        &[700_005..=700_005, 7_000_012..=7_000_012],
        K::WrongIdentity,
        A::Tenant,
        "token was issued by another tenant",
    ),
    // The registration, scope, tenant or cloud is wrong.
    operator(
        &[28002..=28003, 70011..=70011, 700_022..=700_023, 901_002..=901_002],
        K::AppMisconfigured,
        A::Scope,
        "scope not valid",
    ),
    operator(&[90009..=90009], K::AppMisconfigured, A::TokenForItself, "app asks for a token for itself"),
    operator(
        &[1_002_012..=1_002_012],
        K::AppMisconfigured,
        A::DefaultScope,
        "scope not valid for an app-only token",
    ),
    operator(
        &[50001..=50001, 500_011..=500_011, 650_052..=650_052, 650_054..=650_054],
        K::AppMisconfigured,
        A::Resource,
        "resource not in this tenant",
    ),
    operator(&[500_014..=500_014], K::AppMisconfigured, A::Resource, "resource disabled in this tenant"),
    operator(
        &[
            50059..=50059,
            50128..=50128,
            50194..=50194,
            90002..=90002,
            90019..=90019,
            900_023..=900_023,
            9_001_023..=9_001_023,
        ],
        K::AppMisconfigured,
        A::Tenant,
        "tenant not found",
    ),
    operator(
        &[90038..=90038, 900_382..=900_382, 900_432..=900_432, 900_439..=900_439],
        K::AppMisconfigured,
        A::Cloud,
        "tenant is in another cloud",
    ),
    operator(
        &[50011..=50011, 70004..=70004],
        K::AppMisconfigured,
        A::RedirectUri,
        "redirect URI not registered",
    ),
    operator(
        &[9_002_325..=9_002_325, 9_002_327..=9_002_327],
        K::AppMisconfigured,
        A::RedirectAsWeb,
        "redirect URI registered for a single-page app",
    ),
    operator(
        &[
            50147..=50147,
            70003..=70003,
            90013..=90014,
            90023..=90023,
            90100..=90100,
            501_481..=501_481,
            501_491..=501_491,
            900_144..=900_144,
        ],
        K::AppMisconfigured,
        A::Request,
        "request not understood",
    ),
    // The failure is usually temporary.
    retry(&[50196..=50196], K::EntraThrottled, A::Throttled, "same request too often"),
    retry(&[50088..=50088, 90055..=90055], K::EntraThrottled, A::Throttled, "too many requests"),
    retry(
        &[
            50000..=50000,
            50033..=50033,
            50087..=50087,
            50134..=50134,
            90006..=90006,
            90012..=90012,
            90024..=90024,
            90033..=90033,
            90090..=90091,
            5_000_224..=5_000_224,
        ],
        K::EntraUnreachable,
        A::Outage,
        "fault at Entra",
    ),
    retry(&[70012..=70012], K::EntraUnreachable, A::PersonalAccount, "fault in sign-in of personal accounts"),
    retry(
        &[50086..=50086, 90036..=90036, 90092..=90092],
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
        let plain = login(&[1..=1], A::SignIn, "x");

        assert!(plain.diagnosis.is_definite && !plain.diagnosis.ends_grant);
        let unconfirmed = login(&[1..=1], A::SignIn, "x").unconfirmed().diagnosis;
        assert!(!unconfirmed.is_definite && !unconfirmed.ends_grant && unconfirmed.remedy == Remedy::Login);
        let ends = login(&[1..=1], A::SignIn, "x").ends_grant().diagnosis;
        assert!(ends.is_definite && ends.ends_grant && ends.remedy == Remedy::Login);
    }
}
