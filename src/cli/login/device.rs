//! `--device-code`: the user signs in on another device. Meanwhile, this program polls Entra.
//!
//! Each poll also sends the app's credential, because Entra must issue the refresh token to the same confidential app
//! that redeems it later.

use std::time::Duration;

use tokio::time::Instant;

use super::session::{LoginSession, StoredLogin};
use crate::azure::entra::DevicePoll;
use crate::login;
use crate::login::polling::{Polling, PollingTurn};
use crate::login::{DeviceCode, StepFailure};
use crate::ports::RefreshResponse;
use crate::ports::diagnosis::LoginMethod;
use crate::ports::failure::Remedy;

const WARNING: &str = "\
Warning: phishers use device codes, so many tenants block this flow. If a policy
blocks the flow later, Entra also rejects the tokens from this flow. A sign-in
with this flow may lack a second factor. If you can, sign in with a browser
instead. Over SSH, use --no-browser: it prints a URL for a browser on another
machine.";

/// Signs a user in and stores the token.
pub(super) async fn sign_in(
    desk: &LoginSession,
    timeout: Option<Duration>,
) -> Result<StoredLogin, StepFailure> {
    desk.voice.say("warning", WARNING);
    let scope = login::scopes(&desk.grant().scope);
    let begun = desk
        .rotator
        .issuer
        .begin_device_code(&desk.grant().tenant_id, desk.client_id(), &scope, desk.id)
        .await;
    let code = begun.map_err(|error| desk.explain(&error, LoginMethod::DeviceCode))?;
    desk.voice.say(
        "device_code",
        &format!("\nOpen {} on any device and type {}\n", code.verification_uri, code.user_code),
    );
    let signed_in = wait(desk, &code, timeout).await?;
    desk.keep(signed_in, None).await
}

async fn wait(
    desk: &LoginSession,
    code: &DeviceCode,
    timeout: Option<Duration>,
) -> Result<RefreshResponse, StepFailure> {
    let (begun_at, since) = (desk.rotator.clock.now(), Instant::now());
    // The elapsed time comes from a monotonic clock, so a change of the host's time does not move the deadline.
    let now = || begun_at + crate::process::clock::delta(since.elapsed());
    let lasts = code.expires_in.min(timeout.unwrap_or(Duration::MAX));
    let mut polling = Polling::new(code.interval, lasts, begun_at);
    let mut rest = polling.first().min(lasts);
    loop {
        tokio::time::sleep(rest).await;
        let poll = DevicePoll {
            tenant: &desk.grant().tenant_id,
            client_id: desk.client_id(),
            proof: &desk.proof().await?,
            device_code: &code.device_code,
            id: desk.id,
        };
        let error = match desk.rotator.issuer.poll_device_code(&poll).await {
            Ok(signed_in) => return Ok(signed_in),
            Err(error) => error,
        };
        match polling.after(&error, now()) {
            PollingTurn::Again(after) => rest = after,
            PollingTurn::Over => return Err(desk.explain(&error, LoginMethod::DeviceCode)),
            PollingTurn::Expired => return Err(expired(desk)),
        }
    }
}

fn expired(desk: &LoginSession) -> StepFailure {
    let name = &desk.grant().name;
    StepFailure::new(
        Remedy::Retry,
        "the device code expired before anyone signed in",
        format!("run `perennial login {name} --device-code` again, or sign in by browser"),
    )
}
