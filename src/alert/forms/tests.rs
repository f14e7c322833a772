//! Tests that messages show each action in full, and that each action names a command to type or a page to open.

use super::*;
use crate::net::no_response::NoResponse;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::ports::{Forbidden, SecretRole, VaultError};
use crate::rotation::samples;
use crate::rotation::state::State;
use crate::status::condition::action;
use crate::status::samples::snapshot;
use crate::token::app::ManagedApp;
use crate::token::managed::{ManagedToken, TokenName};
use crate::token::secret::{ConfigValue, SecretAddress, SecretName, Source};

const GUID: &str = "00000000-0000-0000-0000-000000000001";

/// Kinds whose action names neither a command nor a page, each with the reason.
const WITHOUT: [(Kind, &str); 3] = [
    (Kind::BuriedSignIn, "it is over already"),
    (Kind::Unsaved, "what keeps it from being saved is a condition of its own, with its command"),
    (Kind::Overdue, "what is late passes by itself, and why is in the log"),
];

/// Returns the address of a secret whose name has the maximum length, in a vault whose name has the maximum length.
fn address() -> SecretAddress {
    let vault = format!("https://{}.vault.usgovcloudapi.net", "v".repeat(24)).into();
    SecretAddress { vault, name: SecretName::parse(&"s".repeat(127)).expect("as long as may be") }
}

fn grant(client_secret: Source) -> ManagedToken {
    ManagedToken {
        name: TokenName::new(&"n".repeat(64)),
        tenant_id: "t".repeat(64),
        app: ManagedApp::with_secret(ConfigValue::Plain(GUID.into()), client_secret).into(),
        secret: address(),
        user_oid: Some(GUID.into()),
        ..samples::grant("")
    }
}

fn failures() -> Vec<Failure> {
    let forbidden = [
        Forbidden::Rbac { action: None, caller: None },
        Forbidden::Policy { caller: None },
        Forbidden::Firewall { address: Some("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".into()) },
        Forbidden::Connection,
        Forbidden::Other { code: "ForbiddenByTheMoon".into() },
    ];
    let vault = [
        VaultError::Unreachable(NoResponse::NameUnknown),
        VaultError::no_identity("why", false),
        VaultError::Disabled,
        VaultError::NotFound,
        VaultError::Deleted,
        VaultError::Rejected { status: 400, code: "BadParameter".into(), is_about_name: false },
    ];
    let vault: Vec<_> = vault.into_iter().chain(forbidden.map(VaultError::Forbidden)).collect();
    let mut all: Vec<Failure> = Kind::ALL
        .map(|kind| Failure {
            trace: Trace { correlation_id: Some(GUID.into()), ..Trace::default() },
            ..Failure::new(kind, Remedy::Operator, FailureSubject::Grant, "as told")
        })
        .into();
    for asked in [SecretRole::Own, SecretRole::Source] {
        all.extend(vault.iter().map(|error| error.failure(asked, &address())));
    }
    let unread =
        Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::CredentialSource, "");
    all.push(unread);
    all
}

/// Returns every action in its longest form.
fn actions() -> Vec<(Kind, String)> {
    let now = Timestamp::default();
    let mut all = Vec::new();
    for source in [Source::Secret(address()), Source::File("/run/secret".into())] {
        for failure in failures() {
            let kind = failure.kind;
            let state = samples::failed(State::unknown(now), failure, now, 9);
            let snapshot = snapshot(grant(source.clone()), &state, now, now);
            all.push((kind, action::of(kind, &snapshot, now)));
        }
    }
    all
}

#[test]
fn actions_are_never_cut() {
    for (kind, action) in actions() {
        assert!(action.chars().count() <= SIZES[0].chars, "{kind:?}, {}: {action}", action.chars().count());
    }
}

#[test]
fn each_action_names_a_command_or_a_portal_page() {
    let places = [
        "`perennial ",
        "`az ",
        "`s=$(az ",
        "`timedatectl ",
        "Entra admin center, ",
        "Azure portal, ",
        "https://azure.status.microsoft",
        "for the app: https://",
    ];

    for (kind, action) in actions() {
        let told = places.iter().any(|place| action.contains(place));
        let without = WITHOUT.iter().any(|(known, _)| *known == kind);
        assert_ne!(told, without, "{kind:?}: {action}");
        assert_eq!(action.matches('`').count() % 2, 0, "{action}");
    }
}

#[test]
fn every_form_names_the_instance() {
    let here = Deployment::new("https://login.microsoftonline.com/", "perennial-1", "x");
    let now = Timestamp::default();
    let change = crate::alert::rules::test_message("chat", &here, now);
    let changes = std::slice::from_ref(&change);

    for message in [
        teams(changes, &here, now, TEAMS_BYTES),
        slack(changes, &here, now, SLACK_BYTES),
        pagerduty(&change, "key", &here, now),
        cloud_event(&change, &here, now),
    ] {
        assert!(message.to_string().contains("perennial-1"), "{message}");
    }
    assert!(mail(changes, &here, now).text.contains("perennial-1"));
}
