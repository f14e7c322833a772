//! The random events in a token's year: outages, lost answers, people's actions, and crashes.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use perennial::token::tags::Tags;
use perennial::token::version::VersionId;

use super::Simulation;

/// The current events, and people's actions that the checks must know.
pub(super) struct Trouble {
    /// The probability that an event happens in an hour, in thousandths.
    rate: u32,
    /// Whether Entra and the vault work only for one hour in every twenty-nine days.
    one_hour_a_month: bool,
    /// When the last outage, role change or similar problem ends.
    pub(super) busy_until: Timestamp,
    /// Planned actions that undo earlier actions, each with its time.
    later: Vec<(Timestamp, Deed)>,
    /// Whether a person has disabled the newest version.
    pub(super) off: bool,
    /// The version that a person has disabled.
    switched_off: Option<VersionId>,
    /// When a version was enabled again although a newer version exists.
    pub(super) switched_on_below_at: Option<Timestamp>,
    /// Whether the secret is deleted.
    pub(super) deleted: bool,
    /// When the user's sessions were revoked, or the user was disabled or blocked. `None` after a new sign-in.
    pub(super) revoked_at: Option<Timestamp>,
    /// When a person last signed in or stored a value.
    pub(super) person_at: Timestamp,
    /// The events so far, for the analysis of a failure.
    pub(super) deeds: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    SignIn,
    PasteGarbage,
    PasteOldValue,
    Revoke,
    DisableAccount,
    EnableAccount,
    SwitchOff,
    SwitchOn,
    Delete,
    Recover,
    TakeRole(Action),
    GiveRoles,
    NewAppSecret,
    LateAppSecret,
    Block,
    Unblock,
    Outage,
    LostAnswer,
    Throttle,
    Crash,
    Restart,
    Reload,
    RaceSave,
    SignInRefused,
    /// A host's clock is set to a wrong time. Some hours later, the clock is corrected.
    SetClock,
    SetClockBack(usize, TimeDelta),
    /// The process reads the vault for another token. The vault's answer corrects the process's clock.
    OthersRead,
}

const DEEDS: [(u32, Deed); 20] = [
    (10, Deed::Outage),
    (12, Deed::LostAnswer),
    (6, Deed::Throttle),
    (10, Deed::Crash),
    (4, Deed::Restart),
    (3, Deed::Reload),
    (4, Deed::SignIn),
    (8, Deed::RaceSave),
    (4, Deed::SignInRefused),
    (2, Deed::PasteGarbage),
    (1, Deed::PasteOldValue),
    (2, Deed::Revoke),
    (1, Deed::DisableAccount),
    (2, Deed::SwitchOff),
    (1, Deed::Delete),
    (3, Deed::TakeRole(Action::SetSecret)),
    (2, Deed::LateAppSecret),
    (1, Deed::Block),
    (4, Deed::SetClock),
    (6, Deed::OthersRead),
];

/// Returns how far a host's clock is off: minutes to 400 days, ahead or behind.
pub(super) fn any_skew(rng: &mut fastrand::Rng) -> TimeDelta {
    let most = [30, 24 * 60, 400 * 24 * 60][rng.usize(0..3)];
    TimeDelta::minutes(rng.i64(-most..most))
}

impl Trouble {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        Self {
            rate: [2, 10, 40][rng.usize(0..3)],
            one_hour_a_month: rng.u8(0..10) == 0,
            busy_until: Timestamp::UNIX_EPOCH,
            later: Vec::new(),
            off: false,
            switched_off: None,
            switched_on_below_at: None,
            deleted: false,
            revoked_at: None,
            person_at: Timestamp::UNIX_EPOCH,
            deeds: Vec::new(),
        }
    }
}

