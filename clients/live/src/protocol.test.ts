// The close codes and messages of graphql-transport-ws, and the ends of the HTTP streams, as a client without a library sees
// them: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { RawSocket } from './raw-socket.js';
import { Server } from './server.js';
import { frames } from './sockets.js';
import { Stream } from './stream.js';
import { expiryOf } from './tokens.js';
import { upgrade } from './upgrade.js';

const FEED = 'subscription { feed { __typename cursor } }';
const SHORT_SECONDS = 4;

let server: Server;
let token: string;
let url: string;
let socketUrl: string;

before(async () => {
  server = await Server.start();
  token = await server.token('ana');
  url = `http://127.0.0.1:${server.port}/graphql`;
  socketUrl = url.replace('http', 'ws');
});

after(() => server?.remove());

const subscribe = (id: string, query = FEED) => ({ id, type: 'subscribe', payload: { query } });
const subprotocol = (offer: string) => ({ 'Sec-WebSocket-Protocol': offer });
const init = () => ({ type: 'connection_init', payload: { Authorization: `Bearer ${token}` } });
/** Messages that follow an offence. The server must not answer them, and the close code must arrive. */
const PIPELINED = [{ type: 'ping' }, subscribe('late', '{ me { uuid } }'), { type: 'ping', payload: { late: true } }];

test('an invalid message closes the socket with 4400', async (context) => {
  const cases: Record<string, object | string | Buffer> = {
    'a binary message': Buffer.from('{"type":"ping"}'),
    'no JSON': 'nonsense',
    'an array': [],
    'null': 'null',
    'no type': {},
    'an unknown type': { type: 'start' },
    'a type that is no string': { type: 1 },
    'subscribe without an id': { type: 'subscribe', payload: { query: FEED } },
    'subscribe with an empty id': subscribe(''),
    'subscribe with a number as id': { ...subscribe('a'), id: 1 },
    'subscribe without a payload': { id: 'a', type: 'subscribe' },
    'subscribe with a string as payload': { id: 'a', type: 'subscribe', payload: FEED },
    'subscribe without a document': { id: 'a', type: 'subscribe', payload: {} },
    'subscribe with a number as query': { id: 'a', type: 'subscribe', payload: { query: 1 } },
    'subscribe with a string as variables': { id: 'a', type: 'subscribe', payload: { query: FEED, variables: 'x' } },
    'complete without an id': { type: 'complete' },
    'ping with a string as payload': { type: 'ping', payload: 'x' },
    'pong with an array as payload': { type: 'pong', payload: [] },
    'connection_ack from a client': { type: 'connection_ack' },
    'next from a client': { id: 'a', type: 'next', payload: { data: {} } },
    'error from a client': { id: 'a', type: 'error', payload: [{ message: 'x' }] },
  };
  for (const [name, message] of Object.entries(cases)) {
    await context.test(name, async () => {
      const socket = await RawSocket.acknowledged(socketUrl, token);
      socket.send(message, ...PIPELINED);
      const { code, reason } = await socket.end();
      assert.deepEqual([code, reason !== ''], [4400, true]);
      assert.equal(socket.messages.length, 1, 'there is only the acknowledgement');
    });
  }
});

test('the rules of the connection have close codes', async (context) => {
  const cases: Record<string, { send: (object | string)[]; code: number; reason: RegExp }> = {
    'connection_init with a string as payload': { send: [{ type: 'connection_init', payload: 'x' }], code: 4400, reason: /./ },
    'subscribe without connection_init': { send: [subscribe('a')], code: 4401, reason: /^Unauthorized$/ },
    'subscribe before the acknowledgement': { send: [init(), subscribe('a')], code: 4401, reason: /^Unauthorized$/ },
    'no token': { send: [{ type: 'connection_init' }], code: 4403, reason: /^Forbidden/ },
    'an invalid token': {
      send: [{ type: 'connection_init', payload: { Authorization: 'Bearer x' } }],
      code: 4403,
      reason: /^Forbidden/,
    },
    'connection_init twice': { send: [init(), init()], code: 4429, reason: /^Too many initialisation requests$/ },
  };
  for (const [name, { send, code, reason }] of Object.entries(cases)) {
    await context.test(name, async () => {
      const socket = await RawSocket.open(socketUrl);
      // A `subscribe` in `PIPELINED` would be an offence of its own while the token is verified.
      socket.send(...send, ...PIPELINED.filter(({ type }) => type === 'ping'));
      const closed = await socket.end();
      assert.equal(closed.code, code);
      assert.match(closed.reason, reason);
    });
  }
});

test('a second connection_init after the acknowledgement closes the socket with 4429', async () => {
  const socket = await RawSocket.acknowledged(socketUrl, token);
  socket.send(init(), ...PIPELINED);
  assert.deepEqual(await socket.end(), { code: 4429, reason: 'Too many initialisation requests' });
});

test('without connection_init the server closes the socket with 4408 after three seconds', async () => {
  const socket = await RawSocket.open(socketUrl);
  const start = performance.now();
  // A ping is no initialisation.
  socket.send({ type: 'ping' });
  assert.deepEqual(await socket.end(), { code: 4408, reason: 'Connection initialisation timeout' });
  assert.ok(performance.now() - start > 2500);
  assert.deepEqual(socket.messages, [{ type: 'pong' }]);
});

