//! The story, from the first sign-in to the last day.
//!
//! This module owns the order of the events, and the state for which each event waits. It performs the actions of
//! people and of Microsoft and prints them. `watch` observes Perennial's actions and prints them.

use chrono::TimeDelta;

use super::promise::Promise;
use super::voice::Tone;
use super::{Demo, Stuck};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::sandbox::world::World;
use crate::status::snapshot::TokenState;
use crate::token::RefreshToken;

/// The time limit, in the demo's time, for the first rotation after the last failure.
const CALM: TimeDelta = TimeDelta::days(9);

impl Demo {
    /// Runs the story from the first day to the last.
    pub(super) async fn story(&mut self) -> Result<(), Stuck> {
        self.opening();
        let first = self.stage.world.newest_value(&self.stage.partner.refresh_token);
        let first = first.expect("the vault contains the token of the first sign-in");
        self.quiet_weeks().await?;
        self.busy_issuer().await?;
        self.vault_outage().await?;
        self.second_daemon().await?;
        self.first_token_dies(&first).await?;
        self.restart().await?;
        self.app_secret_ends().await?;
        self.secret_is_renewed().await?;
        self.rival_sign_in().await?;
        self.revoked_session().await?;
        self.quiet_end().await
    }

    fn opening(&mut self) {
        self.voice.line("");
        self.voice.paragraph(
            "A Microsoft partner's scripts use a refresh token that a person got by signing in once. It \
             expires after 90 days. Each use returns a successor that is good for another 90 days. If \
             nothing saves the successor, every script stops on day 90, until a person signs in again. \
             Perennial redeems the token in time and saves each successor in Azure Key Vault.",
        );
        let speed = self.options.speed;
        self.voice.paragraph(&format!(
            "Microsoft's services and the vault are simulated on this machine, at {}. No request leaves this \
             machine. The daemon is the real one, and calls the simulated services over HTTPS. In each \
             second, {speed} days pass. During an event that takes only minutes, time passes more slowly.",
            self.stage.sandbox.origin
        ));
        self.voice.paragraph(&format!("The status page, live: {}", self.stage.page));
        self.tell(
            Tone::Plain,
            "people",
            "Dana signs in with MFA and stores the token in the vault. The token expires on day 90.",
        );
    }

    async fn quiet_weeks(&mut self) -> Result<(), Stuck> {
        self.until("the first rotation", TimeDelta::days(1), |demo| demo.watch.counts.rotations >= 1).await?;
        self.tell(Tone::Plain, "", "From now on the token is proved every six hours and rotated every week.");
        self.until("a second rotation", TimeDelta::days(9), |demo| demo.watch.counts.rotations >= 2).await?;
        self.until_day(16).await
    }

    /// Shows what happens without Perennial: no program redeems the first token again, so the token expires.
    async fn first_token_dies(&mut self, first: &RefreshToken) -> Result<(), Stuck> {
        self.watch.told.expect(&[Kind::AppSecretExpiring]);
        let dead = |world: &World, token: &RefreshToken| world.refusal_of(token.expose()).is_some();
        self.until("the expiry of the first token", TimeDelta::days(30), |demo| {
            dead(&demo.stage.world, first) && demo.now() >= demo.stage.since + TimeDelta::days(90)
        })
        .await?;
        let newest = self.stage.world.newest_value(&self.stage.partner.refresh_token);
        let newest = newest.filter(|token| !dead(&self.stage.world, token));
        let code = self.stage.world.refusal_of(first.expose()).unwrap_or_default();
        self.tell(
            Tone::Plain,
            "without",
            &format!(
                "The token of Dana's sign-in expired today: Entra rejects it (AADSTS{code}). Without \
                 Perennial, every script would stop now."
            ),
        );
        let Some(newest) = newest else {
            return Err(Stuck::Waiting("a valid token in the vault was expected on day 90".into()));
        };
        let grant = self.stage.world.grant(newest.expose());
        let dies = grant.map_or(self.now(), |grant| grant.issued_at) + TimeDelta::days(90);
        let text = format!(
            "Successor no. {}, in the vault, is good until day {}. No sign-in was needed.",
            self.watch.counts.rotations,
            (dies - self.stage.since).num_days()
        );
        self.tell(Tone::Good, "with", &text);
        Ok(())
    }

