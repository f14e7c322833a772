//! An HTTP server for the daemon's endpoints, for the listener of a sign-in, and for the sandbox.
//!
//! This module owns the accept loop and the limits on clients: connections, file descriptors, time and memory.
//!
//! A new connection is always accepted. At the maximum number of connections, the server closes the connection that has
//! been idle longest. Without this rule, new connections would wait in the kernel, and health checks would fail while
//! other clients keep connections open. Closing an idle connection does no harm, because an HTTP client sends its next
//! request on a new connection. During `login`, the server never closes the browser's connection to make room for a new
//! connection (`Connection::keep`).
//!
//! Invariant: each connection is opened in its own task, so that a slow TLS handshake delays no other client.
//!
//! The server uses HTTP/1 over hyper, because `axum::serve` has no timeouts and no limit on connections.

use std::future::{Ready, pending, ready};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use rustix::process::Resource;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::address::is_loopback;

/// How long responses in progress may continue when the connection or the server must close.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The maximum time for a TLS handshake. Normally a handshake takes milliseconds.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// The wait after a failed accept. There is no wait if the server can close another connection to free a file
/// descriptor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Client connections may use one fourth of the process's file descriptors. The process itself needs the rest.
const SHARE_OF_DESCRIPTORS: u64 = 4;

/// The server does not reduce the limit on connections below this number, even if the process may open very few files.
const FEWEST: usize = 2;

/// The limits on HTTP clients.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// The maximum number of simultaneous connections. The limit is lower if the process may open only a few files.
    pub connections: usize,
    /// The maximum time to receive a request's head, and the maximum idle time of a connection.
    pub head_within: Duration,
    /// The maximum size of a request's head and of a connection's read buffer.
    pub head_bytes: usize,
    /// The maximum lifetime of a connection. Without this limit, a client could stay connected forever and never read
    /// its responses.
    pub connection_lives: Duration,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
}

/// Serves until `stop`. Responses in progress may then continue for `LAST_ANSWERS`. `open` turns an accepted TCP
/// connection into the stream for HTTP. `open` is either `plain` or a function that does the TLS handshake.
pub async fn serve<O, F, S>(
    listeners: Vec<TcpListener>,
    open: O,
    routes: Router,
    limits: ClientLimits,
    stop: CancellationToken,
) where
    O: Fn(TcpStream) -> F + Clone + Send + 'static,
    F: Future<Output = io::Result<S>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Slots::new(limits.connections.min(affordable()));
    let connections = TaskTracker::new();
    let loops = listeners.iter().map(|listener| {
        accept_all(listener, &slots, |tcp, peer, slot| {
            let (open, routes, stop) = (open.clone(), routes.clone(), stop.clone());
            connections.spawn(async move {
                if let Some(stream) = opened(open(tcp), &slot, &stop).await {
                    serve_one(stream, peer, slot, routes, limits, stop).await;
                }
            });
        })
    });
    tokio::select! {
        _ = futures::future::join_all(loops) => {}
        () = stop.cancelled() => {}
    }
    drop(listeners);
    connections.close();
    // Each connection closes within `LAST_ANSWERS`.
    connections.wait().await;
}

/// Returns the TCP connection unchanged, for HTTP without TLS.
pub fn plain(tcp: TcpStream) -> Ready<io::Result<TcpStream>> {
    ready(Ok(tcp))
}

/// The number of connections that leaves enough file descriptors for the rest of the process.
fn affordable() -> usize {
    let files = rustix::process::getrlimit(Resource::Nofile).current;
    let share =
        files.map_or(usize::MAX, |files| usize::try_from(files / SHARE_OF_DESCRIPTORS).unwrap_or(usize::MAX));
    share.max(FEWEST)
}

async fn accept_all(listener: &TcpListener, slots: &Slots, serve: impl Fn(TcpStream, SocketAddr, Slot)) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => serve(tcp, peer, slots.take()),
            Err(error) if is_shortage(&error) && slots.free_one() => {}
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
        // Yielding lets the new connection start before the next accept. If another connection has lost its slot,
        // yielding also lets that connection close.
        tokio::task::yield_now().await;
    }
}