test('without an acceptable subprotocol the server closes the socket with 4406', async () => {
  const offers: Record<string, string>[] = [{}, ...['graphql-ws', 'nonsense, GRAPHQL-TRANSPORT-WS'].map(subprotocol)];
  for (const offer of offers) assert.deepEqual(await upgrade(url, offer), { code: 4406 }, JSON.stringify(offer));
  const socket = await RawSocket.open(socketUrl, ['graphql-ws', 'graphql-transport-ws']);
  socket.send(init());
  assert.equal((await socket.has(1))[0]?.type, 'connection_ack');
  socket.close();
});

test('an id in use closes the socket with 4409', async () => {
  const socket = await RawSocket.acknowledged(socketUrl, token);
  socket.send(subscribe('twice'));
  await socket.has(2);
  socket.send(subscribe('twice'), ...PIPELINED);
  assert.deepEqual(await socket.end(), { code: 4409, reason: 'Subscriber for twice already exists' });
});

test('a client can complete its subscription and use the id again', async () => {
  const socket = await RawSocket.acknowledged(socketUrl, token);
  socket.send(subscribe('a'));
  await socket.has(2);
  socket.send({ id: 'a', type: 'complete' }, { id: 'unknown', type: 'complete' }, subscribe('a', '{ __typename }'));
  const [, , ...rest] = await socket.has(4);
  assert.deepEqual(rest, [
    { id: 'a', type: 'next', payload: { data: { __typename: 'Query' } } },
    { id: 'a', type: 'complete' },
  ]);
  socket.close();
});

test('a request error is an `error` message, and nothing follows it', async (context) => {
  const cases: Record<string, [object, RegExp]> = {
    'a syntax error': [subscribe('a', 'subscription {'), /./],
    'an unknown field': [subscribe('a', 'subscription { nonsense }'), /nonsense/],
    'two root fields': [subscribe('a', 'subscription { feed { cursor } activity { __typename } }'), /./],
    'an unknown operation': [{ id: 'a', type: 'subscribe', payload: { query: FEED, operationName: 'Other' } }, /Other/],
    'an invalid cursor': [subscribe('a', 'subscription { feed(after: "x") { cursor } }'), /cursor/],
  };
  for (const [name, [message, expected]] of Object.entries(cases)) {
    await context.test(name, async () => {
      const socket = await RawSocket.acknowledged(socketUrl, token);
      socket.send(message);
      const error = (await socket.has(2))[1];
      assert.deepEqual([error?.type, error?.id], ['error', 'a']);
      assert.match((error?.payload as { message: string }[])[0]?.message ?? '', expected);
      // Messages are answered in order, so nothing came between the error and this pong.
      socket.send({ type: 'ping', payload: { n: 1 } });
      assert.deepEqual((await socket.has(3))[2], { type: 'pong', payload: { n: 1 } });
      socket.close();
    });
  }
});

test('the server rejects a WebSocket from a page of another origin', async () => {
  const headers = { ...subprotocol('graphql-transport-ws'), Origin: 'https://evil.example' };
  assert.deepEqual(await upgrade(url, headers), { status: 403 });
});

test('the acknowledgement has the time at which the token expires, and the server then ends every connection', async () => {
  const short = await server.token('ana', SHORT_SECONDS);
  const expiry = expiryOf(short);
  const socket = await RawSocket.acknowledged(socketUrl, short);
  const { expiresAt } = socket.messages[0]?.payload as { expiresAt: string };
  assert.equal(new Date(expiresAt).getTime(), expiry.getTime());
  const idle = await RawSocket.acknowledged(socketUrl, short);
  const events = await Stream.open(url, short, 'text/event-stream', FEED);
  const parts = await Stream.open(url, short, 'multipart/mixed;boundary=graphql;subscriptionSpec=1.0', FEED);
  socket.send(subscribe('a'));
  for (const end of [socket.end(), idle.end()]) assert.deepEqual(await end, { code: 4403, reason: 'Token expired' });
  assert.ok(Date.now() >= expiry.getTime());
  await events.endsWithoutComplete();
  await parts.endsWithError('UNAUTHENTICATED');
});

test('a server that stops ends every connection', async () => {
  const sockets = [await RawSocket.acknowledged(socketUrl, token), await RawSocket.acknowledged(socketUrl, token)];
  sockets[0]?.send(subscribe('a'));
  const fresh = await RawSocket.open(socketUrl);
  const events = await Stream.open(url, token, 'text/event-stream', FEED);
  const parts = await Stream.open(url, token, 'multipart/mixed;boundary=graphql;subscriptionSpec=1.0', FEED);
  await server.stop();
  for (const socket of [...sockets, fresh]) assert.equal((await socket.end()).code, 1012);
  await events.endsWithoutComplete();
  await parts.endsWithError('UNAVAILABLE');
});

test('every frame of the server is valid for graphql-ws', () => {
  assert.ok(frames.count > 0);
  assert.deepEqual(frames.invalid, []);
});
