//! The random events for the process and its tokens: faults, restarts, wrong clocks, and actions of people and scripts.

mod breaking;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::Action;

use super::Simulation;
use super::receivers::Mood;
use super::setup::{APPS, Token, VAULTS};

/// The current events, and what the checks must know about them.
pub(super) struct Nature {
    /// The probability that an event happens in an hour, in thousandths.
    rate: u32,
    /// The planned events that undo earlier events, each with its time. For example, a clock is set back.
    later: Vec<(Timestamp, Deed)>,
    /// For each token: when an event last changed the token or a service that the token needs.
    touched: Vec<Timestamp>,
    /// The scripts that write to a token's secret.
    writers: Vec<Writer>,
    /// The events so far, for the analysis of a failure.
    pub(super) deeds: Vec<String>,
}

/// A script that writes to a secret.
struct Writer {
    token: usize,
    every_minutes: i64,
    until: Timestamp,
    /// Whether the script stores a sign-in. If false, the script stores an invalid value.
    signs_in: bool,
    count: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Outage,
    LostAnswer,
    Throttle,
    Refuse,
    Bend,
    Crash,
    Restart,
    Reload,
    SetClock,
    SetClockBack(usize, TimeDelta),
    Mood,
    MoodEnds(usize),
    SignIn,
    SignInWithoutFactor,
    PasteGarbage,
    PasteOldValue,
    PasteStranger,
    Revoke,
    Disable,
    Block,
    SwitchOff,
    Delete,
    Purge,
    TakeRole(Action),
    Firewall,
    ExpireAppSecret,
    WrongAppSecret,
    SwitchOffAppSecret,
    Script,
}

const DEEDS: [(u32, Deed); 30] = [
    (12, Deed::Outage),
    (12, Deed::LostAnswer),
    (6, Deed::Throttle),
    (6, Deed::Refuse),
    (6, Deed::Bend),
    (10, Deed::Crash),
    (8, Deed::Restart),
    (3, Deed::Reload),
    (6, Deed::SetClock),
    (10, Deed::Mood),
    (6, Deed::SignIn),
    (2, Deed::SignInWithoutFactor),
    (3, Deed::PasteGarbage),
    (2, Deed::PasteOldValue),
    (2, Deed::PasteStranger),
    (4, Deed::Revoke),
    (3, Deed::Disable),
    (3, Deed::Block),
    (3, Deed::SwitchOff),
    (3, Deed::Delete),
    (1, Deed::Purge),
    (2, Deed::TakeRole(Action::GetSecret)),
    (2, Deed::TakeRole(Action::ReadMetadata)),
    (2, Deed::TakeRole(Action::SetSecret)),
    (2, Deed::TakeRole(Action::Update)),
    (1, Deed::Firewall),
    (3, Deed::ExpireAppSecret),
    (2, Deed::WrongAppSecret),
    (1, Deed::SwitchOffAppSecret),
    (2, Deed::Script),
];

/// Returns how far a host's clock is off: minutes to 400 days, ahead or behind.
pub(super) fn any_skew(rng: &mut fastrand::Rng) -> TimeDelta {
    let most = [30, 24 * 60, 400 * 24 * 60][rng.usize(0..3)];
    TimeDelta::minutes(rng.i64(-most..most))
}

