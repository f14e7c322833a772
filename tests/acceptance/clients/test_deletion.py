"""Soft delete: delete, get, recover and purge a secret."""

import datetime
import unittest

import sandbox
from azure.core.exceptions import ResourceExistsError
from azure.core.exceptions import ResourceNotFoundError

AT_ONCE = {"_polling_interval": 0}
RETENTION = datetime.timedelta(days=90)


class Deletion(unittest.TestCase):
    def setUp(self):
        self.vault = self.enterContext(sandbox.vault())
        self.name = sandbox.fresh_name()
        self.written = self.vault.set_secret(self.name, "value", tags={"a": "b"})

    def delete(self):
        return self.vault.begin_delete_secret(self.name, **AT_ONCE).result()

    def test_a_deleted_secret_says_until_when_it_can_be_recovered(self):
        deleted = self.delete()
        found = self.vault.get_deleted_secret(self.name)

        for secret in (deleted, found):
            self.assertEqual(secret.name, self.name)
            self.assertEqual(secret.id, self.written.id)
            self.assertEqual(secret.recovery_id, f"{sandbox.ORIGIN}/deletedsecrets/{self.name}")
            self.assertEqual(secret.scheduled_purge_date - secret.deleted_date, RETENTION)
            self.assertEqual(secret.properties.tags, {"a": "b"})

    def test_a_deleted_secret_is_not_found(self):
        self.delete()

        with self.assertRaises(ResourceNotFoundError) as refused:
            self.vault.get_secret(self.name)
        self.assertEqual(refused.exception.error.code, "SecretNotFound")
        self.assertNotIn(self.name, [item.name for item in self.vault.list_properties_of_secrets()])

    def test_the_name_of_a_deleted_secret_is_taken(self):
        self.delete()

        with self.assertRaises(ResourceExistsError) as refused:
            self.vault.set_secret(self.name, "another")
        self.assertEqual(refused.exception.status_code, 409)
        self.assertEqual(refused.exception.error.code, "Conflict")
        self.assertEqual(refused.exception.error.innererror["code"], "ObjectIsDeletedButRecoverable")

    def test_a_deletion_is_waited_for(self):
        not_yet = {"operation": "get_deleted", "subject": self.name, "status": 404, "code": "SecretNotFound"}
        with sandbox.fault("key_vault", **not_yet, times=2):
            poller = self.vault.begin_delete_secret(self.name, **AT_ONCE)
            poller.wait()

        self.assertEqual(self.vault.get_deleted_secret(self.name).name, self.name)

    def test_a_recovered_secret_has_all_its_versions(self):
        self.vault.set_secret(self.name, "newer")
        self.delete()

        recovered = self.vault.begin_recover_deleted_secret(self.name, **AT_ONCE).result()

        self.assertEqual(recovered.name, self.name)
        self.assertEqual(self.vault.get_secret(self.name).value, "newer")
        self.assertEqual(self.vault.get_secret(self.name, self.written.properties.version).value, "value")
        with self.assertRaises(ResourceNotFoundError):
            self.vault.get_deleted_secret(self.name)

    def test_the_name_of_a_purged_secret_is_free_and_its_past_gone(self):
        self.delete()

        self.vault.purge_deleted_secret(self.name)

        with self.assertRaises(ResourceNotFoundError):
            self.vault.get_deleted_secret(self.name)
        with self.assertRaises(ResourceNotFoundError):
            self.vault.begin_recover_deleted_secret(self.name, **AT_ONCE)
        self.vault.set_secret(self.name, "another")
        versions = [item.version for item in self.vault.list_properties_of_secret_versions(self.name)]
        self.assertEqual(len(versions), 1)
        self.assertNotEqual(versions, [self.written.properties.version])

    def test_what_was_never_written_cannot_be_deleted(self):
        with self.assertRaises(ResourceNotFoundError):
            self.vault.begin_delete_secret("never-written")
