// Texts that are not sent yet, one for each conversation of a user. They survive a reload and the end of the session.

import { createStore, type Store } from './store';
import { keyFor, keysWith, read, write } from './storage';

export class Drafts {
  /** The texts by conversation. Conversations without a draft are missing. */
  readonly texts: Store<ReadonlyMap<string, string>>;
  readonly #prefix: string;

  constructor(userId: string) {
    this.#prefix = keyFor(userId, 'draft', '');
    const stored = keysWith(this.#prefix).map((key) => [key.slice(this.#prefix.length), read(key) ?? ''] as const);
    this.texts = createStore<ReadonlyMap<string, string>>(new Map(stored));
  }

  get(conversation: string): string {
    return this.texts.get().get(conversation) ?? '';
  }

  set(conversation: string, text: string): void {
    if (text === this.get(conversation)) return;
    write(this.#prefix + conversation, text === '' ? null : text);
    this.#show(conversation, text);
  }

  #show(conversation: string, text: string): void {
    const next = new Map(this.texts.get());
    if (text === '') next.delete(conversation);
    else next.set(conversation, text);
    this.texts.set(next);
  }

  /** A draft to a handle continues in the message group with that user, below the draft that is there. */
  move(from: string, to: string): void {
    const text = this.get(from);
    if (text === '') return;
    const before = this.get(to);
    // Another tab may have moved it already.
    if (before !== text) this.set(to, before === '' ? text : `${before}\n${text}`);
    this.set(from, '');
  }

  /** Reads a draft again if another tab of the user has changed it. Does not store it: the other tab can have gone on. */
  onStored(storageKey: string | null): void {
    if (!storageKey?.startsWith(this.#prefix)) return;
    this.#show(storageKey.slice(this.#prefix.length), read(storageKey) ?? '');
  }
}