impl Nature {
    pub(super) fn new(rng: &mut fastrand::Rng, tokens: usize) -> Self {
        let more = 1 + u32::try_from(tokens).unwrap_or_default() / 4;
        Self {
            rate: [1, 4, 15][rng.usize(0..3)] * more,
            later: Vec::new(),
            touched: vec![Timestamp::UNIX_EPOCH; tokens],
            writers: Vec::new(),
            deeds: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, at: Timestamp, what: &str) {
        self.deeds.push(format!("{} {what}", at.format("%Y-%m-%d %H:%M")));
    }

    /// Returns when an event last changed the token or a service that the token needs.
    pub(super) fn calm_since(&self, token: usize) -> Timestamp {
        self.touched[token]
    }

    /// Stops all scripts that write to the token's secret.
    pub(super) fn stop_scripts(&mut self, token: usize) {
        self.writers.retain(|writer| writer.token != token);
    }
}

impl Simulation {
    /// Causes the events of one hour.
    pub(super) async fn happen(&mut self, hour: i64) {
        let now = self.world.now();
        if hour == 0 {
            return;
        }
        let (due, later) = self.nature.later.drain(..).partition(|(at, _)| *at <= now);
        self.nature.later = later;
        let due: Vec<(Timestamp, Deed)> = due;
        for (_, deed) in due {
            self.act(deed).await;
        }
        if self.rng.u32(0..1000) < self.nature.rate {
            let deed = self.draw();
            self.act(deed).await;
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

    /// Returns a random span of up to this many hours.
    fn span(&mut self, most_hours: i64) -> TimeDelta {
        TimeDelta::minutes(self.rng.i64(1..most_hours * 60))
    }

    fn later(&mut self, most_hours: i64, deed: Deed) {
        let at = self.world.now() + self.span(most_hours);
        self.nature.later.push((at, deed));
    }

    /// Records a change for each token that `which` selects.
    pub(super) fn touch(&mut self, now: Timestamp, which: impl Fn(&Token) -> bool) {
        for (nth, token) in self.tokens.iter().enumerate() {
            if which(token) {
                self.nature.touched[nth] = self.nature.touched[nth].max(now);
            }
        }
    }

    /// Records a change for each token with an active fault or a missing role.
    pub(super) fn touch_what_is_disturbed(&mut self, now: Timestamp) {
        let faults = self.world.faults();
        for nth in 0..self.tokens.len() {
            let token = &self.tokens[nth];
            let is_hit = faults.iter().any(|fault| Self::is_hit_by(fault, token));
            if is_hit || !self.has_all_roles(token) {
                self.nature.touched[nth] = now;
            }
        }
    }

    async fn act(&mut self, deed: Deed) {
        let now = self.world.now();
        let token = self.rng.usize(0..self.tokens.len());
        let nth = self.rng.usize(0..self.instances.len());
        self.nature.note(now, &format!("{deed:?} (t{token}, run-{nth})"));
        match deed {
            Deed::Crash => {
                let away = self.away();
                self.crash(nth, away);
            }
            Deed::Restart => {
                let away = self.away();
                self.stop(nth, away).await;
            }
            Deed::Reload => self.running().for_each(|(_, running)| running.daemon.reload()),
            Deed::SetClock => {
                let by = any_skew(&mut self.rng);
                if let Some(running) = &self.instances[nth].running {
                    running.clock.set_by(by);
                    self.later(60, Deed::SetClockBack(nth, -by));
                }
            }
            Deed::SetClockBack(nth, by) => {
                // A process that has ended has no clock. If the process has restarted since then, this event changes
                // the clock of the new process.
                if let Some(running) = &self.instances[nth].running {
                    running.clock.set_by(by);
                }
            }
            Deed::Mood => {
                let moods = [
                    Mood::Silent,
                    Mood::Throttles(None),
                    Mood::Throttles(Some(600)),
                    Mood::Broken,
                    Mood::Unknown,
                    Mood::Gone,
                ];
                let (mood, which) = (moods[self.rng.usize(0..6)], self.rng.usize(0..self.receivers.len()));
                self.receivers[which].set_mood(mood);
                self.nature.note(now, &format!("{} {mood:?}", self.receivers[which].name));
                self.later(90, Deed::MoodEnds(which));
            }
            Deed::MoodEnds(which) => self.receivers[which].set_mood(Mood::Works),
            Deed::Script => self.script_begins(token, now),
            Deed::Outage | Deed::LostAnswer | Deed::Throttle | Deed::Refuse | Deed::Bend => {
                self.fault(deed, token, now);
            }
            deed => self.break_something(deed, token, now),
        }
    }

    /// Returns how long a process is down. Usually this is the time that a supervisor needs for a restart, and
    /// sometimes it is hours or days.
    fn away(&mut self) -> TimeDelta {
        match self.rng.u8(0..8) {
            0 => self.span(72),
            1 | 2 => self.span(6),
            _ => TimeDelta::seconds(5),
        }
    }

    fn script_begins(&mut self, token: usize, now: Timestamp) {
        let every_minutes = [1, 5, 60][self.rng.usize(0..3)];
        // Each write adds a version to the secret, and a long list of versions needs many calls. So a script that
        // writes every few minutes runs for at most eight hours.
        let most = if every_minutes < 60 { 8 } else { 24 * 14 };
        let until = now + self.span(most);
        let signs_in = self.rng.bool();
        self.nature.writers.push(Writer { token, every_minutes, until, signs_in, count: 0 });
    }

    /// Makes each script write if its interval has passed. This function runs once a minute.
    pub(super) fn every_minute(&mut self) {
        if self.nature.writers.is_empty() {
            return;
        }
        let now = self.world.now();
        self.nature.writers.retain(|writer| writer.until > now);
        let mut writers = std::mem::take(&mut self.nature.writers);
        for writer in &mut writers {
            writer.count += 1;
            if writer.count % writer.every_minutes != 0 {
                continue;
            }
            let partner = self.tokens[writer.token].partner.clone();
            if writer.signs_in {
                self.sign_in(writer.token, now);
            } else {
                let text = format!("rubbish-{}", writer.count);
                self.world.human_writes(&partner.refresh_token, &text, perennial::token::tags::Tags::new());
            }
            self.nature.touched[writer.token] = now;
        }
        self.nature.writers.extend(writers);
    }

    fn any_vault(&mut self) -> &'static str {
        [VAULTS[0], VAULTS[1], APPS][self.rng.usize(0..3)]
    }
}
