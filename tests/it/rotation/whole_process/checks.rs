//! Checks the promises (docs/promises.md) for the whole process in each hour.

mod monitor;
mod receivers;
mod shown;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{CallOutcome, Fault, HUMAN, Operation, Peer, SecretVersion, Write};
use perennial::token::RefreshToken;

use super::Simulation;
use super::truth::Truth;

/// The limit of promise 6 for each token and day.
const REDEMPTIONS_A_DAY: usize = 24;
const QUESTIONS_A_DAY: usize = 12;
const VAULT_CALLS_A_DAY: usize = 60;
/// The limit for vault calls per day while a person must act.
const WATCHED: usize = 1_500;

/// What the checks remember about one token.
pub(super) struct Of {
    /// The numbers of the sign-ins that people have stored in the token's secret (`sign_in` of a grant).
    roots: BTreeSet<usize>,
    last_sign_in: Option<RefreshToken>,
    /// Since when the newest version has been dead or has buried a sign-in. `None` while Perennial cannot or must not
    /// change this.
    astray_since: Option<Timestamp>,
    truth: Truth,
    truth_since: Timestamp,
    /// Since when the token has not been usable, for any reason.
    bad_since: Option<Timestamp>,
    /// The last hour in which the tags could not be written. Alerts of this hour may have no mark in the tag `told`.
    unmarked_at: Timestamp,
    /// The last hour in which nothing blocked the token.
    fine_at: Timestamp,
}

/// What the checks remember from hour to hour.
pub(super) struct Checks {
    writes_seen: usize,
    pub(super) of: Vec<Of>,
    /// The token about which a check has failed.
    pub(super) suspect: Option<String>,
    /// The start of each process: the time, and the name of the instance.
    pub(super) starts: Vec<(Timestamp, String)>,
}

impl Checks {
    pub(super) fn new(tokens: usize, now: Timestamp) -> Self {
        let of = || Of {
            roots: BTreeSet::new(),
            last_sign_in: None,
            astray_since: None,
            truth: Truth::Good,
            truth_since: now,
            bad_since: None,
            unmarked_at: Timestamp::UNIX_EPOCH,
            fine_at: now,
        };
        let of = (0..tokens).map(|_| of()).collect();
        Self { writes_seen: 0, of, suspect: None, starts: Vec::new() }
    }

    /// Records that the token may have been usable for a moment.
    pub(super) fn may_have_worked(&mut self, token: usize, now: Timestamp) {
        let of = &mut self.of[token];
        of.bad_since = of.bad_since.map(|_| now);
        of.truth_since = now;
    }
}

impl Simulation {
    pub(super) async fn check(&mut self, hour: i64) -> Result<(), String> {
        let now = self.world.now();
        self.touch_what_is_disturbed(now);
        self.look_at_the_world(now);
        if let Some(action) = self.people.at_a_loss.take() {
            return Err(format!("nobody can follow this action: {action}"));
        }
        self.never_worse()?;
        for nth in 0..self.tokens.len() {
            let name = self.tokens[nth].name.clone();
            let checked = self
                .alive_and_not_buried(nth, now)
                .and_then(|()| self.never_expires(nth, now))
                .and_then(|()| self.rotated_when_quiet(nth, now));
            if let Err(broken) = checked {
                self.checks.suspect = Some(name.clone());
                return Err(format!("{now} {name}: {broken}"));
            }
        }
        self.shown(now)?;
        self.keeps_the_limits(now)?;
        if hour % 24 == 23 {
            self.monitored(now).await?;
            self.people_are_reminded(now)?;
            self.polite(now)?;
            self.world.forget_calls_before(now - TimeDelta::hours(50));
            self.checks.starts.retain(|(at, _)| *at > now - TimeDelta::days(3));
        }
        self.receivers_agree().await
    }

