// A server with a data folder of its own: `dev` of the binary in SERVER.

import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { until } from './until.js';

export class Server {
  readonly #binary: string;
  readonly #folder: string;
  readonly port: number;
  readonly #settings: Record<string, string>;
  #process: ChildProcess | undefined;
  #log = '';
  #isReady = false;
  /** Number of `token` commands that run. They need the running server. */
  #commands = 0;

  private constructor(binary: string, folder: string, port: number, settings: Record<string, string>) {
    this.#binary = binary;
    this.#folder = folder;
    this.port = port;
    this.#settings = settings;
  }

  /** Starts a server with an empty data folder. */
  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const binary = process.env['SERVER'];
    if (!binary) throw new Error('SERVER is not set: it is the path of the binary cruddur-messaging');
    const folder = await mkdtemp(join(tmpdir(), 'live-'));
    const server = new Server(binary, folder, await freePort(), settings);
    process.on('exit', () => server.#process?.kill('SIGKILL'));
    await server.start();
    return server;
  }

  /** Starts the server again, with the same data folder and port. */
  async start(): Promise<void> {
    this.#log = '';
    const child = spawn(this.#binary, ['dev', '--data-dir', this.#folder], {
      env: { ...process.env, LISTEN_ADDR: `127.0.0.1:${this.port}`, METRICS_ADDR: '127.0.0.1:0', ...this.#settings },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const output of [child.stdout, child.stderr]) output.on('data', (text: Buffer) => (this.#log += text.toString()));
    this.#process = child;
    child.on('exit', (code, signal) => {
      if (this.#isReady) console.error(`The server exited unexpectedly with ${code ?? signal}.\n${this.#log}`);
    });
    const isStarted = () => /^Ready/m.test(this.#log);
    await until('the server starts', () => isStarted() || child.exitCode !== null, () => this.#log, 60_000);
    if (!isStarted()) throw new Error(`The server exited with ${child.exitCode}.\n${this.#log}`);
    this.#isReady = true;
  }

  /** Stops the server as a deploy does. It must exit with status 0 within ten seconds. */
  async stop(): Promise<void> {
    const start = performance.now();
    const code = await this.#end('SIGTERM');
    assert.equal(code, 0, this.#log);
    assert.ok(performance.now() - start < 10_000, `the server needed ${performance.now() - start} ms to stop`);
  }

  /** Kills the server, as a crash does. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    this.#isReady = false;
    // A command that runs now would otherwise open the data folder itself, and keep the server from starting again.
    await until('the token commands end', () => this.#commands === 0);
    const child = this.#process;
    assert.ok(child);
    const exit = once(child, 'exit') as Promise<[number | null]>;
    child.kill(signal);
    const [code] = await exit;
    return code;
  }

  /** Stops the server and deletes its data folder. */
  async remove(): Promise<void> {
    if (this.#isReady) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Returns a token of a user that is valid for this number of seconds. Waits while the server is down. */
  async token(handle: string, validFor = 3600): Promise<string> {
    await until('the server is ready', () => this.#isReady);
    this.#commands += 1;
    try {
      const options = [handle, '--data-dir', this.#folder, '--valid-for', String(validFor)];
      const { stdout } = await promisify(execFile)(this.#binary, ['token', ...options]);
      return stdout.trim();
    } finally {
      this.#commands -= 1;
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
