//! Tests that `login` reports a failed check with an action and stores nothing.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::sandbox::world::{
    Consent, Distortion, Fault, FaultEffect, Operation, PartnerCenterRules, Peer, Platform, When,
};
use tokio::net::TcpListener;

use super::super::Stage;
use super::browser::Back;
use super::page_of;
use crate::support::child::{Child, Ended, eventually};

/// The users in addition to the token's own user: three in the partner's tenant, and one of another tenant.
struct Cast {
    colleague: String,
    password_only: String,
    guest: String,
    stranger: String,
}

fn cast(stage: &Stage) -> Cast {
    stage.sandbox.add_cast(&stage.partner);
    let oid = |upn: &str| stage.world().user(upn).expect(upn).oid;
    Cast {
        colleague: oid("colleague@one.onmicrosoft.com"),
        password_only: oid("password-only@one.onmicrosoft.com"),
        guest: oid("guest@elsewhere.example"),
        stranger: oid("stranger@elsewhere.example"),
    }
}

impl Stage {
    /// Signs in as this user. Returns the command's result, and the text of the browser's last page.
    async fn try_login(&self, user: &str, args: &[&str]) -> (Ended, String) {
        let login = self.login(&[args, &["--timeout", "60s"]].concat());
        let browser = self.browser();
        let back = browser.sign_in(&page_of(&login).await, user).await;
        let page = browser.go_back(back).await;
        (login.ended("an end").await, page)
    }

    /// Tests a sign-in that must not be stored, with the expected exit code, reason and action.
    async fn refused(&self, user: &str, code: i32, why: &str, cure: &str) {
        let before = self.versions();
        let (ended, page) = self.try_login(user, &[]).await;

        assert_eq!(ended.code, Some(code), "{why}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(why) && ended.stderr.contains(cure),
            "{why} · {cure}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "", "{why}");
        assert!(page.contains("Not stored"), "{why}: {page}");
        assert_eq!(self.versions(), before, "{why}");
        self.assert_quiet(&ended);
    }

    fn bend(&self, distortion: Distortion) {
        self.world()
            .inject(Fault::of(Peer::Entra, FaultEffect::Distort(distortion)).on(Operation::SignIn).times(1));
    }

    fn answer_with(&self, error: &str, code: u32) {
        let what = FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
        self.world().inject(Fault::of(Peer::Entra, what).on(Operation::SignIn).times(1));
    }
}

#[tokio::test]
async fn a_sign_in_by_the_wrong_account_is_not_stored() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let Cast { colleague, password_only, guest, .. } = cast(&stage);
    let own = stage.partner.user_oid.clone();
    stage.world().retag(&stage.partner.refresh_token, |tags| tags.insert("user-oid", &own));

    stage.bend(Distortion::OtherTenant);
    stage.refused(&own, 3, "does not belong to tenant", "correct tenant_id of one").await;
    stage.bend(Distortion::OtherApp);
    stage.refused(&own, 4, "are not for app", "compare client_id").await;
    stage
        .refused(&colleague, 3, "the token in the vault belongs to", "perennial login one --replace-user")
        .await;
    stage.world().retag(&stage.partner.refresh_token, |tags| tags.insert("user-oid", &password_only));
    stage.refused(&password_only, 3, "used no second factor", "register MFA for this user").await;
    stage.world().retag(&stage.partner.refresh_token, |tags| tags.insert("user-oid", &guest));
    stage.refused(&guest, 3, "Partner Center does not accept", "not a guest").await;

    let (ended, _) = stage.try_login(&colleague, &["--replace-user"]).await;
    stage.assert_stored(&ended, &colleague);
}

