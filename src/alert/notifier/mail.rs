//! Delivers alerts as mail through an SMTP server.
//!
//! This module owns the security of the connection and the meaning of the server's replies. `lettre` implements the
//! protocol. If a delivery is uncertain, the mail is sent again under the same `Message-ID`.
//!
//! Invariants: The mail and the password are sent only over TLS, except to loopback. No configuration key disables TLS.
//! If STARTTLS is required and the server does not offer it, neither the mail nor the password is sent. Perennial shows
//! only the SMTP code of a reply, because the reply's text may repeat parts of the mail.

use std::error::Error as _;
use std::time::Duration;

use lettre::AsyncTransport as _;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use tracing::warn;

use super::{Outbound, Undelivered, secret};
use crate::alert::forms::Mail;
use crate::alert::sink::SmtpServer;
use crate::net::address::is_loopback;
use crate::net::calls::{CallTarget, Calls};
use crate::net::no_response::NoResponse;
use crate::process::host_name;

/// The timeout of one reply. A server may look up the sender in several block lists before it replies.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The timeout of the whole SMTP session.
const SENT_WITHIN: Duration = Duration::from_secs(45);
/// The SMTP code for an accepted mail (RFC 5321, 4.2.3).
const TAKEN: u16 = 250;

/// Sends a mail to all recipients in one transaction. If the server rejects the transaction, sends the mail to each
/// recipient separately. So a recipient without a mailbox does not block the mail to the others.
pub(super) async fn send(post: &SmtpServer, mail: Mail, outbound: &Outbound) -> Result<(), Undelivered> {
    let security = security(post);
    let tls = match security {
        Security::Loopback => Tls::None,
        Security::First => Tls::Wrapper(trusted(post, outbound)?),
        Security::Asked => Tls::Required(trusted(post, outbound)?),
    };
    let all = deliver(post, tls.clone(), mail.clone(), &outbound.calls).await;
    let Err(missed) = all else { return all };
    if !missed.permanent || post.to.len() == 1 {
        return Err(missed);
    }
    let mut refused = 0_usize;
    for to in &post.to {
        let alone = SmtpServer { to: vec![to.clone()], ..post.clone() };
        refused += usize::from(deliver(&alone, tls.clone(), mail.clone(), &outbound.calls).await.is_err());
    }
    if refused == post.to.len() {
        return Err(missed);
    }
    warn!(event = "mailboxes_refused", refused, of = post.to.len(), reason = %missed.why);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// The connection starts with TLS (RFC 8314, 3.3).
    First,
    /// The client starts TLS with STARTTLS before it sends anything confidential (RFC 3207).
    Asked,
    /// The server is on loopback and needs no TLS.
    Loopback,
}

fn security(post: &SmtpServer) -> Security {
    match post.tls_first {
        true => Security::First,
        false if is_loopback(&post.host) => Security::Loopback,
        false => Security::Asked,
    }
}

/// Creates TLS parameters with the same root certificates as for all other connections.
fn trusted(post: &SmtpServer, outbound: &Outbound) -> Result<TlsParameters, Undelivered> {
    let settled = |error: &dyn std::fmt::Display| Undelivered::settled(error.to_string());
    let mut tls = TlsParameters::builder(post.host.clone());
    let own = outbound.http.own_roots().map_err(|error| settled(&error))?;
    if let Some(pem) = own {
        let root = Certificate::from_pem(&pem)
            .map_err(|_| Undelivered::settled("ca_file of [cloud] contains no PEM certificate"))?;
        tls = tls.add_root_certificate(root);
    }
    tls.build()
        .map_err(|_| Undelivered::settled("cannot set up TLS: check that this host has root certificates"))
}

