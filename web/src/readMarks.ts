// Marks messages as read while the user sees them. A fast scroll causes one request, not one for each message.

import type { Client } from '@urql/core';

import { failureOf } from './api';
import { MarkReadDocument } from './generated/graphql';

const DELAY_MS = 400;
const RETRY_MS = 5_000;

export class ReadMarks {
  readonly #client: Client;
  readonly #pending = new Map<string, { upTo: string; timer: ReturnType<typeof setTimeout> }>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** `upTo` is the cursor of the newest message that the user has seen. It must not be older than that of an earlier call. */
  mark(groupUuid: string, upTo: string): void {
    const pending = this.#pending.get(groupUuid);
    if (pending?.upTo === upTo) return;
    clearTimeout(pending?.timer);
    this.#schedule(groupUuid, upTo, DELAY_MS);
  }

  stop(): void {
    for (const { timer } of this.#pending.values()) clearTimeout(timer);
    this.#pending.clear();
  }

  #schedule(groupUuid: string, upTo: string, delay: number): void {
    const timer = setTimeout(() => void this.#send(groupUuid, upTo), delay);
    this.#pending.set(groupUuid, { upTo, timer });
  }

  async #send(groupUuid: string, upTo: string): Promise<void> {
    const result = await this.#client
      .mutation(MarkReadDocument, { input: { messageGroupUuid: groupUuid, upTo } })
      .toPromise();
    if (this.#pending.get(groupUuid)?.upTo !== upTo) return;
    if (result.error && failureOf(result.error).isTransient) this.#schedule(groupUuid, upTo, RETRY_MS);
  }
}
