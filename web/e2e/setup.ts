// Starts a server unless BASE_URL names one, and signs in each of its users once.

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium, type FullConfig } from '@playwright/test';

import { HANDLES, signIn, type Account } from './signIn';

export default async function setup(config: FullConfig): Promise<() => Promise<void>> {
  const children: ChildProcess[] = [];
  const dataDir = mkdtempSync(join(tmpdir(), 'cruddur-web-'));
  const stop = async () => {
    const exits = children.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(exits);
    rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const baseUrl = process.env['BASE_URL'] ?? (await startServer(children, dataDir));
    process.env['BASE_URL'] = baseUrl;
    const browser = await chromium.launch(config.projects[0]?.use.launchOptions);
    const accounts: Record<string, Account> = {};
    for (const handle of HANDLES) {
      const page = await browser.newPage();
      accounts[handle] = await signIn(page, baseUrl, handle);
      await page.context().close();
    }
    await browser.close();
    process.env['ACCOUNTS'] = JSON.stringify(accounts);
    return stop;
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startServer(children: ChildProcess[], dataDir: string): Promise<string> {
  const binary = process.env['SERVER'];
  if (!binary) throw new Error('set SERVER to the binary of cruddur-messaging, or BASE_URL to the address of a server');
  const port = await freePort();
  const server = `http://127.0.0.1:${port}`;
  const env = {
    ...process.env,
    LISTEN_ADDR: `127.0.0.1:${port}`,
    METRICS_ADDR: '127.0.0.1:0',
    MESSAGES_PER_MINUTE: '0',
  };
  children.push(spawn(binary, ['dev', '--data-dir', dataDir], { env, stdio: 'ignore' }));
  await untilReady(`${server}/health/ready`);
  return server;
}

async function untilReady(url: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`${url} is not ready after 60 s`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
