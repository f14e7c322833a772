//! Codes times OAuth errors: what each pair means, and that only a known end of a grant condemns.

use super::*;

fn refusal(error: &str, code: Option<u32>) -> OAuthError {
    OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() }
}

#[test]
fn a_loop_of_our_own_is_throttling_and_not_a_dead_token() {
    let answer = refusal("invalid_grant", Some(50196));

    assert_eq!(answer.class(), Class::Throttled);
    assert_eq!((answer.remedy(), answer.wait()), (Remedy::Retry, Some(LOOP_PAUSE)));
    assert!(!answer.condemns_token());
}

#[test]
fn an_expired_app_secret_never_means_a_dead_token() {
    let answer = refusal("invalid_client", Some(7_000_222));

    assert_eq!(answer.remedy(), Remedy::Operator);
    assert_eq!(answer.kind(), Kind::AppCredentialRefused);
    assert!(!answer.condemns_token());
}

#[test]
fn a_code_nobody_knows_is_read_by_its_error() {
    assert_eq!(refusal("invalid_grant", Some(999_999)).remedy(), Remedy::Login);
    assert_eq!(refusal("invalid_client", Some(999_999)).remedy(), Remedy::Operator);
}

#[test]
fn an_error_nobody_knows_is_tried_again_and_never_a_sign_in() {
    let answer = refusal("out_of_cheese", None);

    assert_eq!(answer.class(), Class::Unknown);
    assert_eq!(answer.remedy(), Remedy::Retry);
}

#[test]
fn a_policy_says_nothing_about_the_token() {
    for code in [50076, 53003, 50057, 50053] {
        assert!(!refusal("invalid_grant", Some(code)).condemns_token(), "{code}");
        assert_eq!(refusal("invalid_grant", Some(code)).remedy(), Remedy::Operator, "{code}");
    }
}

const ERRORS: [&str; 12] = [
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
fn of_ten_million_numbers_five_condemn_and_those_under_one_error_only() {
    let mut condemning = Vec::new();
    for code in 0..10_000_000u32 {
        if refusal("invalid_grant", Some(code)).condemns_token() {
            condemning.push(code);
        }
    }
    assert_eq!(condemning, [50133, 50173, 70008, 700_082, 700_084]);

    for error in ERRORS {
        let no_number = refusal(error, None);
        assert!(!no_number.condemns_token(), "{error}");
        for code in &condemning {
            let answer = refusal(error, Some(*code));
            assert_eq!(answer.condemns_token(), error == "invalid_grant", "{error} {code}");
        }
    }
}

#[test]
fn of_several_numbers_the_one_that_says_most_decides_and_none_may_speak_against_the_end() {
    for (codes, code, ends) in [
        (vec![70002, 70008], Some(70008), true),
        (vec![70000, 50173], Some(50173), true),
        (vec![50173, 70008], Some(50173), true),
        (vec![50173, 50173], Some(50173), true),
        (vec![70008, 530_003], Some(70008), false),
        (vec![50173, 999_999], Some(50173), false),
        (vec![70002, 500_133], Some(500_133), false),
        (vec![70002, 50012], Some(50012), false),
        (vec![70002, 70000], Some(70000), false),
        (vec![70002], Some(70002), false),
        (vec![], None, false),
    ] {
        let (found, further_codes) = pick(codes.clone());
        let answer = OAuthError { further_codes, ..refusal("invalid_grant", found) };

        assert_eq!((found, answer.condemns_token()), (code, ends), "{codes:?}");
    }
}

#[test]
fn a_final_mark_names_an_end_and_nothing_else_does() {
    for code in ENDS_A_GRANT.into_iter().chain([UNREADABLE]) {
        assert!(is_final_mark(&mark_of(Some(code))), "{code}");
    }
    assert!(is_final_mark(&mark_of(None)));
    for text in ["AADSTS53003", "AADSTS999999", "AADSTS", "50173", "aadsts50173", "invalid_grant", ""] {
        assert!(!is_final_mark(text), "{text}");
    }
}

#[test]
fn a_token_that_is_condemned_is_never_retried_or_told_as_a_policy() {
    for code in 0..10_000_000u32 {
        let answer = refusal("invalid_grant", Some(code));
        if answer.condemns_token() {
            assert_eq!(answer.kind(), Kind::LoginRequired, "{code}");
            assert!(!matches!(answer.remedy(), Remedy::Retry), "{code}");
        }
    }
}

#[test]
fn every_number_of_a_policy_is_an_operators_under_any_error() {
    for code in (53000..54000).chain(530_000..531_000) {
        for error in ERRORS {
            for status in [400, 401, 429, 500] {
                let answer = OAuthError { status, ..refusal(error, Some(code)) };
                let found = (answer.class(), answer.remedy(), answer.kind());
                let policy = (Class::Policy, Remedy::Operator, Kind::PolicyBlocked);
                assert_eq!(found, policy, "{error} {code} {status}");
                assert!(!answer.condemns_token() && !answer.never_was_a_token(), "{error} {code}");
            }
        }
    }
    for code in [52999, 54000, 529_999, 531_000] {
        assert_eq!(refusal("invalid_grant", Some(code)).remedy(), Remedy::Login, "{code} is no policy's");
    }
}

#[test]
fn a_token_of_another_tenant_is_a_wrong_identity() {
    for error in ["invalid_grant", "unauthorized_client", "invalid_request"] {
        let answer = refusal(error, Some(7_000_012));

        assert_eq!((answer.remedy(), answer.kind()), (Remedy::Operator, Kind::WrongIdentity), "{error}");
        assert!(!answer.condemns_token(), "{error}");
    }
}

#[test]
fn only_what_no_issuer_could_read_never_was_a_token() {
    for code in 0..10_000_000u32 {
        let never = refusal("invalid_grant", Some(code)).never_was_a_token();
        assert_eq!(never, code == 9_002_313, "{code}");
    }
}
