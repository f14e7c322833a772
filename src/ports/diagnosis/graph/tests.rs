//! Tests each row of the table, each answer that matches no row, and the action texts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::net::no_response::NoResponse;
use crate::ports::advice::Advice;
use crate::ports::oauth_error::OAuthError;
use crate::ports::{IssuerError, VaultError};

const APP: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
const IDENTITY: &str = "0c0ffee0-1111-4111-8111-111111111111";

fn subject() -> GraphSubject<'static> {
    GraphSubject {
        name: "partner-app",
        client_id: APP,
        tenant: "contoso.com",
        graph: "https://graph.microsoft.com/",
        is_certificate: false,
        identity: RenewIdentity::Vault,
        vault_client_id: Some(IDENTITY),
    }
}

fn refused(status: u16, code: &str) -> DirectoryError {
    DirectoryError::Refused { status, code: code.to_owned() }
}

fn action(error: &DirectoryError, of: &GraphSubject<'_>) -> String {
    error.failure(of).action.map(String::from).unwrap_or_default()
}

#[test]
fn every_code_has_one_problem_with_its_action() {
    for (status, code, problem, told) in [
        (403, "Authorization_RequestDenied", P::MissingRight, "az ad app owner add --id 0ed4b3a5"),
        (404, "Request_ResourceNotFound", P::NoRegistration, "if the app belongs to another company"),
        (400, "CredentialTypeNotAllowedAsPerAppPolicy", P::ForbiddenByPolicy, "or use a certificate"),
        (400, "CredentialIssuerNotTrustedAsPerAppPolicy", P::ForbiddenByPolicy, "or use a certificate"),
        (
            400,
            "CredentialInvalidLifetimeAsPerAppPolicy",
            P::LifetimeTooLong,
            "set a shorter lifetime in `renew`",
        ),
        (401, "InvalidAuthenticationToken", P::Token, "the value of name in [cloud] must be"),
        (401, "Authentication_ExpiredToken", P::Token, "the value of name in [cloud] must be"),
        (401, "Authentication_MissingOrMalformed", P::Token, "the value of name in [cloud] must be"),
        (400, "TooManyAppPasswords", P::TooManyCredentials, "az ad app credential delete --id 0ed4b3a5"),
        (
            400,
            "Directory_ResourceSizeExceeded",
            P::TooManyCredentials,
            "az ad app credential delete --id 0ed4b3a5",
        ),
        (409, "Directory_ConcurrencyViolation", P::Busy, "Perennial retries automatically"),
        (401, "Other", P::Token, "the value of name in [cloud] must be"),
        (403, "Other", P::MissingRight, "az ad app owner add"),
        (404, "Other", P::NoRegistration, "az ad app show --id 0ed4b3a5"),
        (400, "Request_BadRequest", P::UnknownCode, "look up code Request_BadRequest"),
    ] {
        let error = refused(status, code);
        let failure = error.failure(&subject());

        assert_eq!(error.problem(), Some(problem), "{status} {code}");
        assert_eq!(failure.kind, Kind::AppCredentialRenewalFailed);
        assert_eq!(failure.trace.code, Some(u32::from(status)));
        let retries = problem == P::Busy;
        assert_eq!(failure.remedy == Remedy::Retry, retries, "{code}");
        assert!(failure.summary.contains(code) && failure.summary.ends_with(')'), "{}", failure.summary);
        let unknown = failure.summary.contains("Perennial does not know");
        let is_known = row_of(code).is_some() || problem == P::ForbiddenByPolicy;
        assert_eq!(unknown, !is_known, "{}", failure.summary);
        assert!(action(&error, &subject()).contains(told), "{code}: {}", action(&error, &subject()));
    }
}

#[test]
fn a_code_is_in_one_row_only() {
    let all: Vec<&str> = GRAPH_ROWS.iter().flat_map(|row| row.codes).copied().collect();
    let once: BTreeSet<&str> = all.iter().copied().collect();

    assert_eq!(all.len(), once.len());
    assert!(GRAPH_ROWS.iter().all(|row| !row.meaning.is_empty()));
}

#[test]
fn the_right_is_given_to_the_identity_that_sends_the_requests() {
    let error = refused(403, "Authorization_RequestDenied");
    let by_app = GraphSubject { identity: RenewIdentity::App, ..subject() };
    let unnamed = GraphSubject { vault_client_id: None, ..subject() };

    assert_eq!(
        action(&error, &subject()),
        format!(
            "allow the identity to manage app {APP}: `p=$(az ad sp show --id {IDENTITY} --query id --output tsv) && az ad app owner add --id {APP} --owner-object-id $p && az rest --method post --url https://graph.microsoft.com/v1.0/servicePrincipals/$p/appRoleAssignments --body \"{{\\\"principalId\\\":\\\"$p\\\",\\\"resourceId\\\":\\\"$(az ad sp show --id 00000003-0000-0000-c000-000000000000 --query id --output tsv)\\\",\\\"appRoleId\\\":\\\"18a4783c-866b-4cc7-a460-3d5e5662c884\\\"}}\"` (may take a day)"
        )
    );
    assert!(action(&error, &by_app).contains(&format!("p=$(az ad sp show --id {APP} ")));
    assert!(action(&error, &unnamed).contains("`p=IDENTITY && az ad app owner add"));
    assert!(
        action(&error, &unnamed)
            .ends_with("IDENTITY is the object id of this identity: Azure portal, the host's page, Identity")
    );
}

#[test]
fn an_identity_of_another_tenant_is_told_to_use_the_app() {
    let error = refused(404, "Request_ResourceNotFound");
    let by_app = GraphSubject { identity: RenewIdentity::App, ..subject() };

    assert!(action(&error, &subject()).ends_with("set identity = \"app\" in `renew`"));
    assert!(!action(&error, &by_app).contains("identity"));
}

