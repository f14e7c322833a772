//! Tests of the adapter for Microsoft Graph against a local server. The server simulates both Microsoft Graph and
//! Entra.

mod answers;
mod keys;

use super::*;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use axum::response::Response;

use crate::azure::cloud::CloudName;
use crate::azure::host_assertions::HostAssertions;
use crate::azure::identity::IdentityHost;
use crate::net::calls::CallLabels;
use crate::net::loopback;
use crate::net::loopback::{Loopback, Seen, reply};
use crate::ports::client::ClientProof;
use crate::ports::directory::ListedSecret;
use crate::ports::failure::{Kind, Remedy};
use crate::token::secret::Source;

const OF_VAULT: &str = "POST /tenant/oauth2/v2.0/token";
const OF_APP: &str = "POST /contoso.com/oauth2/v2.0/token";
const GRAPH_TOKEN: &str = "graph-access-token-of_some.length";
const APP_SECRET: &str = "an-app-secret~of.16-chars";
const APP: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
const OBJECT: &str = "11111111-1b4c-4a5e-8a6f-0123456789ab";
const KEY: &str = "22222222-1b4c-4a5e-8a6f-0123456789ab";
const JSON: (&str, &str) = ("content-type", "application/json");
const LIST: &str = "GET /v1.0/applications(appId='0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab')?$select=id,appId,displayName,passwordCredentials";

/// The tested client of Graph, and the file with the secret of the vault's identity.
struct Fixture {
    server: Loopback,
    graph: Graph,
    calls: Arc<Calls>,
    secret: PathBuf,
    proof: ClientProof,
}

impl Fixture {
    /// Creates a client and a simulated Graph that answers every request with `answer`.
    async fn new(answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static) -> Self {
        Self::with_entra(|_| granted(), answer).await
    }

    async fn with_entra(
        entra: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
        answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let server = loopback::serve(move |seen| match seen.line.as_str() {
            OF_VAULT | OF_APP => entra(seen),
            _ => answer(seen),
        })
        .await;
        let secret = env::temp_dir().join(format!("perennial-{}", Uuid::new_v4()));
        fs::write(&secret, "identity-secret\n").expect("written");
        let identity = Identity::ClientSecret {
            tenant_id: "tenant".into(),
            client_id: "daemon".into(),
            client_secret: Source::File(secret.clone()),
            expires: None,
        };
        let cloud = Cloud {
            name: CloudName::Public,
            authority: server.base.clone(),
            partner_center: server.base.clone(),
            graph: server.base.clone(),
            ca_file: None,
        };
        let calls = Arc::new(Calls::default());
        let host = HostAssertions::new(IdentityHost::Imds, CloudName::Public, Arc::clone(&calls));
        let entra = Entra::new(server.base.clone(), host, Arc::clone(&server.http), Arc::clone(&calls));
        let graph =
            Graph::new(cloud, identity, Arc::new(entra), Arc::clone(&server.http), Arc::clone(&calls));
        let proof = ClientProof::Secret(APP_SECRET.into());
        Self { server, graph, calls, secret, proof }
    }

    fn app(&self) -> Caller<'_> {
        Caller::App { tenant: "contoso.com", client_id: APP, proof: &self.proof }
    }

    async fn list(&self, caller: Caller<'_>) -> Result<Registration, DirectoryError> {
        self.graph.registration(&caller, APP, Uuid::nil()).await
    }

    async fn add(&self, caller: Caller<'_>) -> Result<CreatedSecret, DirectoryError> {
        let ends = at("2027-01-05T00:00:00Z");
        self.graph.add_secret(&caller, id(OBJECT), "perennial v/s 1", ends, Uuid::nil()).await
    }

    async fn remove(&self) -> Result<(), DirectoryError> {
        self.graph.remove_secret(&Caller::VaultIdentity, id(OBJECT), id(KEY), Uuid::nil()).await
    }

    fn count(&self, line: &str) -> usize {
        self.server.lines().iter().filter(|seen| *seen == line).count()
    }

    /// Increases the age of the credential.
    fn age(&self, by: Duration) {
        let mut made = self.graph.made.lock().expect("nobody panicked");
        let made = made.as_mut().expect("made");
        made.at = made.at.checked_sub(by).expect("the machine has been up for longer");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_file(&self.secret).expect("it was written");
    }
}

