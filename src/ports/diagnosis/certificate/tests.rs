//! Tests the texts that say how to register and replace a certificate, for each place where a certificate can be kept.

use std::path::PathBuf;

use crate::ports::diagnosis::CredentialPlace;
use crate::ports::diagnosis::texts::tests::{address, of_app, subject};
use crate::token::app::CredentialSource;
use crate::token::secret::Source;

fn file() -> Source {
    Source::File(PathBuf::from("/etc/app.pem"))
}

fn vault(certificate: Option<&Source>) -> CredentialPlace<'_> {
    CredentialPlace::Vault { client_secret: None, certificate }
}

#[test]
fn a_certificate_is_registered_from_the_place_where_it_is_kept() {
    let from_vault = "register the certificate: `az ad app credential reset --id APP --append --keyvault contoso --cert app-cert`";
    let from_file = "register the certificate: `az ad app credential reset --id APP --append --cert \"$(openssl x509 -in /etc/app.pem)\"`; if the file is PKCS#12, upload";
    let by_hand = "upload the public part of the certificate that Perennial signs with";
    let plain = "; if the vault stores app-cert as a plain secret and not as a certificate, upload";
    let key = CredentialSource::VaultKey(address("app-cert"));
    let [in_vault, on_disk, in_env] =
        [Source::Secret(address("app-cert")), file(), Source::Env("CERT".into())]
            .map(CredentialSource::Certificate);
    let (disk, env) = (file(), Source::Env("CERT".into()));
    for (place, begins, may_be_plain) in [
        (of_app(&key), from_vault, false),
        (of_app(&in_vault), from_vault, true),
        (of_app(&on_disk), from_file, false),
        (of_app(&in_env), by_hand, false),
        (vault(Some(&disk)), from_file, false),
        (vault(Some(&env)), by_hand, false),
    ] {
        let text = subject(place).register_certificate();

        assert!(text.starts_with(begins), "{text}");
        assert_eq!(text.contains(plain), may_be_plain, "{text}");
        let page = "Entra admin center, App registrations, APP, Certificates & secrets";
        assert_eq!(text.ends_with(page), text != from_vault, "{text}");
    }
}

#[test]
fn a_new_certificate_is_made_where_the_old_one_is_kept_and_then_registered() {
    let key = CredentialSource::VaultKey(address("app-cert"));
    let in_vault = CredentialSource::Certificate(Source::Secret(address("app-cert")));
    let on_disk = CredentialSource::Certificate(file());
    let disk = file();
    let made = "create a new version of the certificate: `az keyvault certificate create --vault-name contoso --name app-cert ";
    for (place, begins) in [
        (of_app(&key), made),
        (of_app(&in_vault), made),
        (
            of_app(&on_disk),
            "store a new certificate and its private key at the configured place (client_certificate of partner-center); then",
        ),
        (
            vault(Some(&disk)),
            "store a new certificate and its private key at the configured place (client_certificate of [vault]); then",
        ),
    ] {
        let of = subject(place);
        let text = of.new_certificate();

        assert!(text.starts_with(begins), "{text}");
        assert!(text.ends_with(&format!("; then {}", of.register_certificate())), "{text}");
        assert_eq!(of.new_credential(), text);
    }
}

#[test]
fn a_credential_without_a_certificate_is_compared_or_created_anew() {
    let federated = "compare issuer, subject and audience of the assertion with the federated credential: `az ad app federated-credential list --id APP`";
    let identity = CredentialSource::ManagedIdentity("id".into());
    let assertion = CredentialSource::Assertion(file());
    let secret = CredentialSource::Secret(file());
    for of in [&identity, &assertion] {
        assert_eq!(subject(of_app(of)).new_credential(), federated);
    }
    let source = file();
    let with_secret = CredentialPlace::Vault { client_secret: Some(&source), certificate: None };
    for place in [of_app(&secret), with_secret] {
        let text = subject(place).new_credential();
        let begins =
            "in tenant contoso.com, create a new client secret and store its value, not its id: `az ad app";
        assert!(text.starts_with(begins), "{text}");
    }
    // An identity without a secret and without a certificate authenticates with the token of another issuer.
    assert!(subject(vault(None)).new_credential().starts_with(federated));
}
