"""How Key Vault denies access, as its client reports it."""

import time
import unittest

import sandbox
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.exceptions import HttpResponseError
from azure.core.exceptions import ResourceExistsError
from azure.core.exceptions import ResourceNotFoundError
from azure.core.exceptions import ServiceRequestError
from azure.core.exceptions import ServiceResponseError
from azure.keyvault.secrets import ApiVersion


class Forged:
    """A credential with forged tokens."""

    def get_token(self, *scopes, **options):
        return AccessToken("forged", int(time.time()) + 3600)


class ForAnotherAudience:
    """A credential with a valid token for another resource."""

    def get_token(self, *scopes, **options):
        return sandbox.credential().get_token("https://graph.microsoft.com/.default")


class VaultRefusals(unittest.TestCase):
    def setUp(self):
        self.vault = self.enterContext(sandbox.vault())
        self.name = sandbox.fresh_name()

    def test_a_token_that_does_not_open_the_vault_is_not_authenticated(self):
        for credential in (Forged(), ForAnotherAudience()):
            with self.subTest(type(credential).__name__), sandbox.vault(credential) as client:
                with self.assertRaises(ClientAuthenticationError) as refused:
                    client.get_secret(self.name)
                self.assertEqual(refused.exception.status_code, 401)
                self.assertEqual(refused.exception.error.code, "Unauthorized")

    def test_the_challenge_names_key_vaults_own_audience(self):
        with sandbox.vault(verify_challenge_resource=True) as careful:
            with self.assertRaisesRegex(ValueError, "vault.azure.net.* does not match the requested domain"):
                careful.get_secret(self.name)

    def test_who_may_not_is_told_why(self):
        inner_codes = ("ForbiddenByRbac", "ForbiddenByPolicy", "ForbiddenByFirewall", "ForbiddenByConnection")
        for inner in inner_codes:
            fault = {"operation": "set", "status": 403, "code": "Forbidden", "inner": inner}
            with self.subTest(inner), sandbox.fault("key_vault", **fault):
                with self.assertRaises(HttpResponseError) as refused:
                    self.vault.set_secret(self.name, "value")
                self.assertEqual(refused.exception.status_code, 403)
                self.assertEqual(refused.exception.error.code, "Forbidden")
                self.assertEqual(refused.exception.error.innererror["code"], inner)

    def test_a_secret_or_a_version_that_is_not_there(self):
        with self.assertRaises(ResourceNotFoundError) as no_secret:
            self.vault.get_secret(self.name)
        self.vault.set_secret(self.name, "value")
        with self.assertRaises(ResourceNotFoundError) as no_version:
            self.vault.get_secret(self.name, "0" * 32)
        with self.assertRaises(ResourceNotFoundError) as nothing_to_change:
            self.vault.update_secret_properties("never-written", enabled=False)

        for refused in (no_secret, no_version, nothing_to_change):
            self.assertEqual(refused.exception.status_code, 404)
            self.assertEqual(refused.exception.error.code, "SecretNotFound")

    def test_a_name_that_key_vault_does_not_take(self):
        with self.assertRaises(HttpResponseError) as refused:
            self.vault.set_secret("under_score", "value")

        self.assertEqual(refused.exception.status_code, 400)
        self.assertEqual(refused.exception.error.code, "BadParameter")

    def test_a_version_of_the_api_that_key_vault_does_not_know(self):
        with sandbox.vault(api_version="6.9") as client:
            with self.assertRaises(HttpResponseError) as refused:
                client.get_secret(self.name)

        self.assertEqual(refused.exception.status_code, 400)
        self.assertEqual(refused.exception.error.code, "BadParameter")

    def test_every_version_of_the_api_that_the_client_speaks_is_known(self):
        for version in ApiVersion:
            with self.subTest(version.value), sandbox.vault(api_version=version) as client:
                client.set_secret(self.name, version.value)
                self.assertEqual(client.get_secret(self.name).value, version.value)

    def test_a_secret_in_transition_is_a_conflict(self):
        for inner in ("ObjectIsBeingDeleted", "ObjectIsBeingRecovered"):
            fault = {"operation": "set", "status": 409, "code": "Conflict", "inner": inner}
            with self.subTest(inner), sandbox.fault("key_vault", **fault):
                with self.assertRaises(ResourceExistsError) as refused:
                    self.vault.set_secret(self.name, "value")
                self.assertEqual(refused.exception.error.innererror["code"], inner)

    def test_a_throttled_caller_is_told_so(self):
        with sandbox.fault("key_vault", operation="get", status=429, code="Throttled"):
            with self.assertRaises(HttpResponseError) as refused:
                self.vault.get_secret(self.name)

        self.assertEqual(refused.exception.status_code, 429)
        self.assertEqual(refused.exception.error.code, "Throttled")
        self.assertNotIn("Retry-After", refused.exception.response.headers)

    def test_a_patient_client_waits_as_long_as_it_is_told(self):
        self.vault.set_secret(self.name, "value")

        with sandbox.vault(retry_total=1) as patient:
            began = time.monotonic()
            with sandbox.fault("key_vault", operation="get", status=429, code="Throttled", retry_after=1, times=1):
                read = patient.get_secret(self.name)

        self.assertEqual(read.value, "value")
        self.assertGreaterEqual(time.monotonic() - began, 1)

    def test_a_line_that_is_cut_is_no_answer(self):
        with sandbox.fault("key_vault", operation="get", cut=True):
            with self.assertRaises((ServiceRequestError, ServiceResponseError)):
                self.vault.get_secret(self.name)

    def test_an_answer_carries_the_callers_own_id(self):
        seen = {}

        self.vault.set_secret(
            self.name, "value", raw_response_hook=lambda answer: seen.update(answer.http_response.headers)
        )

        headers = {name.lower(): value for name, value in seen.items()}
        self.assertRegex(headers["x-ms-request-id"], "^[0-9a-f-]{36}$")
        self.assertRegex(headers["x-ms-client-request-id"], "^[0-9a-f-]{36}$")
        self.assertIn("addr=127.0.0.1", headers["x-ms-keyvault-network-info"])
