//! Tests that the program never shows the addresses, keys and the password of sinks and of the heartbeat. The test has
//! three cases: deliveries succeed, deliveries are rejected, or no program listens. Every receiver returns the data of
//! the request.

use std::io;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use super::super::Stage;
use super::echoes::{pages, tags};
use super::{leaks, secrets};
use crate::support::child::{Child, eventually, get};
use crate::support::inbox::Inbox;

const KINDS: [&str; 5] = ["teams", "slack", "webhook", "pagerduty", "email"];

/// The operator's secret files: the last part of each address, two keys and a password.
const SECRETS: [(&str, &str); 7] = [
    ("teams", "canary+of/teams~4711"),
    ("slack", "canary+of/slack~4712"),
    ("webhook", "canary+of/webhook~4713"),
    ("heartbeat", "canary+of/heartbeat~4714"),
    ("pagerduty", "canary0of0pagerduty04715"),
    ("email", "canary of the mail's password 4716"),
    ("signing", "whsec_Y2FuYXJ5IG9mIHRoZSBzaWduaW5nIGtleQ=="),
];
/// The signing key after base64 decoding, as the program has it in memory.
const SIGNING_KEY: &str = "canary of the signing key";

/// The receivers' behavior.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    LetIn,
    Refuse,
    AreGone,
}

/// A mail server on this machine that returns each command to the client. The server ends with the test's runtime.
struct PostOffice {
    server: String,
    heard: Arc<Mutex<String>>,
}

impl PostOffice {
    async fn open(lets_in: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("smtp://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // The result is ignored, because the conversation ends if the client closes the connection.
                let _ended = converse(tcp, lets_in, &kept).await;
            }
        });
        Self { server, heard }
    }
}

async fn converse(tcp: TcpStream, lets_in: bool, heard: &Mutex<String>) -> io::Result<()> {
    let mut stream = BufReader::new(tcp);
    stream.write_all(b"220 here\r\n").await?;
    let mut in_letter = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        heard.lock().expect("nobody panics").push_str(&line);
        if in_letter && line != ".\r\n" {
            continue;
        }
        in_letter = line == "DATA\r\n";
        let code = match line.split_whitespace().next() {
            Some("EHLO") => "250-here\r\n250-AUTH PLAIN LOGIN\r\n250",
            Some("AUTH") if lets_in => "235",
            Some("AUTH") => "535",
            Some("DATA") => "354",
            Some("QUIT") => "221",
            _ => "250",
        };
        stream.write_all(format!("{code} {line}").as_bytes()).await?;
    }
}

/// Writes the secrets into files. Adds the sinks that read these files to the configuration.
fn add_sinks(stage: &Stage, http: &str, mail: &str) {
    let file = |name: &str| {
        let (_, secret) = SECRETS.iter().find(|(of, _)| *of == name).expect("one of them");
        let is_address = !["pagerduty", "email", "signing"].contains(&name);
        let content = if is_address { format!("{http}/{secret}") } else { (*secret).to_owned() };
        let path = stage.dir.0.join(name);
        std::fs::write(&path, content).expect("writable");
        format!("{{ file = \"{}\" }}", path.display())
    };
    let mut text = std::fs::read_to_string(&stage.config).expect("written");
    for kind in KINDS {
        let keys = match kind {
            "pagerduty" => format!("routing_key = {}\nendpoint = \"{http}\"", file(kind)),
            "email" => format!(
                "server = \"{mail}\"\nfrom = \"a@contoso.example\"\nto = [\"b@contoso.example\"]\n\
                 username = \"ann\"\npassword = {}",
                file(kind)
            ),
            "webhook" => format!("url = {}\nsigning_key = {}", file(kind), file("signing")),
            _ => format!("url = {}", file(kind)),
        };
        text += &["\n[[alert]]\nkind = \"", kind, "\"\n", &keys, "\n"].concat();
    }
    text += &["\n[heartbeat]\nurl = ", &file("heartbeat"), "\n"].concat();
    std::fs::write(&stage.config, text).expect("writable");
}

