// Time of the server. The clock of the browser may be wrong, so the client corrects it with the `Date` header of responses.

import { createStore, useStore } from './store';

/** Smaller differences are ignored: the latency and the header's resolution of one second cause them. */
const TOLERANCE_MS = 5_000;
const TICK_MS = 15_000;

let offset = 0;

export function serverNow(): number {
  return Date.now() + offset;
}

/** Compares the clocks. `startedAt` is the time of the browser at which the request started. */
export function observeServerTime(header: string | null, startedAt: number): void {
  const serverTime = header === null ? NaN : Date.parse(header);
  if (Number.isNaN(serverTime)) return;
  const difference = serverTime + 500 - (startedAt + Date.now()) / 2;
  const next = Math.abs(difference) < TOLERANCE_MS ? 0 : difference;
  if (Math.abs(next - offset) < TOLERANCE_MS) return;
  offset = next;
  now.set(serverNow());
}

const now = createStore(serverNow());

/** Starts the ticking of relative times. */
export function startClock(): void {
  const tick = () => now.set(serverNow());
  setInterval(tick, TICK_MS);
  // Timers of a hidden tab are late.
  document.addEventListener('visibilitychange', tick);
}

/** Returns the time of the server. The component renders again at each tick. */
export function useNow(): number {
  return useStore(now);
}
