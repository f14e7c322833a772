//! Tests `login`: a user signs in with a browser, and the tests check what the command prints and stores.

mod browser;
mod claims;
mod crowd;
mod refusals;

use chrono::TimeDelta;
use perennial::sandbox::world::{DeviceState, SecretVersion};
use perennial::token::tags::Tags;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use std::time::Duration;

use self::browser::{Back, Browser};
use super::{Stage, failed_with, is, leaks};
use crate::support::child::{Child, Ended, eventually};

impl Stage {
    /// Creates a stage whose token `one` has never been stored.
    async fn never_signed_in() -> Self {
        let stage = Self::set(TimeDelta::zero()).await;
        stage.world().human_deletes(&stage.partner.refresh_token);
        stage.world().human_purges(&stage.partner.refresh_token);
        stage
    }

    /// Starts `login one …` with a browser that opens no page. The test acts as the browser.
    pub(super) fn login(&self, args: &[&str]) -> Child {
        let args = [&["login", "one"], args].concat();
        Child::start_to_type(&self.config, &args, &[("BROWSER", "true"), ("RUST_LOG", "trace")])
    }

    pub(super) fn browser(&self) -> Browser {
        Browser::new(&self.sandbox.ca_pem)
    }

    fn newest(&self) -> SecretVersion {
        let versions = self.world().versions_of(&self.partner.refresh_token);
        versions.last().expect("stored").clone()
    }

    /// Checks the properties of a sign-in that `login` has just stored.
    fn assert_stored(&self, ended: &Ended, user: &str) {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let version = self.newest();
        let grant = self.world().grant(version.value.expose_secret()).expect("the issuer's");
        assert_eq!((&*grant.owner.user, &*grant.owner.app), (user, &*self.partner.client_id));
        let tags = &version.tags;
        assert_eq!(&tags["managed-by"], concat!("perennial/", env!("CARGO_PKG_VERSION"), " login"));
        assert_eq!(tags["signed-in-at"], tags["issued-at"]);
        assert_eq!(
            (&tags["tenant-id"], &tags["client-id"]),
            (&*self.partner.tenant_id, &*self.partner.client_id)
        );
        assert_eq!(&tags["user-oid"], user);
        assert!(!tags.contains("redeemed-from") && tags.contains("rotation-id"), "a chain of its own");
        let lasts = version.attributes.expires.expect("set") - version.created;
        assert!((89..=90).contains(&lasts.num_days()), "{lasts}");
        assert_eq!(version.content_type.as_deref(), Some("application/vnd.oauth.refresh-token"));
        assert!(ended.stdout.contains(&version.id), "{}", ended.stdout);
        self.assert_quiet(ended);
    }

    /// Checks that the command has printed none of the world's secrets.
    fn assert_quiet(&self, ended: &Ended) {
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        let mut secrets = leaks::secrets(self);
        secrets.extend(self.world().secret_texts().iter().map(|text| text.expose_secret().to_owned()));
        assert_eq!(leaks::leaks(&printed, &secrets), Vec::<String>::new(), "{printed}");
        // A token begins with `eyJ`. A random nonce may contain these letters in the middle, so only the beginning of a
        // word counts.
        let mut words = printed.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
        let holds_token = words.any(|word| word.starts_with("eyJ"));
        assert!(!holds_token && !printed.contains("code=0."), "{printed}");
    }
}

/// Returns the address of a login's sign-in page.
pub(super) async fn page_of(login: &Child) -> String {
    let offered = || {
        let told = login.told();
        let line = told.lines().find(|line| line.contains("/oauth2/v2.0/authorize?"))?;
        Some(line.trim().to_owned())
    };
    eventually("a sign-in page", offered).await
}

