// The error of every operation, and what the server sends in case of an error.

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

/** The error of an operation that got no GraphQL response. The server may have executed it. */
export function unreachable(message: string, received: ErrorContext, cause?: unknown): ApiError {
  return new ApiError({ message, extensions: { code: 'UNREACHABLE', outcome: 'UNKNOWN' } }, received, { cause });
}

/** An item of `errors` in a response. */
export interface WireError {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: ErrorCode; reason?: string; outcome?: Outcome; retryAfter?: number };
}

/** What is known about a failed request besides the error of the server. */
export interface ErrorContext {
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  isTransient?: boolean;
}
