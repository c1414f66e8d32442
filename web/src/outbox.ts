// Messages that are not confirmed yet. They live outside the cache and survive a reload. The outbox sends each message until the
// server has accepted or rejected it. Each has an idempotency key, so the server stores it only once.

import type { Failure } from './api';
import { createStore, type Store } from './store';
import { keyFor, keysWith, read, write } from './storage';

/** The conversation of a message: an existing message group, or a handle to which nothing was sent yet. */
type Recipient = { messageGroupUuid: string } | { handle: string };

type OutboxState =
  /** Waits for the connection, or for an earlier message of the conversation. */
  | 'queued'
  | 'sending'
  /** The server may have stored it. The outbox sends it again. */
  | 'unknown'
  /** The server has rejected it, or it is too old. Only the user can send it again. */
  | 'failed';

export interface OutboxItem {
  /** The idempotency key. */
  readonly key: string;
  readonly to: Recipient;
  readonly recipientUuid: string;
  readonly body: string;
  /** Time of the server, as far as the client knows it. */
  readonly createdAt: string;
  readonly state: OutboxState;
  /** Why it has failed. */
  readonly reason?: string | undefined;
  /** Whether a request with this key may have reached the server. */
  readonly attempted: boolean;
  /** The message in the feed that is probably this one, although no response has confirmed it. */
  readonly seenAs?: string | undefined;
}

export type SendResult =
  | { ok: true; messageUuid: string; messageGroupUuid: string }
  | { ok: false; failure: Pick<Failure, 'isTransient' | 'isUnreachable' | 'reason' | 'retryAfter'> };

interface OutboxOptions {
  userId: string;
  send: (item: OutboxItem) => Promise<SendResult>;
  now: () => number;
  /** Called when the server has confirmed a message. */
  onSent?: (item: OutboxItem, result: Extract<SendResult, { ok: true }>) => void;
  isOnline?: () => boolean;
}

const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 30_000;
/** A message that another tab is still sending after this time is sent by this one. The other tab may have been closed. */
const OTHER_TAB_MS = 20_000;
/**
 * The server remembers an idempotency key for 30 days. A message that was tried longer ago can be stored already, so only the user
 * can send it again.
 */
const KEY_IS_SAFE_MS = 29 * 24 * 60 * 60 * 1_000;

