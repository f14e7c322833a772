//! Checks the promises (docs/promises.md) in each hour of a simulated year.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use perennial::ports::failure::Remedy;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{HUMAN, Operation, Peer, Write};
use perennial::token::RefreshToken;

use super::{Seen, Simulation};

/// The limit of promise 6 for each token and day.
const REDEMPTIONS_A_DAY: usize = 24;
/// The limit for requests that test a version of the app's credential without a refresh token.
const TRIALS_A_DAY: usize = 40;
const QUESTIONS_A_DAY: usize = 12;
const VAULT_CALLS_A_DAY: usize = 60;
/// The limit for vault calls per day while a person must act.
const WATCHED: usize = 1_500;

/// What the checks remember from hour to hour.
#[derive(Default)]
pub(super) struct Checks {
    writes_seen: usize,
    /// The last sign-in that a person stored.
    last_sign_in: Option<RefreshToken>,
    /// Since when the newest version has been wrong: it is dead, or it does not descend from the last sign-in. `None`
    /// while a fault or a person's action explains this.
    astray_since: Option<Timestamp>,
    starts: BTreeMap<String, Vec<(Timestamp, u64)>>,
}

impl Simulation {
    pub(super) fn check(&mut self, hour: i64) -> Result<(), String> {
        let now = self.world.now();
        self.never_worse()?;
        self.alive_and_not_buried(now)?;
        self.polite(hour, now)?;
        self.told(now)?;
        self.rotated_when_quiet(now)?;
        if hour % 48 == 0 {
            self.world.forget_calls_before(now - TimeDelta::hours(50));
        }
        Ok(())
    }

    /// Checks promise 2: Perennial writes only proven successors, for the right user and app.
    fn never_worse(&mut self) -> Result<(), String> {
        let writes = self.world.writes_from(self.checks.writes_seen);
        self.checks.writes_seen += writes.len();
        for write in writes.iter().filter(|write| write.secret == self.partner.refresh_token) {
            if write.writer == HUMAN {
                if self.world.grant(write.value.expose()).is_some_and(|grant| grant.parent.is_none()) {
                    self.checks.last_sign_in = Some(write.value.clone());
                }
                continue;
            }
            self.is_good_write(write)
                .map_err(|why| format!("{}: {why} was written by {}", write.at, write.writer))?;
        }
        Ok(())
    }