fn granted() -> Response {
    let body = json!({"token_type": "Bearer", "expires_in": 3600, "access_token": GRAPH_TOKEN});
    reply(200, &[JSON], body.to_string())
}

fn refusal(status: u16, code: &str) -> Response {
    let body = json!({"error": {"code": code, "message": "about jo@contoso.com", "innerError": {}}});
    reply(status, &[JSON, ("retry-after", "7")], body.to_string())
}

fn listed() -> Value {
    json!({"id": OBJECT, "appId": APP.to_uppercase(), "displayName": "Partner app", "passwordCredentials": [
        {"keyId": KEY.to_uppercase(), "displayName": "perennial v/s 1", "hint": "abcdef", "secretText": null,
         "startDateTime": "2026-07-09T00:00:00.1234567Z", "endDateTime": "2027-01-05T02:00:00+02:00"},
        {"keyId": OBJECT, "displayName": null, "hint": null, "startDateTime": null, "endDateTime": "2299-12-31T00:00:00Z"},
    ]})
}

fn created_body() -> Value {
    json!({"keyId": KEY, "displayName": "perennial v/s 1", "hint": "new", "secretText": "new~secret.of-Entra_0",
        "startDateTime": "2026-07-09T00:00:00Z", "endDateTime": "2027-01-05T00:00:00Z", "customKeyIdentifier": null})
}

fn id(text: &str) -> Uuid {
    text.parse().expect("a GUID")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[tokio::test]
async fn an_app_registration_is_listed_with_its_secrets() {
    let fixture = Fixture::new(|_| reply(200, &[JSON], listed().to_string())).await;

    let registration = fixture.list(Caller::VaultIdentity).await.expect("listed");

    assert_eq!(
        registration,
        Registration {
            object_id: id(OBJECT),
            secrets: vec![
                ListedSecret {
                    key_id: id(KEY),
                    name: Some("perennial v/s 1".into()),
                    hint: Some("abc".into()),
                    starts: Some(at("2026-07-09T00:00:00.1234567Z")),
                    ends: Some(at("2027-01-05T00:00:00Z")),
                },
                ListedSecret { key_id: id(OBJECT), name: None, hint: None, starts: None, ends: None },
            ],
        }
    );
    assert_eq!(fixture.server.lines(), [OF_VAULT, LIST]);
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    assert!(seen[0].body.contains("scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"), "{}", seen[0].body);
    assert_eq!(seen[1].header("authorization"), format!("Bearer {GRAPH_TOKEN}"));
    assert_eq!(seen[1].header("client-request-id"), Uuid::nil().to_string());
    let calls = fixture.calls.durations();
    assert!(calls.contains(&CallLabels::new(CallTarget::Graph, "application", "200")), "{calls:?}");
    assert!(calls.contains(&CallLabels::new(CallTarget::Entra, "vault_token", "200")), "{calls:?}");
}

#[tokio::test]
async fn the_identitys_access_token_is_used_again_and_replaced_daily() {
    let fixture = Fixture::new(|_| reply(200, &[JSON], listed().to_string())).await;

    for _ in 0..3 {
        fixture.list(Caller::VaultIdentity).await.expect("listed");
    }
    assert_eq!(fixture.count(OF_VAULT), 1);
    fs::write(&fixture.secret, "another").expect("written");
    fixture.age(FRESH_FOR);
    fixture.list(Caller::VaultIdentity).await.expect("listed");

    assert_eq!(fixture.count(OF_VAULT), 2);
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    assert!(seen.iter().any(|seen| seen.body.contains("client_secret=another")));
}

#[tokio::test]
async fn a_rejected_access_token_is_replaced_once_and_at_most_once_a_minute() {
    let answers = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answers);
    let fixture = Fixture::new(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        1 => reply(200, &[JSON], created_body().to_string()),
        _ => refusal(401, "InvalidAuthenticationToken"),
    })
    .await;
    let rejected = DirectoryError::Refused { status: 401, code: "InvalidAuthenticationToken".into() };
    fixture.graph.credential().expect("made");
    fixture.age(KEPT_FOR);

    fixture.add(Caller::VaultIdentity).await.expect("repeated with another token");
    assert_eq!((answers.load(Ordering::Relaxed), fixture.count(OF_VAULT)), (2, 2));

    let again = fixture.add(Caller::VaultIdentity).await.expect_err("the credential is too young");
    assert_eq!(again, rejected);
    assert_eq!((answers.load(Ordering::Relaxed), fixture.count(OF_VAULT)), (3, 2));
}

