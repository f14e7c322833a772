// Redeems a refresh token and gets a token for the app with msal for Node, whose assertions the recorder sees. Reads the
// app from stdin. Writes whether both answers have an access token.
import { readFileSync } from "node:fs";
import { ConfidentialClientApplication } from "@azure/msal-node";

const { origin, tenant, client, thumbprint, privateKey, refreshToken, scope } = JSON.parse(readFileSync(0, "utf8"));
const host = new URL(origin).host;
const app = new ConfidentialClientApplication({
  auth: {
    clientId: client,
    authority: `${origin}/${tenant}`,
    // Without an instance discovery at Microsoft.
    knownAuthorities: [host],
    clientCertificate: { thumbprintSha256: thumbprint, privateKey },
  },
});
const redeemed = await app.acquireTokenByRefreshToken({ refreshToken, scopes: [scope] });
const own = await app.acquireTokenByClientCredential({ scopes: [scope.replace(/[^/]*$/, ".default")] });
console.log(JSON.stringify({ redeemed: Boolean(redeemed?.accessToken), own: Boolean(own?.accessToken) }));