impl Simulation {
    /// Causes the events of one hour.
    pub(super) async fn happen(&mut self, hour: i64) {
        let now = self.world.now();
        if self.trouble.one_hour_a_month {
            self.all_but_an_hour(hour, now);
            return;
        }
        // The app's secret expires after 120 days. Every 90 days, an administrator replaces the secret.
        if hour % (24 * 90) == 24 * 60 {
            self.act(Deed::NewAppSecret).await;
        }
        let (due, later) = self.trouble.later.drain(..).partition(|(at, _)| *at <= now);
        self.trouble.later = later;
        let due: Vec<(Timestamp, Deed)> = due;
        for (_, deed) in due {
            self.act(deed).await;
        }
        if self.rng.u32(0..1000) < self.trouble.rate {
            let deed = self.draw();
            self.act(deed).await;
        }
    }

    fn all_but_an_hour(&mut self, hour: i64, now: Timestamp) {
        const MONTH: i64 = 29 * 24;
        if hour == 24 || (hour > 24 && hour % MONTH == 1) {
            let ends = now + TimeDelta::hours(MONTH - 1);
            for peer in [Peer::Entra, Peer::KeyVault] {
                self.world.inject(Fault::of(peer, FaultEffect::Transport(NoResponse::TimedOut)).until(ends));
            }
            self.trouble.busy_until = ends;
        }
    }

    fn draw(&mut self) -> Deed {
        let all: u32 = DEEDS.iter().map(|(weight, _)| weight).sum();
        let mut at = self.rng.u32(0..all);
        for (weight, deed) in DEEDS {
            if at < weight {
                return deed;
            }
            at -= weight;
        }
        Deed::Outage
    }

    fn hours(&mut self, most: i64) -> TimeDelta {
        TimeDelta::minutes(self.rng.i64(1..most * 60))
    }

    fn later(&mut self, most_hours: i64, deed: Deed) {
        let at = self.world.now() + self.hours(most_hours);
        self.trouble.later.push((at, deed));
        self.trouble.busy_until = self.trouble.busy_until.max(at + TimeDelta::hours(1));
    }

    async fn act(&mut self, deed: Deed) {
        let now = self.world.now();
        let secret = self.partner.refresh_token.clone();
        self.trouble.deeds.push(format!("{now} {deed:?}"));
        match deed {
            Deed::Outage => self.outage(now),
            Deed::LostAnswer => self.lost_answer(),
            Deed::Throttle => {
                let after = [None, Some(2), Some(600), Some(86_400)][self.rng.usize(0..4)];
                let what = FaultEffect::Status { status: 429, retry_after: after.map(Duration::from_secs) };
                let peer = [Peer::Entra, Peer::KeyVault][self.rng.usize(0..2)];
                self.world.inject(Fault::of(peer, what).times(self.rng.u32(1..4)));
                self.trouble.busy_until = self.trouble.busy_until.max(now + TimeDelta::hours(4));
            }
            Deed::Crash => {
                let nth = self.rng.usize(0..self.instances.len());
                self.crash(nth);
            }
            Deed::Restart => {
                let nth = self.rng.usize(0..self.instances.len());
                self.restart(nth).await;
            }
            Deed::Reload => {
                self.instances.iter().for_each(|instance| instance.reload.send_modify(|n| *n += 1));
            }
            Deed::SetClock => {
                let nth = self.rng.usize(0..self.instances.len());
                let by = any_skew(&mut self.rng);
                self.instances[nth].clock.set_by(by);
                self.later(30, Deed::SetClockBack(nth, -by));
            }
            Deed::SetClockBack(nth, by) => self.instances[nth].clock.set_by(by),
            Deed::OthersRead => {
                let whole = chrono::DateTime::from_timestamp(now.timestamp(), 0).expect("in range");
                self.instances.iter().for_each(|instance| instance.clock.observe(whole));
            }
            Deed::SignIn => self.sign_in(),
            Deed::RaceSave => self.race_save().await,
            Deed::SignInRefused => self.sign_in_refused().await,
            Deed::PasteGarbage => {
                self.trouble.person_at = now;
                self.world.human_writes(&secret, "pasted rubbish", Tags::new());
                if self.rng.bool() {
                    self.later(20, Deed::SignIn);
                }
            }
            Deed::PasteOldValue => {
                self.trouble.person_at = now;
                let versions = self.world.versions_of(&secret);
                if versions.is_empty() {
                    return;
                }
                let old = &versions[self.rng.usize(0..versions.len())].value;
                let old = secrecy::ExposeSecret::expose_secret(old).to_owned();
                self.world.human_writes(&secret, &old, Tags::new());
                self.later(30, Deed::SignIn);
            }
            deed => self.act_on_grant_or_vault(deed, now),
        }
    }

