"""The app with access to the vault signs in with azure-identity and with msal."""

import time
import unittest

import msal
import sandbox
from azure.core.exceptions import ClientAuthenticationError

FOR_VAULTS = "https://vault.azure.net/.default"


class Identity(unittest.TestCase):
    def test_a_client_secret_brings_a_token_for_the_vault(self):
        with sandbox.credential() as credential:
            token = credential.get_token(FOR_VAULTS)

        self.assertGreater(token.expires_on, time.time() + 50 * 60)
        self.assertLess(token.expires_on, time.time() + 91 * 60)

    def test_the_client_finds_its_tenant_in_the_challenge(self):
        with sandbox.credential() as credential, sandbox.vault(credential) as client:
            client.set_secret(sandbox.fresh_name(), "value")

    def test_an_identity_of_another_tenant_does_not_follow_the_challenge(self):
        another = "11111111-1111-1111-1111-111111111111"
        with sandbox.credential(tenant_id=another) as stranger, sandbox.vault(stranger) as client:
            with self.assertRaisesRegex(ClientAuthenticationError, sandbox.VAULT_TENANT):
                client.get_secret("anything")

    def test_a_wrong_secret_is_told_by_its_code(self):
        with sandbox.credential(client_secret="wrong") as credential:
            with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS7000215"):
                credential.get_token(FOR_VAULTS)

    def test_an_app_that_the_tenant_does_not_know(self):
        with sandbox.credential(client_id="11111111-1111-1111-1111-111111111111") as credential:
            with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS700016"):
                credential.get_token(FOR_VAULTS)

    def test_a_tenant_that_is_not_there(self):
        with sandbox.credential(tenant_id="11111111-1111-1111-1111-111111111111") as credential:
            with self.assertRaises(ClientAuthenticationError):
                credential.get_token(FOR_VAULTS)

    def test_a_resource_that_the_tenant_does_not_know(self):
        with sandbox.credential() as credential:
            with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS500011"):
                credential.get_token("https://nothing.example/.default")

    def test_msal_keeps_the_token_and_asks_no_second_time(self):
        app = msal.ConfidentialClientApplication(
            sandbox.VAULT_CLIENT,
            client_credential=sandbox.VAULT_CLIENT_SECRET,
            authority=f"{sandbox.ORIGIN}/{sandbox.VAULT_TENANT}",
            instance_discovery=False,
        )

        first = app.acquire_token_for_client([FOR_VAULTS])
        second = app.acquire_token_for_client([FOR_VAULTS])

        self.assertEqual(first["token_source"], "identity_provider")
        self.assertEqual(first["token_type"], "Bearer")
        self.assertEqual(second["token_source"], "cache")
        self.assertEqual(second["access_token"], first["access_token"])
        self.assertNotIn("refresh_token", first)
