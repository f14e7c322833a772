//! Tests people's actions on users, apps, tenants and secrets. The tests inject no answers: the simulated services
//! answer by their own rules.

use chrono::TimeDelta;
use perennial::ports::failure::{Kind, Remedy};
use perennial::sandbox::world::{Action, Partner, Rules, World};
use perennial::token::secret::SecretName;
use perennial::token::tags::Tags;

use super::Row;

const RETRY: Remedy = Remedy::Retry;

pub(super) fn rows() -> Vec<Row> {
    [users(), apps(), stored(), vaults()].into_iter().flatten().collect()
}

fn users() -> Vec<Row> {
    let rule =
        |rules: Rules| move |world: &World, partner: &Partner| world.set_rules(&partner.tenant_id, rules);
    let blocked = rule(Rules { blocked: true, require_mfa: false });
    let with_mfa = rule(Rules { blocked: false, require_mfa: true });
    vec![
        Row::new("sessions revoked", |world, partner, _| world.revoke_user(&partner.user_oid))
            .means(Kind::LoginRequired, Remedy::Login)
            .saying("AADSTS50173"),
        Row::new("account disabled", |world, partner, _| world.disable_user(&partner.user_oid, true))
            .means(Kind::AccountDisabled, Remedy::Operator)
            .saying("AADSTS50057"),
        Row::new("account deleted", |world, partner, _| world.delete_user(&partner.user_oid))
            .means(Kind::WrongIdentity, Remedy::Operator)
            .saying("AADSTS50034"),
        Row::new("blocked by a policy", move |world, partner, _| blocked(world, partner))
            .means(Kind::PolicyBlocked, Remedy::Operator)
            .saying("AADSTS53003"),
        Row::new("a second factor is demanded and there", move |world, partner, _| with_mfa(world, partner)),
        Row::new("a second factor is demanded and missing", move |world, partner, _| {
            world.set_user_mfa(&partner.user_oid, false);
            world.human_signs_in(partner).expect("signed in");
            with_mfa(world, partner);
        })
        .means(Kind::MfaRequired, Remedy::Login)
        .saying("AADSTS50076"),
    ]
}

fn apps() -> Vec<Row> {
    let replaced = |world: &World, partner: &Partner| {
        world.replace_app_secret(&partner.client_id, "another~secret", None);
    };
    vec![
        Row::new("app secret expired", |world, partner, _| world.expire_app_secret(&partner.client_id))
            .means(Kind::AppCredentialRefused, Remedy::Operator)
            .saying("AADSTS7000222"),
        Row::new("app secret replaced long ago", move |world, partner, _| replaced(world, partner))
            .means(Kind::AppCredentialRefused, Remedy::Operator)
            .saying("AADSTS7000215"),
        Row::new("app secret replaced moments ago", move |world, partner, _| {
            replaced(world, partner);
            world.store_app_secret(&partner.app_secret, "one~that~entra~does~not~know~yet", None);
        })
        .means(Kind::AppCredentialRefused, RETRY),
        Row::new("app disabled", |world, partner, _| world.disable_app(&partner.client_id, true))
            .means(Kind::AppCredentialRefused, Remedy::Operator)
            .saying("AADSTS7000112"),
        Row::new("app taken out of the tenant", |world, partner, _| {
            world.withdraw_consent(&partner.tenant_id, &partner.client_id);
        })
        .means(Kind::AppCredentialRefused, Remedy::Operator)
        .saying("AADSTS700016"),
        Row::new("tenant mistyped", |_, _, grant| grant.tenant_id = "contosso.onmicrosoft.com".into())
            .means(Kind::AppMisconfigured, Remedy::Operator)
            .saying("AADSTS90002"),
        Row::new("scope of a resource that is not there", |_, _, grant| {
            grant.scope = "https://nowhere.example/user_impersonation".into();
        })
        .means(Kind::AppMisconfigured, Remedy::Operator)
        .saying("AADSTS500011"),
    ]
}

