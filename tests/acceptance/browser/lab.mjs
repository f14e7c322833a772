// Shared by the browser tests: the program, the sandbox and Chromium, all of which end with the test.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const PERENNIAL = process.argv[2];
assert.ok(PERENNIAL, 'the first argument is the program to run');
// On a slow machine a page takes a second; nothing here takes longer than this.
export const PATIENCE = 30_000;

const children = new Set();

/** Starts the program; `line(pattern)` waits for a line of either output, `ended` for its end. */
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

/** Runs a test with a sandbox, its ready configuration, and a browser with an empty profile of its own. */
export async function lab(test, ...options) {
  const dir = await mkdtemp(join(tmpdir(), 'perennial-browser-'));
  let browser;
  try {
    const sandbox = start(['sandbox', '--dir', dir, '--listen', '127.0.0.1:0', ...options]);
    await sandbox.line(/Ctrl-C stops it/);
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
