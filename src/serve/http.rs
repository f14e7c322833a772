//! The HTTP endpoints for health and metrics. If configured, also the endpoints for the status as JSON and as a web
//! page.
//!
//! - `/livez`, `/healthz`: 200 while every token task makes progress. These checks fail only if a restart can help.
//! - `/readyz`: 200 after the first attempt for every token, except tokens that wait because of the shared call limits.
//!   So a rolling upgrade keeps the old instance until the new instance has tried its tokens. Failed attempts count
//!   too, so an outage does not block the upgrade.
//! - `/health`: the overall health. The HTTP status is 503 while any condition is critical. The query `?token=NAME`
//!   limits the check to one token.
//! - `/metrics`: the metrics for Prometheus.
//! - `/status`: the status as JSON. `/`: the status as a web page.
//!
//! Token names may reveal customer names. So `/status`, `/`, `/health?token=` and metrics of single tokens are served
//! only if `[http] status` is true. By default, `status` is true only if the server listens on a loopback address.
//!
//! This module owns the paths, the headers, the accepted hosts, and the limits on clients. The module reads the status
//! board and never changes the board. The module has no access to secrets.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::net::calls::Calls;
use crate::net::server;
use crate::net::server::ClientLimits;
use crate::serve::metrics::Scrape;
use crate::serve::{metrics, page};
use crate::status::board::StatusBoard;
use crate::status::condition::Severity;
use crate::status::document::Status;

/// The maximum number of connections. Health checks and a scraper need only a few connections. At the maximum, a new
/// connection replaces the connection that has been idle longest.
pub const CONNECTIONS: usize = 128;

/// The timeout for a request's head and for an idle connection.
const HEAD_WITHIN: Duration = Duration::from_secs(3);

/// The maximum lifetime of a connection. A client that never reads its response cannot stay connected longer.
const CONNECTION_LIVES: Duration = Duration::from_secs(60);

/// The maximum size of a request's head. A connection buffers at most this many bytes.
const HEAD_BYTES: usize = 16 * 1024;

const NOT_SERVED: &str = "this page names tokens, so by default Perennial serves it only on a loopback address; to serve it here, set status = true in [http]\n";
const NOT_THIS_HOST: &str = "this server listens on a loopback address, so the Host header must be localhost, 127.0.0.1 or [::1]; a proxy must set the header to one of them\n";
const NOT_FOUND: &str = "not found: try /health, /metrics, /livez, /readyz, /status or /\n";

/// Settings and data of the endpoints, in addition to the status board.
#[derive(Clone, Debug)]
pub struct Extras {
    /// The recorder of calls to other services, for the metrics.
    pub calls: Arc<Calls>,
    /// Whether responses may name tokens. If false, `/status` and the status page are not served.
    pub status: bool,
}

#[derive(Clone)]
struct ServeState {
    board: StatusBoard,
    extras: Extras,
}

/// Serves until `stop`, then gives responses in progress a short time to finish.
pub async fn serve(listener: TcpListener, board: StatusBoard, extras: Extras, stop: CancellationToken) {
    let address = listener.local_addr();
    let is_beyond = address.is_ok_and(|address| !address.ip().to_canonical().is_loopback());
    let limits = ClientLimits {
        connections: CONNECTIONS,
        head_within: HEAD_WITHIN,
        head_bytes: HEAD_BYTES,
        connection_lives: CONNECTION_LIVES,
        keep_alive: true,
    };
    let routes = routes(ServeState { board, extras }, is_beyond);
    server::serve(vec![listener], server::plain, routes, limits, stop).await;
}

fn routes(shared: ServeState, is_beyond_loopback: bool) -> Router {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(scrape))
        .route("/status", get(status))
        .route("/", get(front))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND));
    // The host name is checked only if the server listens on loopback. On any other address, clients may use any host
    // name, for example the name of a proxy. On such an address, the rules of the network decide who may connect.
    let routes =
        if is_beyond_loopback { routes } else { routes.layer(middleware::from_fn(for_this_machine)) };
    routes.layer(middleware::map_response(guarded)).with_state(shared)
}

