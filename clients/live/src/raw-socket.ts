// A WebSocket whose client follows no protocol: it sends what a test says, and records what the server does.

import { once } from 'node:events';

import { CheckedWebSocket } from './sockets.js';
import { until } from './until.js';

export interface Message {
  type: string;
  id?: string;
  payload?: unknown;
}

export interface Closed {
  code: number;
  reason: string;
}

export class RawSocket {
  readonly #socket: CheckedWebSocket;
  readonly messages: Message[] = [];
  closed: Closed | undefined;

  private constructor(socket: CheckedWebSocket) {
    this.#socket = socket;
    socket.on('message', (data) => this.messages.push(JSON.parse(data.toString()) as Message));
    socket.on('close', (code, reason) => (this.closed = { code, reason: reason.toString() }));
  }

  static async open(url: string, protocols: string[] = ['graphql-transport-ws']): Promise<RawSocket> {
    const socket = new CheckedWebSocket(url, protocols);
    const raw = new RawSocket(socket);
    await once(socket, 'open');
    return raw;
  }

  /** Opens a socket and waits for the acknowledgement. */
  static async acknowledged(url: string, token: string): Promise<RawSocket> {
    const raw = await RawSocket.open(url);
    raw.send({ type: 'connection_init', payload: { Authorization: `Bearer ${token}` } });
    await raw.has(1);
    return raw;
  }

  /** Sends messages in one write, so the server reads them together. Objects are sent as JSON, strings and buffers as they are. */
  send(...messages: (object | string | Buffer)[]): void {
    const stream = this.#socket.stream();
    stream.cork();
    for (const message of messages) {
      const isRaw = typeof message === 'string' || Buffer.isBuffer(message);
      this.#socket.send(isRaw ? message : JSON.stringify(message));
    }
    stream.uncork();
  }

  /** Waits until the server has sent this number of messages, and returns them. */
  async has(count: number): Promise<Message[]> {
    await until(`${count} messages`, () => this.messages.length >= count || this.closed !== undefined, () => this, 10_000);
    if (this.messages.length !== count) throw new Error(`not ${count} messages: ${JSON.stringify(this)}`);
    return this.messages;
  }

  /** Waits until the server has closed the socket. */
  async end(ms = 10_000): Promise<Closed> {
    await until('the server closes the socket', () => this.closed !== undefined, () => this, ms);
    return this.closed as Closed;
  }

  close(): void {
    this.#socket.terminate();
  }

  toJSON() {
    return { messages: this.messages, closed: this.closed };
  }
}
