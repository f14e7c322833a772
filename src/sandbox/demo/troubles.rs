//! The failures that the story causes, each with its expected effects.
//!
//! In the story's outages, a service answers calls with an error. The story has no service that never answers, because
//! each call would then wait half a minute of real time for an adapter's timeout. In that time, many days would pass in
//! the demo.

use std::time::Duration;

use chrono::TimeDelta;

use super::promise::Promise;
use super::voice::{Tone, span};
use super::{Demo, Stuck};
use crate::ports::failure::Kind;
use crate::process::clock::{Timestamp, delta};
use crate::sandbox::world::{Fault, FaultEffect, Operation, Peer};
use crate::status::snapshot::TokenState;

/// The speed while minutes matter: two hours per second. At this speed, a request without an injected fault takes less
/// than five minutes of the demo's time.
const SLOW: f64 = 2.0 / 24.0;

/// The speed in days per second while hours matter.
const HOURS_MATTER: f64 = 0.5;

/// Perennial reports a dead grant within `prove_every` plus this time (part of promise 4, docs/promises.md).
const TOLD_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// How long, in real time, a write to the vault is delayed while a user signs in.
const RACE: Duration = Duration::from_millis(400);

impl Demo {
    /// For a day, Entra answers with the status 429. Then, for half a day, Entra answers with AADSTS50196.
    pub(super) async fn busy_issuer(&mut self) -> Result<(), Stuck> {
        self.watch.told.expect(&[Kind::EntraThrottled]);
        let began = self.now();
        let busy = FaultEffect::Status { status: 429, retry_after: Some(Duration::from_secs(30 * 60)) };
        self.stage.world.inject(Fault::of(Peer::Entra, busy));
        self.tell(
            Tone::Plain,
            "trouble",
            "Entra is overloaded: for a day it throttles every request (429, Retry-After 30 min).",
        );
        self.until("a warning about Microsoft", TimeDelta::hours(12), |demo| {
            demo.is_open(Kind::EntraThrottled)
        })
        .await?;
        self.wait(began + TimeDelta::days(1) - self.now()).await?;
        self.stage.world.clear_faults(Some(Peer::Entra));
        let what = FaultEffect::OAuth {
            status: 400,
            error: "invalid_grant".into(),
            code: Some(50196),
            suberror: None,
        };
        self.stage.world.inject(Fault::of(Peer::Entra, what));
        self.tell(
            Tone::Plain,
            "trouble",
            "For another half day, Entra suspects a request loop and rejects every request (AADSTS50196).",
        );
        self.wait(TimeDelta::hours(12)).await?;
        self.stage.world.clear_faults(Some(Peer::Entra));
        let tries = self.stage.world.count_calls(Peer::Entra, Some(Operation::Redeem), began);
        self.tell(
            Tone::Plain,
            "trouble",
            &format!("Entra recovers. Perennial sent {tries} requests in {}.", span(self.now() - began)),
        );
        self.calm_again(TimeDelta::days(1)).await
    }

    /// The vault rejects writes when a rotation is due. A day later, the vault rejects all calls.
    pub(super) async fn vault_outage(&mut self) -> Result<(), Stuck> {
        self.until_day(30).await?;
        let due = self.rotate_at() - TimeDelta::hours(8);
        self.until("the last eight hours before a rotation", TimeDelta::days(9), |demo| demo.now() >= due)
            .await?;
        self.watch.told.expect(&[Kind::VaultUnreachable, Kind::Unsaved]);
        let began = self.now();
        let down = || FaultEffect::Status { status: 503, retry_after: None };
        for operation in [Operation::Set, Operation::Update] {
            self.stage.world.inject(Fault::of(Peer::KeyVault, down()).on(operation));
        }
        self.tell(
            Tone::Plain,
            "trouble",
            "The vault's region fails over: the vault is read-only. A rotation is due today.",
        );
        self.until("an unsaved successor", TimeDelta::days(2), |demo| demo.is_open(Kind::Unsaved)).await?;
        let held_since = self.now();
        self.tell(
            Tone::Plain,
            "",
            "The token was redeemed, but its successor cannot be saved. Perennial holds the successor in \
             memory. The token in the vault still works.",
        );
        self.wait(TimeDelta::days(1)).await?;
        self.stage.world.inject(Fault::of(Peer::KeyVault, down()));
        self.tell(Tone::Plain, "trouble", "Now the vault answers every request with an error.");
        self.wait(began + TimeDelta::days(6) - self.now()).await?;
        self.stage.world.clear_faults(Some(Peer::KeyVault));
        self.tell(Tone::Plain, "trouble", "After six days the vault is back.");
        self.until("the save of the held successor", TimeDelta::days(1), |demo| {
            demo.standing() != TokenState::Unsaved
        })
        .await?;
        self.check_saved(held_since);
        self.calm_again(TimeDelta::days(1)).await
    }