/// Rejects requests whose host name does not stand for this machine. This check prevents DNS rebinding, in which a
/// web page's host name resolves to this machine.
async fn for_this_machine(request: Request, next: Next) -> Response {
    if server::is_for_this_machine(request.uri(), request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, NOT_THIS_HOST).into_response()
    }
}

/// Adds headers so that a browser does not cache, frame or sniff the response, and sends no referrer.
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

async fn live(State(ServeState { board, .. }): State<ServeState>) -> (StatusCode, &'static str) {
    if board.pulses().all_turn() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the task of a token is stalled\n")
    }
}

async fn ready(State(ServeState { board, .. }): State<ServeState>) -> (StatusCode, &'static str) {
    if board.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Perennial has not checked every token yet\n")
    }
}

#[derive(Deserialize)]
struct HealthQuery {
    token: Option<String>,
}

/// The response of `/health`: the kinds of conditions, without token names.
#[derive(Serialize)]
struct HealthVerdict {
    healthy: bool,
    critical: Vec<&'static str>,
    warnings: Vec<&'static str>,
}

async fn health(
    State(ServeState { board, extras }): State<ServeState>,
    Query(asked): Query<HealthQuery>,
) -> Response {
    let token = asked.token.as_deref();
    if token.is_some() && !extras.status {
        return (StatusCode::NOT_FOUND, NOT_SERVED).into_response();
    }
    let status = board.status();
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
    let verdict =
        HealthVerdict { healthy: critical.is_empty(), critical, warnings: kinds(Severity::Warning) };
    (code, axum::Json(verdict)).into_response()
}

/// Streams the metrics piece by piece, as fast as the client reads. With many tokens, the whole text would be the
/// largest object in memory.
async fn scrape(State(ServeState { board, extras }): State<ServeState>) -> Response {
    let (conditions, now) = board.drawn(|_, conditions, now| (conditions, now));
    let text = Scrape { board, calls: extras.calls, conditions, now, names: extras.status }.text();
    let body = Body::from_stream(futures::stream::iter(text));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response()
}

async fn status(State(shared): State<ServeState>) -> Response {
    shown(&shared, |status| axum::Json(status).into_response())
}

async fn front(State(shared): State<ServeState>, RawQuery(asked): RawQuery) -> Response {
    let view = page::View::of(asked.as_deref().unwrap_or_default());
    shown(&shared, |status| {
        let page = page::render(&status, &view);
        if view.paused {
            return page.into_response();
        }
        ([(header::REFRESH, page::reload(&view))], page).into_response()
    })
}

fn shown(shared: &ServeState, show: impl FnOnce(Status) -> Response) -> Response {
    if shared.extras.status {
        show(shared.board.status())
    } else {
        (StatusCode::NOT_FOUND, NOT_SERVED).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::process::clock::{Clock, Timestamp};
    use crate::rotation::liveness::STUCK_AFTER;
    use crate::rotation::samples;
    use crate::rotation::schedule::Timing;

    #[tokio::test(start_paused = true)]
    async fn a_stalled_task_fails_livez_until_it_continues() {
        let grant = Arc::new(samples::grant("a"));
        let timing = Timing::new(&grant.policy, &grant.name, 0.5);
        let now: Timestamp = "2026-03-08T10:00:00Z".parse().expect("a time");
        let board = StatusBoard::new(std::iter::once((&grant, &timing)), Clock::running(now, 1.0));
        let extras = Extras { calls: Arc::new(Calls::default()), status: true };
        let state = ServeState { board: board.clone(), extras };
        let code = async || live(State(state.clone())).await.0;

        assert_eq!(code().await, StatusCode::OK);
        tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
        assert_eq!(code().await, StatusCode::SERVICE_UNAVAILABLE);
        board.pulses().of(0).beat();
        assert_eq!(code().await, StatusCode::OK);
    }
}
