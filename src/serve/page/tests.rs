//! Tests of the page's HTML: escaping, the content security policy, and the summary.

use super::*;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use uuid::Uuid;

use crate::ports::failure::{Kind, Remedy, Trace};
use crate::renewal::report::RenewalStage;
use crate::rotation::samples;
use crate::status::condition::{Cause, Condition, Severity};
use crate::status::document::{RenewalStatus, StatusSource, TokenStatus};
use crate::status::snapshot::TokenState;

fn now() -> Timestamp {
    "2026-03-08T00:00:00Z".parse().expect("a time")
}

fn status() -> Status {
    Status::of(&[], TimeDelta::zero(), now(), StatusSource::Daemon)
}

fn token(name: &str, state: TokenState) -> TokenStatus {
    let issued = now() - TimeDelta::days(9);
    TokenStatus {
        name: name.to_owned(),
        stored_in: format!("https://contoso.vault.azure.net/secrets/{name}"),
        state,
        version: None,
        issued_at: Some(issued),
        signed_in_at: Some(issued),
        expires_at: Some(issued + TimeDelta::days(90)),
        proved_at: Some(now() - TimeDelta::hours(2)),
        runway_seconds: None,
        last_rotation_at: None,
        rotate_at: Some(now() + TimeDelta::hours(148)),
        next_step_at: Some(now() + TimeDelta::hours(4)),
        waits_for_turn: false,
        partner_center_accepts: Some(true),
        renewal: None,
        conditions: Vec::new(),
    }
}

fn condition(kind: Kind, severity: Severity, token: &str) -> Condition {
    Condition {
        id: Uuid::nil(),
        tokens: vec![token.to_owned()],
        owners: vec!["Ops & co".to_owned()],
        trace: Trace::of(50_173),
        ..Condition::new(kind, &Cause::token(&samples::address("token")), (severity, Remedy::Login), now())
    }
    .with_texts("it said \"no\"".to_owned(), "sign in <again>".to_owned())
}

/// Renders the page with the default view.
fn page(status: &Status) -> String {
    render(status, &View::default()).into_string()
}

#[test]
fn the_policy_admits_the_style_sheet_and_no_other() {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let hash = STANDARD.encode(suite.common.hash_provider.hash(STYLE.as_bytes()));

    assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "the style sheet's hash is {hash}");
    let shown = page(&status());
    assert_eq!(shown.matches("<style>").count(), 1);
    for never in ["style=", "<script", "javascript:", "onload", "http://", "https://"] {
        let shown = shown.replace("http://www.w3.org/2000/svg", "");
        assert!(!shown.contains(never), "{never}");
    }
}

#[test]
fn names_and_reasons_are_escaped() {
    let odd = "<b>\"a\"&'c'</b>";
    let mut status = status();
    status.tokens = vec![token(odd, TokenState::NeedsLogin)];
    status.conditions = vec![condition(Kind::LoginRequired, Severity::Critical, odd)];

    let shown = page(&status);

    assert!(!shown.contains("<b>\""), "{shown}");
    assert_eq!(shown.matches("&lt;b&gt;&quot;a&quot;&amp;'c'&lt;/b&gt;").count(), 2);
    assert!(shown.contains("Sign in &lt;again&gt;.") && shown.contains("Ops &amp; co"));
}

#[test]
fn the_page_shows_the_verdict_first() {
    let mut status = status();
    status.tokens = vec![token("a", TokenState::Current), token("b", TokenState::Current)];
    let shown = page(&status);
    assert!(
        shown.contains("<title>All is well") && shown.contains("All 2 tokens work. Next step: a, in 4 h.")
    );

    status.tokens[1].state = TokenState::Unknown;
    assert!(page(&status).contains("<title>Not known yet"), "what is not known is never green");

    status.tokens[1].state = TokenState::Current;
    status.conditions = vec![condition(Kind::Overdue, Severity::Warning, "b")];
    assert!(page(&status).contains("<title>Working, with a warning"));

    status.conditions = vec![condition(Kind::LoginRequired, Severity::Critical, "b")];
    status.healthy = false;
    let shown = page(&status);
    assert!(shown.contains("<title>Action needed") && shown.contains("1 of 2 tokens needs action now: b."));
    assert!(shown.find("<h3>b<") < shown.find("<h3>a<"), "trouble comes first");
}

