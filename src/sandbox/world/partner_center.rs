//! Partner Center's rules: which access tokens Partner Center accepts, and whether these tokens need MFA.

use std::fmt;

use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};

/// The requirements that Partner Center has for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartnerCenterRules {
    /// Whether tokens without MFA are rejected.
    pub enforce_mfa: bool,
    /// Whether every user is rejected for lack of a role.
    pub forbidden: bool,
    /// Whether Partner Center's answers have the header `isMfaCompliant`.
    pub says_mfa: bool,
}

impl Default for PartnerCenterRules {
    fn default() -> Self {
        Self { enforce_mfa: true, forbidden: false, says_mfa: true }
    }
}

/// A successful answer of Partner Center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The tenant that the token belongs to.
    pub tenant_id: String,
    /// The name of the tenant's company.
    pub company: String,
    /// The domain of the tenant.
    pub domain: String,
    /// The value of the header `isMfaCompliant`: whether the token carries MFA. `None` if the answer has no such
    /// header.
    pub mfa_compliant: Option<bool>,
}

/// A rejection by Partner Center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerRefusal {
    /// The HTTP status.
    pub status: u16,
    /// Partner Center's error code.
    pub code: &'static str,
    /// The text of the error.
    pub text: &'static str,
}

impl fmt::Display for PartnerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code)
    }
}

/// The audience of access tokens for Partner Center.
const AUDIENCE: &str = "https://api.partnercenter.microsoft.com";

impl World {
    /// Returns the profile of the organization for which an access token was issued.
    ///
    /// # Errors
    /// Returns an injected fault, or Partner Center's rejection.
    pub fn profile(&self, actor: &str, access_token: &str) -> Result<Profile, Trouble<PartnerRefusal>> {
        self.call(
            |inner| {
                let user = inner.access(access_token).and_then(|record| record.user.clone());
                About {
                    peer: Peer::PartnerCenter,
                    operation: Operation::Profile,
                    actor,
                    subject: user.unwrap_or_else(|| "unknown".to_owned()),
                    grant: None,
                }
            },
            |inner, _| inner.profile(access_token),
        )
    }

    /// Sets Partner Center's requirements.
    pub fn set_partner_center(&self, demands: PartnerCenterRules) {
        self.lock().partner_center = demands;
    }
}

impl Inner {
    fn profile(&self, access_token: &str) -> Result<Profile, PartnerRefusal> {
        let denied = PartnerRefusal { status: 401, code: "400", text: "Access denied" };
        let record = self.access(access_token).filter(|record| record.audience == AUDIENCE);
        let record = record.ok_or_else(|| denied.clone())?;
        let tenant = self.directory.tenants.get(&record.tenant).ok_or(denied)?;
        let role = PartnerRefusal { status: 403, code: "2032", text: "The caller lacks the role" };
        let user = record.user.as_ref().and_then(|oid| self.directory.users.get(oid));
        // A guest of a tenant has no role in this tenant's Partner Center (docs/azure-facts.md F308).
        let is_guest = user
            .is_some_and(|user| user.tenant != tenant.id && Some(&user.tenant) != tenant.partner.as_ref());
        if record.user.is_none() || is_guest || self.partner_center.forbidden {
            return Err(role);
        }
        if self.partner_center.enforce_mfa && !record.mfa {
            return Err(PartnerRefusal { status: 401, code: "900421", text: "MFA required" });
        }
        Ok(Profile {
            tenant_id: tenant.id.clone(),
            company: tenant.domain.split('.').next().unwrap_or_default().to_owned(),
            domain: tenant.domain.clone(),
            mfa_compliant: self.partner_center.says_mfa.then_some(record.mfa),
        })
    }
}
