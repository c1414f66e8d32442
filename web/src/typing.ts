// Typing signals: shows who is writing, and tells the other participant that the signed-in user is writing.

import type { Client } from '@urql/core';

import { SignalTypingDocument } from './generated/graphql';
import { createStore } from './store';

/** A signal is valid for this time. The client does not use its `expiresAt`, because the clock of the server can differ. */
const VALID_MS = 6_000;
const SIGNAL_EVERY_MS = 3_000;

/** The message groups in which the other participant is writing. */
export const typing = createStore<ReadonlySet<string>>(new Set());

const timers = new Map<string, ReturnType<typeof setTimeout>>();

export function startedTyping(groupUuid: string): void {
  clearTimeout(timers.get(groupUuid));
  timers.set(
    groupUuid,
    setTimeout(() => stoppedTyping(groupUuid), VALID_MS),
  );
  if (!typing.get().has(groupUuid)) typing.set(new Set(typing.get()).add(groupUuid));
}

export function stoppedTyping(groupUuid: string): void {
  clearTimeout(timers.get(groupUuid));
  timers.delete(groupUuid);
  if (!typing.get().has(groupUuid)) return;
  const next = new Set(typing.get());
  next.delete(groupUuid);
  typing.set(next);
}

const lastSignals = new Map<string, number>();

/** Call this for each change of the text; most calls send nothing. */
export function signalTyping(client: Client, groupUuid: string): void {
  const time = performance.now();
  if (time - (lastSignals.get(groupUuid) ?? -Infinity) < SIGNAL_EVERY_MS) return;
  lastSignals.set(groupUuid, time);
  // Nothing depends on a signal, so errors are ignored.
  void client.mutation(SignalTypingDocument, { input: { messageGroupUuid: groupUuid } }).toPromise();
}
