import assert from 'node:assert/strict';
import { test } from 'node:test';

import relay, { type ConcreteRequest, type FetchFunction, type GraphQLResponse, type Variables } from 'relay-runtime';

// An application uses the tags of relay/queries.ts, and its bundler replaces them by these artifacts.
import GroupsPageQuery from './relay/__generated__/queriesGroupsPageQuery.graphql.js';
import GroupsQuery from './relay/__generated__/queriesGroupsQuery.graphql.js';
import MessagesPageQuery from './relay/__generated__/queriesMessagesPageQuery.graphql.js';
import MessagesQuery from './relay/__generated__/queriesMessagesQuery.graphql.js';
import SendMutation, { type queriesSendMutation } from './relay/__generated__/queriesSendMutation.graphql.js';
import ViewerQuery, { type queriesViewerQuery } from './relay/__generated__/queriesViewerQuery.graphql.js';
import { RENAMED, fetchWithNewName, headers, input, url } from './server.js';

const { ConnectionHandler, Environment, Network, RecordSource, Store } = relay;
const { commitLocalUpdate, commitMutation, createOperationDescriptor, fetchQuery } = relay;

const fetchGraphql: FetchFunction = async ({ text }, variables) => {
  const response = await fetchWithNewName(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ query: text, variables }),
  });
  return (await response.json()) as GraphQLResponse;
};

const newEnvironment = () =>
  new Environment({ network: Network.create(fetchGraphql), store: new Store(new RecordSource()) });
type Environment = ReturnType<typeof newEnvironment>;

test('Relay normalises with its defaults', async () => {
  const environment = newEnvironment();
  await load(environment, GroupsQuery, { count: 5 });
  const source = environment.getStore().getSource();
  const [first] = groups(environment);
  assert.ok(first);
  // The key of a record is the id alone.
  const types = [first.id, first.lastMessage, ...first.participants].map((key) => source.get(key)?.['__typename']);
  assert.deepEqual(types, ['MessageGroup', 'Message', 'User', 'User']);
  assert.ok([first.id, first.lastMessage, ...first.participants].every((key) => source.get(key)?.['id'] === key));

  // The mutation selects the group with its id, so the list shows the new message without another request.
  const sent = await new Promise<queriesSendMutation['response']>((resolve, reject) => {
    commitMutation<queriesSendMutation>(environment, {
      mutation: SendMutation,
      variables: { input },
      onCompleted: resolve,
      onError: reject,
    });
  });
  const { message, messageGroup } = sent.createMessage;
  assert.equal(groups(environment).find(({ id }) => id === messageGroup.id)?.lastMessage, message.id);

  // The response of another query changes the name of the user in the list.
  const viewer = await fetchQuery<queriesViewerQuery>(environment, ViewerQuery, {}).toPromise();
  assert.ok(viewer && first.participants.includes(viewer.me.id));
  assert.equal(source.get(viewer.me.id)?.['displayName'], RENAMED);
});

// `usePaginationFragment` executes the query of a refetchable fragment with the cursor of the last page.
test('Relay appends the next page of message groups', async () => {
  const environment = newEnvironment();
  await load(environment, GroupsQuery, { count: 1 });
  const { ids, endCursor } = connection(environment, 'queriesGroups_query_messageGroups');
  assert.equal(ids.length, 1);
  await load(environment, GroupsPageQuery, { count: 1, cursor: endCursor });
  const after = connection(environment, 'queriesGroups_query_messageGroups').ids;
  assert.equal(new Set(after).size, 2);
  assert.deepEqual(after.slice(0, 1), ids);
});

test('Relay prepends the previous page of messages', async () => {
  const environment = newEnvironment();
  await load(environment, GroupsQuery, { count: 1 });
  const [group] = groups(environment);
  const filters = { messageGroupUuid: group?.id };
  await load(environment, MessagesQuery, { group: group?.id, count: 2 });
  const { ids, startCursor } = connection(environment, 'queriesMessages_query_messages', filters);
  assert.equal(ids.length, 2);
  await load(environment, MessagesPageQuery, { group: group?.id, count: 2, cursor: startCursor });
  const after = connection(environment, 'queriesMessages_query_messages', filters).ids;
  assert.equal(new Set(after).size, 4);
  assert.deepEqual(after.slice(2), ids);
});

/** Fetches a query and keeps its records in the store, as a mounted component does. */
async function load(environment: Environment, query: ConcreteRequest, variables: Variables): Promise<void> {
  environment.retain(createOperationDescriptor(query, variables));
  await fetchQuery(environment, query, variables).toPromise();
}

/** What the store contains of a connection: the keys of its nodes, and the cursors of its ends. */
function connection(environment: Environment, key: string, filters?: Variables) {
  const found = { ids: [] as string[], startCursor: null as unknown, endCursor: null as unknown };
  commitLocalUpdate(environment, (store) => {
    const record = ConnectionHandler.getConnection(store.getRoot(), key, filters);
    const edges = record?.getLinkedRecords('edges') ?? [];
    found.ids = edges.map((edge) => edge.getLinkedRecord('node')?.getDataID() ?? '');
    found.startCursor = record?.getLinkedRecord('pageInfo')?.getValue('startCursor');
    found.endCursor = record?.getLinkedRecord('pageInfo')?.getValue('endCursor');
  });
  return found;
}

/** The message groups of the list, with the keys of the records that they link. */
function groups(environment: Environment) {
  const source = environment.getStore().getSource();
  return connection(environment, 'queriesGroups_query_messageGroups').ids.map((id) => {
    const record = source.get(id);
    const { __ref: lastMessage } = record?.['lastMessage'] as { __ref: string };
    const { __refs: participants } = record?.['participants'] as { __refs: string[] };
    return { id, lastMessage, participants };
  });
}
