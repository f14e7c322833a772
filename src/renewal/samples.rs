//! Sample values for tests of a renewal. All times are given in days after a fixed moment.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::directory::{ListedSecret, Registration};
use crate::process::clock::Timestamp;
use crate::renewal::look::CredentialLook;
use crate::renewal::schedule::Target;
use crate::rotation;
use crate::token::app::{RenewIdentity, RenewPolicy};
use crate::token::secret::{SecretAddress, SecretName};
use crate::token::version::{Version, tag};

pub(crate) fn at(day: i64) -> Timestamp {
    Timestamp::from_timestamp(1_760_000_000, 0).expect("in range") + TimeDelta::days(day)
}

pub(crate) fn key(nth: u8) -> Uuid {
    Uuid::from_u128(u128::from(nth) + 1)
}

pub(crate) fn policy() -> RenewPolicy {
    RenewPolicy {
        lifetime: TimeDelta::days(180),
        before: TimeDelta::days(45),
        identity: RenewIdentity::Vault,
        known: vec!["known by".into()],
    }
}

pub(crate) fn target() -> Target {
    let name = SecretName::parse("app-secret").expect("a name");
    Target {
        at: SecretAddress { vault: "https://vault.vault.azure.net".into(), name },
        policy: policy(),
        is_forced: false,
    }
}

/// Returns a listed secret that is valid for 180 days from `day` on.
pub(crate) fn listed(nth: u8, name: &str, day: i64) -> ListedSecret {
    ListedSecret {
        key_id: key(nth),
        name: Some(name.to_owned()),
        hint: Some(format!("{nth}ab")),
        starts: Some(at(day)),
        ends: Some(at(day + 180)),
    }
}

pub(crate) fn version(id: &str, key_id: Option<Uuid>, day: i64) -> Version {
    let mut version = rotation::samples::version(id, at(day));
    version.expires = None;
    if let Some(key_id) = key_id {
        version.tags.insert(tag::KEY_ID, &key_id.to_string());
    }
    version
}

/// Returns a look at the fixed moment (`at(0)`). The first of `versions` is the newest version. `fits` contains the
/// numbers (`nth` of `listed`) of the secrets that may be in the newest version.
pub(crate) fn look(versions: Vec<Version>, listed: Vec<ListedSecret>, fits: &[u8]) -> CredentialLook {
    let newest = versions[0].clone();
    let registration = Registration { object_id: Uuid::nil(), secrets: listed };
    let mut look = CredentialLook::of((TimeDelta::zero(), at(0)), newest, versions, "", registration);
    look.may_be_held = fits.iter().copied().map(key).collect();
    look
}
