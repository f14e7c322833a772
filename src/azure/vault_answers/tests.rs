//! Tests that each answer of the vault leads to the right error.

use super::*;

fn answered(status: u16, body: &str) -> VaultError {
    refused(&RefusedCall { status, body: body.as_bytes(), network_info: None, retry_after: None })
}

fn error(code: &str, inner: &str, message: &str) -> String {
    serde_json::json!({"error": {"code": code, "message": message, "innererror": {"code": inner}}})
        .to_string()
}

#[test]
fn rejections_are_classified_by_status_then_inner_code_then_code() {
    let unavailable = |status| VaultError::Unavailable { status, retry_after: None };
    let rejected = |code: &str| VaultError::Rejected { status: 400, code: code.into(), is_about_name: false };
    let rbac = |caller: Option<&str>| {
        VaultError::Forbidden(Forbidden::Rbac { action: None, caller: caller.map(Into::into) })
    };
    let policy =
        |caller: Option<&str>| VaultError::Forbidden(Forbidden::Policy { caller: caller.map(Into::into) });
    for (status, body, means) in [
        (400, error("BadParameter", "", ""), rejected("BadParameter")),
        (400, error("", "", ""), rejected("")),
        (400, r#"{"error":{"code":"BadParameter"}}"#.into(), rejected("BadParameter")),
        (
            401,
            error("Unauthorized", "", "AKV10022: Invalid audience."),
            VaultError::Unauthorized { akv: Some(10022) },
        ),
        (400, error("ForbiddenByRbac", "", "x"), rbac(None)),
        (403, error("Forbidden", "", "Caller is not authorized to perform action on resource."), rbac(None)),
        (403, error("Forbidden", "AccessDenied", "x"), policy(None)),
        (
            403,
            error(
                "Forbidden",
                "",
                "The application 'appid=x;oid=0c0ffee0-1111-4111-8111-111111111111;iss=y' does not have secrets get permission on key vault",
            ),
            policy(Some("0c0ffee0-1111-4111-8111-111111111111")),
        ),
        (
            403,
            error("Forbidden", "", "Operation get is not allowed on a disabled secret."),
            VaultError::Disabled,
        ),
        (
            403,
            error("Forbidden", "", "Public network access is disabled"),
            VaultError::Forbidden(Forbidden::Connection),
        ),
        (
            403,
            error(
                "Forbidden",
                "",
                "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.7",
            ),
            VaultError::Forbidden(Forbidden::Firewall { address: Some("192.0.2.7".into()) }),
        ),
        (
            403,
            r#"{"error":{"code":"Forbidden","innerError":{"code":"ForbiddenByConnection"}}}"#.into(),
            VaultError::Forbidden(Forbidden::Connection),
        ),
        (
            401,
            error("Unauthorized", "", "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/x/"),
            VaultError::Unauthorized { akv: Some(10032) },
        ),
        (409, error("Conflict", "", "x is in a deleted but recoverable state"), VaultError::Deleted),
        (401, error("Unauthorized", "", "x"), VaultError::Unauthorized { akv: None }),
        (
            403,
            error("Forbidden", "", "x"),
            VaultError::Forbidden(Forbidden::Other { code: "Forbidden".into() }),
        ),
        (403, error("Forbidden", "SecretDisabled", "x"), VaultError::Disabled),
        (
            403,
            error("Forbidden", "ForbiddenByPolicy", "x"),
            VaultError::Forbidden(Forbidden::Policy { caller: None }),
        ),
        (403, error("Forbidden", "ForbiddenByConnection", "x"), VaultError::Forbidden(Forbidden::Connection)),
        (400, "<html>Bad Request</html>".into(), unavailable(400)),
        (401, String::new(), unavailable(401)),
        (403, "<html>blocked by the web filter</html>".into(), unavailable(403)),
        (403, r#"{"error":"forbidden"}"#.into(), unavailable(403)),
        (403, r#"{"error":{"code":403,"message":"blocked"}}"#.into(), unavailable(403)),
        (409, "conflict".into(), unavailable(409)),
        (413, "<html>".into(), unavailable(413)),
        (404, error("SecretNotFound", "", "x"), VaultError::NotFound),
        (404, "<html>a gateway that never heard of vaults</html>".into(), unavailable(404)),
        (409, error("Conflict", "ObjectIsDeletedButRecoverable", "x"), VaultError::Deleted),
        (409, error("Conflict", "ObjectIsBeingDeleted", "x"), VaultError::InTransition),
        (409, error("Conflict", "ObjectIsBeingRecovered", "x"), VaultError::InTransition),
        (429, error("Throttled", "", "Reason: VaultRequestTypeLimitReached"), unavailable(429)),
        (429, "Too Many Requests".into(), unavailable(429)),
        (500, "{}".into(), unavailable(500)),
        (503, String::new(), unavailable(503)),
        (302, String::new(), unavailable(302)),
        (407, "<html>".into(), unavailable(407)),
        (204, String::new(), VaultError::NotUnderstood),
    ] {
        let means = match means {
            VaultError::Rejected { status, code, is_about_name } if code.is_empty() => {
                VaultError::Rejected { status, code: "no code".into(), is_about_name }
            }
            means => means,
        };
        assert_eq!(answered(status, &body), means, "{status} {body}");
    }
}

/// A new role or access policy does not help against every rejection. For example, a deny assignment overrides all
/// roles. Each kind of rejection needs its own action.
#[test]
fn a_rejection_that_no_role_ends_is_told_apart() {
    let forbidden = VaultError::Forbidden;
    for (status, body, means) in [
        (
            401,
            error("Unauthorized", "", "AKV10046: Unable to resolve the key"),
            VaultError::Unauthorized { akv: Some(10046) },
        ),
        (400, error("ForbiddenByNsp", "", "x"), forbidden(Forbidden::Perimeter)),
        (403, error("Forbidden", "ForbiddenByNsp", "x"), forbidden(Forbidden::Perimeter)),
        (403, error("Forbidden", "", "Forbidden by NSP policy."), forbidden(Forbidden::Perimeter)),
        (403, error("Forbidden", "SecretManagedByKeyVault", "x"), forbidden(Forbidden::OfCertificate)),
        (
            403,
            error(
                "Forbidden",
                "",
                "Operation \"set\" is not allowed on this secret, since it is associated with a certificate.",
            ),
            forbidden(Forbidden::OfCertificate),
        ),
        (403, error("Forbidden", "", "the vault is in read-only mode."), forbidden(Forbidden::ReadOnly)),
        (
            403,
            error("Forbidden", "", "Access denied. Caller was not found on any access policy."),
            forbidden(Forbidden::Policy { caller: None }),
        ),
        (
            403,
            error("Forbidden", "ForbiddenByRbac", "DenyAssignmentId: '0c0ffee0-1111-4111-8111-111111111111'"),
            forbidden(Forbidden::Denied),
        ),
        (
            403,
            error("Forbidden", "ForbiddenByRbac", "DenyAssignmentId: null"),
            forbidden(Forbidden::Rbac { action: None, caller: None }),
        ),
        (
            403,
            error("Forbidden", "ForbiddenByTheMoon", "x"),
            forbidden(Forbidden::Other { code: "ForbiddenByTheMoon".into() }),
        ),
        (
            404,
            error("VaultNotFound", "", "x"),
            VaultError::Rejected { status: 404, code: "VaultNotFound".into(), is_about_name: true },
        ),
        (
            400,
            error("BadParameter", "", "The request URI contains an invalid name: x"),
            VaultError::Rejected { status: 400, code: "BadParameter".into(), is_about_name: true },
        ),
    ] {
        assert_eq!(answered(status, &body), means, "{status} {body}");
    }
}

#[test]
fn the_missing_data_action_is_named_despite_escapes_in_the_message() {
    let message = "Caller is not authorized.\r\nAction: 'Microsoft.KeyVault/vaults/secrets/\
                   setSecret/action'\r\nAssignment: (not found)";
    let body = error("Forbidden", "ForbiddenByRbac", message);

    assert!(body.contains("\\r\\n"));
    let action = Some("Microsoft.KeyVault/vaults/secrets/setSecret/action".to_owned());
    assert_eq!(answered(403, &body), VaultError::Forbidden(Forbidden::Rbac { action, caller: None }));
}

#[test]
fn only_a_data_action_is_shown_as_one() {
    let long = format!("Microsoft.KeyVault/vaults/secrets/{}/action", "a".repeat(200));
    for message in
        ["", "Microsoft.KeyVault/vaults/", "Microsoft.KeyVault/vaults//x/y", "Microsoft.Key", &long]
    {
        let means = VaultError::Forbidden(Forbidden::Rbac { action: None, caller: None });
        assert_eq!(answered(403, &error("Forbidden", "ForbiddenByRbac", message)), means, "{message}");
    }
}

#[test]
fn our_address_is_taken_from_the_header_or_the_message() {
    let body = |message| error("Forbidden", "ForbiddenByFirewall", message);
    for (network_info, message, address) in [
        (Some("conn_type=Ipv4;addr=20.30.40.50;act_addr_fam=InterNetwork;"), "", Some("20.30.40.50")),
        (Some("conn_type=Ipv6;addr=2001:db8::1;"), "", Some("2001:db8::1")),
        (None, "Not authorized.\r\nClient address: 20.30.40.50\r\nCaller: x", Some("20.30.40.50")),
        (Some("addr=canary"), "Client address: canary", None),
        (None, "", None),
    ] {
        let body = body(message);
        let found =
            refused(&RefusedCall { status: 403, body: body.as_bytes(), network_info, retry_after: None });

        let address = address.map(str::to_owned);
        assert_eq!(found, VaultError::Forbidden(Forbidden::Firewall { address }), "{network_info:?}");
    }
}

#[test]
fn a_hostile_vault_cannot_put_words_into_an_error() {
    let secret = "0.AXoA-canary_secret~1";
    for status in 300..600 {
        let shown = answered(status, &error(secret, secret, secret)).to_string();

        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn a_version_of_another_secret_is_rejected() {
    let at = SecretAddress {
        vault: "https://x.vault.azure.net".into(),
        name: crate::token::secret::SecretName::parse("Pc-Token").expect("a name"),
    };
    let id = "0123456789abcdef0123456789abcdef";

    let found = version_id(&at, "secrets", &format!("https://x.vault.azure.net/secrets/pc-token/{id}"));
    assert_eq!(found, Some(VersionId(id.into())));
    for bad in [
        String::new(),
        format!("https://x.vault.azure.net/secrets/other/{id}"),
        "https://x.vault.azure.net/secrets/pc-token/".into(),
        "https://x.vault.azure.net/secrets/pc-token".into(),
        format!("https://x.vault.azure.net/secrets/pc-token/{id}/../other"),
    ] {
        assert_eq!(version_id(&at, "secrets", &bad), None, "{bad}");
    }
}
