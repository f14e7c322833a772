// A third-party authorization server (oidc-provider) for one user and one app. It rotates refresh tokens. If a client
// redeems a used token again, the server ends all tokens of that sign-in (RFC 9700, 4.14).
//
// Serves its token endpoint under a tenant's path, as Entra does.
import { once } from 'node:events';
import https from 'node:https';
import { Provider } from 'oidc-provider';

const SCOPE = 'openid offline_access';

export class StrictIssuer {
  // Listens on a free port of this machine.
  static async start({ cert, key, tenantId, clientId, clientSecret }) {
    const server = https.createServer({ cert, key }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const issuer = new StrictIssuer();
    issuer.origin = `https://localhost:${server.address().port}`;
    issuer.tokenEndpoint = `${issuer.origin}/${tenantId}/oauth2/v2.0/token`;
    issuer.clientId = clientId;
    issuer.clientSecret = clientSecret;
    issuer.redeemed = 0;
    issuer.refused = [];
    issuer.server = server;
    issuer.provider = provider(`${issuer.origin}/${tenantId}`, clientId, clientSecret);
    issuer.provider.on('grant.success', () => { issuer.redeemed += 1; });
    issuer.provider.on('grant.error', (_, error) => issuer.refused.push(error.error_detail ?? error.message));
    const answer = issuer.provider.callback();
    server.on('request', (request, response) => {
      // The same as in a framework that mounts a handler below a path.
      request.originalUrl = request.url;
      request.url = request.url.replace(`/${tenantId}`, '');
      answer(request, response);
    });
    return issuer;
  }

  // Returns the first refresh token of a family (all tokens of one sign-in), as a sign-in would.
  async signIn() {
    const { Client, Grant, RefreshToken } = this.provider;
    const grant = new Grant({ accountId: 'user', clientId: this.clientId });
    grant.addOIDCScope(SCOPE);
    const grantId = await grant.save();
    const client = await Client.find(this.clientId);
    const now = Math.floor(Date.now() / 1000);
    const token = { client, grantId, accountId: 'user', scope: SCOPE, authTime: now, iiat: now, rotations: 0 };
    return new RefreshToken({ ...token, gty: 'authorization_code' }).save();
  }

  // Whether a redemption of this token would succeed. Redeems nothing.
  async isLive(token) {
    const found = await this.provider.RefreshToken.find(token);
    return Boolean(found && !found.consumed && await this.provider.Grant.find(found.grantId));
  }

  // Redeems a token as a client does.
  async redeem(token) {
    const response = await fetch(this.tokenEndpoint, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: this.clientId,
        client_secret: this.clientSecret,
        refresh_token: token,
      }),
    });
    return { status: response.status, ...await response.json() };
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function provider(base, clientId, clientSecret) {
  return new Provider(base, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://localhost/signed-in'],
      token_endpoint_auth_method: 'client_secret_post',
    }],
    routes: { token: '/oauth2/v2.0/token' },
    rotateRefreshToken: true,
    ttl: { AccessToken: 3600, Grant: 90 * 86400, IdToken: 3600, RefreshToken: 90 * 86400 },
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    features: { devInteractions: { enabled: false } },
  });
}
