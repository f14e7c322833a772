//! Tests the vault's answers (docs/azure-facts.md F214) when Perennial reads the token or the app's secret. Also tests
//! Entra's answers when Perennial requests an access token for the vault.

use std::time::Duration;

use perennial::net::no_response::NoResponse;
use perennial::ports::failure::{Kind, Remedy};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Peer};

use super::Row;

const OPERATOR: Remedy = Remedy::Operator;

/// An answer, and the expected results for the token's own secret and for the app's secret.
type Answer = (&'static str, FaultEffect, (Kind, Remedy), (Kind, Remedy));

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let refusals = refusals().into_iter().map(|answer| (answer, None));
    for ((name, what, own, source), asked) in refusals.chain(passing()) {
        let fault = Fault::of(Peer::KeyVault, what).on(Operation::Get);
        let of_app = fault.clone();
        rows.push(
            Row::new(&format!("token: {name}"), move |world, partner, _| {
                world.inject(fault.clone().about(partner.refresh_token.name.as_str()));
            })
            .means(own.0, own.1)
            .asking(asked),
        );
        rows.push(
            Row::new(&format!("app secret: {name}"), move |world, partner, _| {
                world.inject(of_app.clone().about(partner.app_secret.name.as_str()));
            })
            .means(source.0, source.1)
            .asking(asked),
        );
    }
    rows
}

/// Returns an error in Key Vault's form.
pub(super) fn coded(status: u16, code: &str, inner: Option<&str>) -> FaultEffect {
    let inner = inner.map(str::to_owned);
    FaultEffect::Coded { status, code: code.to_owned(), inner, retry_after: None }
}

pub(super) fn page(status: u16, retry_after: Option<&str>, body: &str) -> FaultEffect {
    let retry_after = retry_after.map(str::to_owned);
    FaultEffect::Verbatim { status, content_type: "text/html", retry_after, body: body.to_owned() }
}

fn refusals() -> Vec<Answer> {
    let both = |name, what, kind| (name, what, (kind, OPERATOR), (kind, OPERATOR));
    let forbidden = |name, inner| both(name, coded(403, "Forbidden", Some(inner)), Kind::VaultRefused);
    vec![
        both("400", coded(400, "BadParameter", None), Kind::VaultRefused),
        both("401", coded(401, "Unauthorized", None), Kind::VaultIdentity),
        forbidden("403 role", "ForbiddenByRbac"),
        forbidden("403 access policy", "ForbiddenByPolicy"),
        forbidden("403 firewall", "ForbiddenByFirewall"),
        forbidden("403 private endpoint", "ForbiddenByConnection"),
        forbidden("403 of a kind nobody knows", "ForbiddenByTheMoon"),
        (
            "403 disabled",
            coded(403, "Forbidden", Some("SecretDisabled")),
            (Kind::TurnedOff, OPERATOR),
            (Kind::VaultRefused, OPERATOR),
        ),
        (
            "404",
            coded(404, "SecretNotFound", None),
            (Kind::NeverSignedIn, Remedy::Login),
            (Kind::VaultRefused, OPERATOR),
        ),
        both(
            "409 deleted",
            coded(409, "Conflict", Some("ObjectIsDeletedButRecoverable")),
            Kind::VaultRefused,
        ),
        both("413", coded(413, "RequestTooLarge", None), Kind::VaultRefused),
    ]
}

