// Tests subscriptions against a server that answers each connection as the test says.

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';

import { ApiError, createClient, type ClientOptions } from './client.js';
import { liveFeed, type FeedEvent } from './operations.js';

/** What the server got from a connection. */
interface Connection {
  token: string | undefined;
  after: unknown;
}

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

/** Starts a server. Each connection gets the next answer, and all later ones get the last answer. */
async function serve(context: TestContext, answers: Answer[]) {
  const connections: Connection[] = [];
  const server = createServer(async (request, response) => {
    const { variables } = JSON.parse(await text(request)) as { variables: { after: unknown } };
    const answer = answers[Math.min(connections.length, answers.length - 1)];
    connections.push({ token: request.headers.authorization, after: variables.after });
    assert.equal(request.headers.accept, 'text/event-stream');
    answer?.(response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const clientOf = (options: Partial<ClientOptions> = {}) => createClient({ url: `http://127.0.0.1:${port}/`, ...options });
  return { connections, clientOf };
}

const ready = (cursor: string) =>
  `id: ${cursor}\nevent: next\ndata: ${JSON.stringify({ data: { feed: { __typename: 'FeedReady', cursor } } })}\n\n`;
const failed = (extensions: object) =>
  `event: next\ndata: ${JSON.stringify({ errors: [{ message: 'Failed', extensions }] })}\n\nevent: complete\ndata:\n\n`;
const COMPLETE = 'event: complete\ndata:\n\n';

/** A stream that ends without `complete`. */
const ends =
  (...frames: string[]): Answer =>
  (response) =>
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' }).end(frames.join(''));
/** A stream that stays open and silent after these frames. */
const stays =
  (...frames: string[]): Answer =>
  (response) =>
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(frames.join('') || ':\n\n');
/** A stream that stays open, and a promise that waits until the client closes its connection. */
function staysUntilClosed(): { answer: Answer; closed: Promise<void> } {
  let answer: Answer = stays();
  const closed = new Promise<void>((resolve) => {
    answer = (response, request) => {
      request.socket.on('close', () => resolve());
      stays(ready('a'))(response, request);
    };
  });
  return { answer, closed };
}
/** A stream whose connection is cut after these frames. */
const cut =
  (...frames: string[]): Answer =>
  (response) =>
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(frames.join(''), () => response.destroy());
const refuses =
  (status: number, extensions?: object): Answer =>
  (response) =>
    response
      .writeHead(status, { 'Content-Type': 'application/json', 'x-request-id': 'r1' })
      .end(extensions ? JSON.stringify({ errors: [{ message: 'Refused', extensions }] }) : '<html>');

/** The answer after this time. */
const later =
  (ms: number, answer: Answer): Answer =>
  (response, request) =>
    setTimeout(() => answer(response, request), ms);

async function cursors(events: AsyncIterable<FeedEvent>): Promise<string[]> {
  const found: string[] = [];
  for await (const { cursor } of events) found.push(cursor);
  return found;
}

test('continues after the last event when the stream ends, is cut or is silent, each time with a new token', async (context) => {
  const answers = [ends(ready('a'), ready('b')), cut(ready('c')), stays(ready('d')), ends(ready('e'), COMPLETE)];
  const { connections, clientOf } = await serve(context, answers);
  let tokens = 0;
  const client = clientOf({ silenceMs: 100, token: () => `t${(tokens += 1)}` });
  const retries: string[] = [];
  const onRetry = ({ code, message }: ApiError) => retries.push(`${code} ${message}`);
  assert.deepEqual(await cursors(liveFeed(client, 'start', { onRetry })), ['a', 'b', 'c', 'd', 'e']);
  assert.deepEqual(connections, [
    { token: 'Bearer t1', after: 'start' },
    { token: 'Bearer t2', after: 'b' },
    { token: 'Bearer t3', after: 'c' },
    { token: 'Bearer t4', after: 'd' },
  ]);
  assert.deepEqual(retries, [
    'UNREACHABLE The server ended the stream.',
    'UNREACHABLE The connection was lost.',
    'UNREACHABLE The connection was lost.',
  ]);
});

test('comments keep a connection open', async (context) => {
  let comments = 0;
  const answer: Answer = (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const timer = setInterval(() => {
      response.write((comments += 1) < 10 ? ':\n\n' : ready('a') + COMPLETE);
      if (comments === 10) clearInterval(timer);
    }, 50);
  };
  const { connections, clientOf } = await serve(context, [answer]);
  assert.deepEqual(await cursors(liveFeed(clientOf({ silenceMs: 300 }))), ['a']);
  assert.equal(connections.length, 1);
});

test('a consumer that needs longer than the longest silence keeps its connection', async (context) => {
  const { connections, clientOf } = await serve(context, [ends(ready('a'), ready('b'), COMPLETE)]);
  const found: string[] = [];
  for await (const { cursor } of liveFeed(clientOf({ silenceMs: 20 }))) {
    found.push(cursor);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  assert.deepEqual([found, connections.length], [['a', 'b'], 1]);
});

test('waits and tries again while the server is not available', async (context) => {
  const answers = [
    refuses(503, { code: 'UNAVAILABLE' }),
    refuses(502),
    refuses(429, { code: 'THROTTLED', reason: 'max_sockets_exceeded' }),
    ends(failed({ code: 'UNAVAILABLE' })),
    ends(ready('a'), COMPLETE),
  ];
  const { connections, clientOf } = await serve(context, answers);
  const waits: number[] = [];
  assert.deepEqual(await cursors(liveFeed(clientOf(), null, { onRetry: (_, waitMs) => waits.push(waitMs) })), ['a']);
  assert.equal(connections.length, 5);
  assert.ok((waits[3] ?? 0) >= 1000, `the waits get longer: ${waits}`);
});

test('waits get longer until a stream stays open, also if the server takes longer to reject each connection', async (context) => {
  context.mock.method(Math, 'random', () => 0);
  const rejectsSlowly = later(150, refuses(503));
  const endsLater: Answer = (response, request) => {
    stays()(response, request);
    later(1500, (response) => response.end())(response, request);
  };
  const { clientOf } = await serve(context, [rejectsSlowly, rejectsSlowly, ends(':\n\n'), endsLater, ends(COMPLETE)]);
  const waits: number[] = [];
  await cursors(liveFeed(clientOf(), null, { onRetry: (_, waitMs) => waits.push(waitMs) }));
  assert.deepEqual(waits, [125, 250, 500, 125]);
});

test('a long Retry-After is limited, and has jitter', async (context) => {
  const { clientOf } = await serve(context, [refuses(503, { code: 'UNAVAILABLE', retryAfter: 2 ** 31 / 1000 })]);
  for (const random of [0, 0.75]) {
    context.mock.method(Math, 'random', () => random);
    const stop = new AbortController();
    const waits: number[] = [];
    const onRetry = (_: ApiError, waitMs: number) => {
      waits.push(waitMs);
      stop.abort();
    };
    await cursors(liveFeed(clientOf(), null, { signal: stop.signal, onRetry }));
    assert.deepEqual(waits, [600_000 * (1 + random) + 250 * (0.5 + random)]);
  }
});

test('onOpen is called each time a stream is open, before its first event', async (context) => {
  const answers = [refuses(503), ends(ready('a')), refuses(503), ends(ready('b'), COMPLETE)];
  const { clientOf } = await serve(context, answers);
  const calls: string[] = [];
  const options = { onOpen: () => calls.push('open'), onRetry: () => calls.push('retry') };
  for await (const { cursor } of liveFeed(clientOf(), null, options)) calls.push(cursor);
  assert.deepEqual(calls, ['retry', 'open', 'a', 'retry', 'retry', 'open', 'b']);
});

test('ends with the error of a request that would fail again', async (context) => {
  const cases: [Answer, object][] = [
    [ends(failed({ code: 'BAD_USER_INPUT', reason: 'cursor_invalid' })), { code: 'BAD_USER_INPUT', reason: 'cursor_invalid' }],
    [refuses(401, { code: 'UNAUTHENTICATED' }), { code: 'UNAUTHENTICATED', requestId: 'r1' }],
    [refuses(400), { code: 'UNREACHABLE', isTransient: false }],
    [ends('event: next\ndata: nonsense\n\n'), { code: 'UNREACHABLE', isTransient: false }],
  ];
  for (const [answer, expected] of cases) {
    const { connections, clientOf } = await serve(context, [answer]);
    await assert.rejects(cursors(liveFeed(clientOf())), expected);
    assert.equal(connections.length, 1);
  }
});

test('a token that expired on its way is replaced once', async (context) => {
  const expired = { code: 'UNAUTHENTICATED', reason: 'token_expired' };
  const first = await serve(context, [refuses(401, expired), ends(ready('a'), COMPLETE)]);
  assert.deepEqual(await cursors(liveFeed(first.clientOf())), ['a']);
  const second = await serve(context, [refuses(401, expired)]);
  await assert.rejects(cursors(liveFeed(second.clientOf())), expired);
  assert.equal(second.connections.length, 2);
});

test('gets a new token for an expired one that the device takes for valid', async (context) => {
  const expired = { code: 'UNAUTHENTICATED', reason: 'token_expired' };
  const { connections, clientOf } = await serve(context, [
    ends(ready('a')),
    refuses(401, expired),
    refuses(503),
    ends(ready('b'), COMPLETE),
  ]);
  let cached = 't1';
  const calls: (string | undefined)[] = [];
  const token = (rejected?: string) => {
    calls.push(rejected);
    if (rejected === cached) cached = 't2';
    return cached;
  };
  assert.deepEqual(await cursors(liveFeed(clientOf({ token }))), ['a', 'b']);
  assert.deepEqual(calls, [undefined, undefined, 't1', undefined]);
  assert.deepEqual(
    connections.map(({ token }) => token),
    ['Bearer t1', 'Bearer t1', 'Bearer t2', 'Bearer t2'],
  );
});

test('tries again when the application has no token, or none in time', async (context) => {
  const { connections, clientOf } = await serve(context, [ends(ready('a'), COMPLETE)]);
  const answers = [() => Promise.reject(new TypeError('fetch failed')), () => new Promise<never>(() => {}), () => 't'];
  let calls = 0;
  const token = () => answers[(calls += 1) - 1]?.();
  assert.deepEqual(await cursors(liveFeed(clientOf({ token, timeoutMs: 200 }))), ['a']);
  assert.deepEqual([calls, connections.length], [3, 1]);
});

test('an aborted signal closes the connection and ends the loop, also while there is no connection', async (context) => {
  const { answer, closed } = staysUntilClosed();
  const open = await serve(context, [answer]);
  const controller = new AbortController();
  for await (const { cursor } of liveFeed(open.clientOf(), null, { signal: controller.signal })) {
    assert.equal(cursor, 'a');
    controller.abort();
  }
  await closed;

  const hangs = new AbortController();
  const token = () => {
    setTimeout(() => hangs.abort(), 20);
    return new Promise<never>(() => {});
  };
  assert.deepEqual(await cursors(liveFeed(open.clientOf({ token }), null, { signal: hangs.signal })), []);

  const closedServer = await serve(context, [refuses(503, { code: 'UNAVAILABLE', retryAfter: 3600 })]);
  const waiting = new AbortController();
  const onRetry = () => waiting.abort();
  assert.deepEqual(await cursors(liveFeed(closedServer.clientOf(), null, { signal: waiting.signal, onRetry })), []);
  assert.deepEqual(await cursors(liveFeed(closedServer.clientOf(), null, { signal: waiting.signal })), []);
  assert.equal(closedServer.connections.length, 1);
});

test('after the signal is aborted, events that have already arrived are not delivered', async (context) => {
  const { clientOf } = await serve(context, [ends(ready('a'), ready('b'), ready('c'), COMPLETE)]);
  const controller = new AbortController();
  const found: string[] = [];
  for await (const { cursor } of liveFeed(clientOf(), null, { signal: controller.signal })) {
    found.push(cursor);
    controller.abort();
  }
  assert.deepEqual(found, ['a']);
});

test('leaving the loop closes the connection', async (context) => {
  const { answer, closed } = staysUntilClosed();
  const { clientOf } = await serve(context, [answer]);
  for await (const { cursor } of liveFeed(clientOf())) {
    assert.equal(cursor, 'a');
    break;
  }
  await closed;
});
