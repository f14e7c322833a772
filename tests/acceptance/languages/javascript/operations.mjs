// Runs each operation of Microsoft's JavaScript client on secrets once. VAULT_URL names the vault, and AZURE_* the client
// identity.
import assert from "node:assert/strict";
import { ClientSecretCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const { VAULT_URL, AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET } = process.env;
const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, {
  authorityHost: AZURE_AUTHORITY_HOST,
  disableInstanceDiscovery: true,
});
// The sandbox's host name is not below Key Vault's domain.
const vault = new SecretClient(VAULT_URL, credential, { disableChallengeResourceVerification: true });

const name = "from-javascript";
const expiresOn = new Date("2031-06-07T08:09:10Z");
const quickly = { intervalInMs: 50 };
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
    assert.equal(await count(vault.listPropertiesOfSecrets()), 1);
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
    assert.equal(await count(vault.listDeletedSecrets()), 1);
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
};

async function count(list) {
  let found = 0;
  for await (const item of list) found += item.name === name;
  return found;
}

async function hasBothVersions() {
  const found = [];
  for await (const item of vault.listPropertiesOfSecretVersions(name)) found.push(item.version);
  assert.deepEqual(found.sort(), [first, second].sort());
}

async function refused(call, statusCode, code) {
  await assert.rejects(call, { statusCode, code });
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
