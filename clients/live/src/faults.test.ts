// All clients follow the feed of one user, and another user sends messages, while the server and its connections fail. At the
// end, each client must have received exactly the stored messages, in their order.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { apolloHttp, apolloWs } from './clients/apollo.js';
import { graphiqlHttp, graphiqlWsClient, graphiqlWsUrl } from './clients/graphiql.js';
import { graphqlSse } from './clients/graphql-sse.js';
import { graphqlWs, graphqlWsWithRetries } from './clients/graphql-ws.js';
import { own } from './clients/own.js';
import { urql } from './clients/urql.js';
import type { Connection } from './feed-client.js';
import { Follower, type IsExpected } from './follower.js';
import { Proxy } from './proxy.js';
import { Sender } from './sender.js';
import { Server } from './server.js';
import { frames } from './sockets.js';
import { Tokens } from './tokens.js';
import { until } from './until.js';

const FACTORIES = [
  graphqlWs,
  graphqlWsWithRetries,
  graphqlSse,
  urql,
  apolloHttp,
  apolloWs,
  graphiqlHttp,
  graphiqlWsClient,
  graphiqlWsUrl,
  own,
];
const SHORT_SECONDS = 5;

let server: Server;
let proxy: Proxy;
/** Of the user who follows the feed. */
let tokens: Tokens;
let sender: Sender;
let group: string;
/** The messages of the conversation before the tests. The consumer may add them to the feed after the first subscription. */
let earlier: string[];
let followers: Follower[];
let hasFailed = false;

before(async () => {
  // The server limits the number of messages in a minute.
  server = await Server.start({ MESSAGES_PER_MINUTE: '0' });
  proxy = await Proxy.start(server.port);
  tokens = new Tokens(server, 'ana');
  const lasting = new Tokens(server, 'ana');
  sender = new Sender(`http://127.0.0.1:${server.port}/graphql`, await server.token('ben'));
  group = await sender.groupWith('ana');
  earlier = await sender.stored(group);
  const address = `127.0.0.1:${proxy.port}/graphql`;
  const connection: Connection = {
    url: `http://${address}`,
    socketUrl: `ws://${address}`,
    token: () => tokens.current(),
    lastingToken: () => lasting.current(),
  };
  const isExpected: IsExpected = ({ uuid, messageGroupUuid }) => messageGroupUuid === group && !earlier.includes(uuid);
  followers = FACTORIES.map((factory) => new Follower(factory(connection), isExpected));
});

after(async () => {
  followers?.forEach((follower) => follower.stop());
  proxy?.close();
  await Promise.all((followers ?? []).map((follower) => follower.ended()));
  await server?.remove();
});

step('the first subscriptions are ready', async () => {
  tokens.validFor = SHORT_SECONDS;
  followers.forEach((follower) => follower.start());
  await all('ready', ({ readies }) => readies > 0);
  tokens.validFor = 3600;
});

step('the token expires', async () => {
  await sender.send('ana', 10);
  await all('disconnected', ({ client, losses }) => !client.lost || losses.length > 0, SHORT_SECONDS * 2000);
  await sender.send('ana', 10);
  await all('ready again', ({ client, readies }) => !client.lost || readies > 1);
  await delivers();
  each(({ client, losses }) => client.lost && assert.match(losses[0] ?? '', client.lost.expiry));
});

step('the server is restarted', async () => {
  const before = followers.map(({ losses }) => losses.length);
  await survives(async () => {
    await server.stop();
    await server.start();
  });
  each(({ client, losses }, index) => client.lost && assert.match(losses[before[index] ?? 0] ?? '', client.lost.restart));
});

step('the server is killed and started again', async () => {
  await survives(async () => {
    await server.kill();
    await server.start();
  });
});

step('all connections are cut, and again when the first client is back', async () => {
  await survives(async () => {
    const before = readies();
    assert.ok(proxy.cut() >= followers.length, 'each client has a connection');
    await until('one client is back', () => readies().some((count, index) => count > (before[index] ?? 0)));
    proxy.cut();
  });
});

step('no client lost a message or received one twice, and all are in the order of the conversation', async () => {
  const stored = await sender.stored(group);
  assert.deepEqual(stored, [...earlier, ...sender.sent], 'the server stored each message once');
  each(({ received, resets }) => {
    assert.deepEqual(received, sender.sent);
    assert.deepEqual(resets, []);
  });
});

step('every frame of the server is valid for graphql-ws', () => {
  assert.ok(frames.count > sender.sent.length);
  assert.deepEqual(frames.invalid, []);
});

/** A test that is skipped if an earlier step failed. */
function step(name: string, run: () => void | Promise<void>): void {
  test(name, async (context) => {
    if (hasFailed) return context.skip('an earlier step failed');
    hasFailed = true;
    await run();
    hasFailed = false;
  });
}

/** Sends messages before, during and after a fault, and waits until each client has caught up on a new connection. */
async function survives(fault: () => Promise<void>): Promise<void> {
  const before = readies();
  await sender.send('ana', 10);
  await Promise.all([fault(), sender.send('ana', 20)]);
  await all('ready again', ({ readies }, index) => readies > (before[index] ?? 0));
  await delivers();
}

/** How often each client has caught up. */
function readies(): number[] {
  return followers.map(({ readies }) => readies);
}

/** Sends messages, and waits until each client has received all that were sent. */
async function delivers(): Promise<void> {
  await sender.send('ana', 10);
  await all('up to date', ({ received }) => received.length >= sender.sent.length);
}

/** Waits until this is true of every follower. */
function all(what: string, isTrue: (follower: Follower, index: number) => boolean, ms?: number): Promise<void> {
  const lacking = () => followers.filter((follower, index) => !isTrue(follower, index));
  return until(`each client is ${what}`, () => lacking().length === 0, () => lacking().map((follower) => follower.state()), ms);
}

/** Checks every follower. The message of a failure has the name and the state of the client. */
function each(check: (follower: Follower, index: number) => void): void {
  for (const [index, follower] of followers.entries()) {
    try {
      check(follower, index);
    } catch (error) {
      throw new Error(`${JSON.stringify(follower.state())}\n${error instanceof Error ? error.message : error}`);
    }
  }
}
