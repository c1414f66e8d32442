// Executes every operation on a running server as two users. Needs GRAPHQL_URL, and the tokens TOKEN and OTHER_TOKEN.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { ApiError, createClient, type Client } from './client.js';
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
});

await step('requests with no token or an invalid token are rejected', async () => {
  await fails(api.me(createClient({ url })), { code: 'UNAUTHENTICATED', reason: 'token_missing' });
  await fails(api.me(createClient({ url, token: () => 'nonsense' })), { code: 'UNAUTHENTICATED', reason: 'token_malformed' });
});

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

await step('replies to the uuid of the conversation appear in it', async () => {
  for (const n of [1, 2, 3, 4]) {
    const { message, messageGroup } = await api.sendToGroup(other, group, `Reply ${n}`);
    assert.equal(messageGroup.uuid, group);
    assert.deepEqual(messageGroup.lastMessage, message);
    if (n === 4) await Promise.all([onTop(one, message), onTop(other, message)]);
  }
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
