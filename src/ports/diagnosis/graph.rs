//! Explains Microsoft Graph's rejections: who must act, and what helps.
//!
//! This module owns the only table of Microsoft Graph's codes (docs/azure-facts.md F603, F605, F606) and the action
//! texts. No command in these texts has a secret in its argument list. This module is pure.

use super::network::{RETRIED, intercepted, is_of_another_server, network};
use crate::ports::VaultError;
use crate::ports::directory::DirectoryError;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::token::app::RenewIdentity;

/// The app id of Microsoft Graph in every tenant (docs/azure-facts.md F603).
const GRAPH_APP_ID: &str = "00000003-0000-0000-c000-000000000000";

/// Each code about a policy for app credentials ends with this suffix (docs/azure-facts.md F605).
const POLICY: &str = "AsPerAppPolicy";

/// The id of the app role `Application.ReadWrite.OwnedBy` of Microsoft Graph (docs/azure-facts.md F603).
const OWNED_BY: &str = "18a4783c-866b-4cc7-a460-3d5e5662c884";

/// What keeps Perennial from managing the client secrets or certificates of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphProblem {
    /// The caller has no permission, or is not an owner of the app registration. Microsoft Graph gives the same answer
    /// in both cases.
    MissingRight,
    /// The caller's tenant has no app registration with this client id.
    NoRegistration,
    /// A policy forbids client secrets, or forbids certificates that no trusted authority issued.
    ForbiddenByPolicy,
    /// A policy caps the lifetime of client secrets or certificates.
    LifetimeTooLong,
    /// Microsoft Graph does not accept the access token.
    Token,
    /// The app registration has reached the maximum number of credentials.
    TooManyCredentials,
    /// Another request changes the app registration at the same time.
    Busy,
    /// This version of Perennial does not know the code of the rejection.
    UnknownCode,
}

/// A row of the table: codes with the same meaning.
#[derive(Clone, Debug)]
pub struct GraphRow {
    /// Microsoft Graph's codes for the problem.
    pub codes: &'static [&'static str],
    /// The problem that the codes name.
    pub problem: GraphProblem,
    /// The meaning of the codes in a few words.
    pub meaning: &'static str,
}

const fn row(codes: &'static [&'static str], problem: GraphProblem, meaning: &'static str) -> GraphRow {
    GraphRow { codes, problem, meaning }
}

use GraphProblem as P;

/// All rows of the table. A code is in one row only.
pub const GRAPH_ROWS: &[GraphRow] = &[
    row(&["Authorization_RequestDenied"], P::MissingRight, "no right to manage the app's credentials"),
    row(
        &["Request_ResourceNotFound"],
        P::NoRegistration,
        "the app registration is not in the caller's tenant",
    ),
    row(
        &["CredentialTypeNotAllowedAsPerAppPolicy"],
        P::ForbiddenByPolicy,
        "a policy of the tenant forbids this kind of credential",
    ),
    row(
        &["CredentialInvalidLifetimeAsPerAppPolicy"],
        P::LifetimeTooLong,
        "the credential's lifetime exceeds the maximum in the tenant's policy",
    ),
    row(
        &["InvalidAuthenticationToken", "Authentication_ExpiredToken", "Authentication_MissingOrMalformed"],
        P::Token,
        "access token not accepted",
    ),
    row(
        &["TooManyAppPasswords", "Directory_ResourceSizeExceeded"],
        P::TooManyCredentials,
        "the app has too many credentials",
    ),
    row(&["Directory_ConcurrencyViolation"], P::Busy, "another request is changing the app"),
];

/// The app, the caller and the service that an action text is about.
#[derive(Clone, Copy, Debug)]
pub struct GraphSubject<'a> {
    /// The name of the `[[app]]`.
    pub name: &'a str,
    /// The app's client id.
    pub client_id: &'a str,
    /// The app's home tenant.
    pub tenant: &'a str,
    /// Microsoft Graph's base URL.
    pub graph: &'a str,
    /// Whether the credential is a certificate. Otherwise it is a client secret.
    pub is_certificate: bool,
    /// The identity that sends the requests to Microsoft Graph.
    pub identity: RenewIdentity,
    /// The client id of the identity that reads the vault. `None` if the configuration does not name this id.
    pub vault_client_id: Option<&'a str>,
}

impl GraphProblem {
    /// Finds the problem that a rejection names. If no row has the code, the code's suffix `AsPerAppPolicy` decides.
    /// Without this suffix, the HTTP status decides.
    pub fn of(status: u16, code: &str) -> Self {
        match (row_of(code), status) {
            (Some(row), _) => row.problem,
            (None, _) if code.ends_with(POLICY) => Self::ForbiddenByPolicy,
            (None, 401) => Self::Token,
            (None, 403) => Self::MissingRight,
            (None, 404) => Self::NoRegistration,
            (None, _) => Self::UnknownCode,
        }
    }

