// Sends a GraphQL request with `fetch`, and reads a response that is not a stream.

import { unreachable, type ApiError, type ErrorContext, type WireError } from './errors.js';

export interface Endpoint {
  /** URL of the API, such as `http://127.0.0.1:4567/graphql`. */
  url: string;
  /**
   * Returns the access token; called for each operation, and for each connection of a subscription. Without a token the request
   * is anonymous. If the server rejects a token because it has expired, the client calls this once more and passes that token.
   * Return a new one then, even if the old one seems valid, because the clock of the device can be slow.
   */
  token?: ((rejected?: string) => string | undefined | Promise<string | undefined>) | undefined;
  /** Sends the requests (default: the global `fetch`). For subscriptions, the body of its responses must be a stream. */
  fetch?: typeof fetch | undefined;
}

export interface GraphqlRequest {
  /** The media types that the client accepts. */
  accept: string;
  /** Returns the access token. */
  token: () => Promise<string | undefined>;
  query: string;
  variables: unknown;
  signal: AbortSignal;
}

/** Returns a signal for a request. It is aborted by `close`, by the caller's signal, and if a part of the request is too slow. */
export function abortable(caller?: AbortSignal) {
  const controller = new AbortController();
  const signal: AbortSignal = controller.signal;
  const close = () => {
    caller?.removeEventListener('abort', close);
    controller.abort();
  };
  caller?.addEventListener('abort', close);
  async function inTime<Part>(part: Promise<Part>, ms: number): Promise<Part> {
    const timer = setTimeout(close, ms);
    try {
      return await part;
    } finally {
      clearTimeout(timer);
    }
  }
  return { signal, close, inTime };
}

/** Gets a token and the start of the response. Does not wait for a token after the signal is aborted. */
export function post(endpoint: Endpoint, request: GraphqlRequest): Promise<Response> {
  const { token, signal } = request;
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(noResponse(signal.reason)));
    token()
      .then((bearer) => send(endpoint, request, bearer))
      .then(resolve, reject);
  });
}

async function send(endpoint: Endpoint, request: GraphqlRequest, bearer: string | undefined): Promise<Response> {
  const { url, fetch = globalThis.fetch } = endpoint;
  const { accept, query, variables, signal } = request;
  const headers = new Headers({ Accept: accept, 'Content-Type': 'application/json' });
  if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
  try {
    return await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query, variables }), signal });
  } catch (cause) {
    throw noResponse(cause);
  }
}

/**
 * Returns a function that gets the token of each attempt of an operation. It takes the error of the last attempt. If `isKept`,
 * all attempts have the same token until it expires.
 */
export function tokensOf(
  { token }: Endpoint,
  isKept: boolean,
): (previous: ApiError | undefined) => Promise<string | undefined> {
  let last: { token: string | undefined } | undefined;
  return async (previous) => {
    const rejected = isExpired(previous) ? last?.token : undefined;
    if (isKept && last && !rejected) return last.token;
    try {
      last = { token: await token?.(rejected) };
      return last.token;
    } catch (cause) {
      // Without a network, the application cannot get a token either.
      throw unreachable('The application has no access token.', { isTransient: true }, cause);
    }
  };
}

/** Whether another attempt can succeed. If the token has expired, the next attempt has a new one. */
export function canBeRepeated(error: ApiError, previous: ApiError | undefined): boolean {
  return error.isTransient || (isExpired(error) && !isExpired(previous));
}

function isExpired(error: ApiError | undefined): boolean {
  return error?.reason === 'token_expired';
}

/** Reads a response whose body is one JSON value. With any status, also 401 and 503, it has `data` or `errors`. */
export async function read<Result>(response: Response): Promise<Received<Result>> {
  const requestId = response.headers.get('x-request-id') ?? undefined;
  const retryAfter = secondsOf(response.headers.get('Retry-After'));
  let text: string;
  try {
    text = await response.text();
  } catch (cause) {
    throw noResponse(cause);
  }
  const answer = resultOf<Result>(text);
  if (answer) return { answer, requestId, retryAfter };
  // For example the error page of a proxy. A proxy answers 408 if the request did not arrive in time.
  const isTransient = response.status >= 500 || [408, 429].includes(response.status);
  const message = `The response (HTTP ${response.status}) is not a GraphQL response.`;
  throw unreachable(message, { requestId, retryAfter, isTransient });
}

/** Parses a result with `data` or `errors`. Returns undefined if the text is something else. */
export function resultOf<Result>(text: string): GraphqlResult<Result> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isResult<Result>(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The wait before the second attempt. Each wait is twice as long as the one before. */
const FIRST_WAIT_MS = 250;
/** From this attempt on, the waits are the longest: 8 to 24 seconds. */
const LAST_BACKOFF = 7;
/** A longer Retry-After counts as this time. Without a limit, `setTimeout` does not wait at all for 2^31 ms or more. */
const LONGEST_RETRY_AFTER_S = 600;

/**
 * The time to wait after the failure of an attempt, in milliseconds. The first attempt has the number 1. The jitter keeps
 * clients from repeating their requests at the same moment, also if the server sent the same `retryAfter` to all of them.
 */
export function waitAfter(attempt: number, retryAfter = 0): number {
  const askedMs = Math.min(retryAfter, LONGEST_RETRY_AFTER_S) * 1000;
  const backoffMs = FIRST_WAIT_MS * 2 ** (Math.min(attempt, LAST_BACKOFF) - 1);
  return askedMs * (1 + Math.random()) + backoffMs * (0.5 + Math.random());
}

/** Waits for this time, or until the signal is aborted. */
export function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
  });
}

/** The error of a request that got no response. */
export function noResponse(cause?: unknown): ApiError {
  return unreachable('There was no response from the server.', { isTransient: true }, cause);
}

/** Reads a Retry-After header: a number of seconds, or a date. */
function secondsOf(header: string | null): number | undefined {
  if (!header) return undefined;
  const seconds = Number.isNaN(Number(header)) ? (Date.parse(header) - Date.now()) / 1000 : Number(header);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

function isResult<Result>(value: unknown): value is GraphqlResult<Result> {
  return typeof value === 'object' && value !== null && ('data' in value || 'errors' in value);
}

export interface GraphqlResult<Result> {
  data?: Result | null;
  errors?: WireError[];
}

interface Received<Result> extends ErrorContext {
  answer: GraphqlResult<Result>;
}