export class Outbox {
  readonly items: Store<readonly OutboxItem[]>;
  /** Maps the uuid of a message that this page has sent to its key. The list keeps this key, so React keeps the element. */
  readonly sentKeys = new Map<string, string>();
  readonly #options: OutboxOptions;
  readonly #prefix: string;
  /** Keys of the messages whose request is in progress. */
  readonly #active = new Set<string>();
  readonly #waits = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #otherTab: ReturnType<typeof setTimeout> | undefined;
  #hasStopped = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#prefix = keyFor(options.userId, 'outbox', '');
    // A request that was in progress when the page closed may have reached the server.
    const stored = this.#load().map((item) =>
      item.state === 'sending' ? { ...item, state: 'unknown' as const } : item,
    );
    this.items = createStore<readonly OutboxItem[]>(stored);
  }

  /** Adds a message and sends it. Returns its key. */
  add(to: Recipient, recipientUuid: string, body: string): string {
    const key = crypto.randomUUID();
    const createdAt = new Date(this.#options.now()).toISOString();
    this.#save({ key, to, recipientUuid, body, createdAt, state: 'queued', attempted: false });
    this.flush();
    return key;
  }

  /** Sends a message again now, with the same key. */
  retry(key: string): void {
    const item = this.#find(key);
    if (!item || this.#active.has(key)) return;
    this.#waits.delete(key);
    this.#save({ ...item, state: 'queued', reason: undefined });
    this.flush();
  }

  discard(key: string): void {
    this.#remove(key);
    // The next message of the conversation may have waited for this one.
    this.flush();
  }

  /** Sends whatever waits, for example because the connection is back. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#hasStopped || this.#options.isOnline?.() === false) return;
    // One at a time to each recipient, so that the messages keep their order.
    const busy = new Set<string>();
    for (const item of this.items.get()) {
      if (item.state === 'failed' || busy.has(item.recipientUuid)) continue;
      const isActive = this.#active.has(item.key);
      if (!isActive && item.attempted && this.#options.now() - Date.parse(item.createdAt) > KEY_IS_SAFE_MS) {
        this.#save({ ...item, state: 'failed', reason: 'too_old', attempted: false });
        continue;
      }
      busy.add(item.recipientUuid);
      if (!isActive) void this.#attempt(item);
    }
  }

  /** Handles a message of the signed-in user from the feed. Hides an unconfirmed message that is probably the same one. */
  seen(messageUuid: string, group: MessageGroupIds, body: string): void {
    if (this.sentKeys.has(messageUuid)) return;
    const item = this.items
      .get()
      .find((item) => item.attempted && item.seenAs === undefined && item.body === body && isTo(item, group));
    if (item) this.#save({ ...item, seenAs: messageUuid });
  }

  /** Reads the messages again if another tab of the user has changed them. */
  onStored(storageKey: string | null): void {
    if (storageKey !== null && !storageKey.startsWith(this.#prefix)) return;
    const own = new Map(this.items.get().map((item) => [item.key, item]));
    const items = this.#load().map((item) => (this.#active.has(item.key) ? (own.get(item.key) ?? item) : item));
    this.items.set(items);
    clearTimeout(this.#otherTab);
    const isElsewhere = items.some(({ key, state }) => state === 'sending' && !this.#active.has(key));
    if (isElsewhere) this.#otherTab = setTimeout(() => this.flush(), OTHER_TAB_MS);
  }

  /** Sends nothing any more, because the session has ended. */
  stop(): void {
    this.#hasStopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#otherTab);
  }

  async #attempt(item: OutboxItem): Promise<void> {
    this.#active.add(item.key);
    this.#save({ ...item, state: item.state === 'unknown' ? 'unknown' : 'sending', attempted: true });
    const result = await this.#options.send(item).catch((): SendResult => UNREACHABLE);
    this.#active.delete(item.key);
    // What is left is sent in the next session, or was deleted with the data of the user.
    if (this.#hasStopped && !result.ok) return;

    const current = this.#find(item.key);
    if (result.ok) {
      this.sentKeys.set(result.messageUuid, item.key);
      this.#remove(item.key);
      if (!this.#hasStopped) this.#options.onSent?.(item, result);
    } else if (!current) {
      // Deleted in the meantime, here or in another tab.
    } else if (!result.failure.isTransient) {
      this.#save({ ...current, state: 'failed', reason: result.failure.reason });
    } else {
      this.#save({ ...current, state: 'unknown' });
      this.#later(item.key, result.failure.retryAfter);
      return;
    }
    this.flush();
  }

  #later(key: string, retryAfter = 0): void {
    const wait = this.#waits.get(key) ?? FIRST_WAIT_MS;
    this.#waits.set(key, Math.min(2 * wait, MAX_WAIT_MS));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), Math.max(wait, retryAfter * 1_000) * (0.75 + Math.random() / 2));
  }

  #find(key: string): OutboxItem | undefined {
    return this.items.get().find((item) => item.key === key);
  }

  #save(item: OutboxItem): void {
    write(this.#prefix + item.key, JSON.stringify(item));
    const items = this.items.get();
    const isKnown = items.some(({ key }) => key === item.key);
    this.items.set(isKnown ? items.map((other) => (other.key === item.key ? item : other)) : [...items, item]);
  }

  #remove(key: string): void {
    write(this.#prefix + key, null);
    this.#waits.delete(key);
    this.items.set(this.items.get().filter((item) => item.key !== key));
  }

  #load(): OutboxItem[] {
    return keysWith(this.#prefix)
      .map((key) => parse(read(key)))
      .filter((item) => item !== null)
      .sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }
}

export const UNREACHABLE: SendResult = {
  ok: false,
  failure: { isTransient: true, isUnreachable: true, reason: undefined, retryAfter: undefined },
};

interface MessageGroupIds {
  readonly uuid: string;
  readonly otherParticipant: { readonly uuid: string };
}

/** Whether a message belongs to this message group. A message to a handle can wait while an earlier one creates the group. */
export function isTo({ to, recipientUuid }: OutboxItem, { uuid, otherParticipant }: MessageGroupIds): boolean {
  return 'handle' in to ? recipientUuid === otherParticipant.uuid : to.messageGroupUuid === uuid;
}

function parse(text: string | null): OutboxItem | null {
  try {
    const item = JSON.parse(text ?? 'null') as OutboxItem | null;
    return item?.key && item.body ? item : null;
  } catch {
    return null;
  }
}
