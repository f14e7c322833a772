//! These tests check which requests the listener accepts as an answer. The tests send HTTP requests as plain text.

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::login::authorization_request::RANDOM_BYTES;

/// The `state` of an authorization request whose random bytes are all zero.
const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn served() -> (Served, u16) {
    let listener = Listener::bind(None).await.expect("a free port");
    let port = listener.port();
    (listener.serve(Arc::new(AuthorizationRequest::new(&[0; RANDOM_BYTES]))), port)
}

/// Sends a request unchanged and reads the whole answer.
async fn say(port: u16, request: &str) -> String {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("it listens");
    connection.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    // A reset is ignored, because the server may close the connection before it has read the whole request.
    let _reset = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(port: u16, target: &str) -> String {
    say(port, &format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

async fn arrived(served: &mut Served) -> (AuthorizationResponse, oneshot::Sender<ResultPage>) {
    loop {
        match served.events.recv().await.expect("it is served") {
            ListenerEvent::Arrived(arrived, page) => return (arrived, page),
            ListenerEvent::Odd(_) => {}
        }
    }
}

fn done() -> ResultPage {
    ResultPage { status: StatusCode::OK, title: "Signed in", text: "<all> is well".into() }
}

#[tokio::test]
async fn a_request_that_is_no_answer_gets_an_explanation_and_changes_nothing() {
    let (mut served, port) = served().await;
    let good = format!("/?code=0.AQ&state={STATE}");

    for (what, expected, request) in [
        (
            "a wrong path",
            "404",
            format!("GET /callback?code=0.AQ&state={STATE} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ),
        ("an icon", "404", "GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("another host", "421", format!("GET {good} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n")),
        ("another port", "421", format!("GET {good} HTTP/1.1\r\nHost: localhost:1\r\n\r\n")),
        ("no host", "421", format!("GET {good} HTTP/1.0\r\n\r\n")),
        (
            "another state",
            "400",
            "GET /?code=0.AQ&state=forged HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        ),
        ("nothing", "400", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("a head only", "405", format!("HEAD {good} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        (
            "a form of another kind",
            "405",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        (
            "a body of another host",
            "421",
            "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\n"
                .to_owned(),
        ),
        (
            "a body too long",
            "413",
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{}",
                MAX_BYTES + 1,
                "x".repeat(MAX_BYTES + 1)
            ),
        ),
        (
            "a head too long",
            "431",
            format!("GET /?x={} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(2 * MAX_BYTES)),
        ),
    ] {
        let answer = say(port, &request).await;
        let reset = answer.is_empty() && what.ends_with("too long");
        assert!(reset || status(&answer) == expected, "{what}: {answer}");
        assert!(!answer.contains("0.AQ"), "{what}: {answer}");
    }

    let asking = tokio::spawn(async move { get(port, &good).await });
    let (AuthorizationResponse::Code(_), page) = arrived(&mut served).await else { panic!("a code") };
    page.send(done()).expect("it waits");
    assert_eq!(status(&asking.await.expect("no panic")), "200");
}

#[tokio::test]
async fn the_first_answer_counts_and_its_page_shows_the_result() {
    let (mut served, port) = served().await;
    let form = format!("code=0.AQsecret&state={STATE}&session_state=x");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: LOCALHOST:{port}\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let asking = tokio::spawn(async move { say(port, &request).await });
    let (AuthorizationResponse::Code(_), page) = arrived(&mut served).await else { panic!("a code") };

    let second = get(port, &format!("/?code=0.AQother&state={STATE}")).await;
    assert_eq!(status(&second), "410", "{second}");
    page.send(done()).expect("it waits");
    let first = asking.await.expect("no panic");
    served.close().await;

    assert_eq!(status(&first), "200");
    assert!(first.contains("&lt;all&gt; is well") && !first.contains("0.AQ"), "{first}");
    let lower = first.to_ascii_lowercase();
    for header in
        ["cache-control: no-store", "referrer-policy: no-referrer", "default-src 'none'", "connection: close"]
    {
        assert!(lower.contains(header), "{header}: {first}");
    }
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "closed");
}

#[tokio::test]
async fn the_page_of_a_cancelled_sign_in_does_not_wait_for_ever() {
    let (mut served, port) = served().await;
    let asking =
        tokio::spawn(async move { get(port, &format!("/?error=access_denied&state={STATE}")).await });

    let (AuthorizationResponse::Refused(refusal), page) = arrived(&mut served).await else {
        panic!("a refusal")
    };
    assert_eq!(refusal.error, "access_denied");
    drop(page);

    assert_eq!(status(&asking.await.expect("no panic")), "500");
}

#[tokio::test]
async fn a_port_in_use_on_either_address_is_rejected() {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = v4.local_addr().expect("bound").port();
    assert_eq!(Listener::bind(Some(port)).await.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));

    if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
        let port = v6.local_addr().expect("bound").port();
        let error = Listener::bind(Some(port)).await.err().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::AddrInUse), "whoever holds the other address would get the code");
    }
}

/// Returns the headers of a POST request with a form, without the form itself.
fn unsent_form(port: u16) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 100\r\n\r\n"
    )
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_request_times_out() {
    let (_served, port) = served().await;

    let body = say(port, &unsent_form(port)).await;
    let head = say(port, "GET / HTTP/1.1\r\nHost: local").await;

    assert_eq!(status(&body), "408", "{body}");
    assert_eq!(head, "", "it is closed");
}

#[tokio::test]
async fn a_browser_that_waits_for_the_result_keeps_its_connection() {
    let (mut served, port) = served().await;
    let asking = tokio::spawn(async move { get(port, &format!("/?code=0.AQ&state={STATE}")).await });
    let (AuthorizationResponse::Code(_), page) = arrived(&mut served).await else { panic!("a code") };

    let mut others = Vec::new();
    for sent in
        ["", "GET / HTTP/1.1\r\nHost: local", &unsent_form(port)].into_iter().cycle().take(3 * CONNECTIONS)
    {
        let mut other = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("it listens");
        other.write_all(sent.as_bytes()).await.expect("the kernel takes it");
        others.push(other);
    }
    // The listener accepts connections in order. So after this request, the listener has accepted all earlier
    // connections.
    assert_eq!(status(&get(port, "/favicon.ico").await), "404");
    page.send(done()).expect("it waits");

    assert_eq!(status(&asking.await.expect("no panic")), "200");
    drop(others);
}
