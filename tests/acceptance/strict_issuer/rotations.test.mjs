// A hundred rotations against a strict issuer. If a redeemed token's successor is not saved, the token is lost, and with it
// all tokens of that sign-in.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { StrictIssuer } from './issuer.mjs';
import { Perennial, Vault, eventually } from './perennial.mjs';

const { LAB: lab, PROGRAM: program } = process.env;
const tenantId = '6f1c0f9a-3f0e-4d55-9d0f-2b7a4c1e8d10';
const clientId = '0a9d3c52-7b1e-4f6a-8c3d-5e2f1a7b9c04';
const EACH_WAY = 50;
const A_DAEMON = 10;

// Faults during the write of some rotations: the vault is down, or its answer is lost.
const TROUBLE = new Map([
  [20, { operation: 'set', status: 503, times: 1 }],
  [40, { operation: 'set', cut: true, when: 'after', times: 1 }],
]);

let issuer;
let vault;
let identity;

before(async () => {
  const read = (name) => readFileSync(join(lab, name), 'utf8');
  identity = Object.fromEntries(read('managed-identity.env').trim().split('\n').map((line) => line.split(/=(.*)/s)));
  vault = await Vault.open(/^url = "(.*)"$/m.exec(read('perennial.toml'))[1], identity);
  issuer = await StrictIssuer.start({
    cert: read('leaf.pem'), key: read('leaf.key'), tenantId, clientId, clientSecret: 'a secret+of&the~app',
  });
});

after(() => issuer.stop());

async function perennialFor(secret, strict) {
  await vault.store(secret, await issuer.signIn());
  const file = join(lab, `${secret}.toml`);
  return new Perennial({
    program, file, identity, vault, issuer, tenantId, secret, strict, caFile: join(lab, 'roots.pem'),
  });
}

async function assertLive(secret, when) {
  assert.ok(await issuer.isLive(await vault.newest(secret)), `the vault's newest token is dead ${when}`);
}

test('a hundred rotations, none lost', async (t) => {
  const secret = 'kept';
  const perennial = await perennialFor(secret, true);
  const seen = new Set([await vault.newest(secret)]);

  await t.test(`${EACH_WAY} by as many processes, as cron starts them`, async () => {
    for (let count = 1; count <= EACH_WAY; count += 1) {
      if (TROUBLE.has(count)) await vault.goesWrong({ subject: secret, ...TROUBLE.get(count) });
      const { code, outcome, summary } = await perennial.rotate('--force');
      assert.deepEqual({ code, outcome, summary }, { code: 0, outcome: 'rotated', summary: null });
      await assertLive(secret, `after process ${count}`);
      seen.add(await vault.newest(secret));
      assert.equal(issuer.redeemed, count);
    }
  });

  // A process redeems the token of one user at most fourteen times in five minutes. More would be a loop to Entra.
  await t.test(`${EACH_WAY} by daemons that are told to look by SIGHUP, ${A_DAEMON} each`, async () => {
    for (let before = 0; before < EACH_WAY; before += A_DAEMON) {
      const daemon = perennial.run();
      const ended = once(daemon, 'close');
      try {
        for (let count = 1; count <= A_DAEMON; count += 1) {
          // A new process checks the vault at its start.
          if (count > 1) daemon.kill('SIGHUP');
          const rotated = () => daemon.logged.split('"event":"rotated"').length - 1;
          await eventually(() => `rotation ${before + count}, in ${daemon.logged.slice(-2000)}`, () => {
            assert.equal(daemon.exitCode, null, daemon.logged);
            return rotated() >= count;
          });
          assert.equal(rotated(), count);
          await assertLive(secret, `after signal ${before + count}`);
          seen.add(await vault.newest(secret));
        }
      } finally {
        daemon.kill('SIGTERM');
      }
      assert.deepEqual(await ended, [0, null], daemon.logged);
    }
  });

  await t.test('each of them stands in the vault, and the issuer has refused nothing', async () => {
    assert.equal((await vault.versions(secret)).length, 1 + 2 * EACH_WAY);
    assert.equal(seen.size, 1 + 2 * EACH_WAY);
    assert.equal(issuer.redeemed, 2 * EACH_WAY);
    assert.deepEqual(issuer.refused, []);
    await assertLive(secret, 'at the end');
  });

  await t.test('the last one can be redeemed, and an old one that comes back kills the family', async () => {
    const [first] = seen;
    const answer = await issuer.redeem(await vault.newest(secret));
    assert.equal(answer.status, 200);

    const replayed = await issuer.redeem(first);
    assert.equal(replayed.error, 'invalid_grant');

    const successor = await issuer.redeem(answer.refresh_token);
    assert.equal(successor.error, 'invalid_grant');
  });
});

test('without `strict` a proof spends the token and saves nothing: what is looked at above does go wrong', async () => {
  const secret = 'let-go';
  const perennial = await perennialFor(secret, false);

  // Perennial rotates a foreign version at once, strict or not.
  assert.equal((await perennial.rotate()).outcome, 'rotated');
  await assertLive(secret, 'after the first pass');
  assert.equal((await perennial.rotate()).outcome, 'proved');

  await assert.rejects(assertLive(secret, 'after a proof'), /dead after a proof/);
  const { code, kind } = await perennial.rotate();
  assert.deepEqual({ code, kind }, { code: 3, kind: 'login_required' });
});
