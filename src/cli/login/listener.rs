//! The loopback listener that the browser comes back to (RFC 8252, 7.3).
//!
//! Owns the sockets and their bounds. Takes one answer; after it, and for whatever is no answer, it only
//! says so. What an answer is, `login::redirect` decides.
//!
//! Invariants: it listens on this machine alone, on each address that `localhost` may mean, so that nobody
//! else holds the other; a request by another name (DNS rebinding) gets nothing.

use std::io;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::page::Told;
use crate::login::attempt::Attempt;
use crate::login::redirect;
use crate::login::redirect::Arrived;
use crate::login::redirect::MAX_BYTES;
use crate::login::redirect::NotOurs;

/// A browser opens a handful.
const CONNECTIONS: usize = 16;

/// A request's head takes no longer to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// How long the last page may take to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// After an accept that failed, as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Free ports that are tried until one is free on both addresses.
const PORTS_TRIED: usize = 10;

/// The sockets, taken and not served yet.
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    port: u16,
}

/// What comes from the browser.
pub(super) enum Event {
    /// The one answer, with the place where the page waits to be told.
    Arrived(Arrived, oneshot::Sender<Told>),
    /// Something that is no answer.
    Odd(NotOurs),
}

/// A listener that is served. Ends when it is dropped.
pub(super) struct Served {
    pub(super) events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    connections: TaskTracker,
}

#[derive(Clone)]
struct Shared {
    attempt: Arc<Attempt>,
    events: mpsc::Sender<Event>,
    taken: Arc<AtomicBool>,
    port: u16,
}

impl Listener {
    /// Takes a port on every loopback address there is: the one named, or any that is free.
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
                // A machine without IPv6: `localhost` cannot mean it.
                Err(_) => return Ok(Self { sockets: vec![v4], port }),
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Begins to answer.
    pub(super) fn serve(self, attempt: Arc<Attempt>) -> Served {
        let (sender, events) = mpsc::channel(1);
        let shared = Shared { attempt, events: sender, taken: Arc::default(), port: self.port };
        let routes = Router::new()
            .route("/", any(answer))
            .fallback(async || Told::wrong(StatusCode::NOT_FOUND, "There is nothing here.").response())
            .layer(DefaultBodyLimit::max(MAX_BYTES))
            .with_state(shared);
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        for socket in self.sockets {
            let (routes, room) = (routes.clone(), Arc::clone(&room));
            let (stop, tracker) = (stop.clone(), connections.clone());
            connections.spawn(async move {
                let accepting = accept_all(&socket, &room, |connection, place| {
                    let serving = serve_one(connection, routes.clone(), stop.clone());
                    tracker.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                });
                tokio::select! {
                    () = accepting => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Served { events, stop, connections }
    }
}

impl Served {
    /// Takes no more connections and lets the last page be sent.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.connections.close();
        // Each ends by itself within `LAST_ANSWERS`.
        self.connections.wait().await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept_all(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
    take: impl Fn(TcpStream, tokio::sync::OwnedSemaphorePermit),
) {
    while let Ok(place) = Arc::clone(room).acquire_owned().await {
        match socket.accept().await {
            Ok((connection, _)) => take(connection, place),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn serve_one(connection: TcpStream, routes: Router, stop: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes));
    let mut serving = std::pin::pin!(serving);
    // How a browser leaves concerns nobody.
    tokio::select! {
        _ended = &mut serving => return,
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(LAST_ANSWERS, serving).await;
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    told(&shared, &method, &headers, query.as_deref(), &body).await.response()
}

async fn told(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &[u8],
) -> Told {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_this_machine(text(header::HOST), shared.port) {
        return Told::wrong(StatusCode::MISDIRECTED_REQUEST, "This address is not served here.");
    }
    let parameters = match *method {
        Method::GET => redirect::parameters(query.unwrap_or_default()),
        Method::POST if text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded") => {
            redirect::parameters(&String::from_utf8_lossy(body))
        }
        _ => return Told::wrong(StatusCode::METHOD_NOT_ALLOWED, "This is no answer of the sign-in page."),
    };
    let arrived = match redirect::read(&shared.attempt, &parameters) {
        Ok(arrived) => arrived,
        Err(why) => {
            // Told once in a while is enough: a full channel has told it already.
            let _told = shared.events.try_send(Event::Odd(why));
            return Told::wrong(StatusCode::BAD_REQUEST, why.as_str());
        }
    };
    let again = || Told::wrong(StatusCode::GONE, "This sign-in has been answered already. See the terminal.");
    if shared.taken.swap(true, Ordering::SeqCst) {
        return again();
    }
    let (sender, page) = oneshot::channel();
    if shared.events.send(Event::Arrived(arrived, sender)).await.is_err() {
        return again();
    }
    let ended =
        || Told::wrong(StatusCode::INTERNAL_SERVER_ERROR, "The sign-in was given up. See the terminal.");
    page.await.unwrap_or_else(|_| ended())
}

/// `localhost` and the loopback addresses, with our port or none.
fn is_this_machine(host: &str, port: u16) -> bool {
    let own = format!(":{port}");
    let name = host.strip_suffix(own.as_str()).unwrap_or(host);
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
