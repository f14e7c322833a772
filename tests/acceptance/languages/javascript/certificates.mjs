// The operations of Microsoft's JavaScript clients on certificates and keys, and a certificate that proves an app to Entra.
import assert from "node:assert/strict";
import { constants, createHash, createPrivateKey, verify, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { ClientCertificateCredential } from "@azure/identity";
import { CertificateClient } from "@azure/keyvault-certificates";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";
import {
  AZURE_CLIENT_ID, AZURE_TENANT_ID, VAULT_URL, control, count, credential, entra, options, quickly, refused, vault,
} from "./sandbox.mjs";

const PEM = "application/x-pem-file";
const PKCS12 = "application/x-pkcs12";

const certificates = new CertificateClient(VAULT_URL, credential, options);
const keys = new KeyClient(VAULT_URL, credential, options);

const name = "certificate-from-javascript";
const inPem = "pem-from-javascript";
const unknown = "never-made";
const text = Buffer.from("text");
const digest = createHash("sha256").update(text).digest();
// The two versions of the first certificate, whose key never leaves the vault, and the certificate in PEM.
let first, second, pem;

export const operations = {
  async "create a certificate"() {
    first = await make(name, PKCS12, { exportable: false });
    second = await make(name, PKCS12, { exportable: false });
    pem = await make(inPem, PEM);
    assert.notEqual(first.properties.version, second.properties.version);
    assert.notDeepEqual(first.cer, second.cer);
  },

  async "get a certificate"() {
    for (const made of [second, pem]) {
      const read = await certificates.getCertificate(made.name);
      const certificate = new X509Certificate(read.cer);
      assert.equal(read.id, made.id);
      assert.deepEqual(read.cer, made.cer);
      assert.equal(certificate.subject, "CN=Contoso");
      assert.deepEqual(read.properties.expiresOn, new Date(certificate.validTo));
      assert.deepEqual(read.properties.notBefore, new Date(certificate.validFrom));
      assert.equal(hex(read.properties.x509Thumbprint), certificate.fingerprint.replaceAll(":", ""));
      assert.deepEqual(read.properties.tags, { of: "test" });
      assert.equal(read.keyId, `${VAULT_URL}/keys/${read.name}/${read.properties.version}`);
      assert.equal(read.secretId, `${VAULT_URL}/secrets/${read.name}/${read.properties.version}`);
    }
  },

  async "get a version of a certificate"() {
    const read = await certificates.getCertificateVersion(name, first.properties.version);
    assert.equal(read.id, first.id);
    assert.deepEqual(read.cer, first.cer);
  },

  async "get a policy"() {
    const policy = await certificates.getCertificatePolicy(name);
    assert.equal(policy.subject, "CN=Contoso");
    assert.equal(policy.issuerName, "Self");
    assert.equal(policy.contentType, PKCS12);
    assert.equal(policy.exportable, false);
    assert.equal(policy.keyType, "RSA");
    assert.equal(policy.keySize, 2048);
    assert.equal(policy.validityInMonths, 24);
    assert.equal((await certificates.getCertificatePolicy(inPem)).contentType, PEM);
  },

  async "list certificates"() {
    assert.equal(await count(certificates.listPropertiesOfCertificates(), name), 1);
    assert.equal(await count(certificates.listPropertiesOfCertificates(), inPem), 1);
  },

  async "list versions of a certificate"() {
    const found = [];
    for await (const item of certificates.listPropertiesOfCertificateVersions(name)) found.push(item.version);
    assert.deepEqual(found.sort(), [first.properties.version, second.properties.version].sort());
  },

  async "get the secret of a certificate"() {
    assert.equal(await count(vault.listPropertiesOfSecrets(), inPem), 1);
    const { value } = await vault.getSecret(inPem);
    const certificate = new X509Certificate(value);
    assert.deepEqual(certificate.raw, Buffer.from(pem.cer));
    assert.ok(certificate.checkPrivateKey(createPrivateKey(value)));
    // Without a private key, it cannot serve a connection.
    const pfx = Buffer.from((await vault.getSecret(name)).value, "base64");
    assert.throws(() => createSecureContext({ pfx }), /private key/);
    await refused(vault.setSecret(inPem, "value"), 409, "Conflict");
  },

  async "import PKCS#12"() {
    const made = await make("exported-from-javascript", PKCS12);
    const content = Buffer.from((await vault.getSecret(made.name)).value, "base64");
    createSecureContext({ pfx: content });
    await imports("pkcs12-to-javascript", content, made, PKCS12);
  },

  async "import PEM"() {
    await imports("pem-to-javascript", Buffer.from((await vault.getSecret(inPem)).value), pem, PEM);
  },

  async "get a key"() {
    const key = await keys.getKey(name);
    const { n, e } = new X509Certificate(second.cer).publicKey.export({ format: "jwk" });
    assert.equal(key.id, second.keyId);
    assert.equal(key.keyType, "RSA");
    assert.equal(Buffer.from(key.key.n).toString("base64url"), n);
    assert.equal(Buffer.from(key.key.e).toString("base64url"), e);
    assert.equal(key.properties.managed, true);
    assert.equal((await keys.getKey(name, { version: first.properties.version })).id, first.keyId);
  },

  async "sign PS256"() {
    const { result, keyID } = await signer(second.keyId).sign("PS256", digest);
    assert.equal(keyID, second.keyId);
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
    assert.ok(signed(second, result, padding));
    assert.ok(!signed(first, result, padding));
  },

  async "sign RS256"() {
    const { result } = await signer(second.keyId).sign("RS256", digest);
    assert.ok(signed(second, result));
    assert.ok(!signed(first, result));
    assert.ok(signed(first, (await signer(first.keyId).sign("RS256", digest)).result));
  },

  async "authenticate with a certificate"() {
    const { value } = await vault.getSecret(inPem);
    const app = () => new ClientCertificateCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, { certificate: value }, entra);
    const token = () => app().getToken("https://vault.azure.net/.default");
    await assert.rejects(token(), /AADSTS700027/);

    const known = { client_id: AZURE_CLIENT_ID, name: inPem };
    const { thumbprint } = await control("register-certificate", known);
    assert.equal(thumbprint, hex(pem.properties.x509Thumbprint));
    assert.ok((await token()).expiresOnTimestamp > Date.now());
    const opened = new SecretClient(VAULT_URL, app(), options);
    assert.equal((await opened.getSecret(inPem)).value, value);

    await control("remove-certificate", { client_id: AZURE_CLIENT_ID, thumbprint });
    await assert.rejects(token(), /AADSTS700027/);
  },

  // The sandbox's app has all rights. A fault gives the answer of Key Vault to an app without the right.
  async "without the right"() {
    const policy = { issuerName: "Self", subject: "CN=Contoso" };
    const calls = {
      get_certificate: () => certificates.getCertificate(name),
      list_certificates: () => count(certificates.listPropertiesOfCertificates(), name),
      list_certificate_versions: () => count(certificates.listPropertiesOfCertificateVersions(name), name),
      create_certificate: () => certificates.beginCreateCertificate(unknown, policy, quickly),
      import_certificate: () => certificates.importCertificate(unknown, text),
      get_key: () => keys.getKey(name),
      sign: () => signer(second.keyId).sign("RS256", digest),
    };
    for (const [operation, call] of Object.entries(calls)) {
      const fault = { peer: "key_vault", operation, status: 403, code: "Forbidden", inner: "ForbiddenByRbac", times: 1 };
      await control("faults", fault);
      try {
        await refused(call(), 403, "Forbidden");
      } finally {
        await control("faults", undefined, "DELETE");
      }
    }
  },

  async "what is not there"() {
    const version = "0".repeat(32);
    await refused(certificates.getCertificate(unknown), 404, "CertificateNotFound");
    await refused(certificates.getCertificateVersion(name, version), 404, "CertificateNotFound");
    await refused(certificates.getCertificatePolicy(unknown), 404, "CertificateNotFound");
    await refused(keys.getKey(unknown), 404, "KeyNotFound");
    await refused(keys.getKey(name, { version }), 404, "KeyNotFound");
    await refused(signer(`${VAULT_URL}/keys/${unknown}/${version}`).sign("RS256", digest), 404, "KeyNotFound");
  },
};

async function make(name, contentType, more = {}) {
  const policy = {
    issuerName: "Self", subject: "CN=Contoso", keyType: "RSA", keySize: 2048, contentType, validityInMonths: 24,
    exportable: true, ...more,
  };
  const poller = await certificates.beginCreateCertificate(name, policy, { tags: { of: "test" }, ...quickly });
  return poller.pollUntilDone();
}

// Imports a certificate with its key, and shows that the vault has both.
async function imports(name, content, made, contentType) {
  const imported = await certificates.importCertificate(name, content, { policy: { issuerName: "Self", contentType } });
  assert.equal(imported.name, name);
  assert.deepEqual(imported.cer, made.cer);
  assert.equal((await certificates.getCertificatePolicy(name)).contentType, contentType);
  assert.ok(signed(made, (await signer(imported.keyId).sign("RS256", digest)).result));
}

function signer(key) {
  return new CryptographyClient(key, credential, options);
}

function signed(certificate, signature, padding = {}) {
  return verify("sha256", text, { key: new X509Certificate(certificate.cer).publicKey, ...padding }, signature);
}

function hex(bytes) {
  return Buffer.from(bytes).toString("hex").toUpperCase();
}
