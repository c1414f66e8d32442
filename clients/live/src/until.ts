import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 20;

/** Waits until a condition is true. After the deadline, throws an error that has the description and the state. */
export async function until(what: string, isTrue: () => boolean, state: () => unknown = () => '', ms = 30_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}\n${JSON.stringify(state(), null, 2)}`);
    await sleep(POLL_MS);
  }
}