    /// Who must act on the problem.
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Busy => Remedy::Retry,
            Self::MissingRight
            | Self::NoRegistration
            | Self::ForbiddenByPolicy
            | Self::LifetimeTooLong
            | Self::Token
            | Self::TooManyCredentials
            | Self::UnknownCode => Remedy::Operator,
        }
    }

    fn action(self, of: &GraphSubject<'_>, code: &str) -> String {
        let GraphSubject { name, client_id: app, tenant, .. } = *of;
        let graph = of.base();
        let policy = format!(
            "`az rest --method get --url {graph}/v1.0/policies/defaultAppManagementPolicy --query applicationRestrictions.passwordCredentials`"
        );
        match self {
            Self::MissingRight => of.give_right(),
            Self::NoRegistration => {
                let elsewhere = match of.identity {
                    RenewIdentity::Vault => {
                        "; if the identity of [vault] belongs to another tenant, set identity = \"app\" in `renew`"
                    }
                    RenewIdentity::App => "",
                };
                format!(
                    "compare client_id ({app}) and tenant_id ({tenant}) of {name} with the app registration: `az ad app show --id {app}`; if the app belongs to another company, such as a vendor, remove `renew` from {name}: only that company can create secrets{elsewhere}"
                )
            }
            Self::ForbiddenByPolicy if of.is_certificate => format!(
                "see what the tenant's policy demands: `az rest --method get --url {graph}/v1.0/policies/defaultAppManagementPolicy --query applicationRestrictions.keyCredentials`; if the policy names trusted authorities, let one of these authorities issue the certificate; or have an Entra administrator exempt app {app} from the policy"
            ),
            Self::ForbiddenByPolicy => format!(
                "have an Entra administrator exempt app {app} from the app management policy (this command shows the policy: {policy}); or use a certificate, and remove `renew` from {name}"
            ),
            Self::LifetimeTooLong if of.is_certificate => format!(
                "set a shorter validity (validity_in_months) in the policy of the certificate in the vault, and create a new version; this command shows the longest validity that the tenant allows: `az rest --method get --url {graph}/v1.0/policies/defaultAppManagementPolicy --query applicationRestrictions.keyCredentials`"
            ),
            Self::LifetimeTooLong => format!(
                "set a shorter lifetime in `renew` of {name}; maxLifetime in the tenant's policy is the longest lifetime allowed (this command shows the policy: {policy}); the app may also have its own policy; this command lists such policies: `az rest --method get --url {graph}/v1.0/policies/appManagementPolicies`"
            ),
            Self::Token => format!(
                "check three requirements: the value of name in [cloud] must be the cloud of tenant {tenant} (public, usgov or china), no proxy may change requests to {graph}, and the app registration must exist: `az ad app show --id {app}`"
            ),
            Self::TooManyCredentials if of.is_certificate => format!(
                "remove certificates that no program uses: `az ad app credential list --id {app} --cert` shows the key ids of all certificates, and `az ad app credential delete --id {app} --cert --key-id KEY_ID` removes the certificate KEY_ID"
            ),
            Self::TooManyCredentials => format!(
                "remove secrets that no program uses: `az ad app credential list --id {app}` shows the key ids of all secrets, and `az ad app credential delete --id {app} --key-id KEY_ID` removes the secret KEY_ID"
            ),
            Self::Busy => "wait: Perennial retries automatically".to_owned(),
            Self::UnknownCode => format!(
                "look up code {code}: https://learn.microsoft.com/graph/errors; check whether the Azure CLI can read the app's credentials: `az ad app credential list --id {app}`"
            ),
        }
    }
}

fn row_of(code: &str) -> Option<&'static GraphRow> {
    GRAPH_ROWS.iter().find(|row| row.codes.contains(&code))
}

