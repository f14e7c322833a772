//! The part of the story in which Perennial renews the app's secret.

use chrono::TimeDelta;

use super::voice::Tone;
use super::{Demo, Stuck};
use crate::sandbox::world::GraphRole;
use crate::token::version::tag;

/// The speed in days per second while Perennial tests a new secret. The test takes 15 minutes of the demo's time. At a
/// higher speed, a single request would take minutes of the demo's time, which is too long for this test.
const MINUTES_MATTER: f64 = 0.02;

impl Demo {
    /// The operator in the story, Ravi, configures `renew`. Perennial then creates, tests and saves a new secret.
    pub(super) async fn secret_is_renewed(&mut self) -> Result<(), Stuck> {
        self.watch.told.expect(&[]);
        let (partner, identity) =
            (self.stage.partner.clone(), self.stage.sandbox.vault_identity.client_id.clone());
        self.stage.world.set_graph_roles(&identity, &[GraphRole::ReadWriteOwned]);
        self.stage.world.add_app_owner(&partner.client_id, &identity);
        self.tell(
            Tone::Plain,
            "people",
            "Ravi turns on the renewal of the client secret (`renew`), with `before = \"100d\"`, and restarts \
             Perennial. The secret that he stored expires in three months, so the renewal is due.",
        );
        self.stage.run_at(MINUTES_MATTER.min(self.options.speed));
        self.stage.renews = true;
        self.start_again()?;
        self.until("a renewed client secret", TimeDelta::hours(6), Demo::is_renewed).await?;
        self.tell(
            Tone::Good,
            "good",
            "Perennial created a new client secret, tested it for 15 minutes, and saved it. The old secret still works.",
        );
        self.stage.run_at(self.options.speed);
        let before = self.watch.counts.rotations;
        self.until("a rotation with the new secret", TimeDelta::days(9), |demo| {
            demo.watch.counts.rotations > before
        })
        .await
    }

    /// Whether the newest version of the app's secret is a secret that Perennial created.
    fn is_renewed(&self) -> bool {
        let newest = self.stage.world.newest_version(&self.stage.partner.app_secret);
        newest.is_some_and(|version| version.tags.contains(tag::KEY_ID))
    }

    /// Restarts the daemon.
    pub(super) fn start_again(&mut self) -> Result<(), Stuck> {
        self.daemon = self.stage.start(self.starts)?;
        self.stage.show(&self.daemon)?;
        self.starts += 1;
        self.watch.fresh = true;
        let now = self.now();
        self.watch.ended(now);
        Ok(())
    }
}
