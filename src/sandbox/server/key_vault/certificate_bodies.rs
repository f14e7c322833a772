//! The JSON of Key Vault's certificates and keys (docs/azure-facts.md F226).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies::attributes;
use crate::sandbox::world::{
    CertificateImport, CertificatePolicy, CertificateRequest, CertificateVersion, ContentType, KeySignature,
    VaultRefusal,
};
use crate::token::tags::Tags;

/// The validity in months of a certificate whose policy names no validity.
const MONTHS: i64 = 12;

/// The body of a request that changes a version of a certificate. Only the tags can be changed.
#[derive(Deserialize)]
pub(super) struct TagsBody {
    #[serde(default)]
    pub(super) tags: Tags,
}

#[derive(Deserialize)]
pub(super) struct CreateBody {
    #[serde(default)]
    policy: PolicyBody,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
pub(super) struct ImportBody {
    value: String,
    pwd: Option<String>,
    #[serde(default)]
    policy: PolicyBody,
    attributes: Option<EnabledBody>,
    tags: Option<Tags>,
}

#[derive(Default, Deserialize)]
pub(super) struct SignBody {
    pub(super) alg: String,
    value: String,
}

#[derive(Deserialize)]
struct EnabledBody {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
struct PolicyBody {
    #[serde(default)]
    key_props: KeyBody,
    #[serde(default)]
    secret_props: FormBody,
    #[serde(default)]
    x509_props: NameBody,
    #[serde(default)]
    issuer: IssuerBody,
}

#[derive(Default, Deserialize)]
struct KeyBody {
    exportable: Option<bool>,
    kty: Option<String>,
    key_size: Option<u32>,
}

#[derive(Default, Deserialize)]
struct FormBody {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
}

#[derive(Default, Deserialize)]
struct NameBody {
    subject: Option<String>,
    validity_months: Option<i64>,
}

#[derive(Default, Deserialize)]
struct IssuerBody {
    name: Option<String>,
}

impl CreateBody {
    pub(super) fn into_request(self) -> Result<(CertificatePolicy, Tags), VaultRefusal> {
        let PolicyBody { key_props, secret_props, x509_props, issuer } = self.policy;
        if issuer.name.is_some_and(|name| name != "Self") {
            return Err(VaultRefusal::bad_parameter("The sandbox supports only the issuer Self."));
        }
        if key_props.kty.is_some_and(|kind| kind != "RSA") {
            return Err(VaultRefusal::bad_parameter("The sandbox supports only the key type RSA."));
        }
        let usual = CertificatePolicy::default();
        let months = x509_props.validity_months.unwrap_or(MONTHS);
        if !(1..=1200).contains(&months) {
            return Err(VaultRefusal::bad_parameter("validity_months must be between 1 and 1200."));
        }
        let policy = CertificatePolicy {
            exportable: key_props.exportable.unwrap_or(usual.exportable),
            content_type: secret_props.read()?.unwrap_or(usual.content_type),
            key_size: key_props.key_size.unwrap_or(usual.key_size),
            lifetime: TimeDelta::days(months * 365 / 12),
            subject: x509_props.subject,
        };
        Ok((policy, self.tags.unwrap_or_default()))
    }
}

impl ImportBody {
    pub(super) fn into_request(self) -> Result<CertificateImport, VaultRefusal> {
        Ok(CertificateImport {
            value: SecretString::from(self.value),
            password: self.pwd.unwrap_or_default().into(),
            exportable: self.policy.key_props.exportable.unwrap_or(true),
            content_type: self.policy.secret_props.read()?,
            enabled: self.attributes.and_then(|attributes| attributes.enabled).unwrap_or(true),
            tags: self.tags.unwrap_or_default(),
        })
    }
}

impl FormBody {
    fn read(&self) -> Result<Option<ContentType>, VaultRefusal> {
        let Some(named) = &self.content_type else { return Ok(None) };
        let known = ContentType::ALL.into_iter().find(|form| form.as_str() == named);
        let unknown = || VaultRefusal::bad_parameter(format!("The content type '{named}' is not supported."));
        Ok(Some(known.ok_or_else(unknown)?))
    }
}

impl SignBody {
    /// Returns the decoded digest, or an empty digest if the text is not base64. `World::sign` rejects an empty digest.
    pub(super) fn digest(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(self.value.trim_end_matches('=')).unwrap_or_default()
    }
}

/// Returns a version of a certificate as JSON.
pub(super) fn certificate(vault: &str, version: &CertificateVersion) -> Value {
    let mut body = item(vault, version, true);
    let (name, id) = (&version.name, &version.id);
    body["kid"] = json!(format!("{vault}/keys/{name}/{id}"));
    body["sid"] = json!(format!("{vault}/secrets/{name}/{id}"));
    body["cer"] = json!(STANDARD.encode(&version.certificate.der));
    body["policy"] = policy(vault, version);
    body["pending"] = json!({"id": format!("{vault}/certificates/{name}/pending")});
    body
}

/// Returns a version as an item of a list. The certificate's id ends with the version if `with_version` is set. A list
/// of certificates does not set `with_version`.
pub(super) fn item(vault: &str, version: &CertificateVersion, with_version: bool) -> Value {
    let base = format!("{vault}/certificates/{}", version.name);
    let id = if with_version { format!("{base}/{}", version.id) } else { base };
    let mut body = json!({
        "id": id, "x5t": version.certificate.x5t(), "subject": version.certificate.subject,
        "attributes": attributes(&version.attributes, version.created, version.updated),
    });
    if !version.tags.is_empty() {
        body["tags"] = json!(version.tags);
    }
    body
}

pub(super) fn policy(vault: &str, version: &CertificateVersion) -> Value {
    let CertificatePolicy { exportable, content_type, key_size, lifetime, subject } = &version.policy;
    let (name, made) = (&version.name, version.created.timestamp());
    json!({
        "id": format!("{vault}/certificates/{name}/policy"),
        "key_props": {"exportable": exportable, "kty": "RSA", "key_size": key_size, "reuse_key": false},
        "secret_props": {"contentType": content_type.as_str()},
        "x509_props": {
            "subject": subject.clone().unwrap_or_else(|| format!("CN={name}")),
            "sans": {},
            "ekus": ["1.3.6.1.5.5.7.3.2"],
            "key_usage": ["digitalSignature"],
            "validity_months": (lifetime.num_days() * 12 + 182) / 365,
            "basic_constraints": {"ca": false},
        },
        "lifetime_actions": [{"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "EmailContacts"}}],
        "issuer": {"name": "Self"},
        "attributes": {"enabled": true, "created": made, "updated": made},
    })
}

/// Returns the state of a certificate's creation. `begun` is true in the answer to the call that starts the creation.
pub(super) fn request(vault: &str, request: &CertificateRequest, begun: bool) -> Value {
    let base = format!("{vault}/certificates/{}", request.name);
    let mut body = json!({
        "id": format!("{base}/pending"), "issuer": {"name": "Self"}, "csr": STANDARD.encode(&request.csr),
        "cancellation_requested": false, "status": "inProgress", "request_id": request.id,
        "status_details": "Pending certificate created. Certificate request is in progress. This may take some time based on the issuer provider. Please check again later.",
    });
    if request.complete && !begun {
        body["status"] = json!("completed");
        body["status_details"] = Value::Null;
        body["target"] = json!(base);
    }
    body
}

/// Returns the public half of a key as JSON.
pub(super) fn key(vault: &str, version: &CertificateVersion) -> Value {
    let mut body = json!({
        "key": {
            "kid": format!("{vault}/keys/{}/{}", version.name, version.id),
            "kty": "RSA", "key_ops": ["sign", "verify"],
            "n": URL_SAFE_NO_PAD.encode(&version.certificate.modulus),
            "e": URL_SAFE_NO_PAD.encode(&version.certificate.exponent),
        },
        "attributes": attributes(&version.attributes, version.created, version.updated),
        "managed": true,
    });
    if !version.tags.is_empty() {
        body["tags"] = json!(version.tags);
    }
    body
}

pub(super) fn signature(vault: &str, name: &str, signed: &KeySignature) -> Value {
    json!({
        "kid": format!("{vault}/keys/{name}/{}", signed.version),
        "value": URL_SAFE_NO_PAD.encode(&signed.bytes),
    })
}
