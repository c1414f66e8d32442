import assert from 'node:assert/strict';
import { test } from 'node:test';

import relay, { type FetchFunction, type GraphQLResponse } from 'relay-runtime';

// An application writes the tags of relay/queries.ts, and its bundler replaces them by these artifacts.
import GroupsQuery, { type queriesGroupsQuery } from './relay/__generated__/queriesGroupsQuery.graphql.js';
import SendMutation, { type queriesSendMutation } from './relay/__generated__/queriesSendMutation.graphql.js';
import { headers, input, url } from './server.js';

const { Environment, Network, RecordSource, Store, commitMutation, fetchQuery } = relay;

const fetchGraphql: FetchFunction = async ({ text }, variables) => {
  const response = await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ query: text, variables }),
  });
  return (await response.json()) as GraphQLResponse;
};

test('Relay normalises with its defaults', async () => {
  const source = new RecordSource();
  const environment = new Environment({ network: Network.create(fetchGraphql), store: new Store(source) });

  await fetchQuery<queriesGroupsQuery>(environment, GroupsQuery, { count: 5 }).toPromise();
  const group = source.getRecordIDs().find((id) => source.get(id)?.['__typename'] === 'MessageGroup');
  assert.ok(group);
  assert.equal(source.get(group)?.['id'], group, 'the key of a record is its id');
  const types = new Set(source.getRecordIDs().map((id) => source.get(id)?.['__typename']));
  for (const type of ['User', 'Message', 'MessageGroup']) assert.ok(types.has(type), type);

  // The mutation writes to the record of the group that the list has.
  const sent = await new Promise<queriesSendMutation['response']>((resolve, reject) => {
    commitMutation<queriesSendMutation>(environment, {
      mutation: SendMutation,
      variables: { input },
      onCompleted: resolve,
      onError: reject,
    });
  });
  const { id, lastMessage } = sent.createMessage.messageGroup;
  assert.equal((source.get(id)?.['lastMessage'] as { __ref?: string }).__ref, lastMessage.id);
});
