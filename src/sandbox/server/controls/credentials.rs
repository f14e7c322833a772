//! Controls for the credentials of apps: certificates, federated credentials and their issuers.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::pem::Pem;

use super::super::span::Span;
use super::super::{SandboxState, shown};
use super::{Reply, app, read, wrong};
use crate::sandbox::world::{App, CertificatePolicy, ContentType, World};
use crate::token::secret::{SecretAddress, SecretName};

/// The audience that Entra recommends for federated credentials.
const EXCHANGE: &str = "api://AzureADTokenExchange";

/// The lifetime of an external issuer's token.
const LASTS: TimeDelta = TimeDelta::hours(1);

/// The default name of a certificate in a control's form.
const CERTIFICATE: &str = "app-certificate";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateForm {
    /// The name of the certificate in the vault.
    name: Option<String>,
    /// Whether the certificate's secret contains the private key.
    exportable: Option<bool>,
    /// The content type of the certificate's secret.
    content_type: Option<String>,
    /// The size of the key in bits.
    key_size: Option<u32>,
    /// The lifetime of the certificate.
    lasts: Option<Span>,
}

/// Makes the vault create a certificate, as a person does in the portal.
pub(super) async fn create_certificate(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: CertificateForm = read(&body)?;
    let usual = CertificatePolicy::default();
    let content_type = match &form.content_type {
        Some(named) => ContentType::ALL.into_iter().find(|form| form.as_str() == named),
        None => Some(usual.content_type),
    };
    let all = ContentType::ALL.map(ContentType::as_str);
    let names = || format!("content_type must be one of {}", all.join(", "));
    let policy = CertificatePolicy {
        exportable: form.exportable.unwrap_or(usual.exportable),
        content_type: content_type.ok_or_else(|| wrong(&names()))?,
        key_size: form.key_size.unwrap_or(usual.key_size),
        lifetime: form.lasts.map_or(usual.lifetime, |Span(lasts)| lasts),
        subject: None,
    };
    let at = address(&shared, form.name.as_deref())?;
    let made = shared.world.human_creates_certificate(&at, policy).map_err(|why| wrong(&why.text))?;
    Ok(Json(json!({
        "certificate": format!("{}/certificates/{}", at.vault, at.name.as_str()), "version": made.version,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterForm {
    client_id: Option<String>,
    /// The name of a certificate in the vault.
    name: Option<String>,
    /// The version of the certificate. The default is the newest version.
    version: Option<String>,
    /// The certificate itself, as PEM, or as DER in base64. A form with `cer` has no `name` and no `version`.
    cer: Option<String>,
}

/// Registers the public half of a certificate at an app.
pub(super) async fn register_certificate(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: RegisterForm = read(&body)?;
    let app = app(&shared.world, form.client_id)?;
    let der = match &form.cer {
        Some(_) if form.name.is_some() || form.version.is_some() => {
            return Err(wrong("name a certificate of the vault or give `cer`, not both"));
        }
        Some(text) => der_of(text).ok_or_else(|| wrong("cer must be PEM, or DER in base64"))?,
        None => {
            let at = address(&shared, form.name.as_deref())?;
            let known = shared.world.certificate_of(&at, form.version.as_deref());
            known
                .ok_or_else(|| wrong("the vault has no certificate with this name and version"))?
                .certificate
                .der
        }
    };
    let thumbprint = shared.world.add_certificate(&app, &der);
    let thumbprint =
        thumbprint.ok_or_else(|| wrong("no app has this client id, or the certificate has no RSA key"))?;
    Ok(Json(json!({"client_id": app, "thumbprint": thumbprint})))
}

fn der_of(text: &str) -> Option<Vec<u8>> {
    if text.contains("-----BEGIN") {
        let blocks = Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
        return blocks.filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).next();
    }
    STANDARD.decode(text.split_whitespace().collect::<String>()).ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveForm {
    client_id: Option<String>,
    /// The SHA-1 hash of the certificate in hexadecimal digits.
    thumbprint: String,
}

/// Removes a certificate from an app.
pub(super) async fn remove_certificate(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: RemoveForm = read(&body)?;
    let app = app(&shared.world, form.client_id)?;
    if !shared.world.remove_certificate(&app, &form.thumbprint) {
        return Err(wrong("the app has no certificate with this thumbprint"));
    }
    Ok(Json(json!({"client_id": app, "removed": form.thumbprint})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FederateForm {
    client_id: Option<String>,
    issuer: String,
    subject: String,
    audience: Option<String>,
}

/// Adds a federated credential to an app.
pub(super) async fn federate(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: FederateForm = read(&body)?;
    let app = app(&shared.world, form.client_id)?;
    let audience = form.audience.as_deref().unwrap_or(EXCHANGE);
    let added = shared.world.add_federated(&app, &form.issuer, &form.subject, audience);
    added.ok_or_else(|| wrong("no app has this client id"))?;
    Ok(Json(json!({
        "client_id": app, "issuer": form.issuer, "subject": form.subject, "audience": audience,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityForm {
    /// The client id of the identity. The default is a new id.
    client_id: Option<String>,
    /// The tenant's id or domain. The default is the first partner's tenant.
    tenant: Option<String>,
}

/// Adds a managed identity to the simulated host.
pub(super) async fn managed_identity(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: IdentityForm = read(&body)?;
    let world = &shared.world;
    let tenant = match form.tenant {
        Some(named) => world.find_tenant(&named).map(|tenant| tenant.id),
        None => world.partners().first().map(|partner| partner.tenant_id.clone()),
    };
    let tenant = tenant.ok_or_else(|| wrong("no tenant has this id or domain"))?;
    let client_id = form.client_id.unwrap_or_else(|| world.fresh_id().to_string());
    let principal = world.add_managed_identity(&tenant, &client_id);
    Ok(Json(json!({
        "client_id": client_id, "principal_id": principal, "issuer": world.issuer_of(&tenant),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueForm {
    issuer: String,
    subject: String,
    audience: Option<String>,
    lasts: Option<Span>,
}

/// Issues a token in the name of an external issuer. Registers the issuer first if the world does not know it.
pub(super) async fn issue_assertion(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: IssueForm = read(&body)?;
    let audience = form.audience.as_deref().unwrap_or(EXCHANGE);
    let lasts = form.lasts.map_or(LASTS, |Span(lasts)| lasts);
    shared.world.add_issuer(&form.issuer);
    let assertion = shared.world.issue_external(&form.issuer, &form.subject, audience, lasts);
    Ok(Json(json!({"assertion": assertion})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PropagationForm {
    /// The longest time that a new credential takes to reach all front ends.
    most: Span,
}

/// Sets the longest time that a new credential takes to reach all of Entra's front ends.
pub(super) async fn propagation(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let PropagationForm { most: Span(most) } = read(&body)?;
    if most < TimeDelta::zero() {
        return Err(wrong("`most` must not be negative"));
    }
    shared.world.set_propagation(most);
    Ok(Json(json!({"most": most.num_seconds()})))
}

/// Returns the certificates and federated credentials of an app, without secrets.
pub(super) fn shown_of(app: &App) -> (Vec<Value>, Vec<Value>) {
    let certificates = app.certificates.iter().map(|known| {
        let certificate = &known.certificate;
        json!({
            "thumbprint": certificate.thumbprint(), "subject": certificate.subject,
            "expires": shown(known.ends),
        })
    });
    let federated = app
        .federated
        .iter()
        .map(|known| json!({"issuer": known.issuer, "subject": known.subject, "audience": known.audience}));
    (certificates.collect(), federated.collect())
}

/// Returns the managed identities of the host.
pub(super) fn identities(world: &World) -> Vec<Value> {
    let all = world.managed_identities();
    let listed = all.iter().map(|identity| {
        json!({
            "client_id": identity.client_id, "principal_id": identity.principal_id, "tenant": identity.tenant,
        })
    });
    listed.collect()
}

fn address(shared: &SandboxState, name: Option<&str>) -> Reply<SecretAddress> {
    let name = SecretName::parse(name.unwrap_or(CERTIFICATE));
    let name = name.ok_or_else(|| wrong("a name may contain only letters, digits and dashes"))?;
    Ok(SecretAddress { vault: Arc::clone(&shared.origin), name })
}
