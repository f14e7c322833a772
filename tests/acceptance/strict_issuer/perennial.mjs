// The program under test, and its vault: the one of the sandbox, reached with the host's managed identity.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';

const PATIENCE_MS = 30_000;
const LOOK_EVERY_MS = 10;

// Waits until a condition holds. `what` names it in the error message.
export async function eventually(what, holds) {
  const giveUpAt = Date.now() + PATIENCE_MS;
  while (!await holds()) {
    if (Date.now() > giveUpAt) throw new Error(`it did not come to this: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

export class Vault {
  static async open(url, identity) {
    const endpoint = `${identity.IDENTITY_ENDPOINT}?api-version=2019-08-01&resource=https://vault.azure.net`;
    const response = await fetch(endpoint, { headers: { 'X-IDENTITY-HEADER': identity.IDENTITY_HEADER } });
    const vault = new Vault();
    vault.url = url;
    vault.token = (await response.json()).access_token;
    return vault;
  }

  async call(method, path, body) {
    const response = await fetch(new URL(`${path}${path.includes('?') ? '&' : '?'}api-version=7.6`, this.url), {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async store(name, value) {
    await this.call('PUT', `/secrets/${name}`, { value });
  }

  // Adds faults to calls to the vault, with a control of the sandbox.
  async goesWrong(fault) {
    await this.call('POST', '/_sandbox/faults', { peer: 'key_vault', ...fault });
  }

  // The value that an unversioned read returns, as any script would read it.
  async newest(name) {
    return (await this.call('GET', `/secrets/${name}`)).value;
  }

  async versions(name) {
    const all = [];
    let next = `/secrets/${name}/versions?maxresults=25`;
    while (next) {
      const page = await this.call('GET', next.replace(this.url, '').replace(/api-version=[^&]*&/, ''));
      all.push(...page.value);
      next = page.nextLink;
    }
    return all;
  }
}

// A way to run the program: a configuration for one token, and the environment of its host.
export class Perennial {
  constructor({ program, file, identity, vault, issuer, tenantId, caFile, secret, strict }) {
    this.program = program;
    this.env = { ...identity, PATH: process.env.PATH, PERENNIAL_CONFIG: file, APP_SECRET: issuer.clientSecret };
    writeFileSync(file, `
[vault]
url = "${vault.url}"
credential = "managed_identity"

[cloud]
authority = "${issuer.origin}"
ca_file = "${caFile}"

# Short, so that a day's politeness has room for all these rotations, and longer than they take.
[policy]
rotate_after = "10m"
prove_every = "10m"

[http]
listen = "127.0.0.1:0"

[[token]]
name = "strict"
tenant_id = "${tenantId}"
client_id = "${issuer.clientId}"
client_secret = { env = "APP_SECRET" }
refresh_token = "${secret}"
scope = "openid"
strict = ${strict}
`);
  }

  start(...args) {
    const child = spawn(this.program, [...args, '--log-format', 'json'], { env: this.env });
    child.said = '';
    child.logged = '';
    child.stdout.on('data', (data) => { child.said += data; });
    child.stderr.on('data', (data) => { child.logged += data; });
    return child;
  }

  // One pass, as cron runs it.
  async rotate(...args) {
    const child = this.start('rotate', '--json', ...args);
    const [code] = await once(child, 'close');
    if (!child.said) throw new Error(`rotate ended with ${code}: ${child.logged}`);
    return { code, ...JSON.parse(child.said)[0] };
  }

  // The daemon.
  run() {
    return this.start('run');
  }
}
