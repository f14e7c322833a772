//! Parses and lists injected faults. A fault is given as JSON, for example
//! `{"peer":"entra","operation":"redeem","status":503,"times":3}`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::shown;
use super::super::span::Span;
use crate::net::no_response::NoResponse;
use crate::process::clock::Timestamp;
use crate::sandbox::world::{Distortion, Fault, FaultEffect, Hostile, Operation, Peer, When, World};

/// The body of a control request that injects a fault. One of these fields selects the failure: `cut`, `hang`,
/// `garbage`, `body`, `delay`, `distort`, `error` or `status`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultForm {
    /// The service: `entra`, `key_vault`, `partner_center` or `graph`.
    peer: String,
    /// The operation that the fault affects. `requests` in `/_sandbox/state` uses the same names. The default is every
    /// operation.
    operation: Option<String>,
    /// The object that the fault affects: the name of a secret, the object id of a user, or the client id of an app.
    subject: Option<String>,
    /// Whether the call fails `before` or `after` its effect. The default is `after` for `distort`, and `before` for
    /// the other failures.
    when: Option<String>,
    /// The connection ends without an answer.
    #[serde(default)]
    cut: bool,
    /// The service does not answer before the client's timeout.
    #[serde(default)]
    hang: bool,
    /// The service sends a web page instead of JSON.
    #[serde(default)]
    garbage: bool,
    /// The service sends a harmful body. `Hostile` explains the kinds: `long`, `bomb`, `drip`, `echo` and `laced`.
    body: Option<String>,
    /// The time by which the call is delayed.
    delay: Option<Span>,
    /// How a successful answer of Entra is changed.
    distort: Option<String>,
    /// The HTTP status.
    status: Option<u16>,
    /// The value of the `Retry-After` header in seconds.
    retry_after: Option<u64>,
    /// The service sends an error of Entra with this OAuth error code, such as `invalid_grant`.
    error: Option<String>,
    /// The AADSTS number, or the code of Key Vault, Partner Center or Microsoft Graph.
    code: Option<Value>,
    /// The suberror of Entra, or the inner code of Key Vault.
    inner: Option<String>,
    /// The number of calls that the fault affects. The default is every call.
    times: Option<u32>,
    /// The time for which the fault is active, measured by the world's time.
    lasts: Option<Span>,
}

impl FaultForm {
    pub(super) fn into_fault(self, now: Timestamp) -> Result<Fault, String> {
        let what = self.what()?;
        let bent = matches!(what, FaultEffect::Distort(_));
        let when = match self.when.as_deref() {
            Some("after") => When::After,
            Some("before") if !bent => When::Before,
            None if bent => When::After,
            None => When::Before,
            Some(_) => {
                return Err("`when` must be `before` or `after`; `distort` allows only `after`".into());
            }
        };
        Ok(Fault {
            peer: named(Peer::ALL, Peer::as_str, &self.peer)?,
            operation: match &self.operation {
                Some(name) => Some(named(Operation::ALL, Operation::as_str, name)?),
                None => None,
            },
            subject: self.subject,
            when,
            what,
            times: self.times,
            until: self.lasts.map(|Span(lasts)| now + lasts),
        })
    }

    fn what(&self) -> Result<FaultEffect, String> {
        let retry_after = self.retry_after.map(Duration::from_secs);
        let code =
            self.code.as_ref().map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_owned));
        let mut all = Vec::new();
        all.extend(self.cut.then_some(FaultEffect::Transport(NoResponse::Cut)));
        all.extend(self.hang.then_some(FaultEffect::Transport(NoResponse::TimedOut)));
        all.extend(self.garbage.then_some(FaultEffect::Garbage));
        if let Some(Span(delay)) = self.delay {
            all.push(FaultEffect::Delay(delay.to_std().map_err(|_| "a delay must not be negative")?));
        }
        if let Some(name) = &self.distort {
            all.push(FaultEffect::Distort(named(Distortion::ALL, Distortion::as_str, name)?));
        }
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("status must be between 200 and 599".into());
        }
        if let Some(name) = &self.body {
            let body = named(Hostile::ALL, Hostile::as_str, name)?;
            all.push(FaultEffect::Hostile { status: self.status.unwrap_or(200), body });
        } else if let Some(error) = &self.error {
            let usual = if error == "invalid_client" { 401 } else { 400 };
            all.push(FaultEffect::OAuth {
                status: self.status.unwrap_or(usual),
                error: error.clone(),
                code: code
                    .as_ref()
                    .map(|code| code.parse().map_err(|_| "an AADSTS code must be a number"))
                    .transpose()?,
                suberror: self.inner.clone(),
            });
        } else if let Some(status) = self.status {
            all.push(match code {
                Some(code) => FaultEffect::Coded { status, code, inner: self.inner.clone(), retry_after },
                None => FaultEffect::Status { status, retry_after },
            });
        }
        match <[FaultEffect; 1]>::try_from(all) {
            Ok([what]) => Ok(what),
            Err(_) => {
                Err("give exactly one of cut, hang, garbage, body, delay, distort, error and status; only body and error may also have a status".into())
            }
        }
    }
}

fn named<T: Copy, const N: usize>(
    all: [T; N],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T, String> {
    let found = all.into_iter().find(|one| name_of(*one) == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.into_iter().map(name_of).collect();
        format!("{name:?} is not a valid value: use one of {}", names.join(", "))
    })
}

/// Returns the active faults.
pub(super) fn list(world: &World) -> Vec<Value> {
    let faults = world.faults();
    let listed = faults.iter().map(|fault| {
        json!({
            "peer": fault.peer.as_str(),
            "operation": fault.operation.map(Operation::as_str),
            "subject": fault.subject,
            "when": if fault.when == When::After { "after" } else { "before" },
            "what": format!("{:?}", fault.what),
            "times": fault.times,
            "until": fault.until.map(shown),
        })
    });
    listed.collect()
}
