"""Lists that are longer than a page."""

import unittest

import sandbox
from azure.core.exceptions import ResourceNotFoundError

VERSIONS = 30
PAGE = 25


class Paging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vault = cls.enterClassContext(sandbox.vault())
        cls.name = sandbox.fresh_name()
        cls.written = {
            cls.vault.set_secret(cls.name, f"value {number}", tags={"number": str(number)}).properties.version
            for number in range(VERSIONS)
        }

    def test_every_version_is_listed_once(self):
        listed = [item.version for item in self.vault.list_properties_of_secret_versions(self.name)]

        self.assertEqual(len(listed), VERSIONS)
        self.assertEqual(set(listed), self.written)

    def test_what_is_listed_tells_all_but_the_value(self):
        by_number = {
            int(item.tags["number"]): item for item in self.vault.list_properties_of_secret_versions(self.name)
        }

        self.assertEqual(sorted(by_number), list(range(VERSIONS)))
        read = self.vault.get_secret(self.name).properties
        newest = by_number[VERSIONS - 1]
        self.assertEqual(newest.id, read.id)
        self.assertEqual(newest.created_on, read.created_on)
        self.assertIs(newest.enabled, True)

    def test_a_page_holds_as_many_as_key_vaults(self):
        pages = self.vault.list_properties_of_secret_versions(self.name).by_page()

        self.assertEqual([len(list(page)) for page in pages], [PAGE, VERSIONS - PAGE])

    def test_smaller_pages_can_be_asked_for(self):
        pages = self.vault.list_properties_of_secret_versions(self.name, max_page_size=12).by_page()

        self.assertEqual([len(list(page)) for page in pages], [12, 12, 6])

    def test_a_list_can_be_taken_up_where_it_was_left(self):
        pages = self.vault.list_properties_of_secret_versions(self.name).by_page()
        first = {item.version for item in next(pages)}

        rest = self.vault.list_properties_of_secret_versions(self.name).by_page(pages.continuation_token)

        self.assertEqual({item.version for page in rest for item in page}, self.written - first)

    def test_the_list_of_secrets_names_each_once_and_no_version(self):
        names = [sandbox.fresh_name() for _ in range(VERSIONS)]
        for name in names:
            self.vault.set_secret(name, "value", content_type="text/plain")

        listed = [item for item in self.vault.list_properties_of_secrets() if item.name in [self.name, *names]]

        self.assertEqual(sorted(item.name for item in listed), sorted([self.name, *names]))
        self.assertEqual({item.version for item in listed}, {None})
        self.assertEqual({item.content_type for item in listed if item.name in names}, {"text/plain"})

    def test_the_list_of_deleted_secrets_names_each_once(self):
        names = [sandbox.fresh_name() for _ in range(VERSIONS)]
        for name in names:
            self.vault.set_secret(name, "value", tags={"a": "b"})
            self.vault.begin_delete_secret(name, _polling_interval=0).wait()

        pages = [list(page) for page in self.vault.list_deleted_secrets(max_page_size=12).by_page()]

        self.assertLessEqual(max(len(page) for page in pages), 12)
        listed = [item for page in pages for item in page if item.name in names]
        self.assertEqual(sorted(item.name for item in listed), sorted(names))
        for item in listed:
            self.assertEqual(item.recovery_id, f"{sandbox.ORIGIN}/deletedsecrets/{item.name}")
            self.assertIsNone(item.properties.version)
            self.assertEqual(item.properties.tags, {"a": "b"})
            self.assertGreater(item.scheduled_purge_date, item.deleted_date)

    def test_there_are_no_versions_of_what_is_not_there(self):
        with self.assertRaises(ResourceNotFoundError):
            list(self.vault.list_properties_of_secret_versions("never-written"))
