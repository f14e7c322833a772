//! Tests what a mail server receives and what its replies mean.

use super::*;

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use uuid::Uuid;

use crate::net::address::Roots;
use crate::net::http::Http;
use crate::token::secret::Source;

/// A mail server on this machine. The server records each command and sends the configured reply.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    root_pem: String,
    task: AbortHandle,
}

#[derive(Clone)]
struct Manners {
    tls: TlsAcceptor,
    tls_first: bool,
    offers: &'static str,
    /// A command, and the unusual reply that the server gives to this command.
    but: Option<(&'static str, &'static str)>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn open(tls_first: bool, offers: &'static str, but: Option<(&'static str, &'static str)>) -> Self {
        let (tls, root_pem) = certificate();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let manners = Manners { tls, tls_first, offers, but, heard: heard.clone() };
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.expect("a caller");
                // The server ignores an error, because an error means only that the client hung up.
                let _ended = converse(tcp, manners.clone()).await;
            }
        });
        Self { port, heard, root_pem, task: task.abort_handle() }
    }

    fn outbound(&self) -> Outbound {
        let roots = Roots::Pem(self.root_pem.clone().into_bytes());
        let http = Arc::new(Http::new(roots, false).expect("a client"));
        Outbound { http, calls: Arc::default() }
    }

    fn post(&self, login: Option<(String, Source)>) -> SmtpServer {
        SmtpServer {
            host: "localhost".into(),
            port: self.port,
            tls_first: false,
            from: "perennial@contoso.example".into(),
            to: vec!["ann@contoso.example".into(), "bob@contoso.example".into()],
            login,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn certificate() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let own = params.self_signed(&key).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), own.pem())
}

async fn converse(mut tcp: tokio::net::TcpStream, manners: Manners) -> std::io::Result<()> {
    if manners.tls_first {
        return talk(manners.tls.accept(tcp).await?, &manners, true).await.map(|_| ());
    }
    if talk(&mut tcp, &manners, false).await? {
        talk(manners.tls.clone().accept(tcp).await?, &manners, true).await?;
    }
    Ok(())
}

/// Plays the server in one SMTP conversation. Returns true when the client starts TLS, and false at the end.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    manners: &Manners,
    is_tls: bool,
) -> std::io::Result<bool> {
    let mut stream = BufReader::new(stream);
    let again = is_tls && !manners.tls_first;
    if !again {
        stream.write_all(b"220 mail.contoso.example ready\r\n").await?;
    }
    let mut in_letter = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let line = line.trim_end();
        let shown = if is_tls { format!("tls {line}") } else { line.to_owned() };
        manners.heard.lock().expect("nobody panicked").push(shown);
        let usual = match line {
            "." if in_letter => "250 taken",
            _ if in_letter => continue,
            "STARTTLS" => "220 go on",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ if line.starts_with("EHLO") => manners.offers,
            _ if line.starts_with("AUTH") => "235 come in",
            _ => "250 fine",
        };
        let answer = match manners.but {
            Some((command, answer)) if line.starts_with(command) => answer,
            _ => usual,
        };
        in_letter = answer.starts_with("354");
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if line == "STARTTLS" && answer == usual {
            return Ok(true);
        }
    }
}

const PLAIN: &str = "250-mail.contoso.example\r\n250 8BITMIME";
const STARTTLS: &str = "250-mail.contoso.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN";

fn mail() -> Mail {
    Mail {
        subject: "Critical: Sign-in required (contoso)".into(),
        text: "Tokens: contoso\nWhat: the issuer refused\n".into(),
        id: Uuid::from_u128(1),
        thread: Some(Uuid::from_u128(2)),
    }
}

#[tokio::test]
async fn a_mail_has_sender_recipients_and_text_and_joins_its_incidents_thread() {
    let server = Server::open(false, PLAIN, None).await;

    send(&server.post(None), mail(), &server.outbound()).await.expect("sent");

    let heard = server.heard();
    let has = |line: &str| assert!(heard.iter().any(|said| said == line), "{line}: {heard:#?}");
    has("MAIL FROM:<perennial@contoso.example>");
    has("RCPT TO:<ann@contoso.example>");
    has("RCPT TO:<bob@contoso.example>");
    has("From: Perennial <perennial@contoso.example>");
    has("Subject: Critical: Sign-in required (contoso)");
    has("Message-ID: <00000000-0000-0000-0000-000000000001@contoso.example>");
    has("References: <00000000-0000-0000-0000-000000000002@contoso.example>");
    has("Auto-Submitted: auto-generated");
    has("MIME-Version: 1.0");
    has("What: the issuer refused");
}

