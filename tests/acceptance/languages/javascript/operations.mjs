// Runs each operation of Microsoft's JavaScript clients on secrets, certificates and keys once.
import assert from "node:assert/strict";
import { operations as onCertificates } from "./certificates.mjs";
import { VAULT_URL, count, quickly, refused, vault } from "./sandbox.mjs";

const name = "from-javascript";
const expiresOn = new Date("2031-06-07T08:09:10Z");
// The two versions that the program writes, and the backup of both.
let first, second, backup;

const operations = {
  async set() {
    const write = async (value) => {
      // This version of the client sends no content type. Version 4.12.0 sends one, but needs node 22.
      const written = await vault.setSecret(name, value, { tags: { of: value }, expiresOn });
      return written.properties.version;
    };
    first = await write("one");
    second = await write("two");
  },

  async get() {
    const secret = await vault.getSecret(name);
    assert.equal(secret.value, "two");
    assert.deepEqual(secret.properties.expiresOn, expiresOn);
  },

  async "get a version"() {
    const secret = await vault.getSecret(name, { version: first });
    assert.equal(secret.value, "one");
    assert.deepEqual(secret.properties.tags, { of: "one" });
  },

  async "update properties"() {
    await vault.updateSecretProperties(name, first, { tags: { of: "one", more: "tags" } });
    const { properties } = await vault.getSecret(name, { version: first });
    assert.deepEqual(properties.tags, { of: "one", more: "tags" });
    assert.deepEqual(properties.expiresOn, expiresOn);
  },

  async "list properties"() {
    assert.equal(await count(vault.listPropertiesOfSecrets(), name), 1);
  },

  async "list versions"() {
    await hasBothVersions();
  },

  async "back up"() {
    backup = await vault.backupSecret(name);
  },

  async delete() {
    const deleted = await (await vault.beginDeleteSecret(name, quickly)).pollUntilDone();
    assert.equal(deleted.scheduledPurgeDate - deleted.deletedOn, 90 * 24 * 60 * 60 * 1000);
    await refused(vault.getSecret(name), 404, "SecretNotFound");
  },

  async "get deleted"() {
    const deleted = await vault.getDeletedSecret(name);
    assert.equal(deleted.properties.version, second);
    assert.equal(deleted.recoveryId, `${VAULT_URL}/deletedsecrets/${name}`);
  },

  async "list deleted"() {
    assert.equal(await count(vault.listDeletedSecrets(), name), 1);
  },

  async recover() {
    await (await vault.beginRecoverDeletedSecret(name, quickly)).pollUntilDone();
    assert.equal((await vault.getSecret(name)).value, "two");
  },

  async purge() {
    await refused(vault.restoreSecretBackup(backup), 409, "Conflict");
    await (await vault.beginDeleteSecret(name, quickly)).pollUntilDone();
    await vault.purgeDeletedSecret(name);
    await refused(vault.getDeletedSecret(name), 404, "SecretNotFound");
  },

  async restore() {
    const restored = await vault.restoreSecretBackup(backup);
    assert.equal(restored.version, second);
    await hasBothVersions();
    assert.equal((await vault.getSecret(name)).value, "two");
  },

  ...onCertificates,
};

async function hasBothVersions() {
  const found = [];
  for await (const item of vault.listPropertiesOfSecretVersions(name)) found.push(item.version);
  assert.deepEqual(found.sort(), [first, second].sort());
}

let passed = 0;
for (const [operation, run] of Object.entries(operations)) {
  try {
    await run();
    passed += 1;
  } catch (error) {
    console.log(`${operation}: ${error.message}`);
  }
}
const all = Object.keys(operations).length;
console.log(`${passed} of ${all} operations`);
process.exit(passed === all ? 0 : 1);
