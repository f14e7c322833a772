//! Entra over HTTPS: the token endpoint, and the metadata that official clients request. `authorize` and `device` own
//! the pages for users.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Routes;
use super::wire::{HttpCaller, oauth_error, set};
use crate::sandbox::world::{
    AppProof, CodeRequest, DeviceRequest, EntraRefusal, IdentityRequest, Operation, Owner, Peer,
    RedeemRequest, TokenAnswer, Trouble,
};

/// The type of an assertion that authenticates an app (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The fields of a token request.
type Fields = BTreeMap<String, String>;

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(metadata))
        .route("/{tenant}/discovery/v2.0/keys", get(keys))
        .route("/common/discovery/instance", get(discovery))
}

async fn token(
    caller: HttpCaller,
    Path(tenant): Path<String>,
    fields: Result<Form<Fields>, FormRejection>,
) -> Response {
    let mut fields = fields.map(|Form(fields)| fields).unwrap_or_default();
    if let Some((id, secret)) = basic(&caller) {
        fields.entry("client_id".to_owned()).or_insert(id);
        fields.entry("client_secret".to_owned()).or_insert(secret);
    }
    let mut response = match fields.get("grant_type").map(String::as_str) {
        Some("refresh_token") => redeem(&caller, &tenant, &fields).await,
        Some("authorization_code") => exchange_code(&caller, &tenant, &fields).await,
        Some("urn:ietf:params:oauth:grant-type:device_code") => {
            exchange_device(&caller, &tenant, &fields).await
        }
        Some("client_credentials") => identify(&caller, &tenant, &fields).await,
        Some(_) => refuse(&caller, 70003),
        None => refuse(&caller, 900_144),
    };
    if caller.header("return-client-request-id") == Some("true") {
        set(&mut response, "client-request-id", &caller.correlation_id());
    }
    if !response.headers().contains_key("x-ms-request-id") {
        set(&mut response, "x-ms-request-id", &caller.world().fresh_id().to_string());
    }
    set(&mut response, "x-ms-ests-server", "2.1.0 - SANDBOX ProdSlices");
    set(&mut response, "cache-control", "no-store, no-cache");
    set(&mut response, "pragma", "no-cache");
    response
}

async fn redeem(caller: &HttpCaller, tenant: &str, fields: &Fields) -> Response {
    let (Some(client_id), Some(token)) = (fields.get("client_id"), fields.get("refresh_token")) else {
        return refuse(caller, 900_144);
    };
    let scope = text(fields, "scope");
    let owner = caller.world().owner_of(token);
    let user = owner.as_ref().map_or("unknown", |owner| &owner.user);
    caller.enter(Peer::Entra, Operation::Redeem, user).await;
    let answer = caller.world().redeem(
        caller.actor(),
        &RedeemRequest {
            tenant,
            client_id,
            proof: proof(fields),
            scope,
            token,
            correlation_id: Some(&caller.correlation_id()),
        },
    );
    // Entra returns a successor only with the scope `offline_access` (docs/azure-facts.md F106). The sandbox also
    // returns a successor if the request has no scope.
    let asked = scope.is_empty() || scope.split_whitespace().any(|word| word == "offline_access");
    let tailored = answer.map(|answer| {
        let refresh_token = answer.refresh_token.filter(|_| asked);
        TokenAnswer { refresh_token, ..answer }
    });
    let account = owner.filter(|_| text(fields, "client_info") == "1");
    answered(caller, tailored, account).await
}

async fn exchange_code(caller: &HttpCaller, tenant: &str, fields: &Fields) -> Response {
    let (Some(client_id), Some(code), Some(redirect_uri)) =
        (fields.get("client_id"), fields.get("code"), fields.get("redirect_uri"))
    else {
        return refuse(caller, 900_144);
    };
    caller.enter(Peer::Entra, Operation::SignIn, "unknown").await;
    let answer = caller.world().exchange_code(
        caller.actor(),
        &CodeRequest {
            tenant,
            client_id,
            proof: proof(fields),
            code,
            redirect_uri,
            code_verifier: text(fields, "code_verifier"),
            scope: text(fields, "scope"),
            correlation_id: Some(&caller.correlation_id()),
        },
    );
    answered(caller, answer, None).await
}

async fn exchange_device(caller: &HttpCaller, tenant: &str, fields: &Fields) -> Response {
    let (Some(client_id), Some(device_code)) = (fields.get("client_id"), fields.get("device_code")) else {
        return refuse(caller, 900_144);
    };
    caller.enter(Peer::Entra, Operation::SignIn, "unknown").await;
    let answer = caller.world().exchange_device(
        caller.actor(),
        &DeviceRequest {
            tenant,
            client_id,
            proof: proof(fields),
            device_code,
            correlation_id: Some(&caller.correlation_id()),
        },
    );
    answered(caller, answer, None).await
}