#[tokio::test]
async fn a_missing_right_gets_a_new_access_token_for_the_next_call() {
    let fixture = Fixture::new(|_| refusal(403, "Authorization_RequestDenied")).await;
    fixture.graph.credential().expect("made");
    fixture.age(KEPT_FOR);

    for tokens in [1, 2] {
        let denied = fixture.list(Caller::VaultIdentity).await.expect_err("no right");
        assert_eq!(
            denied,
            DirectoryError::Refused { status: 403, code: "Authorization_RequestDenied".into() }
        );
        assert_eq!((fixture.count(LIST), fixture.count(OF_VAULT)), (tokens, tokens), "never repeated");
    }
}

#[tokio::test]
async fn a_client_secret_is_created_with_its_name_and_end() {
    let fixture = Fixture::new(|_| reply(200, &[JSON], created_body().to_string())).await;

    let created = fixture.add(Caller::VaultIdentity).await.expect("created");

    assert_eq!((created.key_id, created.ends), (id(KEY), at("2027-01-05T00:00:00Z")));
    assert_eq!(created.value.expose_secret(), "new~secret.of-Entra_0");
    assert!(!format!("{created:?}").contains("new~secret"), "{created:?}");
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    assert_eq!(seen[1].line, format!("POST /v1.0/applications/{OBJECT}/addPassword"));
    assert_eq!(
        serde_json::from_str::<Value>(&seen[1].body).expect("JSON"),
        json!({"passwordCredential": {"displayName": "perennial v/s 1", "endDateTime": "2027-01-05T00:00:00Z"}})
    );
    assert_eq!(seen[1].header("content-type"), "application/json");
}

#[tokio::test]
async fn a_client_secret_is_removed_by_its_key_id() {
    let fixture = Fixture::new(|_| reply(204, &[], "")).await;

    fixture.remove().await.expect("removed");

    let seen = fixture.server.seen.lock().expect("nobody panicked");
    assert_eq!(seen[1].line, format!("POST /v1.0/applications/{OBJECT}/removePassword"));
    assert_eq!(serde_json::from_str::<Value>(&seen[1].body).expect("JSON"), json!({"keyId": KEY}));
}

#[tokio::test]
async fn only_graphs_own_404_counts_as_removed() {
    let gone = Fixture::new(|_| refusal(404, "Request_ResourceNotFound")).await;
    let page = Fixture::new(|_| reply(404, &[], "<html>no such page</html>")).await;
    let unclear = Fixture::new(|_| refusal(400, "Request_BadRequest")).await;

    assert_eq!(gone.remove().await, Ok(()));
    assert_eq!(page.remove().await, Err(DirectoryError::Unavailable { status: 404, retry_after: None }));
    let code = "Request_BadRequest".to_owned();
    assert_eq!(unclear.remove().await, Err(DirectoryError::Refused { status: 400, code }));
}

