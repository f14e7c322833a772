//! Checks promise 4: the incidents at each receiver match the current conditions, even after restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::alert::rules::SinkState;
use perennial::status::board::MARKED;
use perennial::status::condition::Condition;
use perennial::status::snapshot::{Snapshot, TokenState};
use perennial::token::version::tag;

use super::super::receivers::{Incident, Receiver};
use super::super::{Running, Simulation};

/// The interval between comparisons. At the first two comparisons, messages may still be on their way. At the third
/// comparison, every receiver must be up to date. Three delays are normal: Perennial reports a new condition after half
/// a minute, evaluates conditions at least every five minutes, and sends messages one after the other.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
const LOOKS: usize = 3;

impl Simulation {
    /// Checks that the open incidents at each receiver match the current conditions. A mailbox keeps no incidents, so
    /// it is not checked.
    pub(super) async fn receivers_agree(&mut self) -> Result<(), String> {
        self.note_marks();
        let mut suspects: Option<BTreeSet<String>> = None;
        for look in 0..LOOKS {
            let found = self.disagreements();
            let found: BTreeMap<String, Option<String>> = match &suspects {
                Some(before) => found.into_iter().filter(|(what, _)| before.contains(what)).collect(),
                None => found,
            };
            if found.is_empty() {
                return Ok(());
            }
            if look + 1 == LOOKS {
                let (what, token) = found.into_iter().next().expect("one at least");
                self.checks.suspect = token;
                return Err(format!("{}: {what}", self.world.now()));
            }
            suspects = Some(found.into_keys().collect());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Records which alerts the running processes must have marked in the vault by now (tag `told`). A process must
    /// write a mark immediately, or an hour after a failed update.
    ///
    /// Two instances write the same tags, and Key Vault has no conditional write (docs/azure-facts.md F211). So one
    /// instance may overwrite the mark of the other instance. The other instance writes the mark again only after its
    /// next proof. So with two instances, the test reads the marks from the vault.
    pub(in super::super) fn note_marks(&self) {
        let now = self.world.now();
        let unmarked = |name: &String| {
            let place = self.tokens.iter().position(|token| token.name == *name);
            place.is_some_and(|place| {
                let touched = self.nature.calm_since(place);
                self.checks.of[place].unmarked_at.max(touched) + TimeDelta::hours(2) > now
            })
        };
        // If an alert names no token, Perennial writes the mark of the alert to the first tokens of the process.
        let first: Vec<String> = self.tokens.iter().take(MARKED).map(|token| token.name.clone()).collect();
        for receiver in &self.receivers {
            let sink = SinkState::new(receiver.sink(&self.secret), now);
            for (id, incident) in &mut receiver.inbox().open {
                let runs = self.running().any(|(_, running)| running.start == incident.told_by);
                let has_time = incident.told_at + TimeDelta::minutes(10) < now;
                let of = if incident.tokens.is_empty() { &first } else { &incident.tokens };
                // While a process holds a successor, it writes no tags.
                let holds = |name: &String| {
                    self.running().any(|(_, running)| {
                        let held = |all: &[Snapshot]| {
                            all.iter().any(|of| of.grant.name.as_str() == name && of.holds_successor())
                        };
                        running.daemon.board().read(held)
                    })
                };
                let unmarked = |name: &String| unmarked(name) || holds(name);
                let mark =
                    || id.parse().map_or_else(|_| String::new(), |id| format!("{:08x}", sink.mark(id)));
                let is_noted = |mark: &str| of.iter().any(|name| self.is_noted_on(name, mark));
                if runs {
                    incident.is_marked = has_time
                        && !of.iter().any(unmarked)
                        && (self.instances.len() == 1 || is_noted(&mark()));
                }
            }
        }
    }

    fn is_noted_on(&self, name: &str, mark: &str) -> bool {
        let token = self.tokens.iter().find(|token| token.name == name);
        let newest = token.and_then(|token| self.world.newest_version(token.secret()));
        newest.is_some_and(|version| version.tags.get(tag::TOLD).is_some_and(|told| told.contains(mark)))
    }

    /// Returns the differences between the incidents at the receivers and the current conditions, each with the
    /// affected token.
    fn disagreements(&self) -> BTreeMap<String, Option<String>> {
        let mut found = BTreeMap::new();
        let now = self.world.now();
        // The comparison requires that all instances have run for 20 minutes. Before that, a process may not have
        // checked all tokens.
        let settled = |running: &Running| running.started_at + TimeDelta::minutes(20) < now;
        if self.instances.iter().any(|instance| !instance.running.as_ref().is_some_and(settled)) {
            return found;
        }
        let held: Vec<Vec<Condition>> =
            self.running().map(|(_, running)| running.daemon.board().drawn(|_, held, _| held)).collect();
        for receiver in self.receivers.iter().filter(|receiver| receiver.works()) {
            if receiver.name == "mailbox" {
                continue;
            }
            // A sink gets no message about itself.
            let ids = |of: &Vec<Condition>| -> BTreeMap<String, Condition> {
                let seen = of.iter().filter(|condition| !condition.is_of_sink(receiver.name));
                seen.map(|condition| (condition.id.to_string(), condition.clone())).collect()
            };
            let held: Vec<BTreeMap<String, Condition>> = held.iter().map(ids).collect();
            let mut inbox = receiver.inbox();
            for (id, incident) in &mut inbox.open {
                if held.iter().any(|held| held.contains_key(id)) {
                    incident.held_at = now;
                }
            }
            for (id, condition) in &held[0] {
                let by_all = held.iter().all(|others| others.contains_key(id));
                if by_all && !inbox.open.contains_key(id) {
                    let what = format!(
                        "{} does not know of {:?} ({})",
                        receiver.name, condition.kind, condition.cause
                    );
                    found.insert(what, condition.tokens.first().cloned());
                }
            }
            for (id, incident) in &inbox.open {
                if held.iter().any(|held| held.contains_key(id)) || self.may_be_left(receiver, incident) {
                    continue;
                }
                let Incident { kind, tokens, told_by, .. } = incident;
                let what =
                    format!("{} holds {kind} of {tokens:?} open, told by start {told_by}", receiver.name);
                // If an alert names no token, Perennial writes its mark to the first tokens of the process.
                let keeper = tokens.first().or_else(|| self.tokens.first().map(|token| &token.name));
                found.insert(what, keeper.cloned());
            }
        }
        found
    }

    /// Whether an incident may still be open although its condition has ended. This is allowed if an earlier process
    /// reported the incident, and the current process has not seen the token work yet. Perennial ends such an incident
    /// only when the token works. Other checks limit the time until then.
    fn may_be_left(&self, _: &Receiver, incident: &Incident) -> bool {
        // The end of a flapping incident is reported an hour late, and this test checks only once an hour. So up to
        // three hours may pass.
        if incident.is_flapping && incident.held_at + TimeDelta::hours(3) > self.world.now() {
            return true;
        }
        let told_now = self.running().any(|(_, running)| running.start == incident.told_by);
        if told_now {
            return false;
        }
        // If the vault denies updates of tags or is unreachable, an alert gets no mark (promise 7). So the next process
        // does not know of the alert. For the kinds in `always`, Perennial sends the end of an incident after each
        // start, even without a mark.
        let always = [
            "vault_unreachable",
            "vault_identity",
            "vault_refused",
            "secret_deleted",
            "turned_off",
            "unsaved",
        ];
        if !incident.is_marked && !always.contains(&incident.kind.as_str()) {
            return true;
        }
        let first: Vec<String> = self.tokens.iter().take(MARKED).map(|token| token.name.clone()).collect();
        let affected = if incident.tokens.is_empty() { &first } else { &incident.tokens };
        let works = |running: &Running| {
            running.daemon.board().drawn(|snapshots, _, now| {
                affected.iter().all(|name| {
                    let of = snapshots.iter().find(|of| of.grant.name.as_str() == name);
                    of.is_none_or(|of| of.standing(now) == TokenState::Current && of.outage.is_none())
                })
            })
        };
        !self.running().all(|(_, running)| works(running))
    }
}