#[tokio::test]
async fn a_wrong_app_registration_is_reported_with_its_action() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let own = stage.partner.user_oid.clone();
    let register = |platform| {
        stage.world().change_app(&stage.partner.client_id, |app| app.redirects[0].platform = platform);
    };

    register(Platform::Spa);
    stage.refused(&own, 4, "AADSTS9002327", "to the platform Web").await;
    register(Platform::PublicClient);
    stage.refused(&own, 4, "AADSTS700025", "under the platform Web").await;
    register(Platform::Web);
    stage.bend(Distortion::DayToken);
    stage.refused(&own, 4, "would expire after 24 hours", "to the platform Web").await;
    stage.bend(Distortion::NoRefreshToken);
    stage.refused(&own, 4, "no refresh token", "offline_access").await;
    let link = format!(
        "{}/{}/adminconsent?client_id={}",
        stage.sandbox.origin, stage.partner.tenant_id, stage.partner.client_id
    );
    stage.answer_with("invalid_grant", 65001);
    stage.refused(&own, 4, "AADSTS65001", &link).await;
    for code in [50020, 90072] {
        stage.answer_with("invalid_grant", code);
        stage.refused(&own, 4, &format!("AADSTS{code}"), "compare tenant_id of one").await;
    }
    stage.answer_with("invalid_grant", 54005);
    stage.refused(&own, 3, "AADSTS54005", "start the sign-in again").await;
    stage.world().expire_app_secret(&stage.partner.client_id);
    stage.refused(&own, 4, "AADSTS7000222", "create a new client secret").await;
}

#[tokio::test]
async fn consent_is_asked_for_and_may_be_declined() {
    let stage = Stage::never_signed_in().await;
    let own = stage.partner.user_oid.clone();
    stage.world().change_app(&stage.partner.client_id, |app| app.consent = Consent::Asked);
    let browser = stage.browser();

    for (decision, why) in [("decline", "AADSTS65004"), ("cancel", "declined")] {
        let login = stage.login(&[]);
        let url = page_of(&login).await;
        let Back::Kept(asked) = browser.sign_in(&url, &own).await else { panic!("consent is asked for") };
        assert!(asked.contains("Permissions requested") && asked.contains("user_impersonation"), "{asked}");
        let back = Back::of(browser.press(&url, &[("user", &own), ("decision", decision)]).await).await;
        assert!(browser.go_back(back).await.contains("Not stored"));
        let ended = login.ended("declined").await;
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains(why) && ended.stderr.contains("declined"), "{}", ended.stderr);
    }
    assert_eq!(stage.versions(), 0);

    let login = stage.login(&[]);
    let url = page_of(&login).await;
    let back = Back::of(browser.press(&url, &[("user", &own), ("decision", "accept")]).await).await;
    browser.go_back(back).await;
    stage.assert_stored(&login.ended("stored").await, &own);
}

#[tokio::test]
async fn an_error_on_entras_page_ends_in_a_hint_after_the_timeout() {
    let stage = Stage::never_signed_in().await;
    let Cast { stranger, .. } = cast(&stage);
    let browser = stage.browser();

    let login = stage.login(&["--timeout", "3s"]);
    let url = page_of(&login).await;
    let Back::Kept(page) = browser.sign_in(&url, &stranger).await else { panic!("kept") };
    assert!(page.contains("AADSTS50020"), "{page}");
    stage
        .world()
        .change_app(&stage.partner.client_id, |app| app.redirects[0].uri = "https://app.example/cb".into());
    let unregistered = browser.get(&url).await;
    assert_eq!(unregistered.status(), 400);
    let policy = unregistered.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("script"), "{policy}");
    assert!(unregistered.text().await.expect("a page").contains("AADSTS50011"));

    let ended = login.ended("the wait is over").await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for told in [
        "the sign-in timed out after 3s",
        "AADSTS50011",
        "register the redirect URI http://localhost",
        "--no-browser",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert_eq!(stage.versions(), 0);

    let pasted = stage.login(&["--no-browser", "--timeout", "1s"]).ended("nothing was pasted").await;
    assert!(pasted.stderr.contains("paste the full address"), "{}", pasted.stderr);
    assert!(!pasted.stderr.contains("use `perennial login"), "{}", pasted.stderr);
}

#[tokio::test]
async fn a_port_in_use_is_reported_at_once() {
    let stage = Stage::never_signed_in().await;
    let holder = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let port = holder.local_addr().expect("bound").port().to_string();

    let ended = stage.login(&["--port", &port]).ended("refused").await;

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("port {port} is in use")), "{}", ended.stderr);
}

