import { createClient } from '../../../typescript/dist/client.js';
import { liveFeed } from '../../../typescript/dist/operations.js';
import { type Connection, type FeedClient } from '../feed-client.js';

/** The client in ../typescript, which connects again by itself. */
export function own({ url, token }: Connection): FeedClient {
  const client = createClient({ url, token });
  return {
    name: 'the TypeScript client of this repository',
    lost: { expiry: /^The server ended the stream/, restart: /^The server ended the stream/ },
    async follow({ after, onEvent, onLost, signal }) {
      for await (const event of liveFeed(client, after(), { signal, onRetry: (error) => onLost(error.message) })) onEvent(event);
    },
  };
}
