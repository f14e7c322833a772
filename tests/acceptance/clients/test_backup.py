"""Backups, and the vault's answers to requests that the sandbox does not serve."""

import unittest

import requests
import sandbox
from azure.core.exceptions import HttpResponseError
from azure.core.exceptions import ResourceExistsError
from azure.core.exceptions import ResourceNotFoundError

AT_ONCE = {"_polling_interval": 0}


class Backup(unittest.TestCase):
    def setUp(self):
        self.vault = self.enterContext(sandbox.vault())
        self.name = sandbox.fresh_name()
        self.first = self.vault.set_secret(self.name, "one", tags={"a": "b"}, content_type="text/plain")
        self.second = self.vault.set_secret(self.name, "two", enabled=False)

    def purge(self):
        self.vault.begin_delete_secret(self.name, **AT_ONCE).wait()
        self.vault.purge_deleted_secret(self.name)

    def versions(self):
        listed = self.vault.list_properties_of_secret_versions(self.name)
        return {item.version: (item.enabled, item.tags, item.content_type, item.created_on) for item in listed}

    def test_a_restored_secret_has_its_versions_with_ids_attributes_and_tags(self):
        before = self.versions()
        backup = self.vault.backup_secret(self.name)
        self.purge()

        restored = self.vault.restore_secret_backup(backup)

        self.assertEqual(restored.id, self.second.id)
        self.assertEqual(self.versions(), before)
        self.assertEqual(self.vault.get_secret(self.name, self.first.properties.version).value, "one")

    def test_a_backup_does_not_show_the_value(self):
        self.assertNotIn(b"two", self.vault.backup_secret(self.name))

    def test_a_backup_is_not_restored_over_a_secret_that_exists_or_can_be_recovered(self):
        backup = self.vault.backup_secret(self.name)
        for deleted in (False, True):
            if deleted:
                self.vault.begin_delete_secret(self.name, **AT_ONCE).wait()
            with self.subTest(deleted=deleted), self.assertRaises(ResourceExistsError) as refused:
                self.vault.restore_secret_backup(backup)
            self.assertEqual(refused.exception.error.code, "Conflict")
            self.assertIn("There was a conflict restoring the secret", refused.exception.message)

    def test_what_is_no_backup_is_not_restored(self):
        with self.assertRaises(HttpResponseError) as refused:
            self.vault.restore_secret_backup(b"\0" * 4096)
        self.assertEqual(refused.exception.status_code, 400)
        self.assertEqual(refused.exception.error.code, "Malformed backup blob")

    def test_what_is_not_there_has_no_backup(self):
        with self.assertRaises(ResourceNotFoundError) as refused:
            self.vault.backup_secret("never-written")
        self.assertEqual(refused.exception.error.code, "SecretNotFound")


class NotServed(unittest.TestCase):
    def ask(self, method, path):
        token = sandbox.credential().get_token("https://vault.azure.net/.default").token
        answer = requests.request(
            method,
            f"{sandbox.ORIGIN}{path}?api-version=7.6",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )
        return answer.status_code, answer.json()["error"]["code"]

    def test_each_answer_has_key_vaults_form(self):
        self.assertEqual(self.ask("GET", "/keys/a-key"), (404, "KeyNotFound"))
        self.assertEqual(self.ask("GET", "/certificates/a-certificate"), (404, "CertificateNotFound"))
        self.assertEqual(self.ask("POST", "/keys/a-key/create"), (404, "NotFound"))
        self.assertEqual(self.ask("GET", "/storage/an-account"), (404, "NotFound"))
        self.assertEqual(self.ask("GET", "/secrets/a-secret/latest"), (400, "BadParameter"))
        self.assertEqual(self.ask("PUT", "/secrets"), (405, "MethodNotAllowed"))
