//! Promise 4: what each receiver believes, against what holds, also across restarts.

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

/// What begins is told after half a minute, what a token notices alone is looked for each five minutes, and all that
/// is due is sent one by one: after a look ten minutes apart three times, everybody knows.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
const LOOKS: usize = 3;

impl Simulation {
    /// What a receiver that keeps incidents holds open is what holds.
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

    /// Takes note of what the running processes must have noted in the vault by now: at once, and an hour after an
    /// update that failed.
    ///
    /// Two instances write the same tags, and Key Vault has no conditional write (docs/azure-facts.md F211): one may undo
    /// the other's note, which is made again after that one's next proof. So of two it is looked for in the vault.
    pub(in super::super) fn note_marks(&self) {
        let now = self.world.now();
        let unmarked = |name: &String| {
            let place = self.tokens.iter().position(|token| token.name == *name);
            place.is_some_and(|place| {
                let touched = self.nature.calm_since(place);
                self.checks.of[place].unmarked_at.max(touched) + TimeDelta::hours(2) > now
            })
        };
        // What is about no token, the first ones keep.
        let first: Vec<String> = self.tokens.iter().take(MARKED).map(|token| token.name.clone()).collect();
        for receiver in &self.receivers {
            let sink = SinkState::new(receiver.sink(&self.secret), now);
            for (id, incident) in &mut receiver.inbox().open {
                let runs = self.running().any(|(_, running)| running.start == incident.told_by);
                let has_time = incident.told_at + TimeDelta::minutes(10) < now;
                let of = if incident.tokens.is_empty() { &first } else { &incident.tokens };
                // While a successor is held, no tag is written.
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

    /// What does not agree now, and a token that it is about.
    fn disagreements(&self) -> BTreeMap<String, Option<String>> {
        let mut found = BTreeMap::new();
        let now = self.world.now();
        // Who was started just now has still to look, and one that is away knows nothing.
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
            // A sink is not told about itself.
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
                // What is about no token, the first one keeps.
                let keeper = tokens.first().or_else(|| self.tokens.first().map(|token| &token.name));
                found.insert(what, keeper.cloned());
            }
        }
        found
    }

    /// Whether an earlier process has told it, and this one has not seen yet that the token works: only a success ends an
    /// incident. It is bounded by that success, which other checks see to.
    fn may_be_left(&self, _: &Receiver, incident: &Incident) -> bool {
        // What flaps is closed once it has been quiet for an hour; it is looked at each hour here.
        if incident.is_flapping && incident.held_at + TimeDelta::hours(3) > self.world.now() {
            return true;
        }
        let told_now = self.running().any(|(_, running)| running.start == incident.told_by);
        if told_now {
            return false;
        }
        // Without the right to update, and while the vault is away, no tag says what was told (promise 7): the next process
        // does not know of it.
        // Of these the end is told at each start.
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
