import { createClient } from 'graphql-ws';

import { eventIn, request, type Connection, type FeedClient } from '../feed-client.js';
import { CheckedWebSocket } from '../sockets.js';

const lost = { expiry: /^closed with 4403 Token expired/, restart: /^closed with 1012/ };

export function socketClient({ socketUrl, token }: Connection) {
  return createClient({
    url: socketUrl,
    webSocketImpl: CheckedWebSocket,
    connectionParams: async () => ({ Authorization: `Bearer ${await token()}` }),
    // The tests subscribe again, with the cursor of the last event.
    retryAttempts: 0,
  });
}

/** The application subscribes again. */
export function graphqlWs(connection: Connection): FeedClient {
  const client = socketClient(connection);
  return {
    name: 'graphql-ws',
    lost,
    follow: ({ after, onEvent }) =>
      new Promise((resolve, reject) => {
        client.subscribe(request(after), {
          next: (result) => onEvent(eventIn(result)),
          error: reject,
          complete: resolve,
        });
      }),
  };
}

/** The client connects again by itself, with its own rules about close codes. */
export function graphqlWsWithRetries({ socketUrl, token }: Connection): FeedClient {
  return {
    name: 'graphql-ws with retries',
    lost,
    follow: ({ after, onEvent, onLost, signal }) =>
      new Promise((resolve, reject) => {
        const client = createClient({
          url: socketUrl,
          webSocketImpl: CheckedWebSocket,
          connectionParams: async () => ({ headers: { Authorization: `Bearer ${await token()}` } }),
          retryAttempts: Infinity,
          retryWait: () => new Promise((retry) => setTimeout(retry, 200)),
          // By default it gives up when the server refuses a connection. The fatal close codes are still fatal.
          shouldRetry: () => !signal.aborted,
          on: { closed: onLost },
        });
        client.subscribe(request(after), {
          next: (result) => onEvent(eventIn(result)),
          error: reject,
          complete: resolve,
        });
      }),
  };
}