#[tokio::test]
async fn the_app_gets_an_access_token_for_each_call() {
    let fixture = Fixture::new(|_| reply(200, &[JSON], listed().to_string())).await;

    for _ in 0..2 {
        fixture.list(fixture.app()).await.expect("listed");
    }

    assert_eq!(fixture.server.lines(), [OF_APP, LIST, OF_APP, LIST]);
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    for part in [
        "grant_type=client_credentials",
        "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
        "client_secret=an-app-secret",
        &format!("client_id={APP}"),
    ] {
        assert!(seen[0].body.contains(part), "{part}: {}", seen[0].body);
    }
    assert_eq!(seen[0].header("client-request-id"), Uuid::nil().to_string());
    assert_eq!(seen[1].header("authorization"), format!("Bearer {GRAPH_TOKEN}"));
    let calls = fixture.calls.durations();
    assert!(calls.contains(&CallLabels::new(CallTarget::Entra, "app_token", "200")), "{calls:?}");
}

#[tokio::test]
async fn a_401_is_not_repeated_for_the_app() {
    let fixture = Fixture::new(|_| refusal(401, "InvalidAuthenticationToken")).await;

    fixture.list(fixture.app()).await.expect_err("rejected");

    assert_eq!(fixture.server.lines(), [OF_APP, LIST]);
}

fn rejects(_: &Seen) -> Response {
    let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret"}"#;
    reply(401, &[JSON], body)
}

#[tokio::test]
async fn no_request_is_sent_without_an_access_token() {
    let rejected = Fixture::with_entra(rejects, |_| unreachable!("no token")).await;
    let empty = Fixture::with_entra(|_| reply(200, &[JSON], "{}"), |_| unreachable!("no token")).await;
    let echo = json!({"access_token": APP_SECRET}).to_string();
    let echo =
        Fixture::with_entra(move |_| reply(200, &[JSON], echo.clone()), |_| unreachable!("no token")).await;

    for (error, kind, remedy) in [
        (rejected.list(Caller::VaultIdentity).await, Kind::VaultIdentity, Remedy::Operator),
        (rejected.list(rejected.app()).await, Kind::AppCredentialRefused, Remedy::Operator),
        (empty.list(empty.app()).await, Kind::EntraUnreachable, Remedy::Retry),
        (echo.list(echo.app()).await, Kind::EntraUnreachable, Remedy::Retry),
    ] {
        let Err(DirectoryError::NoToken(failure)) = error else { panic!("{error:?}") };
        assert_eq!((failure.kind, failure.remedy), (kind, remedy), "{}", failure.summary);
        assert!(!format!("{failure:?}").contains(APP_SECRET));
    }
}

#[tokio::test]
async fn an_unreadable_identity_secret_names_what_to_do() {
    let fixture = Fixture::new(|_| unreachable!("no token")).await;
    fs::write(&fixture.secret, "").expect("written");

    let error = fixture.list(Caller::VaultIdentity).await;

    let Err(DirectoryError::NoToken(failure)) = error else { panic!("{error:?}") };
    assert!(failure.action.expect("an action").contains("client_secret of [vault]"));
    assert!(fixture.server.lines().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unreachable() {
    let fixture = Fixture::new(|_| unreachable!("another address")).await;
    let nowhere = crate::net::address::BaseUrl::parse("https://127.0.0.1:1").expect("an address");
    let cloud = Cloud { graph: nowhere, ..fixture.graph.cloud.clone() };
    let (entra, http) = (Arc::clone(&fixture.graph.entra), Arc::clone(&fixture.server.http));
    let graph = Graph::new(cloud, fixture.graph.identity.clone(), entra, http, Arc::clone(&fixture.calls));

    let error = graph.registration(&Caller::VaultIdentity, APP, Uuid::nil()).await;

    assert_eq!(error, Err(DirectoryError::Unreachable(NoResponse::Connect)));
}
