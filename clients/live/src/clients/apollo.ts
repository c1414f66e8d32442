import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client';
import { SetContextLink } from '@apollo/client/link/context';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';

import { type Connection, type FeedClient } from '../feed-client.js';
import { FeedDocument } from '../generated/graphql.js';
import { socketClient } from './graphql-ws.js';

/** Over `multipart/mixed`, which `HttpLink` asks for. */
export function apolloHttp({ url, token }: Connection): FeedClient {
  const authorization = new SetContextLink(async () => ({ headers: { Authorization: `Bearer ${await token()}` } }));
  return {
    name: 'Apollo Client with HttpLink',
    lost: { expiry: /UNAUTHENTICATED/, restart: /UNAVAILABLE/ },
    follow: followWith(authorization.concat(new HttpLink({ uri: url }))),
  };
}

export function apolloWs(connection: Connection): FeedClient {
  return {
    name: 'Apollo Client with GraphQLWsLink',
    lost: { expiry: /Socket closed with event 4403|closed with 4403/, restart: /Socket closed with event 1012|closed with 1012/ },
    follow: followWith(new GraphQLWsLink(socketClient(connection))),
  };
}

function followWith(link: ApolloLink): FeedClient['follow'] {
  const client = new ApolloClient({ cache: new InMemoryCache(), link });
  return ({ after, onEvent }) =>
    new Promise((resolve, reject) => {
      client.subscribe({ query: FeedDocument, variables: { after: after() } }).subscribe({
        next: ({ data, error }) => {
          if (error) reject(error);
          else if (data) onEvent(data.feed);
        },
        error: reject,
        complete: resolve,
      });
    });
}