async fn deliver(post: &SmtpServer, tls: Tls, mail: Mail, calls: &Calls) -> Result<(), Undelivered> {
    let letter = letter(post, mail)?;
    let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(post.host.as_str())
        .port(post.port)
        .tls(tls)
        .hello_name(ClientId::Domain(host_name()))
        .timeout(Some(ANSWER_WITHIN));
    if let Some((user, password)) = &post.login {
        let password = secret(password)?.expose_secret().to_owned();
        server = server.credentials(Credentials::new(user.clone(), password));
    }
    let running = calls.begin(CallTarget::AlertSink, "email");
    let sent = tokio::time::timeout(SENT_WITHIN, server.build().send(letter)).await;
    let sent = sent.map_err(|_| NoResponse::TimedOut);
    let said = match &sent {
        Ok(Ok(_)) => Ok(TAKEN),
        Ok(Err(error)) => error.status().map(u16::from).ok_or_else(|| why(error)),
        Err(why) => Err(*why),
    };
    running.end(said);
    match sent {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(missed(&error)),
        Err(why) => Err(Undelivered::passing(format!("no answer: {why}"))),
    }
}

fn letter(post: &SmtpServer, mail: Mail) -> Result<Message, Undelivered> {
    let address = |text: &str| {
        text.parse::<Address>()
            .map_err(|_| Undelivered::settled("an email address in `from` or `to` is not valid"))
    };
    let from = address(&post.from)?;
    let id = |id: uuid::Uuid| format!("<{id}@{}>", from.domain());
    let mut letter = Message::builder()
        .from(Mailbox::new(Some("Perennial".to_owned()), from.clone()))
        .subject(mail.subject)
        .message_id(Some(id(mail.id)))
        .header(header::MIME_VERSION_1_0)
        // This header suppresses automatic replies (RFC 3834, 5).
        .raw_header(header::HeaderValue::new(
            header::HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .header(header::ContentType::TEXT_PLAIN);
    for to in &post.to {
        letter = letter.to(Mailbox::new(None, address(to)?));
    }
    if let Some(thread) = mail.thread {
        letter = letter.references(id(thread));
    }
    letter.body(mail.text).map_err(|_| Undelivered::settled("cannot build the message"))
}

/// Why the server sent no reply.
fn why(error: &lettre::transport::smtp::Error) -> NoResponse {
    if error.is_timeout() { NoResponse::TimedOut } else { crate::net::classify::classify(error) }
}

fn missed(error: &lettre::transport::smtp::Error) -> Undelivered {
    match error.status().map(u16::from) {
        // The server rejected the user name or password (RFC 4954, 6).
        Some(code @ (530 | 534 | 535)) => {
            Undelivered::settled(format!("the mail server rejected the user name or password (SMTP {code})"))
        }
        Some(code) if error.is_permanent() => {
            Undelivered::settled(format!("the mail server rejected the message (SMTP {code})"))
        }
        Some(code) => Undelivered::passing(format!("the mail server deferred the message (SMTP {code})")),
        // The server lacks STARTTLS or a supported AUTH mechanism. Retries cannot help.
        None if error.is_client() => Undelivered::settled(missing(error)),
        // `lettre` fails at a reply line of more than 1,000 characters and drops the SMTP code. RFC 5321 (4.5.3.1.5)
        // allows only 512 characters. In practice, only a rejection with a long reason has such a line, so this error
        // is treated as a rejection.
        None if error.source().is_some_and(|why| why.to_string() == "SMTP response line too long") => {
            Undelivered::settled("the mail server's answer has a line of more than 1,000 characters")
        }
        None if error.is_response() => Undelivered::passing("the mail server sent an invalid response"),
        None => Undelivered::passing(format!("no answer: {}", why(error))),
    }
}

/// Names the required feature that the server does not offer.
fn missing(error: &lettre::transport::smtp::Error) -> &'static str {
    let says = |text: &str| error.source().is_some_and(|why| why.to_string().contains(text));
    if says("non-ascii") {
        "an address has non-ASCII characters, and the mail server does not support SMTPUTF8"
    } else if says("STARTTLS") {
        "the mail server does not support STARTTLS: set `server` to a URL that starts with smtps://"
    } else {
        "the mail server offers no login method that Perennial supports"
    }
}

#[cfg(test)]
mod tests;
