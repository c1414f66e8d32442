// A GraphQL client on `fetch`: typed documents in, data or an ApiError out.

import type { TypedDocumentString } from './generated/graphql.js';

/** What `extensions.code` may say, and UNREACHABLE, which is said here when no GraphQL answer came. */
export type ErrorCode =
  | 'UNAUTHENTICATED'
  | 'NOT_FOUND'
  | 'BAD_USER_INPUT'
  | 'THROTTLED'
  | 'UNAVAILABLE'
  | 'INTERNAL'
  | 'UNREACHABLE';

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ErrorCode;
  /** Which rule the input broke, such as `message_blank`. */
  readonly reason: string | undefined;
  /** UNKNOWN when a message may or may not have been stored: look before sending it again. */
  readonly outcome: 'UNKNOWN' | undefined;
  /** After how many seconds to try again. */
  readonly retryAfter: number | undefined;
  /** The field that failed. */
  readonly path: readonly (string | number)[] | undefined;
  /** Under which the server's log tells more. */
  readonly requestId: string | undefined;

  constructor(error: WireError, requestId?: string, options?: ErrorOptions) {
    super(error.message, options);
    this.code = error.extensions?.code ?? 'INTERNAL';
    this.reason = error.extensions?.reason;
    this.outcome = error.extensions?.outcome;
    this.retryAfter = error.extensions?.retryAfter;
    this.path = error.path;
    this.requestId = requestId;
  }
}

export interface ClientOptions {
  /** Where the API is, such as `http://127.0.0.1:4567/graphql`. */
  url: string;
  /** The access token, asked for at every request; without one the request is nobody's. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** How long to wait for an answer. */
  timeoutMs?: number;
}

export interface Client {
  /** Runs an operation that needs no variables. Throws an ApiError when any part of it failed. */
  execute<Result>(document: TypedDocumentString<Result, Record<string, never>>): Promise<Result>;
  /** Runs an operation with its variables. Throws an ApiError when any part of it failed. */
  execute<Result, Variables>(
    document: TypedDocumentString<Result, Variables>,
    variables: NoInfer<Variables>,
  ): Promise<Result>;
}

export function createClient({ url, token, timeoutMs = 15_000 }: ClientOptions): Client {
  async function execute<Result>(document: TypedDocumentString<Result, never>, variables?: unknown): Promise<Result> {
    const headers = new Headers({
      Accept: 'application/graphql-response+json, application/json;q=0.9',
      'Content-Type': 'application/json',
    });
    const bearer = await token?.();
    if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
    const body = JSON.stringify({ query: document.toString(), variables });

    const { answer, requestId } = await send<Result>(url, { headers, body, timeoutMs });
    const [error] = answer.errors ?? [];
    if (error) throw new ApiError(error, requestId);
    if (!answer.data) throw unreachable('The answer holds neither data nor an error.', requestId);
    return answer.data;
  }
  return { execute };
}

async function send<Result>(url: string, { headers, body, timeoutMs }: Sent): Promise<Received<Result>> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(timeoutMs) });
    text = await response.text();
  } catch (cause) {
    throw unreachable('The server did not answer.', undefined, cause);
  }
  const requestId = response.headers.get('x-request-id') ?? undefined;
  // Whatever the status is, an answer of the server is JSON with `data` or `errors`: 401 and 503 too.
  try {
    const answer: unknown = JSON.parse(text);
    if (isAnswer<Result>(answer)) return { answer, requestId };
  } catch {
    // Such as a proxy's page.
  }
  throw unreachable(`The answer (HTTP ${response.status}) is not one of GraphQL.`, requestId);
}

function unreachable(message: string, requestId?: string, cause?: unknown): ApiError {
  // The request may have arrived all the same.
  return new ApiError({ message, extensions: { code: 'UNREACHABLE', outcome: 'UNKNOWN' } }, requestId, { cause });
}

function isAnswer<Result>(value: unknown): value is Answer<Result> {
  return typeof value === 'object' && value !== null && ('data' in value || 'errors' in value);
}

interface Answer<Result> {
  data?: Result | null;
  errors?: WireError[];
}

interface WireError {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: ErrorCode; reason?: string; outcome?: 'UNKNOWN'; retryAfter?: number };
}

interface Sent {
  headers: Headers;
  body: string;
  timeoutMs: number;
}

interface Received<Result> {
  answer: Answer<Result>;
  requestId: string | undefined;
}
