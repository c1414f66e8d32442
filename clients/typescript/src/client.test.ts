// Tests queries and mutations with a `fetch` that answers each request as the test says.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';

import { createClient, type ClientOptions } from './client.js';
import { me, sendToGroup } from './operations.js';

type Answer = (signal: AbortSignal) => Response | Promise<Response>;

/** Returns a client, and the tokens of its requests. Each request gets the next answer, and later ones get the last answer. */
function clientWith(answers: Answer[], options: Partial<ClientOptions> = {}) {
  const tokens: (string | null)[] = [];
  const fetch: ClientOptions['fetch'] = async (_, init) => {
    const answer = answers[Math.min(tokens.length, answers.length - 1)];
    tokens.push(new Headers(init?.headers).get('Authorization'));
    assert.ok(answer && init?.signal);
    return answer(init.signal);
  };
  return { tokens, client: createClient({ url: 'https://api.test/graphql', fetch, ...options }) };
}

const ANA = { id: '1', uuid: '1', handle: 'ana', displayName: 'Ana' };
const proxy =
  (status: number): Answer =>
  () =>
    new Response('<html>', { status });
const expired: Answer = () => {
  const extensions = { code: 'UNAUTHENTICATED', reason: 'token_expired' };
  return Response.json({ errors: [{ message: 'Expired', extensions }] }, { status: 401 });
};
const succeeds: Answer = () => Response.json({ data: { me: ANA } });

test('requests use the given fetch', async () => {
  const { tokens, client } = clientWith([succeeds]);
  assert.deepEqual(await me(client), ANA);
  assert.deepEqual(tokens, [null]);
});

test('repeats a request after an error page of a proxy, if the error is transient', async () => {
  for (const status of [408, 429, 500, 502, 503, 504]) {
    const { tokens, client } = clientWith([proxy(status), succeeds]);
    assert.deepEqual(await me(client), ANA);
    assert.equal(tokens.length, 2);
  }
  for (const status of [400, 403, 404, 413]) {
    const { tokens, client } = clientWith([proxy(status), succeeds]);
    await assert.rejects(me(client), { code: 'UNREACHABLE', isTransient: false });
    assert.equal(tokens.length, 1);
  }
});

test('throws the error if the server asks for more than 20 seconds', async (context) => {
  const { setTimeout } = globalThis;
  context.mock.method(globalThis, 'setTimeout', (run: () => void, ms: number) => setTimeout(run, ms > 15_000 ? 0 : ms));
  const unavailable = (seconds: number) => () =>
    new Response('<html>', { status: 503, headers: { 'Retry-After': String(seconds) } });
  const soon = clientWith([unavailable(20), succeeds]);
  assert.deepEqual(await me(soon.client), ANA);
  assert.equal(soon.tokens.length, 2);
  const late = clientWith([unavailable(21), succeeds]);
  await assert.rejects(me(late.client), { retryAfter: 21 });
  assert.equal(late.tokens.length, 1);
});

test('repeats a request when the application has no token, or none in time', async () => {
  const answers = [() => Promise.reject(new TypeError('fetch failed')), () => new Promise<never>(() => {}), () => 't'];
  let calls = 0;
  const token = () => answers[(calls += 1) - 1]?.();
  const { tokens, client } = clientWith([succeeds], { token, timeoutMs: 200 });
  assert.deepEqual(await me(client), ANA);
  assert.deepEqual([calls, tokens], [3, ['Bearer t']]);

  const cause = new Error('signed out');
  const fails = clientWith([succeeds], { token: () => Promise.reject(cause), maxAttempts: 2 });
  await assert.rejects(me(fails.client), { name: 'ApiError', code: 'UNREACHABLE', cause });
  assert.deepEqual(fails.tokens, []);
});

test('repeats a request once with a new token if the server says that the token has expired', async () => {
  const calls: (string | undefined)[] = [];
  const token = (rejected?: string) => {
    calls.push(rejected);
    return rejected ? 'new' : 'old';
  };
  const { tokens, client } = clientWith([expired, succeeds], { token });
  assert.deepEqual(await me(client), ANA);
  assert.deepEqual([calls, tokens], [[undefined, 'old'], ['Bearer old', 'Bearer new']]);

  const fails = clientWith([expired], { token });
  await assert.rejects(me(fails.client), { reason: 'token_expired' });
  assert.deepEqual(fails.tokens, ['Bearer old', 'Bearer new']);
});

test('all attempts of an operation are sent as the same user', async () => {
  const users = ['ana', 'ben'];
  const { tokens, client } = clientWith([proxy(502), proxy(502), succeeds], { token: () => users.shift() });
  assert.deepEqual(await me(client), ANA);
  assert.deepEqual([tokens, users], [['Bearer ana', 'Bearer ana', 'Bearer ana'], ['ben']]);
});

test('an aborted signal ends a request, a wait between attempts and a wait for a token with its reason', async () => {
  const reason = new Error('signed out');
  const hangs: Answer = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const unavailable: Answer = () => new Response('<html>', { status: 503, headers: { 'Retry-After': '20' } });
  const cases: [Answer, ClientOptions['token']][] = [
    [hangs, () => 't'],
    [unavailable, () => 't'],
    [succeeds, () => new Promise<never>(() => {})],
  ];
  for (const [answer, token] of cases) {
    const { tokens, client } = clientWith([answer], { token });
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    const sent = () => sendToGroup(client, 'group', 'Hello', { signal: controller.signal });
    await assert.rejects(sent(), reason);
    const requests = answer === succeeds ? 0 : 1;
    assert.deepEqual([tokens.length, getEventListeners(controller.signal, 'abort').length], [requests, 0]);
    await assert.rejects(sent(), reason);
    assert.equal(tokens.length, requests, 'no request after the signal is aborted');
  }
});
