import { Client, makeErrorResult, makeResult, type Exchange } from '@urql/core';
import { act, type ComponentProps } from 'react';
import { createRoot } from 'react-dom/client';
import { Provider } from 'urql';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { filter, fromPromise, mergeMap, pipe } from 'wonka';

import { createCache } from './cache';
import { MeDocument } from './generated/graphql';
import { useLoaded } from './hooks';
import { ServicesProvider } from './services';
import { createStore } from './store';

const me = { __typename: 'User', id: 'u1', uuid: 'u1', handle: 'ana', displayName: 'Ana' };

/** A page that shows the handle, with a server and a live connection that the test controls. */
function setup() {
  const server = { isDown: false, requests: 0, delay: 0 };
  const exchange: Exchange = () => (operations) =>
    pipe(
      operations,
      filter(({ kind }) => kind === 'query'),
      mergeMap((operation) => {
        server.requests += 1;
        const result = server.isDown
          ? makeErrorResult(operation, new Error('down'))
          : makeResult(operation, { data: { me } });
        return fromPromise(
          server.delay === 0
            ? Promise.resolve(result)
            : new Promise<typeof result>((resolve) => setTimeout(() => resolve(result), server.delay)),
        );
      }),
    );
  const client = new Client({
    url: '/graphql',
    preferGetMethod: false,
    exchanges: [createCache(), exchange],
  });
  const connection = createStore('live');
  const services = { live: { connection } } as unknown as ComponentProps<typeof ServicesProvider>['value'];

  let retry: () => void = () => undefined;
  function Page() {
    const loaded = useLoaded({ query: MeDocument });
    retry = loaded.retry;
    return loaded.data?.me.handle ?? (loaded.error ? 'error' : 'loading');
  }
  const element = document.createElement('div');
  const root = createRoot(element);
  const wait = (milliseconds: number) => act(() => vi.advanceTimersByTimeAsync(milliseconds));
  const open = async () => {
    act(() =>
      root.render(
        <ServicesProvider value={services}>
          <Provider value={client}>
            <Page />
          </Provider>
        </ServicesProvider>,
      ),
    );
    await wait(0);
    // Before it mounts, the hook sends the query once for the first render.
    server.requests = 0;
  };
  return { server, connection, open, wait, retry: () => retry(), shown: () => element.textContent };
}

beforeEach(() => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('useLoaded', () => {
  it('repeats a query that fails while the client is connected, but not at once', async () => {
    const { server, open, wait, shown } = setup();
    server.isDown = true;
    await open();
    await wait(9_000);
    expect(shown()).toBe('error');
    expect(server.requests).toBe(0);
    await wait(1_000);
    expect(server.requests).toBe(1);
    server.isDown = false;
    server.delay = 5_000;
    await wait(10_000);
    expect(shown()).toBe('error');
    await wait(5_000);
    expect(shown()).toBe('ana');
  });

  it('repeats a query that has failed at once when the client connects', async () => {
    const { server, connection, open, wait, shown } = setup();
    server.isDown = true;
    connection.set('reconnecting');
    await open();
    await wait(60_000);
    expect(server.requests).toBe(0);
    server.isDown = false;
    act(() => connection.set('live'));
    await wait(0);
    expect(shown()).toBe('ana');
  });

  it('keeps the data when a later query fails', async () => {
    const { server, open, wait, retry, shown } = setup();
    await open();
    expect(shown()).toBe('ana');
    server.isDown = true;
    act(retry);
    await wait(0);
    expect(server.requests).toBe(1);
    expect(shown()).toBe('ana');
  });
});
