// The normalised cache. Pages of a conversation merge into one list, and messages that arrive are added to it.

import type { Exchange } from '@urql/core';
import { cacheExchange, type Cache, type Resolver } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';

import {
  OtherMarkerFragmentDoc,
  OwnMarkerFragmentDoc,
  type ActivitySubscription,
  type CreateMessageMutation,
  type FeedSubscription,
} from './generated/graphql';

/**
 * Fields that only the cache has: the messages and message groups that arrived in events. A query does not overwrite them, so a
 * message that its response does not contain yet is not lost. They are links, so queries that read them render again when they
 * change.
 */
const ARRIVALS = 'arrivals';
const NEW_GROUPS = 'newGroups';

interface Connection {
  nodes: string[];
  pageInfo: { hasPreviousPage: boolean };
}

// With the default, `inwards`, older pages would be added after the newest messages.
const pages = relayPagination({ mergeMode: 'outwards' });

const messages: Resolver = (parent, args, cache, info) => {
  const merged = pages(parent, args, cache, info) as Connection | undefined;
  const arrivals = linksOf(cache, info.parentKey, ARRIVALS);
  if (!merged || arrivals.length === 0) return merged;
  const createdAt = (key: string) => cache.resolve(key, 'createdAt') as string;
  return { ...merged, nodes: mergeArrivals(merged.nodes, arrivals, createdAt, merged.pageInfo.hasPreviousPage) };
};

const messageGroups: Resolver = (parent, args, cache, info) => {
  const merged = pages(parent, args, cache, info) as Connection | undefined;
  const added = linksOf(cache, 'Query', NEW_GROUPS);
  if (!merged || added.length === 0) return merged;
  return { ...merged, nodes: [...new Set([...added, ...merged.nodes])] };
};

/**
 * Adds messages to a list that is sorted by time. Messages can arrive in another order, so each is inserted at its place. If
 * there are older pages, a message that is older than the first loaded one is left to its page.
 */
export function mergeArrivals(
  loaded: readonly string[],
  arrivals: readonly string[],
  createdAt: (key: string) => string,
  hasPreviousPage: boolean,
): string[] {
  const known = new Set(loaded);
  const merged = [...loaded];
  for (const key of arrivals) {
    if (known.has(key)) continue;
    known.add(key);
    const time = createdAt(key);
    let index = merged.length;
    while (index > 0 && isBefore(time, key, createdAt(merged[index - 1] ?? ''), merged[index - 1] ?? '')) index -= 1;
    if (index === 0 && hasPreviousPage && loaded.length > 0) continue;
    merged.splice(index, 0, key);
  }
  return merged;
}

/** The order of the server: by time, then by uuid. The times have a fixed width, so they compare as strings. */
function isBefore(time: string, key: string, otherTime: string, otherKey: string): boolean {
  return time === otherTime ? key < otherKey : time < otherTime;
}

export function createCache(): Exchange {
  return cacheExchange({
    // Without it, the cache guesses which fragments match an event.
    possibleTypes: {
      FeedEvent: ['MessageAdded', 'FeedReady', 'FeedReset'],
      Activity: ['TypingStarted', 'ReadMarkerMoved'],
    },
    keys: {
      MessageConnection: () => null,
      MessageGroupConnection: () => null,
      PageInfo: () => null,
      CreateMessagePayload: () => null,
      MarkReadPayload: () => null,
      SignalTypingPayload: () => null,
      MessageAdded: () => null,
      FeedReady: () => null,
      FeedReset: () => null,
      TypingStarted: () => null,
      ReadMarkerMoved: () => null,
    },
    resolvers: {
      Query: { messageGroups },
      MessageGroup: { messages },
    },
    updates: {
      Mutation: {
        createMessage: (result: CreateMessageMutation, _args, cache) => {
          const { message, messageGroup } = result.createMessage;
          addMessage(cache, messageGroup.uuid, message.id);
        },
      },
      Subscription: {
        feed: ({ feed }: FeedSubscription, _args, cache) => {
          if (feed.__typename === 'MessageAdded') addMessage(cache, feed.messageGroup.uuid, feed.message.id);
          if (feed.__typename === 'FeedReset') forgetPages(cache);
        },
        activity: ({ activity }: ActivitySubscription, _args, cache) => {
          if (activity.__typename === 'ReadMarkerMoved') moveMarker(cache, activity);
        },
      },
    },
  });
}

function addMessage(cache: Cache, groupUuid: string, messageId: string): void {
  addLink(cache, `MessageGroup:${groupUuid}`, ARRIVALS, `Message:${messageId}`);
  addLink(cache, 'Query', NEW_GROUPS, `MessageGroup:${groupUuid}`);
}

function addLink(cache: Cache, parent: string, field: string, key: string): void {
  const links = linksOf(cache, parent, field);
  if (!links.includes(key)) cache.link(parent, field, [...links, key]);
}

function linksOf(cache: Cache, parent: string, field: string): string[] {
  return (cache.resolve(parent, field) as string[] | undefined) ?? [];
}

type Marker = Extract<ActivitySubscription['activity'], { __typename: 'ReadMarkerMoved' }>;

function moveMarker(cache: Cache, { messageGroupUuid, readCursor, unreadCount }: Marker): void {
  const group = `MessageGroup:${messageGroupUuid}`;
  if (typeof cache.resolve(group, 'id') !== 'string') return;
  // The count is only set for a marker of the signed-in user.
  if (unreadCount === null) {
    cache.writeFragment(OtherMarkerFragmentDoc, { id: messageGroupUuid, otherReadCursor: readCursor });
  } else {
    cache.writeFragment(OwnMarkerFragmentDoc, { id: messageGroupUuid, readCursor, unreadCount });
  }
}

/** Events are missing, so no page is known to be complete. Queries on the screen run again. */
function forgetPages(cache: Cache): void {
  for (const query of cache.inspectFields('Query')) {
    if (query.fieldName === 'messageGroup' && query.arguments) {
      const group = cache.resolve('Query', 'messageGroup', query.arguments);
      if (typeof group === 'string') {
        for (const field of cache.inspectFields(group)) {
          if (field.fieldName === 'messages' || field.fieldName === ARRIVALS) {
            cache.invalidate(group, field.fieldName, field.arguments ?? undefined);
          }
        }
      }
    }
    if (query.fieldName === 'messageGroups' || query.fieldName === NEW_GROUPS) {
      cache.invalidate('Query', query.fieldName, query.arguments ?? undefined);
    }
  }
}
