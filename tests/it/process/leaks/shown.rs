//! Tests texts from the issuer, from Partner Center and from the vault's tags. A terminal, a log or a page shows these
//! texts without secrets and without terminal escape sequences.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use perennial::sandbox::world::{Fault, FaultEffect, Hostile, Operation, Peer, When};
use perennial::token::tags::Tags;
use perennial::token::version::tag;

use super::super::Stage;
use super::{leaks, secrets};
use crate::support::child::{Child, Ended};

/// A text that clears the screen of a terminal, sets a title, changes the color with a single C1 character, and
/// reverses the reading direction.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}end";

/// Returns the characters that a terminal would interpret.
fn raw(text: &str) -> Vec<char> {
    let acts = |c: &char| {
        let hidden = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
        c.is_control() || *c == '\u{feff}' || hidden.iter().any(|range| range.contains(c))
    };
    text.chars().filter(|c| *c != '\n' && acts(c)).collect()
}

impl Stage {
    fn assert_harmless(&self, what: &str, text: &str) {
        assert_eq!(raw(text), Vec::<char>::new(), "{what}: {text:?}");
        assert_eq!(leaks(text, &secrets(self)), Vec::<String>::new(), "{what}: {text}");
    }

    async fn run_traced(&self, args: &[&str]) -> Ended {
        Child::start(&self.config, args, &[("RUST_LOG", "trace")]).ended(&args.join(" ")).await
    }
}

#[tokio::test]
async fn claims_that_echo_the_request_are_not_shown() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    // The configuration names the tenant by its domain. So Perennial cannot compare the tenant id in a token with the
    // configuration, and accepts the false id.
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let by_domain = text.replace(&stage.partner.tenant_id, "one.onmicrosoft.com");
    assert_ne!(text, by_domain);
    std::fs::write(&stage.config, by_domain).expect("our own file");
    let hostile = |peer, body| Fault::of(peer, FaultEffect::Hostile { status: 200, body });
    stage.world().inject(hostile(Peer::Entra, Hostile::Laced).on(Operation::Redeem));
    stage.world().inject(hostile(Peer::PartnerCenter, Hostile::Laced));

    for args in [
        &["verify", "one"][..],
        &["verify", "one", "--json"],
        &["check", "one"],
        &["check", "one", "--json"],
        &["rotate", "one", "--force"],
        &["rotate", "one", "--force", "--json"],
        &["status", "one", "--json"],
    ] {
        let before = secrets(&stage);
        let ended = stage.run_traced(args).await;

        let printed = ended.stdout + &ended.stderr;
        assert_eq!(ended.code, Some(0), "{args:?}: {printed}");
        stage.assert_harmless(&format!("{args:?}"), &printed);
        assert_eq!(leaks(&printed, &before), Vec::<String>::new(), "{args:?}: {printed}");
    }
    let mut login = stage.login(&["--import"]);
    login.types(stage.stored().expose());
    login.hangs_up();
    let ended = login.ended("imported").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    stage.assert_harmless("login --import", &(ended.stdout + &ended.stderr));
    stage.assert_harmless("a tag", &super::echoes::tags(&stage));
}

#[tokio::test]
async fn a_refresh_token_that_comes_back_as_an_access_token_is_not_printed() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let sent = stage.stored();
    let body =
        serde_json::json!({"access_token": sent.expose(), "refresh_token": "0.AXnext", "expires_in": 3600});
    let body = body.to_string();
    let what =
        FaultEffect::Verbatim { status: 200, content_type: "application/json", retry_after: None, body };
    stage.world().inject(Fault::of(Peer::Entra, what).on(Operation::Redeem));

    for args in [&["access-token", "one"][..], &["access-token", "one", "--json"]] {
        let ended = stage.run_traced(args).await;

        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.stderr);
        stage.assert_harmless(&format!("{args:?}"), &(ended.stdout + &ended.stderr));
    }
}

/// Returns as many tags as fit: one for every name that Perennial reads, and foreign ones if there is room.
fn hostile_tags() -> Tags {
    let own = tag::OURS.map(|name| (name.to_owned(), format!("perennial {HOSTILE}")));
    let foreign = (0..15 - own.len()).map(|nth| (format!("{nth}{HOSTILE}"), HOSTILE.to_owned()));
    own.into_iter().chain(foreign).collect()
}

