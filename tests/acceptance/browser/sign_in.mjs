// Tests a sign-in with a real browser: `perennial login` against `perennial sandbox`, in Chromium. A scripted client cannot
// show two things. The content security policies let the browser through, including forms and redirects to the loopback
// address. The last page contains no code.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PATIENCE, PERENNIAL, lab, start } from './lab.mjs';

const AUTHORIZE = /https:\/\/localhost:\d+\/\S+\/oauth2\/v2\.0\/authorize\?\S+/;
const INTEGRATION = 'integration@partner.onmicrosoft.com';
const PASSWORD_ONLY = 'password-only@partner.onmicrosoft.com';

/** Runs one login and lets `person` act on the page. */
async function login(browser, config, args, person) {
  const program = start(['login', 'partner-center', '--config', config, '--json', ...args]);
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  // If a policy blocks something, the browser says so here.
  const complaints = [];
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
  const shown = await person(page, program);
  const outcome = await program.ended;
  await context.close();
  const about_icons = (text) => /favicon|404 \(Not Found\)/.test(text);
  assert.deepEqual(complaints.filter((text) => !about_icons(text)), [], 'the browser complains of nothing');
  assert.doesNotMatch(shown, /0\.A[QX]/, 'no code and no token on the last page');
  return { ...outcome, shown };
}

const choose = (page, upn) => page.getByRole('button', { name: upn }).click();

await lab(async ({ browser, config, sandbox }) => {
  // The answer is a form, so the code is never part of an address.
  const first = await login(browser, config, [], async (page, program) => {
    await page.goto(await program.line(AUTHORIZE));
    await choose(page, INTEGRATION);
    await page.locator('#continue').click();
    await page.getByRole('heading', { name: 'Signed in' }).waitFor();
    assert.match(page.url(), /^http:\/\/localhost:\d+\/$/);
    return page.content();
  });
  assert.equal(first.code, 0, first.all);
  const result = JSON.parse(first.stdout);
  assert.equal(result.partner_center_accepts, true);
  console.log('ok: signed in by form_post');

  const { stdout } = await promisify(execFile)(PERENNIAL, ['status', '--config', config, '--json']);
  const status = JSON.parse(stdout);
  assert.equal(status.tokens[0].version, result.version);
  assert.deepEqual(status.conditions.filter((condition) => condition.severity === 'critical'), []);
  console.log('ok: the vault holds it, and nothing is critical');

  // The answer is a redirect, to the port that --no-browser keeps open for port forwarding.
  const second = await login(browser, config, ['--no-browser'], async (page, program) => {
    await page.goto(await program.line(AUTHORIZE));
    await choose(page, INTEGRATION);
    await page.getByRole('heading', { name: 'Signed in' }).waitFor();
    return page.content();
  });
  assert.equal(second.code, 0, second.all);
  console.log('ok: signed in by redirect');

  // Without a second factor, the page says why no token was stored.
  const third = await login(browser, config, ['--replace-user'], async (page, program) => {
    await page.goto(await program.line(AUTHORIZE));
    await choose(page, PASSWORD_ONLY);
    await page.locator('#continue').click();
    await page.getByRole('heading', { name: 'Not stored' }).waitFor();
    return page.content();
  });
  assert.equal(third.code, 3, third.all);
  assert.match(third.shown, /second factor/);
  console.log('ok: without a second factor nothing is stored, and the page says why');

  // The user signs in on another device.
  const fourth = await login(browser, config, ['--device-code'], async (page, program) => {
    const told = await program.line(/Open https:\/\/\S+ on any device and type \S+/);
    const [, address, code] = told.match(/Open (\S+) on any device and type (\S+)/);
    await page.goto(address);
    await page.getByLabel('Code').fill(code);
    await page.locator('#next').click();
    await choose(page, INTEGRATION);
    await page.locator('#done').waitFor();
    return page.content();
  });
  assert.equal(fourth.code, 0, fourth.all);
  console.log('ok: signed in by device code');

  sandbox.child.kill('SIGTERM');
  assert.equal((await sandbox.ended).code, 0);
}, '--never-signed-in');
