// Verifies client assertions with jose. Reads a list of them from stdin, each with its certificate, client id and token
// endpoint. Writes a list of results: null, or the error's code and message.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { importX509, jwtVerify } from "jose";

const results = [];
for (const { assertion, certificate, client, endpoint } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const { payload, protectedHeader } = await jwtVerify(assertion, await importX509(certificate, "PS256"), {
      algorithms: ["PS256"],
      audience: endpoint,
      issuer: client,
      subject: client,
      typ: "JWT",
      requiredClaims: ["exp", "nbf", "iat", "jti"],
      maxTokenAge: "10 minutes",
    });
    const fingerprint = Buffer.from(new X509Certificate(certificate).fingerprint256.replaceAll(":", ""), "hex");
    if (protectedHeader["x5t#S256"] !== fingerprint.toString("base64url")) throw new Error("x5t#S256");
    if (payload.aud !== endpoint) throw new Error("aud");
    if (payload.exp - payload.nbf > 600) throw new Error("exp");
    results.push(null);
  } catch (error) {
    results.push(`${error.code ?? "wrong"}: ${error.message}`);
  }
}
console.log(JSON.stringify(results));