    /// Checks promise 3: the vault now contains the successor that the process held.
    fn check_saved(&mut self, held_since: Timestamp) {
        let newest = self.stage.world.newest_value(&self.stage.partner.refresh_token);
        let grant = newest.and_then(|token| self.stage.world.grant(token.expose()));
        let issued_at = grant.map(|grant| grant.issued_at);
        let now = self.now();
        let held = issued_at.is_some_and(|at| at < held_since);
        self.watch.promises.check(Promise::NeverDropped, now, held, || {
            "the saved successor is not the successor that was held".into()
        });
        if let Some(at) = issued_at.filter(|_| held) {
            let day = (at - self.stage.since).num_days();
            self.tell(Tone::Good, "good", &format!("The vault now contains the successor from day {day}."));
        }
    }

    /// The app's secret expires. The refresh token is still valid.
    pub(super) async fn app_secret_ends(&mut self) -> Result<(), Stuck> {
        self.watch.told.expect(&[Kind::AppSecretExpiring, Kind::AppCredentialRefused]);
        let ends = self.stage.since + super::stage::APP_SECRET_LASTS;
        self.until("the expiry of the app's secret", TimeDelta::days(30), |demo| demo.now() >= ends).await?;
        self.tell(
            Tone::Plain,
            "trouble",
            "The app's client secret expires today. Ravi, the operator, ignored the warning. No token can be redeemed.",
        );
        self.stage.run_at(HOURS_MATTER.min(self.options.speed));
        self.until("a report of the rejected client secret", TimeDelta::days(1), |demo| {
            demo.is_open(Kind::AppCredentialRefused)
        })
        .await?;
        self.stage.run_at(self.options.speed);
        self.check_blame(self.now() - ends);
        self.wait(TimeDelta::hours(5)).await?;
        let value = format!("Qx8~{}", self.stage.world.fresh_id().simple());
        let (partner, expires) = (self.stage.partner.clone(), Some(self.now() + TimeDelta::days(90)));
        self.stage.world.replace_app_secret(&partner.client_id, &value, expires);
        self.stage.world.store_app_secret(&partner.app_secret, &value, expires);
        self.tell(Tone::Plain, "people", "Ravi creates a new client secret and stores it in the vault.");
        self.calm_again(TimeDelta::days(1)).await
    }

    /// Checks promise 4: Perennial reported the failure soon and named the app's secret as the cause.
    fn check_blame(&mut self, took: TimeDelta) {
        let (now, bound) = (self.now(), self.told_bound() + TimeDelta::hours(1));
        self.watch.promises.check(Promise::Told, now, took <= bound, || {
            format!("an expired app secret was reported too late, after {}", span(took))
        });
        let newest = self.stage.world.newest_value(&self.stage.partner.refresh_token);
        let alive = newest.is_some_and(|token| self.stage.world.is_alive(token.expose()));
        let right =
            alive && !self.is_open(Kind::LoginRequired) && self.standing() == TokenState::NeedsOperator;
        self.watch
            .promises
            .check(Promise::Told, now, right, || "an expired app secret was reported as a dead token".into());
        let text = format!(
            "Perennial reported the expired secret after {}. Perennial did not report a dead token: the token itself works, and no sign-in is needed.",
            span(took)
        );
        self.tell(Tone::Plain, "", &text);
    }