impl GraphSubject<'_> {
    fn base(&self) -> &str {
        self.graph.trim_end_matches('/')
    }

    /// The command that makes the caller an owner of the app and gives the caller the permission
    /// `Application.ReadWrite.OwnedBy`. The command adds the owner first, because adding an existing owner does not
    /// fail. Giving an existing permission fails and ends the command.
    fn give_right(&self) -> String {
        let (app, graph) = (self.client_id, self.base());
        let caller = match self.identity {
            RenewIdentity::App => Some(app),
            RenewIdentity::Vault => self.vault_client_id,
        };
        let (whose, principal, then) = match caller {
            Some(id) => ("", format!("$(az ad sp show --id {id} --query id --output tsv)"), String::new()),
            None => (
                " that reads the vault",
                "IDENTITY".to_owned(),
                "; IDENTITY is the object id of this identity: Azure portal, the host's page, Identity"
                    .to_owned(),
            ),
        };
        format!(
            "allow the identity{whose} to manage app {app}: `p={principal} && az ad app owner add --id {app} --owner-object-id $p && az rest --method post --url {graph}/v1.0/servicePrincipals/$p/appRoleAssignments --body \"{{\\\"principalId\\\":\\\"$p\\\",\\\"resourceId\\\":\\\"$(az ad sp show --id {GRAPH_APP_ID} --query id --output tsv)\\\",\\\"appRoleId\\\":\\\"{OWNED_BY}\\\"}}\"` (may take a day){then}"
        )
    }

    fn throttled(&self) -> String {
        format!(
            "wait: Perennial retries automatically; if the throttling lasts, find what else manages apps in tenant {}: Entra admin center, Audit logs",
            self.tenant
        )
    }

    fn outage(&self) -> String {
        format!(
            "wait for the end of the outage: Perennial retries automatically; see https://azure.status.microsoft, and if no outage is shown there, check the proxy and network between this host and {}",
            self.base()
        )
    }
}

impl DirectoryError {
    /// The problem that Microsoft Graph's rejection names. `None` if the error is not a rejection by Microsoft Graph.
    pub fn problem(&self) -> Option<GraphProblem> {
        match self {
            Self::Refused { status, code } => Some(GraphProblem::of(*status, code)),
            Self::Unchanged(why) => why.problem(),
            Self::Unreachable(_) | Self::Unavailable { .. } | Self::NotUnderstood(_) | Self::NoToken(_) => {
                None
            }
        }
    }

    /// Converts this error to a failure of the renewal, with its remedy and texts.
    pub fn failure(&self, of: &GraphSubject<'_>) -> Failure {
        let plain = |remedy, action: String| Failure {
            action: Some(action.into()),
            ..Failure::new(
                Kind::AppCredentialRenewalFailed,
                remedy,
                FailureSubject::AppCredential,
                self.to_string(),
            )
        };
        match self {
            Self::Unchanged(why) => why.failure(of),
            Self::Unreachable(why) => plain(Remedy::Retry, network(*why, of.base(), RETRIED)),
            Self::NotUnderstood(_) => plain(Remedy::Retry, intercepted(of.base())),
            Self::Unavailable { status, retry_after } => {
                let action = match status {
                    429 => of.throttled(),
                    _ if is_of_another_server(*status) => intercepted(of.base()),
                    _ => of.outage(),
                };
                Failure {
                    retry_after: *retry_after,
                    trace: Trace::of(u32::from(*status)),
                    ..plain(Remedy::Retry, action)
                }
            }
            // An app cannot sign in like a user, so a `Login` remedy becomes an `Operator` remedy. Another condition
            // reports an outage of Entra. This failure reports only that the renewal failed.
            Self::NoToken(found) => Failure {
                kind: Kind::AppCredentialRenewalFailed,
                remedy: match found.remedy {
                    Remedy::Retry => Remedy::Retry,
                    Remedy::Login | Remedy::Operator => Remedy::Operator,
                },
                about: FailureSubject::AppCredential,
                summary: self.to_string(),
                // The failed request is not a call to a vault, so the failure names no vault.
                vault: None,
                token_condemned: false,
                never_was_a_token: false,
                ..(**found).clone()
            },
            Self::Refused { status, code } => {
                let problem = GraphProblem::of(*status, code);
                let meaning = match row_of(code) {
                    Some(row) => row.meaning,
                    None if problem == P::ForbiddenByPolicy => {
                        "a policy of the tenant forbids the credential"
                    }
                    None => "a code that Perennial does not know",
                };
                Failure {
                    summary: format!("{self} ({meaning})"),
                    trace: Trace::of(u32::from(*status)),
                    ..plain(problem.remedy(), problem.action(of, code))
                }
            }
        }
    }
}

impl VaultError {
    /// Converts this error to a failure about the identity that reads the vault. The failed request asked for an access
    /// token for Microsoft Graph, and was not for a vault. So the failure names no vault.
    pub fn identity_failure(&self) -> Failure {
        let plain = |remedy, summary: String| {
            Failure::new(Kind::VaultIdentity, remedy, FailureSubject::CredentialSource, summary)
        };
        match self {
            Self::NoIdentity { why, transient, refused, action } => {
                let remedy = if *transient { Remedy::Retry } else { Remedy::Operator };
                let found = refused.as_ref().map(|refused| refused.failure());
                let (retry_after, trace) =
                    found.map_or((None, Trace::default()), |found| (found.retry_after, found.trace));
                Failure { action: action.clone(), retry_after, trace, ..plain(remedy, why.clone()) }
            }
            other => plain(Remedy::Retry, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
