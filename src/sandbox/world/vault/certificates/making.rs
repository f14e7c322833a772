//! Creates self-signed certificates.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd,
};
use secrecy::SecretSlice;

use super::super::super::certificate::PublicCertificate;
use super::super::VaultRefusal;
use super::{CertificatePolicy, VersionKey};
use crate::process::clock::Timestamp;

/// The validity of a certificate starts this long before its creation, as in Key Vault (docs/azure-facts.md F226).
const EARLY: TimeDelta = TimeDelta::minutes(10);

/// The number of keys that certificates share after `World::share_certificate_keys`.
const SHARED_KEYS: usize = 8;

/// The longest lifetime of a certificate that the vault creates. In the real Key Vault, the issuer sets this limit.
const LONGEST: TimeDelta = TimeDelta::days(3653);

/// Creates a key, its certificate, and the signing request for the certificate. If `shares_keys` is true, a key of 2048
/// bits is not new but comes from `shared_key`.
pub(super) fn self_signed(
    name: &str,
    policy: &CertificatePolicy,
    now: Timestamp,
    serial: u128,
    shares_keys: bool,
) -> Result<(VersionKey, Vec<u8>), VaultRefusal> {
    let size = match policy.key_size {
        2048 => RsaKeySize::_2048,
        3072 => RsaKeySize::_3072,
        4096 => RsaKeySize::_4096,
        _ => return Err(VaultRefusal::bad_parameter("The key size must be 2048, 3072 or 4096.")),
    };
    if !(TimeDelta::zero()..=LONGEST).contains(&policy.lifetime) {
        return Err(VaultRefusal::bad_parameter("The validity of a certificate must be at most ten years."));
    }
    let subject = policy.subject.clone().unwrap_or_else(|| format!("CN={name}"));
    let key = if shares_keys && policy.key_size == 2048 {
        shared_key(serial)
    } else {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)
    };
    key.and_then(|key| made(&subject, &key, now - EARLY, now + policy.lifetime, serial))
        .map_err(|error| VaultRefusal::new(500, "InternalServerError", None, error.to_string()))
}

/// Returns one of `SHARED_KEYS` keys. All worlds of a process use the same keys.
fn shared_key(number: u128) -> Result<KeyPair, rcgen::Error> {
    static KEYS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let generated = (0..SHARED_KEYS).map(|_| {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map(|key| key.serialize_der())
        });
        generated.collect::<Result<_, _>>().unwrap_or_default()
    });
    let place = usize::try_from(number % SHARED_KEYS as u128).unwrap_or_default();
    KeyPair::try_from(keys.get(place).ok_or(rcgen::Error::RemoteKeyError)?.as_slice())
}

fn made(
    subject: &str,
    key: &KeyPair,
    from: Timestamp,
    until: Timestamp,
    serial: u128,
) -> Result<(VersionKey, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(subject));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let csr = params.serialize_request(key)?.der().to_vec();
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(from);
    params.not_after = at(until);
    // The shift sets the first bit to zero. This bit is the sign, and a serial number must be positive (RFC 5280,
    // 4.1.2.2).
    params.serial_number = Some(SerialNumber::from((serial >> 1).to_be_bytes().to_vec()));
    let certificate = params.self_signed(key)?;
    let certificate =
        PublicCertificate::read(certificate.der()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
    let private: SecretSlice<u8> = key.serialize_der().into();
    Ok((VersionKey { certificate, private: Arc::new(private) }, csr))
}

/// Returns the common name in a subject such as `CN=partner, O=Contoso`. Without a common name, returns the whole
/// subject.
fn common_name(subject: &str) -> &str {
    let parts = subject.split(',').map(str::trim);
    let named = parts
        .filter_map(|part| part.split_once('='))
        .find(|(kind, _)| kind.trim().eq_ignore_ascii_case("cn"));
    named.map_or(subject, |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_name_is_found_in_a_subject() {
        for (subject, name) in [("CN=a", "a"), ("O=x, cn = b , C=de", "b"), ("bare", "bare"), ("O=x", "O=x")]
        {
            assert_eq!(common_name(subject), name);
        }
    }
}