    /// A user signs in while Perennial saves a successor. The successor then replaces the sign-in as the newest
    /// version.
    pub(super) async fn rival_sign_in(&mut self) -> Result<(), Stuck> {
        self.until_day(130).await?;
        self.until("a rotation ahead", TimeDelta::days(3), |demo| {
            demo.rotate_at() > demo.now() + TimeDelta::days(1)
        })
        .await?;
        let due = self.rotate_at() - TimeDelta::minutes(90);
        self.until("the last 90 minutes before a rotation", TimeDelta::days(9), |demo| demo.now() >= due)
            .await?;
        self.watch.told.expect(&[Kind::BuriedSignIn]);
        self.stage.run_at(SLOW.min(self.options.speed));
        let secret = self.stage.partner.refresh_token.clone();
        let slow_write = Fault::of(Peer::KeyVault, FaultEffect::Delay(RACE)).on(Operation::Set);
        self.stage.world.inject(slow_write.about(secret.name.as_str()).times(1));
        self.until("a rotation's write to the vault", TimeDelta::hours(14), |demo| {
            demo.stage.world.faults().is_empty()
        })
        .await?;
        // The daemon has sent its write, but the write has not taken effect yet. A sign-in at this moment is the worst
        // case.
        let partner = self.stage.partner.clone();
        let theirs = self.stage.world.human_signs_in(&partner);
        let theirs = theirs.ok_or_else(|| Stuck::Waiting("the simulated sign-in failed".into()))?;
        self.tell(
            Tone::Plain,
            "people",
            "Dana signs in again. She stores her new token while Perennial saves a successor.",
        );
        self.until("a report of the overwritten sign-in", self.told_bound(), |demo| {
            demo.is_open(Kind::BuriedSignIn)
        })
        .await?;
        self.until("the restored sign-in", self.told_bound(), |demo| {
            let newest = demo.stage.world.newest_value(&demo.stage.partner.refresh_token);
            newest.is_some_and(|token| demo.stage.world.descends_from(token.expose(), theirs.expose()))
        })
        .await?;
        self.stage.run_at(self.options.speed);
        self.tell(
            Tone::Good,
            "good",
            "Key Vault has no lock against simultaneous writes. Perennial found that its version had replaced Dana's version. \
             Perennial redeemed Dana's token and saved the successor as the newest version.",
        );
        self.calm_again(TimeDelta::days(2)).await
    }

    /// A user's sessions are revoked. Of all failures in this file, only this failure requires a sign-in. Perennial
    /// must report the revocation within the limit of promise 4.
    pub(super) async fn revoked_session(&mut self) -> Result<(), Stuck> {
        self.until_day(145).await?;
        self.watch.told.expect(&[Kind::LoginRequired]);
        self.stage.run_at(SLOW.min(self.options.speed));
        let revoked_at = self.now();
        self.watch.revoked = true;
        self.stage.world.revoke_user(&self.stage.partner.user_oid);
        self.tell(
            Tone::Plain,
            "trouble",
            "An administrator revokes Dana's sessions: the token in the vault stops working at once.",
        );
        let bound = self.told_bound();
        self.until("a report of the dead token", bound * 2, |demo| demo.is_open(Kind::LoginRequired)).await?;
        self.check_alarm(self.now() - revoked_at);
        self.stage.run_at(self.options.speed);
        self.wait(TimeDelta::days(1)).await?;
        let partner = self.stage.partner.clone();
        let signed_in = self.stage.world.human_signs_in(&partner);
        signed_in.ok_or_else(|| Stuck::Waiting("the simulated sign-in failed".into()))?;
        self.watch.revoked = false;
        self.tell(
            Tone::Plain,
            "people",
            "Dana signs in once more and stores the token. Nothing else is needed.",
        );
        self.calm_again(TimeDelta::days(1)).await
    }

    /// Checks promise 4: Perennial reported the failure soon and asked for a sign-in.
    fn check_alarm(&mut self, took: TimeDelta) {
        let (now, bound) = (self.now(), self.told_bound());
        self.watch.promises.check(Promise::Told, now, took <= bound, || {
            format!("a dead token was reported after {}, but the limit is {}", span(took), span(bound))
        });
        let right = self.standing() == TokenState::NeedsLogin && !self.daemon.board().status().healthy;
        self.watch.promises.check(Promise::Told, now, right, || {
            "a dead token was reported without a request to sign in".into()
        });
        let text = format!(
            "Perennial reported the dead token after {}. The promised limit is {}.",
            span(took),
            span(bound)
        );
        self.tell(Tone::Plain, "", &text);
    }

    /// Returns how long Perennial may take to report a failure: at most `prove_every` until the next proof, plus
    /// `TOLD_WITHIN`.
    fn told_bound(&self) -> TimeDelta {
        delta(self.stage.grant().policy.prove_every) + TOLD_WITHIN
    }

    /// Waits until all reported conditions have cleared.
    async fn calm_again(&mut self, within: TimeDelta) -> Result<(), Stuck> {
        self.until("a current token without open conditions", within, |demo| {
            demo.standing() == TokenState::Current && demo.watch.told.kinds().is_empty()
        })
        .await?;
        self.watch.promises.held(Promise::Told, 1);
        self.watch.told.expect(&[]);
        Ok(())
    }
}
