//! Tests combinations of codes and OAuth errors: which code decides, and which codes condemn a token.

use super::*;
use crate::ports::diagnosis::tests::ERRORS;
use crate::ports::failure::Trace;

fn refusal(error: &str, code: Option<u32>) -> OAuthError {
    OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() }
}

#[test]
fn the_loop_rejection_is_throttling_and_not_a_dead_token() {
    let answer = refusal("invalid_grant", Some(50196));

    assert_eq!(answer.wait(), Some(LOOP_PAUSE));
    assert!(!answer.condemns_token());
}

#[test]
fn only_five_numbers_under_one_error_condemn_a_token() {
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
fn the_most_specific_number_decides_and_all_must_allow_the_end() {
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
        (vec![50000, 90092], Some(90092), false),
        (vec![999_999, 50173], Some(50173), false),
        (vec![70002], Some(70002), false),
        (vec![], None, false),
    ] {
        let (found, further_codes) = pick(codes.clone());
        let answer = OAuthError { further_codes, ..refusal("invalid_grant", found) };

        assert_eq!((found, answer.condemns_token()), (code, ends), "{codes:?}");
    }
}

#[test]
fn only_a_final_mark_records_the_end_of_a_grant() {
    for code in [50133, 50173, 70008, 700_082, 700_084, UNREADABLE] {
        assert!(is_final_mark(&mark_of(Some(code))), "{code}");
    }
    assert!(is_final_mark(&mark_of(None)));
    for text in ["AADSTS53003", "AADSTS999999", "AADSTS", "50173", "aadsts50173", "invalid_grant", ""] {
        assert!(!is_final_mark(text), "{text}");
    }
}

#[test]
fn only_an_unparsable_value_never_was_a_token() {
    for code in 0..10_000_000u32 {
        let never = refusal("invalid_grant", Some(code)).never_was_a_token();
        assert_eq!(never, code == 9_002_313, "{code}");
    }
}
