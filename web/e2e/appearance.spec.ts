// Screenshots of every page and state, for a person to look at. They are kept in `screenshots` and not compared.

import type { TestInfo } from '@playwright/test';

import {
  baseUrl,
  bubble,
  composer,
  expect,
  groupRow,
  isRequest,
  messages,
  noGroups,
  OLDER,
  pill,
  readAll,
  rejectRequests,
  send,
  signedIn,
  test,
  times,
  typeUntil,
  write,
  type Page,
} from './fixtures';

/** Returns a function that takes a screenshot when the page has become still. */
function camera(info: TestInfo, colorScheme: string): (page: Page, name: string) => Promise<void> {
  return async (page, name) => {
    await page.evaluate(async () => {
      await document.fonts.ready;
      const ending = document.getAnimations().filter((animation) => animation.effect?.getTiming().iterations === 1);
      await Promise.allSettled(ending.map(({ finished }) => finished));
    });
    await page.screenshot({ path: `screenshots/${info.project.name}-${colorScheme}-${name}.png` });
  };
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`screenshots of conversations, ${colorScheme}`, async ({ open }, info) => {
    test.setTimeout(120_000);
    const shoot = camera(info, colorScheme);
    const uuid = await talk();
    await readAll('ana', await send('chloe', 'ana', 'I am at the print shop.'));

    const page = await open('ana', '/messages', { colorScheme });
    await groupRow(page, 'Ben').waitFor();
    await expect(pill(page)).toHaveCount(0);
    await shoot(page, 'list');
    await send('chloe', 'ana', 'They can do Thursday if we send the files tonight.');
    await send('chloe', 'ana', 'Shall I say yes?');
    await expect(groupRow(page, 'Chloé').locator('.badge')).toHaveText(/^2/);
    await shoot(page, 'list-unread');
    await page.getByRole('button', { name: /^Account of/ }).click();
    await shoot(page, 'account');
    await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
    await shoot(page, 'help');
    await page.keyboard.press('Escape');

    await groupRow(page, 'Chloé').click();
    await expect(page.locator('.unread-divider')).toBeVisible();
    await shoot(page, 'unread');
    await composer(page).fill('Say yes, and');

    await page.goto(`${baseUrl()}/messages/${uuid}`);
    await composer(page).waitFor();
    const ben = await open('ben', `/messages/${uuid}`, { colorScheme });
    await composer(ben).waitFor();
    await expect(pill(page)).toHaveCount(0);
    await write(page, 'See you at the gate then 🌱');
    await expect(page.locator('.read-mark')).toBeVisible();
    await typeUntil(ben, () => expect(page.locator('.typing')).toBeVisible({ timeout: 4_000 }));
    await shoot(page, 'typing');

    await messages(page).evaluate((element) => element.scrollBy(0, -1_500));
    await expect(page.getByRole('button', { name: /^Jump to newest/ })).toBeVisible();
    await write(ben, 'Bring gloves!');
    await expect(page.getByRole('button', { name: 'Jump to newest (1)' })).toBeVisible();
    await shoot(page, 'jump');

    await page.goto(`${baseUrl()}/messages`);
    await typeUntil(ben, () => expect(page.locator('.preview-typing')).toBeVisible({ timeout: 4_000 }));
    await shoot(page, 'list-typing-and-draft');

    await page.goto(`${baseUrl()}/messages/${await texture()}`);
    await composer(page).waitFor();
    await page.getByText('isolated').last().waitFor();
    await shoot(page, 'texts');
  });

  test(`screenshots of messages that are not sent, ${colorScheme}`, async ({ open }, info) => {
    const shoot = camera(info, colorScheme);
    const uuid = await talk();
    const page = await open('ana', `/messages/${uuid}`, { colorScheme });
    await composer(page).waitFor();
    await expect(pill(page)).toHaveCount(0);
    let isRejecting = true;
    let isDown = false;
    const extensions = { code: 'BAD_USER_INPUT', reason: 'recipient_changed' };
    await page.route('**/graphql', (route) => {
      if (isDown) return route.abort('connectionrefused');
      if (!isRequest(route, 'mutation CreateMessage')) return route.fallback();
      if (isRejecting) return route.fulfill({ json: { errors: [{ message: 'no', extensions }] } });
      return route.abort('connectionrefused');
    });
    await write(page, 'This one is rejected');
    await expect(bubble(page, 'This one is rejected')).toHaveAttribute('data-state', 'failed');
    isRejecting = false;
    await write(page, 'This one may have arrived');
    await expect(bubble(page, 'This one may have arrived')).toHaveAttribute('data-state', 'unknown');
    await composer(page).fill('The wind has turned, and the tide with it. '.repeat(24));
    await shoot(page, 'not-sent');

    await page.context().setOffline(true);
    await write(page, 'This one waits for the connection');
    await expect(bubble(page, 'waits for the connection')).toHaveAttribute('data-state', 'queued');
    await expect(pill(page)).toBeVisible();
    await shoot(page, 'offline');
    isDown = true;
    await page.context().setOffline(false);
    await expect(pill(page)).toHaveText('Connecting…');
    await shoot(page, 'reconnecting');
  });

  test(`screenshots of new messages and missing pages, ${colorScheme}`, async ({ open }, info) => {
    const shoot = camera(info, colorScheme);
    const page = await open('ana', '', { colorScheme });
    const paths = {
      'new-message': '/messages/new',
      'first-message': '/messages/new/esi',
      'no-such-handle': '/messages/new/nobody',
      oneself: '/messages/new/ana',
      'missing-conversation': '/messages/00000000-0000-0000-0000-000000000000',
      'page-not-found': '/messages/a/b',
    };
    for (const [name, path] of Object.entries(paths)) {
      await page.goto(baseUrl() + path);
      await page.locator('.pane h2, .pane .start, .pane .notice-lead').last().waitFor();
      await shoot(page, name);
    }
    await page.goto(`${baseUrl()}/messages/new`);
    await page.getByRole('textbox', { name: 'Handle' }).fill('esi');
    await shoot(page, 'new-message-filled');
  });

  test(`screenshots of loading, errors and an empty list, ${colorScheme}`, async ({ open, isMobile }, info) => {
    const shoot = camera(info, colorScheme);
    const uuid = await talk();
    await times(40, () => send('ben', 'ana', 'A page of messages that are older than these is needed.'));
    await readAll('ana', uuid);
    const page = await open('ana', '', { colorScheme });
    let mode: 'loading' | 'error' | 'empty' | 'older-failed' = 'loading';
    await page.route('**/graphql', (route) => {
      if (isRequest(route, 'query Me')) return route.fallback();
      if (mode === 'loading') return undefined;
      if (mode === 'error')
        return route.fulfill({ status: 503, json: { errors: [{ message: '', extensions: { code: 'UNAVAILABLE' } }] } });
      if (mode === 'empty' && isRequest(route, 'query Groups')) return route.fulfill({ json: { data: noGroups } });
      if (mode === 'older-failed' && isRequest(route, OLDER)) return route.abort('connectionrefused');
      return route.fallback();
    });
    const show = async (path: string, text: string) => {
      await page.goto(baseUrl() + path);
      await page.getByText(text).filter({ visible: true }).first().waitFor();
    };
    await page.goto(`${baseUrl()}/messages/${uuid}`);
    await expect(pill(page)).toBeVisible();
    await shoot(page, 'loading');
    if (isMobile) {
      await page.goto(`${baseUrl()}/messages`);
      await page.getByRole('status', { name: 'Loading conversations' }).waitFor();
      await shoot(page, 'loading-list');
    }
    mode = 'error';
    await show(`/messages/${uuid}`, 'Messages could not be loaded');
    await shoot(page, 'error');
    if (isMobile) {
      await show('/messages', 'Conversations could not be loaded');
      await shoot(page, 'error-list');
    }
    mode = 'empty';
    await show('/messages', 'No conversations yet');
    await shoot(page, 'empty');
    mode = 'older-failed';
    await show(`/messages/${uuid}`, 'Older messages could not be loaded.');
    await shoot(page, 'older-failed');
  });

  test(`screenshots of signing in and out, ${colorScheme}`, async ({ open, browser, contextOptions }, info) => {
    const shoot = camera(info, colorScheme);
    const context = await browser.newContext({ ...contextOptions, colorScheme });
    const anonymous = await context.newPage();
    await anonymous.goto(`${baseUrl()}/`);
    await anonymous.waitForURL(/\/oauth2\/authorize/);
    await shoot(anonymous, 'sign-in');
    await anonymous.goto(`${baseUrl()}/signed-out`);
    await anonymous.getByRole('heading', { name: 'You are signed out' }).waitFor();
    await shoot(anonymous, 'signed-out');
    await anonymous.goto(`${baseUrl()}/callback?error=access_denied&state=x`);
    await anonymous.getByRole('heading', { name: 'You are not signed in' }).waitFor();
    await shoot(anonymous, 'sign-in-failed');
    await anonymous.route('**/config.json', (route) => route.abort('connectionrefused'));
    await anonymous.goto(`${baseUrl()}/`);
    await anonymous.getByRole('heading', { name: 'The server cannot be reached' }).waitFor();
    await shoot(anonymous, 'server-away');
    await context.close();

    for (const [reason, heading, name] of [
      ['token_expired', 'Your session has ended', 'session-ended'],
      ['handle_taken', 'Your user name is taken here', 'handle-taken'],
      ['handle_missing', 'Your account has no user name', 'handle-missing'],
      ['profile_refused', 'Your profile cannot be read', 'profile-refused'],
      ['user_unknown', 'Your account is not registered', 'user-unknown'],
    ] as const) {
      const page = await open('ana', '', { colorScheme });
      await rejectRequests(page, reason);
      await page.goto(`${baseUrl()}/messages`);
      await page.getByRole('heading', { name: heading }).waitFor();
      await shoot(page, name);
    }
  });

  test(`screenshot of the page after an error of the client, ${colorScheme}`, async ({
    browser,
    contextOptions,
  }, info) => {
    const shoot = camera(info, colorScheme);
    // `open` would report the error.
    const context = await browser.newContext({ ...contextOptions, colorScheme });
    await signedIn(context, 'ana');
    const page = await context.newPage();
    await page.route('**/graphql', async (route) => {
      if (!isRequest(route, 'query Groups')) return route.fallback();
      const response = await route.fetch();
      const body = (await response.text()).replace(/"lastMessageAt":"[^"]+"/g, '"lastMessageAt":"not a time"');
      await route.fulfill({ response, body });
    });
    await page.goto(`${baseUrl()}/messages`);
    await expect(page.getByRole('heading', { name: 'This page has stopped working' })).toBeVisible();
    await shoot(page, 'stopped-working');
    await page.unroute('**/graphql');
    await page.getByRole('button', { name: 'Load again' }).click();
    await groupRow(page, 'Ben').waitFor();
    await context.close();
  });
}