#[test]
fn outages_are_retried() {
    let wait = Some(Duration::from_secs(7));
    for (error, told) in [
        (
            DirectoryError::Unreachable(NoResponse::NameUnknown),
            "https://graph.microsoft.com cannot be resolved",
        ),
        (DirectoryError::Unavailable { status: 429, retry_after: wait }, "if the throttling lasts"),
        (DirectoryError::Unavailable { status: 503, retry_after: wait }, "https://azure.status.microsoft"),
        (DirectoryError::Unavailable { status: 302, retry_after: wait }, "something else answered"),
        (DirectoryError::NotUnderstood("it has no key id"), "something else answered"),
    ] {
        let failure = error.failure(&subject());

        assert_eq!(failure.remedy, Remedy::Retry, "{error}");
        assert_eq!(failure.kind, Kind::AppCredentialRenewalFailed);
        assert_eq!(error.problem(), None);
        if let DirectoryError::Unavailable { status, .. } = error {
            assert_eq!((failure.retry_after, failure.trace.code), (wait, Some(u32::from(status))));
        }
        assert!(action(&error, &subject()).contains(told), "{error}: {}", action(&error, &subject()));
    }
}

#[test]
fn a_missing_token_keeps_its_cause_and_its_action() {
    let wrong = IssuerError::Refused(Box::new(OAuthError {
        status: 401,
        error: "invalid_client".into(),
        trace: Trace { code: Some(super::super::table::CREDENTIALS), ..Trace::default() },
        ..OAuthError::default()
    }));
    let of_app = DirectoryError::NoToken(Box::new(wrong.failure())).failure(&subject());
    let vault = VaultError::NoIdentity {
        why: "the Azure CLI is not installed".into(),
        transient: false,
        refused: Some(Box::new(IssuerError::Unavailable {
            status: 503,
            retry_after: Some(Duration::from_secs(8)),
        })),
        action: Some("install it".into()),
    };
    let found = vault.identity_failure();
    let of_vault = DirectoryError::NoToken(Box::new(found.clone())).failure(&subject());
    let outage = IssuerError::Unavailable { status: 503, retry_after: Some(Duration::from_secs(9)) };
    let outage = DirectoryError::NoToken(Box::new(outage.failure())).failure(&subject());

    assert_eq!((of_app.kind, of_app.remedy), (Kind::AppCredentialRenewalFailed, Remedy::Operator));
    assert_eq!(of_app.advice, Some(Advice::ClientSecret));
    assert!(
        of_app.summary.starts_with("no access token for Microsoft Graph: Entra refused"),
        "{}",
        of_app.summary
    );
    assert_eq!((of_vault.kind, of_vault.remedy), (Kind::AppCredentialRenewalFailed, Remedy::Operator));
    assert_eq!(of_vault.summary, "no access token for Microsoft Graph: the Azure CLI is not installed");
    assert_eq!((of_vault.action.as_deref(), of_vault.vault), (Some("install it"), None));
    assert_eq!((of_vault.retry_after, of_vault.trace.code), (Some(Duration::from_secs(8)), Some(503)));
    assert_eq!((outage.remedy, outage.retry_after), (Remedy::Retry, Some(Duration::from_secs(9))));
}

#[test]
fn an_identity_that_may_work_later_is_retried() {
    let retry = |error: VaultError| error.identity_failure().remedy;

    assert_eq!(retry(VaultError::no_identity("x", true)), Remedy::Retry);
    assert_eq!(retry(VaultError::no_identity("x", false)), Remedy::Operator);
    assert_eq!(retry(VaultError::NotUnderstood), Remedy::Retry);
}

#[test]
fn a_login_of_a_user_is_never_the_remedy() {
    let found = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");

    assert_eq!(DirectoryError::NoToken(Box::new(found)).failure(&subject()).remedy, Remedy::Operator);
}

#[test]
fn a_missing_token_for_graph_says_nothing_about_a_stored_token() {
    let found = Failure {
        token_condemned: true,
        never_was_a_token: true,
        vault: Some("https://contoso.vault.azure.net".into()),
        ..Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x")
    };

    let failure = DirectoryError::NoToken(Box::new(found)).failure(&subject());

    assert_eq!((failure.token_condemned, failure.never_was_a_token, failure.vault), (false, false, None));
    assert_eq!(
        (failure.kind, failure.about),
        (Kind::AppCredentialRenewalFailed, FailureSubject::AppCredential)
    );
}

/// A message shows at most 600 characters of an action (`alert::forms`).
#[test]
fn every_action_fits_a_message_and_closes_its_commands() {
    let long = "n".repeat(64);
    let of = GraphSubject {
        name: &long,
        tenant: APP,
        graph: "https://microsoftgraph.chinacloudapi.cn",
        vault_client_id: None,
        ..subject()
    };
    let codes = GRAPH_ROWS.iter().flat_map(|row| row.codes).copied();
    let unknown = "x".repeat(64);
    let errors = codes.chain([unknown.as_str()]).map(|code| refused(400, code));
    for error in errors.chain([DirectoryError::Unavailable { status: 503, retry_after: None }]) {
        let of_certificate = GraphSubject { is_certificate: true, ..of };
        for of in [of, of_certificate, GraphSubject { vault_client_id: Some(IDENTITY), ..of }] {
            let action = action(&error, &of);

            assert!(action.chars().count() <= 600, "{}: {action}", action.chars().count());
            assert_eq!(action.matches('`').count() % 2, 0, "{action}");
        }
    }
}
