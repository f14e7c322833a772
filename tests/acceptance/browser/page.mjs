// Tests the daemon's status page in Chromium: healthy, with problems, with many tokens, and before the first answer. Each is
// shown on a phone and on a desktop, light and dark. axe-core, the browser's own errors and its accessibility tree judge the
// page. With a folder as second argument, the test writes the pictures of the README there.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PATIENCE, daemon, lab, peers } from './lab.mjs';

const PICTURES = process.argv[3];
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'];
const SCREENS = {
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  desktop: { viewport: { width: 1200, height: 800 } },
};
const SCHEMES = ['light', 'dark'];
// The page reloads after 15 seconds. A slower check uses a paused page.
const RELOADS_WITHIN = 45_000;
const PAUSED = '?paused';
const FLEET = 40;
// The longest possible name, without a place to break it.
const LONG_NAME = 'W'.repeat(64);

const DAY = 86_400_000;
const ago = (days) => new Date(Date.now() - days * DAY).toISOString();

/** A token of the configuration under another name, with its own secrets. */
function named(token, name, own = {}) {
  const put = (text, key, value) => text.replace(new RegExp(`^${key} = .*`, 'm'), `${key} = ${value}`);
  let text = put(put(token, 'name', `"${name}"`), 'refresh_token', `"${name}-token"`);
  if (own.secret) text = put(text, 'client_secret', `{ secret = "${own.secret}" }`);
  return own.owner ? `${text}owner = "${own.owner}"\n` : text;
}

/** A version as a rotation some days ago would have stored it. */
const rotated = (value, age, signed_in) => ({
  value,
  tags: { 'managed-by': 'perennial run', 'issued-at': ago(age), 'signed-in-at': ago(signed_in), 'rotation-id': randomUUID() },
});

/** Opens the page and runs `look`. The browser must report no error. */
async function open(browser, url, options, look) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()} failed`));
  const answer = await page.goto(url);
  assert.equal(answer.status(), 200);
  await look(page);
  assert.deepEqual(complaints, [], 'the browser complains of nothing');
  await context.close();
}

async function judge(page, what) {
  await page.evaluate(AXE);
  const found = await page.evaluate((values) => axe.run(document, { runOnly: { type: 'tag', values } }), RULES);
  const told = (rules) => rules.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.html + node.failureSummary).join('\n')}`);
  assert.deepEqual(told(found.violations), [], `${what}: axe finds violations`);
  assert.deepEqual(told(found.incomplete), [], `${what}: axe cannot tell`);
  assert.ok(found.passes.some((rule) => rule.id === 'color-contrast'), `${what}: axe looked`);
}

/** Checks that the page never scrolls sideways, on the narrowest phone and on a desktop at double size. */
async function narrow(page, what) {
  for (const width of [320, 640]) {
    await page.setViewportSize({ width, height: 640 });
    const [inner, wide] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
    assert.deepEqual([inner, wide], [width, width], `${what}: sideways at ${width}`);
  }
}

async function combinations(browser, url, state, title) {
  for (const [screen, size] of Object.entries(SCREENS)) {
    for (const colorScheme of SCHEMES) {
      await open(browser, url, { ...size, colorScheme }, async (page) => {
        const what = `${screen}, ${colorScheme}, ${state}`;
        assert.match(await page.title(), title);
        if (PICTURES) {
          await page.screenshot({ path: join(PICTURES, `page-${screen}-${colorScheme}-${state}.png`), fullPage: screen === 'desktop' });
        }
        await page.goto(url + PAUSED);
        await judge(page, what);
        await narrow(page, what);
      });
    }
  }
  console.log(`ok: ${state}: axe, policy, title and width, on a phone and at a desk, light and dark`);
}

/** The content of the browser's accessibility tree, by role. */
async function tree(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const of = (role) => nodes.filter((node) => !node.ignored && node.role?.value === role);
  return {
    count: (role) => of(role).length,
    names: (role) => of(role).map((node) => node.name?.value),
    levels: () => of('heading').map((node) => node.properties.find(({ name }) => name === 'level').value.value),
  };
}

