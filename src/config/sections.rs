//! Parses `[vault]`, `[cloud]`, `[policy]`, `[alerts]` and `[http]`: their keys, defaults and rules.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::identity::Surroundings;
use super::walk::{Checked, Reported, Section, Wanted};
use super::{HttpSection, identity, rules};
use crate::azure::cloud::{Cloud, CloudName};
use crate::azure::identity::Identity;
use crate::process::host_name;
use crate::token::managed::{Deployment, Policy};

/// The keys of `[vault]`.
pub(super) const VAULT: &[&str] = &[
    "url",
    "credential",
    "tenant_id",
    "client_id",
    "client_secret",
    "client_secret_expires",
    "client_certificate",
    "client_assertion",
];
/// The keys of `[cloud]`.
pub(super) const CLOUD: &[&str] = &["name", "authority", "partner_center", "graph", "ca_file"];
/// The keys of `[policy]`.
pub(super) const POLICY: &[&str] = &["rotate_after", "prove_every", "lifetime"];
/// The keys of `[alerts]`.
pub(super) const ALERTS: &[&str] = &["command", "instance", "runbook_url", "page_url"];
/// The keys of `[http]`.
pub(super) const HTTP: &[&str] = &["listen", "status"];

/// The default address of the HTTP endpoints.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The shortest interval in `[policy]`. A shorter interval would keep the process busy.
pub const SHORTEST_SPAN: Duration = Duration::from_secs(10);

/// The longest interval in `[policy]`: ten years. No issuer gives tokens a longer lifetime. A date plus ten years is
/// always a valid date.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Parses the address of the default vault, and the identity that authenticates to Key Vault. If both have a mistake,
/// both mistakes are reported.
pub(super) fn vault(
    root: &Section<'_>,
    env: &Surroundings,
) -> (Checked<Option<Arc<str>>>, Checked<Identity>) {
    match root.section("vault", VAULT) {
        Ok(section) => (section.optional("url", rules::vault_url), identity::identity(&section, env)),
        Err(reported) => (Err(reported), Err(reported)),
    }
}

pub(super) fn cloud(root: &Section<'_>) -> Checked<Cloud> {
    let section = root.section("cloud", CLOUD)?;
    let name = section.optional("name", cloud_name);
    let authority = section.optional("authority", rules::base_url);
    let partner_center = section.optional("partner_center", rules::base_url);
    let graph = section.optional("graph", rules::base_url);
    let ca_file = section.optional("ca_file", rules::file);
    let name = name?.unwrap_or(CloudName::Public);
    Ok(Cloud {
        name,
        authority: authority?.unwrap_or_else(|| name.authority()),
        partner_center: partner_center?.unwrap_or_else(|| name.partner_center()),
        graph: graph?.unwrap_or_else(|| name.graph()),
        ca_file: ca_file?,
    })
}

/// Parses the settings that all tokens share: `[alerts]` and Entra's address. The field `first_secret` stays empty
/// here, and is set after all tokens are parsed.
pub(super) fn deployment(root: &Section<'_>, cloud: &Checked<Cloud>) -> Checked<Arc<Deployment>> {
    let section = root.section("alerts", ALERTS)?;
    let command = section.optional("command", rules::command);
    let instance = section.optional("instance", rules::instance);
    let runbook_url = section.optional("runbook_url", rules::link);
    let page_url = section.optional("page_url", rules::link);
    Ok(Arc::new(Deployment {
        authority: cloud.as_ref().map_err(|_| Reported)?.authority.as_str().to_owned(),
        command: command?.unwrap_or_else(|| "perennial".to_owned()),
        first_secret: Arc::default(),
        instance: instance?.unwrap_or_else(host_name),
        runbook_url: runbook_url?,
        page_url: page_url?,
    }))
}

pub(super) fn policy(root: &Section<'_>) -> Checked<Policy> {
    let section = root.section("policy", POLICY)?;
    let default = Policy::default();
    let span = |key: &str, default: Duration| {
        let span = section.optional(key, rules::duration)?.unwrap_or(default);
        if (SHORTEST_SPAN..=LONGEST).contains(&span) {
            Ok(span)
        } else {
            Err(section.note(key, "must be between 10s and 3650d"))
        }
    };
    let rotate_after = span("rotate_after", default.rotate_after);
    let prove_every = span("prove_every", default.prove_every);
    let lifetime = span("lifetime", default.lifetime)?;
    let within =
        |key: &str, span: Checked<Duration>| match span? {
            span if span > lifetime / 3 => Err(section
                .note(key, "must be at most a third of policy.lifetime, to allow for two failed attempts")),
            span => Ok(span),
        };
    let rotate_after = within("rotate_after", rotate_after);
    let prove_every = within("prove_every", prove_every);
    Ok(Policy { rotate_after: rotate_after?, prove_every: prove_every?, lifetime })
}

pub(super) fn http(root: &Section<'_>) -> Checked<HttpSection> {
    let section = root.section("http", HTTP)?;
    let address = |text: &str| {
        text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:9464 or [::]:9464")
    };
    let listen = section.optional("listen", address);
    let status = section.flag("status");
    let listen = listen?.unwrap_or(LISTEN);
    Ok(HttpSection { listen, status: status?.unwrap_or(listen.ip().is_loopback()) })
}

fn cloud_name(text: &str) -> Result<CloudName, Wanted> {
    match text {
        "public" => Ok(CloudName::Public),
        "usgov" => Ok(CloudName::UsGov),
        "china" => Ok(CloudName::China),
        _ => Err("must be `public`, `usgov` or `china`"),
    }
}
