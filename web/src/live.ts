// The live connection: the feed, which resumes from its cursor after any interruption, and activities.

import type { Client, OperationResult } from '@urql/core';
import { pipe, subscribe } from 'wonka';

import { failureOf } from './api';
import { ActivityDocument, FeedDocument, type ActivitySubscription, type FeedSubscription } from './generated/graphql';
import { createEmitter, createStore } from './store';
import { keyFor, read, write } from './storage';
import { startedTyping, stoppedTyping } from './typing';

type Connection = 'connecting' | 'live' | 'reconnecting' | 'offline';

type AddedMessage = Extract<FeedSubscription['feed'], { __typename: 'MessageAdded' }>;

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15_000;
/** Shortly after an event, a query can still miss its message. So the cursor is not stored at once. */
const STORE_CURSOR_AFTER_MS = 2_000;
/**
 * A stored cursor that is older is not used: the feed would repeat messages that the first queries return. Without a cursor, the
 * client queries once more when the feed is ready.
 */
const CURSOR_VALID_MS = 60_000;
/** A tab that is hidden for longer closes its stream of activities, because browsers limit the connections to a server. */
const HIDDEN_MS = 20_000;
/** The connections of a page that was hidden for longer may have been cut. */
const CUT_AFTER_MS = 10_000;

export class Live {
  readonly connection = createStore<Connection>('connecting');
  readonly added = createEmitter<AddedMessage>();
  /**
   * Number of times that the client may have missed changes, such as read markers or events before a reset of the feed. When it
   * grows, components query again.
   */
  readonly resyncs = createStore(0);
  /** The number of resyncs up to which the cached conversations are complete, by uuid. */
  readonly #complete = new Map<string, number>();

  readonly #client: Client;
  readonly #cursorKey: string;
  /** The position in the feed. A stored one is older than the first queries, so the feed has each message that they miss. */
  #cursor: string | null;
  #hasStarted = false;
  #hasBeenLive = false;
  /** Whether changes may be missing that the feed does not deliver. */
  #needsResync: boolean;
  #failures = 0;
  #feed: (() => void) | undefined;
  #activity: (() => void) | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #activityTimer: ReturnType<typeof setTimeout> | undefined;
  #storeTimer: ReturnType<typeof setTimeout> | undefined;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  #hiddenAt = 0;
  readonly #stop = new AbortController();

  constructor(client: Client, userId: string) {
    this.#client = client;
    this.#cursorKey = keyFor(userId, 'cursor');
    this.#cursor = parseCursor(read(this.#cursorKey));
    this.#needsResync = this.#cursor === null;
  }

