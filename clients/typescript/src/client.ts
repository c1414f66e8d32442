// A GraphQL client on `fetch`. It takes typed documents, and returns data or throws an ApiError. It repeats requests, so every
// operation must be safe to repeat: a query, or a mutation whose input has an idempotency key.

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
   * Whether a message was stored although there is an error: it is not known (UNKNOWN), or a message of this request was
   * stored (STORED). In both cases, send the message again with the same idempotency key: the server stores it once.
   */
  readonly outcome: Outcome | undefined;
  /** Number of seconds until the client may try again. */
  readonly retryAfter: number | undefined;
  /** Whether the same request can succeed a moment later. */
  readonly isTransient: boolean;
  /** The field that failed. */
  readonly path: readonly (string | number)[] | undefined;
  /** The id of the request in the log of the server. */
  readonly requestId: string | undefined;

  constructor(error: WireError, received: ErrorContext = {}, options?: ErrorOptions) {
    super(error.message, options);
    this.code = error.extensions?.code ?? 'INTERNAL';
    this.reason = error.extensions?.reason;
    this.outcome = error.extensions?.outcome;
    this.retryAfter = error.extensions?.retryAfter ?? received.retryAfter;
    this.isTransient = received.isTransient ?? this.code === 'UNAVAILABLE';
    this.path = error.path;
    this.requestId = received.requestId;
  }
}

export interface ClientOptions {
  /** URL of the API, such as `http://127.0.0.1:4567/graphql`. */
  url: string;
  /** Returns the access token; called for each request. Without a token the request is anonymous. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** Maximum time to wait for a response, in milliseconds (default 15,000). */
  timeoutMs?: number;
  /** Maximum number of attempts of an operation (default 4). The client repeats it after transient errors only. */
  maxAttempts?: number;
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

/** The wait before the second attempt. Each wait is twice as long as the one before. */
const FIRST_WAIT_MS = 250;
/** The client does not wait longer than this. If the server asks for more time, the caller gets the error. */
const MAX_WAIT_MS = 20_000;

export function createClient({ url, token, timeoutMs = 15_000, maxAttempts = 4 }: ClientOptions): Client {
  async function execute<Result>(document: TypedDocumentString<Result, never>, variables?: unknown): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await executeOnce(document, variables);
      } catch (error) {
        const wait = error instanceof ApiError && error.isTransient ? waitAfter(error, attempt) : Infinity;
        if (attempt >= maxAttempts || wait > MAX_WAIT_MS) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async function executeOnce<Result>(document: TypedDocumentString<Result, never>, variables: unknown): Promise<Result> {
    const headers = new Headers({
      Accept: 'application/graphql-response+json, application/json;q=0.9',
      'Content-Type': 'application/json',
    });
    const bearer = await token?.();
    if (bearer) headers.set('Authorization', `Bearer ${bearer}`);
    const body = JSON.stringify({ query: document.toString(), variables });

    const { answer, ...received } = await send<Result>(url, { headers, body, timeoutMs });
    const [error] = answer.errors ?? [];
    if (error) throw new ApiError(error, received);
    if (!answer.data) throw unreachable('The response has neither data nor errors.', { ...received, isTransient: false });
    return answer.data;
  }
  return { execute };
}

/** The jitter keeps clients from repeating their requests at the same moment. */
function waitAfter({ retryAfter = 0 }: ApiError, attempt: number): number {
  const backoff = FIRST_WAIT_MS * 2 ** (attempt - 1);
  return retryAfter * 1000 + backoff * (0.5 + Math.random());
}

async function send<Result>(url: string, { headers, body, timeoutMs }: Sent): Promise<Received<Result>> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(timeoutMs) });
    text = await response.text();
  } catch (cause) {
    throw unreachable('There was no response from the server.', { isTransient: true }, cause);
  }
  const requestId = response.headers.get('x-request-id') ?? undefined;
  const retryAfter = secondsOf(response.headers.get('Retry-After'));
  // With any status, also 401 and 503, a response of the server is JSON with `data` or `errors`.
  try {
    const answer: unknown = JSON.parse(text);
    if (isResponse<Result>(answer)) return { answer, requestId, retryAfter };
  } catch {
    // For example the error page of a proxy.
  }
  const isTransient = response.status >= 500 || response.status === 429;
  const message = `The response (HTTP ${response.status}) is not a GraphQL response.`;
  throw unreachable(message, { requestId, retryAfter, isTransient });
}

function unreachable(message: string, received: ErrorContext, cause?: unknown): ApiError {
  // The server may have received the request.
  return new ApiError({ message, extensions: { code: 'UNREACHABLE', outcome: 'UNKNOWN' } }, received, { cause });
}

/** Reads a Retry-After header: a number of seconds, or a date. */
function secondsOf(header: string | null): number | undefined {
  if (!header) return undefined;
  const seconds = Number.isNaN(Number(header)) ? (Date.parse(header) - Date.now()) / 1000 : Number(header);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
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

interface Received<Result> extends ErrorContext {
  answer: GraphqlResponse<Result>;
}

/** What is known about a failed request besides the error of the server. */
interface ErrorContext {
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  isTransient?: boolean;
}
