"""Certificates and keys of the vault by Microsoft's clients, and certificates that prove an app to msal."""

import base64
import hashlib
import unittest

import msal
import requests
import sandbox
from azure.core.exceptions import HttpResponseError
from azure.core.exceptions import ResourceExistsError
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import CertificateCredential
from azure.identity import ClientAssertionCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.certificates import CertificateContentType
from azure.keyvault.certificates import CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import utils
from cryptography.hazmat.primitives.serialization import pkcs12
from sandbox import PARTNER_CENTER

FOR_VAULTS = "https://vault.azure.net/.default"
PEM, PKCS12 = CertificateContentType.pem, CertificateContentType.pkcs12


class Certificates(unittest.TestCase):
    def setUp(self):
        # The redemptions of the tests before are over.
        sandbox.control("clock", advance="6m")
        options = {"retry_total": 0, "verify_challenge_resource": False}
        self.client = self.enterContext(CertificateClient(sandbox.ORIGIN, sandbox.credential(), **options))
        self.keys = self.enterContext(KeyClient(sandbox.ORIGIN, sandbox.credential(), **options))
        self.secrets = self.enterContext(sandbox.vault())

    def make(self, content_type=PKCS12, exportable=True):
        policy = CertificatePolicy(
            issuer_name="Self", subject="CN=Contoso", exportable=exportable, key_type="RSA", key_size=2048,
            content_type=content_type, validity_in_months=24,
        )
        poller = self.client.begin_create_certificate(sandbox.fresh_name(), policy, tags={"of": "test"})
        return poller.result()

    def private_key(self, certificate):
        """The key in the secret of a certificate, which belongs to the certificate."""
        value = self.secrets.get_secret(certificate.name).value
        if certificate.policy.content_type == PEM:
            key = serialization.load_pem_private_key(value.encode(), None)
            found = x509.load_pem_x509_certificate(value.encode())
        else:
            key, found, _ = pkcs12.load_key_and_certificates(base64.b64decode(value), None)
        self.assertEqual(found, x509.load_der_x509_certificate(bytes(certificate.cer)))
        self.assertEqual(key.public_key(), found.public_key())
        return key

    def test_a_certificate_is_made_and_read(self):
        for form in (PKCS12, PEM):
            with self.subTest(form):
                made = self.make(form)

                read = self.client.get_certificate(made.name)
                self.assertEqual(bytes(read.cer), bytes(made.cer))
                self.assertEqual(self.client.get_certificate_version(made.name, read.properties.version).id, read.id)
                certificate = x509.load_der_x509_certificate(bytes(read.cer))
                self.assertEqual(certificate.subject.rfc4514_string(), "CN=Contoso")
                self.assertEqual(read.properties.expires_on, certificate.not_valid_after_utc)
                self.assertEqual(read.properties.not_before, certificate.not_valid_before_utc)
                self.assertEqual(bytes(read.properties.x509_thumbprint), certificate.fingerprint(hashes.SHA1()))
                self.assertEqual(read.properties.tags, {"of": "test"})
                self.assertEqual(read.policy.content_type, form)
                self.assertEqual((read.policy.key_size, read.policy.validity_in_months), (2048, 24))
                self.assertEqual(self.client.get_certificate_policy(made.name).subject, "CN=Contoso")
                self.private_key(read)

    def test_certificates_and_versions_are_listed_and_the_secret_is_marked(self):
        made = self.make()

        names = [listed.name for listed in self.client.list_properties_of_certificates()]
        versions = list(self.client.list_properties_of_certificate_versions(made.name))
        secrets = [listed for listed in self.secrets.list_properties_of_secrets() if listed.name == made.name]

        self.assertEqual(names.count(made.name), 1)
        self.assertEqual([listed.version for listed in versions], [made.properties.version])
        self.assertEqual([listed.name for listed in secrets], [made.name])
        with self.assertRaises(ResourceExistsError):
            self.secrets.set_secret(made.name, "value")

    def test_a_certificate_is_imported(self):
        for form in (PKCS12, PEM):
            with self.subTest(form):
                made = self.make(form)
                value = self.secrets.get_secret(made.name).value
                content = value.encode() if form == PEM else base64.b64decode(value)

                imported = self.client.import_certificate(
                    sandbox.fresh_name(), content, policy=CertificatePolicy(issuer_name="Self", content_type=form)
                )

                self.assertEqual(bytes(imported.cer), bytes(made.cer))
                self.private_key(imported)

    def test_a_certificate_made_elsewhere_is_imported_with_its_password(self):
        made = self.make()
        key = self.private_key(made)
        encryption = serialization.BestAvailableEncryption(b"secret")
        content = pkcs12.serialize_key_and_certificates(
            b"name", key, x509.load_der_x509_certificate(bytes(made.cer)), None, encryption
        )

        imported = self.client.import_certificate(sandbox.fresh_name(), content, password="secret")

        self.assertEqual(bytes(imported.cer), bytes(made.cer))
        with self.assertRaisesRegex(HttpResponseError, "could not parse"):
            self.client.import_certificate(sandbox.fresh_name(), content, password="wrong")

    def test_a_key_that_never_leaves_the_vault_signs(self):
        made = self.make(exportable=False)
        value = self.secrets.get_secret(made.name).value
        key, certificate, _ = pkcs12.load_key_and_certificates(base64.b64decode(value), None)
        self.assertIsNone(key)
        key = self.keys.get_key(made.name)
        digest = hashlib.sha256(b"text").digest()

        client = self.enterContext(
            CryptographyClient(key.id, sandbox.credential(), retry_total=0, verify_challenge_resource=False)
        )
        pss = client.sign(SignatureAlgorithm.ps256, digest)
        pkcs1 = client.sign(SignatureAlgorithm.rs256, digest)

        self.assertEqual(key.properties.managed, True)
        public = x509.load_der_x509_certificate(bytes(made.cer)).public_key()
        hashed = utils.Prehashed(hashes.SHA256())
        public.verify(pkcs1.signature, digest, padding.PKCS1v15(), hashed)
        public.verify(pss.signature, digest, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed)

    def test_what_is_not_there(self):
        with self.assertRaises(ResourceNotFoundError):
            self.client.get_certificate(sandbox.fresh_name())
        with self.assertRaises(ResourceNotFoundError):
            self.keys.get_key(sandbox.fresh_name())

    def app(self, certificate):
        """The partner's app, proved by a certificate."""
        private = self.private_key(certificate).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = x509.load_der_x509_certificate(bytes(certificate.cer)).public_bytes(serialization.Encoding.PEM)
        return sandbox.partner_app(client_credential={
            "private_key": private.decode(), "public_certificate": public.decode(),
            "thumbprint": bytes(certificate.properties.x509_thumbprint).hex(),
        })

    def test_msal_redeems_with_a_certificate_that_is_registered(self):
        made = self.make(PEM)
        stored = sandbox.stored_token()
        refused = self.app(made).acquire_token_by_refresh_token(stored, [PARTNER_CENTER])
        self.assertEqual((refused["error"], refused["error_codes"]), ("invalid_client", [700027]))

        registered = sandbox.control("register-certificate", name=made.name)

        thumbprint = bytes(made.properties.x509_thumbprint).hex().upper()
        self.assertEqual(registered["thumbprint"], thumbprint)
        redeemed = self.app(made).acquire_token_by_refresh_token(stored, [PARTNER_CENTER])
        self.assertNotIn(redeemed["refresh_token"], ("", stored))
        own = self.app(made).acquire_token_for_client([FOR_VAULTS])
        self.assertIn("access_token", own)
        sandbox.control("remove-certificate", thumbprint=thumbprint)
        refused = self.app(made).acquire_token_by_refresh_token(stored, [PARTNER_CENTER])
        self.assertEqual(refused["error_codes"], [700027])

    def test_a_certificate_opens_the_vault(self):
        made = self.make(PEM)
        sandbox.control("register-certificate", client_id=sandbox.VAULT_CLIENT, name=made.name)
        credential = CertificateCredential(
            sandbox.VAULT_TENANT, sandbox.VAULT_CLIENT,
            certificate_data=self.secrets.get_secret(made.name).value.encode(),
            authority=sandbox.ORIGIN, disable_instance_discovery=True,
        )

        with sandbox.vault(credential) as client:
            self.assertEqual(client.get_secret(made.name).name, made.name)

    def test_an_assertion_of_another_issuer_opens_the_vault(self):
        known = {"issuer": "https://cluster.example/", "subject": sandbox.fresh_name()}
        sandbox.control("federate", client_id=sandbox.VAULT_CLIENT, **known)
        credential = ClientAssertionCredential(
            sandbox.VAULT_TENANT, sandbox.VAULT_CLIENT,
            lambda: sandbox.control("issue-assertion", **known)["assertion"],
            authority=sandbox.ORIGIN, disable_instance_discovery=True,
        )

        with sandbox.vault(credential) as client:
            self.assertEqual(client.get_secret(sandbox.TOKEN["refresh_token"]).name, sandbox.TOKEN["refresh_token"])

    def test_msal_redeems_with_a_managed_identity(self):
        identity = sandbox.control("managed-identity")
        sandbox.control("federate", issuer=identity["issuer"], subject=identity["principal_id"])
        host = sandbox.environment("managed-identity.env")
        answer = requests.get(
            host["IDENTITY_ENDPOINT"],
            params={
                "api-version": "2019-08-01", "resource": "api://AzureADTokenExchange",
                "client_id": identity["client_id"],
            },
            headers={"X-IDENTITY-HEADER": host["IDENTITY_HEADER"]}, timeout=10,
        )
        assertion = answer.json()["access_token"]
        app = msal.ConfidentialClientApplication(
            sandbox.TOKEN["client_id"], client_credential={"client_assertion": lambda: assertion},
            authority=f"{sandbox.ORIGIN}/{sandbox.TOKEN['tenant_id']}", instance_discovery=False,
        )

        redeemed = app.acquire_token_by_refresh_token(sandbox.stored_token(), [PARTNER_CENTER])

        self.assertIn("refresh_token", redeemed)
