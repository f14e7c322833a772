//! The page as text: escaping, its policy, and what it says at a glance.

use super::*;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use uuid::Uuid;

use crate::failure::Kind;
use crate::snapshot::Standing;
use crate::status::StatusSource;

fn now() -> Timestamp {
    "2026-03-08T00:00:00Z".parse().expect("a time")
}

fn status() -> Status {
    Status::of(&[], TimeDelta::zero(), now(), StatusSource::Daemon)
}

fn token(name: &str, state: Standing) -> TokenStatus {
    let issued = now() - TimeDelta::days(9);
    TokenStatus {
        name: name.to_owned(),
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
        partner_center_accepts: Some(true),
        conditions: Vec::new(),
    }
}

fn condition(kind: Kind, severity: Severity, token: &str) -> Condition {
    Condition {
        id: Uuid::nil(),
        kind,
        cause: String::new(),
        severity,
        since: now(),
        tokens: vec![token.to_owned()],
        remedy: "login",
        summary: "it said \"no\"".to_owned(),
        action: "sign in <again>".to_owned(),
        runway_seconds: None,
        owners: vec!["Ops & co".to_owned()],
        code: Some(50_173),
        trace_id: None,
        correlation_id: None,
    }
}

#[test]
fn the_policy_admits_the_style_sheet_and_no_other() {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let hash = STANDARD.encode(suite.common.hash_provider.hash(STYLE.as_bytes()));

    assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "the style sheet's hash is {hash}");
    let page = render(&status());
    assert_eq!(page.matches("<style>").count(), 1);
    for never in ["style=", "<script", "javascript:", "onload", "http://", "https://"] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(never), "{never}");
    }
}

#[test]
fn names_and_reasons_are_escaped() {
    let odd = "<b>\"a\"&'c'</b>";
    let mut status = status();
    status.tokens = vec![token(odd, Standing::NeedsLogin)];
    status.conditions = vec![condition(Kind::LoginRequired, Severity::Critical, odd)];

    let page = render(&status);

    assert!(!page.contains("<b>\""), "{page}");
    assert_eq!(page.matches("&lt;b&gt;&quot;a&quot;&amp;&#39;c&#39;&lt;/b&gt;").count(), 2);
    assert!(page.contains("Sign in &lt;again&gt;.") && page.contains("Ops &amp; co"));
}

#[test]
fn one_glance_tells_the_verdict() {
    let mut status = status();
    status.tokens = vec![token("a", Standing::Current), token("b", Standing::Current)];
    let page = render(&status);
    assert!(page.contains("<title>All is well") && page.contains("All 2 tokens work. Next step: a, in 4 h."));

    status.tokens[1].state = Standing::Unknown;
    assert!(render(&status).contains("<title>Not known yet"), "what is not known is never green");

    status.tokens[1].state = Standing::Current;
    status.conditions = vec![condition(Kind::Overdue, Severity::Warning, "b")];
    assert!(render(&status).contains("<title>Working, with a warning"));

    status.conditions = vec![condition(Kind::LoginRequired, Severity::Critical, "b")];
    status.healthy = false;
    let page = render(&status);
    assert!(page.contains("<title>Action needed") && page.contains("1 of 2 tokens needs you now: b."));
    assert!(page.find("<h3>b<") < page.find("<h3>a<"), "trouble comes first");
}

#[test]
fn the_bar_shows_age_rotation_and_end() {
    let mut status = status();
    status.tokens = vec![token("a", Standing::Current)];

    let page = render(&status);

    assert!(page.contains("aria-label=\"9 d old of 90 d, rotates in 6 d 4 h, expires in 81 d\""), "{page}");
    assert!(page.contains("class=\"age\" x=\"0\" y=\"26\" width=\"10.0%\""));
    assert!(page.contains("class=\"turn\" x1=\"16.9%\""));
}

#[test]
fn what_is_not_known_is_said() {
    let mut status = status();
    let unknown = TokenStatus {
        issued_at: None,
        expires_at: None,
        proved_at: None,
        next_step_at: None,
        partner_center_accepts: None,
        ..token("a", Standing::Unknown)
    };
    status.tokens = vec![unknown];

    let page = render(&status);

    assert!(page.contains("Age not known") && page.contains("none yet") && page.contains("not asked"));
}

#[test]
fn a_fleet_is_cut_short_and_says_so() {
    let mut status = status();
    status.tokens = (0..250).map(|n| token(&format!("t{n}"), Standing::Current)).collect();

    let page = render(&status);

    assert_eq!(page.matches("<h3>t").count(), MOST_TOKENS);
    assert!(page.contains("and 50 more"));
}
