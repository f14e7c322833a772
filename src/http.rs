//! What is served: health, metrics, and where it is wanted the status as JSON and as a page.
//!
//! - `/livez`, `/healthz`: 200 while every token's task turns. What a restart cannot cure is no reason to fail.
//! - `/readyz`: 200 once every token has been tried.
//! - `/health`: the verdict, 503 while any condition is critical; `?token=NAME` for one.
//! - `/metrics`: for Prometheus.
//! - `/status`, `/`: JSON and a page. They name customers, hence only where `[http] status` says so.
//!
//! Owns the paths, the headers and the bounds on what a client may take up. Reads the board and changes
//! nothing. Nothing secret is within its reach.
//!
//! Plain HTTP/1 over hyper: `axum::serve` knows no time-out and no bound on connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware;
use axum::response::Html;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::calls::Calls;
use crate::condition::Severity;
use crate::metrics;
use crate::metrics::Drawn;
use crate::metrics::METRICS;
use crate::page;
use crate::status::Status;

/// Connections served at once; more wait in the kernel. Probes and a scraper need a handful.
pub const CONNECTIONS: usize = 128;

/// A request's head takes no longer to arrive, and an idle connection is not kept longer.
const HEAD_WITHIN: Duration = Duration::from_secs(3);

/// No connection lives longer, so that a client that does not read cannot keep its place.
const CONNECTION_LIVES: Duration = Duration::from_secs(60);

/// How long answers under way may take once a connection, or the server, is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A request's head is no larger, and no more of one is held in memory.
const HEAD_BYTES: usize = 16 * 1024;

/// After an accept that failed, as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const NOT_SERVED: &str = "the status names tokens, so it is served on a loopback address only: set status = true in [http] to serve it here\n";
const NOT_FOUND: &str = "there is nothing here: try /health, /metrics, /livez, /readyz, /status or /\n";

/// What is served beside the board.
#[derive(Clone, Debug)]
pub struct Extras {
    /// Calls to other servers, for the metrics.
    pub calls: Arc<Calls>,
    /// Whether the status and its page are served.
    pub status: bool,
}

#[derive(Clone)]
struct Shared {
    board: Board,
    extras: Extras,
}

/// Serves until `stop`; then answers under way have a moment to end.
pub async fn serve(listener: TcpListener, board: Board, extras: Extras, stop: CancellationToken) {
    let routes = routes(Shared { board, extras });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let mut accepting = std::pin::pin!(accept_all(&listener, &room, |connection, place| {
        connections.spawn(answer(connection, place, routes.clone(), stop.clone()));
    }));
    tokio::select! {
        () = &mut accepting => {}
        () = stop.cancelled() => {}
    }
    connections.close();
    // Each ends by itself within `LAST_ANSWERS`.
    connections.wait().await;
}

async fn accept_all(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    take: impl Fn(TcpStream, OwnedSemaphorePermit),
) {
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((connection, _)) => take(connection, place),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn answer(
    connection: TcpStream,
    _place: OwnedSemaphorePermit,
    routes: Router,
    stop: CancellationToken,
) {
    let service = TowerToHyperService::new(routes);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(connection), service);
    let mut serving = std::pin::pin!(serving);
    // How a client leaves, or what it sends that is no HTTP, concerns nobody.
    tokio::select! {
        _ended = &mut serving => return,
        () = tokio::time::sleep(CONNECTION_LIVES) => {}
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(LAST_ANSWERS, serving).await;
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(scrape))
        .route("/status", get(status))
        .route("/", get(front))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .layer(middleware::map_response(guarded))
        .with_state(shared)
}

/// No answer is kept, framed, sniffed or told to others.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn live(State(Shared { board, .. }): State<Shared>) -> (StatusCode, &'static str) {
    if board.pulses().all_turn() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a token's task stands still\n")
    }
}

async fn ready(State(Shared { board, .. }): State<Shared>) -> (StatusCode, &'static str) {
    if board.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not every token has been tried yet\n")
    }
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
}

/// The verdict: by kind, so that it names nobody.
#[derive(Serialize)]
struct Verdict {
    healthy: bool,
    critical: Vec<&'static str>,
    warnings: Vec<&'static str>,
}

async fn health(State(Shared { board, .. }): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let status = board.status();
    let token = asked.token.as_deref();
    if let Some(name) = token
        && !status.tokens.iter().any(|token| token.name == name)
    {
        return (StatusCode::NOT_FOUND, "no token has that name\n").into_response();
    }
    let kinds = |severity| {
        let held = status.touching(token).filter(|condition| condition.severity == severity);
        let mut kinds: Vec<_> = held.map(|condition| condition.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    let critical = kinds(Severity::Critical);
    let code = if critical.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verdict = Verdict { healthy: critical.is_empty(), critical, warnings: kinds(Severity::Warning) };
    (code, axum::Json(verdict)).into_response()
}

/// Piece by piece, as fast as the reader takes them: the text for a fleet would be the largest thing in
/// memory.
async fn scrape(State(Shared { board, extras }): State<Shared>) -> Response {
    let calls = extras.calls.series();
    let (count, conditions, now) = board.drawn(|all, conditions, now| (all.len(), conditions, now));
    let pieces =
        METRICS.iter().flat_map(move |metric| metric.pieces(count).map(move |piece| (metric, piece)));
    let parts = pieces.map(move |(metric, piece)| {
        let text = board.read(|snapshots| {
            let counts = board.counts();
            let deliveries = board.deliveries();
            let drawn = Drawn { snapshots, conditions: &conditions, counts, deliveries, calls: &calls, now };
            metric.render(&drawn, &piece)
        });
        Ok::<_, Infallible>(text)
    });
    let body = Body::from_stream(futures::stream::iter(parts));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    shown(&shared, |status| axum::Json(status).into_response())
}

async fn front(State(shared): State<Shared>, RawQuery(asked): RawQuery) -> Response {
    let paused = asked.as_deref() == Some(page::PAUSED);
    shown(&shared, |status| {
        let page = Html(page::render(&status, paused));
        if paused { page.into_response() } else { ([(header::REFRESH, page::RELOAD)], page).into_response() }
    })
}

fn shown(shared: &Shared, show: impl FnOnce(Status) -> Response) -> Response {
    if shared.extras.status {
        show(shared.board.status())
    } else {
        (StatusCode::NOT_FOUND, NOT_SERVED).into_response()
    }
}
