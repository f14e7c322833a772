// Shared by the browser tests. The program, the sandbox and Chromium end with the test.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const PERENNIAL = process.argv[2];
assert.ok(PERENNIAL, 'the first argument is the program to run');
// On a slow machine a page takes a second. No step takes longer than this.
export const PATIENCE = 30_000;

const children = new Set();

/** Starts the program. `line(pattern)` waits for a line of its output, `ended` waits for its end. */
export function start(args, env = {}) {
  const child = spawn(PERENNIAL, args, { env: { ...process.env, BROWSER: 'true', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  const lines = [];
  const waiting = [];
  const stdout = [];
  for (const [stream, kept] of [[child.stdout, stdout], [child.stderr, null]]) {
    createInterface({ input: stream }).on('line', (text) => {
      kept?.push(text);
      lines.push(text);
      for (const look of [...waiting]) look();
    });
  }
  const ended = new Promise((resolve) => child.on('close', (code) => {
    children.delete(child);
    resolve({ code, stdout: stdout.join('\n'), all: lines.join('\n') });
  }));
  const line = (pattern) => new Promise((resolve, reject) => {
    const give_up = setTimeout(() => reject(new Error(`no ${pattern} in:\n${lines.join('\n')}`)), PATIENCE);
    const look = () => {
      const found = lines.map((text) => text.match(pattern)).find(Boolean);
      if (!found) return;
      clearTimeout(give_up);
      waiting.splice(waiting.indexOf(look), 1);
      resolve(found[0]);
    };
    waiting.push(look);
    look();
  });
  return { child, line, ended };
}

/** Runs a test with a sandbox, its configuration, and a browser with an empty profile. */
export async function lab(test, ...options) {
  const dir = await mkdtemp(join(tmpdir(), 'perennial-browser-'));
  let browser;
  try {
    const sandbox = start(['sandbox', '--dir', dir, '--listen', '127.0.0.1:0', ...options]);
    await sandbox.line(/Ctrl-C stops the sandbox/);
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      headless: true,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync',
        '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost, EXCLUDE 127.0.0.1'],
    });
    await test({ browser, config: join(dir, 'perennial.toml'), dir, sandbox });
  } finally {
    await browser?.close();
    for (const child of children) child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

/** The sandbox's vault and controls. */
export async function peers(dir) {
  const text = await readFile(join(dir, 'perennial.toml'), 'utf8');
  const ca = await readFile(join(dir, 'ca.pem'));
  const setting = (key) => text.match(new RegExp(`^${key} = "(.*)"`, 'm'))[1];
  const origin = setting('url');
  const call = (method, path, body, headers = {}) => new Promise((resolve, reject) => {
    const sent = request(`${origin}${path}`, { method, ca, headers, agent: false, timeout: PATIENCE }, async (answer) => {
      const got = Buffer.concat(await answer.toArray()).toString();
      if (answer.statusCode >= 300) reject(new Error(`${method} ${path}: ${answer.statusCode} ${got}`));
      else resolve(JSON.parse(got));
    });
    sent.on('error', reject);
    sent.end(body);
  });
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: setting('client_id'),
    client_secret: (await readFile(join(dir, 'vault-client-secret'), 'utf8')).trim(),
    scope: 'https://vault.azure.net/.default',
  });
  const { access_token } = await call('POST', `/${setting('tenant_id')}/oauth2/v2.0/token`, form.toString(),
    { 'content-type': 'application/x-www-form-urlencoded' });
  const vault = (method, name, body) => call(method, `/secrets/${name}?api-version=7.6`, body && JSON.stringify(body),
    { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' });
  const [head, ...tokens] = text.split(/^(?=\[\[token\]\])/m);
  return {
    head,
    tokens,
    control: (path, body = {}, method = 'POST') => call(method, `/_sandbox/${path}`, JSON.stringify(body)),
    value: async (name) => (await vault('GET', name)).value,
    put: (name, body) => vault('PUT', name, body),
  };
}

/** Runs the daemon until all its tokens have been tried. */
export async function daemon(config) {
  const running = start(['run', '--config', config, '--log-format', 'json'], { PERENNIAL__HTTP__LISTEN: '127.0.0.1:0' });
  const url = `http://${JSON.parse(await running.line(/.*"event":"listening".*/)).address}/`;
  const until = async (what, holds) => {
    const give_up = Date.now() + PATIENCE;
    while (!await holds()) {
      assert.ok(Date.now() < give_up, `in vain: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const status = async () => (await fetch(`${url}status`)).json();
  return {
    url,
    /** Makes the daemon check everything now, and waits until the status is as expected. */
    look: async (what, holds) => {
      running.child.kill('SIGHUP');
      await until(what, async () => holds(await status()));
    },
    shows: (what, holds) => until(what, async () => holds(await status())),
    stop: async () => {
      running.child.kill('SIGTERM');
      assert.equal((await running.ended).code, 0);
    },
  };
}