#[tokio::test]
async fn the_password_is_sent_over_tls_only() {
    let password = std::env::temp_dir().join(format!("perennial-mail-{}", std::process::id()));
    std::fs::write(&password, "a canary\n").expect("writable");
    let login = Some(("perennial".to_owned(), Source::File(password.clone())));
    for tls_first in [false, true] {
        let server = Server::open(tls_first, STARTTLS, None).await;
        let (post, outbound) = (server.post(login.clone()), server.outbound());
        let trusted = trusted(&post, &outbound).expect("trust");
        let tls = if tls_first { Tls::Wrapper(trusted) } else { Tls::Required(trusted) };

        deliver(&post, tls, mail(), &outbound.calls).await.expect("sent");

        let heard = server.heard();
        // The decoded text consists of NUL, the user, NUL and the password (RFC 4616).
        assert!(heard.contains(&"tls AUTH PLAIN AHBlcmVubmlhbABhIGNhbmFyeQ==".to_owned()), "{heard:#?}");
        let clear = heard.iter().filter(|line| !line.starts_with("tls "));
        assert!(
            clear.eq(heard.iter().filter(|line| line.starts_with("EHLO") || *line == "STARTTLS")),
            "{heard:#?}"
        );
    }
    std::fs::remove_file(&password).expect("it is there");
}

#[tokio::test]
async fn a_server_without_tls_or_with_an_untrusted_certificate_gets_no_mail() {
    let server = Server::open(false, PLAIN, None).await;
    let (post, outbound) = (server.post(None), server.outbound());

    let tls = Tls::Required(trusted(&post, &outbound).expect("trust"));
    let missed = deliver(&post, tls, mail(), &outbound.calls).await.expect_err("no TLS");
    assert_eq!(
        (missed.why.as_str(), missed.permanent),
        ("the mail server does not support STARTTLS: set `server` to a URL that starts with smtps://", true)
    );
    assert!(!server.heard().iter().any(|line| line.starts_with("MAIL")), "{:#?}", server.heard());

    let stranger = Server::open(true, STARTTLS, None).await;
    let tls = Tls::Wrapper(trusted(&post, &outbound).expect("trust"));
    let missed = deliver(&stranger.post(None), tls, mail(), &outbound.calls).await.expect_err("a stranger");
    assert_eq!(
        (missed.why.as_str(), missed.permanent),
        ("no answer: the issuer of the TLS certificate is not trusted", false)
    );
    assert!(stranger.heard().is_empty());
}

#[tokio::test]
async fn a_mail_servers_answer_decides_about_retries_and_is_never_shown() {
    let long: &str = format!("554 {}", "canary ".repeat(160)).leak();
    for (command, answer, why, settled) in [
        ("RCPT", "550 no such user canary", "the mail server rejected the message (SMTP 550)", true),
        ("MAIL", "451 later, canary", "the mail server deferred the message (SMTP 451)", false),
        ("MAIL", long, "the mail server's answer has a line of more than 1,000 characters", true),
        ("MAIL", "530 canary first", "the mail server rejected the user name or password (SMTP 530)", true),
        ("DATA", "canary", "the mail server sent an invalid response", false),
    ] {
        let server = Server::open(false, PLAIN, Some((command, answer))).await;

        let missed = send(&server.post(None), mail(), &server.outbound()).await.expect_err(answer);

        assert_eq!((missed.why.as_str(), missed.permanent), (why, settled), "{answer}");
    }
    let closed = Server::open(false, PLAIN, None).await;
    closed.task.abort();
    let outbound = closed.outbound();
    let post = SmtpServer { port: 1, ..closed.post(None) };
    let missed = send(&post, mail(), &outbound).await.expect_err("nobody listens");
    assert!(!missed.permanent && missed.why.starts_with("no answer"), "{}", missed.why);
    assert_eq!(outbound.calls.durations().len(), 1);
}

#[tokio::test]
async fn a_mail_address_that_the_server_cannot_handle_is_reported() {
    let server = Server::open(false, PLAIN, None).await;
    let post = SmtpServer { to: vec!["jürgen@contoso.example".into()], ..server.post(None) };

    let missed = send(&post, mail(), &server.outbound()).await.expect_err("no SMTPUTF8");

    let why = "an address has non-ASCII characters, and the mail server does not support SMTPUTF8";
    assert_eq!((missed.why.as_str(), missed.permanent), (why, true));
    assert!(!server.heard().iter().any(|line| line.starts_with("DATA")), "{:#?}", server.heard());
}

#[tokio::test]
async fn a_missing_mailbox_does_not_block_the_others() {
    let server = Server::open(false, PLAIN, Some(("RCPT TO:<bob", "550 no such user"))).await;

    send(&server.post(None), mail(), &server.outbound()).await.expect("sent to one");

    let heard = server.heard();
    let letters = heard.iter().filter(|line| *line == "DATA").count();
    assert_eq!(letters, 1, "{heard:#?}");
}

#[test]
fn only_loopback_gets_mail_without_tls() {
    let post = |host: &str, tls_first| SmtpServer {
        host: host.into(),
        port: 25,
        tls_first,
        from: String::new(),
        to: Vec::new(),
        login: None,
    };

    assert_eq!(security(&post("localhost", false)), Security::Loopback);
    assert_eq!(security(&post("::1", false)), Security::Loopback);
    assert_eq!(security(&post("localhost.contoso.example", false)), Security::Asked);
    assert_eq!(security(&post("smtp.contoso.example", true)), Security::First);
}
