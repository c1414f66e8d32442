import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';

import { GroupsDocument, SendDocument, ViewerDocument } from './generated/graphql.js';
import { RENAMED, fetchWithNewName, headers, input, url } from './server.js';

test("urql's graphcache normalises with its defaults", async (t) => {
  // Without `keys` in its configuration, graphcache warns about objects that have no `id`.
  const warnings = t.mock.method(console, 'warn', () => undefined);
  // The storage only records what the cache contains. The name of an entry is KEY.FIELD.
  const keys = new Set<string | undefined>();
  const storage = {
    readData: async () => ({}),
    writeData: async (entries: object) => Object.keys(entries).forEach((name) => keys.add(name.split('.')[0])),
  };
  const client = new Client({
    url,
    exchanges: [cacheExchange({ storage }), fetchExchange],
    fetch: fetchWithNewName,
    fetchOptions: { headers },
    preferGetMethod: false,
  });

  const { data, error } = await client.query(GroupsDocument, {}).toPromise();
  assert.equal(error, undefined);
  const node = data?.messageGroups.edges[0]?.node;
  assert.ok(node);
  // Graphcache calls `writeData` after the current task.
  await sleep(0);
  for (const key of [
    `MessageGroup:${node.id}`,
    `Message:${node.lastMessage.id}`,
    ...node.participants.map(({ id }) => `User:${id}`),
  ]) {
    assert.ok(keys.has(key), `${key} is one of ${[...keys]}`);
  }
  const groups = () => client.readQuery(GroupsDocument, {})?.data?.messageGroups.edges.map((edge) => edge.node);

  // The mutation selects the group with its id, so the list shows the new message without another request.
  const { data: sent } = await client.mutation(SendDocument, { input }).toPromise();
  assert.ok(sent);
  const { message, messageGroup } = sent.createMessage;
  assert.equal(groups()?.find(({ id }) => id === messageGroup.id)?.lastMessage.id, message.id);

  // The response of another query changes the name of the user in the list.
  const { data: viewer } = await client.query(ViewerDocument, {}).toPromise();
  assert.ok(viewer);
  const me = groups()?.[0]?.participants.find(({ id }) => id === viewer.me.id);
  assert.equal(me?.displayName, RENAMED);

  assert.deepEqual(warnings.mock.calls.map(({ arguments: [text] }) => text), []);
});
