// A GraphQL client on `fetch`. It takes typed documents, and returns data or throws an ApiError. It repeats requests, so every
// operation must be safe to repeat: a query, or a mutation whose input has an idempotency key. Subscriptions continue on a new
// connection after the last event that was received.

import { ApiError, unreachable } from './errors.js';
import type { TypedDocumentString } from './generated/graphql.js';
import { abortable, canBeRepeated, post, read, tokensOf, wait, waitAfter, type Endpoint } from './http.js';
import { subscribeTo, type SubscribeOptions } from './live.js';

export { ApiError, type ErrorCode, type Outcome } from './errors.js';
export type { SubscribeOptions } from './live.js';

export interface ClientOptions extends Endpoint {
  /** Maximum time to wait for an access token and a response, in milliseconds (default 15,000). */
  timeoutMs?: number;
  /**
   * Maximum number of attempts of a query or mutation (default 4). The client repeats it after transient errors, and with a new
   * token if the token has expired.
   */
  maxAttempts?: number;
  /**
   * Time in milliseconds after which a subscription opens a new connection if it receives nothing (default 45,000). The server
   * sends a comment every 20 seconds.
   */
  silenceMs?: number;
}

export interface ExecuteOptions {
  /** Ends the request and the waits between attempts. The caller then gets the reason of the signal as the error. */
  signal?: AbortSignal | undefined;
}

export interface Client {
  /** Executes an operation without variables. Throws an ApiError if a part of it failed. */
  execute<Result>(document: TypedDocumentString<Result, Record<string, never>>): Promise<Result>;
  /** Executes an operation with variables. Throws an ApiError if a part of it failed. */
  execute<Result, Variables>(
    document: TypedDocumentString<Result, Variables>,
    variables: NoInfer<Variables>,
    options?: ExecuteOptions,
  ): Promise<Result>;
  /**
   * Executes a subscription and returns its events. After a lost connection, or another transient error, it connects again and
   * sets the variable `after` to the id of the last event, so no event is lost or repeated. Throws an ApiError if another
   * attempt would fail as well. To end it, leave the loop or abort the signal.
   */
  subscribe<Result, Variables extends Resumable>(
    document: TypedDocumentString<Result, Variables>,
    variables: NoInfer<Variables>,
    options?: SubscribeOptions,
  ): AsyncGenerator<Result, void, undefined>;
}

/** The variables of a subscription. If its events have ids, it must have this variable. */
interface Resumable {
  after?: string | null | undefined;
}

/** If the server asks for a longer wait than this, in seconds, the caller gets the error. */
const MAX_RETRY_AFTER = 20;

const ACCEPT = 'application/graphql-response+json, application/json;q=0.9';

export function createClient(options: ClientOptions): Client {
  const { timeoutMs = 15_000, maxAttempts = 4, silenceMs = 45_000 } = options;

  async function execute<Result>(
    document: TypedDocumentString<Result, never>,
    variables?: unknown,
    { signal }: ExecuteOptions = {},
  ): Promise<Result> {
    // If another user signs in between two attempts, the operation must not be executed as that user.
    const nextToken = tokensOf(options, true);
    let previous: ApiError | undefined;
    for (let attempt = 1; ; attempt += 1) {
      signal?.throwIfAborted();
      try {
        return await executeOnce(document, variables, () => nextToken(previous), signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ApiError) || !canBeRepeated(error, previous) || attempt >= maxAttempts) throw error;
        const { retryAfter = 0 } = error;
        if (retryAfter > MAX_RETRY_AFTER) throw error;
        previous = error;
        await wait(waitAfter(attempt, retryAfter), signal);
      }
    }
  }

  async function executeOnce<Result>(
    document: TypedDocumentString<Result, never>,
    variables: unknown,
    token: () => Promise<string | undefined>,
    caller: AbortSignal | undefined,
  ): Promise<Result> {
    const { signal, close, inTime } = abortable(caller);
    const request = { accept: ACCEPT, token, query: document.toString(), variables, signal };
    const response = post(options, request).then(read<Result>);
    const { answer, ...received } = await inTime(response, timeoutMs).finally(close);
    const [error] = answer.errors ?? [];
    if (error) throw new ApiError(error, received);
    if (!answer.data) throw unreachable('The response has neither data nor errors.', { ...received, isTransient: false });
    return answer.data;
  }

  const subscribe: Client['subscribe'] = (document, variables, subscribeOptions) =>
    subscribeTo({ ...subscribeOptions, endpoint: options, query: document.toString(), variables, timeoutMs, silenceMs });
  return { execute, subscribe };
}