fn is_shortage(error: &std::io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

/// Waits until a connection is open, for example after the TLS handshake. Returns `None` if opening fails or takes too
/// long, if another connection takes the slot, or after a stop request.
async fn opened<S>(
    opening: impl Future<Output = io::Result<S>>,
    slot: &Slot,
    stop: &CancellationToken,
) -> Option<S> {
    tokio::select! {
        biased;
        opened = tokio::time::timeout(OPEN_WITHIN, opening) => opened.ok()?.ok(),
        () = slot.lost.cancelled() => None,
        () = stop.cancelled() => None,
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    slot: Slot,
    routes: Router,
    limits: ClientLimits,
    stop: CancellationToken,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(slot.connection());
        request.extensions_mut().insert(ConnectInfo(peer));
        slot.is_now(Activity::Busy);
        let answer = routes.call(request);
        let slot = &slot;
        async move {
            let answer = answer.await;
            if slot.lost.is_cancelled() {
                // The code below closes the connection, so this request is never answered.
                pending::<()>().await;
            }
            slot.is_now(Activity::Idle);
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head_bytes)
        .keep_alive(limits.keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // The result is ignored, because the reason why the connection ended does not matter here.
    tokio::select! {
        _ended = &mut serving => return,
        () = slot.lost.cancelled() => return,
        () = tokio::time::sleep(limits.connection_lives) => {}
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(LAST_ANSWERS, serving).await;
}

/// The current activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// The client has not sent a complete request head yet.
    New,
    /// The request is being read or answered.
    Busy,
    /// The last request was answered.
    Idle,
    /// Like `Busy`, but the connection does not lose its slot until the answer is complete.
    Kept,
}

/// All open connections and their maximum number.
#[derive(Clone)]
struct Slots {
    most: usize,
    table: Arc<Mutex<Table>>,
}

/// The open connections, ordered by the time of their last activity, oldest first.
#[derive(Default)]
struct Table {
    next: u64,
    connections: Vec<Entry>,
}

struct Entry {
    id: u64,
    activity: Activity,
    lost: CancellationToken,
}

impl Slots {
    fn new(most: usize) -> Self {
        Self { most, table: Arc::default() }
    }

    /// Takes a slot for a new connection. If no slot is free, closes another connection.
    fn take(&self) -> Slot {
        let mut table = self.lock();
        while table.connections.len() >= self.most && table.free_one() {}
        let (id, lost) = (table.next, CancellationToken::new());
        table.next += 1;
        table.connections.push(Entry { id, activity: Activity::New, lost: lost.clone() });
        drop(table);
        Slot { id, lost, slots: self.clone() }
    }

    /// Closes one connection to free a slot. Returns false if no connection may be closed.
    fn free_one(&self) -> bool {
        self.lock().free_one()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes the connection that has been idle longest. If no connection is idle, closes the least recently active
    /// connection that does not have to be kept.
    fn free_one(&mut self) -> bool {
        let of =
            |wanted: fn(Activity) -> bool| self.connections.iter().position(|entry| wanted(entry.activity));
        let spared =
            of(|activity| activity == Activity::Idle).or_else(|| of(|activity| activity != Activity::Kept));
        spared.map(|index| self.connections.remove(index).lost.cancel()).is_some()
    }

    fn take(&mut self, id: u64) -> Option<Entry> {
        let index = self.connections.iter().position(|entry| entry.id == id)?;
        Some(self.connections.remove(index))
    }
}

/// The slot of one connection. Dropping this value frees the slot.
struct Slot {
    id: u64,
    lost: CancellationToken,
    slots: Slots,
}

impl Slot {
    fn is_now(&self, activity: Activity) {
        let mut table = self.slots.lock();
        if let Some(mut entry) = table.take(self.id) {
            entry.activity = activity;
            table.connections.push(entry);
        }
    }

    fn connection(&self) -> Connection {
        Connection { id: self.id, slots: self.slots.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().connections.retain(|entry| entry.id != self.id);
    }
}

/// The connection on which a request arrived. The server adds this value to every request as an extension, next to
/// `ConnectInfo` with the peer's address.
#[derive(Clone)]
pub struct Connection {
    id: u64,
    slots: Slots,
}

impl Connection {
    /// Keeps this connection open until its request is answered, even if many new connections arrive.
    pub fn keep(&self) {
        if let Some(entry) = self.slots.lock().connections.iter_mut().find(|entry| entry.id == self.id) {
            entry.activity = Activity::Kept;
        }
    }

    /// Closes the connection without a response.
    pub fn cut(&self) {
        if let Some(entry) = self.slots.lock().take(self.id) {
            entry.lost.cancel();
        }
    }
}

/// Reads the body of a request.
///
/// # Errors
/// Returns the response status if the body is too long or does not arrive in time.
pub async fn read_body(body: Body, most: usize, within: Duration) -> Result<Bytes, StatusCode> {
    let read = tokio::time::timeout(within, axum::body::to_bytes(body, most)).await;
    read.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)
}

/// Whether every host name in a request names this machine. This check prevents DNS rebinding, in which an attacker's
/// domain resolves to this machine. In such an attack, the browser still sends the attacker's host name. A request
/// without a host name passes, because it does not come from a browser.
pub fn is_for_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let target = uri.authority().map(axum::http::uri::Authority::as_str);
    target.into_iter().chain(named).all(|host| names_this_machine(host, None))
}

/// Whether a host, with or without a port, is `localhost` or a loopback address. If `wanted` is set, a port in `host`
/// must be equal to `wanted`.
pub fn names_this_machine(host: &str, wanted: Option<u16>) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => match address.parse::<Ipv6Addr>() {
            Ok(address) if address.to_canonical().is_loopback() => ("localhost", rest),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port =
        |text: &str| text.parse::<u16>().is_ok_and(|port| wanted.is_none_or(|wanted| wanted == port));
    is_loopback(name) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests;
