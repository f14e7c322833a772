// Reads and draws the daemon's Adaptive Card with Microsoft's own library, to show an alert as Teams shows it. With a folder
// as second argument, the test writes the picture of docs/messages.md there.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PATIENCE, daemon, lab, peers } from './lab.mjs';

const PICTURES = process.argv[3];
const CARDS = await readFile(createRequire(import.meta.url).resolve('adaptivecards/dist/adaptivecards.min.js'), 'utf8');
const DEPLOYMENT = `
[alerts]
instance = "perennial-1"
runbook_url = "https://wiki.contoso.com/runbook"
page_url = "https://perennial.contoso.com/"
`;
// The width, font and colors with which Teams draws a card.
const STYLE = 'body { margin: 0; background: #f5f5f5; font-family: "Segoe UI", sans-serif; } #card { width: 600px; margin: 16px; background: #fff; border-radius: 6px; }';

/** Returns the first message to a Teams sink. */
async function receiver() {
  let arrived;
  const first = new Promise((resolve) => { arrived = resolve; });
  const server = createServer(async (asked, answer) => {
    arrived(JSON.parse(Buffer.concat(await asked.toArray()).toString()));
    answer.writeHead(202).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, first, server };
}

await lab(async ({ browser, config, dir, sandbox }) => {
  const teams = await receiver();
  const { control } = await peers(dir);
  const address = join(dir, 'teams-url');
  await writeFile(address, teams.url);
  const text = await readFile(config, 'utf8');
  await writeFile(config, `${text}\n[[alert]]\nkind = "teams"\nurl = { file = "${address}" }\n${DEPLOYMENT}`);

  const running = await daemon(config);
  await running.shows('it is current', (status) => status.tokens[0].state === 'current');
  await control('revoke', {});
  await running.look('it is refused', (status) => status.tokens[0].state === 'needs_login');
  const message = await teams.first;
  await running.stop();

  const page = await (await browser.newContext({ viewport: { width: 632, height: 400 }, deviceScaleFactor: 2 })).newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.setContent(`<style>${STYLE}</style><div id="card"></div>`);
  await page.addScriptTag({ content: CARDS });
  const found = await page.evaluate((payload) => {
    const context = new AdaptiveCards.SerializationContext();
    const card = new AdaptiveCards.AdaptiveCard();
    card.hostConfig = new AdaptiveCards.HostConfig({ fontFamily: 'Segoe UI, sans-serif', spacing: { padding: 16 } });
    card.parse(payload, context);
    // The host of a card draws Markdown. Here the text stays as it is written.
    AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => { result.didProcess = false; };
    const drawn = card.render();
    document.getElementById('card').append(drawn);
    const events = Array.from({ length: context.eventCount }, (_, n) => context.getEventAt(n).message);
    return { events: [...events, ...card.validateProperties().validationEvents.map((event) => event.message)], text: drawn.innerText };
  }, message.attachments[0].content);

  assert.deepEqual(found.events, [], 'the library finds nothing wrong with the card');
  for (const part of ['Critical: Sign-in required (partner-center)', 'AADSTS50173', 'perennial login partner-center',
    'perennial-1', 'https://wiki.contoso.com/runbook#login_required', 'https://perennial.contoso.com/']) {
    assert.ok(found.text.includes(part), `${part} is not in the card:\n${found.text}`);
  }
  if (PICTURES) await page.locator('#card').screenshot({ path: join(PICTURES, 'alert-teams.png') });
  console.log('ok: the official library draws the card, and finds nothing wrong with it');
  teams.server.close();
  sandbox.child.kill('SIGTERM');
  assert.equal((await sandbox.ended).code, 0);
});