/// Converts the world's answer to an HTTP answer, for every grant type. With `account`, the HTTP answer also contains
/// the user's account, for clients that store accounts.
async fn answered(
    caller: &HttpCaller,
    answer: Result<TokenAnswer, Trouble<EntraRefusal>>,
    account: Option<Owner>,
) -> Response {
    match answer {
        Ok(answer) => granted(caller, &answer, account),
        Err(Trouble::Refused(refused)) => oauth_error(&refused, caller.world().now()),
        Err(Trouble::Fault(what)) => caller.faulted(Peer::Entra, what).await,
    }
}

async fn identify(caller: &HttpCaller, tenant: &str, fields: &Fields) -> Response {
    let Some(client_id) = fields.get("client_id") else { return refuse(caller, 900_144) };
    caller.enter(Peer::Entra, Operation::Identity, client_id).await;
    let answer = caller.world().identity_token(
        caller.actor(),
        &IdentityRequest {
            tenant,
            client_id,
            proof: proof(fields),
            scope: text(fields, "scope"),
            correlation_id: Some(&caller.correlation_id()),
        },
    );
    answered(caller, answer, None).await
}

fn granted(caller: &HttpCaller, answer: &TokenAnswer, account: Option<Owner>) -> Response {
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": answer.expires_in.as_secs(),
        "ext_expires_in": answer.expires_in.as_secs(),
        "access_token": answer.access_token.expose(),
    });
    if !answer.scope.ends_with("/.default") {
        body["scope"] = json!(answer.scope);
    }
    if let Some(token) = &answer.refresh_token {
        body["refresh_token"] = json!(token.expose());
    }
    if let Some(lasts) = answer.refresh_expires_in {
        body["refresh_token_expires_in"] = json!(lasts.as_secs());
    }
    if let Some(claims) = &answer.id_claims {
        body["id_token"] = json!(id_token(caller, claims));
    }
    if let Some(Owner { user, tenant, .. }) = account {
        body["client_info"] = json!(URL_SAFE_NO_PAD.encode(json!({"uid": user, "utid": tenant}).to_string()));
    }
    Json(body).into_response()
}

fn id_token(caller: &HttpCaller, claims: &Value) -> Option<String> {
    let mut claims = claims.clone();
    let tenant = claims["tid"].as_str().unwrap_or_default().to_owned();
    claims["iss"] = json!(format!("{}/{tenant}/v2.0", caller.shared.origin));
    caller.shared.signer.sign(&claims)
}

fn refuse(caller: &HttpCaller, code: u32) -> Response {
    let refused = caller.world().entra_refusal(code, Some(&caller.correlation_id()));
    oauth_error(&refused, caller.world().now())
}

/// Reads the app's credential from the fields of a request. Ignores the secret if the request has an assertion of the
/// type `ASSERTION_TYPE`.
fn proof(fields: &Fields) -> AppProof<'_> {
    match fields.get("client_assertion") {
        Some(assertion) if text(fields, "client_assertion_type") == ASSERTION_TYPE => {
            AppProof::Assertion(assertion)
        }
        _ => AppProof::Secret(text(fields, "client_secret")),
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

/// Reads the client id and the client secret from the header `Authorization: Basic`. Entra calls this method
/// `client_secret_basic` (docs/azure-facts.md F102).
fn basic(caller: &HttpCaller) -> Option<(String, String)> {
    let encoded = caller.header("authorization")?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

async fn metadata(caller: HttpCaller, Path(tenant): Path<String>) -> Response {
    let Some(tenant) = caller.world().find_tenant(&tenant) else { return refuse(&caller, 90002) };
    let base = format!("{}/{}", caller.shared.origin, tenant.id);
    Json(json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "sandbox",
    }))
    .into_response()
}

/// Returns the public key with which clients check ID tokens. Access tokens are not signed, since the simulated
/// services look them up in the world.
async fn keys(caller: HttpCaller) -> Json<Value> {
    Json(json!({"keys": [caller.shared.signer.public_key()]}))
}

async fn discovery(caller: HttpCaller) -> Json<Value> {
    let origin = &caller.shared.origin;
    let host = origin.trim_start_matches("https://");
    Json(json!({
        "tenant_discovery_endpoint": format!("{origin}/common/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }))
}
