// Starts a server unless BASE_URL names one, and signs in each of its users once.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium, type Browser, type FullConfig } from '@playwright/test';

import { HANDLES, signIn, type Account } from './signIn';

/** The output of the server. */
const SERVER_LOG = 'test-results/server.log';

export default async function setup(config: FullConfig): Promise<() => Promise<void>> {
  let server: ChildProcess | undefined;
  const dataDir = mkdtempSync(join(tmpdir(), 'cruddur-web-'));
  const stop = async () => {
    // False if it has not started, or has ended already.
    if (server?.kill('SIGTERM')) await once(server, 'exit');
    rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    let baseUrl = process.env['BASE_URL'];
    if (baseUrl === undefined) {
      const port = await freePort();
      baseUrl = `http://127.0.0.1:${port}`;
      server = startServer(port, dataDir);
      await untilReady(baseUrl, server);
    }
    process.env['BASE_URL'] = baseUrl;
    const browser = await launch(config.projects[0]?.use.launchOptions);
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

/** Starts the browser. Like a test, it has a second try, because Chromium can crash while it starts. */
async function launch(options: Parameters<typeof chromium.launch>[0]): Promise<Browser> {
  try {
    return await chromium.launch(options);
  } catch (error) {
    console.warn('The browser did not start. Second try.', error);
    return await chromium.launch(options);
  }
}

function startServer(port: number, dataDir: string): ChildProcess {
  const binary = process.env['SERVER'];
  if (!binary) throw new Error('set SERVER to the binary of cruddur-messaging, or BASE_URL to the address of a server');
  const env = {
    ...process.env,
    LISTEN_ADDR: `127.0.0.1:${port}`,
    METRICS_ADDR: '127.0.0.1:0',
    MESSAGES_PER_MINUTE: '0',
  };
  mkdirSync('test-results', { recursive: true });
  const log = openSync(SERVER_LOG, 'w');
  return spawn(binary, ['dev', '--data-dir', dataDir], { env, stdio: ['ignore', log, log] });
}

async function untilReady(baseUrl: string, server: ChildProcess): Promise<void> {
  let failure: unknown;
  server.once('error', (error) => (failure = error));
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    const response = await fetch(`${baseUrl}/health/ready`).catch(() => undefined);
    if (response?.ok) return;
    if (failure !== undefined || server.exitCode !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`the server is not ready; its log is in ${SERVER_LOG}`, { cause: failure });
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