#[tokio::test]
async fn a_code_that_comes_from_elsewhere_or_twice_does_not_count() {
    let stage = Stage::never_signed_in().await;
    // The delay leaves time for the second request, even on a slow machine.
    let delay = FaultEffect::Delay(Duration::from_secs(3));
    stage.world().inject(Fault::of(Peer::Entra, delay).on(Operation::SignIn));
    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();
    let Back::Redirect(back) = browser.sign_in(&page_of(&login).await, &stage.partner.user_oid).await else {
        panic!("a redirect")
    };

    let mut forged = back.clone();
    forged.query_pairs_mut().clear().append_pair("code", "0.AQstolen").append_pair("state", "forged");
    let refused = browser.get(forged.as_str()).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.expect("a page").contains("state mismatch"));
    let astray = back.join("/callback").expect("a URL");
    assert_eq!(browser.get(astray.as_str()).await.status(), 404);

    // Both requests contain the same code. The second request arrives while the program exchanges the code.
    let (first, second) = tokio::join!(browser.get(back.as_str()), async {
        eventually("the exchange", || login.told().contains("state mismatch").then_some(())).await;
        browser.get(back.as_str()).await
    });
    let mut statuses = [first.status().as_u16(), second.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
    let ended = login.ended("stored").await;
    stage.assert_stored(&ended, &stage.partner.user_oid);
    assert!(ended.stderr.contains("Not accepted") && !ended.stderr.contains("stolen"), "{}", ended.stderr);
    let exchanges =
        stage.world().count_calls(Peer::Entra, Some(Operation::SignIn), chrono::DateTime::UNIX_EPOCH);
    assert_eq!(exchanges, 1, "a code is exchanged once");
}

#[tokio::test]
async fn a_secret_that_is_deleted_softly_can_be_recovered_or_purged() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    stage.world().human_deletes(&stage.partner.refresh_token);

    let (ended, page) = stage.try_login(&stage.partner.user_oid, &[]).await;

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let name = stage.partner.refresh_token.name.as_str();
    for told in ["deleted and can still be recovered", "secret recover", "secret purge", name] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert!(page.contains("Not stored") && page.contains("secret recover"), "{page}");
    stage.world().human_recovers(&stage.partner.refresh_token);
    assert_eq!(stage.versions(), 1);
}

#[tokio::test]
async fn a_vault_that_denies_access_is_reported_before_the_sign_in() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let no_role = FaultEffect::Coded {
        status: 403,
        code: "Forbidden".into(),
        inner: Some("ForbiddenByRbac".into()),
        retry_after: None,
    };
    stage.world().inject(Fault::of(Peer::KeyVault, no_role).about(stage.partner.refresh_token.name.as_str()));

    let ended = stage.login(&[]).ended("refused").await;

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(!ended.stderr.contains("authorize?"), "{}", ended.stderr);
}

#[tokio::test]
async fn login_waits_out_passing_failures_and_loses_no_sign_in() {
    let stage = Stage::never_signed_in().await;
    let down = || FaultEffect::Status { status: 503, retry_after: None };
    stage.world().inject(Fault::of(Peer::PartnerCenter, down()).times(1));
    let lost = FaultEffect::Transport(perennial::net::no_response::NoResponse::Cut);
    stage.world().inject(Fault::of(Peer::KeyVault, lost).on(Operation::Set).after_effect().times(1));

    let (ended, _) = stage.try_login(&stage.partner.user_oid, &[]).await;

    stage.assert_stored(&ended, &stage.partner.user_oid);
    assert_eq!(stage.versions(), 1, "the answer was lost, the version was not");
}

#[tokio::test]
async fn login_does_not_write_twice_if_reading_back_fails() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let world = stage.world().clone();
    stage.world().tell_calls_to(move |call, when| {
        if call.operation == Operation::Set && when == When::After {
            let down = FaultEffect::Status { status: 503, retry_after: None };
            world.inject(Fault::of(Peer::KeyVault, down).on(Operation::Get).times(1));
        }
    });
    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();
    let back = browser.sign_in(&page_of(&login).await, &stage.partner.user_oid).await;

    browser.go_back(back).await;

    stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
    assert_eq!(stage.versions(), 2, "the one before, and the sign-in");
}

#[tokio::test]
async fn partner_center_has_the_last_word() {
    let stage = Stage::never_signed_in().await;
    stage.world().set_partner_center(PartnerCenterRules { forbidden: true, ..PartnerCenterRules::default() });

    stage.refused(&stage.partner.user_oid.clone(), 3, "status 403", "with a Partner Center role").await;
}