async function keyboard(browser, url) {
  await open(browser, url + PAUSED, SCREENS.desktop, async (page) => {
    const links = await page.locator('a:visible').evaluateAll((all) => all.map((link) => link.getAttribute('href')));
    const met = [];
    for (const _ of links) {
      await page.keyboard.press('Tab');
      const { href, outline } = await page.evaluate(() => ({
        href: document.activeElement.getAttribute('href'), outline: getComputedStyle(document.activeElement).outlineStyle,
      }));
      assert.equal(outline, 'solid', `the focus is seen on ${href}`);
      met.push(href);
    }
    assert.deepEqual(met, links, 'every link is met, in order');
    assert.equal(met[0], './', 'the first one goes on or pauses');
    const anchors = met.filter((href) => href.startsWith('#'));
    assert.ok(anchors.length > 0, 'a token in trouble leads to what is wrong');
    for (const anchor of anchors) assert.equal(await page.locator(`[id="${anchor.slice(1)}"]`).count(), 1);

    const nodes = await tree(page);
    for (const landmark of ['banner', 'main', 'contentinfo']) assert.equal(nodes.count(landmark), 1, landmark);
    const levels = nodes.levels();
    assert.equal(levels.filter((level) => level === 1).length, 1);
    levels.reduce((before, level) => (assert.ok(level <= before + 1, `headings skip: ${levels}`), level), 0);
  });
  console.log('ok: by keyboard: every link in order, each focus seen; landmarks and headings in order');
}

/** The verdict changes without script, and the scroll position stays. A paused page does not change. */
async function reloads(browser, url, change) {
  const context = await browser.newContext({ viewport: { width: 320, height: 480 }, javaScriptEnabled: false });
  const at = async (address) => {
    const page = await context.newPage();
    await page.goto(address);
    return page;
  };
  const [plain, jumped, paused] = [await at(url), await at(`${url}#tokens`), await at(url)];
  await paused.getByRole('link', { name: 'Pause' }).click();
  await paused.waitForURL(url + PAUSED);
  let loads = 0;
  paused.on('load', () => { loads += 1; });
  for (const page of [plain, jumped, paused]) assert.match(await page.title(), /^All is well/);
  await change();
  for (const page of [plain, jumped]) {
    while (!/^Action needed/.test(await page.title())) await page.waitForEvent('load', { timeout: RELOADS_WITHIN });
  }
  assert.match(await paused.title(), /^All is well/);
  assert.equal(loads, 0, 'a paused page stays as it is');

  await paused.getByRole('link', { name: 'Resume' }).click();
  await paused.waitForURL(url);
  assert.match(await paused.title(), /^Action needed/);
  await context.close();

  // The page says so when it no longer reloads.
  await open(browser, url + PAUSED, SCREENS.phone, async (page) => {
    const stale = page.getByText('Out of date:');
    assert.equal(await stale.isVisible(), false);
    await page.evaluate(() => document.getAnimations().forEach((animation) => animation.finish()));
    assert.equal(await stale.isVisible(), true);
    await judge(page, 'out of date');
  });
  console.log('ok: it loads itself again without script; paused it stays, and says when it is old');
}

/** Without changes, a page keeps its scroll position. */
async function place(browser, url) {
  await open(browser, url, { viewport: { width: 320, height: 480 } }, async (page) => {
    await page.evaluate(() => scrollTo(0, 333));
    await page.waitForEvent('load', { timeout: RELOADS_WITHIN });
    await page.waitForFunction(() => scrollY === 333);
  });
}

async function fleet(browser, url, title, cards) {
  for (const size of Object.values(SCREENS)) {
    await open(browser, url + PAUSED, size, async (page) => {
      assert.match(await page.title(), title);
      await judge(page, 'fleet');
      assert.equal(await page.locator('article:not(.trouble)').count(), cards);
      // On a phone, rows are shown as blocks. A screen reader must still see table rows.
      const nodes = await tree(page);
      const rows = FLEET - cards;
      assert.deepEqual(['table', 'columnheader', 'row', 'rowheader', 'cell'].map(nodes.count), [1, 7, rows + 1, rows, 6 * rows]);
      // A link to a folded action opens it.
      if (cards > 0) {
        const href = await page.evaluate(() => [...document.querySelectorAll('article:not(.trouble) a')]
          .map((link) => link.getAttribute('href')).find((href) => document.querySelector(`details [id="${href.slice(1)}"]`)));
        const cure = page.locator(`[id="${href.slice(1)}"] .cure`);
        assert.equal(await cure.isVisible(), false);
        await page.locator(`a[href="${href}"]`).click();
        await cure.waitFor();
      }
      await narrow(page, 'fleet');
    });
  }
}

