// A GraphQL client on `fetch`. It takes typed documents, and returns data or throws an ApiError.

import type { TypedDocumentString } from './generated/graphql.js';

/** The values of `extensions.code`, and UNREACHABLE if there was no GraphQL response. */
export type ErrorCode =
  | 'UNAUTHENTICATED'
  | 'NOT_FOUND'
  | 'BAD_USER_INPUT'
  | 'THROTTLED'
  | 'UNAVAILABLE'
  | 'INTERNAL'
  | 'UNREACHABLE';

export type Outcome = 'UNKNOWN' | 'STORED';

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ErrorCode;
  /** The rule that the input violates, such as `message_blank`. */
  readonly reason: string | undefined;
  /**
   * Whether a message was stored although there is an error. UNKNOWN: read the conversation before you send it again.
   * STORED: a message of this request was stored, so do not send it again.
   */
  readonly outcome: Outcome | undefined;
  /** Number of seconds until the client may try again. */
  readonly retryAfter: number | undefined;
  /** The field that failed. */
  readonly path: readonly (string | number)[] | undefined;
  /** The id of the request in the log of the server. */
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
  /** URL of the API, such as `http://127.0.0.1:4567/graphql`. */
  url: string;
  /** Returns the access token; called for each request. Without a token the request is anonymous. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** Maximum time to wait for a response, in milliseconds (default 15,000). */
  timeoutMs?: number;
}

export interface Client {
  /** Executes an operation without variables. Throws an ApiError if a part of it failed. */
  execute<Result>(document: TypedDocumentString<Result, Record<string, never>>): Promise<Result>;
  /** Executes an operation with variables. Throws an ApiError if a part of it failed. */
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
    if (!answer.data) throw unreachable('The response has neither data nor errors.', requestId);
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
    throw unreachable('There was no response from the server.', undefined, cause);
  }
  const requestId = response.headers.get('x-request-id') ?? undefined;
  // With any status, also 401 and 503, a response of the server is JSON with `data` or `errors`.
  try {
    const answer: unknown = JSON.parse(text);
    if (isResponse<Result>(answer)) return { answer, requestId };
  } catch {
    // For example the error page of a proxy.
  }
  throw unreachable(`The response (HTTP ${response.status}) is not a GraphQL response.`, requestId);
}

function unreachable(message: string, requestId?: string, cause?: unknown): ApiError {
  // The server may have received the request.
  return new ApiError({ message, extensions: { code: 'UNREACHABLE', outcome: 'UNKNOWN' } }, requestId, { cause });
}

function isResponse<Result>(value: unknown): value is GraphqlResponse<Result> {
  return typeof value === 'object' && value !== null && ('data' in value || 'errors' in value);
}

interface GraphqlResponse<Result> {
  data?: Result | null;
  errors?: WireError[];
}

interface WireError {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: ErrorCode; reason?: string; outcome?: Outcome; retryAfter?: number };
}

interface Sent {
  headers: Headers;
  body: string;
  timeoutMs: number;
}

interface Received<Result> {
  answer: GraphqlResponse<Result>;
  requestId: string | undefined;
}
