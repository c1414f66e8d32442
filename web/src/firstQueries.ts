// The queries of a page that is opened. The client sends them before it loads the components, which then find the responses in
// the cache. So the variables have to be the same in both places.

import type { Client } from '@urql/core';

import { ConversationDocument, GroupsDocument, MeDocument } from './generated/graphql';

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const firstGroups = { first: 20 };

export function firstMessages(uuid: string) {
  return { uuid, last: 40, before: null };
}

/** The server rejects other identifiers as bad input. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** Sends the queries of the page at `path`. The promise is fulfilled after the responses, also if they are errors. */
export async function queryAhead(client: Client, path: string): Promise<void> {
  const uuid = path.replace(/^\/messages\//, '');
  await Promise.all([
    isUuid(uuid) && client.query(ConversationDocument, firstMessages(uuid)).toPromise(),
    client.query(GroupsDocument, firstGroups).toPromise(),
    client.query(MeDocument, {}).toPromise(),
  ]);
}
