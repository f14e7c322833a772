//! Checks promise 9 for `status --monitor`, which reads only the vault. Checks promise 4 for the mailbox: each day, a
//! mail must name every condition that is older than a day.

use chrono::TimeDelta;
use perennial::cli::Monitored;
use perennial::cli::status::{peek, verdict};
use perennial::process::clock::{Clock, Timestamp};
use perennial::status::condition::Condition;
use perennial::status::document::{Status, StatusSource};
use perennial::status::snapshot::Snapshot;

use super::super::Simulation;
use super::super::truth::Truth;
use crate::support::harness;

impl Simulation {
    /// Checks the daily result of `status --monitor`.
    pub(super) async fn monitored(&self, now: Timestamp) -> Result<(), String> {
        let clock = Clock::running(now, 1.0);
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for token in &self.tokens {
            let rotator = harness::rotator(&self.world, clock.clone(), &token.grant, "monitor", 1);
            snapshots.push(peek(rotator).await);
        }
        let status = Status::of(&snapshots, clock.skew(), clock.now(), StatusSource::Vault);
        let verdict = verdict(&status);
        for (token, of) in self.tokens.iter().zip(&self.checks.of) {
            // A proof and an acceptance are recorded only once a day, and each record is valid for twice `prove_every`.
            let most = TimeDelta::hours(25) + token.prove_every() * 2;
            let bad = of.bad_since.filter(|since| *since + most < now);
            // If neither Entra nor Partner Center rejects the token, a warning is enough, because other processes may
            // be able to use the token.
            let refused = matches!(of.truth, Truth::App(_) | Truth::Refused(_) | Truth::NoFactor);
            let healthy = verdict == Monitored::Healthy || (refused && verdict == Monitored::Attention);
            // If the newest version is disabled, a person has switched off the token on purpose. So the monitor need
            // not report the token.
            if let Some(since) = bad.filter(|_| healthy && of.truth != Truth::Off) {
                return Err(format!(
                    "{now}: {verdict:?} is monitored, and {} is {:?} since {since}",
                    token.name, of.truth
                ));
            }
        }
        let quiet = TimeDelta::hours(52);
        let all_well = self.checks.of.iter().enumerate().all(|(nth, of)| {
            of.truth == Truth::Good && of.truth_since.max(self.nature.calm_since(nth)) + quiet < now
        });
        let critical = verdict == Monitored::ActionNeeded;
        let runs = self.up_for(quiet, now);
        let gravest = status.conditions.first();
        let of_app =
            gravest.is_some_and(|told| told.kind == perennial::ports::failure::Kind::AppSecretExpiring);
        if all_well && runs && critical && !of_app {
            return Err(format!("{now}: all is well, and {gravest:?} is monitored"));
        }
        Ok(())
    }

    /// Checks that a mail of the last day names each condition that is older than a day. A restart can delay a
    /// reminder, so the check is skipped after a restart. A mail names at most ten incidents, so the check is also
    /// skipped if a mail refers to the status page.
    pub(super) fn people_are_reminded(&self, now: Timestamp) -> Result<(), String> {
        let most = TimeDelta::hours(26);
        let Some(mailbox) = self.receivers.iter().find(|receiver| receiver.name == "mailbox") else {
            return Ok(());
        };
        let is_sure = mailbox.works() && mailbox.inbox().sure_from + most < now;
        let alone = self.instances.len() == 1 && self.up_for(most, now);
        if !is_sure || !alone {
            return Ok(());
        }
        let mails = mailbox.inbox().mails.clone();
        let lately: Vec<&str> =
            mails.iter().filter(|(at, _)| *at + most > now).map(|(_, text)| text.as_str()).collect();
        if lately.iter().any(|text| text.contains("see the status page")) {
            return Ok(());
        }
        // The process's own clock determines the age of a condition. This clock may be wrong until a vault corrects it.
        let held = self.running().flat_map(|(_, running)| {
            running.daemon.board().drawn(|_, held, now| {
                let is_old = |told: &Condition| told.since + most < now && !told.is_of_sink("mailbox");
                held.into_iter().filter(is_old).collect::<Vec<_>>()
            })
        });
        for told in held {
            let is_said = |text: &&&str| {
                text.contains(told.kind.title())
                    && told.tokens.first().is_none_or(|name| text.contains(name.as_str()))
            };
            if !lately.iter().any(|text| is_said(&text)) {
                return Err(format!(
                    "{now}: no mail of the last day tells of {:?} ({})",
                    told.kind, told.cause
                ));
            }
        }
        Ok(())
    }
}