  start(): void {
    if (this.#hasStarted || this.#stop.signal.aborted) return;
    this.#hasStarted = true;
    const { signal } = this.#stop;
    addEventListener('online', () => this.#reconnect(), { signal });
    // The connection may be dead. Whether the client is offline, only a new connection shows: without a network, a browser still
    // reaches a server on its own computer.
    addEventListener('offline', () => this.#connectAgain(), { signal });
    document.addEventListener('visibilitychange', () => this.#visibilityChanged(), { signal });
    this.#connect();
  }

  stop(): void {
    this.#stop.abort();
    this.#feed?.();
    this.#activity?.();
    for (const timer of [this.#retryTimer, this.#activityTimer, this.#storeTimer, this.#hiddenTimer])
      clearTimeout(timer);
  }

  /** Registers that a conversation is about to be queried, unless it is in the cache. */
  queries(uuid: string): void {
    if (!this.#complete.has(uuid)) this.completes(uuid);
  }

  /** Whether changes of a conversation can be missing in the cache. */
  isIncomplete(uuid: string): boolean {
    return (this.#complete.get(uuid) ?? 0) < this.resyncs.get();
  }

  /** Registers that what is missing in a conversation is queried. */
  completes(uuid: string): void {
    this.#complete.set(uuid, this.resyncs.get());
  }

  #connect(): void {
    clearTimeout(this.#retryTimer);
    this.#feed?.();
    const subscription = pipe(
      this.#client.subscription(FeedDocument, { after: this.#cursor }),
      subscribe((result) => this.#onFeed(result)),
    );
    this.#feed = () => subscription.unsubscribe();
    this.#connectActivity();
  }

  /** Connects at once because the network is back. */
  #reconnect(): void {
    if (this.connection.get() !== 'live') this.#connectAgain();
  }

  #connectAgain(): void {
    this.#failures = 0;
    this.connection.set(this.#hasBeenLive ? 'reconnecting' : 'connecting');
    this.#connect();
  }

  #onFeed({ data, error, hasNext }: OperationResult<FeedSubscription>): void {
    if (error && failureOf(error).reason === 'cursor_invalid') {
      // The server does not know the stored cursor, so it cannot say what is missing.
      this.#needsResync = true;
      this.#setCursor(null);
    } else if (data) {
      this.#onEvent(data.feed);
    }
    if (error || !hasNext) this.#lost();
  }

  #onEvent(event: FeedSubscription['feed']): void {
    this.#setCursor(event.cursor);
    switch (event.__typename) {
      case 'MessageAdded':
        stoppedTyping(event.messageGroup.uuid);
        this.added.emit(event);
        break;
      case 'FeedReady':
        this.#failures = 0;
        this.connection.set('live');
        this.#hasBeenLive = true;
        if (this.#needsResync) this.#resync();
        // Read markers are not a part of the feed, so the next interruption misses some.
        this.#needsResync = true;
        break;
      case 'FeedReset':
        this.#resync();
        break;
    }
  }

  #lost(): void {
    this.#feed?.();
    this.#feed = undefined;
    const trying = this.#hasBeenLive ? 'reconnecting' : 'connecting';
    this.connection.set(navigator.onLine ? trying : 'offline');
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#failures, MAX_WAIT_MS);
    this.#failures += 1;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#connect(), wait * (0.5 + Math.random()));
  }

  #resync(): void {
    this.resyncs.set(this.resyncs.get() + 1);
  }

  #setCursor(cursor: string | null): void {
    this.#cursor = cursor;
    this.#storeTimer ??= setTimeout(() => {
      this.#storeTimer = undefined;
      write(this.#cursorKey, this.#cursor && JSON.stringify({ cursor: this.#cursor, storedAt: Date.now() }));
    }, STORE_CURSOR_AFTER_MS);
  }

  #connectActivity(): void {
    clearTimeout(this.#activityTimer);
    this.#activity?.();
    this.#activity = undefined;
    if (document.hidden) return;
    const subscription = pipe(
      this.#client.subscription(ActivityDocument, {}),
      subscribe(({ data, error, hasNext }: OperationResult<ActivitySubscription>) => {
        if (data?.activity.__typename === 'TypingStarted') startedTyping(data.activity.messageGroupUuid);
        if (!error && hasNext) return;
        this.#activity = undefined;
        this.#activityTimer = setTimeout(() => this.#resumeActivity(), MAX_WAIT_MS);
      }),
    );
    this.#activity = () => subscription.unsubscribe();
  }

  /** Read markers that moved meanwhile were missed. */
  #resumeActivity(): void {
    this.#connectActivity();
    if (this.connection.get() === 'live') this.#resync();
  }

  #visibilityChanged(): void {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) {
      this.#hiddenAt = Date.now();
      this.#hiddenTimer = setTimeout(() => {
        clearTimeout(this.#activityTimer);
        this.#activity?.();
        this.#activity = undefined;
      }, HIDDEN_MS);
      return;
    }
    const connection = this.connection.get();
    // While the screen of a phone is off, the system stops the page and cuts its connections without an error.
    if (connection === 'reconnecting' || connection === 'offline' || Date.now() - this.#hiddenAt > CUT_AFTER_MS) {
      this.#connectAgain();
    } else if (!this.#activity) {
      this.#resumeActivity();
    }
  }
}

function parseCursor(stored: string | null): string | null {
  try {
    const { cursor, storedAt } = JSON.parse(stored ?? '{}') as { cursor?: string; storedAt?: number };
    const age = Date.now() - (storedAt ?? 0);
    return cursor !== undefined && age >= 0 && age < CURSOR_VALID_MS ? cursor : null;
  } catch {
    return null;
  }
}
