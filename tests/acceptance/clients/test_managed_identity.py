"""Identities without a secret: managed identity of the host, and workload identity in a Kubernetes pod."""

import os
import time
import unittest
import unittest.mock
import urllib.parse

import requests
import sandbox
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential
from azure.identity import WorkloadIdentityCredential

FOR_VAULTS = "https://vault.azure.net/.default"
STRANGER = "11111111-1111-1111-1111-111111111111"

# The environment variables of App Service and Container Apps.
APP_SERVICE = sandbox.environment("managed-identity.env")
# A client for a virtual machine uses this address instead of the metadata service's own.
HOST = urllib.parse.urlsplit(APP_SERVICE["IDENTITY_ENDPOINT"])
VIRTUAL_MACHINE = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{HOST.scheme}://{HOST.netloc}"}
POD = sandbox.environment("workload-identity.env")


class ManagedIdentity(unittest.TestCase):
    def on(self, host):
        """Runs the test as on this kind of host."""
        self.enterContext(unittest.mock.patch.dict(os.environ, host))

    def credential(self, **options):
        return self.enterContext(ManagedIdentityCredential(retry_total=0, **options))

    def assertOpensTheVault(self, credential):
        token = credential.get_token(FOR_VAULTS)
        self.assertGreater(token.expires_on, time.time() + 50 * 60)
        self.assertLess(token.expires_on, time.time() + 91 * 60)
        with sandbox.vault(credential) as client:
            written = client.set_secret(sandbox.fresh_name(), "value")
            self.assertEqual(client.get_secret(written.name).value, "value")

    def test_the_identity_of_an_app_service_opens_the_vault(self):
        self.on(APP_SERVICE)

        self.assertOpensTheVault(self.credential())

    def test_the_identity_of_a_virtual_machine_opens_the_vault(self):
        self.on(VIRTUAL_MACHINE)

        self.assertOpensTheVault(self.credential())

    def test_an_identity_can_be_named(self):
        for host in (APP_SERVICE, VIRTUAL_MACHINE):
            with self.subTest(sorted(host)), unittest.mock.patch.dict(os.environ, host):
                self.assertOpensTheVault(self.credential(client_id=sandbox.VAULT_CLIENT))

    def test_an_identity_that_the_host_does_not_have(self):
        for host, said in ((APP_SERVICE, "400, No User Assigned"), (VIRTUAL_MACHINE, "Identity not found")):
            with self.subTest(sorted(host)), unittest.mock.patch.dict(os.environ, host):
                with self.assertRaisesRegex(ClientAuthenticationError, said):
                    self.credential(client_id=STRANGER).get_token(FOR_VAULTS)

    def test_a_caller_without_the_hosts_header_is_turned_away(self):
        self.on(APP_SERVICE | {"IDENTITY_HEADER": "guessed"})

        with self.assertRaisesRegex(ClientAuthenticationError, "401, Invalid"):
            self.credential().get_token(FOR_VAULTS)

    def test_a_request_that_says_nothing_about_metadata_is_turned_away(self):
        # Every client of Microsoft sets this header. A page in a browser cannot set it.
        answer = requests.get(
            VIRTUAL_MACHINE["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + "/metadata/identity/oauth2/token",
            params={"api-version": "2018-02-01", "resource": "https://vault.azure.net"},
            timeout=10,
        )

        self.assertEqual(answer.status_code, 400)


class WorkloadIdentity(unittest.TestCase):
    def credential(self, **changed):
        known = {
            "tenant_id": POD["AZURE_TENANT_ID"],
            "client_id": POD["AZURE_CLIENT_ID"],
            "token_file_path": POD["AZURE_FEDERATED_TOKEN_FILE"],
            "authority": POD["AZURE_AUTHORITY_HOST"],
        }
        made = WorkloadIdentityCredential(**known | changed, disable_instance_discovery=True)
        return self.enterContext(made)

    def test_a_token_of_the_pods_opens_the_vault(self):
        with sandbox.vault(self.credential()) as client:
            written = client.set_secret(sandbox.fresh_name(), "value")
            self.assertEqual(client.get_secret(written.name).value, "value")

    def test_a_token_of_another_issuer_is_rejected_with_its_code(self):
        # Any file with a different text.
        credential = self.credential(token_file_path=os.environ["REQUESTS_CA_BUNDLE"])

        with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS50027"):
            credential.get_token(FOR_VAULTS)