/** A short conversation between Ana and Ben that reads like one. */
async function talk(): Promise<string> {
  const lines = [
    ['ben', 'The apple trees are in. All nine of them.'],
    ['ben', 'And somebody has already claimed the bench.'],
    ['ana', 'Let me guess: the cat.'],
    ['ben', '😹'],
    [
      'ana',
      'Saturday again? There is a guide to pruning young trees at https://example.org/pruning, we should read it first.',
    ],
    [
      'ben',
      'Reading is for people without a saw. But yes, Saturday. Ten o’clock, same gate, and this time I bring the coffee.',
    ],
  ] as const;
  let uuid = '';
  for (const [from, body] of lines) uuid = await send(from, from === 'ana' ? 'ben' : 'ana', body);
  await readAll('ana', uuid);
  return uuid;
}

/** Messages whose text is hard to show. Returns the uuid of their conversation. */
async function texture(): Promise<string> {
  const bodies = [
    '👨‍👩‍👧‍👦',
    'W'.repeat(200),
    'שלום עולם, זה מבחן. مرحبا بالعالم 你好,世界',
    '<script>alert(1)</script> and javascript:alert(1)',
    'A list:\n  1. indented\n  2. lines\n\nand a gap',
    'safe \u202Egnp.exe and \u2066isolated\u2069',
  ];
  let uuid = '';
  for (const [index, body] of bodies.entries())
    uuid = await send(index % 2 ? 'ana' : 'dmitri', index % 2 ? 'dmitri' : 'ana', body);
  await readAll('ana', uuid);
  return uuid;
}
