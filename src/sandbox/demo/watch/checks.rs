//! Checks the promises (docs/promises.md) against the observed state at one moment.

use chrono::TimeDelta;

use super::{Scene, Watch, standing};
use crate::process::clock::{Timestamp, delta};
use crate::sandbox::demo::promise::Promise;
use crate::sandbox::demo::stage::Process;
use crate::sandbox::world::{Operation, Peer, Write};
use crate::status::snapshot::TokenState;
use crate::token::version::{VersionId, tag};

/// The limit of redemptions per process, token and day (promise 6).
const REDEMPTIONS_A_DAY: usize = 24;
const QUESTIONS_A_DAY: usize = 12;
const VAULT_CALLS_A_DAY: usize = 60;
/// The limit of vault calls per process, token and day while a person must act (promise 6).
const WATCHED: usize = 1_500;

/// The longest time that a sign-in may stay buried. A sign-in is buried if a write has replaced the sign-in as the
/// newest version. At the latest, the next proof finds and restores the sign-in.
const BURIED_FOR: TimeDelta = TimeDelta::minutes(6 * 60 + 5);

/// The largest delay of a beat at high speed, in the demo's time.
const BEAT_IS_LATE: TimeDelta = TimeDelta::hours(1);

impl Watch {
    /// Checks promises 2 and 3. The written version must be a successor that a redemption has returned for the right
    /// tenant, user and app. The redeemed version must still be readable.
    pub(super) fn check_write(&mut self, scene: &Scene<'_>, write: &Write) {
        let (world, partner) = (&scene.stage.world, &scene.stage.partner);
        let grant = world.grant(write.value.expose());
        let proven = grant.as_ref().is_some_and(|grant| {
            grant.parent.is_some()
                && grant.owner.user == partner.user_oid
                && grant.owner.app == partner.client_id
                && grant.owner.tenant == partner.tenant_id
        });
        self.promises.check(Promise::NeverWorse, write.at, proven, || {
            "the value written is not a successor of this user's token".into()
        });
        let kept = self.check_predecessor(scene, &write.version);
        if scene.second.is_some() {
            self.promises.check(Promise::TwoAtOnce, write.at, proven && kept, || {
                "a rotation broke promise 2 or 3 while two instances were running".into()
            });
        }
    }

    /// Checks promise 3: the redeemed version can still be read.
    fn check_predecessor(&mut self, scene: &Scene<'_>, version: &VersionId) -> bool {
        let versions = scene.stage.world.versions_of(&scene.stage.partner.refresh_token);
        let find = |id: &str| versions.iter().find(|version| version.id == id);
        let from = find(&version.0).and_then(|version| version.tags.get(tag::REDEEMED_FROM));
        let kept = from.and_then(find).is_none_or(|from| from.attributes.enabled);
        self.promises.check(Promise::NeverDropped, scene.now, kept, || {
            "the predecessor of the newest version can no longer be read".into()
        });
        kept
    }

    /// Checks promises 1, 2, 3 and 9 against the vault's content and the reported state.
    pub(super) fn states(&mut self, scene: &Scene<'_>) {
        let now = scene.now;
        let secret = &scene.stage.partner.refresh_token;
        let Some(newest) = scene.stage.world.newest_version(secret) else {
            self.promises.check(Promise::NeverWorse, now, false, || "the secret is gone".into());
            return;
        };
        let Some(value) = scene.stage.world.newest_value(secret) else { return };
        let alive = newest.enabled && scene.stage.world.is_alive(value.expose());
        self.dead_since = if alive { None } else { self.dead_since.or(Some(now)) };
        if !self.revoked {
            self.promises.check(Promise::Alive, now, alive, || {
                "the vault's newest version is dead or disabled".into()
            });
        }
        let follows = self.last_sign_in.as_ref().is_none_or(|sign_in| {
            scene.stage.world.descends_from(value.expose(), sign_in.expose())
                || !scene.stage.world.is_alive(sign_in.expose())
        });
        self.buried_since = if follows { None } else { self.buried_since.or(Some(now)) };
        let lifted = self.buried_since.is_none_or(|since| now - since <= BURIED_FOR);
        self.promises.check(Promise::NeverWorse, now, lifted, || "a sign-in stays buried".into());

        self.check_held(now, holds_successor(scene.daemon), &newest.id);
        self.check_green(scene, scene.daemon);
        if let Some(second) = scene.second {
            self.check_green(scene, second);
        }
        let ended = scene.daemon.has_ended() || scene.second.is_some_and(Process::has_ended);
        if ended {
            self.promises.check(Promise::Alive, now, false, || "a daemon's task has ended by itself".into());
        }
    }

