// A user who sends messages while the server fails, and reads what was stored.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { print } from 'graphql';

import { GroupsDocument, MessagesDocument, SendDocument, type MessagesQuery } from './generated/graphql.js';

const RETRY_MS = 100;
const DEADLINE_MS = 60_000;

export class Sender {
  readonly #url: string;
  readonly #token: string;
  /** The uuids of the messages that were sent, in their order. */
  readonly sent: string[] = [];

  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  /** Sends messages to a user, one after another. */
  async send(handle: string, count: number): Promise<void> {
    for (let n = 0; n < count; n += 1) {
      const input = { to: { handle }, body: `Message ${this.sent.length}`, idempotencyKey: randomUUID() };
      this.sent.push(await this.#sendOnce(input));
    }
  }

  /** Repeats the request until there is a response. The key keeps the server from storing the message twice. */
  async #sendOnce(input: { to: { handle: string }; body: string; idempotencyKey: string }): Promise<string> {
    const deadline = Date.now() + DEADLINE_MS;
    for (;;) {
      try {
        const { createMessage } = await this.#execute(SendDocument, { input });
        return createMessage.message.uuid;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await sleep(RETRY_MS);
      }
    }
  }

  /** The uuid of the conversation with a user. */
  async groupWith(handle: string): Promise<string> {
    const { messageGroups } = await this.#execute(GroupsDocument, {});
    const group = messageGroups.nodes.find(({ otherParticipant }) => otherParticipant.handle === handle);
    if (!group) throw new Error(`There is no conversation with ${handle}.`);
    return group.uuid;
  }

  /** The uuids of the messages of a conversation, from the oldest to the newest. */
  async stored(group: string): Promise<string[]> {
    const found: string[] = [];
    for (let after: string | null = null; ; ) {
      const { messages }: MessagesQuery = await this.#execute(MessagesDocument, { group, after });
      found.push(...messages.nodes.map(({ uuid }) => uuid));
      if (!messages.pageInfo.hasNextPage) return found;
      after = messages.pageInfo.endCursor ?? null;
    }
  }

  async #execute<Result, Variables>(document: TypedDocumentNode<Result, Variables>, variables: Variables): Promise<Result> {
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${this.#token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ query: print(document), variables }),
      signal: AbortSignal.timeout(10_000),
    });
    const { data, errors } = (await response.json()) as { data?: Result; errors?: unknown };
    if (errors || !data) throw new Error(JSON.stringify(errors));
    return data;
  }
}
