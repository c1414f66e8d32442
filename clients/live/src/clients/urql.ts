import { Client, fetchExchange } from '@urql/core';

import { type Connection, type FeedClient } from '../feed-client.js';
import { FeedDocument } from '../generated/graphql.js';

/** Over server-sent events, which urql asks for if `fetchSubscriptions` is set. */
export function urql({ url, token }: Connection): FeedClient {
  let bearer = '';
  const client = new Client({
    url,
    exchanges: [fetchExchange],
    fetchSubscriptions: true,
    preferGetMethod: false,
    fetchOptions: () => ({ headers: { Authorization: `Bearer ${bearer}` } }),
  });
  return {
    name: 'urql',
    lost: { expiry: /^the stream ended$/, restart: /^the stream ended$/ },
    async follow({ after, onEvent }) {
      bearer = await token();
      await new Promise<void>((_, reject) => {
        client.subscription(FeedDocument, { after: after() }).subscribe(({ data, error, hasNext }) => {
          if (error) reject(error.networkError ?? error.graphQLErrors);
          // urql reports the end of the stream as a result that repeats the data of the last event.
          else if (!hasNext) reject('the stream ended');
          else if (data) onEvent(data.feed);
        });
      });
    },
  };
}