#[tokio::test]
async fn a_first_sign_in_by_browser_ends_in_the_vault() {
    let stage = Stage::never_signed_in().await;
    std::fs::create_dir_all(&stage.dir.0).expect("a directory of our own");
    let opened = stage.dir.0.join("opened");
    let script = stage.dir.0.join("browser.sh");
    std::fs::write(
        &script,
        format!("printf %s \"$1\" > '{0}.part' && mv '{0}.part' '{0}'\n", opened.display()),
    )
    .expect("writable");
    let browser_variable = format!("sh {}", script.display());
    let login = Child::start(&stage.config, &["login", "one"], &[("BROWSER", &browser_variable)]);

    let url = eventually("the browser is opened", || std::fs::read_to_string(&opened).ok()).await;
    assert_eq!(url, page_of(&login).await);
    let browser = stage.browser();
    let back = browser.sign_in(&url, &stage.partner.user_oid).await;
    let Back::Form(target, fields) = &back else { panic!("form_post: {back:?}") };
    let (target, code) =
        (target.clone(), fields.iter().find(|(name, _)| name == "code").expect("a code").1.clone());
    let page = browser.go_back(back).await;
    let ended = login.ended("stored").await;

    assert!(page.contains("Signed in") && !page.contains(&code), "{page}");
    stage.assert_stored(&ended, &stage.partner.user_oid);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(&code));
    assert!(reqwest::Url::parse(&target).expect("a URL").port().is_some());
}

#[tokio::test]
async fn over_ssh_the_address_is_pasted_and_only_our_own_is_taken() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    stage.world().retag(&stage.partner.refresh_token, |tags| tags.insert("team", "billing"));
    let mut login =
        stage.login(&["--no-browser", "--json", "--login-hint", "integration@one.onmicrosoft.com"]);
    let url = page_of(&login).await;
    assert!(url.contains("response_mode=query") && url.contains("prompt=login"), "{url}");
    let Back::Redirect(ended_at) = stage.browser().sign_in(&url, &stage.partner.user_oid).await else {
        panic!("a redirect")
    };

    login.types("is this the place?");
    login.types("");
    login.types("http://localhost/?code=0.AQforged&state=forged");
    eventually("both are refused", || (login.told().matches("Not accepted").count() == 2).then_some(()))
        .await;
    login.types(&format!("\"{ended_at}\""));
    let ended = login.ended("stored").await;

    stage.assert_stored(&ended, &stage.partner.user_oid);
    let result: Value = serde_json::from_str(&ended.stdout).expect("an object");
    assert_eq!(
        (&result["name"], &result["user_oid"]),
        (&"one".into(), &stage.partner.user_oid.as_str().into())
    );
    assert_eq!((&result["partner_center_accepts"], &result["company"]), (&true.into(), &"one".into()));
    assert_eq!(&stage.newest().tags["team"], "billing", "foreign tags are carried over");
}

/// In its usual mode, a terminal cuts each line at 4,095 bytes. So `login` changes the mode while a user pastes an
/// address.
#[tokio::test]
async fn a_long_address_can_be_pasted_into_a_terminal() {
    let stage = Stage::never_signed_in().await;
    let args = ["login", "one", "--no-browser"];
    let mut login = Child::start_on_terminal(&stage.config, &args, &[("BROWSER", "true")]);
    let url = page_of(&login).await;
    let Back::Redirect(ended_at) = stage.browser().sign_in(&url, &stage.partner.user_oid).await else {
        panic!("a redirect")
    };
    let long = format!("{ended_at}&session_state={}", "x".repeat(8_000));

    login.types(&long[..long.find("&state=").expect("there") + 20]);
    eventually("it is cut", || login.told().contains("seems to be cut short").then_some(())).await;
    login.types(&long);

    let ended = login.ended("stored").await;
    stage.assert_stored(&ended, &stage.partner.user_oid);
    let user = stage.world().user(&stage.partner.user_oid).expect("there");
    let who = format!("one: {} ({}) of ", user.upn, user.oid);
    assert!(ended.stdout.starts_with(&who), "{}", ended.stdout);
}

#[tokio::test]
async fn with_a_forwarded_port_nothing_needs_to_be_pasted() {
    let stage = Stage::never_signed_in().await;
    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();

    let back = browser.sign_in(&page_of(&login).await, &stage.partner.user_oid).await;
    assert!(matches!(back, Back::Redirect(_)), "{back:?}");
    let page = browser.go_back(back).await;

    assert!(page.contains("Signed in"), "{page}");
    stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
}

