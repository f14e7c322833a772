// What the operations share: the vault's clients, the sandbox's controls below `/_sandbox/`, and the check of a rejection.
// VAULT_URL names the vault, and AZURE_* the client identity.
import assert from "node:assert/strict";
import { ClientSecretCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const { AZURE_AUTHORITY_HOST, AZURE_CLIENT_SECRET } = process.env;
export const { VAULT_URL, AZURE_TENANT_ID, AZURE_CLIENT_ID } = process.env;
export const entra = { authorityHost: AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true };
export const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, entra);
// The sandbox's host name is not below Key Vault's domain.
export const options = { disableChallengeResourceVerification: true };
export const quickly = { intervalInMs: 50 };
export const vault = new SecretClient(VAULT_URL, credential, options);

export async function count(list, name) {
  let found = 0;
  for await (const item of list) found += item.name === name;
  return found;
}

export async function refused(call, statusCode, code) {
  await assert.rejects(call, { statusCode, code });
}

// Uses a control of the sandbox.
export async function control(name, form, method = "POST") {
  const answer = await fetch(`${VAULT_URL}/_sandbox/${name}`, { method, body: form && JSON.stringify(form) });
  assert.ok(answer.ok, `${name}: ${answer.status}`);
  return answer.json();
}
