import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, fetchExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';

import { GroupsDocument, SendDocument } from './generated/graphql.js';
import { headers, input, url } from './server.js';

test("urql's graphcache normalises with its defaults", async (t) => {
  // Without `keys` in its configuration, graphcache warns about objects that have no `id`.
  const warnings = t.mock.method(console, 'warn', () => undefined);
  const stored: string[] = [];
  const storage = {
    readData: async () => ({}),
    writeData: async (entries: object) => void stored.push(...Object.keys(entries)),
  };
  const cache = cacheExchange({ storage });
  const client = new Client({ url, exchanges: [cache, fetchExchange], fetchOptions: { headers }, preferGetMethod: false });

  const { data, error } = await client.query(GroupsDocument, {}).toPromise();
  assert.equal(error, undefined);
  const [first] = data?.messageGroups.edges ?? [];
  assert.ok(first);
  await sleep(0);
  const { node } = first;
  for (const key of [`MessageGroup:${node.id}`, `Message:${node.lastMessage.id}`]) {
    assert.ok(stored.some((it) => it.startsWith(key)), `${key} is one of ${stored}`);
  }

  // The mutation selects the group by its id, so the list shows the new message without another request.
  const { data: sent } = await client.mutation(SendDocument, { input }).toPromise();
  assert.ok(sent);
  const shown = client.readQuery(GroupsDocument, {})?.data;
  const edge = shown?.messageGroups.edges.find(({ node }) => node.id === sent.createMessage.messageGroup.id);
  assert.equal(edge?.node.lastMessage.id, sent.createMessage.message.id);

  assert.deepEqual(warnings.mock.calls.map(({ arguments: [text] }) => text), []);
});
