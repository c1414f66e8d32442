// The GraphQL client. Its `fetch` adds the access token, and detects connections that have died silently.

import { Client, fetchExchange, type CombinedError, type Exchange } from '@urql/core';
import { map, pipe, tap } from 'wonka';

import { accessToken, end, isRegistrationProblem, registrationFailed, replaceToken } from './auth';
import { createCache } from './cache';
import { observeServerTime } from './clock';

const RESPONSE_TIMEOUT_MS = 15_000;
/** The server sends a comment every 20 seconds, so a stream that is silent for longer has lost its network. */
const SILENCE_TIMEOUT_MS = 45_000;

export function createApi(): Client {
  return new Client({
    url: '/graphql',
    preferGetMethod: false,
    fetchSubscriptions: true,
    fetch: authorizedFetch,
    requestPolicy: 'cache-first',
    exchanges: [createCache(), dropRepeatedData, detectRegistrationProblems, fetchExchange],
  });
}

/**
 * At the end of an event stream, urql repeats the data of the last event with `hasNext: false`. The cache must not write it
 * again: it may be old by now, and would restore an unread count.
 */
const dropRepeatedData: Exchange =
  ({ forward }) =>
  (operations) =>
    pipe(
      forward(operations),
      map((result) =>
        result.operation.kind === 'subscription' && !result.hasNext ? { ...result, data: undefined } : result,
      ),
    );

/** A user of the user pool whom the API does not know cannot use any page, so the client shows one page that says why. */
const detectRegistrationProblems: Exchange =
  ({ forward }) =>
  (operations) =>
    pipe(
      forward(operations),
      tap(({ error }) => {
        const reason = error && failureOf(error).reason;
        if (isRegistrationProblem(reason)) registrationFailed(reason);
      }),
    );

const authorizedFetch: typeof fetch = async (input, init = {}) => {
  const token = await accessToken();
  const response = await timedFetch(input, init, token);
  if (!(await isTokenRejected(response))) return response;
  const second = await timedFetch(input, init, await replaceToken(token));
  if (await isTokenRejected(second)) end();
  return second;
};

/** The server also responds 401 if it accepts the token, but has no user for it. */
async function isTokenRejected(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  interface Body {
    errors?: { extensions?: { reason?: unknown } }[];
  }
  const body = (await response
    .clone()
    .json()
    .catch(() => null)) as Body | null;
  return !isRegistrationProblem(body?.errors?.[0]?.extensions?.reason);
}

async function timedFetch(input: RequestInfo | URL, init: RequestInit, token: string): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('Authorization', `Bearer ${token}`);
  const isStream = headers.get('Accept')?.startsWith('text/event-stream') ?? false;

  const watchdog = new AbortController();
  let timer = setTimeout(() => watchdog.abort(), RESPONSE_TIMEOUT_MS);
  const restart = (milliseconds: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => watchdog.abort(), milliseconds);
  };
  const signal = init.signal ? AbortSignal.any([init.signal, watchdog.signal]) : watchdog.signal;
  signal.addEventListener('abort', () => clearTimeout(timer));

  const startedAt = Date.now();
  try {
    const response = await fetch(input, { ...init, headers, signal });
    observeServerTime(response.headers.get('Date'), startedAt);
    // The time limit is for the whole response.
    if (!isStream) return new Response(await response.text(), response);
    if (!response.body) return response;
    restart(SILENCE_TIMEOUT_MS);
    const body = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          restart(SILENCE_TIMEOUT_MS);
          controller.enqueue(chunk);
        },
        flush: () => clearTimeout(timer),
      }),
    );
    return new Response(body, { status: response.status, headers: response.headers });
  } finally {
    if (!isStream) clearTimeout(timer);
  }
}

/** What a failed request means for the client. */
export interface Failure {
  code: string | undefined;
  reason: string | undefined;
  /** Number of seconds until the client may try again. */
  retryAfter: number | undefined;
  /** Whether there was no GraphQL response. */
  isUnreachable: boolean;
  /** Whether the same request can succeed later. */
  isTransient: boolean;
}

export function failureOf(error: CombinedError): Failure {
  const extensions = error.graphQLErrors[0]?.extensions ?? {};
  const text = (name: string) => (typeof extensions[name] === 'string' ? extensions[name] : undefined);
  const code = text('code');
  const retryAfter = extensions['retryAfter'];
  const isUnreachable = code === undefined;
  return {
    code,
    reason: text('reason'),
    retryAfter: typeof retryAfter === 'number' ? retryAfter : undefined,
    isUnreachable,
    isTransient:
      isUnreachable ||
      code === 'UNAVAILABLE' ||
      code === 'THROTTLED' ||
      code === 'UNAUTHENTICATED' ||
      // The message may be stored although the response failed.
      text('outcome') !== undefined,
  };
}
