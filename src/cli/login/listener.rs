//! The loopback listener for the redirect (RFC 8252, 7.3).
//!
//! This module owns the sockets and the limits for clients. The listener accepts one answer. Any other request only
//! gets an explanation. `login::redirect` decides which request is an answer. If the `state` of a request does not
//! belong to this sign-in, the listener responds with the status 400 and keeps waiting. The terminal shows a message.
//! So an old browser tab, or a page that guesses the port, cannot end the sign-in.
//!
//! Invariants: The listener uses only loopback, on both `127.0.0.1` and `::1`. It never uses a port that another
//! program uses on one of the two addresses. Otherwise the other program could get the code, because `localhost` can
//! stand for either address. To prevent DNS rebinding, the listener rejects a request whose `Host` is not this machine.

use std::io;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::page::ResultPage;
use crate::login::authorization_request::AuthorizationRequest;
use crate::login::redirect;
use crate::login::redirect::{AuthorizationResponse, MAX_BYTES, NotOurs};
use crate::net::server;
use crate::net::server::{ClientLimits, Connection};

/// The largest number of connections. A browser opens only a few connections. The limit is higher because other local
/// programs may connect and send nothing. If the limit is reached, the listener closes the oldest connection.
const CONNECTIONS: usize = 64;

/// The time limit for the head of a request, and separately for the body.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection waits for the result of the sign-in. This time is long enough: the exchange of the code and
/// the calls to Partner Center and the vault together take two minutes at most.
const VERDICT_WITHIN: Duration = Duration::from_secs(5 * 60);

/// The number of attempts to find a port that is free on both addresses.
const PORTS_TRIED: usize = 10;

/// The sockets of a listener that is bound but does not accept connections yet.
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    port: u16,
}

/// A request that the listener reports to the sign-in.
pub(super) enum ListenerEvent {
    /// The answer to this sign-in, with a channel for the result that the browser's last page shows.
    Arrived(AuthorizationResponse, oneshot::Sender<ResultPage>),
    /// A request that is not an answer to this sign-in.
    Odd(NotOurs),
}

/// A running listener. Dropping this value stops the listener.
pub(super) struct Served {
    pub(super) events: mpsc::Receiver<ListenerEvent>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct ListenerState {
    attempt: Arc<AuthorizationRequest>,
    events: mpsc::Sender<ListenerEvent>,
    taken: Arc<AtomicBool>,
    port: u16,
}

impl Listener {
    /// Binds the given port, or any free port, on `127.0.0.1` and, if this machine has IPv6, on `::1`.
    pub(super) async fn bind(port: Option<u16>) -> io::Result<Self> {
        let mut tries = if port.is_some() { 1 } else { PORTS_TRIED };
        loop {
            tries -= 1;
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
            let port = v4.local_addr()?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(v6) => return Ok(Self { sockets: vec![v4, v6], port }),
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries == 0 => return Err(error),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                // On a machine without IPv6, `localhost` cannot stand for `::1`, so `127.0.0.1` is enough.
                Err(_) => return Ok(Self { sockets: vec![v4], port }),
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Starts accepting connections.
    pub(super) fn serve(self, attempt: Arc<AuthorizationRequest>) -> Served {
        let (sender, events) = mpsc::channel(1);
        let shared = ListenerState { attempt, events: sender, taken: Arc::default(), port: self.port };
        let routes = Router::new()
            .route("/", any(answer))
            .fallback(async || ResultPage::wrong(StatusCode::NOT_FOUND, "Page not found.").response())
            .with_state(shared);
        let limits = ClientLimits {
            connections: CONNECTIONS,
            head_within: REQUEST_WITHIN,
            head_bytes: MAX_BYTES,
            connection_lives: VERDICT_WITHIN,
            keep_alive: false,
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server::serve(self.sockets, server::plain, routes, limits, stop.clone()));
        Served { events, stop, serving }
    }
}

impl Served {
    /// Stops accepting connections, and waits until the browser has received the last page.
    pub(super) async fn close(mut self) {
        self.stop.cancel();
        // The task's result is ignored, because the sign-in no longer needs the listener.
        let _ended = (&mut self.serving).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(State(shared): State<ListenerState>, request: Request) -> Response {
    told(&shared, request).await.response()
}

async fn told(shared: &ListenerState, request: Request) -> ResultPage {
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !server::names_this_machine(text(header::HOST), Some(shared.port)) {
        return ResultPage::wrong(
            StatusCode::MISDIRECTED_REQUEST,
            "This server does not serve the requested host name.",
        );
    }
    let parameters = match parts.method {
        Method::GET => redirect::parameters(parts.uri.query().unwrap_or_default()),
        Method::POST if text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded") => {
            match server::read_body(body, MAX_BYTES, REQUEST_WITHIN).await {
                Ok(form) => redirect::parameters(&String::from_utf8_lossy(&form)),
                Err(status) => {
                    return ResultPage::wrong(status, "The answer from the sign-in page was incomplete.");
                }
            }
        }
        _ => {
            return ResultPage::wrong(
                StatusCode::METHOD_NOT_ALLOWED,
                "This is not an answer from the sign-in page.",
            );
        }
    };
    let arrived = match redirect::read(&shared.attempt, &parameters) {
        Ok(arrived) => arrived,
        Err(summary) => {
            // `try_send` drops this event if the channel is full. The event would only print one more message in the
            // terminal.
            let _told = shared.events.try_send(ListenerEvent::Odd(summary));
            return ResultPage::wrong(StatusCode::BAD_REQUEST, summary.as_str());
        }
    };
    let again =
        || ResultPage::wrong(StatusCode::GONE, "This sign-in has already been completed. See the terminal.");
    if shared.taken.swap(true, Ordering::SeqCst) {
        return again();
    }
    if let Some(connection) = parts.extensions.get::<Connection>() {
        connection.keep();
    }
    let (sender, page) = oneshot::channel();
    if shared.events.send(ListenerEvent::Arrived(arrived, sender)).await.is_err() {
        return again();
    }
    let ended = || {
        ResultPage::wrong(StatusCode::INTERNAL_SERVER_ERROR, "The sign-in was canceled. See the terminal.")
    };
    page.await.unwrap_or_else(|_| ended())
}

#[cfg(test)]
mod tests;