#[tokio::test]
async fn a_device_code_may_be_declined_mistyped_or_expired() {
    let stage = Stage::never_signed_in().await;
    stage.world().set_device_interval(Duration::from_secs(1));
    let browser = stage.browser();
    let page = format!("{}/devicelogin", stage.sandbox.origin);
    let code_of = async |login: &Child, nth: usize| {
        let code = eventually("a code", || Some(stage.world().device_codes().get(nth)?.0.clone())).await;
        eventually("it is shown", || login.told().contains(&code).then_some(code.clone())).await
    };

    let login = stage.login(&["--device-code"]);
    let code = code_of(&login, 0).await;
    let mistyped = browser.get(&format!("{page}?code=AAAAAAAAA")).await.text().await.expect("a page");
    assert!(mistyped.contains("AADSTS70018"), "{mistyped}");
    browser.press(&page, &[("code", &code), ("decision", "decline")]).await;
    let ended = login.ended("declined").await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("authorization_declined"), "{}", ended.stderr);

    let login = stage.login(&["--device-code"]);
    code_of(&login, 1).await;
    stage.world().advance(TimeDelta::minutes(16));
    let ended = login.ended("run out").await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the device code expired before anyone signed in"), "{}", ended.stderr);

    stage.answer_with("invalid_grant", 53003);
    let ended = stage.login(&["--device-code"]).ended("blocked").await;
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("block the device code flow"), "{}", ended.stderr);
    assert_eq!(stage.versions(), 0);
}

/// Entra's answer does not name the user. An import has no nonce to check, so only the comparison of the users can stop
/// this import.
#[tokio::test]
async fn a_token_whose_user_cannot_be_compared_is_not_imported_over_a_users() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let (user, secret) = (&stage.partner.user_oid, &stage.partner.refresh_token);
    stage.world().retag(secret, |tags| tags.insert("user-oid", user));
    let bent = Fault::of(Peer::Entra, FaultEffect::Distort(Distortion::NoIdentity)).on(Operation::Redeem);
    stage.world().inject(bent);
    let import = async |args: &[&str]| {
        let mut login = stage.login(&[&["--import"], args].concat());
        let token = stage.world().sign_in(user, &stage.partner.client_id).expect("signed in");
        login.types(token.expose());
        login.hangs_up();
        login.ended("an end").await
    };
    let before = stage.versions();

    let ended = import(&[]).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not say which user signed in"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--replace-user"), "{}", ended.stderr);
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let pinned = text.replacen("[[token]]", &format!("[[token]]\nuser_oid = \"{user}\""), 1);
    std::fs::write(&stage.config, pinned).expect("our own file");
    let ended = import(&["--replace-user"]).await;
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("allows only {user}")), "{}", ended.stderr);
    assert_eq!(stage.versions(), before);

    std::fs::write(&stage.config, text).expect("our own file");
    let ended = import(&["--replace-user"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not name the tenant and app"), "{}", ended.stderr);
    assert_eq!(stage.versions(), before + 1);
}

#[tokio::test]
async fn an_import_must_be_one_valid_token_of_this_app() {
    let stage = Stage::never_signed_in().await;
    let revoked =
        stage.world().sign_in(&stage.partner.user_oid, &stage.partner.client_id).expect("signed in");
    stage.world().revoke_user(&stage.partner.user_oid);
    let others = stage.world().sign_in(&stage.other.user_oid, &stage.other.client_id).expect("signed in");

    for (typed, code, told) in [
        ("", 2, "stdin must hold one refresh token"),
        ("two words", 2, "stdin must hold one refresh token"),
        ("not-a-token-at-all-but-one-word", 3, "token is complete"),
        (revoked.expose(), 3, "AADSTS50173"),
        (others.expose(), 4, "AADSTS700007"),
    ] {
        let mut login = stage.login(&["--import"]);
        login.types(typed);
        login.hangs_up();
        let ended = login.ended("refused").await;

        assert_eq!(ended.code, Some(code), "{told}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        stage.assert_quiet(&ended);
    }
    assert_eq!(stage.versions(), 0);
}
