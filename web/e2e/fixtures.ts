// What the tests share: pages of signed-in users, and a client of the API that acts for them.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { test as base, expect, type BrowserContext, type Page, type Response, type Route } from '@playwright/test';

import type { Account, Handle } from './signIn';

export { expect, type Page };

export const baseUrl = (): string => process.env['BASE_URL'] ?? '';
const accountOf = (handle: Handle): Account => {
  const accounts = JSON.parse(process.env['ACCOUNTS'] ?? '{}') as Record<string, Account>;
  const account = accounts[handle];
  if (!account) throw new Error(`${handle} is not signed in`);
  return account;
};

interface Fixtures {
  /** Opens the client as a user, in a browser of their own. Without a path, the page stays empty. */
  open: (
    handle: Handle,
    path?: string,
    options?: Parameters<import('@playwright/test').Browser['newContext']>[0],
  ) => Promise<Page>;
}

export const test = base.extend<Fixtures>({
  open: async ({ browser, contextOptions }, provide) => {
    const contexts: BrowserContext[] = [];
    const errors: string[] = [];
    await provide(async (handle, path = '/messages', options = {}) => {
      const context = await browser.newContext({ ...contextOptions, ...options });
      contexts.push(context);
      await signedIn(context, handle);
      const page = await context.newPage();
      page.on('pageerror', (error) => errors.push(error.message));
      page.on('console', (message) => {
        // Failed requests are part of some tests.
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
          errors.push(message.text());
      });
      if (path !== '') await page.goto(baseUrl() + path);
      return page;
    });
    await Promise.all(contexts.map((context) => context.close()));
    expect(errors, 'errors in the console').toEqual([]);
  },
});

/** Signs in all pages of a context without the sign-in page. */
export async function signedIn(context: BrowserContext, handle: Handle): Promise<void> {
  await context.addInitScript((storage) => {
    if (location.protocol === 'about:' || sessionStorage.getItem('test:signed-in')) return;
    sessionStorage.setItem('test:signed-in', 'yes');
    for (const [key, value] of Object.entries(storage)) sessionStorage.setItem(key, value);
  }, accountOf(handle).storage);
}

export async function api<Data>(handle: Handle, query: string, variables: object = {}): Promise<Data> {
  const response = await fetch(`${baseUrl()}/graphql`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${accountOf(handle).token}` },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: Data; errors?: { message: string }[] };
  if (!data || errors) throw new Error(errors?.[0]?.message ?? `HTTP ${response.status}`);
  return data;
}

/** Sends a message, and returns the uuid of the conversation. With the same key, the server stores it once. */
export async function send(
  from: Handle,
  to: Handle,
  body: string,
  idempotencyKey: string = crypto.randomUUID(),
): Promise<string> {
  const { createMessage } = await api<{ createMessage: { messageGroup: { uuid: string } } }>(
    from,
    'mutation ($input: CreateMessageInput!) { createMessage(input: $input) { messageGroup { uuid } } }',
    { input: { to: { handle: to }, body, idempotencyKey } },
  );
  return createMessage.messageGroup.uuid;
}

/** Calls `task` with each number below `count`, several at the same time and in no particular order. */
export async function times(count: number, task: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const work = async () => {
    while (next < count) {
      next += 1;
      await task(next - 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
}

/** Marks everything in a conversation as read. */
export async function readAll(handle: Handle, groupUuid: string): Promise<void> {
  const { messageGroup } = await api<{ messageGroup: { lastMessage: { cursor: string } } }>(
    handle,
    'query ($uuid: UUID!) { messageGroup(uuid: $uuid) { lastMessage { cursor } } }',
    { uuid: groupUuid },
  );
  await api(handle, 'mutation ($input: MarkReadInput!) { markRead(input: $input) { messageGroup { id } } }', {
    input: { messageGroupUuid: groupUuid, upTo: messageGroup.lastMessage.cursor },
  });
}

/** Makes a page believe that its tab is hidden, or visible again. */
export async function setHidden(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate((isHidden) => {
    Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, isHidden);
}

/** Answers all requests of a page with 401 and a reason, for example that the handle of the account is taken. */
export async function rejectRequests(page: Page, reason: string): Promise<void> {
  const errors = [{ message: 'rejected', extensions: { code: 'UNAUTHENTICATED', reason } }];
  await page.route('**/graphql', (route) => route.fulfill({ status: 401, json: { errors } }));
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function expectNoViolations(page: Page, name: string): Promise<void> {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: typeof import('axe-core') };
    const result = await axe.run(document, { resultTypes: ['violations'] });
    return result.violations.map(
      ({ id, nodes }) =>
        `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary ?? ''}`).join('; ')}`,
    );
  });
  expect(violations, name).toEqual([]);
}

/** Returns a text that no other test uses. */
export function unique(text: string): string {
  return `${text} ${crypto.randomUUID().slice(0, 8)}`;
}

export const composer = (page: Page) => page.getByRole('textbox', { name: /^Message to/ });
export const messages = (page: Page) => page.locator('.messages');
export const bubble = (page: Page, text: string) => page.locator('.row', { hasText: text }).first();
/** The note that the client is offline or connecting. */
export const pill = (page: Page) => page.locator('.connection-pill');
export const groupRow = (page: Page, name: string) => page.locator('a.group', { hasText: name });

/** Writes a message and sends it. */
export async function write(page: Page, text: string): Promise<void> {
  await composer(page).fill(text);
  await composer(page).press('Enter');
}

/** Writes in a page until `check` succeeds on another one, because a typing signal can be lost. */
export async function typeUntil(page: Page, check: () => Promise<void>): Promise<void> {
  await expect(async () => {
    await composer(page).pressSequentially('I am wri');
    await check();
  }).toPass();
}

/** Whether the body of the request has a part such as `query Groups`. */
export function isRequest(source: Route | Response, part: string): boolean {
  return source.request().postData()?.includes(part) ?? false;
}

/** Part of a query for older messages. The first page has `"before":null`. */
export const OLDER = '"before":"';

/** The data of `query Groups` if there are no conversations. */
export const noGroups = {
  messageGroups: {
    __typename: 'MessageGroupConnection',
    nodes: [],
    pageInfo: { __typename: 'PageInfo', hasNextPage: false, endCursor: null },
  },
};
