//! Tests of the meaning and the action text of Key Vault's errors.

use super::*;

use crate::token::secret::SecretName;

const OID: &str = "0c0ffee0-1111-4111-8111-111111111111";

fn told(error: &VaultError, asked: SecretRole) -> String {
    let name = SecretName::parse("pc-token").expect("a name");
    let at = SecretAddress { vault: "https://contoso.vault.azure.net".into(), name };
    error.failure(asked, &at).action.map(String::from).unwrap_or_default()
}

#[test]
fn every_refusal_names_what_to_type() {
    for (error, action) in [
        (
            VaultError::Forbidden(Forbidden::Rbac { action: None, caller: Some(OID.into()) }),
            "--role \"Perennial Secret Rotator\" --assignee 0c0ffee0-1111-4111-8111-111111111111 --scope ",
        ),
        (
            VaultError::Forbidden(Forbidden::Other { code: "ForbiddenByTheMoon".into() }),
            "role \"Perennial Secret Rotator\" on secret pc-token: Azure portal",
        ),
        (
            VaultError::Forbidden(Forbidden::Policy { caller: Some(OID.into()) }),
            "--secret-permissions get list set`",
        ),
        (
            VaultError::Forbidden(Forbidden::Firewall { address: Some("192.0.2.7".into()) }),
            "network-rule add --name contoso --ip-address 192.0.2.7`",
        ),
        (VaultError::Forbidden(Forbidden::Connection), "private endpoint"),
        (VaultError::Deleted, "secret recover --vault-name contoso --name pc-token`"),
        (VaultError::Disabled, "--enabled true`"),
        (VaultError::Unreachable(NoResponse::NameUnknown), "https://contoso.vault.azure.net"),
        (
            VaultError::Unreachable(NoResponse::Tls(crate::net::no_response::TlsFault::UnknownIssuer)),
            "ca_file of [cloud]",
        ),
        (VaultError::Unavailable { status: 429, retry_after: None }, "if the throttling lasts"),
        (VaultError::Unavailable { status: 503, retry_after: None }, "https://azure.status.microsoft"),
        (VaultError::Unauthorized { akv: Some(10022) }, "set name of [cloud] to public"),
        (
            VaultError::Unauthorized { akv: Some(10032) },
            "set tenant_id of [vault] to the tenant of vault contoso",
        ),
    ] {
        let told = told(&error, SecretRole::Own);
        assert!(told.contains(action), "{error}: {told}");
    }
    assert_eq!(told(&VaultError::NotFound, SecretRole::Own), "", "a sign-in");
}

#[test]
fn a_source_is_only_to_be_read() {
    for (error, action) in [
        (
            VaultError::Forbidden(Forbidden::Rbac { action: None, caller: Some(OID.into()) }),
            "--role \"Key Vault Secrets User\" ",
        ),
        (VaultError::Forbidden(Forbidden::Policy { caller: Some(OID.into()) }), "--secret-permissions get`"),
        (
            VaultError::NotFound,
            "recover the secret: `az keyvault secret recover --vault-name contoso --name pc-token`",
        ),
        (
            VaultError::NotFound,
            "`az keyvault secret set --vault-name contoso --name pc-token --file /dev/stdin ",
        ),
    ] {
        let told = told(&error, SecretRole::Source);
        assert!(told.contains(action) && !told.contains("Rotator"), "{error}: {told}");
    }
}

#[test]
fn a_failure_of_a_certificate_never_speaks_of_a_secret() {
    let name = SecretName::parse("app").expect("a name");
    let at = SecretAddress { vault: "https://contoso.vault.azure.net".into(), name };
    for error in [VaultError::NotFound, VaultError::Deleted, VaultError::InTransition, VaultError::Disabled] {
        for asked in [SecretRole::SigningKey, SecretRole::RenewedCertificate] {
            let Failure { summary, action, .. } = error.failure(asked, &at);

            assert!(summary.contains("certificate app of vault contoso"), "{summary}");
            assert!(
                !summary.contains("secret") && !action.unwrap_or_default().contains("secret"),
                "{summary}"
            );
        }
    }
}

#[test]
fn another_server_in_place_of_key_vault_is_named_as_one() {
    for (status, is_other) in
        [(302, true), (401, true), (403, true), (404, true), (408, false), (429, false), (503, false)]
    {
        let error = VaultError::Unavailable { status, retry_after: None };
        let action = told(&error, SecretRole::Own);

        assert_eq!(
            action.contains("something else answered in place of https://contoso"),
            is_other,
            "{action}"
        );
        assert_eq!(error.to_string().contains("another server"), is_other, "{error}");
    }
}

/// Key Vault reports some of its internal faults with status 401 or 403 instead of 5xx. The summary names the fault,
/// and Perennial retries the call.
#[test]
fn a_fault_of_key_vault_under_another_status_is_retried() {
    let name = SecretName::parse("pc-token").expect("a name");
    let at = SecretAddress { vault: "https://contoso.vault.azure.net".into(), name };
    for (error, named) in [
        (VaultError::Unauthorized { akv: Some(10046) }, "AKV10046"),
        (VaultError::Forbidden(Forbidden::ReadOnly), "read-only"),
    ] {
        let Failure { kind, remedy, summary, action, .. } = error.failure(SecretRole::Own, &at);

        assert_eq!((kind, remedy), (Kind::VaultUnreachable, Remedy::Retry), "{summary}");
        assert!(summary.contains(named) && action.unwrap_or_default().starts_with("wait: "), "{summary}");
    }
}
