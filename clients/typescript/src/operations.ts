// What a messaging frontend does, one function each. The documents are in operations.graphql.

import type { Client } from './client.js';
import {
  CreateMessageDocument,
  MeDocument,
  MessageGroupsDocument,
  MessagesDocument,
  type CreateMessageMutation,
  type MessageGroupRowFragment,
  type MessageGroupsQuery,
  type MessageItemFragment,
  type MessageRecipient,
  type MessagesQuery,
  type PersonFragment,
} from './generated/graphql.js';

export type Person = PersonFragment;
export type Message = MessageItemFragment;
export type MessageGroup = MessageGroupRowFragment;
export type MessageGroupPage = MessageGroupsQuery['messageGroups'];
export type MessagePage = MessagesQuery['messages'];
export type SentMessage = CreateMessageMutation['createMessage'];

/** The signed-in user. */
export async function me(client: Client): Promise<Person> {
  const data = await client.execute(MeDocument);
  return data.me;
}

/** A page of the signed-in user's conversations, last reply first; `after` is the `endCursor` of the page before. */
export async function messageGroups(client: Client, first = 20, after: string | null = null): Promise<MessageGroupPage> {
  const data = await client.execute(MessageGroupsDocument, { first, after });
  return data.messageGroups;
}

/** The newest messages of a conversation, oldest to newest, or those before a page's `startCursor`. */
export async function messagesBefore(
  client: Client,
  messageGroupUuid: string,
  last = 40,
  before: string | null = null,
): Promise<MessagePage> {
  const data = await client.execute(MessagesDocument, { messageGroupUuid, last, before });
  return data.messages;
}

/** The oldest messages of a conversation, oldest to newest, or those behind a page's `endCursor`. */
export async function messagesAfter(
  client: Client,
  messageGroupUuid: string,
  first = 40,
  after: string | null = null,
): Promise<MessagePage> {
  const data = await client.execute(MessagesDocument, { messageGroupUuid, first, after });
  return data.messages;
}

/** Sends a message to the user with this handle: begins a conversation, or goes on with the one there is. */
export function sendToHandle(client: Client, handle: string, body: string): Promise<SentMessage> {
  return send(client, { handle }, body);
}

/** Sends a message into a conversation. */
export function sendToGroup(client: Client, messageGroupUuid: string, body: string): Promise<SentMessage> {
  return send(client, { messageGroupUuid }, body);
}

/**
 * The answer shows the conversation with the message as its last one at once; the lists follow a moment later. After an
 * error whose `outcome` is UNKNOWN the message may be there: read the newest messages before sending it again.
 */
async function send(client: Client, to: MessageRecipient, body: string): Promise<SentMessage> {
  const data = await client.execute(CreateMessageDocument, { input: { to, body } });
  return data.createMessage;
}
