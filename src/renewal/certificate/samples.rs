//! Values for tests of a certificate's renewal. All times are given in days after a fixed moment.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::certificate_store::ListedCertificate;
use crate::ports::directory::{KeyRegistration, ListedKey};
use crate::process::clock::rfc3339;
use crate::renewal::certificate::look::CertificateLook;
use crate::renewal::samples::{at, key};
use crate::rotation;
use crate::token::version::tag;

/// Returns version `nth`, created on `day` and valid for a year. If `accepted` contains a day, the version has the tag
/// `accepted-at` with that day.
pub(crate) fn version(nth: u8, day: i64, accepted: Option<i64>) -> ListedCertificate {
    let mut version = rotation::samples::version(&format!("v{nth}"), at(day));
    version.expires = Some(at(day + 365));
    if let Some(day) = accepted {
        version.tags.insert(tag::ACCEPTED_AT, &rfc3339(at(day)));
    }
    ListedCertificate { version, thumbprint: [nth; 20] }
}

/// Returns the certificate of version `nth`, as Entra lists it.
pub(crate) fn registered(nth: u8) -> ListedKey {
    ListedKey {
        key_id: key(nth),
        name: Some("by hand".to_owned()),
        thumbprint: Some([nth; 20]),
        starts: Some(at(0)),
        ends: None,
    }
}

/// Returns a look on `day`. The first version is the newest.
pub(crate) fn look(day: i64, versions: Vec<ListedCertificate>, keys: Vec<ListedKey>) -> CertificateLook {
    let newest = versions[0].clone();
    let registration = KeyRegistration { object_id: Uuid::nil(), keys };
    CertificateLook::of((TimeDelta::zero(), at(day)), newest, versions, registration)
}