fn stored() -> Vec<Row> {
    let pasted = |name: &str, value: &'static str| {
        Row::new(name, move |world, partner, _| {
            world.human_writes(&partner.refresh_token, value, Tags::new()).expect("written");
        })
    };
    vec![
        pasted("quoted", "\"0.AXnotatoken\"").means(Kind::LoginRequired, Remedy::Operator),
        pasted("two words", "0.AX not a token").means(Kind::LoginRequired, Remedy::Operator),
        pasted("empty", " ").means(Kind::LoginRequired, Remedy::Operator),
        pasted("a word that is no token", "hunter2hunter2").means(Kind::LoginRequired, Remedy::Login),
        pasted("a token nobody issued", "0.AXthisWasNeverIssuedByAnybodyAtAll")
            .means(Kind::LoginRequired, Remedy::Login)
            .unconfirmed()
            .saying("AADSTS70000"),
        Row::new("a token of another app", |world, partner, _| {
            let other = world.fresh_id().to_string();
            world.add_app(&partner.tenant_id, &other, "other~secret", None);
            let theirs = world.sign_in(&partner.user_oid, &other).expect("signed in");
            world.human_writes(&partner.refresh_token, theirs.expose(), Tags::new()).expect("written");
        })
        .means(Kind::WrongIdentity, Remedy::Operator)
        .saying("AADSTS700007"),
        Row::new("idle for ninety days", |world, partner, _| {
            world.advance(-TimeDelta::days(100));
            let old = world.sign_in(&partner.user_oid, &partner.client_id).expect("signed in");
            world.advance(TimeDelta::days(100));
            world.human_writes(&partner.refresh_token, old.expose(), Tags::new()).expect("written");
        })
        .means(Kind::LoginRequired, Remedy::Login)
        .saying("AADSTS700082"),
    ]
}

fn vaults() -> Vec<Row> {
    let without = |action: Action| {
        move |world: &World, partner: &Partner| {
            world.change_vault(&partner.refresh_token.vault, |vault| {
                vault.allowed.remove(&action);
            });
        }
    };
    let unreadable = without(Action::GetSecret);
    vec![
        Row::new("never signed in", |_, _, grant| grant.secret.name = name("not-there-yet"))
            .means(Kind::NeverSignedIn, Remedy::Login)
            .saying("not-there-yet"),
        Row::new("app secret not there", |_, partner, grant| {
            let mut address = partner.app_secret.clone();
            address.name = name("not-there-either");
            let source = perennial::token::secret::Source::Secret(address);
            std::sync::Arc::make_mut(&mut grant.app).credential =
                perennial::token::app::CredentialSource::Secret(source);
        })
        .means(Kind::VaultRefused, Remedy::Operator)
        .saying("not-there-either"),
        Row::new("token switched off", |world, partner, _| {
            world.switch_version(&partner.refresh_token, None, false);
        })
        .means(Kind::TurnedOff, Remedy::Operator),
        Row::new("app secret switched off", |world, partner, _| {
            world.switch_version(&partner.app_secret, None, false);
        })
        .means(Kind::VaultRefused, Remedy::Operator),
        Row::new("app secret deleted", |world, partner, _| world.human_deletes(&partner.app_secret))
            .means(Kind::VaultRefused, Remedy::Operator),
        Row::new("no role to read", move |world, partner, _| unreadable(world, partner))
            .means(Kind::VaultRefused, Remedy::Operator)
            .saying("Microsoft.KeyVault/vaults/secrets/getSecret/action"),
        Row::new("firewall", |world, partner, _| {
            world.change_vault(&partner.refresh_token.vault, |vault| {
                vault.firewall_refuses = Some("20.30.40.50".into());
            });
        })
        .means(Kind::VaultRefused, Remedy::Operator)
        .saying("20.30.40.50"),
    ]
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("letters and dashes")
}
