// A proxy in front of the server that loses responses or rejects requests, for the smoke test.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** `lose`: the server gets the request, and the connection is cut before the response. Otherwise: the response in its place. */
export type Fault = 'lose' | { status: number; headers?: Record<string, string>; body: string };

export interface FaultyServer {
  url: string;
  /** Number of requests so far. */
  requests(): number;
  close(): void;
}

/** Starts a proxy for `url`. Each request takes the next one of `faults`; after the last one, requests pass. */
export async function faulty(url: string, faults: Fault[]): Promise<FaultyServer> {
  let requests = 0;
  const server = createServer(async (request, response) => {
    const fault = faults[requests];
    requests += 1;
    if (fault && fault !== 'lose') {
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    const body = await buffer(request);
    const headers = new Headers();
    for (const name of ['accept', 'authorization', 'content-type']) headers.set(name, String(request.headers[name]));
    const answer = await fetch(url, { method: 'POST', headers, body });
    const text = await answer.text();
    if (fault === 'lose') response.destroy();
    else response.writeHead(answer.status, { 'x-request-id': answer.headers.get('x-request-id') ?? '' }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/graphql`, requests: () => requests, close: () => server.close() };
}
