//! Partner Center over HTTPS. Perennial sends Partner Center only one kind of request. This request checks a user's
//! access token.

use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Routes;
use super::wire::{HttpCaller, code, partner_center_error, set};
use crate::sandbox::world::{Operation, PartnerRefusal, Peer, Profile, Trouble};

pub(super) fn routes() -> Routes {
    Router::new().route("/v1/profiles/organization", get(organization))
}

async fn organization(caller: HttpCaller) -> Response {
    caller.enter(Peer::PartnerCenter, Operation::Profile, "").await;
    let answer = caller.world().profile(caller.actor(), caller.bearer().unwrap_or_default());
    let mut response = match answer {
        Ok(profile) => shown(&profile, caller.header("validatemfa")),
        Err(Trouble::Refused(refused)) => refuse(&refused),
        Err(Trouble::Fault(what)) => caller.faulted(Peer::PartnerCenter, what).await,
    };
    for (asked, told) in [("ms-requestid", "ms-requestid"), ("ms-correlationid", "ms-correlationid")] {
        let id = caller.header(asked).map(str::to_owned);
        set(&mut response, told, &id.unwrap_or_else(|| caller.world().fresh_id().to_string()));
    }
    response
}

fn shown(profile: &Profile, validate_mfa: Option<&str>) -> Response {
    let mut response = Json(json!({
        "id": profile.tenant_id,
        "companyName": profile.company,
        "tenantId": profile.tenant_id,
        "domain": profile.domain,
        "email": format!("hello@{}", profile.domain),
        "culture": "en-US",
        "language": "en",
        "profileType": "organization_profile",
    }))
    .into_response();
    let asked = validate_mfa.is_some_and(|asked| asked.eq_ignore_ascii_case("true"));
    if let Some(compliant) = profile.mfa_compliant.filter(|_| asked) {
        set(&mut response, "ismfacompliant", if compliant { "true" } else { "false" });
    }
    response
}

fn refuse(refused: &PartnerRefusal) -> Response {
    let body = partner_center_error(refused.code, refused.text);
    let mut response = (code(refused.status), Json(body)).into_response();
    if refused.status == 401 {
        set(&mut response, "www-authenticate", "OAuth realm=urn:cpsvc:cpid:sandbox");
    }
    response
}
