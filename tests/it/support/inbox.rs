//! An HTTP server on this machine that records each request. The server's answer has the configured status and contains
//! the request's data.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// The request line, such as `POST /path?query`.
    pub(crate) line: String,
    headers: HeaderMap,
    pub(crate) body: String,
}

impl Letter {
    /// Returns a header's value, or an empty text if the header is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Listens until this value is dropped.
pub(crate) struct Inbox {
    address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    answer: Arc<Mutex<StatusCode>>,
    /// The answer (status and body) to each request whose body is longer than this number of bytes.
    long: Arc<Mutex<Option<(usize, StatusCode, String)>>>,
    task: AbortHandle,
}

impl Inbox {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let letters = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(StatusCode::ACCEPTED));
        let long: Arc<Mutex<Option<(usize, StatusCode, String)>>> = Arc::default();
        let (kept, told, refused) = (letters.clone(), answer.clone(), long.clone());
        let routes = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            let letter = Letter {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).expect("text"),
            };
            let (echo, length) = (format!("{letter:?}"), letter.body.len());
            kept.lock().expect("nobody panicked").push(letter);
            match &*refused.lock().expect("nobody panicked") {
                Some((most, status, body)) if length > *most => (*status, body.clone()),
                _ => (*told.lock().expect("nobody panicked"), echo),
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, routes).await }).abort_handle();
        Self { address, letters, answer, long, task }
    }

    /// Returns the address of a path in this inbox.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets the status of all answers.
    pub(crate) fn answer(&self, status: u16) {
        *self.answer.lock().expect("nobody panicked") = StatusCode::from_u16(status).expect("a status");
    }

    /// Sets the answer to each request whose body is longer than `most` bytes.
    pub(crate) fn answer_longer_than(&self, most: usize, (status, body): (u16, &str)) {
        let status = StatusCode::from_u16(status).expect("a status");
        *self.long.lock().expect("nobody panicked") = Some((most, status, body.to_owned()));
    }

    /// Returns the requests received so far.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}