    /// Runs a second instance for a month. On a real system, a mistake in a deployment can start such an instance.
    async fn second_daemon(&mut self) -> Result<(), Stuck> {
        self.until_day(54).await?;
        self.watch.told.expect(&[]);
        self.second = Some(self.stage.start(self.starts)?);
        self.starts += 1;
        let before = self.watch.counts.rotations;
        self.tell(
            Tone::Plain,
            "trouble",
            "Someone starts a second Perennial on the same token by mistake. It runs for a month.",
        );
        self.until("work of both instances", TimeDelta::days(1), |demo| {
            let now = demo.now();
            demo.second
                .as_ref()
                .is_some_and(|second| super::watch::standing(second, now) == TokenState::Current)
        })
        .await?;
        self.watch.two = true;
        self.until_day(84).await?;
        self.second = None;
        self.watch.two = false;
        let now = self.now();
        self.watch.ended(now);
        let rotations = self.watch.counts.rotations - before;
        self.tell(
            Tone::Good,
            "good",
            &format!(
                "The second Perennial is stopped. Both together rotated the token {rotations} times, without \
                 harm."
            ),
        );
        // A single instance rotates every week. Two instances together must rotate about as often as a single instance.
        self.watch.promises.check(Promise::TwoAtOnce, now, (4..=10).contains(&rotations), || {
            format!("two instances rotated the token {rotations} times in a month, instead of 4 to 10 times")
        });
        Ok(())
    }

    /// Kills the daemon and starts another one.
    async fn restart(&mut self) -> Result<(), Stuck> {
        self.until("an open condition before the restart", TimeDelta::days(10), |demo| {
            demo.is_open(Kind::AppSecretExpiring)
        })
        .await?;
        self.until_day(100).await?;
        self.until("a day without a rotation", TimeDelta::days(3), |demo| {
            demo.rotate_at() > demo.now() + TimeDelta::days(2)
        })
        .await?;
        let before = self.memory();
        let files = self.stage.files.names();
        self.start_again()?;
        self.tell(Tone::Plain, "trouble", "Power cut: Perennial is killed, and started again.");
        self.until("a current token after the restart", TimeDelta::days(1), |demo| !demo.watch.fresh).await?;
        self.beat().await;
        let after = self.memory();
        let now = self.now();
        for (before, after) in before.iter().zip(&after) {
            self.watch.promises.check(Promise::OnlyStore, now, before == after, || {
                format!("before the restart: {before}; after it: {after}")
            });
        }
        self.watch.promises.check(Promise::OnlyStore, now, files == self.stage.files.names(), || {
            "a file was left beside the configuration".into()
        });
        let open = self.watch.told.ids().first().map(ToString::to_string).unwrap_or_default();
        self.tell(
            Tone::Good,
            "good",
            &format!(
                "Nothing was lost: the new process has the same token and the same open warning (incident \
                 {}…).",
                &open[..open.len().min(8)]
            ),
        );
        Ok(())
    }

    /// Returns the data that must outlive a process: the open incidents, the token, its sign-in and its expiry.
    fn memory(&self) -> [String; 4] {
        let status = self.daemon.board().status();
        let ids: Vec<_> = status.conditions.iter().map(|there| (there.kind.as_str(), there.id)).collect();
        let token = status.tokens.first();
        let version = token.and_then(|token| token.version.clone());
        let signed_in_at = token.and_then(|token| token.signed_in_at);
        let expires_at = token.and_then(|token| token.expires_at);
        [
            format!("open {ids:?}"),
            format!("version {version:?}"),
            format!("signed in at {signed_in_at:?}"),
            format!("good until {expires_at:?}"),
        ]
    }

    async fn quiet_end(&mut self) -> Result<(), Stuck> {
        self.watch.told.expect(&[]);
        let before = self.watch.counts.rotations;
        self.until("one more rotation", CALM, |demo| demo.watch.counts.rotations > before).await?;
        self.wait(TimeDelta::days(1)).await?;
        let now = self.now();
        let open = self.watch.told.kinds();
        self.watch.promises.check(Promise::Told, now, open.is_empty(), || {
            format!("all is well, but the number of open conditions is still {}", open.len())
        });
        self.until("a current token", TimeDelta::hours(2), |demo| demo.standing() == TokenState::Current)
            .await?;
        self.tell(Tone::Good, "end", "All is well. No sign-in is needed.");
        Ok(())
    }

    /// Returns the time of the next planned rotation, or the current time if the daemon has not planned one yet.
    pub(super) fn rotate_at(&self) -> Timestamp {
        let now = self.now();
        self.daemon.board().read(|all| all.first().and_then(|snapshot| snapshot.rotate_at)).unwrap_or(now)
    }
}
