//! Simulates people who read alerts. After a while, they do what the alert says, or something else.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use perennial::ports::failure::{Kind, Remedy};
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Action, Peer, Rules};
use perennial::status::condition::Condition;
use perennial::token::secret::SecretAddress;
use perennial::token::tags::Tags;
use uuid::Uuid;

use super::Simulation;
use super::receivers::Mood;
use super::setup::{APPS, VAULTS};

/// When people handle each incident.
#[derive(Default)]
pub(super) struct People {
    plans: BTreeMap<Uuid, Timestamp>,
    /// The action of an alert that the simulated people did not understand.
    pub(super) at_a_loss: Option<String>,
}

impl Simulation {
    pub(super) async fn people_act(&mut self) {
        let now = self.world.now();
        let shown: Vec<Vec<Condition>> = self
            .running()
            .map(|(_, running)| running.daemon.board().drawn(|_, holding, _| holding))
            .collect();
        let mut due = Vec::new();
        let shown: BTreeMap<Uuid, Condition> =
            shown.into_iter().flatten().map(|condition| (condition.id, condition)).collect();
        self.people.plans.retain(|id, _| shown.contains_key(id));
        for (id, condition) in shown {
            let usual = if self.rng.u8(0..4) == 0 { 100 } else { 12 };
            let most = if condition.kind == Kind::AppSecretExpiring { 24 * 20 } else { usual };
            let delay = TimeDelta::minutes(self.rng.i64(20..most * 60));
            let at = *self.people.plans.entry(id).or_insert(now + delay);
            if at <= now {
                self.people.plans.remove(&id);
                due.push(condition);
            }
        }
        for condition in due {
            if self.rng.u8(0..5) == 0 {
                self.do_something_else(&condition, now).await;
            } else {
                self.follow(&condition, now);
            }
        }
    }

    fn token_of(&self, condition: &Condition) -> Option<usize> {
        let name = condition.tokens.first()?;
        self.tokens.iter().position(|token| token.name == *name)
    }

    async fn do_something_else(&mut self, condition: &Condition, now: Timestamp) {
        let Some(token) = self.token_of(condition) else { return };
        let what = self.rng.u8(0..5);
        self.nature.note(
            now,
            &format!("about {:?} of t{token} somebody does something else: {what}", condition.kind),
        );
        match what {
            0 => self.running().for_each(|(_, running)| running.daemon.reload()),
            1 => {
                let nth = self.rng.usize(0..self.instances.len());
                self.stop(nth, TimeDelta::seconds(5)).await;
            }
            2 => self.sign_in(token, now),
            3 => {
                let secret = self.tokens[token].secret().clone();
                self.world.human_writes(&secret, "what somebody had at hand", Tags::new());
                self.touch(now, |token| *token.secret() == secret);
            }
            _ => {}
        }
    }

    /// Does what the condition's action says, if the simulation supports the action.
    fn follow(&mut self, condition: &Condition, now: Timestamp) {
        let Condition { kind, action, remedy, .. } = condition;
        self.nature
            .note(now, &format!("somebody follows, about {kind:?} of {:?}: {action}", condition.tokens));
        if self.tends_the_host(condition) {
            return;
        }
        let Some(nth) = self.token_of(condition) else { return };
        let partner = self.tokens[nth].partner.clone();
        let says = |text: &str| action.contains(text);
        let named =
            |at: &SecretAddress| says(&format!("--name {}", at.name.as_str())) || says(at.name.as_str());
        let secret =
            if named(&partner.app_secret) { &partner.app_secret } else { &partner.refresh_token }.clone();
        let mut done = true;
        if says("find who else writes") {
            self.nature.stop_scripts(nth);
        } else if says("keyvault secret recover") {
            self.world.human_recovers(&secret);
            if self.world.newest_version(&secret).is_none() {
                self.sign_in(nth, now);
            }
        } else if says("--enabled true") {
            self.world.switch_version(&secret, None, true);
        } else if says("--account-enabled true") || says("enable the user's account") {
            self.world.disable_user(&partner.user_oid, false);
        } else if says("conditional access policy") || says("Risky users") {
            self.world.set_rules(&partner.tenant_id, Rules::default());
            self.clear_refusals();
        } else if says("firewall") || says("az keyvault network-rule") {
            self.change_vaults(|vault| vault.firewall_refuses = None);
        } else if says("az role assignment create") || says("the role") || says("write access") {
            self.change_vaults(|vault| vault.allowed = Action::ALL.into());
        } else if says("client secret") {
            self.new_app_secret(nth, now);
        } else if says("perennial login") {
            self.sign_in(nth, now);
        } else {
            self.clear_refusals();
            done = *remedy == Remedy::Retry || is_answered_by_entra(*kind);
        }
        if !done {
            self.people.at_a_loss = Some(format!("{kind:?}: {action}"));
        }
        self.touch(now, |token| {
            let other = &token.partner;
            other.refresh_token == partner.refresh_token
                || other.user_oid == partner.user_oid
                || other.client_id == partner.client_id
                || other.tenant_id == partner.tenant_id
        });
    }

    /// Handles conditions of the host's clock and of the receivers, which are not about a token.
    fn tends_the_host(&mut self, condition: &Condition) -> bool {
        match condition.kind {
            Kind::ClockSkew => {
                let world = self.world.now();
                for (_, running) in self.running() {
                    running.clock.set_by(world - running.clock.host_now());
                }
                true
            }
            Kind::AlertUndeliverable => {
                let named = |name: &str| condition.cause == format!("sink:{name}");
                let receivers = self.receivers.iter().filter(|receiver| named(receiver.name));
                receivers.for_each(|receiver| receiver.set_mood(Mood::Works));
                true
            }
            _ => false,
        }
    }

    /// Makes an administrator of the tenant fix the reasons for Entra's rejections.
    fn clear_refusals(&mut self) {
        self.world.clear_faults(Some(Peer::Entra));
    }

    fn change_vaults(&mut self, change: impl Fn(&mut perennial::sandbox::world::VaultState)) {
        let now = self.world.now();
        // A token that lacked a role may work from now on, even if a later event in this hour breaks the token again.
        for nth in 0..self.tokens.len() {
            if !self.has_all_roles(&self.tokens[nth]) {
                self.checks.may_have_worked(nth, now);
            }
        }
        VAULTS.iter().chain([&APPS]).for_each(|vault| self.world.change_vault(vault, &change));
    }

    /// Creates a new secret of the app, and stores it where each token of the app reads it.
    fn new_app_secret(&mut self, nth: usize, now: Timestamp) {
        let partner = self.tokens[nth].partner.clone();
        let value = format!("s3cret~{}", self.rng.u64(..));
        let ends = Some(now + TimeDelta::days(180));
        self.world.replace_app_secret(&partner.client_id, &value, ends);
        self.world.store_app_secret(&partner.app_secret, &value, ends);
    }
}

/// Whether a simulated fault may cause this kind of condition. The fault ends by itself, and the alert only says what
/// to examine.
fn is_answered_by_entra(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::PolicyBlocked
            | Kind::AppMisconfigured
            | Kind::UnknownCode
            | Kind::WrongIdentity
            | Kind::NoRefreshToken
            | Kind::SameRefreshToken
            | Kind::IdentityUnverified
            | Kind::BuriedSignIn
            | Kind::AppCredentialRefused
            | Kind::TurnedOff
            | Kind::VaultRefused
            | Kind::VaultUnreachable
    )
}