    /// Checks promise 3. If the vault rejects a successor, the process must hold the successor until the vault accepts
    /// it.
    fn check_held(&mut self, now: Timestamp, holds: bool, newest: &VersionId) {
        match (holds, self.held.take()) {
            (true, before) => self.held = before.or_else(|| Some(newest.clone())),
            (false, None) => {}
            (false, Some(before)) => {
                self.promises.check(Promise::NeverDropped, now, before != *newest, || {
                    "a held successor was lost: it is neither in memory nor in the vault".into()
                });
            }
        }
    }

    /// Checks promise 9. A daemon must not show the state `current` if the token has been dead for too long, or if the
    /// last successful redemption is too old. Both limits are twice `prove_every` plus `BEAT_IS_LATE`.
    fn check_green(&mut self, scene: &Scene<'_>, daemon: &Process) {
        let fresh_for = delta(2 * scene.stage.grant().policy.prove_every) + BEAT_IS_LATE;
        let late = |at: Option<Timestamp>| at.is_none_or(|at| at + fresh_for < scene.now);
        let green = standing(daemon, scene.now) == TokenState::Current;
        let dead = self.dead_since.is_some() && late(self.dead_since);
        self.promises.check(Promise::Green, scene.now, !(green && (dead || late(self.redeemed_at))), || {
            "a token was shown as current, but it was last redeemed more than 12 hours ago".into()
        });
    }

    /// Checks promises 3, 6 and 8. These checks need to run only a few times a day.
    pub(super) fn now_and_then(&mut self, scene: &Scene<'_>) {
        self.count_calls(scene);
        if let Some(newest) = scene.stage.world.newest_version(&scene.stage.partner.refresh_token) {
            self.check_predecessor(scene, &newest.id);
        }
        if let Some(second) = scene.second.filter(|_| self.two) {
            self.check_two(scene, second);
        }
    }

    fn count_calls(&mut self, scene: &Scene<'_>) {
        let (now, since) = (scene.now, scene.now - TimeDelta::days(1));
        let gone = self.ends.iter().filter(|at| **at > since).count();
        let processes = 1 + usize::from(scene.second.is_some()) + gone;
        let watched = self.awaited_at.is_some_and(|at| at > since);
        let vault_calls = if watched { WATCHED } else { VAULT_CALLS_A_DAY };
        for (peer, operation, limit) in [
            (Peer::Entra, Some(Operation::Redeem), REDEMPTIONS_A_DAY),
            (Peer::PartnerCenter, None, QUESTIONS_A_DAY),
            (Peer::KeyVault, None, vault_calls),
        ] {
            let calls = scene.stage.world.count_calls(peer, operation, since);
            self.promises.check(Promise::Polite, now, calls <= limit * processes, || {
                let most = limit * processes;
                format!(
                    "{calls} calls to {} in a day by {processes} process(es), but the limit is {most}",
                    peer.as_str()
                )
            });
        }
    }

    fn check_two(&mut self, scene: &Scene<'_>, second: &Process) {
        let now = scene.now;
        let calm = second.board().status().conditions.iter().all(|there| self.told.expects(there.kind));
        let good = calm && is_well(scene.daemon, now) && is_well(second, now);
        self.promises.check(Promise::TwoAtOnce, now, good, || {
            let [one, other] = [scene.daemon, second].map(|daemon| standing(daemon, now).as_str());
            format!("one instance reports the token as {one}, the other as {other}")
        });
    }

    /// Checks promise 5 for all output, logs and documents since the last search.
    pub(super) fn search(&mut self, scene: &Scene<'_>) {
        self.secrets.learn(&scene.stage.world);
        let published = serde_json::to_string_pretty(&scene.daemon.board().status()).unwrap_or_default();
        let mut texts = std::mem::take(&mut self.shown);
        texts.push_str(&published);
        let found = self.secrets.shown_in(&texts);
        self.promises.held(Promise::Secret, texts.lines().count().saturating_sub(1));
        // The message does not quote the line, because the line contains the secret.
        self.promises.check(Promise::Secret, scene.now, found.is_none(), || {
            "a line of the output contains a secret".into()
        });
    }
}

/// Whether a daemon reports no problem. A rotation in progress is not a problem.
fn is_well(daemon: &Process, now: Timestamp) -> bool {
    match standing(daemon, now) {
        TokenState::Current => true,
        TokenState::Unsaved => !holds_successor(daemon),
        TokenState::NeedsLogin
        | TokenState::NeedsOperator
        | TokenState::PartnerCenterRefused
        | TokenState::Expired
        | TokenState::Off
        | TokenState::Unknown => false,
    }
}

/// Whether a daemon still holds a successor after a failed save.
fn holds_successor(daemon: &Process) -> bool {
    let failing = daemon.board().read(|all| all.first().is_some_and(|snapshot| snapshot.failure().is_some()));
    failing && standing(daemon, Timestamp::MIN_UTC) == TokenState::Unsaved
}
