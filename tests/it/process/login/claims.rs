//! Tests the claims challenge of a policy. If Entra rejects the stored token with a challenge, the next sign-in must
//! send this challenge.

use chrono::TimeDelta;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::super::Stage;
use super::browser::Back;
use super::page_of;

const CLAIMS: &str =
    r#"{"access_token":{"capolids":{"essential":true,"values":["0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"]}}}"#;

/// Returns Entra's answer to a redemption that a policy rejects.
fn rejected(claims: &str) -> Fault {
    let body = serde_json::json!({
        "error": "interaction_required", "suberror": "basic_action", "claims": claims,
        "error_description": "AADSTS50076: multi-factor authentication is required.", "error_codes": [50076],
    });
    let what = FaultEffect::Verbatim {
        status: 400,
        content_type: "application/json",
        retry_after: None,
        body: body.to_string(),
    };
    Fault::of(Peer::Entra, what).on(Operation::Redeem)
}

#[tokio::test]
async fn the_claims_of_a_rejection_are_asked_of_the_next_sign_in() {
    for (claims, passed) in [(CLAIMS, true), ("not JSON", false), ("\u{1b}[2J", false), ("[1]", false)] {
        let stage = Stage::set(TimeDelta::days(2)).await;
        stage.world().inject(rejected(claims));
        let rotated = stage.run_to_end(&["rotate", "one", "--force"]).await;
        assert_ne!(rotated.code, Some(0), "{}", rotated.stderr);

        let login = stage.login(&["--no-browser"]);
        let page = page_of(&login).await;
        let url = reqwest::Url::parse(&page).expect("a URL");
        let asked = url.query_pairs().find(|(name, _)| name == "claims").map(|(_, value)| value.into_owned());
        assert_eq!(asked.as_deref(), passed.then_some(claims), "{page}");

        stage.world().clear_faults(None);
        let Back::Redirect(back) = stage.browser().sign_in(&page, &stage.partner.user_oid).await else {
            panic!("a redirect")
        };
        stage.browser().get(back.as_str()).await;
        stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
    }
}

/// Before a sign-in, `login` does not redeem a token that works or whose state is unknown.
#[tokio::test]
async fn a_token_that_is_not_known_to_be_rejected_is_not_redeemed_for_claims() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    stage.world().inject(rejected(CLAIMS));

    let login = stage.login(&["--no-browser"]);
    let page = page_of(&login).await;

    assert!(!page.contains("claims="), "{page}");
    assert_eq!(stage.redemptions(), 0);
}
