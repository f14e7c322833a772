//! Serves HTTP: the daemon's endpoints, the listener of a sign-in, and the sandbox.
//!
//! Owns the accept loop and the limits on clients: connections, file descriptors, time and memory. A new connection
//! is always accepted. If all slots are taken, it gets the slot of the connection that has been idle for longest.
//! When new connections waited in the kernel instead, health checks failed while other clients kept theirs open. An
//! HTTP client repeats a request whose kept connection was closed. The connection on which a browser waits for the
//! result of `login` is never closed (`Connection::keep`).
//!
//! Invariant: a connection is opened in its own task, so that a slow TLS handshake delays no other client.
//!
//! HTTP/1 over hyper: `axum::serve` has no timeout and no limit on connections.

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

/// How long answers in progress may take when a connection, or the server, must end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A handshake takes milliseconds. A client that takes longer is not served.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// The wait after a failed accept, for example without free file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Clients may use one in so many of the process's file descriptors. The process needs the others for itself.
const SHARE_OF_DESCRIPTORS: u64 = 4;

/// Connections served even if the process may open very few files.
const FEWEST: usize = 2;

/// The limits on clients.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Connections served at once; fewer where the process may open few files.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head_within: Duration,
    /// The largest head of a request; no more of a request is held in memory.
    pub head_bytes: usize,
    /// How long a connection lives, so that a client that does not read cannot keep its slot.
    pub connection_lives: Duration,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
}

/// Serves until `stop`; then answers in progress have a moment to end. `open` turns an accepted connection into the
/// stream for HTTP: `plain`, or a TLS handshake.
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
    // Each connection ends within `LAST_ANSWERS`.
    connections.wait().await;
}

/// HTTP without TLS: the TCP connection as it is.
pub fn plain(tcp: TcpStream) -> Ready<io::Result<TcpStream>> {
    ready(Ok(tcp))
}

/// The number of connections that leaves enough file descriptors for everything else.
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
        // Lets the new connection run before the next accept, and lets a connection that lost its slot close.
        tokio::task::yield_now().await;
    }
}

fn is_shortage(error: &std::io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

/// Waits until a connection is open. `None` if it fails, takes too long, or must end before.
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
                // The connection ends below, and nothing more is sent on it.
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
    // How the connection ended makes no difference here.
    tokio::select! {
        _ended = &mut serving => return,
        () = slot.lost.cancelled() => return,
        () = tokio::time::sleep(limits.connection_lives) => {}
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(LAST_ANSWERS, serving).await;
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// It has not sent a whole head yet.
    New,
    /// Its request is being read or answered.
    Busy,
    /// It was answered.
    Idle,
    /// Its request is being answered, and it must not be closed meanwhile.
    Kept,
}

/// The connections under way.
#[derive(Clone)]
struct Slots {
    most: usize,
    table: Arc<Mutex<Table>>,
}

/// Ordered by the time of their last activity, oldest first.
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

    /// A slot for one more connection.
    fn take(&self) -> Slot {
        let mut table = self.lock();
        while table.connections.len() >= self.most && table.free_one() {}
        let (id, lost) = (table.next, CancellationToken::new());
        table.next += 1;
        table.connections.push(Entry { id, activity: Activity::New, lost: lost.clone() });
        drop(table);
        Slot { id, lost, slots: self.clone() }
    }

    /// Closes the connection with the least to lose. False if there is none, or every one must be kept.
    fn free_one(&self) -> bool {
        self.lock().free_one()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes the connection that has been idle for longest. If none is idle, the one that has waited for longest.
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

/// One connection's slot, free again when it is dropped.
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

/// The connection that a request came by: an extension of every request, beside `ConnectInfo` with the peer's address.
#[derive(Clone)]
pub struct Connection {
    id: u64,
    slots: Slots,
}

impl Connection {
    /// Keeps its slot until it is answered, however many others come.
    pub fn keep(&self) {
        if let Some(entry) = self.slots.lock().connections.iter_mut().find(|entry| entry.id == self.id) {
            entry.activity = Activity::Kept;
        }
    }

    /// Sends nothing more: the client sees the connection end without an answer.
    pub fn cut(&self) {
        if let Some(entry) = self.slots.lock().take(self.id) {
            entry.lost.cancel();
        }
    }
}

/// Reads a request's body.
///
/// # Errors
/// The status to answer with: it is too long, or does not arrive in time.
pub async fn read_body(body: Body, most: usize, within: Duration) -> Result<Bytes, StatusCode> {
    let read = tokio::time::timeout(within, axum::body::to_bytes(body, most)).await;
    read.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)
}

/// Whether every host that a request names is this machine. A browser always names the host of the page's address,
/// which an attacker's DNS can resolve to this machine (DNS rebinding). A request without a host is not a browser's.
pub fn is_for_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let target = uri.authority().map(axum::http::uri::Authority::as_str);
    target.into_iter().chain(named).all(|host| names_this_machine(host, None))
}

/// Whether a host, with or without a port, is `localhost` or a loopback address. With a wanted port, another port
/// does not match.
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
