// The cache with a fake server that pages as the real one does.

import { Client, type Exchange, type OperationResult } from '@urql/core';
import { filter, makeSubject, map, merge, mergeMap, pipe, fromPromise, share, subscribe, takeUntil } from 'wonka';
import { describe, expect, it } from 'vitest';

import { createCache, mergeArrivals } from './cache';
import {
  ConversationDocument,
  FeedDocument,
  NewerMessagesDocument,
  type ConversationQuery,
  type FeedSubscription,
} from './generated/graphql';

const GROUP = '00000000-0000-0000-0000-00000000000a';
const ben = { __typename: 'User', id: 'u2', uuid: 'u2', handle: 'ben', displayName: 'Ben' };

const message = (number: number) => ({
  __typename: 'Message',
  id: `m${number}`,
  uuid: `m${number}`,
  messageGroupUuid: GROUP,
  cursor: `c${number}`,
  body: `message ${number}`,
  createdAt: `2026-01-01T00:00:00.${String(number).padStart(6, '0')}Z`,
  author: ben,
});

const group = (unreadCount: number, last: number) => ({
  __typename: 'MessageGroup',
  id: GROUP,
  uuid: GROUP,
  unreadCount,
  lastMessageAt: message(last).createdAt,
  otherParticipant: ben,
  lastMessage: message(last),
});

/** A server with the messages 1 to `count`. */
function setup(count: number) {
  const feed = makeSubject<FeedSubscription>();
  let serverCount = count;
  const fakeServer: Exchange = () => (operations) => {
    const shared = share(operations);
    const queries = pipe(
      shared,
      filter(({ kind }) => kind === 'query'),
      mergeMap((operation) => {
        const { last, before, first, after } = operation.variables as Record<'last' | 'first', number> &
          Record<'before' | 'after', string | null | undefined>;
        const start = after
          ? Number(after.slice(1)) + 1
          : Math.max(1, (before ? Number(before.slice(1)) : serverCount + 1) - last);
        const end = after
          ? Math.min(serverCount, start + first - 1)
          : before
            ? Number(before.slice(1)) - 1
            : serverCount;
        const nodes = Array.from({ length: Math.max(0, end - start + 1) }, (_, index) => message(start + index));
        const data = {
          messageGroup: {
            ...group(0, serverCount),
            readCursor: null,
            otherReadCursor: null,
            messages: {
              __typename: 'MessageConnection',
              nodes,
              pageInfo: {
                __typename: 'PageInfo',
                hasPreviousPage: start > 1,
                hasNextPage: end < serverCount,
                startCursor: nodes[0]?.cursor ?? null,
                endCursor: nodes.at(-1)?.cursor ?? null,
              },
            },
          },
        };
        return fromPromise(Promise.resolve({ operation, data, stale: false, hasNext: false } as OperationResult));
      }),
    );
    const subscriptions = pipe(
      shared,
      filter(({ kind }) => kind === 'subscription'),
      mergeMap((operation) => {
        const end = pipe(
          shared,
          filter(({ kind, key }) => kind === 'teardown' && key === operation.key),
        );
        const result = (data: FeedSubscription) =>
          ({ operation, data, stale: false, hasNext: true }) as OperationResult;
        return pipe(feed.source, map(result), takeUntil(end));
      }),
    );
    return merge([queries, subscriptions]);
  };

  const client = new Client({
    url: '/graphql',
    preferGetMethod: false,
    fetchSubscriptions: true,
    exchanges: [createCache(), fakeServer],
  });
  const shown: { current: NonNullable<ConversationQuery['messageGroup']> | undefined } = { current: undefined };
  pipe(
    client.query(ConversationDocument, { uuid: GROUP, last: 3, before: null }),
    subscribe(({ data }) => {
      shown.current = data?.messageGroup ?? undefined;
    }),
  );
  pipe(
    client.subscription(FeedDocument, { after: null }),
    subscribe(() => undefined),
  );
  return {
    client,
    shown,
    numbers: () => shown.current?.messages.nodes.map(({ id }) => Number(id.slice(1))),
    older: () =>
      client
        .query(
          ConversationDocument,
          { uuid: GROUP, last: 3, before: shown.current?.messages.pageInfo.startCursor ?? null },
          { requestPolicy: 'network-only' },
        )
        .toPromise(),
    arrive: (number: number, unreadCount = 1) => {
      serverCount = Math.max(serverCount, number);
      const event = {
        __typename: 'MessageAdded',
        cursor: `f${number}`,
        message: message(number),
        messageGroup: group(unreadCount, number),
      };
      feed.next({ feed: event } as unknown as FeedSubscription);
    },
    reset: () => {
      feed.next({ feed: { __typename: 'FeedReset', cursor: 'f', reason: 'EXPIRED' } } as unknown as FeedSubscription);
    },
    growSilently: (number: number) => {
      serverCount = number;
    },
  };
}

