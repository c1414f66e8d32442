import { createGraphiQLFetcher } from '@graphiql/toolkit';

import { eventIn, request, type Connection, type FeedClient, type Result, type Subscription } from '../feed-client.js';
import { FeedDocument } from '../generated/graphql.js';
import { socketClient } from './graphql-ws.js';

type Fetcher = ReturnType<typeof createGraphiQLFetcher>;

/** Incremental delivery. GraphiQL's fetcher takes its HTTP path if it does not know that the operation is a subscription. */
export function graphiqlHttp({ url, token }: Connection): FeedClient {
  const fetcher = createGraphiQLFetcher({ url, fetch });
  return {
    name: 'GraphiQL over HTTP',
    lost: { expiry: /UNAUTHENTICATED/, restart: /UNAVAILABLE/ },
    async follow({ after, onEvent }) {
      const headers = { Authorization: `Bearer ${await token()}` };
      const chunks = (await fetcher(request(after), { headers })) as AsyncIterable<Part[] | Result>;
      let previous: Part | undefined;
      for await (const chunk of chunks) {
        // A response that is not multipart is not an array.
        if (!Array.isArray(chunk)) throw chunk.errors;
        for (const part of chunk) {
          // When the connection is lost, meros returns its last chunk a second time: the same objects.
          if (part === previous) break;
          if (part.errors) throw part.errors;
          // Heartbeats have no payload.
          if (part.payload) onEvent(eventIn(part.payload));
        }
        previous = chunk[0];
      }
    },
  };
}

interface Part {
  payload?: Result | null;
  errors?: unknown;
}

export function graphiqlWsClient(connection: Connection): FeedClient {
  const fetcher = createGraphiQLFetcher({ url: connection.url, fetch, wsClient: socketClient(connection) });
  return {
    name: 'GraphiQL with wsClient',
    lost: { expiry: /^closed with 4403 Token expired/, restart: /^closed with 1012/ },
    follow: (subscription) => followWith(fetcher, subscription),
  };
}

/**
 * The fetcher creates a client of graphql-ws for each subscription. The client connects again by itself, always with the same
 * token, and the application cannot observe it.
 */
export function graphiqlWsUrl({ url, socketUrl, lastingToken }: Connection): FeedClient {
  return {
    name: 'GraphiQL with subscriptionUrl',
    lost: undefined,
    async follow(subscription) {
      const wsConnectionParams = { Authorization: `Bearer ${await lastingToken()}` };
      await followWith(createGraphiQLFetcher({ url, fetch, subscriptionUrl: socketUrl, wsConnectionParams }), subscription);
    },
  };
}

async function followWith(fetcher: Fetcher, { after, onEvent }: Subscription): Promise<void> {
  const results = (await fetcher(request(after), { documentAST: FeedDocument })) as AsyncGenerator<Result>;
  // The toolkit calls `throw` when the subscription fails, and ignores the promise: an unhandled rejection.
  const fail = results.throw.bind(results);
  results.throw = async (error) => fail(error).catch(() => ({ done: true, value: undefined }));
  for await (const result of results) onEvent(eventIn(result));
}