await lab(async ({ browser, dir, sandbox }) => {
  const { head, tokens: blocks, control, value, put } = await peers(dir);
  const [block] = blocks;
  const configured = async (name, tokens, more = '') => {
    const path = join(dir, name);
    await writeFile(path, head + more + tokens.join('\n'));
    return path;
  };
  const sound = await value('partner-refresh-token');
  const tokens = { 'partner-center': [2.1, 212], 'contoso-eu': [5.8, 91], 'fabrikam-reseller': [0.4, 9], northwind: [6.6, 140] };
  for (const [name, [age, signed_in]] of Object.entries(tokens)) await put(`${name}-token`, rotated(sound, age, signed_in));
  const app_secret = await value('partner-app-secret');
  const lasts = (days) => ({ value: app_secret, attributes: { exp: Math.floor((Date.now() + days * DAY) / 1000) } });
  await put('contoso-app-secret', lasts(170));
  const own = { 'contoso-eu': { secret: 'contoso-app-secret' }, 'fabrikam-reseller': { owner: 'Fabrikam desk, ext. 4711' } };
  const few = await daemon(await configured('few.toml', Object.keys(tokens).map((name) => named(block, name, own[name]))));
  await few.shows('all are current', (status) => status.healthy && status.tokens.every(({ state }) => state === 'current'));
  await combinations(browser, few.url, 'healthy', /^All is well · Perennial$/);

  // The user's sessions are revoked. The user signs in again for all tokens but one. An app secret expires soon.
  const trouble = async () => {
    await control('revoke');
    await control('sign-in');
    const fresh = await value('partner-refresh-token');
    for (const [name, [age, signed_in]] of Object.entries(tokens)) {
      if (name !== 'fabrikam-reseller') await put(`${name}-token`, rotated(fresh, age, signed_in));
    }
    await put('contoso-app-secret', lasts(12));
    const kinds = (status) => status.conditions.map(({ kind }) => kind).join();
    await few.look('one login, one warning', (status) => kinds(status) === 'login_required,app_secret_expiring');
  };
  await reloads(browser, few.url, trouble);
  await Promise.all([place(browser, few.url), combinations(browser, few.url, 'trouble', /^Action needed · Perennial$/)]);
  await keyboard(browser, few.url);
  await few.stop();

  // Many tokens, one with a long name. Later all of them have problems.
  const names = [LONG_NAME, ...Array.from({ length: FLEET - 1 }, (_, n) => `tenant-${n + 1}`)];
  for (const [n, name] of names.entries()) {
    const [, secret] = blocks[n].match(/^refresh_token = "(.*)"/m);
    await put(`${name}-token`, rotated(await value(secret), (n % 13) / 2, 30 + n));
  }
  const many = await daemon(await configured('many.toml', names.map((name, n) => named(blocks[n], name))));
  await many.shows('all are current', (status) => status.tokens.every(({ state }) => state === 'current'));
  await fleet(browser, many.url, /^All is well/, 0);
  for (const n of names.keys()) await control('revoke', { user: `integration@partner${n ? `-${n + 1}` : ''}.onmicrosoft.com` });
  await many.look('all are refused', (status) => status.tokens.every(({ state }) => state === 'needs_login'));
  await fleet(browser, many.url, /^Action needed/, 12);
  await many.stop();
  console.log(`ok: ${FLEET} tokens, fine and in trouble: rows to eye and ear, whatever a name's length`);

  // Before the vault has answered, the page knows nothing.
  await control('faults', { peer: 'key_vault', delay: '1h' });
  const first = await daemon(await configured('first.toml', [named(block, 'partner-center')]));
  await open(browser, first.url + PAUSED, SCREENS.phone, async (page) => {
    assert.match(await page.title(), /^Not known yet/);
    await judge(page, 'not known yet');
    await narrow(page, 'not known yet');
  });
  await control('faults', {}, 'DELETE');
  console.log('ok: nothing known yet');
  sandbox.child.kill('SIGTERM');
  assert.equal((await sandbox.ended).code, 0);
}, '--tokens', String(FLEET));
