//! The true state of a token in the world, regardless of what the surfaces show.

use perennial::ports::failure::Kind;
use perennial::sandbox::world::{Action, Call, Fault, Peer};
use perennial::token::secret::SecretAddress;

use super::Simulation;
use super::setup::Token;

/// The first problem that a redemption would have now, apart from injected faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Good,
    /// The vault does not allow reading the secret.
    Unreadable,
    /// The secret is deleted or purged.
    NoSecret,
    /// The newest version is disabled.
    Off,
    /// The app's secret cannot be read.
    NoAppSecret,
    /// Entra rejects the app.
    App(u32),
    /// Entra rejects the token.
    Refused(u32),
    /// The token lacks MFA, which Partner Center requires.
    NoFactor,
    /// The token's user is not the configured user.
    Stranger,
}

impl Truth {
    /// Returns the kinds of condition that report this cause.
    pub(super) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Good => &[],
            Self::Unreadable | Self::NoAppSecret => &[Kind::VaultRefused],
            Self::NoSecret => &[Kind::SecretDeleted, Kind::NeverSignedIn],
            Self::Off => &[Kind::TurnedOff],
            Self::App(_) => &[Kind::AppCredentialRefused],
            Self::Refused(50057) => &[Kind::AccountDisabled],
            Self::Refused(53003) => &[Kind::PolicyBlocked],
            Self::Refused(50076) | Self::NoFactor => &[Kind::MfaRequired],
            // If Entra rejects an expired token, the incident `TokenExpired` covers the rejection.
            Self::Refused(_) => &[Kind::LoginRequired, Kind::TokenExpired],
            Self::Stranger => &[Kind::WrongIdentity],
        }
    }
}

impl Simulation {
    pub(super) fn truth_of(&self, token: &Token) -> Truth {
        let (world, secret) = (&self.world, token.secret());
        if !self.allows(secret, Action::GetSecret) {
            return Truth::Unreadable;
        }
        let Some(newest) = world.newest_version(secret) else { return Truth::NoSecret };
        if !newest.enabled {
            return Truth::Off;
        }
        let Some(value) = world.newest_value(secret) else { return Truth::NoSecret };
        let refused = world.refusal_of(value.expose());
        // Entra checks the form of the token before the app's secret. Perennial checks the form before it reads the
        // app's secret. So a token with a wrong form is rejected even if the app's secret does not work.
        if refused == Some(9_002_313) {
            return Truth::Refused(9_002_313);
        }
        let app_secret = &token.partner.app_secret;
        let readable = world.newest_version(app_secret).is_some_and(|version| version.enabled);
        let Some(credential) = world.newest_value(app_secret).filter(|_| readable) else {
            return Truth::NoAppSecret;
        };
        if !self.allows(app_secret, Action::GetSecret) {
            return Truth::NoAppSecret;
        }
        let partner = &token.partner;
        if let Some(code) = world.refusal_of_app(&partner.tenant_id, &partner.client_id, credential.expose())
        {
            return Truth::App(code);
        }
        if let Some(code) = refused {
            return Truth::Refused(code);
        }
        let grant = world.grant(value.expose()).expect("it is alive");
        if grant.owner.user != partner.user_oid && token.grant.user_oid.is_some() {
            return Truth::Stranger;
        }
        if grant.mfa { Truth::Good } else { Truth::NoFactor }
    }

    pub(super) fn allows(&self, at: &SecretAddress, action: Action) -> bool {
        let mut allowed = false;
        self.world.change_vault(&at.vault, |vault| {
            allowed = vault.allowed.contains(&action) && vault.firewall_refuses.is_none();
        });
        allowed
    }

    /// Whether every role for this token is assigned.
    pub(super) fn has_all_roles(&self, token: &Token) -> bool {
        let used = [Action::GetSecret, Action::ReadMetadata, Action::SetSecret, Action::Update];
        let own = used.iter().all(|action| self.allows(token.secret(), *action));
        own && self.allows(&token.partner.app_secret, Action::GetSecret)
    }

    /// Whether a fault may hit a call about this token.
    pub(super) fn is_hit_by(fault: &Fault, token: &Token) -> bool {
        let Some(subject) = &fault.subject else { return true };
        let partner = &token.partner;
        match fault.peer {
            Peer::KeyVault => {
                let names = [&partner.refresh_token, &partner.app_secret].map(|at| at.name.as_str());
                names.iter().any(|name| name.eq_ignore_ascii_case(subject))
            }
            Peer::Entra | Peer::PartnerCenter => *subject == partner.user_oid,
            Peer::Graph => *subject == partner.client_id,
        }
    }

    pub(super) fn is_about(&self, call: &Call, name: &str) -> bool {
        let Some(token) = self.tokens.iter().find(|token| token.name == name) else { return true };
        let mut subjects = vec![token.secret().name.as_str(), &token.partner.user_oid, "unknown"];
        if let Some(at) = token.grant.app.credential.in_vault() {
            subjects.push(at.name.as_str());
        }
        subjects.contains(&call.subject.as_str())
    }
}
