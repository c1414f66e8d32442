// Subscriptions over server-sent events, in the "distinct connections mode" of graphql-sse. A subscription continues on a new
// connection after the last event that was received.

import { ApiError, unreachable } from './errors.js';
import { abortable, canBeRepeated, post, read, resultOf, tokensOf, wait, waitAfter, type Endpoint } from './http.js';
import { EventStreamParser, type ServerSentEvent } from './sse.js';

export interface SubscribeOptions {
  /** Ends the subscription. The loop over its events then ends without an error. */
  signal?: AbortSignal | undefined;
  /** Called each time a connection is open, also after a lost connection. */
  onOpen?: (() => void) | undefined;
  /** Called when the connection is lost or cannot be opened, with the time until the next attempt. */
  onRetry?: ((error: ApiError, waitMs: number) => void) | undefined;
}

export interface Subscription extends SubscribeOptions {
  endpoint: Endpoint;
  query: string;
  variables: { after?: string | null | undefined };
  /** Maximum time to wait for an access token and the start of the response. */
  timeoutMs: number;
  /** Maximum time to wait for more of the response. */
  silenceMs: number;
}

export async function* subscribeTo<Result>(subscription: Subscription): AsyncGenerator<Result, void, undefined> {
  const { endpoint, signal, onRetry } = subscription;
  const nextToken = tokensOf(endpoint, false);
  let { variables } = subscription;
  let previous: ApiError | undefined;
  let failures = 0;
  let waitMs = 0;
  while (!signal?.aborted) {
    let openedAt = Infinity;
    const onOpen = () => {
      openedAt = performance.now();
      subscription.onOpen?.();
    };
    let error: ApiError;
    try {
      const events = connect({ ...subscription, variables, onOpen }, () => nextToken(previous));
      for await (const { event, data, lastEventId, requestId } of events) {
        // One part of the response can have several events.
        if (signal?.aborted || event === 'complete') return;
        if (event === 'next') yield resultIn(data, requestId);
        // If there was an error, the new connection gets this event again.
        if (lastEventId) variables = { ...variables, after: lastEventId };
        previous = undefined;
      }
      error = unreachable('The server ended the stream.', { isTransient: true });
    } catch (cause) {
      if (!(cause instanceof ApiError)) throw cause;
      // With THROTTLED, the server may still count connections that are lost.
      if (cause.code !== 'THROTTLED' && !canBeRepeated(cause, previous)) throw cause;
      error = cause;
    }
    if (signal?.aborted) return;
    previous = error;
    // Waits get longer until a stream is open for longer than the wait before it. The time of an attempt without a stream does
    // not count, because a server with too much load can take long to reject a connection.
    failures = performance.now() - openedAt > waitMs ? 1 : failures + 1;
    waitMs = waitAfter(failures, error.retryAfter);
    onRetry?.(error, waitMs);
    await wait(waitMs, signal);
  }
}

function resultIn<Result>(data: string, requestId: string | undefined): Result {
  const result = resultOf<Result>(data);
  const [error] = result?.errors ?? [];
  if (error) throw new ApiError(error, { requestId });
  if (!result?.data) throw unreachable('The event has neither data nor errors.', { requestId, isTransient: false });
  return result.data;
}

interface ReceivedEvent extends ServerSentEvent {
  requestId: string | undefined;
}

/** Opens a connection and returns its events. Throws an ApiError if there is no stream, or if it is cut or silent. */
async function* connect(
  subscription: Subscription,
  token: () => Promise<string | undefined>,
): AsyncGenerator<ReceivedEvent, void, undefined> {
  const { endpoint, query, variables, timeoutMs, silenceMs, onOpen } = subscription;
  const { signal, close, inTime } = abortable(subscription.signal);
  try {
    const request = { accept: 'text/event-stream', token, query, variables, signal };
    const response = await inTime(post(endpoint, request), timeoutMs);
    if (!response.body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw await refusal(inTime(read(response), timeoutMs));
    }
    onOpen?.();
    const requestId = response.headers.get('x-request-id') ?? undefined;
    const reader = response.body.getReader();
    const parser = new EventStreamParser();
    const decoder = new TextDecoder();
    for (;;) {
      const { value, done } = await inTime(reader.read(), silenceMs).catch((cause: unknown) => {
        throw unreachable('The connection was lost.', { isTransient: true }, cause);
      });
      if (done) return;
      for (const event of parser.push(decoder.decode(value, { stream: true }))) yield { ...event, requestId };
    }
  } finally {
    close();
  }
}

/** The error of a response that is not a stream. */
async function refusal(response: ReturnType<typeof read>): Promise<ApiError> {
  const { answer, ...received } = await response;
  const [error] = answer.errors ?? [];
  if (error) return new ApiError(error, received);
  return unreachable('The response is not an event stream.', { ...received, isTransient: false });
}