    fn look_at_the_world(&mut self, now: Timestamp) {
        let faults = self.world.faults();
        for nth in 0..self.tokens.len() {
            let token = &self.tokens[nth];
            let truth = self.truth_of(token);
            let calm = self.nature.calm_since(nth) < now - TimeDelta::hours(1);
            let up = self.running().any(|(_, running)| running.started_at < now - TimeDelta::hours(1));
            let of_vault = |fault: &Fault| fault.peer == Peer::KeyVault && Self::is_hit_by(fault, token);
            let disturbed = faults.iter().any(of_vault)
                || !self.has_all_roles(token)
                || matches!(truth, Truth::NoSecret | Truth::Off);
            let of = &mut self.checks.of[nth];
            if disturbed {
                of.unmarked_at = now;
            }
            if of.truth != truth {
                (of.truth, of.truth_since) = (truth, now);
            }
            of.bad_since = if truth == Truth::Good { None } else { of.bad_since.or(Some(now)) };
            if truth == Truth::Good && calm && up {
                of.fine_at = now;
            }
        }
    }

    /// Checks promise 2: Perennial writes only proven successors, and only of sign-ins that people have stored in this
    /// secret.
    fn never_worse(&mut self) -> Result<(), String> {
        let writes = self.world.writes_from(self.checks.writes_seen);
        self.checks.writes_seen += writes.len();
        for write in &writes {
            let Some(nth) = self.tokens.iter().position(|token| *token.secret() == write.secret) else {
                continue;
            };
            if write.writer == HUMAN {
                self.note_human(nth, write);
                continue;
            }
            if let Err(why) = self.is_good_write(nth, write) {
                self.checks.suspect = Some(self.tokens[nth].name.clone());
                return Err(format!("{}: {why} was written by {} for t{nth}", write.at, write.writer));
            }
        }
        Ok(())
    }

    fn note_human(&mut self, nth: usize, write: &Write) {
        let Some(grant) = self.world.grant(write.value.expose()) else { return };
        let pinned = self.tokens[nth].grant.user_oid.as_ref();
        self.checks.of[nth].roots.insert(grant.sign_in);
        // If a person stores an old value that still works, this counts as a sign-in.
        let counts = grant.parent.is_none() || self.world.is_alive(write.value.expose());
        let of = &mut self.checks.of[nth];
        if counts && pinned.is_none_or(|user| *user == grant.owner.user) {
            of.last_sign_in = Some(write.value.clone());
        }
    }