#[tokio::test]
async fn secrets_of_sinks_are_never_shown() {
    for manner in [Manner::LetIn, Manner::Refuse, Manner::AreGone] {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let (inbox, mail) = (Inbox::open().await, PostOffice::open(manner == Manner::LetIn).await);
        if manner == Manner::Refuse {
            inbox.answer(403);
        }
        match manner {
            // No program listens on this port.
            Manner::AreGone => add_sinks(&stage, "http://127.0.0.1:1", "smtp://127.0.0.1:1"),
            _ => add_sinks(&stage, &inbox.url(""), &mail.server),
        }
        let daemon = Child::start(&stage.config, &["run", "--log-format", "json"], &[("RUST_LOG", "trace")]);
        let address = daemon.address().await;
        stage.world().revoke_user(&stage.partner.user_oid);
        daemon.signal("HUP");
        let (told, line) = match manner {
            Manner::LetIn => ("alert_delivered", "heartbeat"),
            _ => ("alert_undelivered", "heartbeat_missed"),
        };
        for kind in KINDS {
            daemon.logs(0, kind, |event| event["event"] == told && event["sink"] == kind).await;
        }
        if manner == Manner::LetIn {
            let pinged = || inbox.letters().iter().any(|letter| letter.line.contains(line)).then_some(());
            eventually("the heartbeat", pinged).await;
            stage.world().human_signs_in(&stage.partner).expect("may sign in");
            daemon.signal("HUP");
            let over = |event: &serde_json::Value| event["event"] == told && event["what"] == "resolved";
            daemon.logs(0, "that it is over", over).await;
        } else {
            daemon.logs(0, "the heartbeat", |event| event["event"] == line).await;
        }
        let undeliverable = || get(&address, "/status").contains(r#""kind":"alert_undeliverable""#);
        match manner {
            Manner::LetIn => assert!(!undeliverable(), "{}", daemon.told()),
            Manner::Refuse => eventually("told on the page", || undeliverable().then_some(())).await,
            // This failure is transient, so it is reported only if it lasts.
            Manner::AreGone => {}
        }
        let served = pages(&address);
        let kernel = ["cmdline", "environ"].map(|file| {
            match std::fs::read(format!("/proc/{}/{file}", daemon.id())) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                // Only root can read the environment.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => String::new(),
                Err(error) => panic!("{file}: {error}"),
            }
        });
        daemon.signal("TERM");
        let ended = daemon.ended("stopped").await;
        let check = ["check", "one", "--alerts", "--log-format", "pretty"];
        let checked =
            Child::start(&stage.config, &check, &[("RUST_LOG", "trace")]).ended("a test to each").await;

        let arrived = format!("{:?}", inbox.letters()) + &mail.heard.lock().expect("nobody panics");
        for (name, secret) in SECRETS.iter().filter(|(name, _)| *name != "signing") {
            let came = !leaks(&arrived, &[(*secret).to_owned()]).is_empty();
            assert_eq!(came, manner != Manner::AreGone, "{manner:?}: what {name} was sent: {arrived}");
        }
        assert_eq!(arrived.contains("webhook-signature"), manner != Manner::AreGone);
        let mut canaries = secrets(&stage);
        canaries.extend(SECRETS.iter().map(|(_, secret)| (*secret).to_owned()));
        canaries.push(SIGNING_KEY.to_owned());
        for (place, text) in [
            ("the log", ended.stdout + &ended.stderr),
            ("a page", served),
            ("a tag", tags(&stage)),
            ("what the kernel shows", kernel.concat()),
            ("a check", checked.stdout + &checked.stderr),
        ] {
            assert_eq!(leaks(&text, &canaries), Vec::<String>::new(), "{manner:?}: in {place}: {text}");
            assert!(!text.contains("canary") && !text.contains("eyJ"), "{manner:?}: in {place}: {text}");
        }
    }
}
