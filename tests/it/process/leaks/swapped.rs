//! Tests a mistake: a user stores an app secret in the place of the app's id. Perennial's messages name this place, and
//! never show the value.

use chrono::TimeDelta;
use perennial::token::secret::{SecretAddress, SecretName};
use perennial::token::tags::Tags;
use perennial::token::version::tag;

use super::super::Stage;
use super::{leaks, secrets};
use crate::support::child::{Child, Ended};

/// The kinds of source of an app's id.
const PLACES: [&str; 4] = ["secret", "file", "env", "credential"];

/// The commands that read the app's id. `login` times out early, in case it starts to wait for a user.
const COMMANDS: [&[&str]; 8] = [
    &["check", "one"],
    &["check", "one", "--json", "--no-redeem"],
    &["verify", "one"],
    &["verify", "one", "--json"],
    &["access-token", "one"],
    &["rotate", "one", "--force", "--json"],
    &["login", "one", "--timeout", "1s"],
    &["login", "one", "--timeout", "1s", "--device-code"],
];

impl Stage {
    /// Configures a source with `content` as the app id of token `one`. Returns the name of the source in messages.
    fn app_id_from(&self, place: &str, content: &str) -> String {
        let dir = self.dir.0.display().to_string();
        std::fs::write(self.dir.0.join("app-id"), content).expect("our own directory");
        let (source, named) = match place {
            "secret" => {
                let name = self.partner.app_secret.name.as_str().replace("secret", "id");
                let name_of_id = SecretName::parse(&name).expect("a name");
                let id = SecretAddress { name: name_of_id, ..self.partner.app_secret.clone() };
                self.world().human_writes(&id, content, Tags::new()).expect("written");
                (name, id.to_string())
            }
            "file" => (format!("{dir}/app-id"), format!("{dir}/app-id")),
            "env" => ("APP_ID".into(), "APP_ID".into()),
            _ => ("app-id".into(), "app-id".into()),
        };
        let text = std::fs::read_to_string(&self.config).expect("written");
        let plain = format!("client_id = {:?}", self.partner.client_id);
        assert!(text.contains(&plain), "{text}");
        let text = text.replace(&plain, &format!("client_id = {{ {place} = {source:?} }}"));
        std::fs::write(&self.config, text).expect("our own file");
        named
    }

    /// Runs a command with the environment for every kind of source, and with a browser that records its arguments.
    async fn run_placed(&self, args: &[&str], content: &str) -> (Ended, String) {
        let opened = self.dir.0.join("opened");
        let script = self.dir.0.join("browser.sh");
        std::fs::write(&script, format!("printf %s \"$1\" > '{}'\n", opened.display())).expect("writable");
        let browser = format!("sh {}", script.display());
        let dir = self.dir.0.display().to_string();
        let env = [
            ("APP_ID", content),
            ("CREDENTIALS_DIRECTORY", &dir),
            ("BROWSER", &browser),
            ("RUST_LOG", "trace"),
        ];
        let ended = Child::start(&self.config, args, &env).ended(&args.join(" ")).await;
        (ended, std::fs::read_to_string(&opened).unwrap_or_default())
    }
}

#[tokio::test]
async fn an_app_secret_in_the_place_of_the_app_id_is_never_shown_or_sent_to_a_browser() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let app_secret = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    let original = std::fs::read_to_string(&stage.config).expect("written");
    for place in PLACES {
        std::fs::write(&stage.config, &original).expect("our own file");
        let named = stage.app_id_from(place, app_secret.expose());
        for args in COMMANDS {
            let (ended, opened) = stage.run_placed(args, app_secret.expose()).await;

            let printed = ended.stdout + &ended.stderr;
            let at = format!("{args:?} with the id from {place}");
            assert_eq!(leaks(&printed, &secrets(&stage)), Vec::<String>::new(), "{at}: {printed}");
            assert_eq!(opened, "", "{at}: a browser was opened");
            assert!(!printed.contains("authorize?"), "{at}: {printed}");
            assert!(printed.contains(&named) && printed.contains("GUID"), "{at}: {printed}");
            assert_eq!(ended.code, Some(4), "{at}: {printed}");
        }
        assert_eq!(stage.redemptions(), 0, "{place}: nothing is sent to the issuer");
        assert_eq!(stage.changes(), 0, "{place}");
    }
}

#[tokio::test]
async fn a_daemon_that_finds_an_app_secret_in_the_place_of_the_app_id_names_the_place() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let app_secret = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    let named = stage.app_id_from("secret", app_secret.expose());
    let daemon = Child::start(&stage.config, &["run", "--log-format", "json"], &[("RUST_LOG", "trace")]);
    let refused = |event: &serde_json::Value| super::super::failed_with(event, "app_credential_refused");
    daemon.logs(0, "the place", refused).await;
    let served = super::echoes::pages(&daemon.address().await);
    daemon.signal("TERM");
    let ended = daemon.ended("stopped").await;

    let printed = ended.stdout + &ended.stderr;
    assert!(printed.contains(&named), "{printed}");
    assert!(served.contains(&named) && served.contains("client_id of one"), "{served}");
    for text in [&printed, &served, &super::echoes::tags(&stage)] {
        assert_eq!(leaks(text, &secrets(&stage)), Vec::<String>::new(), "{text}");
    }
}

#[tokio::test]
async fn an_app_id_is_read_however_it_was_saved() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let original = std::fs::read_to_string(&stage.config).expect("written");
    let id = &stage.partner.client_id;
    for place in PLACES {
        for saved in [format!("\u{feff}{id}\r\n"), format!("\"{id}\""), format!(" '{}'\n", id.to_uppercase())]
        {
            std::fs::write(&stage.config, &original).expect("our own file");
            stage.app_id_from(place, &saved);

            let (ended, _) = stage.run_placed(&["rotate", "one", "--force"], &saved).await;

            assert_eq!(ended.code, Some(0), "{place} {saved:?}: {}{}", ended.stdout, ended.stderr);
            let newest = stage.world().newest_version(&stage.partner.refresh_token).expect("stored");
            assert_eq!(newest.tags.get(tag::CLIENT_ID), Some(id.as_str()), "{place} {saved:?}");
        }
    }
}