#[tokio::test]
async fn a_device_code_is_typed_elsewhere_and_polled_for() {
    let stage = Stage::never_signed_in().await;
    stage.world().set_device_interval(Duration::from_secs(1));
    let login = stage.login(&["--device-code"]);
    let shown = || stage.world().device_codes().first().map(|(code, _)| code.clone());
    let code = eventually("a code", shown).await;
    eventually("it is shown", || login.told().contains(&code).then_some(())).await;
    assert!(login.told().contains("Warning: phishers use device codes"), "{}", login.told());

    let browser = stage.browser();
    let page = format!("{}/devicelogin", stage.sandbox.origin);
    assert!(browser.get(&page).await.text().await.expect("a page").contains("Enter code"));
    let asked = browser.get(&format!("{page}?code={code}")).await.text().await.expect("a page");
    assert!(asked.contains(&stage.partner.user_oid), "{asked}");
    browser.press(&page, &[("code", &code), ("user", &stage.partner.user_oid)]).await;

    stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
    assert_eq!(stage.world().device_codes(), [(code, DeviceState::Spent)]);
}

#[tokio::test]
async fn a_token_from_elsewhere_is_redeemed_and_its_successor_stored() {
    let stage = Stage::never_signed_in().await;
    let token = stage.world().sign_in(&stage.partner.user_oid, &stage.partner.client_id).expect("signed in");

    let mut login = stage.login(&["--import"]);
    login.types(&format!("\"{}\"\r", token.expose()));
    login.hangs_up();
    let ended = login.ended("stored").await;

    stage.assert_stored(&ended, &stage.partner.user_oid);
    assert_ne!(stage.stored(), token);
    assert!(stage.world().descends_from(stage.stored().expose(), token.expose()));
    let whole = leaks::leaks(&format!("{}{}", ended.stdout, ended.stderr), &[token.expose().to_owned()]);
    assert_eq!(whole, Vec::<String>::new());
}

#[tokio::test]
async fn a_daemon_finds_the_first_sign_in_at_once_after_a_sighup() {
    let stage = Stage::never_signed_in().await;
    let daemon = stage.start(&["run"]);
    let place = daemon.logs(0, "nobody has signed in", |event| failed_with(event, "never_signed_in")).await;
    let status = stage.run_to_end(&["status", "one", "--json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).expect("an object");
    assert_eq!(status["conditions"][0]["kind"], "never_signed_in", "{status}");
    let action = status["conditions"][0]["action"].as_str().expect("an action");
    assert!(action.contains("`perennial login one`"), "{action}");

    let login = stage.login(&["--no-browser"]);
    let browser = stage.browser();
    let back = browser.sign_in(&page_of(&login).await, &stage.partner.user_oid).await;
    browser.go_back(back).await;
    stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
    let signed_in = stage.newest().id;
    daemon.signal("HUP");
    daemon
        .logs(place, "taken up", |event| is(event, "proved", "one") && event["version"] == *signed_in)
        .await;

    daemon.signal("TERM");
    assert_eq!(daemon.ended("stopped").await.code, Some(0));
    assert_eq!(stage.versions(), 1, "a sign-in of ours is young: nothing is rotated");
}

#[tokio::test]
async fn a_version_that_is_switched_off_is_replaced_and_its_user_still_compared() {
    let stage = Stage::set(TimeDelta::days(3)).await;
    let colleague = stage.world().add_user(&stage.partner.tenant_id, "colleague@one.onmicrosoft.com", true);
    let tags: Tags = [("user-oid", stage.partner.user_oid.as_str())].into_iter().collect();
    stage.world().retag(&stage.partner.refresh_token, |own| *own = tags);
    stage.world().switch_version(&stage.partner.refresh_token, None, false);

    let login = stage.login(&["--no-browser", "--replace-user"]);
    let browser = stage.browser();
    browser.go_back(browser.sign_in(&page_of(&login).await, &colleague).await).await;
    let ended = login.ended("stored").await;

    assert!(ended.stderr.contains("A sign-in starts rotation again"), "{}", ended.stderr);
    stage.assert_stored(&ended, &colleague);
}