    /// Carries out an action of an administrator of the tenant or the vault.
    fn act_on_grant_or_vault(&mut self, deed: Deed, now: Timestamp) {
        let secret = self.partner.refresh_token.clone();
        let user = self.partner.user_oid.clone();
        match deed {
            Deed::Revoke => {
                self.world.revoke_user(&user);
                self.trouble.revoked_at.get_or_insert(now);
                self.later(100, Deed::SignIn);
            }
            Deed::DisableAccount => {
                self.world.disable_user(&user, true);
                self.trouble.revoked_at.get_or_insert(now);
                self.later(60, Deed::EnableAccount);
            }
            Deed::EnableAccount => {
                self.world.disable_user(&user, false);
                self.later(26, Deed::SignIn);
            }
            Deed::SwitchOff => {
                if self.trouble.off || self.trouble.deleted {
                    return;
                }
                self.trouble.off = true;
                self.trouble.switched_off = self.world.newest_version(&secret).map(|version| version.id);
                self.world.switch_version(&secret, None, false);
                self.later(60, Deed::SwitchOn);
            }
            Deed::SwitchOn => {
                if self.trouble.deleted {
                    self.later(9, Deed::SwitchOn);
                    return;
                }
                self.trouble.off = false;
                let version = self.trouble.switched_off.take();
                if version != self.world.newest_version(&secret).map(|newest| newest.id) {
                    self.trouble.switched_on_below_at = Some(now);
                }
                self.world.switch_version(&secret, version.as_ref(), true);
            }
            Deed::Delete => {
                self.trouble.deleted = true;
                self.world.human_deletes(&secret);
                self.later(60, Deed::Recover);
            }
            Deed::Recover => {
                self.trouble.deleted = false;
                self.world.human_recovers(&secret);
            }
            Deed::TakeRole(action) => {
                self.world.change_vault(&secret.vault, |vault| {
                    vault.allowed.remove(&action);
                });
                self.later(100, Deed::GiveRoles);
            }
            Deed::GiveRoles => {
                self.world.change_vault(&secret.vault, |vault| vault.allowed = Action::ALL.into());
            }
            Deed::NewAppSecret => self.new_app_secret(now),
            Deed::LateAppSecret => {
                self.world.expire_app_secret(&self.partner.client_id);
                self.later(90, Deed::NewAppSecret);
            }
            Deed::Block => {
                self.rules(true);
                self.trouble.revoked_at.get_or_insert(now);
                self.later(60, Deed::Unblock);
            }
            Deed::Unblock => {
                self.rules(false);
                self.later(26, Deed::SignIn);
            }
            Deed::Outage
            | Deed::LostAnswer
            | Deed::Throttle
            | Deed::Crash
            | Deed::Restart
            | Deed::Reload
            | Deed::SetClock
            | Deed::SetClockBack(..)
            | Deed::OthersRead
            | Deed::SignIn
            | Deed::RaceSave
            | Deed::SignInRefused
            | Deed::PasteGarbage
            | Deed::PasteOldValue => {}
        }
    }

    fn rules(&self, blocked: bool) {
        let rules =
            perennial::sandbox::world::Rules { blocked, ..perennial::sandbox::world::Rules::default() };
        self.world.set_rules(&self.partner.tenant_id, rules);
    }

    fn new_app_secret(&mut self, now: Timestamp) {
        let value = format!("s3cret~{}", self.rng.u64(..));
        let ends = Some(now + TimeDelta::days(120));
        self.world.replace_app_secret(&self.partner.client_id, &value, ends);
        self.world.store_app_secret(&self.partner.app_secret, &value, ends);
    }

