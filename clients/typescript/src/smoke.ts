// Executes every operation on a running server as two users. Needs GRAPHQL_URL, and the tokens TOKEN and OTHER_TOKEN.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { ApiError, createClient, type Client } from './client.js';
import { faulty, type Fault } from './faulty.js';
import * as api from './operations.js';

const DEADLINE_MS = 10_000;

const url = setting('GRAPHQL_URL');
const one = createClient({ url, token: () => setting('TOKEN') });
const other = createClient({ url, token: () => setting('OTHER_TOKEN') });

await step('two users are signed in', async () => {
  const [me, them] = await Promise.all([api.me(one), api.me(other)]);
  assert.notEqual(me.uuid, them.uuid);
});

await step('errors have a code and a reason', async () => {
  const { handle } = await api.me(other);
  const noGroup = '00000000-0000-4000-8000-000000000000';
  await fails(api.sendToHandle(one, handle, ' \n'), { code: 'BAD_USER_INPUT', reason: 'message_blank' });
  await fails(api.sendToHandle(one, '', 'Hello'), { code: 'BAD_USER_INPUT', reason: 'handle_blank' });
  await fails(api.sendToGroup(one, noGroup, 'Hello'), { code: 'NOT_FOUND', reason: undefined });
  await fails(api.messagesBefore(one, noGroup), { code: 'NOT_FOUND', reason: undefined });
  await fails(api.messageGroups(one, 101), { code: 'BAD_USER_INPUT', reason: 'page_size_invalid' });
  await fails(api.messageGroups(one, 1, 'nonsense'), { code: 'BAD_USER_INPUT', reason: 'cursor_invalid' });
  await fails(api.feed(one, 'nonsense'), { code: 'BAD_USER_INPUT', reason: 'cursor_invalid' });
  await fails(api.feed(one, null, 0), { code: 'BAD_USER_INPUT', reason: 'page_size_invalid' });
  await fails(api.markRead(one, noGroup, 'nonsense'), { code: 'NOT_FOUND', reason: undefined });
});

await step('requests with no token or an invalid token are rejected', async () => {
  await fails(api.me(createClient({ url })), { code: 'UNAUTHENTICATED', reason: 'token_missing' });
  await fails(api.me(createClient({ url, token: () => 'nonsense' })), { code: 'UNAUTHENTICATED', reason: 'token_malformed' });
});

const start = await step('the feed can be read to its end', async () => endOfFeed(one));

