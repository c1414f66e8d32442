// The operations of a messaging frontend, one function for each. The documents are in operations.graphql.

import type { Client, ExecuteOptions, SubscribeOptions } from './client.js';
import {
  CreateMessageDocument,
  FeedDocument,
  LiveActivityDocument,
  LiveFeedDocument,
  MarkReadDocument,
  MeDocument,
  MessageGroupsDocument,
  MessagesDocument,
  SignalTypingDocument,
  type CreateMessageMutation,
  type FeedQuery,
  type LiveActivitySubscription,
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
export type FeedPage = FeedQuery['feed'];
export type FeedEvent = FeedPage['events'][number];
export type Activity = LiveActivitySubscription['activity'];
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

/** If `signal` is aborted, the server may have stored the message. To find out, send it again with the same key. */
export interface SendOptions extends ExecuteOptions {
  /**
   * Key of the message (default: a new random UUID). Messages with the same key are stored once, so an application that keeps
   * its unsent messages over a restart keeps their keys as well.
   */
  idempotencyKey?: string;
  /** The user whom you mean. If the handle belongs to another user now, the reason of the error is `recipient_changed`. */
  recipientUuid?: string;
}

/** Sends a message to the user with this handle. Starts a conversation, or continues the one that exists. */
export function sendToHandle(client: Client, handle: string, body: string, options?: SendOptions): Promise<SentMessage> {
  return send(client, { handle }, body, options);
}

/** Sends a message to an existing conversation. */
export function sendToGroup(
  client: Client,
  messageGroupUuid: string,
  body: string,
  options?: SendOptions,
): Promise<SentMessage> {
  return send(client, { messageGroupUuid }, body, options);
}

/**
 * The conversation in the response has the new message as its last one. The lists show it a moment later. The client repeats
 * the request after transient errors, and the key keeps the server from storing the message twice.
 */
async function send(client: Client, to: MessageRecipient, body: string, options: SendOptions = {}): Promise<SentMessage> {
  const { idempotencyKey = crypto.randomUUID(), recipientUuid = null, ...executeOptions } = options;
  const input = { to, body, idempotencyKey, recipientUuid };
  const data = await client.execute(CreateMessageDocument, { input }, executeOptions);
  return data.createMessage;
}

/**
 * Marks the messages of a conversation up to a message as read. `upTo` is the `cursor` of that message. Marking an older message
 * again changes nothing. Returns the conversation with its new `unreadCount`.
 */
export async function markRead(client: Client, messageGroupUuid: string, upTo: string): Promise<MessageGroup> {
  const data = await client.execute(MarkReadDocument, { input: { messageGroupUuid, upTo } });
  return data.markRead.messageGroup;
}

/**
 * Returns a page of the signed-in user's feed, which has every message of every conversation once. `after` is the `endCursor`
 * of the previous page, or a stored `cursor` of an event; without it the page starts at the oldest event that the server keeps.
 * `first` is the number of events (default 50, maximum 100). After a `FeedReset`, events are missing: read the conversations
 * again, and then continue from its `cursor`.
 */
export async function feed(client: Client, after: string | null = null, first = 50): Promise<FeedPage> {
  const data = await client.execute(FeedDocument, { after, first });
  return data.feed;
}

/**
 * Returns the events of the signed-in user's feed as they happen, over any number of connections, each event once. `after` is
 * the stored `cursor` of the last event; without it, only new events are returned. The first events are those that the client
 * missed. `FeedReady` follows them, and again after each new connection: everything after it is new. After a `FeedReset`,
 * events are missing. Read the conversations again after both, because the feed has no read markers. The loop can continue.
 */
export async function* liveFeed(
  client: Client,
  after: string | null = null,
  options?: SubscribeOptions,
): AsyncGenerator<FeedEvent, void, undefined> {
  for await (const data of client.subscribe(LiveFeedDocument, { after }, options)) yield data.feed;
}

/**
 * Returns who is typing in the signed-in user's conversations, and which read markers have moved. The server does not store
 * these events, so events during a lost connection are lost: read the conversations again at each call of `onOpen`.
 */
export async function* liveActivity(client: Client, options?: SubscribeOptions): AsyncGenerator<Activity, void, undefined> {
  for await (const data of client.subscribe(LiveActivityDocument, {}, options)) yield data.activity;
}

/**
 * Tells the other participant of a conversation that the signed-in user is typing. Call it while the user types: the server
 * forwards at most one call in 3 seconds, and the other client shows it for 6 seconds.
 */
export async function signalTyping(client: Client, messageGroupUuid: string): Promise<void> {
  await client.execute(SignalTypingDocument, { input: { messageGroupUuid } });
}
