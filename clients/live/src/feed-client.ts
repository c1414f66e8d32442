// What the tests need of a client.

import { print } from 'graphql';

import { FeedDocument, type FeedSubscription } from './generated/graphql.js';

export type FeedEvent = FeedSubscription['feed'];

/** The server as a client reaches it. */
export interface Connection {
  url: string;
  socketUrl: string;
  /** Returns a token. At first it expires within seconds. */
  token: () => Promise<string>;
  /** Returns a token that does not expire during the tests. */
  lastingToken: () => Promise<string>;
}

export interface FeedClient {
  name: string;
  /** What the client reports when its token expires, and when the server stops. Undefined if it does not report it. */
  lost: { expiry: RegExp; restart: RegExp } | undefined;
  /** Subscribes to the feed. The promise resolves or rejects when the subscription ends. */
  follow(subscription: Subscription): Promise<void>;
}

export interface Subscription {
  /** The cursor of the last event. A client that connects again by itself calls it for each connection. */
  after: () => string | null;
  onEvent: (event: FeedEvent) => void;
  /** For a client that connects again by itself: called when it has lost its connection. */
  onLost: (reason: unknown) => void;
  /** Aborted at the end of the tests, before all connections are cut. */
  signal: AbortSignal;
}

/** A result, as each client has a type of its own for it. */
export interface Result {
  data?: unknown;
  errors?: unknown;
}

/** The subscription as a request of a client that takes no documents. */
export function request(after: () => string | null) {
  return {
    query: print(FeedDocument),
    operationName: 'Feed',
    // A client that connects again by itself serialises the request again, so it continues after the last event.
    variables: {
      get after() {
        return after();
      },
    },
  };
}

/** The event of a result. Throws the errors of a result that has some. */
export function eventIn({ data, errors }: Result): FeedEvent {
  if (errors) throw errors;
  return (data as FeedSubscription).feed;
}

/** Describes why a subscription ended. */
export function describe(reason: unknown): string {
  if (Array.isArray(reason)) return reason.map(describe).join('; ');
  if (typeof reason !== 'object' || reason === null) return String(reason);
  // Errors of GraphQL, and Apollo Client's errors, which contain several.
  if ('errors' in reason && Array.isArray(reason.errors)) return describe(reason.errors);
  if ('extensions' in reason) return `${JSON.stringify(reason.extensions)} ${'message' in reason && reason.message}`;
  // The `CloseEvent` of a WebSocket.
  if ('code' in reason && 'reason' in reason) return `closed with ${reason.code} ${reason.reason}`;
  return 'message' in reason ? `${reason.message}` : JSON.stringify(reason);
}
