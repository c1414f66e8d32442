import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Outbox, type OutboxItem, type SendResult } from './outbox';

const GROUP = { messageGroupUuid: 'g1' };
const SENT: SendResult = { ok: true, messageUuid: 'm1', messageGroupUuid: 'g1' };
const failure = (isTransient: boolean, reason?: string): SendResult => ({
  ok: false,
  failure: { isTransient, isUnreachable: false, reason, retryAfter: undefined },
});

/** An outbox whose requests the test answers. */
function setup({ isOnline = (): boolean => true, startedAt = Date.UTC(2026, 0, 1) } = {}) {
  const requests: { item: OutboxItem; answer: (result: SendResult) => Promise<void> }[] = [];
  const onSent = vi.fn();
  const outbox = new Outbox({
    userId: 'u1',
    now: () => startedAt + requests.length,
    isOnline,
    onSent,
    send: (item) =>
      new Promise((resolve) => {
        requests.push({
          item,
          answer: async (result) => {
            resolve(result);
            await vi.advanceTimersByTimeAsync(0);
          },
        });
      }),
  });
  const states = () => outbox.items.get().map(({ body, state }) => [body, state]);
  return { outbox, requests, onSent, states };
}

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

describe('outbox', () => {
  it('sends a message at once and removes it when the server has confirmed it', async () => {
    const { outbox, requests, onSent, states } = setup();
    const key = outbox.add(GROUP, 'u2', 'hello');
    expect(states()).toEqual([['hello', 'sending']]);
    await requests[0]?.answer(SENT);
    expect(states()).toEqual([]);
    expect(onSent).toHaveBeenCalledOnce();
    expect(outbox.sentKeys.get('m1')).toBe(key);
    expect(localStorage).toHaveLength(0);
  });

  it('keeps the order of a conversation, and does not let conversations wait for each other', async () => {
    const { outbox, requests, states } = setup();
    outbox.add(GROUP, 'u2', 'first');
    outbox.add(GROUP, 'u2', 'second');
    outbox.add({ handle: 'esi' }, 'u3', 'other');
    expect(requests.map(({ item }) => item.body)).toEqual(['first', 'other']);
    await requests[0]?.answer(SENT);
    expect(requests.map(({ item }) => item.body)).toEqual(['first', 'other', 'second']);
    expect(states()).toEqual([
      ['second', 'sending'],
      ['other', 'sending'],
    ]);
  });

  it('repeats a message whose result is unknown by itself, with the same key', async () => {
    const { outbox, requests, states } = setup();
    const key = outbox.add(GROUP, 'u2', 'hello');
    await requests[0]?.answer(failure(true));
    expect(states()).toEqual([['hello', 'unknown']]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(requests.map(({ item }) => item.key)).toEqual([key, key]);
    await requests[1]?.answer(SENT);
    expect(states()).toEqual([]);
  });

  it('does not repeat a message that the server has rejected until the user asks for it', async () => {
    const { outbox, requests, states } = setup();
    const key = outbox.add(GROUP, 'u2', 'hello');
    await requests[0]?.answer(failure(false, 'recipient_changed'));
    expect(states()).toEqual([['hello', 'failed']]);
    expect(outbox.items.get()[0]?.reason).toBe('recipient_changed');
    await vi.advanceTimersByTimeAsync(120_000);
    expect(requests).toHaveLength(1);
    outbox.retry(key);
    expect(requests[1]?.item.key).toBe(key);
  });

  it('sends one request for two clicks', () => {
    const { outbox, requests } = setup();
    const key = outbox.add(GROUP, 'u2', 'hello');
    outbox.retry(key);
    outbox.retry(key);
    outbox.flush();
    expect(requests).toHaveLength(1);
  });

  it('lets later messages pass one that has failed', async () => {
    const { outbox, requests, states } = setup();
    outbox.add(GROUP, 'u2', 'bad');
    outbox.add(GROUP, 'u2', 'good');
    await requests[0]?.answer(failure(false));
    expect(states()).toEqual([
      ['bad', 'failed'],
      ['good', 'sending'],
    ]);
  });

  it('waits while the browser is offline', () => {
    let online = false;
    const { outbox, requests, states } = setup({ isOnline: () => online });
    outbox.add(GROUP, 'u2', 'hello');
    expect(requests).toHaveLength(0);
    expect(states()).toEqual([['hello', 'queued']]);
    online = true;
    outbox.flush();
    expect(requests).toHaveLength(1);
  });

  it('survives a reload: a message that was being sent is unknown, and keeps its key', () => {
    const key = setup().outbox.add(GROUP, 'u2', 'hello');
    const { outbox, requests, states } = setup();
    expect(states()).toEqual([['hello', 'unknown']]);
    outbox.flush();
    expect(requests[0]?.item.key).toBe(key);
  });

  it('sends nothing after the end of the session', async () => {
    const { outbox, requests } = setup();
    outbox.add(GROUP, 'u2', 'hello');
    await requests[0]?.answer(failure(true));
    outbox.stop();
    await vi.advanceTimersByTimeAsync(120_000);
    outbox.flush();
    expect(requests).toHaveLength(1);
  });

  it('is separate for each user', () => {
    setup().outbox.add(GROUP, 'u2', 'hello');
    const other = new Outbox({ userId: 'u9', now: Date.now, send: () => Promise.resolve(SENT) });
    expect(other.items.get()).toEqual([]);
  });

  it('recognises its message in the feed once, but only after it has been sent', async () => {
    let online = false;
    const { outbox, requests } = setup({ isOnline: () => online });
    outbox.add(GROUP, 'u2', 'hello');
    const group = { uuid: 'g1', otherParticipant: { uuid: 'u2' } };
    outbox.seen('m1', group, 'hello');
    expect(outbox.items.get()[0]?.seenAs).toBeUndefined();
    online = true;
    outbox.flush();
    await requests[0]?.answer(failure(true));
    outbox.seen('m1', group, 'hello');
    expect(outbox.items.get()[0]?.seenAs).toBe('m1');
  });

  it('keeps the order of messages to one user, whether they name the handle or the conversation', async () => {
    const { outbox, requests } = setup();
    outbox.add({ handle: 'esi' }, 'u3', 'first');
    outbox.add({ messageGroupUuid: 'g3' }, 'u3', 'second');
    expect(requests.map(({ item }) => item.body)).toEqual(['first']);
    await requests[0]?.answer(SENT);
    expect(requests.map(({ item }) => item.body)).toEqual(['first', 'second']);
  });

  it('does not send a message by itself whose key the server may have forgotten', () => {
    const key = setup().outbox.add(GROUP, 'u2', 'hello');
    const later = setup({ startedAt: Date.UTC(2026, 1, 15) });
    later.outbox.flush();
    expect(later.requests).toHaveLength(0);
    expect(later.outbox.items.get()).toMatchObject([{ state: 'failed', reason: 'too_old' }]);
    later.outbox.retry(key);
    expect(later.requests[0]?.item.key).toBe(key);
  });

  it.each([failure(true), SENT])('stores nothing when a request ends after the session', async (result) => {
    const { outbox, requests, onSent } = setup();
    outbox.add(GROUP, 'u2', 'hello');
    outbox.stop();
    localStorage.clear();
    await requests[0]?.answer(result);
    expect(localStorage).toHaveLength(0);
    expect(onSent).not.toHaveBeenCalled();
  });

  it('shows what another tab is sending, and sends it if that tab does not', async () => {
    const [one, two] = [setup(), setup()];
    const key = one.outbox.add(GROUP, 'u2', 'hello');
    two.outbox.onStored(`cruddur:u1:outbox:${key}`);
    expect(two.states()).toEqual([['hello', 'sending']]);
    // The other tab was closed.
    await vi.advanceTimersByTimeAsync(20_000);
    expect(two.requests[0]?.item.key).toBe(key);
  });

  it('ignores entries that it cannot read', () => {
    localStorage.setItem('cruddur:u1:outbox:broken', '{');
    expect(setup().states()).toEqual([]);
  });
});
