// Follows the feed with one client through all connections, and records what it receives.

import { setTimeout as sleep } from 'node:timers/promises';

import { describe, type FeedClient, type FeedEvent } from './feed-client.js';

export type IsExpected = (message: Extract<FeedEvent, { __typename: 'MessageAdded' }>['message']) => boolean;

/** The wait before the next subscription. */
const RETRY_MS = 100;

export class Follower {
  readonly client: FeedClient;
  readonly #isExpected: IsExpected;
  /** The uuids of the messages, in the order of their events. */
  readonly received: string[] = [];
  /** Why each connection was lost, and why connections could not be opened. */
  readonly losses: string[] = [];
  readonly resets: string[] = [];
  /** Number of `FeedReady` events: of connections that have caught up. */
  readies = 0;
  #cursor: string | null = null;
  readonly #stop = new AbortController();
  #end: Promise<void> | undefined;

  /** Messages that are not expected are ignored. */
  constructor(client: FeedClient, isExpected: IsExpected) {
    this.client = client;
    this.#isExpected = isExpected;
  }

  start(): void {
    this.#end = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.client.follow({
          after: () => this.#cursor,
          onEvent: (event) => this.#take(event),
          onLost: (reason) => this.losses.push(describe(reason)),
          signal,
        });
        this.losses.push('complete');
      } catch (reason) {
        this.losses.push(describe(reason));
      }
      await sleep(RETRY_MS);
    }
  }

  #take(event: FeedEvent): void {
    this.#cursor = event.cursor;
    if (event.__typename === 'FeedReady') this.readies += 1;
    if (event.__typename === 'FeedReset') this.resets.push(event.reason);
    if (event.__typename === 'MessageAdded' && this.#isExpected(event.message)) this.received.push(event.message.uuid);
  }

  /** Must be called before all connections are cut. */
  stop(): void {
    this.#stop.abort();
  }

  async ended(): Promise<void> {
    await this.#end;
  }

  /** For the message of a failed test. */
  state() {
    const { received, losses, resets, readies } = this;
    return { client: this.client.name, received: received.length, losses: losses.slice(-5), resets, readies };
  }
}
