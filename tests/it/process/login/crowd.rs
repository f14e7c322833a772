//! Tests a sign-in while other local programs keep connections to the listener open and send nothing or only half a
//! request.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::Stage;
use super::page_of;

/// The number of other connections, which is more than the listener's limit.
const OTHERS: usize = 200;

#[tokio::test]
async fn a_sign_in_completes_beside_connections_that_send_nothing_or_never_the_end() {
    let stage = Stage::never_signed_in().await;
    let browser = stage.browser();
    let unsent_body = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                       Content-Length: 100\r\n\r\ncode=";
    for (what, sent) in [
        ("nothing", ""),
        ("half a head", "GET /?code=0.AQ HTTP/1.1\r\nHost: local"),
        ("a head without its body", unsent_body),
    ] {
        let login = stage.login(&[]);
        let url = page_of(&login).await;
        let redirect: reqwest::Url = url.parse().expect("a URL");
        let redirect =
            redirect.query_pairs().find(|(name, _)| name == "redirect_uri").expect("one").1.into_owned();
        let port = redirect.rsplit(':').next().expect("a port").to_owned();
        let mut others = Vec::new();
        for _ in 0..OTHERS {
            let mut other = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("it listens");
            other.write_all(sent.as_bytes()).await.expect("the kernel takes it");
            others.push(other);
        }

        let page = browser.go_back(browser.sign_in(&url, &stage.partner.user_oid).await).await;

        assert!(page.contains("Signed in"), "{what}: {page}");
        stage.assert_stored(&login.ended("stored").await, &stage.partner.user_oid);
        drop(others);
    }
}