const settle = () => new Promise((resolve) => setTimeout(resolve));

describe('pages of a conversation', () => {
  it('are put before the newest messages', async () => {
    const { numbers, older, shown } = setup(8);
    await settle();
    expect(numbers()).toEqual([6, 7, 8]);
    await older();
    expect(numbers()).toEqual([3, 4, 5, 6, 7, 8]);
    await older();
    await settle();
    expect(numbers()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(shown.current?.messages.pageInfo.hasPreviousPage).toBe(false);
  });

  it('get messages that arrive at the end, once, also after another page', async () => {
    const { numbers, older, arrive } = setup(8);
    await settle();
    arrive(9);
    arrive(9);
    await settle();
    expect(numbers()).toEqual([6, 7, 8, 9]);
    await older();
    arrive(10);
    await settle();
    expect(numbers()).toEqual([3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('keep a message that arrived while they were queried again', async () => {
    const { client, numbers, arrive, growSilently } = setup(8);
    await settle();
    arrive(9);
    growSilently(8);
    const variables = { uuid: GROUP, last: 3, before: null };
    await client.query(ConversationDocument, variables, { requestPolicy: 'network-only' }).toPromise();
    await settle();
    expect(numbers()).toEqual([6, 7, 8, 9]);
  });

  it('are continued by newer pages, between messages that arrive', async () => {
    const { client, numbers, older, arrive, growSilently } = setup(8);
    await settle();
    arrive(9);
    growSilently(12);
    await older();
    const newer = { uuid: GROUP, first: 2, after: 'c9' };
    await client.query(NewerMessagesDocument, newer, { requestPolicy: 'network-only' }).toPromise();
    await settle();
    expect(numbers()).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
    arrive(13);
    await client
      .query(NewerMessagesDocument, { ...newer, after: 'c11' }, { requestPolicy: 'network-only' })
      .toPromise();
    await settle();
    expect(numbers()).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  });

  it('show the unread count of the last event', async () => {
    const { shown, arrive } = setup(8);
    await settle();
    arrive(9, 1);
    arrive(10, 2);
    await settle();
    expect(shown.current?.unreadCount).toBe(2);
  });

  it('are forgotten and queried again after a reset of the feed', async () => {
    const { numbers, older, reset, growSilently } = setup(8);
    await settle();
    await older();
    growSilently(20);
    reset();
    await settle();
    await settle();
    expect(numbers()).toEqual([18, 19, 20]);
  });
});

describe('mergeArrivals', () => {
  const time = (key: string) => key.slice(1).padStart(3, '0');

  it('puts a late message to its place', () => {
    expect(mergeArrivals(['m1', 'm3', 'm5'], ['m4'], time, true)).toEqual(['m1', 'm3', 'm4', 'm5']);
  });

  it('leaves a message to a page that is not loaded yet', () => {
    expect(mergeArrivals(['m3', 'm5'], ['m2'], time, true)).toEqual(['m3', 'm5']);
    expect(mergeArrivals(['m3', 'm5'], ['m2'], time, false)).toEqual(['m2', 'm3', 'm5']);
  });
});
