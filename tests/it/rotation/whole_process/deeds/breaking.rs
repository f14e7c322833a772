//! Causes failures: missing or wrong answers, and people's actions on tokens, users, apps and vaults.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Distortion, Fault, FaultEffect, Operation, Peer, Rules};
use perennial::token::tags::Tags;
use secrecy::ExposeSecret as _;

use super::super::Simulation;
use super::Deed;

/// Entra's rejections of a redemption, each with OAuth error, AADSTS code and suberror.
const REFUSALS: [(&str, Option<u32>, Option<&str>); 9] = [
    ("invalid_grant", Some(530_003), Some("message_only")),
    ("invalid_grant", Some(53011), None),
    ("invalid_grant", Some(999_999), None),
    ("invalid_grant", Some(50155), None),
    ("interaction_required", Some(50079), Some("basic_action")),
    ("temporarily_unavailable", Some(50196), None),
    ("server_error", Some(90033), None),
    ("invalid_scope", Some(70011), None),
    ("invalid_grant", None, None),
];

impl Simulation {
    pub(super) fn fault(&mut self, deed: Deed, token: usize, now: Timestamp) {
        let user = self.tokens[token].partner.user_oid.clone();
        match deed {
            Deed::Outage => self.outage(token, now),
            Deed::LostAnswer => {
                let (peer, operation) = [
                    (Peer::Entra, Operation::Redeem),
                    (Peer::KeyVault, Operation::Set),
                    (Peer::KeyVault, Operation::List),
                    (Peer::KeyVault, Operation::Get),
                    (Peer::KeyVault, Operation::Update),
                ][self.rng.usize(0..5)];
                let what = FaultEffect::Transport(NoResponse::Cut);
                let times = self.rng.u32(1..4);
                let fault = Fault::of(peer, what).on(operation).after_effect().times(times);
                self.world.inject(fault.until(now + TimeDelta::days(2)));
            }
            Deed::Throttle => {
                let after = [None, Some(2), Some(600), Some(86_400)][self.rng.usize(0..4)];
                let what = FaultEffect::Status { status: 429, retry_after: after.map(Duration::from_secs) };
                let peer = [Peer::Entra, Peer::KeyVault][self.rng.usize(0..2)];
                let (times, until) = (self.rng.u32(1..40), now + self.span(30));
                self.world.inject(Fault::of(peer, what).times(times).until(until));
            }
            Deed::Refuse => {
                let (error, code, suberror) = REFUSALS[self.rng.usize(0..REFUSALS.len())];
                let suberror = suberror.map(str::to_owned);
                let what = FaultEffect::OAuth { status: 400, error: error.into(), code, suberror };
                let until = now + self.span(40);
                let fault = Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&user);
                self.world.inject(fault.until(until));
            }
            _ => {
                let bent = [
                    Distortion::NoRefreshToken,
                    Distortion::EmptyRefreshToken,
                    Distortion::SameRefreshToken,
                    Distortion::OtherTenant,
                    Distortion::OtherApp,
                    Distortion::OpaqueAccessToken,
                    Distortion::NoIdentity,
                ][self.rng.usize(0..7)];
                let until = now + self.span(40);
                let fault =
                    Fault::of(Peer::Entra, FaultEffect::Distort(bent)).on(Operation::Redeem).about(&user);
                self.nature.note(now, &format!("{bent:?}"));
                self.world.inject(fault.until(until));
            }
        }
        self.touch_what_is_disturbed(now);
    }

    fn outage(&mut self, token: usize, now: Timestamp) {
        let most = [1, 6, 30, 24 * 6][self.rng.usize(0..4)];
        let until = now + self.span(most);
        let peers: &[Peer] = match self.rng.u8(0..5) {
            0 => &[Peer::Entra],
            1 | 2 => &[Peer::KeyVault],
            3 => &[Peer::PartnerCenter],
            _ => &[Peer::Entra, Peer::KeyVault, Peer::PartnerCenter],
        };
        for peer in peers {
            let what = match self.rng.u8(0..5) {
                0 => FaultEffect::Transport(NoResponse::Connect),
                1 => FaultEffect::Transport(NoResponse::TimedOut),
                2 => FaultEffect::Status { status: 503, retry_after: None },
                3 => FaultEffect::Verbatim {
                    status: 200,
                    content_type: "text/html",
                    retry_after: None,
                    body: "<html>sign in to the proxy</html>".into(),
                },
                _ => FaultEffect::Garbage,
            };
            let mut fault = Fault::of(*peer, what).until(until);
            if *peer == Peer::KeyVault {
                fault = match self.rng.u8(0..4) {
                    // The vault is read-only, as in a failover.
                    0 => fault.on(Operation::Set),
                    // Some pages of lists fail.
                    1 => fault.on(Operation::List).times(self.rng.u32(1..20)),
                    2 => fault.about(self.tokens[token].secret().name.as_str()),
                    _ => fault,
                };
            }
            if self.rng.u8(0..4) == 0 {
                fault = fault.after_effect();
            }
            self.world.inject(fault);
        }
    }

    pub(super) fn break_something(&mut self, deed: Deed, nth: usize, now: Timestamp) {
        let partner = self.tokens[nth].partner.clone();
        let secret = partner.refresh_token.clone();
        let of_user = partner.user_oid.clone();
        match deed {
            Deed::SignIn => self.sign_in(nth, now),
            Deed::SignInWithoutFactor => {
                self.world.set_user_mfa(&of_user, false);
                self.sign_in(nth, now);
                self.world.set_user_mfa(&of_user, true);
            }
            Deed::PasteGarbage => {
                let text =
                    ["pasted rubbish", "rubbish", "0.AXnot-one-of-entras-tokens"][self.rng.usize(0..3)];
                self.world.human_writes(&secret, text, Tags::new());
            }
            Deed::PasteOldValue => {
                let versions = self.world.versions_of(&secret);
                if !versions.is_empty() {
                    let old = versions[self.rng.usize(0..versions.len())].value.expose_secret().to_owned();
                    self.world.human_writes(&secret, &old, Tags::new());
                }
            }
            Deed::PasteStranger => {
                let upn = format!("other{}@example.org", self.nature.deeds.len());
                let other = self.world.add_user(&partner.tenant_id, &upn, true);
                let token = self.world.sign_in(&other, &partner.client_id).expect("a user of that tenant");
                self.world.human_writes(&secret, token.expose(), Tags::new());
            }
            Deed::Revoke => self.world.revoke_user(&of_user),
            Deed::Disable => self.world.disable_user(&of_user, true),
            Deed::Block => {
                let rules = Rules { blocked: true, ..Rules::default() };
                self.world.set_rules(&partner.tenant_id, rules);
            }
            Deed::SwitchOff => self.world.switch_version(&secret, None, false),
            Deed::Delete => self.world.human_deletes(&secret),
            Deed::Purge => {
                self.world.human_deletes(&secret);
                self.world.human_purges(&secret);
            }
            Deed::TakeRole(action) => {
                let vault = self.any_vault();
                self.nature.note(now, &format!("in {vault}"));
                self.world.change_vault(vault, |vault| {
                    vault.allowed.remove(&action);
                });
            }
            Deed::Firewall => {
                let vault = self.any_vault();
                self.world.change_vault(vault, |vault| vault.firewall_refuses = Some("203.0.113.7".into()));
            }
            Deed::ExpireAppSecret => self.world.expire_app_secret(&partner.client_id),
            Deed::WrongAppSecret => {
                let ends = Some(now + TimeDelta::days(200));
                self.world.store_app_secret(&partner.app_secret, "a-secret-of-another-app", ends);
            }
            _ => self.world.switch_version(&partner.app_secret, None, false),
        }
        self.touch(now, |token| {
            let other = &token.partner;
            other.refresh_token == secret
                || other.user_oid == of_user
                || other.client_id == partner.client_id
                || other.tenant_id == partner.tenant_id
        });
    }

    /// Makes a user sign in and store the token, if Entra and the vault allow this.
    pub(in super::super) fn sign_in(&mut self, nth: usize, now: Timestamp) {
        let partner = self.tokens[nth].partner.clone();
        let may = self.world.user(&partner.user_oid).is_some_and(|user| !user.disabled && !user.deleted);
        let blocked = self.world.find_tenant(&partner.tenant_id).is_some_and(|tenant| tenant.rules.blocked);
        let token = self.world.sign_in(&partner.user_oid, &partner.client_id).filter(|_| may && !blocked);
        if let Some(token) = token
            && self.world.human_writes(&partner.refresh_token, token.expose(), Tags::new()).is_some()
        {
            self.checks.may_have_worked(nth, now);
        }
        self.touch(now, |token| token.partner.refresh_token == partner.refresh_token);
    }
}
