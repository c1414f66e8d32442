import { createClient } from 'graphql-sse';

import { eventIn, request, type Connection, type FeedClient } from '../feed-client.js';

const lost = { expiry: /closed while having active streams/, restart: /closed while having active streams/ };

/** In the distinct connections mode, which is the default. */
export function graphqlSse({ url, token }: Connection): FeedClient {
  const client = createClient({
    url,
    headers: async () => ({ Authorization: `Bearer ${await token()}` }),
    retryAttempts: 0,
  });
  return {
    name: 'graphql-sse',
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