#[test]
fn the_bar_and_the_words_beside_it_show_age_rotation_and_end() {
    let mut status = status();
    status.tokens = vec![token("a", TokenState::Current)];

    let shown = page(&status);

    for said in [
        "class=\"age\" width=\"10.0%\"",
        "class=\"turn\" x=\"16.9%\"",
        ">9 d of 90 d</time><small>signed in 9 d ago<",
        ">in 6 d 4 h</time><small>14 Mar, 04:00<",
        ">in 81 d</time><small>28 May 2026<",
        ">2 h ago</time><small>7 Mar, 22:00<",
        ">proof in 4 h</time><small>8 Mar, 04:00<",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn a_refused_token_has_neither_rotation_nor_end() {
    let mut status = status();
    let refused = || TokenStatus { runway_seconds: Some(0), ..token("a", TokenState::NeedsLogin) };
    status.tokens = vec![refused()];
    let card = page(&status);
    status.tokens = (0..40).map(|_| refused()).collect();
    let all = page(&status);
    let (_, row) = all.rsplit_once("<th scope=\"row\">").expect("a row");

    for shown in [card.as_str(), row] {
        for not_said in ["class=\"turn\"", ">in 6 d 4 h<", ">in 81 d<"] {
            assert!(!shown.contains(not_said), "{not_said}: {shown}");
        }
    }
    assert!(card.contains(">no longer accepted</time>"));
}

#[test]
fn unknown_values_are_shown_as_unknown() {
    let mut status = status();
    let unknown = TokenStatus {
        issued_at: None,
        expires_at: None,
        rotate_at: None,
        proved_at: None,
        next_step_at: None,
        partner_center_accepts: None,
        ..token("a", TokenState::Unknown)
    };
    status.tokens = vec![unknown];

    let shown = page(&status);

    for said in [
        "<dt>Age</dt><dd>not known",
        "<dt>Rotates</dt><dd>not known",
        "none yet",
        "not asked",
        "The token has not been proved yet.",
    ] {
        assert!(shown.contains(said), "{said}");
    }
}

/// While Partner Center does not respond, the page shows a token as unconfirmed, even if the token was proved recently.
#[test]
fn a_proved_token_is_never_shown_as_unproved() {
    let mut status = status();
    status.tokens = vec![token("a", TokenState::Unknown), token("b", TokenState::Current)];

    let shown = page(&status);

    assert!(!shown.contains("Not proved yet") && !shown.contains("been proved yet"), "{shown}");
    assert!(shown.contains("Unconfirmed: 1 of 2 tokens, last proved 2 h ago."), "{shown}");
    assert!(shown.contains(">2 h ago</time><small>7 Mar, 22:00<"), "{shown}");
    status.tokens.truncate(1);
    assert!(page(&status).contains("The token is unconfirmed; it was last proved 2 h ago."));
}

#[test]
fn two_tokens_need_and_one_needs_a_sign_in() {
    let mut status = status();
    status.tokens = vec![token("a", TokenState::NeedsLogin)];
    assert!(page(&status).contains("1 needs a sign-in"));
    status.tokens.push(token("b", TokenState::NeedsLogin));
    assert!(page(&status).contains("2 need a sign-in"));
}

#[test]
fn a_token_that_waits_for_its_turn_is_shown_as_waiting() {
    let mut status = status();
    let waiting =
        TokenStatus { waits_for_turn: true, next_step_at: Some(now()), ..token("a", TokenState::Unknown) };
    status.tokens = (0..40).map(|_| waiting.clone()).collect();
    let rows = page(&status);
    status.tokens.truncate(1);
    let card = page(&status);

    for shown in [rows, card] {
        assert!(shown.contains(">waits for its turn<"), "{shown}");
        assert!(!shown.contains("attempt now") && !shown.contains("proof now"), "{shown}");
    }
}

#[test]
fn a_token_rejected_by_partner_center_has_a_state_of_its_own() {
    let mut status = status();
    status.tokens = vec![token("a", TokenState::PartnerCenterRefused)];

    let shown = page(&status);

    assert!(shown.contains("1 rejected by Partner Center"), "{shown}");
    assert!(!shown.contains("Current"), "{shown}");
}

#[test]
fn commands_stand_out_and_are_escaped() {
    for (text, shown) in [
        (
            "run `perennial login <a>`, then `b`",
            "Run <code>perennial login &lt;a&gt;</code>, then <code>b</code>.",
        ),
        ("one ` is `no` pair `", "One <code> is </code>no<code> pair </code>."),
        ("one ` alone", "One ` alone."),
        ("`a`", "<code>a</code>."),
        ("<", "&lt;."),
        ("", "."),
    ] {
        assert_eq!(sentence(text).into_string(), shown);
    }
}

#[test]
fn a_condition_shows_its_beginning_time_left_and_remedy() {
    let mut status = status();
    status.tokens = vec![token("b", TokenState::NeedsLogin)];
    let mut refused = condition(Kind::LoginRequired, Severity::Critical, "b");
    refused.since = now() - TimeDelta::minutes(134);
    refused.runway_seconds = Some(0);
    status.conditions = vec![refused];

    let shown = page(&status);

    for said in [
        "2 h 14 min ago</time><small>7 Mar, 21:46</small>",
        "<dt>Time left</dt><dd>none</dd>",
        "<dd>anyone who can sign in as the integration user<small>Ops &amp; co</small></dd>",
        "<dd>login_required</dd>",
        "AADSTS50173",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let anchor = Uuid::nil();
    assert!(
        shown.contains(&format!("id=\"{anchor}\"")) && shown.contains(&format!("<a href=\"#{anchor}\">"))
    );
}

#[test]
fn the_gravest_of_many_conditions_are_unfolded() {
    let mut status = status();
    status.tokens = (0..9).map(|n| token(&format!("t{n}"), TokenState::NeedsLogin)).collect();
    let login = |n| condition(Kind::LoginRequired, Severity::Critical, &format!("t{n}"));
    status.conditions = (0..9).map(login).collect();

    let shown = page(&status);

    assert_eq!(
        (shown.matches("<article class=\"card trouble").count(), shown.matches("<details").count()),
        (5, 4)
    );
    assert_eq!((shown.matches("</summary><div id=").count(), shown.matches("</details>").count()), (4, 4));
    assert!(shown.find("<article class=\"card trouble") < shown.find("<details"));
}

#[test]
fn a_fleet_has_cards_for_problems_and_rows_for_the_rest() {
    let mut status = status();
    status.tokens = (0..600).map(|n| token(&format!("t{n}"), TokenState::Current)).collect();
    status.tokens[599].state = TokenState::NeedsLogin;
    status.conditions = vec![condition(Kind::LoginRequired, Severity::Critical, "t599")];

    let shown = page(&status);

    assert_eq!(shown.matches("<h3>t").count(), 1);
    assert!(shown.contains("<h3>t599<"));
    assert_eq!(shown.matches("<th scope=\"row\">t").count(), tokens::PAGE_OF - 1);
    assert!(shown.contains("1 to 200 of 600 tokens") && shown.contains("599 current · 1 needs a sign-in"));
}

#[test]
fn a_reader_turns_pages_searches_and_filters() {
    let mut status = status();
    status.tokens = (0..450).map(|n| token(&format!("t{n}"), TokenState::Current)).collect();
    status.tokens[7].state = TokenState::Off;
    let asked = |query| render(&status, &View::of(query)).into_string();
    let rows = |shown: &str| shown.matches("<th scope=\"row\">t").count() + shown.matches("<h3>t").count();

    for (query, count, said) in [
        ("page=2", 200, "201 to 400 of 450 tokens"),
        ("page=3", 50, "<a href=\"./?page=2\">Previous</a>"),
        ("page=99", 50, "401 to 450 of 450 tokens"),
        ("q=T44", 11, "11 of 450 tokens. <a href=\"./\">Show all</a>"),
        ("q=SECRETS/t449&paused", 1, "1 of 450 tokens. <a href=\"./?paused\">Show all</a>"),
        ("state=off", 1, "<option value=\"off\" selected>"),
        ("q=none", 0, "0 of 450 tokens"),
        ("q=t&page=2", 200, "<a href=\"./?q=t&amp;page=3\">Next</a>"),
        ("q=%22%3E%3Cb%3E", 0, "value=\"&quot;&gt;&lt;b&gt;\""),
    ] {
        let shown = asked(query);
        assert_eq!(rows(&shown), count, "{query}");
        assert!(shown.contains(said), "{query}: {shown}");
    }
    status.tokens.truncate(6);
    assert!(!page(&status).contains("<form"), "six tokens need no search");
}

/// Each name has 60 characters, and each of the ten thousand tokens has a problem of its own.
#[test]
fn the_page_of_ten_thousand_tokens_stays_small() {
    let mut status = status();
    let name = |n: usize| format!("{n:0>60}");
    status.tokens = (0..10_000).map(|n| token(&name(n), TokenState::NeedsLogin)).collect();
    status.conditions =
        (0..10_000).map(|n| condition(Kind::LoginRequired, Severity::Critical, &name(n))).collect();

    let shown = page(&status);

    assert!(shown.len() < 300_000, "{} bytes", shown.len());
}

#[test]
fn a_paused_page_says_so_and_how_to_resume() {
    let view = View::of("paused&q=a");
    let (paused, live) = (render(&status(), &view).into_string(), page(&status()));

    assert!(paused.contains("paused at <time") && paused.contains("<a href=\"./?q=a\">Resume</a>"));
    assert!(reload(&View::of("q=a")) == "15;url=./?q=a" && live.contains("reloads every 15 s"));
    assert!(live.contains("as of <time") && live.contains("<a href=\"./?paused\">Pause</a>"));
}

#[test]
fn a_card_tells_the_renewal_of_the_app_secret() {
    let with = |token| {
        let mut status = status();
        status.tokens.push(token);
        status
    };
    let renewal = |stage| {
        let (key_id, ends_at) = (Some(Uuid::nil()), Some(now() + TimeDelta::days(100)));
        RenewalStatus { stage, key_id, ends_at, renews_at: Some(now() + TimeDelta::days(55)) }
    };
    for (stage, told) in [
        (RenewalStage::Starting, "not known"),
        (RenewalStage::Waiting, "renewed in 55 d"),
        (RenewalStage::Due, "renewal is due"),
        (RenewalStage::Trying, "a new credential is being tested"),
        (RenewalStage::Removing, "a credential is being removed"),
    ] {
        let renewed = TokenStatus { renewal: Some(renewal(stage)), ..token("a", TokenState::Current) };
        let page = page(&with(renewed));
        assert!(page.contains("App credential") && page.contains(told), "{told}: {page}");
    }
    let other = page(&with(token("a", TokenState::Current)));
    assert!(!other.contains("App credential"), "{other}");
}