    fn sign_in(&mut self) {
        if self.trouble.deleted {
            // The token cannot be stored now, so the user signs in again later.
            self.later(9, Deed::SignIn);
            return;
        }
        self.trouble.person_at = self.world.now();
        if self.world.human_signs_in(&self.partner).is_some() {
            self.trouble.revoked_at = None;
            self.trouble.off = false;
        }
    }

    fn outage(&mut self, now: Timestamp) {
        let most = [1, 6, 30, 24 * 6][self.rng.usize(0..4)];
        let until = now + self.hours(most);
        let peers: &[Peer] = match self.rng.u8(0..4) {
            0 => &[Peer::Entra],
            1 => &[Peer::KeyVault],
            2 => &[Peer::PartnerCenter],
            _ => &[Peer::Entra, Peer::KeyVault, Peer::PartnerCenter],
        };
        for peer in peers {
            let what = match self.rng.u8(0..4) {
                0 => FaultEffect::Transport(NoResponse::Connect),
                1 => FaultEffect::Transport(NoResponse::TimedOut),
                2 => FaultEffect::Status { status: 503, retry_after: None },
                _ => FaultEffect::Garbage,
            };
            let mut fault = Fault::of(*peer, what).until(until);
            if *peer == Peer::KeyVault && self.rng.bool() {
                // The vault is read-only, as in a failover.
                fault = fault.on(Operation::Set);
            }
            if self.rng.u8(0..4) == 0 {
                fault = fault.after_effect();
            }
            self.world.inject(fault);
        }
        self.trouble.busy_until = self.trouble.busy_until.max(until);
    }

    fn lost_answer(&mut self) {
        let (peer, operation) = [
            (Peer::Entra, Operation::Redeem),
            (Peer::KeyVault, Operation::Set),
            (Peer::KeyVault, Operation::List),
            (Peer::KeyVault, Operation::Get),
            (Peer::KeyVault, Operation::Update),
        ][self.rng.usize(0..5)];
        let what = FaultEffect::Transport(NoResponse::Cut);
        let until = self.world.now() + TimeDelta::days(8);
        self.world.inject(Fault::of(peer, what).on(operation).after_effect().times(1).until(until));
        self.trouble.busy_until = self.trouble.busy_until.max(self.world.now() + TimeDelta::hours(3));
    }

    /// The user signs in again while the daemon saves the successor of an earlier sign-in. For some hours, Entra
    /// rejects the new sign-in because of a policy, with an unknown code, or without a code. The daemon must try this
    /// sign-in again at most a day later.
    async fn sign_in_refused(&mut self) {
        self.sign_in();
        self.meet_a_save().await;
        self.sign_in();
        let until = self.world.now() + self.hours(30);
        let code = [Some(530_003), Some(53011), Some(999_999), Some(50155), None][self.rng.usize(0..5)];
        let what = FaultEffect::OAuth { status: 400, error: "invalid_grant".into(), code, suberror: None };
        let fault = Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&self.partner.user_oid);
        self.world.inject(fault.until(until));
        self.trouble.busy_until = self.trouble.busy_until.max(until + TimeDelta::hours(26));
    }

    /// A person acts, or the process dies, in the seconds in which a successor is saved.
    async fn race_save(&mut self) {
        self.meet_a_save().await;
        match self.rng.u8(0..3) {
            0 => self.sign_in(),
            1 => {
                let nth = self.rng.usize(0..self.instances.len());
                self.crash(nth);
            }
            _ => {
                self.sign_in();
                self.crash(0);
            }
        }
    }

    /// Reloads all instances, and waits for a random number of calls. The next event may then happen during a save.
    async fn meet_a_save(&mut self) {
        self.instances.iter().for_each(|instance| instance.reload.send_modify(|n| *n += 1));
        let effects = self.rng.u32(0..12);
        let before = self.world.count_calls_where(self.world.now(), |_| true);
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let since = self.world.now() - TimeDelta::minutes(2);
            if self.world.count_calls_where(since, |_| true) >= before + effects as usize {
                break;
            }
        }
    }
}
