// Screenshots of every page and state, for a person to look at. They are kept in `screenshots` and not compared.

import { baseUrl, bubble, composer, expect, groupRow, messages, readAll, send, test, type Page } from './fixtures';

const isSend = (body: string | null) => body?.includes('mutation CreateMessage') ?? false;

for (const colorScheme of ['light', 'dark'] as const) {
  test(`screenshots, ${colorScheme}`, async ({ open, browser, contextOptions, isMobile }, info) => {
    test.setTimeout(180_000);
    const shoot = async (page: Page, name: string) => {
      await page.evaluate(() => document.fonts.ready);
      await page.screenshot({ path: `screenshots/${info.project.name}-${colorScheme}-${name}.png` });
    };
    const uuid = await talk();
    await send('chloe', 'ana', 'The print shop called. They can do Thursday if we send the files tonight.');
    await send('chloe', 'ana', 'Shall I say yes?');

    const page = await open('ana', '/messages', { colorScheme });
    await groupRow(page, 'Ben').waitFor();
    await expect(page.locator('.connection-pill')).toHaveCount(0);
    await shoot(page, 'list');
    await page.getByRole('button', { name: /^Account of/ }).click();
    await shoot(page, 'account');
    await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
    await shoot(page, 'help');
    await page.keyboard.press('Escape');

    await groupRow(page, 'Chloé').click();
    await expect(page.locator('.unread-divider')).toBeVisible();
    await shoot(page, 'unread');

    await page.goto(`${baseUrl()}/messages/${uuid}`);
    await composer(page).waitFor();
    const ben = await open('ben', `/messages/${uuid}`, { colorScheme });
    await composer(ben).waitFor();
    await expect(page.locator('.connection-pill')).toHaveCount(0);
    await composer(page).fill('See you at the gate then 🌱');
    await composer(page).press('Enter');
    await expect(page.locator('.read-mark')).toBeVisible();
    await expect(async () => {
      await composer(ben).pressSequentially('Bring');
      await expect(page.locator('.typing')).toBeVisible({ timeout: 4_000 });
    }).toPass();
    await shoot(page, 'conversation');

    await messages(page).evaluate((element) => element.scrollBy(0, -1_500));
    await expect(page.getByRole('button', { name: /^Jump to newest/ })).toBeVisible();
    await composer(ben).fill('Bring gloves!');
    await composer(ben).press('Enter');
    await expect(page.getByRole('button', { name: 'Jump to newest (1)' })).toBeVisible();
    await shoot(page, 'jump');
    await page.getByRole('button', { name: /^Jump to newest/ }).click();

    let answer: 'nothing' | 'failure' | 'rejection' = 'nothing';
    const rejection = {
      errors: [{ message: 'no', extensions: { code: 'BAD_USER_INPUT', reason: 'recipient_changed' } }],
    };
    await page.route('**/graphql', async (route) => {
      if (!isSend(route.request().postData())) return route.fallback();
      if (answer === 'failure') return route.abort('connectionrefused');
      if (answer === 'rejection') return route.fulfill({ json: rejection });
    });
    const write = async (text: string) => {
      await composer(page).fill(text);
      await composer(page).press('Enter');
    };
    answer = 'rejection';
    await write('This one is rejected');
    await expect(bubble(page, 'This one is rejected')).toHaveAttribute('data-state', 'failed');
    answer = 'failure';
    await write('This one may have arrived');
    await expect(bubble(page, 'This one may have arrived')).toHaveAttribute('data-state', 'unknown');
    await composer(page).fill('The wind has turned, and the tide with it. '.repeat(24));
    await shoot(page, 'not-sent');
    await page.context().setOffline(true);
    await composer(page).fill('');
    await expect(page.locator('.connection-pill')).toBeVisible();
    await shoot(page, 'offline');
    await page.context().setOffline(false);
    await bubble(page, 'This one is rejected').getByRole('button', { name: 'Delete' }).click();
    await page.evaluate(() => {
      for (const key of Object.keys(localStorage)) if (key.includes(':outbox:')) localStorage.removeItem(key);
    });
    await page.unroute('**/graphql');

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

    const texts = await texture();
    await page.goto(`${baseUrl()}/messages/${texts}`);
    await composer(page).waitFor();
    await page.getByText('isolated').last().waitFor();
    await shoot(page, 'texts');

    const broken = await open('ana', '', { colorScheme });
    let mode: 'loading' | 'error' | 'empty' = 'loading';
    await broken.route('**/graphql', (route) => {
      const body = route.request().postData() ?? '';
      if (body.includes('query Me')) return route.fallback();
      if (mode === 'loading') return undefined;
      if (mode === 'error')
        return route.fulfill({ status: 503, json: { errors: [{ message: '', extensions: { code: 'UNAVAILABLE' } }] } });
      if (!body.includes('query Groups')) return route.fallback();
      const pageInfo = { __typename: 'PageInfo', hasNextPage: false, endCursor: null };
      return route.fulfill({
        json: { data: { messageGroups: { __typename: 'MessageGroupConnection', nodes: [], pageInfo } } },
      });
    });
    for (const [next, path] of [
      ['loading', `/messages/${uuid}`],
      ['error', `/messages/${uuid}`],
      ['empty', '/messages'],
    ] as const) {
      mode = next;
      await broken.goto(baseUrl() + path);
      if (next === 'loading') {
        await expect(broken.locator('.connection-pill')).toBeVisible();
        await broken.evaluate(() =>
          Promise.all(
            document
              .getAnimations()
              .filter((animation) => animation.effect?.getTiming().iterations === 1)
              .map(({ finished }) => finished),
          ),
        );
      } else {
        await broken
          .getByRole('heading', { name: next === 'error' ? 'Messages could not be loaded' : 'No conversations yet' })
          .waitFor();
      }
      await shoot(broken, next);
      if (isMobile && next !== 'empty') {
        await broken.goto(`${baseUrl()}/messages`);
        await broken.locator('.groups, .sidebar .notice').first().waitFor();
        await shoot(broken, `${next}-list`);
      }
    }

    const anonymous = await browser.newPage({ ...contextOptions, colorScheme });
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
    await anonymous.context().close();
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
