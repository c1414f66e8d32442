// The operations of a messaging frontend, one function for each. The documents are in operations.graphql.

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

/** Returns the signed-in user. */
export async function me(client: Client): Promise<Person> {
  const data = await client.execute(MeDocument);
  return data.me;
}

/**
 * Returns a page of the signed-in user's conversations. The conversation with the newest message is the first. `first` is the
 * number of conversations (default 20, maximum 100), and `after` the `endCursor` of the previous page.
 */
export async function messageGroups(client: Client, first = 20, after: string | null = null): Promise<MessageGroupPage> {
  const data = await client.execute(MessageGroupsDocument, { first, after });
  return data.messageGroups;
}

/**
 * Returns the last messages of a conversation, from oldest to newest. `last` is the number of messages (default 40, maximum
 * 100), and `before` the `startCursor` of the next page.
 */
export async function messagesBefore(
  client: Client,
  messageGroupUuid: string,
  last = 40,
  before: string | null = null,
): Promise<MessagePage> {
  const data = await client.execute(MessagesDocument, { messageGroupUuid, last, before });
  return data.messages;
}

/**
 * Returns the first messages of a conversation, from oldest to newest. `first` is the number of messages (default 40, maximum
 * 100), and `after` the `endCursor` of the previous page.
 */
export async function messagesAfter(
  client: Client,
  messageGroupUuid: string,
  first = 40,
  after: string | null = null,
): Promise<MessagePage> {
  const data = await client.execute(MessagesDocument, { messageGroupUuid, first, after });
  return data.messages;
}

/** Sends a message to the user with this handle. Starts a conversation, or continues the one that exists. */
export function sendToHandle(client: Client, handle: string, body: string): Promise<SentMessage> {
  return send(client, { handle }, body);
}

/** Sends a message to an existing conversation. */
export function sendToGroup(client: Client, messageGroupUuid: string, body: string): Promise<SentMessage> {
  return send(client, { messageGroupUuid }, body);
}

/**
 * The conversation in the response has the new message as its last one. The lists show it a moment later. After an error
 * whose `outcome` is UNKNOWN the message may have been stored: read the newest messages before you send it again. After an
 * error whose `outcome` is STORED it was stored: do not send it again.
 */
async function send(client: Client, to: MessageRecipient, body: string): Promise<SentMessage> {
  const data = await client.execute(CreateMessageDocument, { input: { to, body } });
  return data.createMessage;
}