const group = await step('a message to a handle moves the conversation to the top of both lists', async () => {
  const [me, them] = await Promise.all([api.me(one), api.me(other)]);
  const body = `Hello ${them.displayName}, 👋 at ${new Date().toISOString()}`;
  const { message, messageGroup } = await api.sendToHandle(one, them.handle, body);
  assert.equal(message.body, body);
  assert.deepEqual(message.author, me);
  assert.match(message.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.equal(message.messageGroupUuid, messageGroup.uuid);
  assert.deepEqual(messageGroup.lastMessage, message);
  assert.deepEqual(messageGroup.otherParticipant, them);
  await Promise.all([onTop(one, message), onTop(other, message)]);
  return messageGroup.uuid;
});

await step('a message with the same key is stored once', async () => {
  const { uuid, handle } = await api.me(other);
  const options = { idempotencyKey: crypto.randomUUID(), recipientUuid: uuid };
  const sent = await api.sendToHandle(one, handle, 'Once', options);
  assert.deepEqual(await api.sendToHandle(one, handle, 'Once', options), sent);
  assert.deepEqual(await api.sendToGroup(one, group, 'Once', options), sent);
  await fails(api.sendToGroup(one, group, 'Twice', options), { code: 'BAD_USER_INPUT', reason: 'idempotency_key_reused' });
  const me = await api.me(one);
  const elsewhere = api.sendToHandle(one, handle, 'For whom?', { recipientUuid: me.uuid });
  await fails(elsewhere, { code: 'BAD_USER_INPUT', reason: 'recipient_changed' });
  assert.deepEqual(await lastBodies(1), ['Once']);
});

await step('the client repeats requests after transient errors, and messages are stored once', async () => {
  const overloaded = { errors: [{ message: 'The server is overloaded.', extensions: { code: 'UNAVAILABLE' } }] };
  const faults: Fault[] = [
    'lose',
    { status: 502, body: '<html>Bad gateway</html>' },
    { status: 503, headers: { 'Retry-After': '1' }, body: JSON.stringify(overloaded) },
  ];
  const server = await faulty(url, faults);
  await api.sendToGroup(through(server.url), group, 'After three faults');
  assert.equal(server.requests(), 4);
  // Errors that a repeat cannot solve are not repeated.
  await fails(api.sendToGroup(through(server.url), group, ' '), { code: 'BAD_USER_INPUT', reason: 'message_blank' });
  assert.equal(server.requests(), 5);
  server.close();

  const lost = await faulty(url, ['lose', 'lose', 'lose', 'lose']);
  const options = { idempotencyKey: crypto.randomUUID() };
  const sent = () => api.sendToGroup(through(lost.url), group, 'After four faults', options);
  await assert.rejects(sent(), ({ code, outcome }: ApiError) => code === 'UNREACHABLE' && outcome === 'UNKNOWN');
  assert.equal(lost.requests(), 4);
  await sent();
  lost.close();

  // The server asks the client to wait longer than the client is willing to.
  const closed = await faulty(url, [{ status: 503, headers: { 'Retry-After': '3600' }, body: 'Maintenance' }]);
  await assert.rejects(api.me(through(closed.url)), ({ retryAfter }: ApiError) => retryAfter === 3600);
  assert.equal(closed.requests(), 1);
  closed.close();
  assert.deepEqual(await lastBodies(3), ['Once', 'After three faults', 'After four faults']);
});

await step('replies to the uuid of the conversation appear in it', async () => {
  for (const n of [1, 2, 3, 4]) {
    const { message, messageGroup } = await api.sendToGroup(other, group, `Reply ${n}`);
    assert.equal(messageGroup.uuid, group);
    assert.deepEqual(messageGroup.lastMessage, message);
    if (n === 4) await Promise.all([onTop(one, message), onTop(other, message)]);
  }
});

await step('the feed has each of these messages once, in their order', async () => {
  const { nodes } = await api.messagesBefore(one, group, 100);
  const events = await nextEvents(one, start, nodes.length);
  assert.deepEqual(events.map(added), nodes);
  assert.deepEqual((await api.feed(one, events[1]?.cursor, 100)).events, events.slice(2), 'the feed continues after any event');
});

await step('messages are unread until they are marked as read', async () => {
  const { nodes } = await api.messagesBefore(one, group, 2);
  const [older, newest] = nodes;
  assert.ok(older && newest);
  const unread = async (client: Client) => (await api.messageGroups(client, 1)).nodes[0]?.unreadCount;
  assert.equal(await unread(one), 4);
  assert.equal((await api.markRead(one, group, older.cursor)).unreadCount, 1);
  const marked = await api.markRead(one, group, newest.cursor);
  assert.deepEqual([marked.unreadCount, marked.readCursor], [0, newest.cursor]);
  assert.deepEqual(await api.markRead(one, group, older.cursor), marked, 'a read marker never moves backward');
  assert.equal(await unread(one), 0);
  assert.equal(await unread(other), 0, 'the author has read everything');
});

await step('the pages of message groups contain each group once', async () => {
  for (const client of [one, other]) {
    const small = await allGroups(client, 1);
    distinct(small);
    assert.equal(small[0]?.uuid, group);
    assert.deepEqual(small, small.toSorted((a, b) => compare(b.lastMessageAt, a.lastMessageAt)), 'the newest message is first');
    assert.deepEqual(await allGroups(client, 100), small, 'the page size does not change the list');
  }
});

await step('the pages of messages contain each message once, forward and backward', async () => {
  const backward = await allBackward(one, 3);
  distinct(backward);
  assert.deepEqual(
    backward.slice(-4).map(({ body }) => body),
    ['Reply 1', 'Reply 2', 'Reply 3', 'Reply 4'],
  );
  assert.deepEqual(backward, backward.toSorted((a, b) => compare(a.createdAt, b.createdAt)), 'from oldest to newest');
  assert.deepEqual(await allForward(one, 3), backward, 'forward paging returns the same messages');
  assert.deepEqual(await allForward(other, 100), backward, 'the other user gets the same messages, with another page size');
});

await step('the live feed delivers the messages that were missed, and then new messages', async () => {
  const start = await endOfFeed(one);
  const missed = await api.sendToGroup(other, group, 'Missed');
  await nextEvents(one, start, 1);
  const events = api.liveFeed(one, start, { signal: AbortSignal.timeout(DEADLINE_MS) });
  assert.deepEqual(added(await next(events)), missed.message);
  assert.equal((await next(events)).__typename, 'FeedReady');
  for (const client of [other, one]) {
    const sent = await api.sendToGroup(client, group, 'Live');
    assert.deepEqual(added(await next(events)), sent.message);
  }
  await events.return();
});

await step('a live feed with an invalid cursor or without a token ends with an error', async () => {
  await fails(next(api.liveFeed(one, 'nonsense')), { code: 'BAD_USER_INPUT', reason: 'cursor_invalid' });
  await fails(next(api.liveFeed(createClient({ url }))), { code: 'UNAUTHENTICATED', reason: 'token_missing' });
  await fails(next(api.liveActivity(createClient({ url }))), { code: 'UNAUTHENTICATED', reason: 'token_missing' });
});

await step('the other user sees who is typing and what was read', async () => {
  const me = await api.me(one);
  const activities = api.liveActivity(other, { signal: AbortSignal.timeout(DEADLINE_MS) });
  let isReceived = false;
  const first = next(activities).finally(() => (isReceived = true));
  // The server does not store activities, so the first ones can be lost while the subscription starts.
  while (!isReceived) {
    await api.signalTyping(one, group);
    await sleep(100);
  }
  const typing = await first;
  assert.equal(typing.__typename, 'TypingStarted');
  assert.deepEqual([typing.user, typing.messageGroupUuid], [me, group]);
  assert.ok(Date.parse(typing.expiresAt) > Date.now());

  await api.sendToGroup(other, group, 'Read this');
  const unread = (await api.messagesBefore(one, group, 1)).nodes[0];
  assert.ok(unread);
  await api.markRead(one, group, unread.cursor);
  for (;;) {
    const activity = await next(activities);
    // The last `signalTyping` may be forwarded as well.
    if (activity.__typename === 'TypingStarted') continue;
    if (activity.user.uuid !== me.uuid) continue;
    assert.deepEqual([activity.messageGroupUuid, activity.readCursor], [group, unread.cursor]);
    break;
  }
  await activities.return();
});

console.log('all steps passed');

async function allGroups(client: Client, size: number): Promise<api.MessageGroup[]> {
  const found: api.MessageGroup[] = [];
  for (let after: string | null = null; ; ) {
    const { nodes, pageInfo }: api.MessageGroupPage = await api.messageGroups(client, size, after);
    found.push(...nodes);
    if (!pageInfo.hasNextPage) return found;
    assert.equal(nodes.length, size, 'every page except the last one is full');
    after = pageInfo.endCursor;
    assert.ok(after);
  }
}

async function allBackward(client: Client, size: number): Promise<api.Message[]> {
  const found: api.Message[] = [];
  for (let before: string | null = null; ; ) {
    const { nodes, pageInfo }: api.MessagePage = await api.messagesBefore(client, group, size, before);
    assert.equal(pageInfo.hasNextPage, before !== null);
    found.unshift(...nodes);
    if (!pageInfo.hasPreviousPage) return found;
    assert.equal(nodes.length, size, 'every page except the last one is full');
    before = pageInfo.startCursor;
    assert.ok(before);
  }
}

async function allForward(client: Client, size: number): Promise<api.Message[]> {
  const found: api.Message[] = [];
  for (let after: string | null = null; ; ) {
    const { nodes, pageInfo }: api.MessagePage = await api.messagesAfter(client, group, size, after);
    assert.equal(pageInfo.hasPreviousPage, after !== null);
    found.push(...nodes);
    if (!pageInfo.hasNextPage) return found;
    assert.equal(nodes.length, size, 'every page except the last one is full');
    after = pageInfo.endCursor;
    assert.ok(after);
  }
}

/** The first user as a client of another server. */
function through(url: string): Client {
  return createClient({ url, token: () => setting('TOKEN') });
}

async function lastBodies(count: number): Promise<string[]> {
  const { nodes } = await api.messagesBefore(one, group, count);
  return nodes.map(({ body }) => body);
}

/** The next event of a subscription that must not end. */
async function next<Event>(events: AsyncGenerator<Event, void>): Promise<Event> {
  const { value, done } = await events.next();
  assert.ok(!done, 'the subscription has ended, or the deadline has passed');
  return value;
}

/** The message of an event of the conversation. */
function added(event: api.FeedEvent): api.Message {
  assert.equal(event.__typename, 'MessageAdded');
  assert.equal(event.messageGroup.uuid, group);
  return event.message;
}

/** Reads the feed to its end. Returns the cursor there. */
async function endOfFeed(client: Client): Promise<string> {
  for (let after: string | null = null; ; ) {
    const page: api.FeedPage = await api.feed(client, after, 100);
    after = page.endCursor;
    if (!page.hasNextPage) return after;
  }
}

/** Waits until the feed has this many events after the cursor. */
async function nextEvents(client: Client, start: string, count: number): Promise<api.FeedEvent[]> {
  const deadline = Date.now() + DEADLINE_MS;
  const found: api.FeedEvent[] = [];
  for (let after = start; found.length < count; ) {
    const page: api.FeedPage = await api.feed(client, after, 2);
    found.push(...page.events);
    after = page.endCursor;
    assert.ok(Date.now() < deadline, `the feed has only ${found.length} events after ${DEADLINE_MS} ms`);
    if (!page.hasNextPage) await sleep(50);
  }
  assert.equal(found.length, count);
  return found;
}

/** Waits until the conversation is the first in the list and has the message as its last one. */
async function onTop(client: Client, message: api.Message): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const { nodes } = await api.messageGroups(client, 1);
    if (nodes[0]?.uuid === message.messageGroupUuid && nodes[0].lastMessage.uuid === message.uuid) return;
    assert.ok(Date.now() < deadline, `the list does not start with the conversation of the message after ${DEADLINE_MS} ms`);
    await sleep(50);
  }
}

async function fails(operation: Promise<unknown>, expected: Pick<ApiError, 'code' | 'reason'>): Promise<void> {
  await assert.rejects(operation, (error) => {
    assert.ok(error instanceof ApiError, String(error));
    assert.ok(error.requestId);
    const { code, reason } = error;
    assert.deepEqual({ code, reason }, expected);
    return true;
  });
}

function distinct(items: readonly { uuid: string }[]): void {
  assert.equal(new Set(items.map(({ uuid }) => uuid)).size, items.length, 'no item is listed twice');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

async function step<T>(name: string, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  console.log(`ok  ${name} (${Math.round(performance.now() - start)} ms)`);
  return result;
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
