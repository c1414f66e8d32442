// The handshake of a WebSocket with any headers. The package `ws` hides a close code if the server selects no subprotocol.

import { get, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** The first byte of a close frame. */
const CLOSE = 0x88;

/** Returns the status of the response, or the close code if the server accepts the upgrade and closes the socket. */
export function upgrade(url: string, headers: Record<string, string>): Promise<{ status?: number | undefined; code?: number }> {
  return new Promise((resolve, reject) => {
    const request = get(url, {
      agent: false,
      timeout: 10_000,
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Version': '13',
        ...headers,
      },
    });
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error('no response')));
    request.on('response', (response: IncomingMessage) => {
      resolve({ status: response.statusCode });
      response.destroy();
    });
    request.on('upgrade', (_: IncomingMessage, socket: Socket, head: Buffer) => {
      let received = head;
      const read = (data: Buffer) => {
        received = Buffer.concat([received, data]);
        // A frame of the server: its type, its length, and the code in two bytes.
        if (received.length < 4) return;
        socket.destroy();
        if (received[0] === CLOSE) resolve({ code: received.readUInt16BE(2) });
        else reject(new Error(`not a close frame: ${received.toString('hex')}`));
      };
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the server closed the connection without a close frame')));
      socket.on('data', read);
      read(Buffer.alloc(0));
    });
  });
}
