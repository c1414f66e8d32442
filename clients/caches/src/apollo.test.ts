import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ApolloClient, HttpLink, InMemoryCache } from '@apollo/client';

import { GroupsDocument, SendDocument, ViewerDocument } from './generated/graphql.js';
import { headers, input, url } from './server.js';

test('Apollo Client normalises with its defaults', async () => {
  const cache = new InMemoryCache();
  const client = new ApolloClient({ cache, link: new HttpLink({ uri: url, headers }) });

  const { data } = await client.query({ query: GroupsDocument });
  assert.ok(data);
  const [first] = data.messageGroups.edges;
  assert.ok(first);
  const { node } = first;
  const keys = Object.keys(cache.extract());
  for (const key of [
    `MessageGroup:${node.id}`,
    `Message:${node.lastMessage.id}`,
    ...node.participants.map(({ id }) => `User:${id}`),
  ]) {
    assert.ok(keys.includes(key), `${key} is one of ${keys}`);
  }

  // The mutation selects the group by its id, so the list shows the new message without another request.
  const { data: sent } = await client.mutate({ mutation: SendDocument, variables: { input } });
  assert.ok(sent);
  const shown = client.readQuery({ query: GroupsDocument });
  const edge = shown?.messageGroups.edges.find(({ node }) => node.id === sent.createMessage.messageGroup.id);
  assert.equal(edge?.node.lastMessage.id, sent.createMessage.message.id);

  // Another query of the same user changes the name in the list.
  const { data: viewer } = await client.query({ query: ViewerDocument });
  assert.ok(viewer);
  client.writeQuery({ query: ViewerDocument, data: { ...viewer, me: { ...viewer.me, displayName: 'Renamed' } } });
  const names = client.readQuery({ query: GroupsDocument })?.messageGroups.edges[0]?.node.participants;
  assert.equal(names?.find(({ id }) => id === viewer.me.id)?.displayName, 'Renamed');
});
