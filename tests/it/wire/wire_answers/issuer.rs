//! Tests the issuer's answers without an OAuth error: throttling, gateways, cut connections, and successful answers
//! that cannot be used.

use std::time::Duration;

use perennial::net::no_response::NoResponse;
use perennial::ports::failure::{Kind, Remedy};
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, Peer};

use super::Row;

pub(super) fn rows() -> Vec<Row> {
    [throttles(), gateways(), bodies(), distortions()].into_iter().flatten().collect()
}

fn redeem(what: FaultEffect) -> Fault {
    Fault::of(Peer::Entra, what).on(Operation::Redeem)
}

fn retry(name: &str, what: FaultEffect, after: Option<u64>) -> Row {
    let after = after.map(Duration::from_secs);
    let kind = if name.starts_with("429") { Kind::EntraThrottled } else { Kind::EntraUnreachable };
    Row::faulty(name, redeem(what)).means(kind, Remedy::Retry).asking(after)
}

fn page(status: u16, content_type: &'static str, retry_after: Option<&str>, body: &str) -> FaultEffect {
    let retry_after = retry_after.map(str::to_owned);
    FaultEffect::Verbatim { status, content_type, retry_after, body: body.to_owned() }
}

fn throttles() -> Vec<Row> {
    const DAY: u64 = 86_400;
    let plain = |retry_after: Option<&str>| page(429, "text/plain", retry_after, "Too Many Requests");
    let oauth =
        |error: &str| FaultEffect::OAuth { status: 429, error: error.into(), code: None, suberror: None };
    vec![
        retry("429", plain(None), None),
        retry("429 for a minute", plain(Some("60")), Some(60)),
        retry("429 for no time", plain(Some("0")), Some(0)),
        retry("429 for ten years", plain(Some("315360000")), Some(DAY)),
        retry("429 beyond all numbers", plain(Some("99999999999999999999999999")), None),
        retry("429 for less than nothing", plain(Some("-1")), None),
        retry("429 for soon", plain(Some("soon")), None),
        retry("429 until a day long gone", plain(Some("Sun, 06 Nov 1994 08:49:37 GMT")), Some(0)),
        retry("429 until the end of time", plain(Some("Fri, 31 Dec 9999 23:59:59 GMT")), Some(DAY)),
        retry("429 as JSON of no form", page(429, "application/json", Some("7"), "[]"), Some(7)),
        retry("429 as an OAuth error of its own", oauth("too_many_requests"), None),
        retry("429 as a passing OAuth error", oauth("temporarily_unavailable"), None),
        retry("503 for half an hour", page(503, "text/html", Some("1800"), "<html>"), Some(1800)),
    ]
}

fn gateways() -> Vec<Row> {
    let html = "<html><head><title>502 Bad Gateway</title></head></html>";
    let status = |status| FaultEffect::Status { status, retry_after: None };
    vec![
        retry("502 as HTML", page(502, "text/html", None, html), None),
        retry("500", status(500), None),
        retry("503", status(503), None),
        retry("504", status(504), None),
        retry("599", status(599), None),
        retry("403 of a proxy", page(403, "text/html", None, html), None),
        retry("404 of a proxy", page(404, "text/html", None, html), None),
        retry("407 of a proxy", page(407, "text/html", None, html), None),
        retry("302 to a guest network", status(302), None),
        retry("200 of a guest network", FaultEffect::Garbage, None),
        retry("cut before the effect", FaultEffect::Transport(NoResponse::Cut), None),
        Row::faulty("cut after the effect", redeem(FaultEffect::Transport(NoResponse::Cut)).after_effect())
            .means(Kind::EntraUnreachable, Remedy::Retry),
    ]
}

fn bodies() -> Vec<Row> {
    let json = |status, body: &str| page(status, "application/json; charset=utf-8", None, body);
    let refused = |name, body: &str, kind, remedy, said: &str| {
        Row::faulty(name, redeem(json(400, body))).means(kind, remedy).saying(said)
    };
    let good = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"ey.x","refresh_token":"0.AX"#;
    let grown = format!("{{\"padding\":\"{}\"}}", "x".repeat(100_000));
    let crlf = r#"{"error":"invalid_grant","error_description":"AADSTS50173: gone\r\nTrace ID: x\r\n","error_codes":[50173]}"#;
    let mixed = r#"{"error":"invalid_client","error_description":"AADSTS7000222: over.","error_codes":[70002,7000222]}"#;
    let bare = r#"{"error":"invalid_grant","error_codes":["700082"]}"#;
    let hostile = r#"{"error":"0.AXcanary~secret!","error_description":"AADSTS50173: x"}"#;
    vec![
        retry("200 that ends half-way", json(200, good), None),
        retry("200 without an access token", json(200, r#"{"token_type":"Bearer"}"#), None),
        retry("200 that is a list", json(200, "[]"), None),
        retry("200 that is empty", json(200, ""), None),
        retry("200 without an end", json(200, &grown), None),
        retry("204", json(204, ""), None),
        refused("400 that ends half-way", &crlf[..60], Kind::LoginRequired, Remedy::Login, "AADSTS50173")
            .unconfirmed(),
        retry("400 without an error", json(400, "{}"), None),
        retry("400 whose error is no word", json(400, r#"{"error":{"code":"x"}}"#), None),
        refused("parts on lines", crlf, Kind::LoginRequired, Remedy::Login, "AADSTS50173"),
        refused(
            "the described code counts",
            mixed,
            Kind::AppCredentialRefused,
            Remedy::Operator,
            "AADSTS7000222",
        ),
        refused("a code without a text", bare, Kind::LoginRequired, Remedy::Login, "AADSTS700082"),
        refused("an error that is no word", hostile, Kind::LoginRequired, Remedy::Login, "unreadable"),
    ]
}

fn distortions() -> Vec<Row> {
    let bent = |name, distortion| Row::faulty(name, redeem(FaultEffect::Distort(distortion)));
    let pinned = Row::new("another user than the one pinned", |world, partner, grant| {
        grant.user_oid = Some(partner.user_oid.clone());
        world.inject(redeem(FaultEffect::Distort(Distortion::OtherUser)));
    });
    let unnamed =
        Row::new("nothing that says whose it is, where a user is pinned", |world, partner, grant| {
            grant.user_oid = Some(partner.user_oid.clone());
            world.inject(redeem(FaultEffect::Distort(Distortion::NoIdentity)));
        });
    let opaque =
        Row::new("an access token that cannot be read, where a user is pinned", |world, partner, grant| {
            grant.user_oid = Some(partner.user_oid.clone());
            world.inject(redeem(FaultEffect::Distort(Distortion::OpaqueAccessToken)));
        });
    vec![
        bent("no refresh token", Distortion::NoRefreshToken).means(Kind::NoRefreshToken, Remedy::Operator),
        bent("an empty one", Distortion::EmptyRefreshToken).means(Kind::NoRefreshToken, Remedy::Operator),
        bent("another tenant", Distortion::OtherTenant)
            .means(Kind::WrongIdentity, Remedy::Operator)
            .saying("not for the configured tenant"),
        bent("another app", Distortion::OtherApp)
            .means(Kind::WrongIdentity, Remedy::Operator)
            .saying("not for the configured app"),
        pinned.means(Kind::WrongIdentity, Remedy::Operator).saying("not for the configured user"),
        bent("another user where none is pinned", Distortion::OtherUser),
        bent("an access token that cannot be read", Distortion::OpaqueAccessToken),
        bent("nothing that says whose it is", Distortion::NoIdentity),
        unnamed,
        opaque,
    ]
}