    fn is_good_write(&self, nth: usize, write: &Write) -> Result<(), &'static str> {
        let (of, partner) = (&self.checks.of[nth], &self.tokens[nth].partner);
        let grant = self.world.grant(write.value.expose()).ok_or("something that is no token")?;
        if grant.parent.is_none() {
            return Err("a token that no redemption gave");
        }
        if !of.roots.contains(&grant.sign_in) {
            return Err("a token that comes from no sign-in of this secret");
        }
        let owner = &grant.owner;
        let pinned = self.tokens[nth].grant.user_oid.as_ref();
        if owner.app != partner.client_id || pinned.is_some_and(|user| *user != owner.user) {
            return Err("a token for somebody else");
        }
        Ok(())
    }

    /// Whether any process has run for this long.
    fn up_for(&self, span: TimeDelta, now: Timestamp) -> bool {
        self.running().any(|(_, running)| running.started_at < now - span)
    }

    /// Checks promise 1 and the second half of promise 2.
    fn alive_and_not_buried(&mut self, nth: usize, now: Timestamp) -> Result<(), String> {
        let token = &self.tokens[nth];
        let of = &self.checks.of[nth];
        let secret = token.secret();
        let Some(sign_in) = of.last_sign_in.clone().filter(|token| self.world.is_alive(token.expose()))
        else {
            self.checks.of[nth].astray_since = None;
            return Ok(());
        };
        let newest = self.world.newest_version(secret).filter(|version| version.enabled);
        let value = self.world.newest_value(secret).filter(|_| newest.is_some());
        let Some(value) = value else {
            self.checks.of[nth].astray_since = None;
            return Ok(());
        };
        // Perennial does not overwrite a sign-in of a user whom the configuration does not allow. Such a sign-in may
        // work after a change of the configuration.
        let stranger = of.truth == Truth::Stranger;
        let follows = value == sign_in || self.world.descends_from(value.expose(), sign_in.expose());
        let good = stranger || (self.world.is_alive(value.expose()) && follows);
        // If the app's secret does not work or the vault denies access, Perennial can do nothing.
        let helpless = matches!(of.truth, Truth::App(_) | Truth::NoAppSecret | Truth::Unreadable);
        // Perennial does not overwrite a foreign version that Entra rejects for a reason that may pass (promise 2). So
        // a user must sign in again.
        let is_theirs = newest.is_some_and(|version| !version.is_ours());
        let is_left = is_theirs && matches!(of.truth, Truth::Refused(code) if code != 9_002_313);
        if good || helpless || is_left {
            self.checks.of[nth].astray_since = None;
            return Ok(());
        }
        // Perennial tests only two predecessors of an invalid value, since each test costs a redemption. If both
        // predecessors are also invalid, a user must sign in.
        let versions = self.world.versions_of(secret);
        let is_rubbish = |version: &&SecretVersion| {
            self.world.grant(secrecy::ExposeSecret::expose_secret(&version.value)).is_none()
        };
        let buried = versions.iter().rev().take_while(is_rubbish).count() > 2;
        // Perennial does not replace an invalid value with an older sign-in if a newer sign-in may work again. For
        // example, another user's sign-in may work after a change of the configuration. So a user must sign in.
        let below = versions.iter().rev().find(|version| !is_rubbish(version));
        let is_stranger = |version: &SecretVersion| {
            let grant = self.world.grant(secrecy::ExposeSecret::expose_secret(&version.value));
            grant.is_some_and(|grant| grant.owner.user != token.partner.user_oid)
        };
        if buried || below.is_some_and(is_stranger) {
            self.checks.of[nth].astray_since = None;
            return Ok(());
        }
        // The time limit begins after the last event, and allows for three delays. Perennial does not replace an
        // invalid value for a day. Only the next proof finds a buried sign-in. Only the next rotation finds an older
        // version that was enabled again.
        let turn = TimeDelta::from_std(token.grant.policy.rotate_after.mul_f64(1.15)).unwrap_or_default();
        let most = TimeDelta::hours(32) + turn;
        let since = *self.checks.of[nth].astray_since.get_or_insert(now);
        let calm = self.nature.calm_since(nth).max(since);
        if calm + most < now && self.up_for(most, now) {
            return Err(format!("since {since} the newest version is dead or buries a sign-in"));
        }
        Ok(())
    }

    /// Checks promise 1: the token does not expire if all services work for one hour in thirty days.
    fn never_expires(&self, nth: usize, now: Timestamp) -> Result<(), String> {
        let secret = self.tokens[nth].secret();
        let is_ours = self.world.newest_version(secret).is_some_and(|version| version.is_ours());
        let fine_at = self.checks.of[nth].fine_at;
        if is_ours
            && self.checks.of[nth].truth == Truth::Refused(700_082)
            && now - fine_at < TimeDelta::days(30)
        {
            return Err(format!("it has expired, and all was fine at {fine_at}"));
        }
        Ok(())
    }

    /// Does nothing until 50 hours after the last event. Then checks that the stored token is not older than
    /// `rotate_after` plus 15% plus a day.
    fn rotated_when_quiet(&self, nth: usize, now: Timestamp) -> Result<(), String> {
        let token = &self.tokens[nth];
        // Perennial redeems a rejected token again after a day, or after two days if it has reached the daily limit.
        let quiet = TimeDelta::hours(50);
        let of = &self.checks.of[nth];
        if of.truth != Truth::Good
            || of.truth_since + quiet > now
            || self.nature.calm_since(nth) + quiet > now
            || !self.up_for(quiet, now)
        {
            return Ok(());
        }
        let newest = self.world.newest_version(token.secret()).ok_or("the secret is gone")?;
        let age = now - newest.issued_at();
        let most = TimeDelta::from_std(token.grant.policy.rotate_after.mul_f64(1.15)).unwrap_or_default();
        if age > most + TimeDelta::days(1) {
            return Err(format!("the stored token is {} days old", age.num_days()));
        }
        Ok(())
    }

    /// Checks the shared limits of promise 6: one process never exceeds Entra's loop rule or a vault's limits. The
    /// check is skipped if there are several instances or if a process was started in this hour, because a process does
    /// not know the requests of another process.
    fn keeps_the_limits(&self, now: Timestamp) -> Result<(), String> {
        let hour = now - TimeDelta::minutes(60);
        let fresh = self.checks.starts.iter().any(|(at, _)| *at > hour - TimeDelta::minutes(5));
        if self.instances.len() > 1 || fresh {
            return Ok(());
        }
        let too_many = |outcome: &CallOutcome| matches!(outcome, CallOutcome::Refused(code) if code.ends_with("50196") || code.starts_with("429"));
        let refused = self.world.count_calls_where(hour, |call| too_many(&call.outcome));
        if refused > 0 {
            return Err(format!("{now}: {refused} calls in the last hour were refused as too many"));
        }
        Ok(())
    }

    /// Checks promise 6 for each token and day. Tokens of one app share the app's secret, so the check adds up their
    /// calls.
    fn polite(&mut self, now: Timestamp) -> Result<(), String> {
        let since = now - TimeDelta::days(1);
        let counts: RefCell<BTreeMap<(String, Peer, String), usize>> = RefCell::default();
        self.world.count_calls_where(since, |call| {
            // The checks before this one take some seconds. Calls in these seconds count toward the next day.
            if call.at < now && !matches!(call.operation, Operation::SignIn) {
                let key = (call.actor.clone(), call.peer, call.subject.clone());
                *counts.borrow_mut().entry(key).or_default() += 1;
            }
            true
        });
        let counts = counts.into_inner();
        let mut apps: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (nth, token) in self.tokens.iter().enumerate() {
            apps.entry(&token.partner.client_id).or_default().push(nth);
        }
        for instance in &self.instances {
            let starts = self.checks.starts.iter();
            let starts = starts.filter(|(at, name)| *at > since && *name == instance.name).count();
            for group in apps.values() {
                let users: BTreeSet<&str> =
                    group.iter().map(|nth| self.tokens[*nth].partner.user_oid.as_str()).collect();
                let partners = group.iter().map(|nth| &self.tokens[*nth].partner);
                let secrets: BTreeSet<&str> = partners
                    .flat_map(|partner| [&partner.refresh_token, &partner.app_secret])
                    .map(|at| at.name.as_str())
                    .collect();
                // While a person must act, the daemon checks the vault often. So `VAULT_CALLS_A_DAY` applies only if
                // the tokens have had no problem for two days.
                let calm = |nth: &usize| {
                    self.nature.calm_since(*nth) < since - TimeDelta::hours(26)
                        && self.checks.of[*nth].truth == Truth::Good
                        && self.checks.of[*nth].truth_since < since - TimeDelta::hours(26)
                };
                let vault = if group.iter().all(calm) { VAULT_CALLS_A_DAY } else { WATCHED };
                let limits = [
                    (Peer::Entra, &users, REDEMPTIONS_A_DAY),
                    (Peer::PartnerCenter, &users, QUESTIONS_A_DAY),
                    (Peer::KeyVault, &secrets, vault),
                ];
                for (peer, subjects, most) in limits {
                    let calls: usize = subjects
                        .iter()
                        .filter_map(|of| counts.get(&(instance.name.clone(), peer, (*of).to_owned())))
                        .sum();
                    let most = most * group.len() * (1 + starts);
                    if calls > most {
                        let names: Vec<&str> = group.iter().map(|nth| &*self.tokens[*nth].name).collect();
                        return Err(format!(
                            "{now}: {calls} calls to {peer:?} in a day for {names:?}, over {most}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
