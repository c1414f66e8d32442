import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ApolloClient, HttpLink, InMemoryCache } from '@apollo/client';

import { GroupsDocument, SendDocument, ViewerDocument } from './generated/graphql.js';
import { RENAMED, fetchWithNewName, headers, input, url } from './server.js';

test('Apollo Client normalises with its defaults', async () => {
  const cache = new InMemoryCache();
  const client = new ApolloClient({ cache, link: new HttpLink({ uri: url, headers, fetch: fetchWithNewName }) });

  const { data } = await client.query({ query: GroupsDocument });
  const node = data?.messageGroups.edges[0]?.node;
  assert.ok(node);
  const records = cache.extract();
  for (const key of [
    `MessageGroup:${node.id}`,
    `Message:${node.lastMessage.id}`,
    ...node.participants.map(({ id }) => `User:${id}`),
  ]) {
    assert.ok(records[key], `${key} is one of ${Object.keys(records)}`);
  }
  const groups = () => client.readQuery({ query: GroupsDocument })?.messageGroups.edges.map((edge) => edge.node);

  // The mutation selects the group with its id, so the list shows the new message without another request.
  const { data: sent } = await client.mutate({ mutation: SendDocument, variables: { input } });
  assert.ok(sent);
  const { message, messageGroup } = sent.createMessage;
  assert.equal(groups()?.find(({ id }) => id === messageGroup.id)?.lastMessage.id, message.id);

  // The response of another query changes the name of the user in the list.
  const { data: viewer } = await client.query({ query: ViewerDocument });
  assert.ok(viewer);
  const me = groups()?.[0]?.participants.find(({ id }) => id === viewer.me.id);
  assert.equal(me?.displayName, RENAMED);
});