#[tokio::test]
async fn tags_never_reach_a_terminal_a_log_or_a_page_unescaped() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let token = &stage.partner.refresh_token;
    let user = stage.partner.user_oid.clone();
    stage.world().retag(token, |tags| *tags = hostile_tags());
    let browser = stage.browser();

    let login = stage.login(&[]);
    let page =
        browser.go_back(browser.sign_in(&super::super::login::page_of(&login).await, &user).await).await;
    let ended = login.ended("another user, according to its tag").await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("--replace-user") && page.contains("--replace-user"), "{}", ended.stderr);
    stage.assert_harmless("login", &(ended.stdout + &ended.stderr));
    stage.assert_harmless("its page", &page);

    for args in [
        &["status", "one"][..],
        &["status", "one", "--json"],
        &["check", "one", "--write"],
        &["verify", "one"],
        &["rotate", "one", "--force"],
        &["rotate", "one", "--force", "--json", "--log-format", "json"],
    ] {
        stage.world().retag(token, |tags| *tags = hostile_tags());
        let ended = stage.run_traced(args).await;
        stage.assert_harmless(&format!("{args:?}"), &(ended.stdout + &ended.stderr));
    }

    stage.world().retag(token, |tags| *tags = hostile_tags());
    let daemon = Child::start(&stage.config, &["run", "--log-format", "json"], &[("RUST_LOG", "trace")]);
    daemon.logs(0, "proved", |event| super::super::is(event, "proved", "one")).await;
    let served = super::echoes::pages(&daemon.address().await).replace('\r', "");
    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;
    stage.assert_harmless("the log", &(ended.stdout + &ended.stderr));
    stage.assert_harmless("a page", &served);
}

#[tokio::test]
async fn foreign_tags_that_do_not_fit_are_named_with_escapes() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let foreign = (0..15).map(|nth| (format!("{nth:02}{HOSTILE}"), HOSTILE.to_owned()));
    stage.world().retag(&stage.partner.refresh_token, |tags| *tags = foreign.clone().collect());

    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();
    let url = super::super::login::page_of(&login).await;
    browser.go_back(browser.sign_in(&url, &stage.partner.user_oid).await).await;
    let ended = login.ended("stored").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("has no room for more tags") && ended.stderr.contains("04"),
        "{}",
        ended.stderr
    );
    stage.assert_harmless("login", &(ended.stdout + &ended.stderr));

    for format in ["json", "pretty"] {
        stage.world().retag(&stage.partner.refresh_token, |tags| *tags = foreign.clone().collect());
        let ended = stage.run_traced(&["rotate", "one", "--force", "--log-format", format]).await;
        assert!(ended.stderr.contains("the new version lacks these tags"), "{}", ended.stderr);
        stage.assert_harmless(format, &(ended.stdout + &ended.stderr));
    }
}

#[tokio::test]
async fn the_writer_that_buried_a_sign_in_is_named_with_escapes() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let world = stage.world().clone();
    let token = stage.partner.refresh_token.clone();
    let written = AtomicBool::new(false);
    stage.world().tell_calls_to(move |call, when| {
        let stored =
            when == When::After && call.operation == Operation::Set && call.subject == token.name.as_str();
        if stored && !written.swap(true, Ordering::SeqCst) {
            let tags = [(tag::MANAGED_BY, HOSTILE)].into_iter().collect();
            world.human_writes(&token, "0.AXtheirs", tags).expect("written");
        }
    });

    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();
    let url = super::super::login::page_of(&login).await;
    let page = browser.go_back(browser.sign_in(&url, &stage.partner.user_oid).await).await;
    let ended = login.ended("overwrote it").await;

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("overwrote it with version"), "{}", ended.stderr);
    stage.assert_harmless("login", &(ended.stdout + &ended.stderr));
    stage.assert_harmless("its page", &page);
}

/// The program that opens the browser gets the address of the sign-in page. Its arguments and its environment contain
/// no secret.
#[tokio::test]
async fn the_program_that_opens_the_browser_gets_no_secret() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let app_secret = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let place = format!("client_secret = {{ secret = {:?} }}", stage.partner.app_secret.name.as_str());
    assert!(text.contains(&place), "{text}");
    std::fs::write(&stage.config, text.replace(&place, "client_secret = { env = \"APP_SECRET\" }"))
        .expect("ours");
    let seen = stage.dir.0.join("seen");
    let script = stage.dir.0.join("browser.sh");
    let lines = format!("(printf '%s\\n' \"$@\"; env) > '{0}.part'; mv '{0}.part' '{0}'\n", seen.display());
    std::fs::write(&script, lines).expect("ours");
    let browser = format!("sh {}", script.display());
    let env = [
        ("BROWSER", browser.as_str()),
        ("APP_SECRET", app_secret.expose()),
        ("AZURE_CLIENT_SECRET", "c4n4ry"),
        ("IDENTITY_HEADER", "c4n4ry"),
        ("KEPT", "for the browser"),
    ];
    let login = Child::start(&stage.config, &["login", "one", "--timeout", "20s"], &env);

    let seen =
        crate::support::child::eventually("it was started", || std::fs::read_to_string(&seen).ok()).await;

    drop(login);
    assert!(seen.contains("authorize?") && seen.contains("KEPT=for the browser"), "{seen}");
    assert!(!seen.contains("c4n4ry"), "{seen}");
    assert_eq!(leaks(&seen, &secrets(&stage)), Vec::<String>::new(), "{seen}");
}