    fn is_good_write(&self, write: &Write) -> Result<(), &'static str> {
        let grant = self.world.grant(write.value.expose()).ok_or("something that is no token")?;
        if grant.owner.user != self.partner.user_oid {
            return Err("somebody else's token");
        }
        if grant.parent.is_none() {
            return Err("a token that no redemption gave");
        }
        Ok(())
    }

    /// Checks promise 1 and the second half of promise 2.
    fn alive_and_not_buried(&mut self, now: Timestamp) -> Result<(), String> {
        if self.trouble.deleted {
            return Ok(());
        }
        let secret = &self.partner.refresh_token;
        let newest = self.world.newest_version(secret).ok_or("the secret is gone")?;
        if !newest.enabled && !self.trouble.off {
            return Err(format!("{now}: the newest version was disabled by us"));
        }
        if !newest.enabled {
            return Ok(());
        }
        let value = self.world.newest_value(secret).ok_or("the secret is gone")?;
        let sign_in = self.checks.last_sign_in.clone().ok_or("there was a first sign-in")?;
        let follows = value == sign_in || self.world.descends_from(value.expose(), sign_in.expose());
        let good = self.world.is_alive(value.expose()) && (follows || !self.world.is_alive(sign_in.expose()));
        if good || self.is_excused(now) {
            self.checks.astray_since = None;
            return Ok(());
        }
        let since = *self.checks.astray_since.get_or_insert(now);
        // A buried sign-in stays buried until the next proof. An invalid value stays for at least a day. If a person
        // enables an older version again, only the next rotation finds this version, because only a rotation lists the
        // versions. Then the limit also includes the time until that rotation.
        let turn = TimeDelta::from_std(self.grant.policy.rotate_after.mul_f64(1.15)).unwrap_or_default();
        let below =
            self.trouble.switched_on_below_at.is_some_and(|at| at + turn + TimeDelta::hours(32) > now);
        if now - since > TimeDelta::hours(32) + if below { turn } else { TimeDelta::zero() } {
            return Err(format!(
                "{since}: the newest version is dead or buries a sign-in, for {} h",
                (now - since).num_hours()
            ));
        }
        Ok(())
    }

    fn is_excused(&self, now: Timestamp) -> bool {
        let trouble = &self.trouble;
        trouble.off
            || trouble.deleted
            || trouble.revoked_at.is_some()
            // The time limit in `alive_and_not_buried` counts only hours without faults and without actions of people.
            || trouble.busy_until + TimeDelta::hours(2) > now
            || trouble.person_at + TimeDelta::hours(1) > now
            || !self.world.faults().is_empty()
    }

    /// Checks promise 6 for each instance and day. The limit applies to each process, because a new process has new
    /// counters.
    fn polite(&mut self, hour: i64, now: Timestamp) -> Result<(), String> {
        if hour % 6 != 0 {
            return Ok(());
        }
        let since = now - TimeDelta::days(1);
        for instance in &self.instances {
            let starts = self.checks.starts.entry(instance.name.clone()).or_default();
            if starts.last().is_none_or(|(_, count)| *count != instance.starts) {
                starts.push((now, instance.starts));
            }
            let earlier = starts.iter().rev().find(|(at, _)| *at <= since - TimeDelta::hours(6));
            let processes =
                usize::try_from(1 + instance.starts - earlier.map_or(0, |(_, count)| *count)).unwrap_or(1);
            let seen = instance.seen.lock().expect("not poisoned").clone();
            // During the last day, the instance waited for a person, or Azure had a problem (an outage, a lost role).
            let watched = seen.awaited_at.is_some_and(|at| at > since) || self.trouble.busy_until > since;
            let vault = if watched { WATCHED } else { VAULT_CALLS_A_DAY };
            for (peer, trials, most) in [
                (Peer::Entra, false, REDEMPTIONS_A_DAY),
                (Peer::Entra, true, TRIALS_A_DAY),
                (Peer::PartnerCenter, false, QUESTIONS_A_DAY),
                (Peer::KeyVault, false, vault),
            ] {
                let calls = self.world.count_calls_where(since, |call| {
                    let is_trial = call.operation == Operation::Identity;
                    call.peer == peer && is_trial == trials && call.actor == instance.name
                });
                if calls > most * processes {
                    return Err(format!(
                        "{now}: {calls} calls to {peer:?} in a day by {processes} process(es)"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks promise 4: a dead grant is reported within `prove_every` and five minutes, and no sign-in is requested
    /// while the stored token works.
    fn told(&self, now: Timestamp) -> Result<(), String> {
        let due =
            TimeDelta::from_std(self.grant.policy.prove_every).unwrap_or_default() + TimeDelta::minutes(5);
        let calm = self.trouble.busy_until < now - due && self.world.faults().is_empty();
        let secret = &self.partner.refresh_token;
        let Some(value) = self.world.newest_value(secret) else { return Ok(()) };
        for instance in &self.instances {
            let seen = instance.seen.lock().expect("not poisoned").clone();
            let up = seen.started_at.is_some_and(|at| at + due < now);
            let quiet = self.trouble.person_at + due < now && !self.trouble.deleted && !self.trouble.off;
            let dead = self.trouble.revoked_at.is_some_and(|at| at + due < now);
            let asks = matches!(seen.remedy, Some(Remedy::Login | Remedy::Operator));
            if dead && up && calm && quiet && !self.world.is_alive(value.expose()) && !asks {
                return Err(format!("{now}: the grant is dead, and {} says nothing", instance.name));
            }
            let asks_login = matches!(seen.remedy, Some(Remedy::Login));
            // If Entra does not answer, Perennial waits three hours before it redeems a rejected token again.
            let asked_again = self.trouble.busy_until < now - due.max(TimeDelta::minutes(185));
            if asks_login && quiet && calm && asked_again && self.world.is_alive(value.expose()) {
                return Err(format!("{now}: {} asks for a sign-in while the token is good", instance.name));
            }
        }
        Ok(())
    }

    /// Does nothing until 26 hours after the last failure. Then checks that the stored token is not older than
    /// `rotate_after` plus 15% plus a day, and that no instance has held a successor for 26 hours.
    fn rotated_when_quiet(&self, now: Timestamp) -> Result<(), String> {
        let quiet_since = now - TimeDelta::hours(26);
        let trouble = &self.trouble;
        if trouble.busy_until > quiet_since
            || trouble.person_at > quiet_since
            || !self.world.faults().is_empty()
        {
            return Ok(());
        }
        if trouble.off || trouble.deleted || trouble.revoked_at.is_some() {
            return Ok(());
        }
        let newest = self.world.newest_version(&self.partner.refresh_token).ok_or("the secret is gone")?;
        let value = self.world.newest_value(&self.partner.refresh_token).ok_or("the secret is gone")?;
        let age = now - newest.issued_at();
        let most = TimeDelta::from_std(self.grant.policy.rotate_after.mul_f64(1.15)).unwrap_or_default();
        if self.world.is_alive(value.expose()) && age > most + TimeDelta::days(1) {
            return Err(format!("{now}: the stored token is {} days old", age.num_days()));
        }
        let since = |seen: Seen| seen.unsaved_since.is_some_and(|since| since < quiet_since);
        if self.instances.iter().any(|instance| since(instance.seen.lock().expect("not poisoned").clone())) {
            return Err(format!("{now}: a successor is still unsaved a day after the trouble"));
        }
        Ok(())
    }
}
