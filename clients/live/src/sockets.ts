// The WebSocket of all clients. It checks every frame of the server with the parser of graphql-ws.

import type { Socket } from 'node:net';

import { parseMessage, validateMessage } from 'graphql-ws';
import { WebSocket, type ClientOptions, type RawData } from 'ws';

/** The frames that are not valid, and the number of all frames. */
export const frames = { invalid: [] as string[], count: 0 };

/** The types that a server may send. `parseMessage` also accepts those of a client. */
const FROM_SERVER = new Set(['connection_ack', 'next', 'error', 'complete', 'ping', 'pong']);

export class CheckedWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[], options?: ClientOptions) {
    super(url, protocols, options);
    this.on('message', (data, isBinary) => check(data, isBinary));
  }

  /** The connection of an open socket. The types of `ws` do not have it. */
  stream(): Socket {
    return (this as unknown as { _socket: Socket })._socket;
  }
}

function check(data: RawData, isBinary: boolean): void {
  frames.count += 1;
  const text = data.toString();
  try {
    if (isBinary) throw new Error('A message is binary');
    const { type } = validateMessage(parseMessage(text));
    if (!FROM_SERVER.has(type)) throw new Error(`A server does not send ${type}`);
  } catch (error) {
    frames.invalid.push(`${error}: ${text}`);
  }
}

// Node 20 lacks these globals of browsers. Apollo Client and GraphiQL's toolkit use them.
Object.assign(globalThis, { WebSocket: CheckedWebSocket });
if (!('CloseEvent' in globalThis)) Object.assign(globalThis, { CloseEvent: class CloseEvent extends Event {} });