/// Returns transient failures, each with the wait that the service requests.
fn passing() -> Vec<(Answer, Option<Duration>)> {
    let after = |name, what, seconds: Option<u64>| {
        let means = (Kind::VaultUnreachable, Remedy::Retry);
        ((name, what, means, means), seconds.map(Duration::from_secs))
    };
    let throttled =
        |retry_after| FaultEffect::Coded { status: 429, code: "Throttled".into(), inner: None, retry_after };
    let secret = r#"{"value":"half a secr"#;
    vec![
        after("409 being deleted", coded(409, "Conflict", Some("ObjectIsBeingDeleted")), None),
        after("409 being recovered", coded(409, "Conflict", Some("ObjectIsBeingRecovered")), None),
        after("429", throttled(None), None),
        after("429 for ten seconds", throttled(Some(Duration::from_secs(10))), Some(10)),
        after("429 as text", page(429, Some("120"), "Too Many Requests"), Some(120)),
        after("429 for ten years", page(429, Some("315360000"), ""), Some(86_400)),
        after("429 for soon", page(429, Some("soon"), ""), None),
        after("401 without a body", FaultEffect::Status { status: 401, retry_after: None }, None),
        after("403 of a web filter", page(403, None, "<html>"), None),
        after("404 of a gateway", page(404, None, "<html>"), None),
        after("407 of a proxy", page(407, None, "<html>"), None),
        after("408", coded(408, "RequestTimeout", None), None),
        after("500", coded(500, "InternalServerError", None), None),
        after("502 as HTML", page(502, None, "<html>502 Bad Gateway</html>"), None),
        after("503 for a minute", page(503, Some("60"), ""), Some(60)),
        after("302", page(302, None, ""), None),
        after("200 of a guest network", FaultEffect::Garbage, None),
        after("200 that ends half-way", page(200, None, secret), None),
        after("200 of another form", page(200, None, r#"{"value":"x"}"#), None),
        after("cut", FaultEffect::Transport(NoResponse::Cut), None),
    ]
}

/// Returns rows for Entra's answers to a new process that requests its first access token for the vault.
pub(super) fn identity_rows() -> Vec<Row> {
    let retry = Remedy::Retry;
    let oauth = |status, error: &str, code| FaultEffect::OAuth {
        status,
        error: error.to_owned(),
        code: Some(code),
        suberror: None,
    };
    let row = |name, what, kind, remedy, said: &'static str| {
        let fault = Fault::of(Peer::Entra, what).on(Operation::Identity);
        let row = Row::new(name, move |world, _, _| world.inject(fault.clone()));
        row.means(kind, remedy).saying(said).cold()
    };
    let status = |status| FaultEffect::Status { status, retry_after: None };
    vec![
        row(
            "secret wrong",
            oauth(401, "invalid_client", 7_000_215),
            Kind::VaultIdentity,
            OPERATOR,
            "AADSTS7000215",
        ),
        row(
            "secret expired",
            oauth(401, "invalid_client", 7_000_222),
            Kind::VaultIdentity,
            OPERATOR,
            "AADSTS7000222",
        ),
        row(
            "app not there",
            oauth(400, "unauthorized_client", 700_016),
            Kind::VaultIdentity,
            OPERATOR,
            "AADSTS700016",
        ),
        row(
            "tenant not there",
            oauth(400, "invalid_request", 90002),
            Kind::VaultIdentity,
            OPERATOR,
            "AADSTS90002",
        ),
        row(
            "blocked by a policy",
            oauth(400, "access_denied", 53003),
            Kind::VaultIdentity,
            OPERATOR,
            "AADSTS53003",
        ),
        row(
            "directory down",
            oauth(400, "temporarily_unavailable", 90033),
            Kind::EntraUnreachable,
            retry,
            "AADSTS90033",
        ),
        row("429", status(429), Kind::EntraThrottled, retry, "status 429"),
        row("503", status(503), Kind::EntraUnreachable, retry, "status 503"),
        row("502 as HTML", page(502, None, "<html>"), Kind::EntraUnreachable, retry, "status 502"),
        row("cut", FaultEffect::Transport(NoResponse::Cut), Kind::EntraUnreachable, retry, "no answer"),
        row(
            "200 of a guest network",
            FaultEffect::Garbage,
            Kind::VaultIdentity,
            retry,
            "cannot authenticate to Key Vault",
        ),
    ]
}
