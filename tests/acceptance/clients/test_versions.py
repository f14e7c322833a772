"""Writing, reading, changing and disabling versions."""

import datetime
import unittest

import sandbox
from azure.core.exceptions import HttpResponseError

STARTS = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
ENDS = datetime.datetime(2031, 6, 7, 8, 9, 10, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)


class Versions(unittest.TestCase):
    def setUp(self):
        self.vault = self.enterContext(sandbox.vault())
        self.name = sandbox.fresh_name()

    def test_what_is_written_is_what_is_read(self):
        tags = {"managed-by": "a test", "empty": "", "ümlaut": "größe"}

        written = self.vault.set_secret(
            self.name, "välue", content_type="text/plain", tags=tags, not_before=STARTS, expires_on=ENDS
        )
        read = self.vault.get_secret(self.name)

        for secret in (written, read):
            self.assertEqual(secret.value, "välue")
            self.assertEqual(secret.name, self.name)
            self.assertRegex(secret.properties.version, "^[0-9a-f]{32}$")
            self.assertEqual(secret.properties.content_type, "text/plain")
            self.assertEqual(secret.properties.tags, tags)
            self.assertEqual(secret.properties.not_before, STARTS)
            self.assertEqual(secret.properties.expires_on, ENDS)
            self.assertIs(secret.properties.enabled, True)
            self.assertEqual(secret.properties.vault_url, sandbox.ORIGIN)
        self.assertEqual(read.id, written.id)

    def test_the_vault_says_when_a_version_was_written_and_how_it_is_kept(self):
        properties = self.vault.set_secret(self.name, "value").properties

        now = datetime.datetime.fromisoformat(sandbox.state()["now"])
        self.assertLess(abs(now - properties.created_on), MINUTE)
        self.assertEqual(properties.updated_on, properties.created_on)
        self.assertEqual(properties.recovery_level, "Recoverable+Purgeable")
        self.assertEqual(properties.recoverable_days, 90)

    def test_a_new_version_takes_nothing_over(self):
        self.vault.set_secret(self.name, "one", content_type="text/plain", tags={"a": "b"}, expires_on=ENDS)

        properties = self.vault.set_secret(self.name, "two").properties

        self.assertIsNone(properties.content_type)
        self.assertIsNone(properties.expires_on)
        self.assertFalse(properties.tags)

    def test_an_old_version_can_still_be_read(self):
        first = self.vault.set_secret(self.name, "one")
        second = self.vault.set_secret(self.name, "two")

        self.assertEqual(self.vault.get_secret(self.name).value, "two")
        self.assertEqual(self.vault.get_secret(self.name, first.properties.version).value, "one")
        self.assertEqual(self.vault.get_secret(self.name, second.properties.version).value, "two")

    def test_names_are_compared_without_regard_to_case(self):
        self.vault.set_secret(self.name, "value")

        read = self.vault.get_secret(self.name.upper())

        self.assertEqual(read.value, "value")

    def test_an_update_changes_what_it_names_and_nothing_else(self):
        written = self.vault.set_secret(self.name, "value", content_type="text/plain", tags={"a": "b"})

        changed = self.vault.update_secret_properties(
            self.name, written.properties.version, expires_on=ENDS, tags={"c": "d"}
        )
        read = self.vault.get_secret(self.name)

        self.assertEqual(changed.id, written.id)
        for properties in (changed, read.properties):
            self.assertEqual(properties.expires_on, ENDS)
            self.assertEqual(properties.tags, {"c": "d"})
            self.assertEqual(properties.content_type, "text/plain")
            self.assertEqual(properties.created_on, written.properties.created_on)
        self.assertEqual(read.value, "value")

    def test_an_update_without_a_version_changes_the_newest(self):
        first = self.vault.set_secret(self.name, "one")
        second = self.vault.set_secret(self.name, "two")

        changed = self.vault.update_secret_properties(self.name, content_type="text/plain")

        self.assertEqual(changed.version, second.properties.version)
        kept = self.vault.get_secret(self.name, first.properties.version)
        self.assertIsNone(kept.properties.content_type)

    def test_a_disabled_version_is_not_read_and_says_so(self):
        written = self.vault.set_secret(self.name, "value")

        changed = self.vault.update_secret_properties(self.name, written.properties.version, enabled=False)

        self.assertIs(changed.enabled, False)
        with self.assertRaises(HttpResponseError) as refused:
            self.vault.get_secret(self.name)
        self.assertEqual(refused.exception.status_code, 403)
        self.assertEqual(refused.exception.error.code, "Forbidden")
        self.assertEqual(refused.exception.error.innererror["code"], "SecretDisabled")

        self.vault.update_secret_properties(self.name, written.properties.version, enabled=True)
        self.assertEqual(self.vault.get_secret(self.name).value, "value")

    def test_a_version_can_be_written_disabled(self):
        written = self.vault.set_secret(self.name, "value", enabled=False)

        self.assertIs(written.properties.enabled, False)

    def test_what_does_not_fit_is_refused(self):
        too_much = {
            "value": {"value": "x" * (25 * 1024 + 1)},
            "tags": {"value": "x", "tags": {f"tag-{number}": "" for number in range(16)}},
            "tag": {"value": "x", "tags": {"tag": "x" * 513}},
        }
        for what, request in too_much.items():
            with self.subTest(what), self.assertRaises(HttpResponseError) as refused:
                self.vault.set_secret(self.name, **request)
            self.assertEqual(refused.exception.status_code, 400)
            self.assertEqual(refused.exception.error.code, "BadParameter")
